"""What the libraries of the formats say of a file, independently of semiseg."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

UNITS = {"mm": 1.0, "unknown": 1.0, "micron": 1000.0, "meter": 0.001}
"""Unit of a NIfTI header → how many make a millimetre."""
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Truth(NamedTuple):
    """Numbers ``(X, Y, Z, C)`` with their affine in RAS mm; of a picture ``(H, W, C)``, None."""

    numbers: np.ndarray
    affine: np.ndarray | None


def truth(path: Path) -> Truth:
    """What a file holds.

    Raises:
      Exception: whatever the library raises.
    """
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _nifti(path)
    if name.endswith((".nrrd", ".nhdr", ".mha", ".mhd")):
        return _itk(path)
    return Truth(_picture(path), None)


def _nifti(path: Path) -> Truth:
    import nibabel

    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    kind = nibabel.Nifti1Image
    if content[4:8] == b"n+2\0":
        kind = nibabel.Nifti2Image
    image = kind.from_bytes(content)
    affine = image.affine.copy()
    affine[:3] /= UNITS[image.header.get_xyzt_units()[0]]
    numbers = image.get_fdata()
    space = (*numbers.shape[:3], 1, 1)[:3]
    return Truth(numbers.reshape(*space, -1, order="F"), affine)


def _itk(path: Path) -> Truth:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    number = min(3, image.GetDimension())
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)
    affine[:number, :number] = (directions * image.GetSpacing())[:number, :number]
    affine[:number, 3] = image.GetOrigin()[:number]
    numbers = sitk.GetArrayFromImage(image).astype(np.float64)
    if image.GetNumberOfComponentsPerPixel() == 1:
        numbers = numbers[..., None]
    numbers = np.moveaxis(numbers, -1, 0).T  # (x, y[, z[, t]], c)
    if number == 2:
        numbers = numbers[:, :, None]
    return Truth(numbers.reshape(*numbers.shape[:3], -1, order="F"), LPS @ affine)


def _picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        kind = picture.format
        mode = picture.mode
        if kind == "TIFF" and mode != "P" and picture.info.get("compression") == "raw":
            import tifffile

            try:
                pixels = tifffile.imread(path)
            except (ValueError, TypeError):  # a tag without a value, or with two: Pillow reads on
                pixels = np.asarray(picture)
            if pixels.dtype == np.bool_:
                pixels = pixels * np.uint8(255)
            if picture.tag_v2.get(262) == 0 and pixels.dtype == np.uint8:
                pixels = 255 - pixels  # 0 is white
            if pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[2] != 3:
                pixels = np.moveaxis(pixels, 0, -1)  # colour by colour
        elif mode.startswith(("I", "F")):
            pixels = np.asarray(picture)
        elif mode in ("L", "1", "LA"):
            pixels = np.asarray(picture.convert("L"))
            bits = picture.tag_v2.get(258, (8,))[0] if kind == "TIFF" else 8
            if mode == "L" and bits in (2, 4):
                pixels = pixels // (255 // (2**bits - 1))  # Pillow stretches few bits to 255
        else:
            pixels = np.asarray(picture.convert("RGB"))
    return pixels.reshape(*pixels.shape[:2], -1).astype(np.float64)


def indices_of(path: Path) -> np.ndarray | None:
    """``(H, W)``: the numbers of the colours of a palette; None for any other file."""
    from PIL import Image

    if path.suffix not in (".png", ".bmp", ".tif"):
        return None
    with Image.open(path) as picture:
        return np.asarray(picture) if picture.mode == "P" else None


def damage(path: Path) -> str:
    """Which checksum of a file is wrong; "" for none, and for formats without one."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            gzip.decompress(content)
        except Exception as error:
            return f"gzip: {error}"
    if content.startswith(b"\x89PNG"):
        return _png_damage(content)
    return ""


def _png_damage(content: bytes) -> str:
    place = 8
    compressed = b""
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        name = content[place + 4 : place + 8]
        data = content[place + 4 : place + 8 + length]
        checksum = int.from_bytes(content[place + 8 + length : place + 12 + length], "big")
        if zlib.crc32(data) != checksum and name in (b"IHDR", b"PLTE", b"IDAT"):
            return f"PNG: the checksum of {name.decode()}"
        if name == b"IDAT":
            compressed += data[4:]
        place += 12 + length
        if name == b"IEND":
            break
    try:
        zlib.decompress(compressed)
    except zlib.error as error:
        # a file whose chunks are whole was written so: no copy damages it and mends their checksums
        if "incorrect data check" not in str(error):
            return f"PNG: {error}"
    return ""


# ------------------------------------------------------------------ comparison
def differs(image: np.ndarray, affine: np.ndarray | None, expected: Truth) -> str:
    """How what semiseg read is unlike the truth, in words; "" where it is not.

    Args:
      image: ``(D, H, W, C)`` or ``(H, W, C)``.
      affine: index of the scan to RAS mm; None for a picture.
      expected: of the file.
    """
    numbers = expected.numbers
    if affine is not None and expected.affine is not None:
        order = order_of(affine, expected.affine)
        if order is None:
            return "no voxel of it lies where one of the file lies"
        axes, flips = order
        numbers = numbers.transpose(*axes, 3)
        numbers = np.flip(numbers, [axis for axis in range(3) if flips[axis]])
        corner = [0 if not flip else numbers.shape[k] - 1 for k, flip in enumerate(flips)]
        index = np.zeros(3)
        index[list(axes)] = corner
        place = expected.affine[:3, :3] @ index + expected.affine[:3, 3]
        scale = 1 + np.abs(affine).max() + np.abs(expected.affine).max()
        if not np.allclose(place, affine[:3, 3], atol=1e-4 * scale):
            return f"its first voxel lies at {affine[:3, 3]}, in the file at {place}"
    if numbers.shape != image.shape:
        return f"has shape {image.shape}, the file {numbers.shape}"
    limits = 1e-5 * max(1.0, float(np.abs(numbers).max(initial=0)))
    if not np.allclose(image.astype(np.float64), numbers, rtol=1e-5, atol=limits * 1e-2):
        return f"holds other numbers: {image.ravel()[:4]} for {numbers.ravel()[:4]}"
    return ""


def order_of(affine: np.ndarray, other: np.ndarray) -> tuple[tuple[int, ...], list[bool]] | None:
    """The axis of ``other`` that each axis of ``affine`` is, and whether it runs against it."""
    axes: list[int] = []
    flips: list[bool] = []
    for column in affine[:3, :3].T:
        for axis, candidate in enumerate(other[:3, :3].T):
            scale = 1e-4 * max(np.abs(column).max(), 1e-30)
            same = np.allclose(column, candidate, rtol=1e-4, atol=scale)
            if axis not in axes and (
                same or np.allclose(-column, candidate, rtol=1e-4, atol=scale)
            ):
                axes.append(axis)
                flips.append(not same)
                break
    if len(axes) != 3:
        return None
    return tuple(axes), flips
