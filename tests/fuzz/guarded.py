"""What a case may not do: write outside of its folders, run code, or change its input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "shutil.rmtree": (0,),
}
"""Event of Python's audit → the arguments that are paths of what it changes."""
LINKS = ("os.rename", "os.remove", "os.link", "os.symlink")
"""Events that do not follow a link."""
RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile")
REACHES = ("socket.connect", "socket.bind", "urllib.Request")
PICKLES = ("pickle.find_class",)


class Watched:
    """Listens to Python's audit events, for the rest of this process.

    Args:
      source: the input, whose code may not run.
      allowed: folders that may be written to.
    """

    def __init__(self, source: Path, allowed: Sequence[Path]):
        self.source = str(source)
        self.allowed = [str(folder) for folder in (*allowed, source)]
        self.events: list[str] = []
        sys.addaudithook(self._heard)

    def problem(self) -> str:
        """The first thing that may not be; "" for none."""
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None) or ""
            if isinstance(file, str) and file.startswith(self.source):
                return f"code ran: the module {file}"
        return next(iter(self.events), "")

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & WRITES:
                self._changes(event, path)
        elif event in CHANGES:
            for number in CHANGES[event]:
                self._changes(event, args[number])
        elif event in RUNS:
            self.events.append(f"code ran: {event} {args[:1]}")
        elif event in REACHES:
            self.events.append(f"network: {event}")
        elif event in PICKLES:
            self.events.append(f"code ran: unpickled {args}")

    def _changes(self, event: str, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a file that is open
        place = os.path.realpath(os.fsdecode(path))
        if event in LINKS:  # a link is replaced or removed itself
            parent, name = os.path.split(os.path.abspath(os.fsdecode(path)))
            place = os.path.join(os.path.realpath(parent), name)
        if place in ("/dev/null", "/dev/tty") or place.startswith("/proc/self/"):
            return
        if not any(place.startswith(folder) for folder in self.allowed):
            self.events.append(f"written outside: {event} {place}")


def memory(field: str) -> int:
    """Bytes of this process: ``VmSize`` or ``VmRSS``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def holds(folder: Path, tree: Mapping[str, bytes | str]) -> bool:
    """Whether a folder has the files of a tree, with their content."""
    for name, content in tree.items():
        path = folder / name
        if isinstance(content, str):
            same = path.is_symlink()
        else:
            same = path.is_file() and path.read_bytes() == content
        if not same:
            return False
    return True


def strangers(top: Path, names: Iterable[str]) -> list[str]:
    """What lies beside the folders of a case."""
    expected = {Path("a"), Path("a/b"), *[Path("a/b") / name for name in names]}
    inside = [Path("a/b") / name for name in ("input", "work", "home")]
    strange: list[str] = []
    for folder, folders, files in os.walk(top):
        here = Path(folder).relative_to(top)
        if here in inside:
            folders.clear()
            continue
        for name in (*folders, *files):
            if here / name not in expected:
                strange.append(str(here / name))
    return strange
