"""The colours of class outlines over images: of a preview, and of predicted masks."""

from __future__ import annotations

COLOURS = ("#FF9F1C", "#2EC4F1", "#F15BB5", "#7AE582", "#FFF275", "#B892FF", "#FF6B6B", "#4D96FF")
"""They are seen on dark and on bright pixels. The report, which tints errors in some of these, has
its own, see :data:`semiseg.report.pictures.CLASS_COLOURS`.
"""


def class_colour(value: int) -> str:
    """Of the outline of a class, 1 for the first after the background.

    >>> class_colour(1), class_colour(9) == class_colour(1)
    ('#FF9F1C', True)
    """
    return COLOURS[(value - 1) % len(COLOURS)]
