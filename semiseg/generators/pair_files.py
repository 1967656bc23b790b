"""A set of pairs as a folder that ``semiseg data import --format folder`` reads."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from semiseg.data import provenance, subjects_csv
from semiseg.data.provenance import Provenance

FORMATS = ("png", "nifti")
PARTS = ("images", "labels")
"""Folders of a set."""
TO_LEFT_AND_BACK = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Affine of a volume whose axes run to the patient's left, to the back and to the head."""


class PairFolder:
    """Writes images/, labels/, subjects.csv and origin.json of a set; each pair is its own subject,
    and the last one is the validation split.

    Args:
      path: of the set.
      names: of all pairs.
      origin: what the pairs were made from.
      format: png or nifti.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        origin: Provenance,
        format: str = "png",
    ):
        self.path = path
        self._origin = origin
        self._last = names[-1]
        self._format = format
        self._file: IO[str] | None = None

    def __enter__(self) -> PairFolder:
        for part in PARTS:
            (self.path / part).mkdir(parents=True, exist_ok=True)
        provenance.write(self.path / provenance.ORIGIN, self._origin)
        self._file = (self.path / subjects_csv.FILE).open("w", newline="")
        self._table = csv.writer(self._file, lineterminator="\n")
        self._table.writerow(("name", "subject", "split"))
        return self

    def __exit__(self, *_: Any) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, name: str, image: np.ndarray, label: np.ndarray) -> None:
        """Add a pair: image ``(H, W, C)`` and mask ``(H, W)``, both uint8."""
        save = _save_png if self._format == "png" else _save_nifti
        save(self.path / "images" / name, _without_channel(image))
        save(self.path / "labels" / name, label)
        split = "val" if name == self._last else "train"
        self._table.writerow((name, name, split))


def _without_channel(image: np.ndarray) -> np.ndarray:
    if image.shape[-1] > 1:
        return image
    return image[..., 0]


def _save_png(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path.with_name(f"{path.name}.png"))


def _save_nifti(path: Path, pixels: np.ndarray) -> None:
    """An axial slice, whose first row viewers and the import show at the top."""
    import nibabel

    image = nibabel.Nifti1Image(pixels.T[..., None], TO_LEFT_AND_BACK)
    nibabel.save(image, path.with_name(f"{path.name}.nii.gz"))
