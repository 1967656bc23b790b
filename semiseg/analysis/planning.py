"""How many label subsets, seeds and subjects does the next study need?

From the variance components of paired differences of runs at hand
(:func:`semiseg.analysis.variance.variance_split`) follow the standard error of a study of any size
and the gain that it detects, with the critical values of the report's verdict
(:mod:`semiseg.analysis.families`): for many comparisons those of Holm's first step, for one that is
declared or alone those of its own test. Power that is predicted here and power that is simulated
stand in experiments/results/questions.csv.

Sources: Cohen, Statistical Power Analysis, 1988, chapter 2 (power of a t test, noncentral t);
Snijders & Bosker, J. Educ. Stat. 18(3), 1993 (standard errors and sample sizes of nested designs);
Browne, Stat. Med. 14(17), 1995 (plan with an upper limit of a pilot's standard deviation);
Satterthwaite, Biometrics Bull. 2(6), 1946; Holm, Scand. J. Stat. 6(2), 1979.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

from semiseg.analysis.families import LENT, SHARED
from semiseg.analysis.satterthwaite import degrees_left, widened
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
      together: how many of them are at one label budget and lend each other variance.
      level: family-wise error.
    """

    gain: float
    power: float = 0.8
    comparisons: int = 1
    together: int = 1
    level: float = 0.05


class _Variances(NamedTuple):
    """Variances of a mean difference, as in :func:`semiseg.analysis.statistics.spread`.

    Attributes:
      by_run: V_A, between label subsets, with what their overlap hides.
      by_subject: V_C, between subjects.
      interaction: V_X, which is in both.
    """

    by_run: float
    by_subject: float
    interaction: float

    @property
    def error(self) -> float:
        return math.sqrt(self.by_run + self.by_subject - self.interaction)


def _variances(components: Split, design: Size) -> _Variances:
    j, n, s, overlap = design
    subset, seed, subject, crossed, residual = np.nan_to_num(np.square(components)).tolist()
    interaction = (crossed + residual / n) / (j * s)
    of_runs = subset + seed / n
    by_run = of_runs * (1 / j + overlap / (1 - overlap)) + interaction
    return _Variances(by_run, subject / s + interaction, interaction)


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
    return _variances(components, design).error


def power_of(
    components: Split,
    design: Size,
    goal: Goal,
) -> float:
    """Probability that the study finds the gain, by the noncentral t distribution.

    >>> round(power_of(Split(0.02, 0.0, 0.03, 0.0, 0.0), Size(6, 1, 40), Goal(0.03)), 2)
    0.79
    """
    if design.subsets < 2 or design.subjects < 2:
        return 0.0
    error = standard_error(components, design)
    if error == 0:
        return float(goal.gain > 0)
    critical, df = _critical(components, design, goal)
    return float(scipy.stats.nct.sf(critical, df, goal.gain / error))


def detectable(
    components: Split,
    design: Size,
    goal: Goal,
) -> float:
    """The smallest true gain that the study finds with the goal's power; inf with one label subset.

    >>> round(detectable(Split(0.02, 0.0, 0.03, 0.0, 0.0), Size(6, 1, 40), Goal(0.03)), 3)
    0.03
    """
    if design.subsets < 2 or design.subjects < 2:
        return math.inf
    error = standard_error(components, design)
    if error == 0:
        return 0.0
    critical, df = _critical(components, design, goal)

    def lacking(errors: float) -> float:
        return float(scipy.stats.nct.cdf(critical, df, errors)) - (1 - goal.power)

    upper = critical + 10.0
    if lacking(upper) > 0:  # far in the tail: t quantiles add up (Bloom 1995)
        return (critical + float(scipy.stats.t.ppf(goal.power, df))) * error
    return float(scipy.optimize.brentq(lacking, 0.0, upper)) * error


def _critical(components: Split, design: Size, goal: Goal) -> tuple[float, float]:
    """The value that the verdict's statistic must exceed, and the degrees of freedom of the t
    distribution that has it there.
    """
    v = _variances(components, design)
    df = _own_degrees(v, design)
    own = float(scipy.stats.t.isf(goal.level / 2, df))
    if goal.comparisons == 1:
        return own, df
    tail = goal.level / 2 / goal.comparisons
    df_run = degrees_left(_lent_degrees(design.subsets - 1, goal.together), design.overlap)
    df_subject = float(design.subjects - 1)
    if goal.together == 1:
        df_subject = min(df_run, df_subject)
    share = v.by_run / (v.by_run + v.by_subject)
    of_run, of_subject = scipy.stats.t.isf(tail, (df_run, df_subject)).tolist()
    critical = share * of_run + (1 - share) * of_subject
    if critical < own:
        return own, df
    return critical, _degrees_at(critical, tail, df_run, df_subject)


def _own_degrees(v: _Variances, design: Size) -> float:
    """Satterthwaite's degrees of freedom of a comparison by itself, at the expected variances, as
    :func:`semiseg.analysis.statistics.spread` takes them.
    """
    a = degrees_left(design.subsets - 1, design.overlap)
    c = design.subjects - 1
    by_run = widened(v.by_run, a)
    by_subject = widened(v.by_subject, c)
    squares = by_run**2 / a + by_subject**2 / c + v.interaction**2 / (a * c)
    return max(float(min(a, c)), (by_run + by_subject - v.interaction) ** 2 / squares)


def _lent_degrees(df: int, together: int) -> float:
    """Degrees of freedom of the variance between label subsets that comparisons of one budget lend
    each other, see :func:`semiseg.analysis.families.family_test`.

    >>> _lent_degrees(2, 1), round(_lent_degrees(2, 4), 2)
    (2.0, 3.46)
    """
    if together == 1:
        return float(df)
    of_pool = df * together / (1 + (together - 1) * SHARED**2)
    return 1 / ((LENT**2 + 2 * LENT * (1 - LENT)) / of_pool + (1 - LENT) ** 2 / df)


def _degrees_at(critical: float, tail: float, df_run: float, df_subject: float) -> float:
    """The degrees of freedom with which t has this critical value; it lies between the two."""
    low, high = sorted((df_run, df_subject))
    if high - low < 1e-9:
        return low

    def excess(df: float) -> float:
        return float(scipy.stats.t.isf(tail, df)) - critical

    if excess(low) <= 0:
        return low
    if excess(high) >= 0:
        return high
    return float(scipy.optimize.brentq(excess, low, high))


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
    Size(subsets=7, seeds=1, subjects=40, overlap=0.0)
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
    [3, 5, 7, 8]
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
