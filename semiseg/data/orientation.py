"""How the voxels of a file lie in the patient, and the one way in which a data set's volumes are
shown.

Files store the same anatomy in any of 48 orders of axes. A volume is brought to one of three by
permuting and flipping axes, never by resampling, so that the way back is exact:

    plane      D (slices) to   H (rows) to   W (columns) to
    axial      superior        posterior     left
    coronal    posterior       inferior      left
    sagittal   left            inferior      posterior

That is how a viewer shows them. Affines map an index to RAS millimetres: x to the patient's right,
y to anterior, z to superior, as in NIfTI.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from semiseg.errors import UserError

PLANES = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}
"""Plane of acquisition → where the axes D, H, W of a scan run to."""
_NORMALS = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}
_WORLD = (("L", "R"), ("P", "A"), ("I", "S"))
COARSER = 0.01
"""A spacing is coarser than another if it is so by more than this share."""
SIDES = (1e-5, 1e4)
"""Millimetres of a voxel's side, from less than microscopes have to more than a patient."""


class Grid(NamedTuple):
    """What a file's header says of its grid of voxels.

    Attributes:
      affine: ``(4, 4)``, index (x, y, z, 1) of the file's array to RAS mm.
      shape: ``(X, Y, Z)``.
      slice_axis: the axis of the slices, where the header names one.
    """

    affine: np.ndarray
    shape: tuple[int, ...]
    slice_axis: int | None = None


