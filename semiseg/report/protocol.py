"""How the numbers were measured: the rows of "How it was measured"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from semiseg.analysis.runs import Run, Runs
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.report import fold_findings
from semiseg.report.advice import scored_subjects
from semiseg.report.facts import covered
from semiseg.report.format import count, shortened
from semiseg.report.sentences import SPLITS

Row = tuple[str, str]
"""A heading and its text."""


def protocol(s: Study) -> list[Row]:
    """Data, scores, runs, training, statistics."""
    if s.folds:
        return _of_folds(s)
    rows = [
        ("Data", _data(s)),
        ("Scored on", _scored(s)),
        ("Checkpoint", _CHECKPOINT),
        ("Runs", _runs(s)),
        ("Training", _training(s)),
        ("Empty masks", _empty_masks(s.runs)),
        ("Intervals", _intervals(s)),
    ]
    if s.comparisons:
        rows.append(("Comparisons", _comparisons(s)))
    return rows


def _of_folds(s: Study) -> list[Row]:
    rows = [
        ("Data", _data(s)),
        ("Scored on", fold_findings.scored(s)),
        ("Checkpoint", fold_findings.CHECKPOINT),
        ("Runs", fold_findings.runs(s)),
        ("Training", _training(s)),
        ("Empty masks", _empty_masks(s.runs)),
        ("Intervals", fold_findings.intervals(s)),
    ]
    if s.comparisons:
        rows.append(("Comparisons", fold_findings.comparisons(s)))
    return rows


_CHECKPOINT = (
    "The last one. It was not chosen by its scores; results.csv also has the best validation "
    "checkpoint, under its own name."
)


def _data(s: Study) -> str:
    return (
        f"{s.data}. Splits are by subject: no subject is in two of them. Training has no access to "
        f"the test set.{_test_evaluations(s)}"
    )


def _test_evaluations(s: Study) -> str:
    """How often the test images were looked at, where the data set is on this machine."""
    from semiseg.data import store

    try:
        history = store.history(s.data, s.runs[0].config.get("root"))
    except UserError:
        return ""
    tested = sum(run.table is None and "test" in run.scores.axes[0] for run in s.runs)
    unrecorded = tested - history.evaluations
    if unrecorded > 0:
        return f" {history.message} {_unrecorded(tested, unrecorded)}"
    if not any(history):
        return ""
    return f" {history.message}"


def _unrecorded(tested: int, unrecorded: int) -> str:
    """What ledgers that were emptied everywhere cannot say themselves.

    >>> _unrecorded(8, 2)[:75]
    'Runs with test scores: 8; without a line in the ledger: 2 (evaluated on ano'
    """
    return (
        f"Runs with test scores: {tested}; without a line in the ledger: {unrecorded} (evaluated "
        f"on another machine, or the lines are gone)."
    )


def _scored(s: Study) -> str:
    return (
        f"{count(scored_subjects(s), 'subject')} of the {SPLITS.get(s.split, s.split)} set. A "
        f"score is computed for each subject and class, averaged over foreground classes, then "
        f"over subjects."
    )


def _values(runs: Runs, get: Callable[[Run], Any]) -> list[str]:
    values = dict.fromkeys(get(run) for run in runs)
    return [str(value) for value in values if value is not None]


def _runs(s: Study) -> str:
    sizes = Counter((c.interval.n_subsets, c.interval.n_runs) for c in s.cells.values())
    (subsets, runs), _ = sizes.most_common(1)[0]
    label_subsets = shortened(_values(s.runs, lambda run: run.label_subset))
    seeds = shortened(_values(s.runs, lambda run: run.seed))
    return (
        f"{len(s.runs)}: usually {count(subsets, 'label subset')}, {count(runs, 'run')} for each "
        f"method and label budget. Label subsets {label_subsets}; seeds {seeds}."
    )


def _training(s: Study) -> str:
    trained = Runs(run for run in s.runs if not run.is_external)
    if not trained:
        return "Not known: all masks were made by another program."
    steps = ", ".join(_values(trained, lambda run: run.steps))
    batch = ", ".join(_values(trained, lambda run: run.config.get("batch"))) or "not recorded"
    side = ", ".join(_values(trained, lambda run: run.config.get("image_size")))
    nets = ", ".join(_values(trained, lambda run: run.net))
    text = f"{steps} steps, batch {batch}"
    if side:
        text += f", images of {side} pixels a side"
    text += f", network {nets}.{_pre_training(s.runs)}"
    if any(run.ratio for run in s.runs):
        ratios = ", ".join(_values(s.runs, lambda run: f"{run.ratio:g}"))
        text += f" Synthetic share of the batch: {ratios}."
    return text


def _pre_training(runs: Runs) -> str:
    """What came before the training, for those that did not begin at random."""
    starts = {(run.init, run.total_steps - run.steps) for run in runs if run.init != "none"}
    return "".join(
        f" Runs with init {init} have {steps:,} steps of pre-training before these."
        for init, steps in sorted(starts)
    )


def _empty_masks(runs: Runs) -> str:
    return (
        "A score that is not defined for a subject and class is left out of the mean; n_subjects "
        f"in results.csv counts the others.{_policy(runs)}"
    )


def _policy(runs: Runs) -> str:
    """The evaluator's policy for empty masks, as the runs recorded it."""
    policies = [run.summary.get("empty_policy") for run in runs]
    policy: Any = next((policy for policy in policies if policy), None)
    if not policy:
        return ""
    if isinstance(policy, dict):
        policy = "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in policy.items())
    return f" Policy for an empty mask, as recorded by the runs: {policy}."


