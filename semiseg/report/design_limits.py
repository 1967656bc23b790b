"""What limits intervals because of the design: look-alike subjects, label subsets that overlap, few
subjects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from semiseg.analysis.cluster_variance import effective_subjects, within_group_correlation
from semiseg.analysis.groups import groups_of, share_of
from semiseg.analysis.pairing import compared_scores
from semiseg.analysis.statistics import Interval, subject_means
from semiseg.analysis.study import Cell, Study
from semiseg.report.facts import unit_of_annotation
from semiseg.report.format import count

NOTABLE_SHARE = 0.1
"""Overlap of label subsets from which the page speaks of it: an interval of three subsets is then
15 % wider."""
COVERS = {"subjects": {10: 0.81}, "groups": {4: 0.84, 7: 0.90}}
"""Number of subjects, or groups, → lowest simulated coverage of a 95 % interval with three to five
label subsets, where it is below 0.93: where some subjects fail (experiments/results/coverage.csv).
"""
HALF = 0.5
"""Overlap up to which tests hold their level in simulations; with subsets of 6 of 8 subjects they
err in up to 0.063 of studies (experiments/results/families.csv).
"""
LARGEST_SHARE = 0.75
"""Largest share of a label subset that another one has as well for which intervals were simulated:
subsets of 6 of 8 subjects, where they cover 0.93 and more with three subsets.
"""
FEW_CLUSTERS = 19
"""Subjects, or groups, up to which the page speaks of it."""


@dataclasses.dataclass(frozen=True)
class LookAlikes:
    """Subjects in groups of look-alikes.

    Attributes:
      subjects: that are scored.
      groups: of them; a subject that stands alone is one.
      correlation: of the scores within a group.
      effective: independent subjects that would inform as well.
    """

    subjects: int
    groups: int
    correlation: float
    effective: int


@dataclasses.dataclass(frozen=True)
class SharedSubjects:
    """Label subsets that take much of the training pool.

    Attributes:
      labels: the budget with the largest overlap.
      share: of a subset that another one has as well.
      unit: what one annotation is of.
    """

    labels: int
    share: float
    unit: str


@dataclasses.dataclass(frozen=True)
class FewClusters:
    """So few subjects, or groups of them, that an interval covers less than it says.

    ``kind`` is "subjects" or "groups".
    """

    clusters: int
    kind: str


DesignLimit = LookAlikes | SharedSubjects | FewClusters


def design_limits(s: Study) -> Iterable[DesignLimit]:
    """What the design of a study does to its intervals."""
    yield from look_alikes(s)
    shares = {n: share_of(s.runs.where(labels=n)) for n in s.budgets}
    labels = max(shares, key=shares.__getitem__)
    if shares[labels] >= NOTABLE_SHARE and any(c.interval.n_subsets > 1 for c in s.cells.values()):
        yield SharedSubjects(labels, shares[labels], unit_of_annotation(s.runs))
    yield from _few_clusters(s)


def look_alikes(s: Study) -> Iterable[LookAlikes]:
    """The groups of look-alikes among the scored subjects, if there are any."""
    cell = max(s.cells.values(), key=_groups_and_labels)
    if not cell.interval.n_groups:
        return
    subjects, values_RS = compared_scores(cell.runs, *s.scored)
    group_S = groups_of(cell.runs, subjects)
    if group_S is None:
        return
    score_S = subject_means(values_RS, [""] * len(values_RS))
    correlation = within_group_correlation(score_S, group_S)
    effective = round(effective_subjects(score_S, group_S))
    yield LookAlikes(len(subjects), cell.interval.n_groups, correlation, effective)


def _groups_and_labels(cell: Cell) -> tuple[int, int]:
    return cell.interval.n_groups, cell.labels


def _few_clusters(s: Study) -> Iterable[FewClusters]:
    intervals = [cell.interval for cell in s.cells.values()]
    most = max(intervals, key=_clusters)
    if 1 < _clusters(most) <= FEW_CLUSTERS:
        yield FewClusters(_clusters(most), "groups" if most.n_groups else "subjects")


def _clusters(interval: Interval) -> int:
    return interval.n_groups or interval.n_subjects


# ------------------------------------------------------------------ in words
def sentence(fact: DesignLimit) -> str:
    """The fact in words.

    >>> sentence(FewClusters(10, "subjects"))[:58]
    'The intervals are over 10 subjects. Where some of them fai'
    """
    match fact:
        case LookAlikes():
            return _look_alikes_text(fact)
        case SharedSubjects():
            text = (
                f"Two label subsets of {fact.labels} have {100 * fact.share:.0f} % of their "
                f"{fact.unit} in common, so they differ less than other {fact.unit} would make "
                f"them differ. Intervals and tests are corrected for it"
            )
            if fact.share > LARGEST_SHARE:
                return f"{text}, which was simulated up to {100 * LARGEST_SHARE:.0f} % only."
            if fact.share > HALF:
                return (
                    f"{text}, but a test errs in up to 6.3 of 100 simulated studies where subsets "
                    f"share {100 * LARGEST_SHARE:.0f} % (5 expected)."
                )
            return f"{text}."
        case FewClusters():
            return _few_clusters_text(fact)


def _few_clusters_text(fact: FewClusters) -> str:
    simulated = COVERS[fact.kind]
    fewest = min(simulated)
    if fact.clusters < fewest:
        return (
            f"The intervals are over {fact.clusters} {fact.kind}, fewer than were simulated. Where "
            f"some of them fail, a 95 % interval of so few covers less than "
            f"{simulated[fewest]:.2f}, which is the coverage with {fewest}."
        )
    return (
        f"The intervals are over {fact.clusters} {fact.kind}. Where some of them fail, a 95 % "
        f"interval of so few covers as little as {_lowest(fact):.2f} in simulations."
    )


def _look_alikes_text(fact: LookAlikes) -> str:
    return (
        f"The {count(fact.subjects, 'subject')} are {count(fact.groups, 'group')} of look-alikes "
        f"(tiles of one picture, images of one slide). Intervals and tests count groups: scores "
        f"within a group correlate by {fact.correlation:.2f}, and all together say as much as "
        f"about {count(fact.effective, 'independent subject')}."
    )


def _lowest(fact: FewClusters) -> float:
    """The coverage simulated for the largest number that is no larger."""
    simulated = COVERS[fact.kind]
    return simulated[max(n for n in simulated if n <= fact.clusters)]
