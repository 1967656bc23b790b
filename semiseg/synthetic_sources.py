"""What synthetic images can be: the generated sets of a label budget, and their controls.

The one table of them. :mod:`semiseg.generators.ratio` makes the sets, the analysis compares runs
that learn from them, the report says what they are. It lies below all three and imports nothing.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

PREFIX = "make:"
"""Of a trial's ``synthetic`` that names a source of this table: ``make:spade``."""
DIGITS = 12
"""Hexadecimal digits of a hash in the name of a set."""
_OF_A_SOURCE = re.compile(rf"{PREFIX}(.+)|made-(.+)-[0-9a-f]{{{DIGITS}}}")


@dataclasses.dataclass(frozen=True)
class Source:
    """One kind of synthetic images.

    Attributes:
      name: in ``synthetic: make:NAME``.
      title: in names of compared settings.
      text: what the images are, in one or two sentences.
      generator: that paints them; "" for a control, whose images no generator painted: a gain that
        a control gives is no merit of a generator.
      masks: that a generator paints: the budget's own ("real"), or bent ones ("varied").
    """

    name: str
    title: str
    text: str
    generator: str = ""
    masks: Literal["real", "varied", ""] = ""

    @property
    def control(self) -> bool:
        """Whether no generator painted the images."""
        return not self.generator


_FITTED = "fitted on the annotated pairs of the same budget alone, paints"
_FITTED_ON_IMAGES_TOO = (
    "fitted on the annotated pairs of the same budget and, in one of its two discriminators, on "
    "the other training images without labels, paints"
)
"""Methods that use no unlabelled image, and controls, do not see these images."""
SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "spade",
            "SPADE images",
            f"A SPADE generator, {_FITTED_ON_IMAGES_TOO} bent masks of that budget.",
            "spade",
            "varied",
        ),
        Source(
            "pix2pix",
            "pix2pix images",
            f"A pix2pix generator, {_FITTED} bent masks of that budget.",
            "pix2pix",
            "varied",
        ),
        Source(
            "spade_real_masks",
            "SPADE images on real masks",
            f"A SPADE generator, {_FITTED_ON_IMAGES_TOO} that budget's own masks.",
            "spade",
            "real",
        ),
        Source(
            "pix2pix_real_masks",
            "pix2pix images on real masks",
            f"A pix2pix generator, {_FITTED} that budget's own masks.",
            "pix2pix",
            "real",
        ),
        Source(
            "duplicated",
            "duplicated pairs",
            "A control: the budget's own pairs again, and no other image. They hold nothing new, "
            "so a gain that they give as well is no merit of a generator.",
        ),
        Source(
            "augmented",
            "augmented pairs",
            "A control: the budget's own pairs, mirrored, turned and bent; no other image.",
        ),
        Source(
            "copy_paste",
            "copy-pasted pairs",
            "A control: objects of one pair of the budget pasted into another; no other image.",
        ),
    )
}
"""Every source by its name. A line is all that a new one needs here."""
GENERATED = tuple(name for name, source in SOURCES.items() if not source.control)
"""Sources whose images a generator painted."""
CONTROLS = tuple(name for name, source in SOURCES.items() if source.control)
"""Sources whose images no generator painted."""


def source_title(name: str) -> str:
    """The title of a source, also of one that is not in the table, and of an imported set ("").

    >>> source_title("spade"), source_title("my_own"), source_title("")
    ('SPADE images', 'my own images', 'synthetic images')
    """
    if name in SOURCES:
        return SOURCES[name].title
    if not name:
        return "synthetic images"
    return f"{name.replace('_', ' ')} images"


def set_name(source: str, digest: str) -> str:
    """The name on disk of a source's set, with the hash of what it is made from.

    >>> set_name("copy_paste", "0123456789abcdef")
    'made-copy-paste-0123456789ab'
    """
    return f"made-{source.replace('_', '-')}-{digest[:DIGITS]}"


def source_of(synthetic: str) -> str:
    """The source that a trial's ``synthetic`` or the name of a set on disk stands for; "" for a set
    of one's own.

    >>> source_of("make:spade"), source_of("made-copy-paste-0123456789ab"), source_of("my_set")
    ('spade', 'copy_paste', '')
    """
    match = _OF_A_SOURCE.fullmatch(synthetic)
    if match is None:
        return ""
    return (match[1] or match[2]).replace("-", "_")
