"""The design of a table runs × subjects: which rows are of one label subset, which columns are of
one group of look-alike subjects, and how much of the training pool a label subset takes.

It is passed where a plain sequence of label subsets may stand, see
:func:`semiseg.analysis.statistics.spread`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, overload

import numpy as np


@dataclasses.dataclass(frozen=True)
class Design(Sequence[Any]):
    """The label subset of each row, with what else rows and columns share.

    Attributes:
      subset_R: the label subset of each row.
      group_S: the group of each column; None where every subject stands for itself. Subjects of one
        group look alike (tiles of one picture, images of one slide), so they count as one cluster.
      share: annotated subjects of a label subset over those that it is drawn from, n/N. Subsets
        that take much of the pool overlap, so they differ less than independent ones. 0 where N is
        not known, and for subsets that do not overlap.

    >>> design = Design(["a", "a", "b"], group_S=("slide 1", "slide 1", "slide 2"), share=0.5)
    >>> len(design), design[2], design.clusters
    (3, 'b', 2)
    """

    subset_R: Sequence[Any]
    group_S: tuple[str, ...] | None = None
    share: float = 0.0

    @overload
    def __getitem__(self, row: int) -> Any: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Any]: ...
    def __getitem__(self, row: int | slice) -> Any:
        return self.subset_R[row]

    def __len__(self) -> int:
        return len(self.subset_R)

    @property
    def clusters(self) -> int | None:
        """How many groups the columns are of; None where every subject stands for itself."""
        return None if self.group_S is None else len(set(self.group_S))

    def at(self, part: float) -> Design:
        """The design with this part of its share: n/N is proportional to the label budget n."""
        return dataclasses.replace(self, share=self.share * part)

    def of(self, has_row_R: np.ndarray, has_column_S: np.ndarray) -> Design:
        """The design of the part of the table with these rows and columns (bool).

        Raises:
          ValueError: there is not a group for each column.
        """
        rows = zip(self.subset_R, has_row_R.tolist(), strict=True)
        group_S = None
        if self.group_S is not None:
            columns = zip(self.group_S, has_column_S.tolist(), strict=True)
            group_S = tuple(group for group, has in columns if has)
        subset_R = tuple(subset for subset, has in rows if has)
        return Design(subset_R, group_S, self.share)


def as_design(subset_R: Sequence[Any]) -> Design:
    """A design as it is; a plain sequence of label subsets without groups and overlap.

    >>> as_design(["a", "b"]).share
    0.0
    """
    return subset_R if isinstance(subset_R, Design) else Design(subset_R)
