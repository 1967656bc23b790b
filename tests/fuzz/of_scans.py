"""Single scans as ``semiseg predict`` reads them, and masks as ``semiseg score`` does."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzz import mutate_arrays, mutate_bytes, mutate_scans, truths
from fuzz.engine import (
    DIFFERENT,
    FAILURE,
    REFUSED,
    SAME,
    Kind,
    Place,
    Tree,
    Verdict,
    written,
)

AFFINE = np.array([[-1.5, 0, 0, 4], [0, 1.25, 0, -2], [0, 0, 4, 7], [0, 0, 0, 1]], np.float64)
LIBRARIES = (
    "nibabel",
    "h5py",
    "PIL.Image",
    "PIL.PngImagePlugin",
    "PIL.TiffImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.BmpImagePlugin",
    "PIL.WebPImagePlugin",
    "tifffile",
    "SimpleITK",
    "semiseg.runner.ensemble",
)


def numbers(kind: str = "int16", shape: tuple[int, ...] = (5, 4, 3)) -> np.ndarray:
    """Numbers of a type, the same each time."""
    rng = np.random.default_rng(7)
    return rng.integers(0, 120, shape).astype(kind)


# ------------------------------------------------------------------ seeds
def nifti_seeds() -> dict[str, Tree]:
    import nibabel

    trees: dict[str, Tree] = {}
    for kind in ("int16", "uint8", "float32", "float64", "int32"):
        image = nibabel.Nifti1Image(numbers(kind), AFFINE)
        trees[kind] = {"p7.nii": image.to_bytes()}
    trees["channels"] = {
        "p7.nii": nibabel.Nifti1Image(numbers(shape=(5, 4, 3, 2)), AFFINE).to_bytes()
    }
    trees["second"] = {"p7.nii": nibabel.Nifti2Image(numbers(), AFFINE).to_bytes()}
    for name in ("int16", "channels"):
        content = trees[name]["p7.nii"]
        assert isinstance(content, bytes)
        trees[name + ".gz"] = {"p7.nii.gz": _zipped(content)}
    return trees


def _zipped(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, mtime=0)


def itk_seeds() -> dict[str, Tree]:
    import SimpleITK as sitk

    def write(folder: Path, suffix: str, compressed: bool) -> None:
        image = sitk.GetImageFromArray(numbers().transpose(2, 1, 0))
        image.SetSpacing((1.5, 1.25, 4.0))
        sitk.WriteImage(image, str(folder / f"p7{suffix}"), compressed)

    trees: dict[str, Tree] = {}
    for suffix in (".nrrd", ".mha", ".mhd", ".nhdr"):
        for compressed in (False, True):
            name = f"{suffix}{' compressed' * compressed}"

            def one(folder: Path, suffix: str = suffix, compressed: bool = compressed) -> None:
                write(folder, suffix, compressed)

            trees[name] = written(one)
    return trees


def picture_seeds() -> dict[str, Tree]:
    from PIL import Image

    grey = numbers("uint8", (9, 7))
    colour = numbers("uint8", (9, 7, 3))
    made: dict[str, Any] = {
        "grey.png": Image.fromarray(grey),
        "colour.png": Image.fromarray(colour),
        "palette.png": Image.fromarray(grey).convert("P"),
        "bits.png": Image.fromarray(grey).convert("1"),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 300),
        "alpha.png": Image.fromarray(grey).convert("LA"),
        "grey.tif": Image.fromarray(grey),
        "colour.tif": Image.fromarray(colour),
        "deep.tif": Image.fromarray(grey.astype(np.uint16) * 300),
        "real.tif": Image.fromarray(grey.astype(np.float32)),
        "packed.tif": Image.fromarray(grey),
        "grey.bmp": Image.fromarray(grey),
        "colour.bmp": Image.fromarray(colour),
        "grey.jpg": Image.fromarray(grey),
        "colour.webp": Image.fromarray(colour),
    }
    trees: dict[str, Tree] = {}
    for name, picture in made.items():
        options = {"compression": "tiff_lzw"} if name == "packed.tif" else {}
        file = io.BytesIO()
        kind = {"tif": "TIFF", "jpg": "JPEG"}.get(name[-3:], name.rpartition(".")[2].upper())
        picture.save(file, kind, **options)
        trees[name] = {name: file.getvalue()}
    return trees


def mask_seeds() -> dict[str, Tree]:
    mask = numbers("uint8") % 3
    file = io.BytesIO()
    np.save(file, mask)
    trees: dict[str, Tree] = {"npy": {"p7.npy": file.getvalue()}}
    for name, tree in {**nifti_seeds(), **itk_seeds(), **picture_seeds()}.items():
        if not name.endswith((".jpg", ".webp")):
            trees[name] = tree
    return trees


def header_of(tree: Tree) -> str:
    """The file of a tree that is given to a program: the one with a header."""
    for name in sorted(tree):
        if not name.endswith((".raw", ".zraw", ".raw.gz")):
            return name
    raise ValueError("there is none")


# ------------------------------------------------------------------ mutations
def mutate(tree: Tree, rng: Random) -> str:
    """Change one file by knowledge of its format."""
    return mutate_bytes.mutate_one(tree, rng, change_of(tree))


def change_of(tree: Tree) -> mutate_bytes.Change:
    """What knows the format of the files of a tree."""
    name = header_of(tree)
    if ".nii" in name:
        return mutate_scans.nifti
    if name.endswith((".nrrd", ".nhdr", ".mha", ".mhd")):
        return mutate_scans.text_header
    if name.endswith(".npy"):
        return mutate_arrays.npy
    return mutate_scans.picture


# ------------------------------------------------------------------ runs
def read(place: Place) -> Verdict:
    """Read as a prediction does, and compare with the format's own library."""
    from semiseg.data.input_scan import read_scan
    from semiseg.errors import UserError

    path = place.input / header_of(place.seed)
    try:
        scan = read_scan(path, "auto")
    except (MemoryError, RecursionError):
        raise
    except UserError as error:
        return refusal(str(error))
    except Exception as error:  # as Ensemble.predict_files
        return refusal(f"{path}: cannot be segmented ({error})")
    return compared(place, path, scan.image, scan.affine, scan.spacing)


