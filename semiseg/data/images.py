"""Image files as arrays, the same for an import and a prediction.

Pictures are read by :mod:`semiseg.data.picture_files`, volumes by :mod:`semiseg.data.nifti` and
:mod:`semiseg.data.sitk_files`. A volume comes in the orientation of
:mod:`semiseg.data.orientation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from semiseg.data import nifti, orientation, picture_files, sitk_files
from semiseg.data.nifti import Header
from semiseg.data.picture_files import read_mask_picture, read_picture
from semiseg.data.source import Pixels, first_line, stored_numbers
from semiseg.errors import UserError

VOLUME_SUFFIXES = (*nifti.SUFFIXES, *sitk_files.SUFFIXES)
SUFFIXES = (*VOLUME_SUFFIXES, *picture_files.SUFFIXES)
KINDS = "PNG, TIFF, BMP, JPEG, WebP, NIfTI, NRRD or MetaImage"
"""The files that are read, in words."""
FAR = 0.25
"""Share of a voxel by which a label's grid may lie off its image's, at the farthest corner. Headers
round directions: masks of the 2018 gray matter challenge lie up to 0.11 of a voxel off.
"""
NAN = ("refuse", "padding")
"""What becomes of voxels that hold NaN or infinity."""


def is_image(path: Path) -> bool:
    """Whether the name is that of a file this module reads; what macOS adds (``._name``) is not.

    Example:
      >>> is_image(Path("p07.NII.gz")), is_image(Path("subjects.csv")), is_image(Path("._p07.png"))
      (True, False, False)
    """
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith("._")


def is_volume(path: Path) -> bool:
    """Whether the name is that of a volume.

    Example:
      >>> is_volume(Path("p07.nii.gz")), is_volume(Path("p07.mha")), is_volume(Path("p07.png"))
      (True, True, False)
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


# ------------------------------------------------------------------ volumes
def family(path: Path) -> ModuleType:
    if path.name.lower().endswith(sitk_files.SUFFIXES):
        return sitk_files
    return nifti


def read_header(path: Path) -> Header:
    """Affine in mm, shape and channels of a volume.

    Raises:
      UserError: it cannot be read, or is no scan.
    """
    try:
        header: Header = family(path).read_header(path)
        orientation.code_of(header.grid.affine)
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(str(error), where=path) from error
    except Exception as error:  # nibabel and SimpleITK raise anything on a damaged file
        raise UserError(
            f"cannot be read ({first_line(error)})",
            where=path,
            remedy="replace the file or take it out of the set",
        ) from error
    return header


def read_voxels(path: Path) -> np.ndarray:
    """Voxels ``(X, Y, Z, C)`` of a volume as its file stores them."""
    voxels: np.ndarray = family(path).read_voxels(path)
    return voxels


