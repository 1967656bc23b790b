"""``python -m fuzz``: mutated inputs of every kind for some minutes, and a table of what came of
them. Exit code 1 where one failed.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from fuzz import engine, reproducer
from fuzz.engine import Case, Kind, Measured
from fuzz.registry import kinds

RESULTS = (engine.REFUSED, engine.SAME, engine.DIFFERENT, engine.FAILURE)
FAILURES = Path("build/fuzz")


def main(argv: list[str] | None = None) -> int:
    """Run the suite; returns the exit code."""
    parser = argparse.ArgumentParser("fuzz", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=None, help="of an earlier run; else a fresh one"
    )
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--kind", action="append", default=[], help="the beginning of a kind's name"
    )
    parser.add_argument("--case", type=int, default=None, help="run this case of one kind alone")
    parser.add_argument("--each", type=int, default=0, help="run so many inputs of each kind")
    parser.add_argument("--json", type=Path, default=None, help="also write every result here")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=FAILURES, help="where reproducers go")
    args = parser.parse_args(argv)
    seed = args.seed
    if seed is None:
        seed = secrets.randbelow(1 << 32)
    chosen = kinds(tuple(args.kind))
    print(f"fuzz: --seed {seed}, {len(chosen)} kinds", flush=True)
    engine.warm(chosen)
    if args.case is not None:
        return _one(engine.make_case(chosen[0], seed, args.case))
    end = time.monotonic() + 60 * args.minutes
    todo = [(draw(chosen, seed, number), number) for number in range(args.inputs)]
    if args.each:
        todo = [(kind, number) for number in range(args.each) for kind in chosen]
    readers: list[int] = []
    for job in range(args.jobs):
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.close(reader)
            _work(todo[job :: args.jobs], seed, end, args.out, writer)
            os._exit(0)
        os.close(writer)
        readers.append(reader)
    lines = _collected(readers)
    if args.json is not None:
        args.json.write_text(json.dumps(lines))
    return _summary(lines, seed, args.out)


def _one(case: Case) -> int:
    measured = engine.run_case(case)
    print(f"{case.kind.name} {case.number}: {case.name}, {case.words}")
    print(f"{measured.verdict.result} {measured.verdict.group}\n{measured.verdict.detail}")
    return int(measured.verdict.result == engine.FAILURE)


# ------------------------------------------------------------------ workers
def _work(todo: list[tuple[Kind, int]], seed: int, end: float, out: Path, writer: int) -> None:
    """Run cases until their end or that of the time, and say each in a line."""
    seen: set[str] = set()
    for kind, number in todo:
        if time.monotonic() > end:
            break
        case = engine.make_case(kind, seed, number)
        measured = engine.run_case(case)
        place = ""
        if measured.verdict.result == engine.FAILURE and measured.verdict.group not in seen:
            seen.add(measured.verdict.group)
            place = str(reproducer.write(case, measured.verdict, out))
        os.write(writer, (json.dumps(_line(case, measured, place)) + "\n").encode())


def draw(chosen: list[Kind], seed: int, number: int) -> Kind:
    """The kind of a number, by the weights."""
    rng = random.Random(f"{seed}:{number}")
    return rng.choices(chosen, [kind.weight for kind in chosen])[0]


def _line(case: Case, measured: Measured, place: str) -> dict[str, Any]:
    return {
        "kind": case.kind.name,
        "number": case.number,
        "result": measured.verdict.result,
        "group": measured.verdict.group,
        "cpu": measured.cpu,
        "grown": measured.grown,
        "place": place,
    }


# ------------------------------------------------------------------ the table
def _collected(readers: list[int]) -> list[dict[str, Any]]:
    """The lines of all workers; a point a thousand shows that they run."""
    import selectors

    waiting = selectors.DefaultSelector()
    parts = dict.fromkeys(readers, b"")
    for reader in readers:
        waiting.register(reader, selectors.EVENT_READ)
    lines: list[dict[str, Any]] = []
    while waiting.get_map():
        for key, _ in waiting.select():
            content = os.read(key.fd, 1 << 16)
            if not content:
                waiting.unregister(key.fd)
            *whole, parts[key.fd] = (parts[key.fd] + content).split(b"\n")
            for line in whole:
                lines.append(json.loads(line))
                if len(lines) % 1000 == 0:
                    print(f"fuzz: {len(lines):,} inputs", file=sys.stderr, flush=True)
    for _ in readers:
        os.wait()
    return lines


def _summary(lines: list[dict[str, Any]], seed: int, out: Path) -> int:
    by_kind: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for line in lines:
        by_kind[line["kind"]].append(line)
    header = " ".join(f"{result:>8}" for result in RESULTS)
    print(f"{'kind':24} {'inputs':>7} {header} {'CPU ms':>7} {'most MB':>8}")
    for kind in sorted(by_kind):
        print(_row(kind, by_kind[kind]))
    print(_row("all", lines))
    groups: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for line in lines:
        if line["result"] == engine.FAILURE:
            groups[line["group"]].append(line)
    for group, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        first = members[0]
        print(f"{len(members):5} × {group}  (--kind {first['kind']} --case {first['number']})")
    if groups:
        print(f"fuzz: {len(groups)} failures; inputs and commands are in {out}; --seed {seed}")
    return int(bool(groups))


def _row(name: str, lines: list[dict[str, Any]]) -> str:
    counts = collections.Counter(line["result"] for line in lines)
    numbers = " ".join(f"{counts[result]:8}" for result in RESULTS)
    cpu = 1000 * sum(line["cpu"] for line in lines) / max(1, len(lines))
    grown = max((line["grown"] for line in lines), default=0) / 1e6
    return f"{name:24} {len(lines):7} {numbers} {cpu:7.1f} {grown:8.0f}"


if __name__ == "__main__":
    sys.exit(main())
