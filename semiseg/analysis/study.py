"""Runs become a study: arms (what is compared) × label budgets, each cell with an interval, each
arm paired with the baseline.

Between :mod:`semiseg.analysis.statistics`, which knows only arrays, and the figures, tables and
report, which only show a :class:`Study`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from semiseg.analysis.runs import BOOKKEEPING, Run, Runs, matrix
from semiseg.analysis.statistics import (
    Effect,
    Interval,
    effect_size,
    holm,
    mean_interval,
    mean_test,
    minimum_detectable,
    sign_flip_test,
    subject_means,
    wilcoxon_test,
)
from semiseg.errors import UserError
from semiseg.evaluate.metrics import METRICS, metric_of

BASELINE = "supervised"
FEW_SUBSETS = 3
"""Label subsets below which a comparison is also tested by permutation of subjects."""
NAMES = {
    "uamt": "UA-MT", "ict": "ICT", "r_drop": "R-Drop", "cct": "CCT", "cps": "CPS", "urpc": "URPC", "mcnet": "MC-Net+", "dtc": "DTC", "sassnet": "SASSNet",
    "dan": "DAN", "ssnet": "SS-Net", "fixmatch": "FixMatch", "unimatch": "UniMatch", "bcp": "BCP", "ad_mt": "AD-MT",
}  # fmt: skip
"""Methods whose papers spell them otherwise than in words."""
SOURCES = {
    "spade": "SPADE images", "spade_real_masks": "SPADE images on real masks",
    "pix2pix": "pix2pix images", "pix2pix_real_masks": "pix2pix images on real masks",
    "duplicated": "duplicated pairs", "augmented": "augmented pairs", "copy_paste": "copy-pasted pairs",
}  # fmt: skip
"""What synthetic images are, by the arm that made them."""
CONTROLS = ("duplicated", "augmented", "copy_paste")
"""Arms whose images no generator painted: what they give is no merit of one."""
FACTORS = {
    "data",
    "labels",
    "label_subset",
    "seed",
    "synthetic",
}  # a synthetic set is refitted for each budget: its path is no treatment
_SPELT = 3  # settings that the name of an arm spells out: more of them leave a figure no room
_FIRST = (
    "lr",
    "batch",
    "steps",
    "image_size",
    "net.name",
    "optimiser",
    "weight_decay",
)  # of many settings
FEW_SUBJECTS = 6
"""Scored subjects below which no method is recommended: with 5 the smallest two-sided p of a
sign-flip test is 2/2^5 = .06.
"""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One arm at one label budget: ``mean_R`` has a mean per run, in the order of ``runs``. The
    interval is of :func:`replicates`.
    """

    arm: str
    labels: int
    runs: Runs
    mean_R: np.ndarray
    interval: Interval


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An arm minus the baseline at one label budget, paired by subject (and by ``paired_by``, where
    the runs allow it).

    Attributes:
      p: for other label subsets, seeds and subjects (:func:`mean_test`). With fewer than three
        label subsets, where that test is less sure of itself (experiments/results/statistics.csv),
        the larger of it and of a permutation of subjects for the models at hand. That one needs no
        normal distribution, but with S subjects it is never below 2^(1-S): corrected for many
        methods, ten subjects show nothing.
      p_wilcoxon: by subject, beside it.
      detectable: the difference that a study with this spread would find with a power of 80 %; NaN
        where no test can be significant.
    """

    arm: str
    baseline: str
    labels: int
    difference: Interval
    p: float
    p_holm: float
    paired_by: str
    p_wilcoxon: float = np.nan
    effect: Effect = Effect(np.nan, np.nan)
    detectable: float = np.nan

    @property
    def significant(self) -> bool:
        """Both must say so: the test, corrected for the number of comparisons, and the interval."""
        return self.p_holm < 0.05 and (self.difference.low > 0 or self.difference.high < 0)


@dataclasses.dataclass(
    frozen=True, eq=False
)  # by identity, so that what is derived from it can be remembered
class Study:
    """All arms on one data set, for one metric, split and checkpoint.

    Cells and comparisons are of absolute values where the metric is best at zero.
    """

    data: str
    metric: str
    split: str
    checkpoint: str
    unit: str
    arms: dict[str, Runs]
    cells: dict[tuple[str, int], Cell]
    comparisons: list[Comparison]
    baseline: str | None

    @property
    def budgets(self) -> list[int]:
        return sorted({labels for _, labels in self.cells})

    @property
    def sign(self) -> int:
        """1 where more of what is compared is better, -1 where less is."""
        return METRICS[self.metric].sign

    def verdict(self, c: Comparison) -> int:
        """1: the arm is shown to be better than the baseline, -1: worse, 0: undecided."""
        return 0 if not c.significant else 1 if self.sign * c.difference.mean > 0 else -1

    @property
    def shared_budgets(self) -> list[int]:
        """Budgets at which every arm has runs."""
        return [n for n in self.budgets if all((arm, n) in self.cells for arm in self.arms)]

    @property
    def runs(self) -> Runs:
        return Runs([run for runs in self.arms.values() for run in runs])


def study(
    runs: Runs,
    metric: str = "dice",
    split: str = "val",
    checkpoint: str = "last",
    tests: bool = True,
) -> Study:
    """Intervals and comparisons of the runs of one data set. Raises UserError where they are of
    several, or were never scored so.

    ``tests=False`` leaves the comparisons out: only the primary metric is tested, or Holm's family
    would have to hold every metric.
    """
    low, high = metric_of(metric).bounds
    data = sorted({run.data for run in runs})
    if len(data) != 1:
        raise UserError(
            f"runs of several data sets ({', '.join(data)}) have no common curve; take one with "
            f"runs.where(data={data[0]!r})"
        )
    _check_told_apart(runs)
    arms = find_arms(runs)
    cells: dict[tuple[str, int], Cell] = {}
    for arm, members in arms.items():
        for labels in sorted({run.labels for run in members}):
            here = members.where(labels=labels)
            _, values_RS = compared_scores(here, metric, split, checkpoint)
            scored = [r for r in range(len(here)) if not np.isnan(values_RS[r]).all()]
            if scored:
                here, values_RS = Runs([here[r] for r in scored]), values_RS[scored]
                rows, subset_R = replicates(here)
                interval = mean_interval(values_RS[rows], subset_R)
                interval = interval._replace(
                    low=max(interval.low, low), high=min(interval.high, high)
                )
                cells[arm, labels] = Cell(arm, labels, here, np.nanmean(values_RS, 1), interval)
    if not cells:
        hint = (
            "semiseg evaluate RUN --split test"
            if split == "test"
            else "semiseg evaluate RUN --split val"
        )
        raise UserError(
            f"{runs[0].path / 'per_subject.csv'}: no run has {metric} on {split} at checkpoint "
            f"{checkpoint}; run `{hint}` first"
        )
    arms = {arm: members for arm, members in arms.items() if any(a == arm for a, _ in cells)}
    baseline = _baseline(arms)
    comparisons = (
        _compare(arms, cells, baseline, metric, split, checkpoint) if baseline and tests else []
    )
    return Study(
        data[0],
        metric,
        split,
        checkpoint,
        next((r.scores.units.get(metric, "") for r in runs), ""),
        arms,
        cells,
        comparisons,
        baseline,
    )


def compared_scores(
    runs: Sequence[Run], metric: str, split: str, checkpoint: str
) -> tuple[list[str], np.ndarray]:
    """``(subjects, values_RS)`` as they are compared: absolute values where the metric is best at
    zero, of each class before their mean, so that errors of opposite sign do not cancel.
    """
    return matrix(runs, metric, split, checkpoint, absolute=METRICS[metric].absolute)


def _check_told_apart(runs: Runs) -> None:
    """Refuse runs of a results.csv that differ only in what its columns do not hold: as replicates
    of each other they would narrow an interval.
    """
    seen: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        if run.table is None:
            continue
        first = seen.setdefault(
            (
                run.path,
                run.method,
                run.net,
                run.labels,
                str(run.label_subset),
                run.seed,
                run.ratio,
                run.steps,
                run.init,
            ),
            run,
        )
        if first is not run:
            raise UserError(
                f"{run.path}: runs {first.name} and {run.name} are alike in all columns that say "
                f"what a run is, so they differ in something else "
                "(which synthetic images, how they are mixed, a learning rate …); give the run "
                "folders instead of the table, or runs.where(ratio=0)"
            )


def same_subsets(runs: Iterable[Run]) -> dict[str, str]:
    """Label subset → the first that annotates the same subjects at every budget of these runs: two
    numbers of one choice of subjects are one choice.
    """
    chosen: dict[str, dict[int, Any]] = {}
    for run in runs:
        chosen.setdefault(str(run.label_subset), {}).setdefault(
            run.labels, run.annotated or str(run.label_subset)
        )
    first: dict[frozenset[tuple[int, Any]], str] = {}
    return {
        subset: first.setdefault(frozenset(by_budget.items()), subset)
        for subset, by_budget in sorted(chosen.items())
    }


def replicates(runs: Runs) -> tuple[list[int], list[str]]:
    """Which runs of an arm and budget repeat no other (the same subjects annotated, and the same
    seed), and the label subset of each.
    """
    subset = same_subsets(runs)
    rows: dict[tuple[str, int, str], int] = {}
    for r, run in enumerate(runs):
        rows.setdefault(
            (subset[str(run.label_subset)], run.seed, str(run.config.get("synthetic"))), r
        )
    return list(rows.values()), [key[0] for key in rows]


def curve_runs(runs: Runs) -> Runs:
    """What belongs on the label-efficiency curve: runs without synthetic images, and of a method
    that was never run so all it has.
    """
    plain = {run.method for run in runs if not run.ratio}
    return Runs([run for run in runs if not run.ratio or run.method not in plain], runs.problems)


def ratio_runs(runs: Runs) -> Runs | None:
    """Runs with synthetic images and the same methods' runs without, with as many annotations (of
    the same label subsets and seeds, where there are such).
    """
    mixes = [run for run in runs if run.ratio]
    budgets = {(run.method, run.labels) for run in mixes}
    plain = [run for run in runs if not run.ratio and (run.method, run.labels) in budgets]
    fine = {(run.method, run.labels, run.label_subset, run.seed) for run in mixes}
    same = [run for run in plain if (run.method, run.labels, run.label_subset, run.seed) in fine]
    paired = {(run.method, run.labels) for run in same}
    beside = same + [run for run in plain if (run.method, run.labels) not in paired]
    known = {run.method for run in beside}
    return (
        Runs([*beside, *(run for run in mixes if run.method in known)], runs.problems)
        if beside
        else None
    )


def find_arms(runs: Runs) -> dict[str, Runs]:
    """Group runs into arms: the method, and every setting in which runs of that method differ
    (ratio, learning rate, network …).

    Past three settings an arm is called by the published recipe that sets them, or by their number;
    :func:`arm_settings` has them all.
    """
    arms: dict[str, list[Run]] = {}
    for run, name, _ in _named(runs):
        arms.setdefault(name, []).append(run)
    ordered = sorted(arms.items(), key=lambda item: (item[1][0].method != BASELINE, item[0]))
    return {arm: Runs(members) for arm, members in ordered}


def arm_settings(runs: Runs) -> dict[str, list[str]]:
    """What the short name of an arm stands for, in full: ``lr 0.005``, ``batch 24`` …; arms whose
    names say all are left out.
    """
    return {name: full for _, name, full in _named(runs) if full}


def _named(runs: Runs) -> list[tuple[Run, str, list[str]]]:
    """Each run with the name of its arm, and the settings that the name does not spell out."""
    by_method: dict[str, list[Run]] = {}
    for run in runs:
        by_method.setdefault(run.method, []).append(run)
    found = []
    for method, members in by_method.items():
        settings, several = (
            [run.settings for run in members],
            len({run.source for run in members if run.ratio}) > 1,
        )
        keys = sorted({key for flat in settings for key in flat} - BOOKKEEPING - FACTORS)
        keys = [key for key in keys if len({repr(flat.get(key)) for flat in settings}) > 1]
        values = {key: _values(settings, key) for key in keys}
        varied = [key for key in keys if any(len(found) > 1 for found in values[key].values())]
        short = [key.rsplit(".", 1)[-1] for key in varied]
        names = dict(
            zip(
                varied,
                (key if short.count(s) > 1 or s == "name" else s for key, s in zip(varied, short)),
            )
        )
        taken: dict[str, tuple[str, ...]] = {}
        for run, flat in zip(members, settings):
            told = {key: flat.get(key) for key in varied if len(values[key][_kind(flat, key)]) > 1}
            mixed = [key for key in told if key == "ratio" or key.startswith("synthetic_")]
            if not run.ratio:  # no synthetic data needs no word
                told, mixed = {key: value for key, value in told.items() if key not in mixed}, []
            spelt = {key: _told(names[key], value) for key, value in told.items()}
            own = {key: value for key, value in told.items() if key not in mixed}
            many = len(own) > _SPELT
            details = (
                [spelt[key] for key in mixed] + _brief(method, own, names)
                if many
                else list(spelt.values())
            )
            plain = name = _arm(
                method, [source_title(run.source)] * bool(several and run.ratio) + details
            )
            full, again = (run.source, *spelt.values()), 1
            while (
                taken.setdefault(name, full) != full
            ):  # as many as another's, and alike in those that there is room for
                again += 1
                name = f"{plain} #{again}"
            found.append((run, name, list(spelt.values()) if many else []))
    return found


def _arm(method: str, details: list[str]) -> str:
    return title(method) + (f" ({', '.join(details)})" if details else "")


def _told(name: str, value: Any) -> str:
    return (
        "from scratch"
        if name == "init.name" and value == "none"
        else f"{name.removesuffix('.name')} {value}"
    )


def _brief(method: str, told: dict[str, Any], names: dict[str, str]) -> list[str]:
    """Many settings in a few words: those of a recipe and what differs from it, else how many and
    the first of them.
    """
    same = lambda a, b: (
        list(a) == list(b)
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple))
        else a == b
    )
    best: tuple[str, dict[str, Any]] | None = None
    for recipe, flat in _recipes(method).items():
        rest = {
            key: value
            for key, value in told.items()
            if key not in flat or not same(flat[key], value)
        }
        if len(rest) <= min(_SPELT, len(told) - _SPELT) and (
            best is None or len(rest) < len(best[1])
        ):
            best = recipe, rest
    if best:
        return [best[0], *(_told(names[key], value) for key, value in best[1].items())]
    first = sorted(told, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
    words = [_told(names[key], told[key]) for key in first]
    room = lambda n: len(_arm(method, [f"{len(told)} settings: {', '.join(words[:n])}, …"])) <= 44
    return [
        f"{len(told)} settings: {', '.join(words[: max([1, *(n for n in (2, 3) if room(n))])])}, …"
    ]


@functools.lru_cache(32)
def _recipes(method: str) -> dict[str, dict[str, Any]]:
    """The settings of each published recipe that has the method, and of none (``defaults``), with
    dotted names.
    """
    from semiseg import config  # it brings JAX

    flat = lambda trial: config.flatten(config.to_dict(trial))
    try:
        plain = {"defaults": flat(config.override(config.Trial(), {"method": method}))}
    except UserError:  # a method of one's own
        return {}
    return plain | {
        name: flat(config.preset(name, method))
        for name, recipe in config.PRESETS.items()
        if method in recipe
    }


def _kind(flat: dict[str, Any], key: str) -> tuple[Any, ...]:
    """The classes of the parts that hold a setting: two networks' own fields are not compared with
    each other, nor steps of two pre-trainings.
    """
    if key == "init_steps":
        return (flat.get("init.name"),)
    parts = key.split(".")[:-1]
    holders = [".".join((*parts[:i], "name")) for i in range(1, len(parts) + 1)]
    return tuple(flat.get(holder) for holder in holders if holder != key)


def _values(settings: list[dict[str, Any]], key: str) -> dict[tuple[Any, ...], set[str]]:
    """The values a setting takes among the runs of each kind."""
    found: dict[tuple[Any, ...], set[str]] = {}
    for flat in settings:
        found.setdefault(_kind(flat, key), set()).add(repr(flat.get(key)))
    return found


def title(method: str) -> str:
    """``mean_teacher`` → ``mean teacher``, ``bcp`` → ``BCP``."""
    return NAMES.get(method) or method.replace("_", " ").strip() or "unnamed method"


def source_title(source: str) -> str:
    """``spade`` → ``SPADE images``."""
    return SOURCES.get(source) or (
        f"{source.replace('_', ' ')} images" if source else "synthetic images"
    )


def _baseline(arms: dict[str, Runs]) -> str | None:
    """The supervised arm; of several (ratios, networks, learning rates) the one without synthetic
    data, of the plain U-Net, then the first.
    """
    supervised = [arm for arm, runs in arms.items() if runs[0].method == BASELINE]
    real = [arm for arm in supervised if all(run.ratio == 0 for run in arms[arm])]
    real = [arm for arm in real if all(run.init == "none" for run in arms[arm])] or real
    plain = [arm for arm in real if arms[arm][0].net == "unet"]
    return next(iter(plain or real or supervised), None) if len(arms) > 1 else None


def _compare(
    arms: Iterable[str],
    cells: dict[tuple[str, int], Cell],
    baseline: str,
    metric: str,
    split: str,
    checkpoint: str,
) -> list[Comparison]:
    """Every arm against the baseline at every budget both have; one family for Holm's correction."""
    found = []
    for arm in arms:
        for labels in sorted(
            n for a, n in cells if a == arm and arm != baseline and (baseline, n) in cells
        ):
            (mine, theirs), subset_R, paired_by = paired(
                [cells[arm, labels].runs, cells[baseline, labels].runs], metric, split, checkpoint
            )
            values_RS = mine - theirs
            by_subject = subject_means(values_RS, subset_R)
            p, rank = mean_test(values_RS, subset_R), np.nan
            testable = True
            if by_subject.size > 1 or all(
                run.table is None
                for run in (*cells[arm, labels].runs, *cells[baseline, labels].runs)
            ):
                rank = wilcoxon_test(by_subject)
                if len(set(subset_R)) < FEW_SUBSETS:
                    testable = int((~np.isnan(by_subject)).sum()) >= FEW_SUBJECTS
                    p = float(np.fmax(p, sign_flip_test(by_subject)))
            found.append(
                Comparison(
                    arm, baseline, labels, mean_interval(values_RS, subset_R), p, np.nan, paired_by,
                    rank, effect_size(by_subject), minimum_detectable(values_RS, subset_R) if testable else np.nan,
                )
            )  # fmt: skip
    return [
        dataclasses.replace(c, p_holm=float(p)) for c, p in zip(found, holm([c.p for c in found]))
    ]


