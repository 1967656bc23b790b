"""Masks that another program wrote: matched with the scans of a split by name, checked, and cut
into the slices that the data set holds.

A file's name without its suffix is that of a volume, of a picture or of a single slice, as
`semiseg predict` writes them. Pictures, volumes and NPY are read; an NPY holds ``(H, W)`` or
``(slices, H, W)``. A volume is brought to the orientation of its scan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data import orientation, size_limits
from semiseg.data.images import FAR, KINDS, is_image, is_volume, off_by, read_header, stem_of
from semiseg.data.info import StoreInfo
from semiseg.data.label_values import LabelValues, read_label
from semiseg.data.source import first_line
from semiseg.errors import UserError
from semiseg.types import Case

NUMPY = ".npy"
PROBABILITIES = "_probabilities"
"""Ends the names of files that `semiseg predict --probabilities` writes beside the masks."""
MOST = 3
"""Names that a message lists."""
NO_MASK = "has no mask"
"""What a subject lacks of which every mask is missing."""


class Masks(NamedTuple):
    """Masks of a split.

    Attributes:
      by_case: name of a case → its mask ``(H, W)`` uint8.
      missing: subjects of which a mask is missing; none of their cases is in ``by_case``.
      unused: files that no scan of the split has the name of.
      lacking: what each missing subject lacks, in words.
    """

    by_case: dict[str, np.ndarray]
    missing: tuple[str, ...]
    unused: tuple[Path, ...]
    lacking: dict[str, str]


def read_masks(folder: Path, cases: Sequence[Case], info: StoreInfo) -> Masks:
    """The masks of annotated cases.

    Args:
      folder: of the files.
      cases: slices or pictures of a split.
      info: of the data set.

    Raises:
      UserError: a mask has another shape, voxel size or place in space than its scan, or values
        that are no classes; it names the file.
    """
    files = files_of(folder)
    volumes: dict[str, list[Case]] = {}
    for case in cases:
        volumes.setdefault(case.volume, []).append(case)
    sources: dict[str, Path] = {}
    by_case: dict[str, np.ndarray] = {}
    missing: dict[str, list[str]] = {}
    for volume, members in volumes.items():
        masks = _of_volume(files, volume, members, info, sources)
        for case in members:
            if case.name in masks:
                by_case[case.name] = masks[case.name]
            else:
                missing.setdefault(case.subject, []).append(case.name)
    names = {case.name for case in cases if case.subject in missing}
    by_case = {name: mask for name, mask in by_case.items() if name not in names}
    unused = tuple(path for path in files.values() if path not in set(sources.values()))
    numbers = Counter(case.subject for case in cases)
    lacking = {subject: _lacks(missing[subject], numbers[subject]) for subject in missing}
    return Masks(_as_classes(by_case, info.classes, sources), tuple(missing), unused, lacking)


def _lacks(names: Sequence[str], number: int) -> str:
    """What a subject of ``number`` cases lacks.

    >>> _lacks(["p06_s02"], 3), _lacks(["p07"], 1)
    ('lacks 1 of 3 masks: p06_s02', 'has no mask')
    """
    if len(names) == number:
        return NO_MASK
    more = ", …" * (len(names) > MOST)
    return f"lacks {len(names)} of {number} masks: {', '.join(names[:MOST])}{more}"


def files_of(folder: Path) -> dict[str, Path]:
    """Name without suffix → mask file.

    Raises:
      UserError: there is no such folder or no mask in it, or two files have one name.
    """
    if not folder.is_dir():
        raise UserError("no such folder", where=folder, remedy="give a folder of masks")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = stem(path)
        if name is None or name.endswith(PROBABILITIES) or path.name.startswith("."):
            continue
        if name in files:
            raise UserError(
                f"has the same name as {files[name].name}", where=path, remedy="remove one of them"
            )
        files[name] = path
    if not files:
        raise UserError(f"holds no {KINDS} or NPY file", where=folder)
    return files


def stem(path: Path) -> str | None:
    """The name of a mask file without its suffix; None for a file of another kind."""
    if is_image(path):
        return stem_of(path)
    if path.name.lower().endswith(NUMPY):
        return path.name[: -len(NUMPY)]
    return None


def check_values(files: Mapping[str, Path], classes: Sequence[str]) -> None:
    """Refuse files that cannot be read or hold values that are no classes; no scan is asked.

    Args:
      files: name without suffix → mask file.
      classes: of the data set.

    Raises:
      UserError: it names the file.
    """
    _as_classes({name: _read(path) for name, path in files.items()}, classes, files)


# ------------------------------------------------------------------ one volume
def _of_volume(
    files: Mapping[str, Path],
    volume: str,
    members: Sequence[Case],
    info: StoreInfo,
    sources: dict[str, Path],
) -> dict[str, np.ndarray]:
    """Masks of the cases of a volume that have one: from a file of it, or from one a slice; the
    file of each is added to ``sources``.
    """
    if volume in files:
        sources |= {case.name: files[volume] for case in members}
        return dict(_planes(files[volume], members, info))
    masks: dict[str, np.ndarray] = {}
    for case in members:
        if case.name in files:
            sources[case.name] = files[case.name]
            masks |= dict(_planes(files[case.name], [case], info))
    return masks


def _planes(
    path: Path, members: Sequence[Case], info: StoreInfo
) -> Iterator[tuple[str, np.ndarray]]:
    """The mask of each case of a file."""
    mask = _read(path)
    plane = members[0].image.shape[:2]
    if mask.ndim == 2 and len(members) == 1:
        if mask.shape != plane:
            raise _other_shape(path, mask.shape, plane)
        yield members[0].name, mask
        return
    expected = (len(members), *plane)
    slices = mask
    if is_volume(path):
        slices = _in_place(path, mask, members[0])
    if slices.shape != expected and not _covers(slices, members):
        raise _other_shape(path, slices.shape, expected)
    if is_volume(path):
        _check_space(path, members[0], info, slices.shape)
    ordered = sorted(members, key=_place)
    for rank, case in enumerate(ordered):
        i = rank
        if len(slices) != len(members):
            i = case.index
        yield case.name, slices[i]


def _place(case: Case) -> int:
    return case.index


def _covers(slices: np.ndarray, members: Sequence[Case]) -> bool:
    """Whether the file holds more slices than are stored, each at its own place."""
    last = max(case.index for case in members)
    return slices.shape[1:] == members[0].image.shape[:2] and len(slices) > last


def _read(path: Path) -> np.ndarray:
    """The mask in a file.

    Raises:
      UserError: it cannot be read, is no mask, or holds what is no whole number.
    """
    if path.name.lower().endswith(NUMPY):
        try:
            size_limits.check_npy(path)
            mask = np.load(path, allow_pickle=False)
        except UserError:
            raise
        except Exception as error:  # NumPy raises anything on a damaged header
            raise UserError(
                f"cannot be read ({first_line(error)})", where=path, remedy="write it again"
            ) from error
    else:
        mask = read_label(path)
    if mask.ndim not in (2, 3):
        raise UserError(
            f"has shape {mask.shape}",
            where=path,
            remedy="save (H, W) or (slices, H, W) class numbers, not probabilities",
        )
    if mask.dtype.kind not in "biuf":
        raise UserError(
            f"holds {mask.dtype.name}, and no class numbers",
            where=path,
            remedy="save class numbers, 0 for background",
        )
    with np.errstate(invalid="ignore"):  # NaN is no whole number
        whole = mask.astype(np.uint8)
    if not (whole == mask).all():
        value = mask[whole != mask].flat[0]
        raise UserError(
            f"holds the value {value:g}, which is no class",
            where=path,
            remedy="save class numbers, 0 for background",
        )
    return whole


def _other_shape(path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> UserError:
    """What to say of a mask of another shape than its scan."""
    what = f"has shape {_by(shape)}, its scan {_by(expected)}"
    if sorted(shape) == sorted(expected):
        return UserError(f"{what}: its axes are transposed", where=path, remedy="transpose it back")
    return UserError(what, where=path, remedy="resample the mask to the scan's own grid")


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _in_place(path: Path, mask: np.ndarray, case: Case) -> np.ndarray:
    """A mask ``(X, Y, Z)`` in the order of its scan's axes.

    Where nobody knows how the scan lies, the slices are along the coarsest axis, else the last one.
    """
    grid = read_header(path).grid
    if case.affine is None:
        return np.moveaxis(mask, _slice_axis(orientation.sides_of(grid.affine)), 0)
    plane = orientation.plane_of_scan(case.affine)
    return orientation.orientation_of(grid.affine, plane).to_scan(mask)


def _slice_axis(sides: Sequence[float]) -> int:
    """The coarsest of three axes, the last one where none is.

    >>> _slice_axis((8.0, 1.0, 1.0)), _slice_axis((1.0, 1.0, 1.000001))
    (0, 2)
    """
    order = np.argsort(sides)
    if sides[order[2]] > sides[order[1]] * (1 + orientation.COARSER):
        return int(order[2])
    return 2


def _check_space(path: Path, case: Case, info: StoreInfo, shape: Sequence[int]) -> None:
    """Refuse a volume whose voxels have another size, or lie elsewhere, than those of its scan."""
    grid = read_header(path).grid
    sides = orientation.sides_of(grid.affine)
    if case.affine is None:
        axis = _slice_axis(sides)
        spacing = (sides[axis], *(side for k, side in enumerate(sides) if k != axis))
        affine = None
    else:
        turn = orientation.orientation_of(grid.affine, orientation.plane_of_scan(case.affine))
        affine = turn.scan_affine(grid.affine, grid.shape)
        spacing = orientation.sides_of(affine)
    if len(case.spacing) == 3 and not np.allclose(spacing, case.spacing, rtol=0.01):
        raise UserError(
            f"has voxels of {_by_size(spacing)} {info.unit}, its scan of {_by_size(case.spacing)}",
            where=path,
            remedy="write it with the affine of its scan",
        )
    if affine is None or case.affine is None or off_by(affine, case.affine, shape) <= FAR:
        return
    offset = np.round(affine[:3, 3] - case.affine[:3, 3], 2).tolist()
    words = "its axes are turned"
    if any(offset):
        words = f"its origin is shifted by {offset} {info.unit}"
    raise UserError(
        f"lies elsewhere in space than its scan {case.volume} ({words})",
        where=path,
        remedy="write it with the affine of its scan",
    )


def _by_size(spacing: Sequence[float]) -> str:
    return " × ".join(f"{side:g}" for side in spacing)


# ------------------------------------------------------------------ values
def _as_classes(
    masks: dict[str, np.ndarray], classes: Sequence[str], sources: Mapping[str, Path]
) -> dict[str, np.ndarray]:
    """Masks whose values are classes; where all hold 0 and 255 alone, 255 is class 1, as in an
    import.
    """
    occurring: dict[int, str] = {}
    for name, mask in masks.items():
        for value in np.unique(mask).tolist():
            occurring.setdefault(value, name)
    values = LabelValues(frozenset(occurring))
    if values.is_mask and len(classes) == 2:
        return {name: values.indices(mask) for name, mask in masks.items()}
    wrong = sorted(value for value in occurring if value >= len(classes))
    if wrong:
        known = ", ".join(f"{i} {name}" for i, name in enumerate(classes))
        numbers = ", ".join(map(str, wrong[:MOST]))
        raise UserError(
            f"holds {numbers}; the classes are {known}",
            where=sources[occurring[wrong[0]]],
            remedy="renumber the masks",
        )
    return masks
