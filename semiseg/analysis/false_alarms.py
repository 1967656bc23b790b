"""False alarms: in how many healthy subjects does a compared setting predict something?

Overlap and distances are undefined where the truth is empty, so they cannot say
(Maier-Hein et al., Nat. Methods 21, 2024; Reinke et al., Nat. Methods 21, 2024).
"""

from __future__ import annotations

from semiseg.analysis.cells import Cell
from semiseg.analysis.groups import design_of
from semiseg.analysis.pairing import replicates
from semiseg.analysis.runs import matrix
from semiseg.analysis.scores import MEAN_OF_ALL
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Study
from semiseg.analysis.tails import proportion_interval

RATE = "false_positive_rate"
VOLUME = "false_positive_volume"
"""The metrics of healthy subjects, see :data:`semiseg.evaluate.metrics.METRICS`."""


def false_alarms(s: Study, cell: Cell, class_: str = "mean") -> Interval | None:
    """Share of the healthy subjects in which the runs of a cell predict anything, with its interval
    (:func:`~semiseg.analysis.tails.proportion_interval`).

    Args:
      s: the study.
      cell: one of its cells.
      class_: "mean" over the classes that a subject has nothing of, or one class.

    Returns:
      None where no subject is healthy, or single subjects are not known, and of folds.
    """
    if s.folds:
        return None
    subjects, values_RS = matrix(cell.runs, RATE, s.split, s.checkpoint, class_)
    if not subjects or MEAN_OF_ALL in subjects:
        return None
    rows, subset_R = replicates(cell.runs)
    return proportion_interval(values_RS[rows], design_of(cell.runs, subset_R, subjects))
