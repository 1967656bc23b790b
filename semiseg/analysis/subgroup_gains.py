"""What one compared setting gains over another in each subgroup of the subjects.

See :mod:`semiseg.analysis.subgroups`. Subgroups are exploratory: nothing corrects for their number
(Wang et al., N. Engl. J. Med. 357, 2007).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from semiseg.analysis.pairing import compared_scores, paired
from semiseg.analysis.statistics import mean_interval
from semiseg.analysis.study import Study
from semiseg.analysis.subgroups import FEWEST, Subgroup, columns_of


@functools.lru_cache(8)
def study_columns(s: Study) -> dict[str, dict[str, str]]:
    """What is known of the subjects of a study, see :func:`columns_of`."""
    return columns_of(s.runs, s.split)


def subgroup_gains(
    s: Study, arms: tuple[str, str], labels: int, groups: Mapping[str, Sequence[str]]
) -> list[Subgroup]:
    """The paired gain of one setting over another on each group of subjects.

    Positive is better, for a distance as well. A gain in one group and none in another does not say
    that they differ: that is the difference of the gains.

    Args:
      s: the study.
      arms: names of the setting and of what it is compared with.
      labels: annotated subjects of both.
      groups: name → subjects, see :func:`subgroup_scores`.
    """
    cells = [s.cells[arm, labels].runs for arm in arms]
    every = [*cells[0], *cells[1]]
    subjects, _ = compared_scores(every, *s.scored)
    (target, reference), design, _ = paired(cells, *s.scored)
    result = []
    for name, members in groups.items():
        columns = np.isin(subjects, list(members))
        if np.count_nonzero(columns) < FEWEST:
            continue
        part = design.of(np.ones(len(target), bool), columns)
        gain_RS = s.sign * (target - reference)[:, columns]
        result.append(Subgroup(name, mean_interval(gain_RS, part)))
    return result
