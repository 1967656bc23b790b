"""``python -m fuzz.every_byte``: every byte of the headers of good scans and masks changed in every
way of :data:`WAYS`, thousands of files a minute. Random changes meet a given byte once in a hundred
thousand inputs; exit code 1 where one failed.

    PYTHONPATH=tests python -m fuzz.every_byte --kind scan.itk

Only the kinds of :mod:`fuzz.of_scans`: their readers run in one process, 300 files after each
other.
"""

from __future__ import annotations

import argparse
import collections
import functools
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fuzz import engine, of_scans
from fuzz.engine import Kind, Place, Tree, Verdict

WAYS: dict[str, Callable[[bytearray, int], None]] = {}
"""How a byte is changed: content and place."""
VALUES = (0, 9, 10, 13, 32, 45, 46, 48, 57, 58, 61, 101, 127, 128, 255)
"""Blanks, line ends, digits and signs of text headers, and the ends of numbers of one byte."""
TOGETHER = 300
SECONDS = 20
SHOWN = 3


def _turn(bit: int, content: bytearray, place: int) -> None:
    content[place] ^= 1 << bit


def _set(value: int, content: bytearray, place: int) -> None:
    content[place] = value


def _delete(content: bytearray, place: int) -> None:
    del content[place]


def _double(content: bytearray, place: int) -> None:
    content.insert(place, content[place])


WAYS |= {f"bit {bit} turned": functools.partial(_turn, bit) for bit in range(8)}
WAYS |= {f"set to {value}": functools.partial(_set, value) for value in VALUES}
WAYS |= {"deleted": _delete, "doubled": _double}


class Change(NamedTuple):
    """One changed byte of one file of a seed."""

    seed: str
    file: str
    place: int
    way: str

    def applied(self, tree: Tree) -> Tree:
        """The tree with the change."""
        content = tree[self.file]
        assert isinstance(content, bytes)
        changed = bytearray(content)
        WAYS[self.way](changed, self.place)
        return {**tree, self.file: bytes(changed)}


def main(argv: list[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser("fuzz.every_byte", description=__doc__)
    parser.add_argument("--kind", choices=[kind.name for kind in of_scans.KINDS])
    parser.add_argument("--bytes", type=int, default=500, help="of the beginning of a file")
    parser.add_argument("--minutes", type=float, default=10.0, help="of a kind")
    args = parser.parse_args(argv)
    failures = 0
    for kind in of_scans.KINDS:
        if args.kind in (None, kind.name):
            failures += _all_of(kind, args.bytes, 60 * args.minutes)
    return int(failures > 0)


def changes(trees: dict[str, Tree], most: int) -> list[Change]:
    """Every change of the first bytes of every file, in a fixed order that mixes them; packed
    files, whose bytes say nothing each, are left to random changes.
    """
    found: list[Change] = []
    for name, tree in trees.items():
        for file, content in tree.items():
            if not file.endswith(".gz"):
                places = range(min(len(content), most))
                found += [Change(name, file, place, way) for place in places for way in WAYS]
    random.Random(0).shuffle(found)
    return found


def _all_of(kind: Kind, most: int, seconds: float) -> int:
    """Run all changes of a kind, say what failed; returns how many did."""
    engine.warm([kind])
    trees = engine.seeds_of(kind)
    todo = changes(trees, most)
    groups: collections.Counter[str] = collections.Counter()
    end = time.monotonic() + seconds
    done = 0
    while done < len(todo) and time.monotonic() < end:
        part = todo[done : done + TOGETHER]
        verdicts = list(_together(kind, trees, part))
        if len(verdicts) < len(part):  # the process ended at the next one
            verdicts.append(Verdict(engine.FAILURE, "the process ended"))
        for change, verdict in zip(part, verdicts, strict=False):
            if verdict.result == engine.FAILURE:
                groups[verdict.group] += 1
                if groups[verdict.group] <= SHOWN:
                    print(f"{kind.name}: {change}: {verdict.group}: {verdict.detail}"[:900])
        done += len(verdicts)
    print(f"{kind.name}: {done:,} of {len(todo):,} files, {groups.total()} failed", flush=True)
    return groups.total()


def _together(kind: Kind, trees: dict[str, Tree], part: list[Change]) -> Iterator[Verdict]:
    """What came of each change, in a child of this process; fewer where it ended."""
    top = Path(tempfile.mkdtemp(prefix="fuzz-", dir=engine.fast_folder()))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _in_child(kind, trees, part, top, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as results:
        for _ in part:
            try:
                yield Verdict(*pickle.load(results))
            except EOFError:
                break
    os.waitpid(child, 0)
    shutil.rmtree(top, ignore_errors=True)


def _in_child(
    kind: Kind, trees: dict[str, Tree], part: list[Change], top: Path, writer: int
) -> None:
    """Read every changed file, write the verdicts, and end; a hang ends the process."""
    resource.setrlimit(resource.RLIMIT_AS, (engine.MEMORY * 2, engine.MEMORY * 2))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with os.fdopen(writer, "wb", 0) as results:
        for number, change in enumerate(part):
            signal.alarm(SECONDS)
            folder = top / str(number)
            seed = trees[change.seed]
            tree = change.applied(seed)
            places = [folder / name for name in ("input", "work", "home")]
            for path in places:
                path.mkdir(parents=True)
            place = Place(*places, seed, tree, change.seed, random.Random(0))
            engine.write_tree(place.input, tree)
            try:
                verdict = kind.run(place)
            except BaseException as error:
                verdict = engine.of_exception(error)
            shutil.rmtree(folder, ignore_errors=True)
            results.write(pickle.dumps(tuple(verdict)))
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
