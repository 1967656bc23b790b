"""One case of the suite: a command meets a fault, is run again, and is compared with a run that
nothing disturbed.
"""

from __future__ import annotations

import dataclasses
import math
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from children import NEVER, NONE, Child, Ended, import_modules, outlived
from commands import Command
from contents import Content, differences, halves, snapshot
from injection import Fault
from worlds import renew

KINDS = (
    *("kill", "cut", "full", "limit", "fill", "readonly", "vanish", "clock", "term", "int", "two"),
)
"""Faults of injection.py; fill: a small file system that is full after ``at`` bytes; two: the same
command twice at once.
"""
ERROR = "semiseg: error: "
CODES = {"kill": (-9,), "cut": (-25,), "term": (-15, 130), "int": (130,), "clock": ()}
"""How a command may end with a fault, beside as it ends without one; otherwise with 2."""
PAGE = 4096
ROOM = 2**28
"""Bytes of the small file system while it is not small."""
BUSY = r"exists already|is writing to it"
"""What the second of two processes may say."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """A run that nothing disturbed.

    Attributes:
      before, after: the world.
      changes: how many there are.
      sizes: bytes of the files that it wrote.
    """

    before: Content
    after: Content
    changes: int
    sizes: tuple[int, ...]


def start(command: Command, world: Path, fault: Fault = NONE) -> Child:
    """Start a command in its world."""
    return Child(command.words, world, fault, prepare=command.prepare)


class Place:
    """The world of the suite, made anew for each case."""

    def __init__(self, world: Path, template: Path):
        self.world = world
        self.template = template

    def renew(self) -> None:
        """Put everything back to how it began."""
        renew(self.template, self.world)

    def reference(self, command: Command) -> Reference:
        """Run a command without a fault.

        Raises:
          RuntimeError: it does not end as it should.
        """
        self.renew()
        before = snapshot(self.world)
        began = time.time()
        ended = start(command, self.world).wait(600.0)
        if ended.code != command.code:
            raise RuntimeError(f"{command.words}: exit code {ended.code}\n{ended.stderr}")
        import_modules(ended.modules)
        sizes = set()
        for file in self.world.rglob("*"):
            if file.is_file() and file.stat().st_mtime >= began:
                sizes.add(file.stat().st_size)
        return Reference(before, snapshot(self.world), len(ended.changes), tuple(sorted(sizes)))


def points(kind: str, reference: Reference, command: Command) -> list[int]:
    """Every place at which a fault may come: numbers of changes, or bytes."""
    if kind in ("cut", "limit"):
        return sorted({max(1, size // 2) for size in reference.sizes if size > 1})
    if kind == "two":
        return [0]
    if kind == "fill":
        pages = sum(math.ceil(size / PAGE) for size in reference.sizes)
        return [page * PAGE for page in range(pages)]
    if kind == "vanish" and not command.folder:
        return []
    return list(range(1, reference.changes + 1))


def sample(places: list[int], most: int | None, seed: str) -> list[int]:
    """At most so many of the places, the first and the last among them."""
    if most is None or len(places) <= most:
        return places
    if most == 1:
        return [random.Random(seed).choice(places)]
    inner = random.Random(seed).sample(places[1:-1], max(0, most - 2))
    return sorted([places[0], *inner, places[-1]])


def problems(place: Place, command: Command, reference: Reference, fault: Fault) -> list[str]:
    """What does not hold when a command meets a fault; empty where all does."""
    with _file_system(place, fault):
        place.renew()
        if fault.kind == "two":
            return list(_both(place, command, reference))
        if fault.kind == "fill":
            _resize(place.world, _used(place.world) + fault.at)
            ended = start(command, place.world).wait()
            _resize(place.world, ROOM)
        else:
            ended = start(command, place.world, fault).wait()
        found = list(_ending(ended, command, fault))
        found += [f"outlives the command: {name}" for name in outlived()]
        found += _state(place, command, reference, ended, fault)
        found += _once_more(place, command, reference)
        return found


def _last(ended: Ended) -> str:
    """The last line of what a command said."""
    lines = ended.stderr.strip().splitlines() or [""]
    return lines[-1][-300:]


def _ending(ended: Ended, command: Command, fault: Fault) -> Iterator[str]:
    if ended.code == NEVER:
        yield "it never ends"
    elif ended.code not in (command.code, *CODES.get(fault.kind, (2,))):
        yield f"exit code {ended.code}: {_last(ended)}"
    if "Traceback" in ended.stderr or "Fatal Python error" in ended.stderr:
        yield f"a traceback: {_last(ended)}"
    errors = ended.stderr.count(ERROR)
    if ended.code == 2 and errors != 1:
        yield f"{errors} errors instead of one line: {_last(ended)}"


def _state(
    place: Place, command: Command, reference: Reference, ended: Ended, fault: Fault
) -> list[str]:
    """What is wrong with the files before the command is run again."""
    now = snapshot(place.world)
    if ended.code == command.code and fault.kind != "vanish":
        return [f"it ended well, but {line}" for line in differences(now, reference.after)]
    if command.rewrites:
        return []
    return list(halves(now, reference.before, reference.after))


def _once_more(place: Place, command: Command, reference: Reference) -> Iterator[str]:
    again = start(command, place.world).wait()
    is_done = again.code == 2 and command.done and re.search(command.done, again.stderr)
    if again.code != command.code and not is_done:
        yield f"run again: exit code {again.code}: {_last(again)}"
    elif "Traceback" in again.stderr:
        yield f"run again: a traceback: {_last(again)}"
    else:
        lines = differences(snapshot(place.world, unfinished=True), reference.after)
        yield from (f"run again: {line}" for line in lines)


def _both(place: Place, command: Command, reference: Reference) -> Iterator[str]:
    """Two processes on one folder: one works, the other works or says why not."""
    pair = [start(command, place.world) for _ in range(2)]
    endings = [child.wait() for child in pair]
    if all(ended.code != command.code for ended in endings):
        yield f"both end with {[ended.code for ended in endings]}: {_last(endings[0])}"
    for ended in endings:
        if ended.code == NEVER:
            yield "it never ends"
        elif command.many and ended.code == 1 and re.search(BUSY, ended.stdout):
            continue
        elif ended.code == 2 and not re.search(f"{BUSY}|{command.done or BUSY}", ended.stderr):
            yield f"the other says: {_last(ended)}"
        elif ended.code not in (command.code, 2) or "Traceback" in ended.stderr:
            yield f"exit code {ended.code}: {_last(ended)}"
    yield from _once_more(place, command, reference)


# ------------------------------------------------------------------ a small file system
class _file_system:
    """A tmpfs in place of the world, for a fault that fills it."""

    def __init__(self, place: Place, fault: Fault):
        self.world = place.world
        self.wanted = fault.kind == "fill"

    def __enter__(self) -> None:
        if self.wanted:
            self.world.mkdir(exist_ok=True)
            _command("mount", "-t", "tmpfs", "-o", f"size={ROOM}", "faults", str(self.world))

    def __exit__(self, *_: object) -> None:
        if self.wanted:
            _command("umount", "--lazy", str(self.world))


def can_mount(place: Path) -> bool:
    """Whether this user may mount a small file system."""
    folder = place.with_name(f"{place.name}.probe")
    folder.mkdir(exist_ok=True)
    try:
        _command("mount", "-t", "tmpfs", "-o", f"size={PAGE}", "faults", str(folder))
    except (OSError, subprocess.CalledProcessError):
        return False
    _command("umount", str(folder))
    return True


def _resize(world: Path, size: int) -> None:
    _command("mount", "-o", f"remount,size={max(size, PAGE)}", str(world))


def _used(world: Path) -> int:
    state = os.statvfs(world)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def _command(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
