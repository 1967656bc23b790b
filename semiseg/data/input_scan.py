"""A scan as prediction takes it: the arrays of its files, and masks and probabilities back as files
of the same format and geometry.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data import nifti, orientation, picture_files, sitk_files
from semiseg.data.images import (
    KINDS,
    family,
    is_image,
    is_volume,
    not_finite,
    read_header,
    read_image,
    read_pixels,
    stem_of,
)
from semiseg.data.orientation import Orientation
from semiseg.data.source import stored_numbers
from semiseg.errors import UserError
from semiseg.files import replacing


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """The files of a scan as an array, and what is needed to write a mask of the same geometry.

    Attributes:
      path: of the file, or of that of the first channel.
      image: ``(H, W, C)`` of a picture, ``(D, H, W, C)`` of a volume.
      turn: from the file's axes to the volume's; None for a picture.
      shape: ``(X, Y, Z)`` of the file's voxels; of a picture ``(H, W)``.
      geometry: of a NIfTI its nibabel image; of a picture the resolution that its file states.
      spacing, affine: as in :class:`semiseg.types.Case`.
    """

    path: Path
    image: np.ndarray
    turn: Orientation | None
    shape: tuple[int, ...]
    geometry: Any
    spacing: tuple[float, ...] = (1.0, 1.0)
    affine: np.ndarray | None = None

    @property
    def is_volume(self) -> bool:
        """Whether it has slices."""
        return self.turn is not None

    @property
    def slices(self) -> Sequence[np.ndarray]:
        """``(H, W, C)`` each; one for a picture, those of a volume in their order."""
        if self.is_volume:
            return list(self.image)
        return [self.image]

    def write_mask(self, mask: np.ndarray, target: Path, classes: int) -> None:
        """Write a mask ``(H, W)`` or ``(slices, H, W)`` uint8 in the scan's format and geometry.

        Resolution, affine and units are those of the scan. The mask of a picture whose format loses
        numbers is a PNG, see :func:`semiseg.data.picture_files.mask_path`.
        """
        if self.turn is None:
            picture_files.write_mask_picture(mask, target, self.geometry)
            return
        _write_volume(self.turn.to_file(mask), self.geometry, target, (0, classes - 1))

    def write_probabilities(
        self, probability: np.ndarray, target: Path, classes: Sequence[str]
    ) -> None:
        """Write probabilities ``(H, W, K)`` or ``(slices, H, W, K)`` float32.

        A volume becomes a NIfTI of four dimensions, the last one the classes; a picture a ``.npz``
        with the arrays ``probability`` and ``classes``.
        """
        if self.turn is None:
            with replacing(target, keep_suffix=True) as partial:
                np.savez_compressed(partial, probability=probability, classes=np.array(classes))
            return
        _write_volume(self.turn.to_file(probability), self.geometry, target, (0, 1))


def read_scan(
    path: Path | Sequence[Path], channels: str, plane: str = "", nan: str = "refuse"
) -> Scan:
    """Read an image file, or the files of a scan's channels.

    Args:
      path: a picture or a volume, or several, a channel each.
      channels: see :func:`semiseg.data.picture_files.read_picture`.
      plane: of a volume's slices; "" for that of its own spacing or shape.
      nan: see :func:`semiseg.data.images.read_pixels`.

    Raises:
      UserError: it is none of these, holds several images, or NaN.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    first = paths[0]
    for one in paths:
        if not is_image(one):
            raise UserError(f"{one}: is no {KINDS} file; convert it to one")
    if not is_volume(first):
        return _read_picture_scan(paths, channels)
    header = read_header(first)
    if not plane:
        plane, _ = orientation.acquisition_plane([header.grid])
    pixels = read_pixels(paths, plane=plane, nan=nan)
    numbers = stored_numbers(pixels.image)
    words = not_finite(numbers)  # large ones are infinite as they are stored
    if words:
        raise UserError(
            words, where=first, remedy="replace those voxels, or pass --nan padding to ignore them"
        )
    return Scan(
        first,
        numbers,
        orientation.orientation_of(header.grid.affine, plane),
        header.grid.shape,
        _geometry(first),
        pixels.spacing,
        pixels.affine,
    )


def beside(mask: Path, words: str, suffix: str) -> Path:
    """A file beside a mask, named after it.

    >>> beside(Path("masks/p7.nii.gz"), "probabilities", ".npz").as_posix()
    'masks/p7_probabilities.npz'
    """
    stem = stem_of(mask).removesuffix(".dcm")
    return mask.with_name(f"{stem}_{words}{suffix}")


def _geometry(path: Path) -> Any:
    """What a mask's file takes over from that of its scan."""
    if family(path) is nifti:
        return nifti.nibabel_image(path)
    return sitk_files.geometry(path)


def _read_picture_scan(paths: Sequence[Path], channels: str) -> Scan:
    from PIL import Image

    with Image.open(paths[0]) as picture:
        picture_files.check_one_page(picture, paths[0])
        stated = ("dpi", "resolution")
        resolution = {key: picture.info[key] for key in stated if key in picture.info}
    image = read_image(paths, channels=channels).image
    words = not_finite(image)
    if words:
        raise UserError(words, where=paths[0], remedy="replace those pixels")
    return Scan(paths[0], image, None, image.shape[:2], resolution)


def _write_volume(voxels: np.ndarray, like: Any, target: Path, limits: tuple[float, float]) -> None:
    """Write a volume with the affine, transforms, voxel size and units of ``like``."""
    if isinstance(like, sitk_files.Geometry):
        sitk_files.write(voxels, like, target)
        return
    import nibabel

    header = like.header.copy()
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = limits[0]
    header["cal_max"] = limits[1]
    with replacing(target, keep_suffix=True) as partial:
        nibabel.save(type(like)(voxels, None, header), partial)
