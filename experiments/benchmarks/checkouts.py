"""Two checkouts of the project measured in turn, so that what else the machine does meets both."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]


def parser(description: str | None, rounds: int, goal: float) -> argparse.ArgumentParser:
    """The flags of every comparison of this checkout with another one."""
    flags = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--base", type=Path, required=True, help="the other checkout")
    flags.add_argument("--rounds", type=int, default=rounds)
    flags.add_argument("--goal", type=float, default=goal, help="largest ratio")
    flags.add_argument("--json", type=Path)
    return flags


def pair(base: Path) -> dict[str, Path]:
    """The two checkouts by name."""
    return {"base": base.resolve(), "this": HERE}


def in_turn(checkouts: dict[str, Path], rounds: int) -> Iterator[tuple[int, str, Path]]:
    """Each round, name and checkout; every other round begins with the other one.

    >>> [(i, name) for i, name, _ in in_turn(pair(Path(".")), 2)]
    [(0, 'base'), (0, 'this'), (1, 'this'), (1, 'base')]
    """
    for i in range(rounds):
        order = list(checkouts)
        if i % 2:
            order.reverse()
        for name in order:
            yield i, name, checkouts[name]


def run(checkout: Path, code: str, *arguments: str) -> str:
    """What Python ``code`` prints in a child process of a checkout."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout


def ratio(these: list[float], others: list[float]) -> float:
    """Median over rounds of one time over the other.

    >>> ratio([1.0, 2.2, 3.0], [1.0, 2.0, 2.0])
    1.1
    """
    return statistics.median(a / b for a, b in zip(these, others, strict=True))
