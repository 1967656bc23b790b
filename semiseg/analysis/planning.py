"""How many label subsets, seeds and subjects does the next study need?

From the variance components of paired differences of runs at hand
(:func:`semiseg.analysis.variance.variance_split`) follow the standard error of a study of any size
and the gain that it detects. The test is the one of the verdict: a paired t test with one degree of
freedom less than label subsets, at the level that Holm's first step leaves each of m comparisons.
Power that is predicted here and power that is simulated stand in experiments/results/questions.csv.

Sources: Cohen, Statistical Power Analysis, 1988, chapter 2 (power of a t test, noncentral t);
Snijders & Bosker, J. Educ. Stat. 18(3), 1993 (standard errors and sample sizes of nested designs);
Browne, Stat. Med. 14(17), 1995 (plan with an upper limit of a pilot's standard deviation); Holm,
Scand. J. Stat. 6(2), 1979.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

from semiseg.analysis.variance import Split
from semiseg.errors import UserError

MOST_SUBSETS = 60
"""Label subsets up to which a plan is sought."""
SEEDS = (1, 2, 3)
"""Seeds in each label subset that are considered."""
CAUTION = 0.8
"""Confidence of the upper limit of a pilot's spread (Browne 1995)."""


class Size(NamedTuple):
    """The size of a study of one compared setting.

    Attributes:
      subsets: label subsets.
      seeds: runs of each label subset.
      subjects: subjects that are scored; of groups of look-alikes, how many groups.
      overlap: annotated subjects of a label subset over those that it is drawn from.
    """

    subsets: int
    seeds: int
    subjects: int
    overlap: float = 0.0

    @property
    def runs(self) -> int:
        """Runs of each compared setting at one label budget.

        >>> Size(5, 2, 20).runs
        10
        """
        return self.subsets * self.seeds


class Alternative(NamedTuple):
    """A design and what it can find.

    Attributes:
      design: its size.
      detects: the true gain that it finds with the wanted power.
      detects_cautiously: the same if the pilot's spread is at its upper limit.
      power: of the wanted gain.
    """

    design: Size
    detects: float
    detects_cautiously: float
    power: float


class Goal(NamedTuple):
    """What a study should be able to find.

    Attributes:
      gain: true difference, in the unit of the scores.
      power: probability to find it.
      comparisons: how many comparisons the verdict is corrected for.
      level: family-wise error.
    """

    gain: float
    power: float = 0.8
    comparisons: int = 1
    level: float = 0.05


def standard_error(
    components: Split,
    design: Size,
) -> float:
    """Standard error of a mean difference: components divided by how often each is drawn.

    √(subset²/J + seed²/(J N) + subject²/S + interaction²/(J S) + residual²/(J N S)), and under the
    root overlap / (1 - overlap) times (subset² + seed²/N), which no number of label subsets of one
    pool makes smaller (:func:`semiseg.analysis.statistics.spread`). A component that the runs could
    not tell (NaN) is in the others and counts 0.

    >>> standard_error(Split(0.02, 0.0, 0.0, 0.0, 0.0), Size(4, 1, 20))
    0.01
    """
    j, n, s, overlap = design
    variances = np.nan_to_num(np.square(components))
    divisor = np.array([j, j * n, s, j * s, j * n * s])
    hidden = overlap / (1 - overlap) * (variances[0] + variances[1] / n)
    return math.sqrt(float((variances / divisor).sum() + hidden))


def power_of(
    components: Split,
    design: Size,
    goal: Goal,
) -> float:
    """Probability that the study finds the gain, by the noncentral t distribution.

    >>> round(power_of(Split(0.02, 0.0, 0.03, 0.0, 0.0), Size(6, 1, 40), Goal(0.03)), 2)
    0.72
    """
    if design.subsets < 2:
        return 0.0
    error = standard_error(components, design)
    df = design.subsets - 1
    critical = scipy.stats.t.ppf(1 - goal.level / goal.comparisons / 2, df)
    if error == 0:
        return float(goal.gain > 0)
    return float(scipy.stats.nct.sf(critical, df, goal.gain / error))


def detectable(
    components: Split,
    design: Size,
    goal: Goal,
) -> float:
    """The smallest true gain that the study finds with the goal's power; inf with one label subset.

    >>> round(detectable(Split(0.02, 0.0, 0.03, 0.0, 0.0), Size(6, 1, 40), Goal(0.03)), 3)
    0.033
    """
    if design.subsets < 2:
        return math.inf
    error = standard_error(components, design)
    if error == 0:
        return 0.0
    df = design.subsets - 1
    critical = float(scipy.stats.t.ppf(1 - goal.level / goal.comparisons / 2, df))

    def lacking(errors: float) -> float:
        return float(scipy.stats.nct.cdf(critical, df, errors)) - (1 - goal.power)

    upper = critical + 10.0
    if lacking(upper) > 0:  # far in the tail: t quantiles add up (Bloom 1995)
        return (critical + float(scipy.stats.t.ppf(goal.power, df))) * error
    return float(scipy.optimize.brentq(lacking, 0.0, upper)) * error


