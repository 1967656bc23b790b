"""How large the classes of predicted masks are, as a CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from typing import TextIO

from semiseg.escapes import csv_row

NONE: Mapping[str, Sequence[str]] = {}
COLUMNS = ("file", "class", "voxels", "ml", "mm2")


def write_header(file: TextIO) -> None:
    """Write the names of the columns."""
    csv.writer(file).writerow(COLUMNS)


def write_rows(
    file: TextIO,
    name: str,
    classes: Sequence[str],
    counts: Sequence[int],
    millimetres: Sequence[float],
    regions: Mapping[str, Sequence[str]] = NONE,
) -> None:
    """Write a line for each class but the background, then one for each region.

    Args:
      file: open for writing.
      name: of the scan.
      classes: names, background first.
      counts: pixels or voxels of each class.
      millimetres: of a pixel along each axis; empty where nobody knows them.
      regions: name → the classes that it unites.

    >>> import sys
    >>> write_rows(sys.stdout, "p7", ("background", "disc"), (8, 500), (4.0, 0.5, 1.0))
    p7,disc,500,1,
    """
    writer = csv.writer(file, lineterminator="\n")
    count_of = dict(zip(classes[1:], counts[1:], strict=True))
    for region, members in regions.items():
        count_of[region] = sum(count_of[member] for member in members)
    for class_name, count in count_of.items():
        size = count * math.prod(millimetres)
        volume = ""
        area = ""
        if len(millimetres) == 3:
            volume = f"{size / 1000:.6g}"
        elif millimetres:
            area = f"{size:.6g}"
        writer.writerow(csv_row((name, class_name, int(count), volume, area)))
    file.flush()
