"""What the page must know of a figure; each figure declares it in its own file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from semiseg.analysis.study import Study
from semiseg.report.figures.canvas import Size
from semiseg.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


@dataclasses.dataclass(frozen=True)
class Material:
    """What figures are drawn from.

    Attributes:
      study: runs of the label-efficiency curve.
      mixed: the study of the runs with synthetic images, if there are any.
    """

    study: Study
    mixed: Study | None = None

    @property
    def with_mixes(self) -> Study:
        return self.mixed or self.study


def always(material: Material) -> bool:
    return True


def no_table(material: Material) -> Table:
    return []


def no_note(material: Material) -> str:
    return ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes:
      name: of its files.
      section: of the page: "headline", "comparisons", "equivalence", "synthetic", "subjects",
        "pseudo-labels" or "measurement".
      title: above its table, and for a screen reader.
      alt: what it shows, for those who cannot see it.
      draw: at a size in inches.
      wide: size for a page as wide as a sheet of paper; None: the figure chooses its own.
      narrow: for a phone, where the same letters need a smaller frame; None: the wide one scrolls.
      applies: whether the runs have anything for it.
      table: the same numbers, where no table of the page has them.
      note: a paragraph before it.
      heading: above it, within its section.
      folded: whether the reader opens it.
      formats: of its files.
      of_folds: whether it is right for the folds of a cross-validation, which are no replicates.
      for_file: the figure as it is written to files, where that is another than ``wide``.
    """

    name: str
    section: str
    title: str
    alt: Callable[[Material], str]
    draw: Callable[[Material, Size | None], MatplotlibFigure]
    wide: Size | None = None
    narrow: Size | None = None
    applies: Callable[[Material], bool] = always
    table: Callable[[Material], Table] = no_table
    note: Callable[[Material], str] = no_note
    heading: str = ""
    folded: bool = False
    formats: tuple[str, ...] = (".png", ".pdf", ".svg")
    of_folds: bool = False
    for_file: Callable[[Material], MatplotlibFigure] | None = None
