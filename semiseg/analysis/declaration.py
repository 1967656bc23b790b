"""What a study declares before its runs: the comparison it is about, and how it will be read.

A declared comparison is tested by itself, see :mod:`semiseg.analysis.comparisons`. All others are
exploratory.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from typing import Literal, NamedTuple


class Primary(NamedTuple):
    """The comparison that a study was made for: one setting with the baseline at one label budget.

    Attributes:
      arm: name of the compared setting, as in :func:`semiseg.analysis.arms.find_arms`.
      labels: annotated subjects.

    >>> str(Primary("mean teacher", 8))
    'mean teacher@8'
    """

    arm: str
    labels: int

    def __str__(self) -> str:
        return f"{self.arm}@{self.labels}"


@dataclasses.dataclass(frozen=True)
class Declaration:
    """How a study will be read, written down before its runs.

    Attributes:
      question: in one's own words; "" for none.
      primary: the comparison that is tested by itself; None if all are exploratory.
      baseline: name of the setting that the others are compared with; None for the usual one.
      metric: the primary metric.
      margin: the difference that does not matter, in the unit of the metric; None if none is named.
      family: which comparisons are corrected together: those with the baseline, or all pairs.
      choose_on: the split whose scores choose the setting that the report recommends: validation
        scores, whatever is quoted.
      quote_on: the split whose scores are quoted for it.
      date: when the declaration was written; None if it is not known.
    """

    question: str = ""
    primary: Primary | None = None
    baseline: str | None = None
    metric: str = "dice"
    margin: float | None = None
    family: Literal["baseline", "pairs"] = "baseline"
    choose_on: Literal["val"] = "val"
    quote_on: Literal["val", "test"] = "test"
    date: datetime.date | None = None


def same_name(name: str, other: str) -> bool:
    """Whether two spellings name one setting: case, spaces, hyphens and underscores do not count.

    >>> same_name("mean-teacher", "mean teacher"), same_name("nnU-Net", "unet")
    (True, False)
    """
    return _letters(name) == _letters(other)


def spelled(name: str, names: Iterable[str]) -> str:
    """A setting's name as ``names`` spell it; ``name`` itself where none is the same.

    >>> spelled("Mean_Teacher", ["supervised", "mean teacher"]), spelled("BCP", ["supervised"])
    ('mean teacher', 'BCP')
    """
    names = list(names)
    if name in names:
        return name
    return next((other for other in names if same_name(name, other)), name)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in " -_")
