"""The fingerprint of a data set, which an import makes, and `semiseg data check` once more."""

from __future__ import annotations

import hashlib

import numpy as np

from semiseg.types import Case


class SetDigest:
    """SHA-256 of the cases of a set: names, places, spacings, affines, pixels and labels.

    Cases are added in stored order, the splits in that of :data:`semiseg.data.source.SPLITS`.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, split: str, case: Case) -> None:
        """Add one case of a split; its image and its label are contiguous."""
        facts = (
            split,
            case.subject,
            case.name,
            case.volume,
            case.index,
            case.group,
            case.spacing,
            case.image.shape,
            case.label is None,
        )
        self._digest.update(repr(facts).encode())
        if case.affine is not None:
            self._digest.update(np.round(case.affine, 6).tobytes())
        self._digest.update(case.image.data)
        if case.label is not None:
            self._digest.update(case.label.data)

    @property
    def fingerprint(self) -> str:
        """Of the cases so far, as :attr:`semiseg.data.info.StoreInfo.fingerprint`."""
        return self._digest.hexdigest()