def paired(
    groups: Sequence[Runs], metric: str, split: str, checkpoint: str
) -> tuple[list[np.ndarray], list[str], str]:
    """A table ``(rows, S)`` for each group with the same rows and subjects, the subset of each row,
    and what a row is.

    Rows are as fine as all groups allow: label subset and seed, else label subset, else nothing but
    the subject.
    """
    every = [run for runs in groups for run in runs]
    _, values_RS = compared_scores(every, metric, split, checkpoint)
    subset = same_subsets(every)
    ends = np.cumsum([len(runs) for runs in groups])
    for paired_by in ("label subset and seed", "label subset", "nothing but the subject"):
        keys = [
            [_key(subset[str(run.label_subset)], run.seed, paired_by) for run in runs]
            for runs in groups
        ]
        shared = sorted(set(keys[0]).intersection(*keys[1:]))
        if shared:
            break
    tables = []
    for mine, here_RS in zip(keys, np.split(values_RS, ends[:-1])):
        rows: dict[tuple[str, ...], list[int]] = {}
        for r, key in enumerate(mine):
            rows.setdefault(key, []).append(r)
        tables.append(
            np.array(
                [
                    here_RS[rows[key][0]]
                    if len(rows[key]) == 1
                    else subject_means(here_RS[rows[key]], [""] * len(rows[key]))
                    for key in shared
                ]
            )
        )
    return tables, [key[0] for key in shared], paired_by


def _key(subset: str, seed: int, paired_by: str) -> tuple[str, ...]:
    return {"label subset and seed": (subset, str(seed)), "label subset": (subset,)}.get(
        paired_by, ("",)
    )
