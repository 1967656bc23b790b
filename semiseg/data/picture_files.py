"""Pictures: PNG, TIFF, BMP, JPEG and WebP with the values that the file stores.

A picture library shows pictures; it scales grey levels of 2 and 4 bits to 255, cuts colours of 16
bits to 8, and turns what an orientation tag says is turned. None of that is wanted of data. A
photograph that its camera says lies on its side is refused: programs that draw masks turn it or do
not, and nothing in the files says which of them drew these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data import png_chunks, tiff_tags
from semiseg.data.source import first_line
from semiseg.errors import UserError
from semiseg.files import replacing

SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".webp")
LOSSY = (".jpg", ".jpeg", ".webp")
"""Suffixes of pictures whose values were changed when they were saved."""
_ORIENTATION = 274
_ODD: dict[tuple[int, int], np.dtype] = {
    (8, 2): np.dtype("int8"),
    (16, 2): np.dtype("int16"),
    (32, 1): np.dtype("uint32"),
}
"""Bits and sample format of TIFF, by type: Pillow reads them as uint8, int32 and int32."""


def check_one_page(picture: Any, path: Path) -> None:
    """Refuse a stack of pages, which would lose all but the first."""
    pages = getattr(picture, "n_frames", 1)
    if pages > 1:
        raise UserError(
            f"{path}: holds {pages} pages; save the stack as NIfTI, or each page as a file of "
            f"its own"
        )


def _check_upright(picture: Any, path: Path) -> None:
    """Refuse a photograph that is shown otherwise than it is stored.

    Raises:
      UserError: its EXIF data have an orientation.
    """
    if picture.format == "TIFF" or "exif" not in picture.info:  # TIFF is read as it is stored
        return
    turn = picture.getexif().get(_ORIENTATION, 1)
    if turn in range(2, 9):
        raise UserError(
            f"is shown turned, by the orientation {turn} in its EXIF data, and a mask may lie on "
            f"the shown or on the stored pixels",
            where=path,
            remedy="turn the pixels themselves (exiftran -ai), or, where masks lie on the stored "
            "ones, take the orientation out (exiftool -Orientation=)",
        )


def _check(picture: Any, path: Path) -> None:
    """Refuse a picture of which Pillow would read something else than is stored."""
    check_one_page(picture, path)
    _check_upright(picture, path)
    if picture.format == "PNG":
        png_chunks.check(path, picture.size, len(picture.getbands()))
    if picture.format == "TIFF":
        tiff_tags.check(picture, path)


def read_picture(path: Path, channels: str = "auto") -> np.ndarray:
    """Pixels ``(H, W, C)`` of a picture, as they are stored.

    Args:
      path: the file.
      channels: ``grey`` or ``rgb`` convert an 8-bit picture; ``auto`` keeps what the file holds.

    Raises:
      UserError: the file holds several pages, or deep colours in a form that nothing reads whole.
    """
    from PIL import Image

    with Image.open(path) as picture:
        _check(picture, path)
        pixels = _deep_colours(picture, path)
        if pixels is None:
            mode = _mode(picture.mode, channels)
            pixels = _stored(picture, mode)
    return pixels.reshape(*pixels.shape[:2], -1)


def read_mask_picture(path: Path) -> np.ndarray:
    """Values ``(H, W)`` of a mask, as they are stored; of a palette the numbers of its colours.

    Raises:
      UserError: it is a colour picture, or a JPEG or WebP, which blur class numbers.
    """
    from PIL import Image

    if path.name.lower().endswith(LOSSY):
        raise UserError(
            "is a mask saved with loss, which blurs class numbers at every edge",
            where=path,
            remedy="export the mask again as PNG",
        )
    with Image.open(path) as picture:
        _check(picture, path)
        label = _deep_colours(picture, path)
        if label is None:
            label = _stored(picture, picture.mode)
    if label.ndim == 3 and _is_grey(label):
        label = label[..., 0]
    if label.ndim != 2:
        raise UserError(
            "label is a colour picture",
            where=path,
            remedy="save one channel that holds class numbers",
        )
    if label.dtype == np.bool_:
        return label.astype(np.uint8)
    return label


def _is_grey(pixels: np.ndarray) -> bool:
    """Whether the colours ``(H, W, C)`` are equal; a fourth channel is transparency."""
    first = pixels[..., :1]
    return bool((pixels[..., 1:3] == first).all())


def _mode(mode: str, channels: str) -> str:
    """Pillow's mode to read a picture in; 16-bit and float pictures keep theirs.

    >>> _mode("P", "auto"), _mode("LA", "auto"), _mode("I;16", "rgb")
    ('RGB', 'L', 'I;16')
    """
    if mode.startswith(("I", "F")):
        return mode
    if channels == "grey":
        return "L"
    if channels == "rgb":
        return "RGB"
    if mode in ("L", "LA", "1"):
        return "L"
    return "RGB"  # palettes, transparency, print colours


def _stored(picture: Any, mode: str) -> np.ndarray:
    """Pixels in ``mode``, with few bits as numbers from 0 on and without a turn."""
    bits = _grey_bits(picture)
    kind = _odd_type(picture)
    turn = _orientation(picture)
    if turn > 4:  # Pillow exchanges height and width before it reads
        return _not_turned(Path(picture.filename), mode)
    pixels = np.asarray(picture if mode == picture.mode else picture.convert(mode))
    if bits in (2, 4) and pixels.dtype == np.uint8:
        pixels = pixels // (255 // (2**bits - 1))  # Pillow stretches them to 255
    if kind is not None and pixels.ndim == 2:
        pixels = _as_stored(pixels, kind)
    return _turned_back(pixels, turn)


def _grey_bits(picture: Any) -> int:
    """Bits a pixel of a grey PNG or TIFF; 8 for all others. Read before the pixels are."""
    if picture.mode != "L":
        return 8
    if picture.format == "TIFF":
        return int(picture.tag_v2.get(tiff_tags.BITS, (8,))[0])
    if picture.format == "PNG" and picture.tile:
        _, _, few = str(picture.tile[0][3]).partition(";")
        if few.isdigit():
            return int(few)
    return 8


def _odd_type(picture: Any) -> np.dtype | None:
    """The type of a TIFF's numbers where Pillow has none of it; else None."""
    if picture.format != "TIFF":
        return None
    bits = int(picture.tag_v2.get(tiff_tags.BITS, (8,))[0])
    kind = int(picture.tag_v2.get(tiff_tags.SAMPLES, (1,))[0])
    return _ODD.get((bits, kind))


