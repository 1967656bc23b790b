"""What synthetic images give a method beside real images alone, and beside the control images."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from semiseg.analysis.areas import Trend, log_trend
from semiseg.analysis.arms import SET, details_of, title
from semiseg.analysis.comparisons import LEVEL, compare_couples, correct
from semiseg.analysis.design import Design
from semiseg.analysis.families import Difference, family_test
from semiseg.analysis.pairing import paired
from semiseg.analysis.runs import Run, Runs
from semiseg.analysis.statistics import Interval, holm, mean_interval, mean_test, spread
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.synthetic_sources import CONTROLS, source_title


@dataclasses.dataclass(frozen=True)
class Mix:
    """A method with synthetic images at one budget and ratio.

    Attributes:
      line: what it shares with the other ratios: the kind of images, and settings that differ.
      source: what the images are, see :data:`semiseg.synthetic_sources.SOURCES`; "" for a set of
        one's own.
      labels: annotated subjects.
      ratio: synthetic images per real image.
      score: of its runs.
      alone: of the same method with real images alone.
      gain: over that, paired; positive where it is better, for a distance as well.
      beside: the same over each control with as many images, by the control's title.
      verdict: 1 if the gain is significant after correction for all comparisons of the study, -1 if
        a loss is, 0 if neither; None where nothing was tested.
      p_holm: of the gain, corrected for all mixes of a table; NaN where a study has its own.
    """

    line: str
    source: str
    labels: int
    ratio: float
    score: Interval
    alone: Interval
    gain: Interval
    beside: dict[str, Interval]
    verdict: int | None = None
    p_holm: float = np.nan


class MeanRow(NamedTuple):
    """One run of a table with a mean per run; ``ratio`` 0 is a run with real images alone."""

    line: str
    source: str
    labels: int
    label_subset: Hashable
    seed: int
    ratio: float
    score: float

    @property
    def replica(self) -> tuple[Hashable, ...]:
        """What pairs it with another run."""
        return (self.labels, self.label_subset, self.seed)


@functools.lru_cache(8)
def mixes(s: Study) -> tuple[Mix, ...]:
    """All mixes that stand beside the same method without synthetic images.

    Lines are in the order of the compared settings; controls come last.

    Raises:
      UserError: there is none.
    """
    arms = [arm for arm, runs in s.arms.items() if runs[0].ratio]
    results: list[Mix] = []
    verdicts = _verdicts(s, arms)
    for arm in sorted(arms, key=lambda arm: s.arms[arm][0].source in CONTROLS):
        results += _mixes_of(s, arm, verdicts)
    if not results:
        raise UserError(
            f"{s.data}: no run with synthetic images stands beside one of the same method without"
        )
    return tuple(results)


def table_mixes(
    rows: Iterable[tuple[str, str, int, Hashable, int, float, float]],
    annotated: int = 0,
) -> list[Mix]:
    """Mixes of a table with a mean per run.

    Pairs are of one budget, label subset and seed; runs without such a partner are left out.
    Controls come last. All gains of the table are tested as one family.

    Args:
      rows: see :class:`MeanRow`.
      annotated: training subjects from which label subsets are drawn, for their overlap; 0 if
        unknown.

    >>> mixes = table_mixes(
    ...     [
    ...         ("", "", 8, 0, 0, 0.0, 0.70),
    ...         ("SPADE images", "spade", 8, 0, 0, 1.0, 0.72),
    ...     ]
    ... )
    >>> [(mix.line, mix.ratio, round(mix.gain.mean, 3)) for mix in mixes]
    [('SPADE images', 1.0, 0.02)]
    """
    alone: dict[tuple[Hashable, ...], float] = {}
    groups: dict[tuple[Any, ...], list[MeanRow]] = {}
    for row in map(MeanRow._make, rows):
        if row.ratio:
            key = (row.line, row.source, row.labels, row.ratio)
            groups.setdefault(key, []).append(row)
        else:
            alone[row.replica] = row.score
    pairs = []
    for group in sorted(groups.values(), key=lambda group: group[0].source in CONTROLS):
        mixed = {row.replica: row.score for row in group}
        shared = sorted(mixed.keys() & alone.keys(), key=str)
        if shared:
            pairs.append(_pair_of(group[0], mixed, alone, shared, annotated))
    return _tested(pairs)


class _Pair(NamedTuple):
    """Mean scores of the runs of a mix, ``(R, 1)``, and of the same without."""

    row: MeanRow
    mixed_R1: np.ndarray
    alone_R1: np.ndarray
    design: Design

    @property
    def gain_R1(self) -> np.ndarray:
        return self.mixed_R1 - self.alone_R1


def _pair_of(
    row: MeanRow,
    mixed: dict[tuple[Hashable, ...], float],
    alone: dict[tuple[Hashable, ...], float],
    shared: list[tuple[Hashable, ...]],
    annotated: int,
) -> _Pair:
    subsets = [subset for _, subset, _ in shared]
    share = row.labels / annotated if row.labels < annotated else 0.0
    mixed_R1 = np.array([[mixed[key]] for key in shared])
    alone_R1 = np.array([[alone[key]] for key in shared])
    return _Pair(row, mixed_R1, alone_R1, Design(subsets, share=share))


def _tested(pairs: list[_Pair]) -> list[Mix]:
    """The mixes of a table, with the verdict of the test of their family."""
    if not pairs:
        return []
    differences = [
        Difference(spread(p.gain_R1, p.design), f"{p.row.line} {p.row.ratio}", "", p.row.labels)
        for p in pairs
    ]
    p_alone = np.array([mean_test(p.gain_R1, p.design) for p in pairs])
    p_holm = p_alone
    if len(pairs) > 1:
        p_holm = np.maximum(holm(family_test(differences).p.tolist()), p_alone)
    results = []
    for pair, p in zip(pairs, p_holm.tolist(), strict=True):
        mix = _mix_of_means(pair)
        results.append(dataclasses.replace(mix, verdict=_verdict(mix.gain, p), p_holm=p))
    return results


def _verdict(gain: Interval, p: float) -> int | None:
    if np.isnan(p):
        return None
    if p < LEVEL and gain.low > 0:
        return 1
    if p < LEVEL and gain.high < 0:
        return -1
    return 0


def _mix_of_means(pair: _Pair) -> Mix:
    row = pair.row
    return Mix(
        row.line,
        row.source,
        row.labels,
        row.ratio,
        score=mean_interval(pair.mixed_R1, pair.design),
        alone=mean_interval(pair.alone_R1, pair.design),
        gain=mean_interval(pair.gain_R1, pair.design),
        beside={},
    )


def _mixes_of(
    s: Study,
    arm: str,
    verdicts: dict[tuple[str, str, int], int],
) -> Iterator[Mix]:
    """The mixes of one compared setting, a budget each."""
    first = s.arms[arm][0]
    base = _without_synthetic(s, arm)
    if base is None:
        return
    line = _line(s, arm)
    for labels in s.budgets_of(arm):
        if (base, labels) not in s.cells:
            continue
        mixed = s.cells[arm, labels]
        alone = s.cells[base, labels]
        yield Mix(
            line,
            first.source,
            labels,
            first.ratio,
            mixed.interval,
            alone.interval,
            _difference(s, mixed.runs, alone.runs),
            _beside_controls(s, arm, labels),
            verdicts.get((arm, base, labels)),
        )


def _verdicts(s: Study, arms: list[str]) -> dict[tuple[str, str, int], int]:
    """The verdict of each mix and the setting that it stands beside, at each budget.

    They are those of the study's own comparisons. Mixes of other methods, which the study compares
    with its baseline alone, are corrected together with these.
    """
    known = {(c.arm, c.baseline, c.labels): s.verdict(c) for c in s.comparisons}
    others = []
    for arm in arms:
        base = _without_synthetic(s, arm)
        for labels in s.budgets_of(arm):
            is_new = base is not None and (arm, base, labels) not in known
            if is_new and (base, labels) in s.cells:
                others.append((s.cells[arm, labels], s.cells[str(base), labels]))
    if not others:
        return known
    family = correct([*s.comparisons, *compare_couples(others, s.scored)])
    for c in family[len(s.comparisons) :]:
        known[c.arm, c.baseline, c.labels] = s.verdict(c)
    return known


class DoseResponse(NamedTuple):
    """Whether more synthetic images help more: one test over all ratios of a line and budget.

    Attributes:
      line, labels: as in :class:`Mix`.
      trend: of the score for each doubling of the ratio, positive where more images are better; its
        p is corrected for all lines and budgets.
    """

    line: str
    labels: int
    trend: Trend


@functools.lru_cache(8)
def dose_responses(s: Study) -> tuple[DoseResponse, ...]:
    """The trend over the ratios of every line and budget with two ratios or more.

    It is the test of a dose–response: the best of several ratios is none.
    """
    groups: dict[tuple[str, int], list[tuple[float, Runs]]] = {}
    for arm, runs in s.arms.items():
        if not runs[0].ratio:
            continue
        line = _line(s, arm)
        for labels in s.budgets_of(arm):
            doses = groups.setdefault((line, labels), [])
            doses.append((runs[0].ratio, s.cells[arm, labels].runs))
    results = []
    for (line, labels), doses in groups.items():
        ordered = sorted(doses, key=lambda dose: dose[0])
        ratios = [ratio for ratio, _ in ordered]
        if len(set(ratios)) < max(2, len(ratios)):
            continue
        tables, design, _ = paired([runs for _, runs in ordered], *s.scored)
        trend = log_trend([s.sign * table for table in tables], design, ratios)
        results.append(DoseResponse(line, labels, trend))
    corrected = holm([r.trend.p for r in results]).tolist()
    return tuple(
        r._replace(trend=r.trend._replace(p=p)) for r, p in zip(results, corrected, strict=True)
    )


def _line(s: Study, arm: str) -> str:
    """What a setting with synthetic images shares with its other ratios."""
    first = s.arms[arm][0]
    parts = _details_but_ratio(arm)
    if len({runs[0].method for runs in s.arms.values() if runs[0].ratio}) > 1:
        parts = [title(first.method), *parts]
    return ", ".join(parts) or source_title(first.source)


def _details_but_ratio(arm: str) -> list[str]:
    return [part for part in details_of(arm) if not part.startswith("ratio ")]


def _without_synthetic(s: Study, arm: str) -> str | None:
    """The setting of the same method without synthetic images that shares the most details."""
    run = s.arms[arm][0]
    details = set(_details_but_ratio(arm))
    near = [
        arm for arm, runs in s.arms.items() if not runs[0].ratio and runs[0].method == run.method
    ]
    return max(
        near,
        key=lambda arm: len(details.intersection(details_of(arm))),
        default=None,
    )


def _beside_controls(
    s: Study,
    arm: str,
    labels: int,
) -> dict[str, Interval]:
    """The difference from the controls that differ from a setting by the images alone: of its
    method, ratio, other settings and budget. A control itself has none.
    """
    first = s.arms[arm][0]
    results: dict[str, Interval] = {}
    if first.source in CONTROLS:
        return results
    treatment = _treatment(arm, first)
    for other, runs in s.arms.items():
        source = runs[0].source
        if source not in CONTROLS or (other, labels) not in s.cells:
            continue
        if _treatment(other, runs[0]) == treatment:
            control = s.cells[other, labels].runs
            results[source_title(source)] = _difference(
                s,
                s.cells[arm, labels].runs,
                control,
            )
    return results


def _treatment(
    arm: str,
    run: Run,
) -> tuple[str, float, set[str]]:
    """What a setting does beside the kind of its synthetic images, and the set they are of."""
    others = {part for part in details_of(arm) if not part.startswith(f"{SET} ")}
    return run.method, run.ratio, others - {source_title(run.source)}


def _difference(
    s: Study,
    runs: Runs,
    others: Runs,
) -> Interval:
    (target, reference), subset_R, _ = paired([runs, others], *s.scored)
    return mean_interval(s.sign * (target - reference), subset_R)