def refusal(message: str) -> Verdict:
    """REFUSED, where it is one that can be printed."""
    if not message.strip():
        return Verdict(FAILURE, "empty message")
    return Verdict(REFUSED, detail=message)


def compared(
    place: Place,
    path: Path,
    image: np.ndarray,
    affine: np.ndarray | None,
    spacing: tuple[float, ...],
) -> Verdict:
    """Whether what was accepted is what the file says."""
    what = path.suffix
    if not np.isfinite(image).all():
        return Verdict(FAILURE, f"silent {what}: not finite", str(image.ravel()[:9]))
    if affine is not None:
        sides = np.linalg.norm(affine[:3, :3], axis=0)
        if not np.allclose(sides, spacing, rtol=1e-4) or not 1e-6 < min(sides) <= max(sides) < 1e6:
            return Verdict(FAILURE, f"silent {what}: spacing", f"{spacing} of {affine}")
    try:
        expected = truths.truth(path)
    except Exception as error:  # another reader may need what the pixels do not
        if not truths.differs(image, affine, _before(place)):
            return Verdict(SAME)
        if "imagecodecs" in str(error):
            return Verdict(DIFFERENT, detail=f"nobody to compare with: {error}")
        return Verdict(FAILURE, f"silent {what}: no other reader reads it", repr(error))
    words = truths.differs(image, affine, expected)
    if words:
        return Verdict(FAILURE, f"silent {what}: {words.partition(' ')[0]}", words)
    if place.tree == place.seed:
        return Verdict(SAME)
    before = _before(place)
    same = before.numbers.shape == expected.numbers.shape
    if same and np.array_equal(before.numbers, expected.numbers):
        return Verdict(SAME)
    damage = truths.damage(path)
    if damage:
        return Verdict(FAILURE, f"silent {what}: checksum", damage)
    return Verdict(DIFFERENT)


def _before(place: Place) -> truths.Truth:
    """What the seed holds."""
    from fuzz.engine import write_tree

    folder = place.work / "seed"
    folder.mkdir(exist_ok=True)
    write_tree(folder, place.seed)
    return truths.truth(folder / header_of(place.seed))


def read_mask(place: Place) -> Verdict:
    """Read as ``semiseg score`` does."""
    from semiseg.data import mask_files
    from semiseg.errors import UserError

    path = place.input / header_of(place.seed)
    try:
        mask = mask_files._read(path)
    except UserError as error:
        return refusal(str(error))
    if path.suffix == ".npy":
        expected = np.load(path, allow_pickle=False)
    else:
        expected = truths.indices_of(path)
        if expected is None:
            expected = truths.truth(path).numbers[..., 0]
        if expected.ndim == 3 and mask.ndim == 2:
            expected = expected[..., 0]
    near = {"rtol": 1e-5, "atol": 1e-5}  # a rescaling is rounded
    if mask.shape != expected.shape or not np.allclose(mask, expected, **near):
        if set(np.unique(expected)) <= {0, 255} and ((mask > 0) == (expected > 0)).all():
            return Verdict(DIFFERENT)  # of one bit
        return Verdict(FAILURE, f"silent mask {path.suffix}", f"{mask} for {expected}")
    return Verdict(DIFFERENT)


KINDS = (
    Kind("scan.nifti", nifti_seeds, mutate, read, weight=4, imports=LIBRARIES),
    Kind("scan.itk", itk_seeds, mutate, read, weight=3, imports=LIBRARIES),
    Kind("scan.picture", picture_seeds, mutate, read, weight=4, imports=LIBRARIES),
    Kind("mask", mask_seeds, mutate, read_mask, weight=2, imports=LIBRARIES),
)
