"""A sequence of scans, each read when it is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from semiseg.types import Case


class CasesOnDisk(Sequence[Case]):
    """What a list of scans can do, without holding them. A subclass says how many and reads one."""

    @abstractmethod
    def read(self, i: int) -> Case:
        """Scan ``i``, from 0 to the length less one."""

    @overload
    def __getitem__(self, i: int) -> Case: ...

    @overload
    def __getitem__(self, i: slice) -> list[Case]: ...

    def __getitem__(self, i: int | slice) -> Case | list[Case]:
        number = len(self)
        if isinstance(i, slice):
            return [self.read(k) for k in range(*i.indices(number))]
        if not -number <= i < number:
            raise IndexError(i)
        return self.read(i % number)
