"""Scans of any type, orientation, spacing, scale and size for property tests, and their files.

The truth of a file is what nibabel, SimpleITK, Pillow or tifffile read of it, never what semiseg
does.
"""

import itertools
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from hypothesis import strategies as st

CODES = [
    "".join(letters)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*axes)
]
"""All 48 orders and directions of three axes."""
SCALES = {
    "uint8": (0, 255),
    "int8": (-128, 127),
    "int16": (-1024, 3071),
    "uint16": (0, 65535),
    "int32": (-100_000, 100_000),
    "float32": (-2, 2),
    "float64": (0, 1e4),
}
"""Type of the numbers in a file → the range they are drawn from."""
UNITS = {"mm": 1.0, "unknown": 1.0, "micron": 1000.0, "meter": 0.001}
"""Unit of a NIfTI header → how many make a millimetre."""
SIDES = st.one_of(
    st.sampled_from([0.7, 1.0, 5.0, 1.0 / 3]),
    st.floats(0.05, 12.0, allow_nan=False),
)


class Drawn(NamedTuple):
    """A volume to be written.

    Attributes:
      voxels: ``(X, Y, Z)`` as the file stores them.
      label: ``(X, Y, Z)`` uint8, classes 0 to 2.
      affine: ``(4, 4)``, index (x, y, z, 1) to RAS mm.
      slope: and intercept of the header; None where it has none.
      unit: of the header.
      transforms: the codes of sform and qform.
      suffix: of the file.
    """

    voxels: np.ndarray
    label: np.ndarray
    affine: np.ndarray
    slope: tuple[float, float] | None
    unit: str
    transforms: tuple[int, int]
    suffix: str

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write image and label; returns their paths."""
        paths = (
            folder / "images" / f"{name}{self.suffix}",
            folder / "labels" / f"{name}{self.suffix}",
        )
        for path, voxels in zip(paths, (self.voxels, self.label), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.suffix.startswith(".nii"):
                self._write_nifti(path, voxels)
            else:
                self._write_itk(path, voxels)
        return paths

    def _write_nifti(self, path: Path, voxels: np.ndarray) -> None:
        affine = self.affine.copy()
        affine[:3] *= UNITS[self.unit]
        image = nibabel.Nifti1Image(voxels, affine)
        image.header.set_xyzt_units(self.unit)
        image.set_qform(affine, self.transforms[1])
        image.set_sform(affine, self.transforms[0])
        if self.slope is not None and voxels is self.voxels:
            image.header.set_slope_inter(*self.slope)
        nibabel.save(image, path)
        if self.slope is not None and voxels is self.voxels:
            _set_slope(path, self.slope)

    def _write_itk(self, path: Path, voxels: np.ndarray) -> None:
        import SimpleITK as sitk

        to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine
        sides = np.linalg.norm(to_lps[:3, :3], axis=0)
        image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
        image.SetSpacing(sides.tolist())
        image.SetOrigin(to_lps[:3, 3].tolist())
        image.SetDirection((to_lps[:3, :3] / sides).ravel().tolist())
        sitk.WriteImage(image, str(path))


def _set_slope(path: Path, slope: tuple[float, float]) -> None:
    """Write slope and intercept into an uncompressed NIfTI; nibabel takes its own."""
    content = bytearray(path.read_bytes())
    content[112:120] = np.array(slope, "<f4").tobytes()
    path.write_bytes(bytes(content))


def truth(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels ``(X, Y, Z)`` float64 and affine to RAS mm of a file, by its own library."""
    if path.name.endswith((".nii", ".nii.gz")):
        image = nibabel.load(path)
        affine = image.affine.copy()
        affine[:3] /= UNITS[image.header.get_xyzt_units()[0]]
        return image.get_fdata(), affine
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = directions * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float64), affine


# ------------------------------------------------------------------ strategies
@st.composite
def volumes(draw, suffixes=(".nii", ".nii.gz", ".nrrd", ".mha"), least=1):
    """A volume of any kind; sides of ``least`` to nine voxels."""
    shape = tuple(draw(st.lists(st.integers(least, 9), min_size=3, max_size=3)))
    kind = draw(st.sampled_from(list(SCALES)))
    suffix = draw(st.sampled_from(suffixes))
    slope = None
    if suffix == ".nii" and not kind.startswith("float"):
        slope = draw(st.sampled_from([None, (0.5, -100.0), (1 / 3, 7.0), (-2.0, 0.0)]))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Drawn(
        voxels=numbers_of(numbers, kind, shape),
        label=numbers.integers(0, 3, shape, dtype=np.uint8),
        affine=draw(affines()),
        slope=slope,
        unit=draw(st.sampled_from(list(UNITS))),
        transforms=draw(st.sampled_from([(1, 1), (2, 0), (0, 1), (4, 1), (0, 0)])),
        suffix=suffix,
    )


def numbers_of(numbers: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    low, high = SCALES[kind]
    if kind.startswith("float"):
        return numbers.uniform(low, high, shape).astype(kind)
    return numbers.integers(low, high, shape, dtype=kind, endpoint=True)


@st.composite
def affines(draw):
    """``(4, 4)``: any code and spacing, turned by up to 40 degrees, anywhere in space."""
    code = draw(st.sampled_from(CODES))
    sides = draw(st.lists(SIDES, min_size=3, max_size=3))
    ornt = nibabel.orientations.axcodes2ornt(code)
    affine = np.eye(4)
    for axis, (world, direction) in enumerate(ornt):
        affine[:3, axis] = 0
        affine[int(world), axis] = direction * sides[axis]
    angle = np.radians(draw(st.sampled_from([0.0, 0.0, 7.0, -40.0])))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ affine
    affine[:3, 3] = draw(st.lists(st.integers(-300, 300), min_size=3, max_size=3))
    return affine