# ------------------------------------------------------------------ what a case is made of
def read_pixels(
    images: Sequence[Path],
    label: Path | None = None,
    *,
    plane: str = "axial",
    channels: str = "auto",
    nan: str = "refuse",
    values: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Pixels:
    """A case of one image file, or of one file a channel, and its label.

    Args:
      images: pictures or volumes of one grid.
      label: None where nobody annotated it.
      plane: of the slices of a volume, see :mod:`semiseg.data.orientation`.
      channels: see :func:`semiseg.data.picture_files.read_picture`.
      nan: ``padding`` makes voxels of NaN or infinity the darkest value, and IGNORE in the label.
      values: turns the label's values into classes.

    Raises:
      UserError: the files do not fit together, or cannot be read.
    """
    pixels = read_image(images, plane, channels)
    if label is not None:
        mask = read_label_of(pixels, label, images[0], plane)
        if values is not None:
            mask = values(mask)
        pixels = pixels._replace(label=mask)
    if nan == "padding":
        return padded(pixels)
    return pixels


def read_image(images: Sequence[Path], plane: str = "axial", channels: str = "auto") -> Pixels:
    """The image of a case, without a label; see :func:`read_pixels`."""
    parts = [_read_one(path, plane, channels) for path in images]
    first = parts[0]
    for path, part in zip(images[1:], parts[1:], strict=True):
        _check_same_grid(part, path, first, images[0])
    if len(parts) == 1:
        return first
    stored = [stored_numbers(part.image) for part in parts]
    return first._replace(image=np.concatenate(stored, axis=-1))


def _read_one(path: Path, plane: str, channels: str) -> Pixels:
    if not is_volume(path):
        return Pixels(read_picture(path, channels), None, (1.0, 1.0))
    header = read_header(path)
    turn = orientation.orientation_of(header.grid.affine, plane)
    affine = turn.scan_affine(header.grid.affine, header.grid.shape)
    image = turn.to_scan(read_voxels(path))
    return Pixels(image, None, orientation.sides_of(affine), affine, turn.code)


def read_label_of(image: Pixels, path: Path, image_path: Path, plane: str = "axial") -> np.ndarray:
    """The label ``(H, W)`` or ``(D, H, W)`` of an image, on its grid.

    Raises:
      UserError: it cannot be read, or has another size or place than the image.
    """
    try:
        if not is_volume(path):
            mask = read_mask_picture(path)
            _check_same_shape(mask.shape, path, image.image.shape[:-1], image_path)
            return mask
        label = _read_one(path, plane, "auto")
    except UserError:
        raise
    except Exception as error:  # image libraries raise anything on a damaged file
        raise UserError(
            f"label cannot be read ({first_line(error)})",
            where=path,
            remedy="replace the file or remove it",
        ) from error
    if label.image.shape[-1] > 1:
        raise UserError(
            f"label holds {label.image.shape[-1]} numbers a voxel",
            where=path,
            remedy="save one class number a voxel",
        )
    _check_same_grid(label, path, image, image_path)
    return label.image[..., 0]


def _check_same_grid(part: Pixels, path: Path, image: Pixels, image_path: Path) -> None:
    _check_same_shape(part.image.shape[:-1], path, image.image.shape[:-1], image_path)
    if part.affine is None or image.affine is None:
        return
    if off_by(part.affine, image.affine, image.image.shape[:3]) > FAR:
        raise UserError(
            f"lies elsewhere in space than its image ({image_path}: another affine)",
            where=path,
            remedy="resample the label to the image",
        )


def _check_same_shape(
    shape: tuple[int, ...], path: Path, expected: tuple[int, ...], image_path: Path
) -> None:
    if shape != expected:
        raise UserError(
            f"label has shape {shape} but its image {expected} ({image_path})",
            where=path,
            remedy="save both at one size",
        )


def off_by(affine: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """How far two grids of one shape lie apart at their farthest corner, in voxels of the second.

    >>> moved = np.eye(4)
    >>> moved[0, 3] = 0.5
    >>> off_by(moved, np.eye(4), (2, 2, 2))
    0.5
    """
    sides = [(0, n - 1) for n in shape]
    corners = np.array(np.meshgrid(*sides)).reshape(3, -1)
    corners = np.concatenate([corners, np.ones((1, corners.shape[1]))])
    moved = np.linalg.inv(other) @ affine @ corners
    return float(np.abs(moved - corners).max())


def padded(pixels: Pixels) -> Pixels:
    """Pixels whose NaN and infinity are padding: the darkest value, and IGNORE in the label.

    >>> image = np.array([[[1.0], [np.nan]]], np.float32)
    >>> padded(Pixels(image, np.zeros((1, 2), np.uint8), (1.0, 1.0))).label.tolist()
    [[0, 255]]
    """
    if pixels.image.dtype.kind != "f":
        return pixels
    finite = np.isfinite(pixels.image)
    if finite.all() or not finite.any():
        return pixels
    darkest = pixels.image[finite].min()
    label = pixels.label
    if label is not None:
        label = np.where(finite.all(-1), label, 255)
    return pixels._replace(image=np.where(finite, pixels.image, darkest), label=label)


def not_finite(image: np.ndarray) -> str:
    """What is wrong with voxels of NaN or infinity: how many there are, and where; "" for none.

    >>> not_finite(np.array([[[1.0], [np.nan]], [[0.0], [2.0]]]))
    'holds NaN or infinity in 1 of 4 pixels, the first at row 0, column 1'
    """
    if image.dtype.kind != "f":
        return ""
    wrong = ~np.isfinite(image).all(-1)
    number = int(wrong.sum())
    if not number:
        return ""
    place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    words = ("slice", "row", "column")[-wrong.ndim :]
    where = ", ".join(f"{word} {index}" for word, index in zip(words, place, strict=True))
    kind = "pixels"
    if wrong.ndim == 3:
        kind = "voxels"
    return f"holds NaN or infinity in {number} of {wrong.size} {kind}, the first at {where}"
