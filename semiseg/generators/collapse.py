"""When a fit has collapsed: a generator paints one image, or a discriminator always wins."""

from __future__ import annotations

from semiseg.train.loop import Line

PATIENCE = 6
"""Logged lines in a row with a collapse before a fit stops."""
LEAST_DIVERSITY = 0.02
"""Difference of two styles of one mask, as a share of that of two real images: below is a collapse.
"""
LARGEST_MARGIN = 20
"""Difference of the discriminator's scores of real and fake images: above is a collapse."""
NO_EVIDENCE = 200
"""First steps, in which neither means anything."""


class CollapseWatch:
    """Looks for a collapse in the logged lines.

    Attributes:
      count: lines in a row with a collapse.
      since: step of the first of them.

    >>> watch = CollapseWatch()
    >>> watch.see({"step": 250, "diversity": 0.3, "d_real": 0.5, "d_fake": -0.5})
    ''
    >>> watch.see({"step": 300, "diversity": 0.01, "d_real": 0.5, "d_fake": -0.5})
    'two styles of one mask differ by 0.010 of what two real images do'
    >>> watch.count, watch.since
    (1, 300)
    """

    def __init__(self) -> None:
        self.count = 0
        self.since = 0

    def see(self, line: Line) -> str:
        """What is wrong with a line; "" for nothing, and in the first steps."""
        if line["step"] <= NO_EVIDENCE:
            return ""
        warning = _collapse(line)
        if not warning:
            self.count = 0
            return ""
        if not self.count:
            self.since = line["step"]
        self.count += 1
        return warning


def _collapse(line: Line) -> str:
    if line["diversity"] < LEAST_DIVERSITY:
        share = line["diversity"]
        return f"two styles of one mask differ by {share:.3f} of what two real images do"
    margin = line["d_real"] - line["d_fake"]
    if margin > LARGEST_MARGIN:
        return f"the discriminator tells real from fake with a margin of {margin:.0f}"
    return ""
