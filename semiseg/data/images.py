"""Image files: PNG, TIFF and NIfTI as arrays, and masks and probabilities back as such files."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiseg.errors import UserError

SUFFIXES = (".nii.gz", ".nii", ".png", ".tif", ".tiff")
VOLUME_SUFFIXES = (".nii.gz", ".nii")


def is_image(path: Path) -> bool:
    """Whether the name is that of a file this module reads.

    Example:
      >>> is_image(Path("p07.NII.gz")), is_image(Path("subjects.csv"))
      (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


def is_volume(path: Path) -> bool:
    """Whether the name is that of a NIfTI file.

    Example:
      >>> is_volume(Path("p07.nii.gz")), is_volume(Path("p07.png"))
      (True, False)
    """
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def stem_of(path: Path) -> str:
    """The file's name without its suffix, both parts of ``.nii.gz`` included.

    Example:
      >>> stem_of(Path("images/p07.nii.gz")), stem_of(Path("p07.scan.png"))
      ('p07', 'p07.scan')
    """
    name = path.name
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]


# ------------------------------------------------------------------ pictures
def check_one_page(picture: Any, path: Path) -> None:
    """Refuse a stack of pages, which would lose all but the first."""
    pages = getattr(picture, "n_frames", 1)
    if pages > 1:
        raise UserError(
            f"{path}: holds {pages} pages; save the stack as NIfTI, or each page as a file of "
            f"its own"
        )