def cautious(
    components: Split,
    pilot: Size,
    confidence: float = CAUTION,
) -> Split:
    """The components at an upper confidence limit: a pilot of three label subsets estimates their
    spread badly (Browne 1995).

    The limit is that of each mean square, so that a component estimated as 0 has one too.

    Args:
      components: as estimated.
      pilot: the design that they were estimated from.
      confidence: that the true spread is not larger.

    >>> round(cautious(Split(0.02, 0.0, 0.03, 0.0, 0.0), Size(3, 1, 20)).subset, 3)
    0.042
    """
    j, n, s, _ = pilot
    degrees = (j - 1, j * (n - 1), s - 1, (j - 1) * (s - 1), j * (n - 1) * (s - 1))
    variances = np.nan_to_num(np.square(components))
    subset, seed, subject, crossed, residual = variances.tolist()
    # What each mean square owes to the other components, see variance.variance_split.
    others = (
        seed / n + crossed / s + residual / (n * s),
        residual / s,
        crossed / j + residual / (j * n),
        residual / n,
        0.0,
    )
    limits = []
    for variance, other, df in zip(variances.tolist(), others, degrees, strict=True):
        factor = 1.0
        if df > 0:
            factor = df / float(scipy.stats.chi2.ppf(1 - confidence, df))
        limits.append(math.sqrt(max((variance + other) * factor - other, 0.0)))
    return Split(*limits)


def pooled(components: Iterable[Split]) -> Split:
    """Root mean square of the components of several comparisons.

    Raises:
      UserError: there is none.

    >>> round(pooled([Split(0.03, 0, 0, 0, 0), Split(0.04, 0, 0, 0, 0)]).subset, 4)
    0.0354
    """
    stacked = np.array([tuple(split) for split in components], dtype=float)
    if not stacked.size:
        raise UserError(
            "there is no paired difference whose spread could be taken",
            remedy="give runs of two methods with the same label subsets, or --subset-sd and the "
            "other standard deviations",
        )
    defined = ~np.isnan(stacked)
    count = defined.sum(0)
    squares = np.where(defined, stacked, 0.0) ** 2
    mean = np.where(count > 0, squares.sum(0) / np.maximum(count, 1), np.nan)
    return Split(*np.sqrt(mean).tolist())


def alternative(
    components: Split,
    design: Size,
    goal: Goal,
    upper: Split | None = None,
) -> Alternative:
    """What a design can find.

    Args:
      components: of the paired difference.
      design: its size.
      goal: what it should find.
      upper: components at their upper limit, see :func:`cautious`; by default those given.

    >>> plan = alternative(Split(0.02, 0, 0.03, 0, 0), Size(6, 1, 40), Goal(0.03))
    >>> plan.detects == plan.detects_cautiously
    True
    """
    return Alternative(
        design,
        detectable(components, design, goal),
        detectable(upper or components, design, goal),
        power_of(components, design, goal),
    )


def smallest_design(
    components: Split,
    subjects: int,
    goal: Goal,
    seeds: Iterable[int] = SEEDS,
    overlap: float = 0.0,
) -> Size | None:
    """The design with the fewest runs that detects the gain; of equally many, with most label
    subsets. None where none with up to :data:`MOST_SUBSETS` subsets does.

    >>> smallest_design(Split(0.02, 0.0, 0.03, 0.0, 0.0), 40, Goal(0.03))
    Size(subsets=8, seeds=1, subjects=40, overlap=0.0)
    """
    fitting = []
    for n in seeds:
        for j in range(2, MOST_SUBSETS + 1):
            design = Size(j, n, subjects, overlap)
            if power_of(components, design, goal) >= goal.power:
                fitting.append(design)
                break
    return min(fitting, key=_fewest_runs, default=None)


def alternatives(
    components: Split,
    subjects: int,
    goal: Goal,
    upper: Split | None = None,
    overlap: float = 0.0,
) -> list[Alternative]:
    """A small table of designs: few to many label subsets, with one seed and with three, and the
    smallest design that reaches the goal with these subjects, twice and four times as many.

    >>> split = Split(0.02, 0.0, 0.03, 0.0, 0.0)
    >>> [plan.design.subsets for plan in alternatives(split, 40, Goal(0.03))][:4]
    [3, 5, 8, 3]
    """
    designs = {Size(j, 1, subjects, overlap) for j in (3, 5, 8, 12)}
    designs |= {Size(j, 3, subjects, overlap) for j in (3, 5)}
    for more in (1, 2, 4):
        smallest = smallest_design(components, more * subjects, goal, overlap=overlap)
        if smallest is not None:
            designs.add(smallest)
    rows = [alternative(components, design, goal, upper) for design in designs]
    return sorted(rows, key=_by_size)


def _fewest_runs(design: Size) -> tuple[int, int]:
    return design.runs, -design.subsets


def _by_size(plan: Alternative) -> tuple[int, int, int]:
    return plan.design.subjects, plan.design.runs, plan.design.subsets
