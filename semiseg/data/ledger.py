"""Ledgers: files of JSON lines that say who looked at a test set, each line chained to the last.

A line holds the SHA-256 of the line before it (``previous``), so that a line that is changed,
removed from the middle or moved is noticed. Lines of earlier versions have no such key; they are
valid at the beginning of a file, and the first chained line holds the hash of all of them.
One entry goes into several files (:func:`append`), and each says where the others are: a file that
was cut short, emptied or deleted, which a chain alone cannot show, lacks what another file holds,
and a file that was written anew says something else.

This stops honest mistakes. Who writes all the files anew leaves no trace.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from semiseg import shapes
from semiseg.errors import UserError
from semiseg.files import Lock, NoLocks
from semiseg.shapes import PATH, TEXT, Each

SHARED = ".ledgers"
"""Folder of the ledgers of all test sets in a folder of stores."""
OF_SET = "ledger.jsonl"
"""Name of the ledger in a data set's folder."""
DIGITS = 32
"""Digits of a test set's fingerprint in the name of its shared ledger."""
OLD_KEYS = ("time", "run", "reason", "n")
"""What names a line that was written before lines had an ``id``."""
LINKS = ("previous", "earlier_lines", "noticed")
"""What an entry has in one file alone."""
OF_A_TRY = ("time", "semiseg", "ledgers", "machine")
"""What may differ between the lines of an import that was killed and finished later."""
SHAPE = {
    **dict.fromkeys(("fingerprint", "time"), TEXT),
    **dict.fromkeys(("ledgers", "noticed"), Each(PATH)),
    "before": {"fingerprint": TEXT},
}
"""What code asks of an entry, see :mod:`semiseg.shapes`."""
Entry = dict[str, Any]


def user_folder() -> Path:
    """Where this user's ledgers are, whatever the folder of the stores: ``semiseg/ledgers`` in
    ``XDG_STATE_HOME``, or in ``~/.local/state``.
    """
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return (Path(state) / "semiseg" / "ledgers").expanduser()


def shared_folders(root: Path) -> list[Path]:
    """The folders with a ledger a test set: next to the stores in ``root``, and the user's own."""
    return [root / SHARED, user_folder()]


# ------------------------------------------------------------------ reading
def read(path: Path) -> list[Entry]:
    """The entries of a ledger, oldest first; none without the file. A damaged line is left out."""
    entries: list[Entry] = []
    for line in _lines(path):
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if not shapes.problem(entry, SHAPE):
                entries.append(entry)
    return entries


def merged(paths: Iterable[Path]) -> list[Entry]:
    """The entries of several ledgers, each once, oldest first."""
    entries: dict[str, Entry] = {}
    for path in paths:
        for entry in read(path):
            entries.setdefault(identity(entry), entry)
    return sorted(entries.values(), key=_time)


def identity(entry: Entry) -> str:
    """What an entry has in common in all the files that hold it.

    >>> identity({"id": "5f", "run": "a"}), identity({"time": "9:00", "run": "a", "semiseg": "1"})
    ('5f', '["9:00", "a", null, null]')
    """
    if "id" in entry:
        return str(entry["id"])
    return json.dumps([entry.get(key) for key in OLD_KEYS])


def holds(path: Path, entry: Entry) -> bool:
    """Whether a ledger has an entry already."""
    return identity(entry) in {identity(line) for line in read(path)}


def is_shared(path: Path) -> bool:
    """Whether a ledger is that of a test set, and not the one in a data set's folder.

    >>> is_shared(Path("stores/own/ledger.jsonl")), is_shared(Path("stores/.ledgers/5f.jsonl"))
    (False, True)
    """
    return path.name != OF_SET


