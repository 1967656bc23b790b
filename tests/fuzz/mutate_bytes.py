"""Changes that any file may suffer: bits, blocks, ends, and a file in another's place."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Sequence
from random import Random

from fuzz.engine import Tree

Change = Callable[[bytes, Random], tuple[bytes, str]]
"""Content → what becomes of it, and how in a few words."""
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1)
"""Numbers at which a program's own may end."""
REALS = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 1e300, -1e30, float("nan"), float("inf"))


def flip(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Turn a few bits, most of them near the beginning, where headers are."""
    changed = bytearray(content)
    number = rng.choice((1, 1, 2, 8))
    for _ in range(number if changed else 0):
        most = len(changed)
        if rng.random() < 0.6:
            most = min(most, 400)
        changed[rng.randrange(most)] ^= 1 << rng.randrange(8)
    return bytes(changed), f"{number} bits turned"


def cut(content: bytes, rng: Random) -> tuple[bytes, str]:
    """End early."""
    length = rng.choice((0, 1, 3, 16, len(content) // 2, len(content) - 1, rng.randrange(10**6)))
    length = min(max(length, 0), len(content))
    return content[:length], f"cut to {length} bytes"


def block(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Remove, double, blank, exchange or insert a block."""
    size = rng.choice((1, 2, 4, 16, 64, 512))
    start = rng.randrange(len(content) + 1)
    piece = content[start : start + size]
    how = rng.choice(("removed", "doubled", "zeros", "ones", "noise", "moved"))
    head = content[:start]
    tail = content[start + size :]
    if how == "removed":
        return head + tail, f"{size} bytes at {start} removed"
    if how == "doubled":
        return head + piece + piece + tail, f"{size} bytes at {start} doubled"
    if how == "moved":
        other = rng.randrange(len(tail) + 1)
        return head + tail[:other] + piece + tail[other:], f"{size} bytes at {start} moved"
    filling = {"zeros": b"\0", "ones": b"\xff", "noise": rng.randbytes(1)}[how]
    return head + filling * len(piece) + tail, f"{size} bytes at {start} are {how}"


def extreme(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Write an extreme number of 2, 4 or 8 bytes somewhere near the beginning."""
    code = rng.choice("hHiIqQfd")
    order = rng.choice("<>")
    size = struct.calcsize(order + code)
    start = rng.randrange(max(1, min(len(content), 600) - size))
    if code in "fd":
        value: float = rng.choice(REALS)
        if code == "f" and abs(value) > 1e38:
            value = 1e38
    else:
        value = rng.choice(NUMBERS) & ((1 << 8 * size) - 1)
        code = code.upper()
    changed = bytearray(content)
    changed[start : start + size] = struct.pack(order + code, value)
    return bytes(changed), f"{value} at {start} as {order}{code}"


def other(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Be another kind of file altogether."""
    kinds = {
        "empty": b"",
        "text": b"not found\n",
        "page": b"<!DOCTYPE html><html><body>404</body></html>\n",
        "noise": rng.randbytes(200),
        "zeros": bytes(2000),
        "compressed": gzip.compress(content[:100_000]),
        "appended": content + rng.randbytes(rng.choice((1, 7, 300))),
        "twice": content + content,
    }
    name = rng.choice(sorted(kinds))
    return kinds[name], name


GENERIC: Sequence[Change] = (flip, flip, cut, block, block, extreme, extreme, other)


def any_bytes(content: bytes, rng: Random) -> tuple[bytes, str]:
    """One change that knows nothing of the format."""
    return rng.choice(GENERIC)(content, rng)


def mutate_one(
    tree: Tree,
    rng: Random,
    change: Change,
    choose: Callable[[str], bool] | None = None,
) -> str:
    """Change one file of a tree.

    Args:
      tree: is changed.
      rng: draws the file and the change.
      change: of its content.
      choose: whether a file of this name may be changed; None for any.

    Returns:
      What was changed, in a few words.
    """
    names = [name for name in sorted(tree) if isinstance(tree[name], bytes)]
    if choose is not None:
        names = [name for name in names if choose(name)]
    name = rng.choice(names)
    content = tree[name]
    assert isinstance(content, bytes)
    tree[name], words = change(content, rng)
    return f"{name}: {words}"
