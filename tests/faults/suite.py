"""Every command of semiseg meets every fault: killed at each change of the file system and in the
middle of its writes, a full disk, a read-only folder, one that vanishes, a clock that is set back,
signals, a second process. After each the same command completes with the same files.

Command: make faults, or python tests/faults/suite.py --most 4 --csv experiments/results/faults.csv
(without --most every place of every fault, hours; killed, it goes on; exit 1 where one fails)
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")

import cases  # noqa: E402
import children  # noqa: E402
import worlds  # noqa: E402
from commands import COMMANDS  # noqa: E402
from injection import Fault  # noqa: E402

COLUMNS = ("command", "fault", "places", "tested", "held", "failed")
Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/faults"), help="its folder")
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--kinds", nargs="*", default=list(cases.KINDS), choices=cases.KINDS)
    parser.add_argument("--rounds", type=int, default=1, help="how often each case is run")
    parser.add_argument("--most", type=int, help="places of a fault, at most")
    parser.add_argument("--most-jax", type=int, help="of commands that start JAX, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of places")
    parser.add_argument("--csv", type=Path, help="write the table to this file")
    args = parser.parse_args()
    work = args.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(work / "programs"))
    chosen = [COMMANDS[name] for name in args.commands]
    children.adopt_orphans()
    children.import_all(jax=any(command.jax for command in chosen))
    world = work / "world"
    template = worlds.prepare(world, worlds.needed([command.words for command in chosen]))
    place = cases.Place(world, template)
    journal = work / "cases.jsonl"
    table: list[Row] = []
    for name in args.commands:
        table += _command(place, name, args, journal)
    _show(table)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
    return int(any(row["failed"] for row in table))


def _command(place: cases.Place, name: str, args: argparse.Namespace, journal: Path) -> list[Row]:
    """A row for each fault of a command."""
    command = COMMANDS[name]
    reference = place.reference(command)
    rows = []
    for kind in args.kinds:
        if kind == "fill" and not cases.can_mount(place.world):
            continue
        places = cases.points(kind, reference, command)
        most = args.most
        if command.jax and args.most_jax is not None:
            most = args.most_jax
        done = _done(journal)
        row: Row = dict.fromkeys(COLUMNS, 0)
        row |= {"command": name, "fault": kind, "places": len(places)}
        for turn in range(args.rounds):
            chosen = cases.sample(places, most, f"{args.seed} {turn} {name} {kind}")
            for at in chosen:
                key = json.dumps([name, kind, at, turn])
                if key not in done:
                    done[key] = _case(place, name, reference, Fault(kind, at, command.folder))
                    record = {"case": [name, kind, at, turn], "problems": done[key]}
                    with journal.open("a") as file:
                        file.write(json.dumps(record) + "\n")
                row["tested"] += 1
                row["failed" if done[key] else "held"] += 1
        if places:
            rows.append(row)
    return rows


def _case(place: cases.Place, name: str, reference: cases.Reference, fault: Fault) -> list[str]:
    began = time.monotonic()
    found = cases.problems(place, COMMANDS[name], reference, fault)
    seconds = time.monotonic() - began
    verdict = "held" if not found else "FAILED"
    print(f"{verdict:6}  {seconds:5.1f} s  {name}: {fault.kind} at {fault.at}", flush=True)
    for line in found:
        print(f"        {line}", flush=True)
    return found


def _done(journal: Path) -> dict[str, list[str]]:
    """Case → problems, of those that have been run."""
    results: dict[str, list[str]] = {}
    if journal.exists():
        for line in journal.read_text().splitlines():
            record = json.loads(line)
            results[json.dumps(record["case"])] = record["problems"]
    return results


def _show(table: list[Row]) -> None:
    print(f"\n{'command':28} {'fault':9} places  tested    held  failed")
    for row in table:
        numbers = "".join(f"{row[column]:8}" for column in COLUMNS[2:])
        print(f"{row['command']:28} {row['fault']:9}{numbers[1:]}")
    tested = sum(row["tested"] for row in table)
    failed = sum(row["failed"] for row in table)
    print(f"{tested} cases, {failed} failed")


if __name__ == "__main__":
    sys.exit(main())