@dataclasses.dataclass(frozen=True)
class Orientation:
    """From the array of a file ``(X, Y, Z)`` to a scan ``(D, H, W)``, and back.

    Attributes:
      axes: the file's axis that becomes D, H and W.
      flips: whether D, H and W run against it.
      code: of the file, e.g. ``LAS``: where its axes run to.

    >>> turn = Orientation((2, 1, 0), (False, True, False), "LAS")
    >>> voxels = np.arange(24).reshape(2, 3, 4)
    >>> turn.to_scan(voxels).shape
    (4, 3, 2)
    >>> bool((turn.to_file(turn.to_scan(voxels)) == voxels).all())
    True
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    code: str

    def to_scan(self, voxels: np.ndarray) -> np.ndarray:
        """``(D, H, W, …)`` of ``(X, Y, Z, …)``: a view, nothing is copied."""
        rest = range(3, voxels.ndim)
        return voxels.transpose(*self.axes, *rest)[self._steps]

    def to_file(self, scan: np.ndarray) -> np.ndarray:
        """``(X, Y, Z, …)`` of ``(D, H, W, …)``: the inverse of :meth:`to_scan`, also a view."""
        rest = range(3, scan.ndim)
        return scan[self._steps].transpose(*np.argsort(self.axes), *rest)

    def scan_affine(self, affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """``(4, 4)`` float64: index (d, h, w, 1) of the scan to RAS mm.

        Args:
          affine: of the file.
          shape: ``(X, Y, Z)`` of the file.

        >>> turn = Orientation((2, 1, 0), (False, True, False), "RAS")
        >>> turn.scan_affine(np.eye(4), (2, 3, 4)) @ [1, 0, 0, 1]
        array([0., 2., 1., 1.])
        """
        return np.asarray(affine, np.float64) @ self._to_index(shape)

    def file_affine(self, affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """``(4, 4)`` float64: index (x, y, z, 1) of the file to RAS mm.

        Args:
          affine: of the scan.
          shape: ``(X, Y, Z)`` of the file.

        >>> turn = Orientation((2, 1, 0), (False, True, False), "RAS")
        >>> scan = turn.scan_affine(np.diag([1.0, 2.0, 5.0, 1.0]), (2, 3, 4))
        >>> turn.file_affine(scan, (2, 3, 4)).diagonal()
        array([1., 2., 5., 1.])
        """
        # + 0.0: a product of -1 and 0 is -0, which a header need not say
        return np.asarray(affine, np.float64) @ np.linalg.inv(self._to_index(shape)) + 0.0

    def _to_index(self, shape: Sequence[int]) -> np.ndarray:
        """``(4, 4)``: index (d, h, w, 1) of the scan to index (x, y, z, 1) of the file."""
        to_index = np.zeros((4, 4))
        to_index[3, 3] = 1
        for k, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            to_index[axis, k] = 1
            if flip:
                to_index[axis, k] = -1
                to_index[axis, 3] = shape[axis] - 1
        return to_index

    @property
    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)


def orientation_of(affine: np.ndarray, plane: str = "axial") -> Orientation:
    """How to bring a file to the orientation of ``plane``, the closest one where it is oblique.

    Args:
      affine: ``(4, 4)`` of the file.
      plane: a key of :data:`PLANES`.

    Raises:
      UserError: the affine maps two axes to one direction, or an axis to nothing.

    >>> orientation_of(np.diag([-1.0, 1.0, 2.0, 1.0]))
    Orientation(axes=(2, 1, 0), flips=(False, True, False), code='LAS')
    """
    return _between(code_of(affine), PLANES[plane])


def orientation_back(affine: np.ndarray, code: str) -> Orientation:
    """How a scan was brought from a file, by what is stored of both.

    Args:
      affine: ``(4, 4)`` of the scan.
      code: of the file, see :class:`Orientation`.

    Raises:
      UserError: as :func:`orientation_of`.

    >>> file = np.diag([-1.0, 1.0, 2.0, 1.0])
    >>> turn = orientation_of(file)
    >>> orientation_back(turn.scan_affine(file, (2, 3, 4)), "LAS") == turn
    True
    """
    return _between(code, code_of(affine))


def _between(code: str, scan: Iterable[str]) -> Orientation:
    """From a file whose axes run to ``code`` to a scan whose axes run to ``scan``."""
    axes: list[int] = []
    flips: list[bool] = []
    for letter in scan:
        pair = next(pair for pair in _WORLD if letter in pair)
        axis = next(k for k, end in enumerate(code) if end in pair)
        axes.append(axis)
        flips.append(code[axis] != letter)
    return Orientation((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]), code)


def code_of(affine: np.ndarray) -> str:
    """Where the axes of a file's array run to, the closest of the six directions each.

    Raises:
      UserError: as :func:`orientation_of`.

    >>> code_of(np.eye(4)), code_of(np.diag([-1.0, -1.0, 1.0, 1.0]))
    ('RAS', 'LPS')
    """
    return _code(np.asarray(affine, np.float64)[:3, :3].tobytes())


@functools.lru_cache(1024)
def _code(directions: bytes) -> str:
    """As nibabel's ``io_orientation``: the closest rotation decides, axis by axis."""
    matrix = np.frombuffer(directions, np.float64).reshape(3, 3)
    sides = np.linalg.norm(matrix, axis=0)
    if not np.isfinite(matrix).all() or not sides.all():
        raise UserError("its affine has a voxel without a size", remedy="correct the file's header")
    shortest = float(np.min(sides))
    longest = float(np.max(sides))
    if shortest < SIDES[0] or longest > SIDES[1]:
        raise UserError(
            f"its voxels have sides of {shortest:g} to {longest:g} mm",
            remedy="correct the file's header",
        )
    left, scales, right = np.linalg.svd(matrix / sides)
    if np.min(scales) < 1e-4:
        raise UserError("its affine maps two axes to one", remedy="correct the file's header")
    rotation = left @ right
    code = [""] * 3
    strengths = np.abs(rotation)
    for _ in range(3):
        world, axis = np.unravel_index(int(np.argmax(strengths)), (3, 3))
        code[axis] = _WORLD[world][int(rotation[world, axis] > 0)]
        strengths[world] = -1
        strengths[:, axis] = -1
    return "".join(code)


