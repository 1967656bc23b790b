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
    "uint32": (0, 1 << 24),
}
"""Type of the numbers in a file → the range they are drawn from."""
UNITS = {"mm": 1.0, "unknown": 1.0, "micron": 1000.0, "meter": 0.001}
"""Unit of a NIfTI header → how many make a millimetre."""
NO_TRANSFORM = (0, 0)
"""Codes of sform and qform in a header that states sizes alone."""
SIDES = st.one_of(
    st.sampled_from([0.7, 1.0, 5.0, 1.0 / 3]),
    st.floats(0.05, 12.0, allow_nan=False),
)


class Drawn(NamedTuple):
    """A volume to be written.

    Attributes:
      voxels: ``(X, Y, Z)`` or ``(X, Y, Z, C)`` as the file stores them.
      label: ``(X, Y, Z)`` uint8, classes 0 to 2.
      label_code: the order and directions of axes in which the label's file stores it.
      affine: ``(4, 4)``, index (x, y, z, 1) to RAS mm.
      slope: and intercept of the header; None where it has none.
      unit: of the header.
      transforms: the codes of sform and qform.
      suffix: of the file.
    """

    voxels: np.ndarray
    label: np.ndarray
    label_code: str
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
        label, label_affine = turned(
            self.label,
            self.affine,
            self.label_code,
        )
        for path in paths:
            path.parent.mkdir(
                parents=True,
                exist_ok=True,
            )
        self._write_one(
            paths[0],
            self.voxels,
            self.affine,
        )
        self._write_one(
            paths[1],
            label,
            label_affine,
        )
        if self.slope is not None:
            _set_slope(
                paths[0],
                self.slope,
            )
        return paths

    def _write_one(self, path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
        if not self.suffix.startswith(".nii"):
            _write_itk(path, voxels, affine)
            return
        affine = affine.copy()
        affine[:3] *= UNITS[self.unit]
        image = nibabel.Nifti1Image(voxels, affine)
        image.header.set_xyzt_units(self.unit)
        image.set_qform(
            affine,
            self.transforms[1],
        )
        image.set_sform(
            affine,
            self.transforms[0],
        )
        nibabel.save(image, path)


def turned(voxels: np.ndarray, affine: np.ndarray, code: str) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels at the same places, stored in another order of axes."""
    start = nibabel.orientations.io_orientation(affine)
    end = nibabel.orientations.axcodes2ornt(code)
    change = nibabel.orientations.ornt_transform(
        start,
        end,
    )
    back = nibabel.orientations.inv_ornt_aff(
        change,
        voxels.shape,
    )
    return nibabel.orientations.apply_orientation(
        voxels,
        change,
    ), affine @ back


def _write_itk(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    import SimpleITK as sitk

    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    sides = np.linalg.norm(
        to_lps[:3, :3],
        axis=0,
    )
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
    image.SetSpacing(sides.tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    image.SetDirection((to_lps[:3, :3] / sides).ravel().tolist())
    sitk.WriteImage(
        image,
        str(path),
    )


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
    directions = np.array(image.GetDirection()).reshape(
        3,
        3,
    )
    affine[:3, :3] = directions * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return sitk.GetArrayFromImage(image).transpose(
        2,
        1,
        0,
    ).astype(np.float64), affine


# ------------------------------------------------------------------ strategies
@st.composite
def volumes(draw, most_channels=1):
    """A volume of any kind; sides of one to nine voxels."""
    shape = tuple(
        draw(
            st.lists(
                st.integers(1, 9),
                min_size=3,
                max_size=3,
            )
        )
    )
    kind = draw(st.sampled_from(list(SCALES)))
    suffix = draw(st.sampled_from((".nii", ".nii.gz", ".nrrd", ".mha")))
    channels = ()
    if suffix.startswith(".nii") and shape[0] > 1 and most_channels > 1:
        channels = (draw(st.integers(1, most_channels)),)
    slope = None
    if suffix == ".nii" and not kind.startswith("float"):
        slope = draw(st.sampled_from([None, (0.5, -100.0), (1 / 3, 7.0), (-2.0, 0.0)]))
    transforms = draw(
        st.sampled_from(
            [
                (1, 1),
                (2, 0),
                (0, 1),
                (4, 1),
                NO_TRANSFORM,
            ]
        )
    )
    affine = draw(affines())
    label_code = draw(st.sampled_from(CODES))
    if transforms == NO_TRANSFORM:
        label_code = "".join(nibabel.aff2axcodes(affine))
    numbers = np.random.default_rng(
        draw(
            st.integers(
                0,
                2**32 - 1,
            )
        )
    )
    return Drawn(
        voxels=numbers_of(
            numbers,
            kind,
            (*shape, *channels),
        ),
        label=numbers.integers(
            0,
            3,
            shape,
            dtype=np.uint8,
        ),
        label_code=label_code,
        affine=affine,
        slope=slope,
        unit=draw(st.sampled_from(list(UNITS))),
        transforms=transforms,
        suffix=suffix,
    )


def numbers_of(numbers: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    low, high = SCALES[kind]
    if kind.startswith("float"):
        return numbers.uniform(
            low,
            high,
            shape,
        ).astype(kind)
    return numbers.integers(
        low,
        high,
        shape,
        dtype=kind,
        endpoint=True,
    )


@st.composite
def affines(draw):
    """``(4, 4)``: any code and spacing, turned by up to 40 degrees, anywhere in space."""
    code = draw(st.sampled_from(CODES))
    sides = draw(
        st.lists(
            SIDES,
            min_size=3,
            max_size=3,
        )
    )
    ornt = nibabel.orientations.axcodes2ornt(code)
    affine = np.eye(4)
    for axis, (world, direction) in enumerate(ornt):
        affine[:3, axis] = 0
        affine[int(world), axis] = direction * sides[axis]
    angle = np.radians(draw(st.sampled_from([0.0, 0.0, 7.0, -40.0])))
    turn = np.eye(4)
    turn[:2, :2] = [
        [
            np.cos(angle),
            -np.sin(angle),
        ],
        [
            np.sin(angle),
            np.cos(angle),
        ],
    ]
    affine = turn @ affine
    affine[:3, 3] = draw(
        st.lists(
            st.integers(-300, 300),
            min_size=3,
            max_size=3,
        )
    )
    return affine
