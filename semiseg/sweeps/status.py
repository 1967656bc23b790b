"""Where a sweep stands, read from its folder: no process has to be asked, and a dead sweep answers
as well as a living one.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from semiseg.errors import UserError
from semiseg.escapes import raw
from semiseg.files import read_json_if_whole
from semiseg.run_folder import RunFolder
from semiseg.shapes import NUMBER, TEXT, optional
from semiseg.sweeps.claims import Claims, summary_of
from semiseg.sweeps.spec import points, read

STATES = ("done", "stopped", "rejected", "failed", "running", "unfinished", "waiting")
ENDED = ("done", "stopped", "rejected")
"""States in which a trial needs no more work."""
ENDING_SHAPE = {"stopped": TEXT, "dice": optional(NUMBER), "rejected": TEXT, "error": TEXT}
"""What is read of stopped.json, rejected.json and error.json."""


def status(out: str | Path, test: bool = False) -> list[dict[str, Any]]:
    """A row for every trial: name, state, step, steps, dice, seconds, note.

    ``done``, ``stopped`` (early), ``rejected`` (dropped with its generated set), ``failed``,
    ``running``, ``unfinished`` (begun, nobody at it) or ``waiting``.

    Raises:
      UserError: no sweep in ``out``.
    """
    out = Path(out)
    if not (out / "sweep.yaml").exists():
        raise UserError(f"{out}: holds no sweep; name the --out of `semiseg sweep`")
    spec = read(out / "sweep.yaml")
    names = list(points(spec))
    if spec.method == "bayes":
        begun = sorted(p.name for p in out.glob("trial*") if p.is_dir())
        names = begun + [f"trial{i:03d}" for i in range(len(begun), spec.cap)]
    claims = Claims(out)
    return [_row(out, name, claims, test) for name in names]


def _row(out: Path, name: str, claims: Claims, test: bool) -> dict[str, Any]:
    folder = RunFolder(out / name)
    row: dict[str, Any] = {
        "name": name,
        "state": "waiting",
        "step": 0,
        "steps": None,
        "dice": None,
        "seconds": None,
        "note": "",
    }
    summary = summary_of(folder.path, test)
    if summary:
        return row | _done(summary, test)
    stopped = read_json_if_whole(folder.early_stop, ENDING_SHAPE)
    failure = read_json_if_whole(folder.failure, ENDING_SHAPE)
    running = not stopped and claims.is_taken(name)
    if not folder.path.exists() and not running:
        return row
    row |= _progress_of(folder)
    if stopped:
        row["dice"] = stopped.get("dice", row["dice"])
        return row | {"state": "stopped", "note": str(stopped.get("stopped", ""))}
    if running:
        return row | {"state": "running"}
    dropped = read_json_if_whole(folder.dropped, ENDING_SHAPE)
    if dropped:
        return row | {"state": "rejected", "note": str(dropped.get("rejected", ""))}
    if failure:
        return row | {"state": "failed", "note": failure.get("error", "")}
    return row | {"state": "unfinished"}


def _done(summary: Mapping[str, Any], test: bool) -> dict[str, Any]:
    """What a row says of a finished trial."""
    split = "test" if test else "val"
    return {
        "state": "done",
        "step": summary.get("steps"),
        "steps": summary.get("steps"),
        "dice": summary["last"][split].get("dice"),
        "seconds": (summary.get("seconds_train") or 0) + (summary.get("seconds_evaluate") or 0),
    }


def _progress_of(folder: RunFolder) -> dict[str, Any]:
    """Step, seconds and last validation of a trial that has begun."""
    progress: dict[str, Any] = {"step": 0, "seconds": None, "dice": None}
    for line in folder.last_lines():
        progress["step"] = line.get("step", 0)
        progress["seconds"] = line.get("seconds")
        progress["dice"] = line.get("val_dice", progress["dice"])
    return progress


def table(rows: list[dict[str, Any]], out: str | Path, lines: int = 12, test: bool = False) -> str:
    """The state in a few lines: counts, what runs, what failed, the best, how long it will take.

    Dice is that of the validation split, or with ``test`` of the test split, which trials that are
    not done have not been scored on.

    >>> row = {"state": "done", "name": "a", "dice": 0.5, "step": 9, "seconds": 4, "note": ""}
    >>> table([row], "out").splitlines()[1].split()
    ['trial', 'val', 'Dice', 'step,', 'seconds']
    """
    count = Counter(row["state"] for row in rows)
    head = f"{out}: {count['done']} of {len(rows)} done"
    for state in STATES:
        if count[state] and state != "done":
            head += f", {count[state]} {state}"
    done = [row for row in rows if row["state"] == "done"]
    seconds = [row["seconds"] for row in done if row["seconds"]]
    left = count["running"] + count["unfinished"] + count["waiting"]
    if seconds and left:
        alone = sum(seconds) / len(seconds) * left
        head += f"; about {clock(alone / max(1, count['running']))} left"
    listed = [row for row in rows if row["state"] == "running"]
    listed += [row for row in rows if row["state"] in ("failed", "rejected")]
    scored = [row for row in done if row["dice"] is not None]
    best = sorted(scored, key=lambda row: -row["dice"])
    listed = listed[:lines] + best[: max(1, lines - len(listed))]
    if not listed:
        return head
    width = min(56, max(len(row["name"]) for row in listed))
    dice = "val Dice"
    if test:
        dice = "test Dice"
        listed = [row if row["state"] == "done" else row | {"dice": None} for row in listed]
    titles = f"  {'':10} {'trial':{width}}  {dice}  {'step, seconds':>14}"
    return "\n".join([head, titles, *(_line(row, width, len(dice)) for row in listed)])


def _line(row: dict[str, Any], width: int, dice_width: int) -> str:
    name = row["name"][:width]
    dice = f"{_number(row['dice']):{dice_width}}"
    line = f"  {row['state']:10} {name:{width}}  {dice}  {_progress(row):>14}"
    return f"{line}  {row['note'][:70]}".rstrip()


class Board:
    """Follows a sweep while it runs: redraws the table on a terminal, else says a line for every
    trial that ends.
    """

    def __init__(self, out: Path, test: bool, say: Callable[[str], None]):
        self.out = out
        self.test = test
        self.say = say
        self.ended = {r["name"] for r in status(out, test) if r["state"] in ENDED}
        self.height = 0
        self.next = 0.0

    def update(self, last: bool = False) -> None:
        """Look at the folder again, unless that was done a moment ago."""
        if time.monotonic() < self.next and not last:
            return
        began = time.monotonic()
        rows = status(self.out, self.test)
        for place, row in enumerate(rows, 1):
            if self._has_ended(row, last):
                self._erase()
                state = f"{row['state']:8} {_number(row['dice'])}"
                line = f"{place:4}/{len(rows)}  {state}  {row['name']}  {row['note']}"
                self.say(line.rstrip())
        if sys.stderr.isatty():
            self._draw(rows)
        # looking must stay cheap beside training
        self.next = time.monotonic() + max(1.0, 20 * (time.monotonic() - began))

    def _has_ended(self, row: dict[str, Any], last: bool) -> bool:
        """Whether a trial has ended since the last look; a failed one may be running again soon, so
        it counts at the very end alone.
        """
        key = row["name"]
        if row["state"] == "failed":
            key += row["note"]
        if row["state"] not in (*ENDED, "failed"):
            return False
        if row["state"] == "failed" and not last:
            return False
        if key in self.ended or row["name"] in self.ended:
            return False
        self.ended.add(key)
        return True

    def _draw(self, rows: list[dict[str, Any]]) -> None:
        self._erase()
        width = shutil.get_terminal_size().columns - 1
        lines = table(rows, self.out.name or self.out, test=self.test).splitlines()
        print("\n".join(line[:width] for line in lines), file=sys.stderr)
        self.height = len(lines)

    def _erase(self) -> None:
        if self.height:
            print(f"\033[{self.height}F\033[J", end="", file=raw(sys.stderr))
            self.height = 0


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes.

    >>> clock(65), clock(7500)
    ('1:05', '2:05 h')
    """
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "  –  "
    return f"{value:.3f}"


def _progress(row: dict[str, Any]) -> str:
    step = str(row["step"] or 0)
    if not row["seconds"]:
        return step
    return f"{step}, {clock(row['seconds'])}"