def sides_of(affine: np.ndarray) -> tuple[float, ...]:
    """Size of a voxel along each axis of the array, mm.

    >>> sides_of(np.diag([-0.5, 0.5, 8.0, 1.0]))
    (0.5, 0.5, 8.0)
    """
    sides = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)
    return tuple(_rounded(float(side)) for side in sides)


def _rounded(side: float) -> float:
    """A side to six digits: what float32 of a header holds."""
    return float(f"{side:.6g}")


def plane_of_scan(affine: np.ndarray) -> str:
    """The plane that a scan with this affine was brought to.

    >>> affine = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]])
    >>> plane_of_scan(affine)
    'axial'
    """
    return _NORMALS.get(code_of(affine)[0], "sagittal")


# ------------------------------------------------------------------ the plane of a set
def plane_by_spacing(grid: Grid) -> str | None:
    """The plane of the slices of a file whose spacing along one axis is coarser by more than 1 %.

    >>> plane_by_spacing(Grid(np.diag([1.0, 5.0, 1.0, 1.0]), (9, 9, 9)))
    'coronal'
    >>> plane_by_spacing(Grid(np.diag([1.0, 1.0, 1.000001, 1.0]), (9, 9, 9))) is None
    True
    """
    sides = sides_of(grid.affine)
    order = np.argsort(sides)
    if sides[order[2]] <= sides[order[1]] * (1 + COARSER):
        return None
    return _plane(grid, int(order[2]))


def plane_by_shape(grid: Grid) -> str | None:
    """The plane of the slices by the axis that the header names, or by the odd one of three sizes.

    >>> plane_by_shape(Grid(np.eye(4), (64, 64, 20))), plane_by_shape(Grid(np.eye(4), (5, 6, 7)))
    ('axial', None)
    """
    if grid.slice_axis is not None:
        return _plane(grid, grid.slice_axis)
    odd = [k for k, size in enumerate(grid.shape) if grid.shape.count(size) == 1]
    if len(odd) == 1:
        return _plane(grid, odd[0])
    return None


def _plane(grid: Grid, axis: int) -> str:
    return _NORMALS.get(code_of(grid.affine)[axis], "sagittal")


def acquisition_plane(grids: Iterable[Grid]) -> tuple[str, str]:
    """The plane in which a set's volumes are cut to slices, and the reason in words.

    The one that is coarsest in most of the volumes; where none is coarser, the one that the shape
    of most volumes names; else axial.

    >>> thick = np.diag([1.0, 5.0, 1.0, 1.0])
    >>> acquisition_plane([Grid(thick, (9, 9, 9)), Grid(np.eye(4), (9, 9, 9))])
    ('coronal', 'the coarsest spacing of 1 of 2 volumes')
    >>> acquisition_plane([Grid(np.eye(4), (4, 5, 6))])
    ('axial', 'no axis is coarser than the others')
    """
    volumes = list(grids)
    by_spacing = Counter(plane for plane in map(plane_by_spacing, volumes) if plane)
    if by_spacing:
        plane, number = by_spacing.most_common(1)[0]
        return plane, f"the coarsest spacing of {_of(number, len(volumes))}"
    by_shape = Counter(plane for plane in map(plane_by_shape, volumes) if plane)
    if by_shape:
        plane, number = by_shape.most_common(1)[0]
        if 2 * number > len(volumes):
            return plane, f"the slices of {_of(number, len(volumes))} by their shape"
    return "axial", "no axis is coarser than the others"


def _of(number: int, total: int) -> str:
    """``number`` of ``total`` volumes, in words."""
    if number == total:
        return "every volume"
    return f"{number} of {total} volumes"


def turned(codes: Iterable[str]) -> str:
    """The orientations of a set's files, counted: for a note.

    >>> turned(["RAS", "LAS", "RAS"])
    'RAS (2), LAS (1)'
    """
    counts = Counter(codes)
    return ", ".join(f"{code} ({number})" for code, number in counts.most_common())
