"""What a folder holds, without what differs between two runs of one command: times, names of
processes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Content = dict[str, Any]
"""Path → what the file holds."""
UNFINISHED = re.compile(
    r"\.tmp$|\.tmp\.|(^|/)\.[^/]+\.(importing|replaced|writing)[-/]|orbax-checkpoint-tmp"
    r"|(^|/)\.made/made-"
)
"""Names under which outputs are written before they get their own; the pairs of a generated set lie
below ``.made`` until it is imported.
"""
LOCKS = re.compile(
    r"(^|/)\.(claims|logs)(/|$)|\.lock$|^home/cache/|/wandb/|/journal\.log(\.flock)?$"
)
"""Files that tell two runs of one command apart."""
GROWING = re.compile(
    r"metrics\.jsonl$|ledger\.jsonl$|\.ledgers/|/ledgers/|/checkpoints/|val_best|/tensorboard/|"
    r"^home/|/unrecorded\.json$|/\.unfinished\.json$"
)
"""Files that are extended or replaced while a command runs."""
OF_AN_EVENT = ("event", "reason", "run", "fingerprint", "n", "removed")


def is_timed(name: str) -> bool:
    """Whether a value says how long something took, or from which commit it was run.

    >>> is_timed("seconds_train"), is_timed("step")
    (True, False)
    """
    return name.startswith("seconds") or name in ("time", "date", "written", "commit")


def snapshot(world: Path, unfinished: bool = False) -> Content:
    """Every file below a folder, as far as two runs of a command agree on it.

    Args:
      world: the folder.
      unfinished: also files under a name that is not their last.
    """
    content: Content = {}
    for file in sorted(world.rglob("*")):
        name = file.relative_to(world).as_posix()
        if LOCKS.search(name) or (UNFINISHED.search(name) and not unfinished):
            continue
        if "/checkpoints/" in name:
            if file.parent.name == "checkpoints":
                content[name] = "a checkpoint"
        elif file.is_file():
            content[name] = _content(file)
    return content


def _content(file: Path) -> Any:
    data = file.read_bytes()
    kind = next((kind for kind in KINDS if re.search(kind, file.as_posix())), None)
    if kind is None:
        return data
    try:
        return KINDS[kind](data.decode())
    except (ValueError, KeyError, AttributeError):
        return data


def _untimed(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _untimed(value) for name, value in tree.items() if not is_timed(name)}
    if isinstance(tree, list):
        return [_untimed(value) for value in tree]
    return tree


def _lines(text: str) -> list[Any]:
    return [_untimed(json.loads(line)) for line in text.splitlines()]


def _events(text: str) -> set[str]:
    """A ledger counts what a killed command has read, and so does it again for the next one."""
    events = set()
    for line in text.splitlines():
        entry = json.loads(line)
        events.add(json.dumps({name: entry.get(name) for name in OF_AN_EVENT}))
    return events


def _environment(text: str) -> Any:
    return _untimed(json.loads(text))


def _names(tree: Any) -> Any:
    """What a measurement has values for."""
    if isinstance(tree, dict):
        return {name: _names(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_names(value) for value in tree]
    return type(tree).__name__


def _measured(text: str) -> Any:
    return _names(json.loads(text))


def _without_numbers(text: str) -> str:
    return re.sub(r"[\d.]+", "0", text)


_VARIES = re.compile(
    r'data-key="[\d.: -]+"|\d{4}-\d\d-\d\d \d\d:\d\d|\b\d[\d.]* (s|min|h)\b'
    r"|counts \d+ test evaluations?"
)
"""What a report says of when its runs were made, how long they took and how often test was read."""


def _timeless(page: str) -> str:
    """A report whose runs are made anew by the command.

    >>> _timeless('<td data-key="28.1">28 s</td> Dice 0.61')
    '<td 0>0</td> Dice 0.61'
    """
    return _VARIES.sub("0", page)


KINDS: dict[str, Callable[[str], Any]] = {
    r"metrics\.jsonl$": _lines,
    r"summary\.json$|env\.json$|card\.json$|(nets|states)\.json$": _environment,
    r"(bench|doctor|wandb)\.json$": _measured,
    r"bench\.md$": _without_numbers,
    r"/demo/report\.html$": _timeless,
    r"ledger\.jsonl$|ledgers/[^/]*\.jsonl$": _events,
}
"""Pattern of a path → what is compared of the file."""


def differences(found: Content, expected: Content) -> Iterator[str]:
    """A line for each file that is not as expected."""
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            yield f"{name} is missing"
        elif name not in expected:
            yield f"{name} is too many"
        elif found[name] != expected[name]:
            yield f"{name} differs"


def halves(found: Content, before: Content, after: Content) -> Iterator[str]:
    """A line for each file that is neither as before the command nor as after it, and so is half
    of one under its last name.
    """
    for name, content in found.items():
        if GROWING.search(name):
            continue
        if not any(name in state and state[name] == content for state in (before, after)):
            yield f"{name} is neither old nor new"
