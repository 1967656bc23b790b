"""Timing side by side: in every round each contender runs once, so that a slow minute of the
machine slows all of them.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Contender(NamedTuple):
    """What is timed.

    Attributes:
      run: a call that ends when its work is done.
      steps: how many steps a call makes.
    """

    run: Callable[[], Any]
    steps: int = 1


def timed(
    contenders: Mapping[str, Contender],
    rounds: int,
    *,
    least: int = 0,
    seconds: float = math.inf,
) -> dict[str, list[float]]:
    """Seconds of a step of each contender, a value a round.

    Args:
      contenders: by name.
      rounds: how many there are.
      least: rounds that are made however long they take.
      seconds: after which no round is begun but those.
    """
    values: dict[str, list[float]] = {name: [] for name in contenders}
    start = time.perf_counter()
    for i in range(rounds):
        if i >= least and time.perf_counter() - start > seconds:
            break
        for name, contender in contenders.items():
            began = time.perf_counter()
            contender.run()
            values[name].append((time.perf_counter() - began) / contender.steps)
    return values


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median over rounds of each contender."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of the ratio in the same round.

    >>> median_ratio([1.0, 4.0, 3.0], [1.0, 2.0, 2.0])
    1.5
    """
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
