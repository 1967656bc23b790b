"""Scores of single subjects: hard subjects are seen, means hide them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semiseg.analysis.comparisons import scores_by_subject
from semiseg.analysis.runs import Runs
from semiseg.analysis.spread import subject_scores
from semiseg.analysis.study import Study, study
from semiseg.errors import UserError
from semiseg.report.facts import smallest_budget, unit_of_annotation
from semiseg.report.figures.canvas import Size, canvas, heading, styled, wrapped
from semiseg.report.figures.figure import Figure, Material
from semiseg.report.figures.style import look
from semiseg.report.format import number, score_label
from semiseg.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure


def subjects(
    runs: Runs | Study, labels: int | None = None, size: Size = (7.2, 3.6)
) -> MatplotlibFigure:
    """A dot a subject (its score, averaged over runs) for each setting at one budget, with the
    median; ``labels`` is the smallest budget that all share.
    """
    s = runs
    if not isinstance(s, Study):
        s = study(s)
    if labels is None:
        labels = smallest_budget(s)
    scores = _known_scores(s, labels)
    if not scores:
        raise UserError("subjects: the runs have no scores of single subjects, only their means")
    with styled({"axes.grid.axis": "x"}):
        figure, ax = canvas((size[0], max(1.6, 0.8 + 0.5 * len(scores))))
        rng = np.random.default_rng(0)
        for row, (arm, score_S) in enumerate(scores.items()):
            colour = look(list(s.arms).index(arm)).colour
            _draw_row(ax, row, score_S, colour, rng)
        names = wrapped(scores, size[0])
        ax.set_yticks(range(len(scores)), names)
        ax.set_ylim(len(scores) - 0.4, -0.6)
        longest = max(len(line) for name in names for line in name.split("\n"))
        room = size[0] - 0.09 * longest  # beside the names
        ax.locator_params(axis="x", nbins=max(2, int(room / 0.6)))
        text = (
            f"{score_label(s.metric, s.unit)} of each subject, {labels} annotated "
            f"{unit_of_annotation(s.runs)}; bar: median"
        )
        heading(ax, text, room)
    return figure


def _draw_row(
    ax: Axes, row: int, score_S: np.ndarray, colour: str, rng: np.random.Generator
) -> None:
    heights = row + rng.uniform(-0.28, 0.28, score_S.size)
    ax.scatter(score_S, heights, s=10, color=colour, alpha=0.35, lw=0)
    ax.plot([np.median(score_S)] * 2, [row - 0.38, row + 0.38], color=colour, lw=2.5)


def _known_scores(s: Study, labels: int) -> dict[str, np.ndarray]:
    """The scores of the subjects by setting, where they are known."""
    return {
        arm: score_S
        for arm, score_S in subject_scores(s, labels).items()
        if scores_by_subject(s.cells[arm, labels].runs, s.scored)
    }


def subject_table(s: Study) -> Table:
    """The quartiles of the subjects' scores, header first."""
    rows = []
    for arm, score_S in _known_scores(s, smallest_budget(s)).items():
        quartiles = np.percentile(score_S, (0, 25, 50, 75, 100))
        rows.append([arm, *(number(float(value), s.metric) for value in quartiles)])
    return [["Method", "Lowest", "Lower quartile", "Median", "Upper quartile", "Highest"], *rows]


def _alt(material: Material) -> str:
    return "Score of each subject by method, at the smallest budget that all methods share."


def _applies(material: Material) -> bool:
    s = material.study
    return bool(_known_scores(s, smallest_budget(s)))


def _draw(material: Material, size: Size | None) -> MatplotlibFigure:
    return subjects(material.study, size=size or (7.2, 3.6))


def _table(material: Material) -> Table:
    return subject_table(material.study)


FIGURE = Figure(
    name="subjects",
    section="subjects",
    title="Scores of the subjects",
    alt=_alt,
    draw=_draw,
    of_folds=True,
    wide=(7.2, 3.6),
    narrow=(4.2, 3.6),
    applies=_applies,
    table=_table,
)