def _as_stored(pixels: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Pixels that Pillow read as numbers of another type.

    >>> _as_stored(np.array([[253]], np.uint8), np.dtype("int8")).tolist()
    [[-3]]
    """
    if pixels.dtype.itemsize == kind.itemsize:
        return np.ascontiguousarray(pixels).view(kind)
    return pixels.astype(kind)


def _orientation(picture: Any) -> int:
    """The tag by which Pillow turns a TIFF while it reads it; 1 is not at all."""
    if picture.format != "TIFF":
        return 1
    return int(picture.tag_v2.get(_ORIENTATION, 1))


def _turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as stored, of those that Pillow turned by an orientation tag.

    >>> _turned_back(np.array([[1, 2], [3, 4]]), 3).tolist()
    [[4, 3], [2, 1]]
    """
    if orientation == 2:
        return pixels[:, ::-1]
    if orientation == 3:
        return pixels[::-1, ::-1]
    if orientation == 4:
        return pixels[::-1]
    return pixels


def _not_turned(path: Path, mode: str) -> np.ndarray:
    """Pixels of a TIFF on its side, as they are stored."""
    from PIL import Image

    pixels = _tiff(path)
    if mode.startswith(("I", "F")):
        return pixels
    return np.asarray(Image.fromarray(pixels).convert(mode))


# ------------------------------------------------------------------ 16-bit colours
def _deep_colours(picture: Any, path: Path) -> np.ndarray | None:
    """``(H, W, 3)`` uint16 of a colour picture of 16 bits; None for all others.

    Pillow reads the upper byte of each value. For PNG it is asked a second time, for the lower one.
    """
    if picture.format == "PNG" and picture.tile:
        layout = str(picture.tile[0][3])
        if layout == "LA;16B":
            raise UserError(
                "holds 16-bit grey with transparency", where=path, remedy="save it without alpha"
            )
        if layout in ("RGB;16B", "RGBA;16B"):
            return _both_bytes(path, layout)
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(tiff_tags.BITS, (8,))
        if len(bits) >= 3 and max(bits) > 8:
            return _tiff(path)[..., :3]
    return None


def _both_bytes(path: Path, layout: str) -> np.ndarray:
    from PIL import Image

    halves: list[np.ndarray] = []
    for bytes_order in (layout, layout[:-1] + "L"):  # the first byte, the second byte
        with Image.open(path) as picture:
            picture.tile = [picture.tile[0]._replace(args=bytes_order)]
            halves.append(np.asarray(picture)[..., :3].astype(np.uint16))
    return (halves[0] << 8) | halves[1]


def _tiff(path: Path) -> np.ndarray:
    """Pixels ``(H, W)`` or ``(H, W, C)`` of a TIFF as they are stored."""
    import tifffile

    try:
        pixels = tifffile.imread(path)
    except Exception as error:  # it raises anything on a damaged file
        raise UserError(
            f"cannot be read as it is stored ({first_line(error)})",
            where=path,
            remedy="save it without compression, or as PNG",
        ) from error
    if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[2] not in (3, 4):
        pixels = np.moveaxis(pixels, 0, -1)  # colour by colour
    return np.asarray(pixels)


# ------------------------------------------------------------------ masks as pictures
def mask_path(path: Path) -> Path:
    """Where a mask is written that should be at ``path``: a PNG in place of a format with losses,
    and of BMP.

    >>> mask_path(Path("masks/p07.JPG")).name, mask_path(Path("masks/p07.nii.gz")).name
    ('p07.png', 'p07.nii.gz')
    """
    if path.suffix.lower() in (*LOSSY, ".bmp"):
        return path.with_suffix(".png")
    return path


def write_mask_picture(mask: np.ndarray, target: Path, resolution: dict[str, Any]) -> None:
    """Write a mask ``(H, W)`` uint8 to :func:`mask_path` of ``target``.

    Args:
      mask: classes.
      target: of the image's name.
      resolution: what the image's file says of it, in Pillow's words.
    """
    from PIL import Image

    stated = dict(resolution)
    sides = stated.pop("resolution", None)
    if sides is not None and "dpi" not in stated:  # of a TIFF whose resolution has no unit
        stated |= {"x_resolution": sides[0], "y_resolution": sides[1], "resolution_unit": 1}
    with replacing(mask_path(target), keep_suffix=True) as partial:
        Image.fromarray(mask).save(partial, **stated)