def read_picture(path: Path, channels: str = "auto") -> np.ndarray:
    """Pixels ``(H, W, C)`` of a PNG or TIFF.

    Args:
      path: the file.
      channels: ``grey`` or ``rgb`` convert an 8-bit picture; ``auto`` keeps what the file holds.

    Raises:
      UserError: the file holds several pages.
    """
    from PIL import Image

    with Image.open(path) as picture:
        check_one_page(picture, path)
        mode = _mode(picture.mode, channels)
        pixels = np.asarray(picture if mode == picture.mode else picture.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def _mode(mode: str, channels: str) -> str:
    """Pillow's mode to read a picture in; 16-bit and float pictures keep theirs."""
    if mode.startswith(("I", "F")):
        return mode
    if channels == "grey":
        return "L"
    if channels == "rgb":
        return "RGB"
    if mode in ("L", "LA", "1"):
        return "L"
    return "RGB"  # palettes, transparency, print colours


# ------------------------------------------------------------------ volumes
class VolumeHeader(NamedTuple):
    """What a NIfTI file says of its volume.

    Attributes:
      shape: of the volume as stored.
      axis: the axis its slices are cut along, the coarsest one.
      spacing: size of a voxel, along ``axis`` first.
    """

    shape: tuple[int, ...]
    axis: int
    spacing: tuple[float, ...]


def read_header(path: Path) -> VolumeHeader:
    """Shape, axis to cut along, and spacing with that axis first.

    Raises:
      UserError: the file holds anything but one three-dimensional volume.
    """
    import nibabel

    image: Any = nibabel.load(path)
    shape = tuple(image.shape)
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3:
        raise UserError(f"{path}: has shape {shape}; save one three-dimensional volume a file")
    sides = tuple(float(side) for side in image.header.get_zooms()[:3])
    coarsest = max(sides)
    axis = 2
    if sides.count(coarsest) == 1:
        axis = sides.index(coarsest)
    in_plane = [side for k, side in enumerate(sides) if k != axis]
    return VolumeHeader(shape, axis, (sides[axis], *in_plane))


@functools.lru_cache(4)
def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of a NIfTI file.

    Kept for a moment, since a volume's slices are loaded one after the other.
    """
    import nibabel

    image: Any = nibabel.load(path)
    voxels = np.asarray(image.dataobj)
    return voxels.reshape(voxels.shape[:3]), np.asarray(image.affine)


def slice_of(volume: np.ndarray, i: int, axis: int) -> np.ndarray:
    """Slice ``i`` along ``axis``, as an array of its own in C order.

    NIfTI volumes are in Fortran order, and ``np.take`` copies all of such a volume for each slice.

    Example:
      >>> slice_of(np.arange(8).reshape(2, 2, 2), 1, axis=2)
      array([[1, 3],
             [5, 7]])
    """
    place = (slice(None),) * axis + (i,)
    return volume[place].copy()


# ------------------------------------------------------------------ a scan and what is made of it
@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """An image file as arrays, and what is needed to write a mask of the same geometry.

    Attributes:
      path: of the file.
      slices: ``(H, W, C)`` each; one for a picture, those of a volume in their order.
      axis: of the file's array along which a volume's slices were cut; None for a picture.
      shape: of the file's array of voxels; of a picture ``(H, W)``.
      geometry: of a volume its nibabel image; of a picture the resolution that its file states.
    """

    path: Path
    slices: tuple[np.ndarray, ...]
    axis: int | None
    shape: tuple[int, ...]
    geometry: Any

    @property
    def is_volume(self) -> bool:
        """Whether it has slices."""
        return self.axis is not None

    def write_mask(self, mask: np.ndarray, target: Path, classes: int) -> None:
        """Write a mask ``(H, W)`` or ``(slices, H, W)`` uint8 in the scan's format and geometry.

        Resolution, affine and units are those of the scan.
        """
        if self.axis is None:
            _write_picture(mask, target, self.geometry)
            return
        voxels = _stored(mask, self.axis).reshape(self.shape)
        _write_volume(voxels, self.geometry, target, (0, classes - 1))

    def write_probabilities(
        self, probability: np.ndarray, target: Path, classes: Sequence[str]
    ) -> None:
        """Write probabilities ``(H, W, K)`` or ``(slices, H, W, K)`` float32.

        A volume becomes a NIfTI of four dimensions, the last one the classes; a picture a ``.npz``
        with the arrays ``probability`` and ``classes``.
        """
        if self.axis is None:
            np.savez_compressed(target, probability=probability, classes=np.array(classes))
            return
        voxels = _stored(probability, self.axis)
        voxels = voxels.reshape(*self.shape[:3], len(classes))
        _write_volume(voxels, self.geometry, target, (0, 1))

    def probabilities_path(self, folder: Path) -> Path:
        """Where the probabilities of this scan go in a folder of masks."""
        suffix = ".npz"
        if self.is_volume:
            suffix = ".nii.gz"
        return folder / f"{stem_of(self.path)}_probabilities{suffix}"


def read_scan(path: Path, channels: str) -> Scan:
    """Read an image file.

    Args:
      path: a PNG, TIFF or NIfTI file.
      channels: see :func:`read_picture`.

    Raises:
      UserError: it is none of these, or holds several images.
    """
    if not is_image(path):
        raise UserError(f"{path}: is no PNG, TIFF or NIfTI file; convert it to one")
    if not is_volume(path):
        return _read_picture_scan(path, channels)
    import nibabel

    axis = read_header(path).axis
    image: Any = nibabel.load(path)
    voxels = np.asarray(image.dataobj)
    volume = voxels.reshape(voxels.shape[:3])
    count: int = volume.shape[axis]
    slices = tuple(slice_of(volume, i, axis)[..., None] for i in range(count))
    return Scan(path, slices, axis, voxels.shape, image)


def _read_picture_scan(path: Path, channels: str) -> Scan:
    from PIL import Image

    with Image.open(path) as picture:
        check_one_page(picture, path)
        stated = ("dpi", "resolution")
        resolution = {key: picture.info[key] for key in stated if key in picture.info}
    pixels = read_picture(path, channels)
    return Scan(path, (pixels,), None, pixels.shape[:2], resolution)


def _stored(slices: np.ndarray, axis: int) -> np.ndarray:
    """``(slices, …)`` in the file's order of axes."""
    return np.moveaxis(slices, 0, axis)


def _write_picture(mask: np.ndarray, target: Path, resolution: dict[str, Any]) -> None:
    from PIL import Image

    Image.fromarray(mask).save(target, **resolution)


def _write_volume(voxels: np.ndarray, like: Any, target: Path, limits: tuple[float, float]) -> None:
    """Write a NIfTI with the affine, transforms, voxel size and units of ``like``."""
    import nibabel

    header = like.header.copy()
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = limits[0]
    header["cal_max"] = limits[1]
    nibabel.save(type(like)(voxels, None, header), target)