def fingerprints(entries: Sequence[Entry], otherwise: str = "") -> list[str]:
    """The fingerprint of the test set that each entry of a set's ledger speaks of.

    Entries of earlier versions name none. They speak of the test set that the first entry with a
    fingerprint found, or of ``otherwise``.

    >>> fingerprints([{"run": "a"}, {"before": {"fingerprint": "5f"}, "fingerprint": "6a"}])
    ['5f', '6a']
    """
    for entry in entries:
        if "fingerprint" in entry:
            otherwise = entry.get("before", entry).get("fingerprint", otherwise)
            break
    return [entry.get("fingerprint", otherwise) for entry in entries]


def _time(entry: Entry) -> str:
    return str(entry.get("time", ""))


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", where=path, remedy="make it readable"
        ) from error
    return text.splitlines()


# ------------------------------------------------------------------ whether it is whole
def digest(text: str) -> str:
    """SHA-256 of a text, hexadecimal.

    >>> digest("a line")[:8]
    '31b9ee4a'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def chain_problems(lines: Sequence[str]) -> list[str]:
    """What is wrong with the chain of a ledger's lines; empty where it is whole.

    >>> first = '{"run": "a", "previous": ""}'
    >>> second = json.dumps({"run": "b", "previous": digest(first)})
    >>> chain_problems([first, second])
    []
    >>> chain_problems([first.replace("a", "c"), second])
    ['line 2 does not follow line 1: a line was changed, removed or moved']
    """
    problems: list[str] = []
    chained = False
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            previous = entry.get("previous")
        except (ValueError, AttributeError, RecursionError):
            problems.append(f"line {number} cannot be read")
            continue
        if previous is None:
            if chained:
                problems.append(f"line {number} holds no hash of the line before it")
            continue
        if previous != _hash_of_last(lines[max(number - 2, 0) : number - 1]):
            problems.append(
                f"line {number} does not follow line {number - 1}: a line was changed, removed or "
                f"moved"
            )
        prefix = entry.get("earlier_lines")
        changed = prefix is not None and prefix != digest("\n".join(lines[: number - 1]))
        if changed and not chained:
            problems.append(f"lines 1 to {number - 1} were changed after line {number} was written")
        chained = True
    return problems


def _hash_of_last(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return digest(lines[-1])


def problems(paths: Sequence[Path]) -> list[str]:
    """What is wrong with the ledgers of one test set; empty where all are whole.

    Args:
      paths: the data set's own ledger first.
    """
    everything = merged(paths)
    messages: list[str] = []
    for path in paths:
        lines = _lines(path)
        messages += [f"{path}: {problem}" for problem in chain_problems(lines)]
        present = {identity(entry) for entry in read(path)}
        entries = _since_removal(everything, path)
        written = [entry for entry in entries if str(path) in entry.get("ledgers", ())]
        if is_shared(path) and not lines:  # of another machine or user, maybe
            written = [entry for entry in written if entry.get("machine") == machine()]
        missing = sum(identity(entry) not in present for entry in written)
        if missing:
            plural = "s" * (missing > 1)
            messages.append(f"{path}: lacks {missing} line{plural} that another ledger holds")
    return messages + _contradictions(paths)


def _contradictions(paths: Sequence[Path]) -> list[str]:
    """A line for each ledger that says something else of an event than another one."""
    messages: list[str] = []
    first: dict[str, tuple[Path, Entry]] = {}
    for path in paths:
        differing: dict[Path, int] = {}
        for entry in read(path):
            other, earlier = first.setdefault(identity(entry), (path, entry))
            if other != path and _content(entry) != _content(earlier):
                differing[other] = differing.get(other, 0) + 1
        for other, number in differing.items():
            plural = "s" * (number > 1)
            messages.append(f"{path}: differs in {number} line{plural} from {other}")
    return messages


def _content(entry: Entry) -> Entry:
    """What all the lines of an entry have in common.

    >>> _content({"id": "5f", "run": "a", "previous": "6a"})
    {'id': '5f', 'run': 'a'}
    """
    left_out: tuple[str, ...] = LINKS
    if entry.get("event") == "import":
        left_out += OF_A_TRY
    return {key: value for key, value in entry.items() if key not in left_out}


def machine() -> str:
    """What tells this machine from others, and does not say its name."""
    return digest(socket.gethostname())[:12]


def _since_removal(entries: Sequence[Entry], path: Path) -> list[Entry]:
    """The entries after the last one that says that the set with the ledger ``path`` was removed.

    >>> entries = [{"run": "a"}, {"removed": "own/ledger.jsonl"}, {"run": "b"}]
    >>> _since_removal(entries, Path("own/ledger.jsonl"))
    [{'run': 'b'}]
    """
    last = -1
    for i, entry in enumerate(entries):
        if entry.get("removed") == str(path):
            last = i
    return list(entries[last + 1 :])


# ------------------------------------------------------------------ writing
def append(paths: Sequence[Path], entry: Entry) -> None:
    """Add an entry to every ledger; it is on the disk when this returns.

    A shared ledger first gets the entries of the set's own ledger that it lacks. What is wrong with
    the ledgers is recorded in the new line (``noticed``), once.

    Args:
      paths: the data set's own ledger first, if there is one.
      entry: of JSON types.

    Raises:
      OSError: a ledger cannot be written.
    """
    entry = {**entry, "ledgers": [str(path) for path in paths], "machine": machine()}
    noticed = problems(paths)
    of_set = [path for path in paths if not is_shared(path)][:1]
    earlier = merged(of_set)
    names = fingerprints([*earlier, entry])[:-1]
    for path in paths:
        present = {identity(line) for line in read(path)}
        new = [
            line
            for line, name in zip(earlier, names, strict=True)
            if is_shared(path) and name[:DIGITS] == path.stem and identity(line) not in present
        ]
        try:
            _append(path, [*new, entry], noticed)
        except OSError as error:  # of a folder above it, maybe
            raise OSError(error.errno, error.strerror, str(path)) from error


def append_or_refuse(paths: Sequence[Path], entry: Entry, consequence: str) -> None:
    """:func:`append`, or one line that says what is not done because it failed.

    Raises:
      UserError: a ledger cannot be written, so ``consequence``.
    """
    try:
        append(paths, entry)
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror}), so {consequence}",
            where=error.filename or paths[0],
            remedy="make it writable (XDG_STATE_HOME names the folder of the user's ledgers)",
        ) from error


def _append(path: Path, entries: Sequence[Entry], noticed: Sequence[str]) -> None:
    lock = Lock(path)
    with contextlib.suppress(NoLocks):
        lock.take(wait=True)
    try:
        _mend(path)
        lines = _lines(path)
        recorded = {line for entry in read(path) for line in entry.get("noticed", ())}
        news = [line for line in noticed if line not in recorded]
        first = len(lines)
        for entry in entries:
            lines.append(_chained(entry, lines, news))
            news = []
        _write(path, "".join(f"{line}\n" for line in lines[first:]))
    finally:
        lock.drop()


def _mend(path: Path) -> None:
    """Take away a last line that a kill cut short: what it was to allow has not happened."""
    text = path.read_bytes() if path.exists() else b""
    last = text.rpartition(b"\n")[2]
    if not last:
        return
    try:
        json.loads(last)
    except ValueError:
        os.truncate(path, len(text) - len(last))
    else:
        _write(path, "\n")


def _write(path: Path, text: str) -> None:
    """Add lines to a file: all of them or, where the disk is full, none."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        left = memoryview(text.encode())
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, size)
            raise


def _chained(entry: Entry, lines: Sequence[str], noticed: Sequence[str]) -> str:
    """The line of an entry that follows ``lines``."""
    chained = {key: value for key, value in entry.items() if key not in LINKS}
    chained["previous"] = _hash_of_last(lines)
    if lines and not any(map(_is_chained, lines)):
        chained["earlier_lines"] = digest("\n".join(lines))
    if noticed:
        chained["noticed"] = list(noticed)
    return json.dumps(chained)


def _is_chained(line: str) -> bool:
    return '"previous": ' in line