def _intervals(s: Study) -> str:
    if not covered(s):
        return (
            "None. With one run on one subject, or with runs that are all alike, nothing varies, "
            "so "
            "there is no interval."
        )
    return (
        f"95 % intervals for other {covered(s)}: Student's, with the variance of two crossed "
        "clusters (runs by label subset; subjects, or groups of look-alike subjects), "
        "Satterthwaite's degrees of freedom; means of a score with two bounds, such as Dice, on "
        "the logit scale, distances and differences with a longer side where subjects' scores are "
        f"skewed. {_coverage(s)} A factor with one member does not vary, so no interval covers it. "
        "Point at an interval to see what it covers."
    )


def _coverage(s: Study) -> str:
    """How often the intervals contain the truth."""
    if all(cell.interval.n_subjects == 1 for cell in s.cells.values()):
        return (
            "They leave out the spread between subjects, so they are too narrow for what other "
            "subjects would show."
        )
    return _COVERAGE


_COVERAGE = (
    "In simulations with 3 or more label subsets and at least 20 subjects (22 groups, where there "
    "are groups) they contain the truth in 92 to 98 of 100 cases, whatever the kind of score. It "
    "is less with fewer subjects (81 with 10, where some of them fail; 84 with 4 groups and 90 "
    "with 7) and with 2 label subsets (88 for a difference); see experiments/results/coverage.csv."
)


def _comparisons(s: Study) -> str:
    on = "on the same subjects and, where possible,"
    if not any(c.by_subject for c in s.comparisons):
        on = "where possible"
    sentences = [
        f"Each method minus {s.baseline}, {on} with the same label subset and seed.",
        "The p value belongs to the test that goes with the interval (other label subsets, seeds "
        "and subjects). With fewer than three label subsets it is the larger of this one and that "
        "of a sign-flip permutation test by subject.",
        _family(s),
        "A method is better or worse (significant) if the corrected p is below 0.05 and the "
        "interval excludes zero. Otherwise it is undecided, which does not mean equal.",
        "Detectable is the difference that would be significant in 80 of 100 such studies, after "
        "the same correction.",
    ]
    return " ".join(sentences)


def _family(s: Study) -> str:
    """What the corrected p is."""
    if len(s.comparisons) == 1 and s.comparisons[0].p_holm == s.comparisons[0].p:
        return "It is the only comparison, so that the corrected p is the same."
    exploratory = "all comparisons on this data set"
    declared = ""
    if s.primary is not None:
        exploratory = "all comparisons but the declared one"
        declared = (
            " The declared comparison is tested first, by itself; the others count only if it is "
            "significant. In simulations this one test errs in 3 to 6 of 100 studies (5 on "
            "average; 7 where label subsets have half of their subjects in common), and so does "
            "the page as a whole."
        )
    return (
        f"The corrected p is Holm's over {exploratory}, those of synthetic data included. For it, "
        "the methods at one label budget lend each other half of the variance between label "
        "subsets, and the critical value is Cochran's. Then, with 3 or 5 label subsets, at most 6 "
        "of 100 studies without any true difference call one significant, whatever the number of "
        "methods (simulated with the variances of real studies, "
        f"experiments/results/families.csv).{declared}"
    )
