"""Which figures does the report have? One figure a file; a line of :data:`FIGURES` shows it."""

from __future__ import annotations

from semiseg import plugins
from semiseg.report.figures import (
    differences,
    label_efficiency,
    label_equivalence,
    logged_values,
    pseudo_label_classes,
    pseudo_label_trends,
    reliability,
    subject_spread,
    synthetic_gain,
    training_curves,
)

FIGURES = {
    figure.name: figure
    for figure in (
        label_efficiency.FIGURE,
        differences.FIGURE,
        label_equivalence.FIGURE,
        synthetic_gain.FIGURE,
        subject_spread.FIGURE,
        reliability.FIGURE,
        training_curves.FIGURE,
        pseudo_label_trends.FIGURE,
        pseudo_label_classes.FIGURE,
        logged_values.FIGURE,
    )
}
"""Every figure of the page by the name of its files, in the order of a section."""
plugins.offer("figure", FIGURES)
