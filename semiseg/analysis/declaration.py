"""What a study declares before its runs: the comparison it is about, and how it will be read.

A declared comparison is tested by itself, see :mod:`semiseg.analysis.comparisons`. All others are
exploratory.
"""

from __future__ import annotations

import dataclasses
import datetime
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
      choose_on: the split whose scores choose the setting that the report recommends.
      quote_on: the split whose scores are quoted for it.
      date: when the declaration was written; None if it is not known.
    """

    question: str = ""
    primary: Primary | None = None
    baseline: str | None = None
    metric: str = "dice"
    margin: float | None = None
    family: Literal["baseline", "pairs"] = "baseline"
    choose_on: Literal["val", "test"] = "val"
    quote_on: Literal["val", "test"] = "test"
    date: datetime.date | None = None
