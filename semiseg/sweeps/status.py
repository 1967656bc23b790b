"""Where a sweep stands, read from its folder: no process has to be asked, and a dead sweep answers
as well as a living one.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semiseg.errors import UserError
from semiseg.files import read_json_if_whole
from semiseg.sweeps.claims import Claims, summary_of
from semiseg.sweeps.spec import points, read

STATES = ("done", "stopped", "failed", "running", "unfinished", "waiting")


def status(out: str | Path, test: bool = False) -> list[dict[str, Any]]:
    """A row for every trial: name, state, step, steps, dice, seconds, note.

    ``done``, ``stopped`` (early), ``failed``, ``running``, ``unfinished`` (begun, nobody at it) or
    ``waiting``.

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
    folder = out / name
    row: dict[str, Any] = {
        "name": name,
        "state": "waiting",
        "step": 0,
        "steps": None,
        "dice": None,
        "seconds": None,
        "note": "",
    }
    summary, stopped, error = (
        summary_of(folder, test),
        read_json_if_whole(folder / "stopped.json"),
        read_json_if_whole(folder / "error.json"),
    )
    if summary:
        found = summary["last"]["test" if test else "val"]
        seconds = summary.get("seconds_train", 0) + summary.get("seconds_evaluate", 0)
        return row | {
            "state": "done",
            "step": summary.get("steps"),
            "steps": summary.get("steps"),
            "dice": found.get("dice"),
            "seconds": seconds,
        }
    running = not stopped and claims.taken(name)
    if not folder.exists() and not running:
        return row
    last, dice = _log(folder / "metrics.jsonl")
    row |= {"step": last.get("step", 0), "seconds": last.get("seconds"), "dice": dice}
    if stopped:
        return row | {
            "state": "stopped",
            "dice": stopped.get("dice", dice),
            "note": str(stopped.get("stopped", "")),
        }
    row["state"] = "running" if running else "failed" if error else "unfinished"
    return row | ({"note": error.get("error", "")} if error and not running else {})


def _log(file: Path) -> tuple[dict[str, Any], float | None]:
    """The last whole line of metrics.jsonl, and the last validation."""
    if not file.exists():
        return {}, None
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - 4096))
        lines = log.read().decode(errors="replace").splitlines()
    whole = []
    for line in lines:
        try:
            whole.append(json.loads(line))
        except ValueError:
            continue
    whole = [w for w in whole if isinstance(w, dict)]
    dice = next((w["val_dice"] for w in reversed(whole) if "val_dice" in w), None)
    return (whole[-1] if whole else {}), dice


def table(rows: list[dict[str, Any]], out: str | Path, lines: int = 12) -> str:
    """The state in a few lines: counts, what runs, what failed, the best, how long it will take."""
    count = {state: sum(r["state"] == state for r in rows) for state in STATES}
    done = [r for r in rows if r["state"] == "done"]
    head = f"{out}: {count['done']} of {len(rows)} done" + "".join(
        f", {n} {state}" for state, n in count.items() if n and state not in ("done",)
    )
    seconds = [r["seconds"] for r in done if r["seconds"]]
    left = count["running"] + count["unfinished"] + count["waiting"]
    if seconds and left:
        head += (
            f"; about {clock(sum(seconds) / len(seconds) * left / max(1, count['running']))} left"
        )
    shown = [r for r in rows if r["state"] == "running"]
    shown += [r for r in rows if r["state"] == "failed"]
    best = sorted((r for r in done if r["dice"] is not None), key=lambda r: -r["dice"])
    shown = shown[:lines] + best[: max(1, lines - len(shown))]
    width = min(56, max([len(r["name"]) for r in shown], default=4))
    body = [
        (
            f"  {r['state']:10} {r['name'][:width]:{width}}  {_number(r['dice'])}  "
            f"{_progress(r):>14}  {r['note'][:70]}"
        ).rstrip()
        for r in shown
    ]
    return "\n".join(
        [
            head,
            *([f"  {'':10} {'trial':{width}}  Dice  {'step, seconds':>14}"] if body else []),
            *body,
        ]
    )


class Board:
    """Follows a sweep while it runs: redraws the table on a terminal, else says a line for every
    trial that ends.
    """

    def __init__(self, out: Path, test: bool, say: Callable[[str], None]):
        self.out, self.test, self.say = out, test, say
        self.ended = {r["name"] for r in status(out, test) if r["state"] in ("done", "stopped")}
        self.height, self.next = 0, 0.0

    def update(self, last: bool = False) -> None:
        if time.monotonic() < self.next and not last:
            return
        began = time.monotonic()
        rows = status(self.out, self.test)
        for place, row in enumerate(rows, 1):
            key = row["name"] + (row["note"] if row["state"] == "failed" else "")
            if (
                row["state"] in ("done", "stopped", "failed")
                and key not in self.ended
                and row["name"] not in self.ended
            ):
                if row["state"] != "failed" or last:  # an old failure may be running again soon
                    self.ended.add(key)
                    self._erase()
                    self.say(
                        (
                            f"{place:4}/{len(rows)}  {row['state']:8} {_number(row['dice'])}  "
                            f"{row['name']}  {row['note']}"
                        ).rstrip()
                    )
        if sys.stderr.isatty():
            self._erase()
            text = "\n".join(
                line[: shutil.get_terminal_size().columns - 1]
                for line in table(rows, self.out.name or self.out).splitlines()
            )
            print(text, file=sys.stderr)
            self.height = text.count("\n") + 1
        self.next = time.monotonic() + max(
            1.0, 20 * (time.monotonic() - began)
        )  # looking must stay cheap beside training

    def _erase(self) -> None:
        if self.height:
            print(f"\033[{self.height}F\033[J", end="", file=sys.stderr)
            self.height = 0


def clock(seconds: float) -> str:
    """``1:05`` minutes, ``2:05 h``."""
    minutes = int(seconds) // 60
    return (
        f"{minutes}:{int(seconds) % 60:02d}"
        if minutes < 60
        else f"{minutes // 60}:{minutes % 60:02d} h"
    )


def _number(value: float | None) -> str:
    return "  – " if value is None or value != value else f"{value:.3f}".removeprefix("0").rjust(4)


def _progress(row: dict[str, Any]) -> str:
    return f"{row['step'] or 0}" + (f", {clock(row['seconds'])}" if row["seconds"] else "")
