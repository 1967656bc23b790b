"""Which segments and regions become which class, which series they are of, and the label they make.

A structure is a segment of a DICOM SEG or a region of an RTSTRUCT. The user names those to read; a
file is matched with the series of its patient on whose slices the structures lie. References to a
series decide only between several that fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from semiseg.data import dicom_contours, dicom_segments
from semiseg.data.dicom_geometry import Stack
from semiseg.data.dicom_series import LabelFile, Series
from semiseg.errors import UserError, nearest

BACKGROUND = "background"
OVERLAPS = ("refuse", "later")
UNSEEN = 255
"""Label of a voxel at which nobody looked, see :data:`semiseg.types.IGNORE`."""


class Wanted(NamedTuple):
    """A structure that the user names.

    Attributes:
      flag: that names it, for messages.
      names: any of which it has, in any case of letters; a segment may be named by its number.
      kind: SEG or RTSTRUCT; "" for both.
    """

    flag: str
    names: tuple[str, ...]
    kind: str = ""

    def numbers(self, label: LabelFile) -> list[int]:
        """The structures of a file that are wanted."""
        if self.kind not in ("", label.kind):
            return []
        names = {name.lower() for name in self.names}
        numbers: list[int] = []
        for number, name in label.names.items():
            is_numbered = self.kind == "SEG" and str(number) in names
            if name.lower() in names or is_numbered:
                numbers.append(number)
        return numbers


class Classes(NamedTuple):
    """What a set's classes are.

    Attributes:
      names: background first.
      wanted: the structures of each class but the background.
      is_assumed: whether nobody named them.
    """

    names: tuple[str, ...]
    wanted: tuple[Wanted, ...]
    is_assumed: bool = False


class Structure(NamedTuple):
    """A structure that is read.

    Attributes:
      label: its file.
      number: in the file.
      value: of its class.
    """

    label: LabelFile
    number: int
    value: int

    @property
    def name(self) -> str:
        """As the file names it."""
        return self.label.names[self.number]


# ------------------------------------------------------------------ classes
def choose(labels: Sequence[LabelFile], roi: str, segments: str, classes: str) -> Classes:
    """The classes of a set, from what the user says.

    Args:
      labels: the set's files of annotations.
      roi: names of regions of RTSTRUCTs, separated by commas; ``A|B`` is one of several names.
      segments: labels or numbers of segments of SEGs, likewise.
      classes: names of the classes, background first. Without ``roi`` and ``segments``, those after
        the background name structures of any kind.

    Raises:
      UserError: a name occurs in no file, or the numbers of names differ.

    >>> from pathlib import Path
    >>> plan = LabelFile(Path("rs.dcm"), "RTSTRUCT", "", {1: "GTV-1", 2: "Heart"})
    >>> choose([plan], "gtv-1", "", "background,tumour").names
    ('background', 'tumour')
    >>> choose([plan], "", "", "").names
    ('background', 'GTV-1', 'Heart')
    >>> choose([plan], "GTV", "", "")
    Traceback (most recent call last):
    ...
    semiseg.errors.UserError: --roi GTV: no structure has that name; did you mean 'GTV-1'?
    """
    wanted = [*_wanted("--roi", roi, "RTSTRUCT"), *_wanted("--segments", segments, "SEG")]
    given = _listed(classes)
    if given and len(given) < 2:
        raise UserError(
            "name at least two classes, background first, separated by commas",
            where=f"--classes {classes}",
        )
    is_assumed = not wanted and not given
    if is_assumed:
        wanted = [Wanted("", (name,)) for name in _all_names(labels)]
    elif not wanted:
        wanted = [Wanted("--classes", (name,)) for name in given[1:]]
    for one in wanted:
        _check_occurs(one, labels)
    names = given or [BACKGROUND, *(_class_name(one, labels) for one in wanted)]
    if len(names) != len(wanted) + 1:
        raise UserError(
            f"names {len(names)} classes for {len(wanted)} structures and the background",
            where=f"--classes {classes}",
            remedy="name as many, background first",
        )
    if len(set(names)) < len(names):
        raise UserError(f"the classes {', '.join(names)} are not all different")
    return Classes(tuple(names), tuple(wanted), is_assumed)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _wanted(flag: str, text: str, kind: str) -> list[Wanted]:
    """One for each name of a flag.

    >>> _wanted("--roi", "GTV-1|gtv, Heart", "RTSTRUCT")[0].names
    ('GTV-1', 'gtv')
    """
    return [
        Wanted(flag, tuple(part.strip() for part in name.split("|")), kind)
        for name in _listed(text)
    ]


def _all_names(labels: Sequence[LabelFile]) -> list[str]:
    """The names of all structures, in the order in which they occur; background is none."""
    names: dict[str, str] = {}
    for label in labels:
        for number, name in label.names.items():
            if number and name and name.lower() != BACKGROUND:
                names.setdefault(name.lower(), name)
    return list(names.values())


def _check_occurs(wanted: Wanted, labels: Sequence[LabelFile]) -> None:
    if any(wanted.numbers(label) for label in labels):
        return
    kinds = [label for label in labels if wanted.kind in ("", label.kind)]
    known = _all_names(kinds)
    if not known:
        raise UserError(
            f"there is no {wanted.kind or 'SEG or RTSTRUCT'} to read it from",
            where=f"{wanted.flag} {'|'.join(wanted.names)}",
            remedy="put the annotations into the patients' folders",
        )
    given = "|".join(wanted.names)
    raise UserError(
        f"no structure has that name{nearest(wanted.names[0], known)}",
        where=f"{wanted.flag} {given}",
    )


def _class_name(wanted: Wanted, labels: Sequence[LabelFile]) -> str:
    """The name of a structure as most files spell it, without commas."""
    spellings: Counter[str] = Counter()
    for label in labels:
        spellings.update(label.names[number] for number in wanted.numbers(label))
    return spellings.most_common(1)[0][0].replace(",", " ")


def structures_of(label: LabelFile, classes: Classes) -> list[Structure]:
    """The structures of a file that are read."""
    structures: list[Structure] = []
    for value, wanted in enumerate(classes.wanted, 1):
        structures += [Structure(label, number, value) for number in wanted.numbers(label)]
    return structures


def drawn(structures: Sequence[Structure]) -> list[Structure]:
    """The structures of one file without regions that have a name and no contour.

    Raises:
      UserError: the file cannot be read.
    """
    if not structures or structures[0].label.kind == "SEG":
        return list(structures)
    contours = dicom_contours.read_contours(structures[0].label.path)
    return [one for one in structures if contours.get(one.number)]


def gap_notes(structures: Sequence[Structure], stack: Stack) -> list[str]:
    """A line for each region of one file that is drawn on every second or third slice alone.

    Raises:
      UserError: the file cannot be read.
    """
    label = structures[0].label
    if label.kind == "SEG":
        return []
    contours = dicom_contours.read_contours(label.path)
    notes: list[str] = []
    for one in structures:
        step = dicom_contours.step_of(contours[one.number], stack)
        if step > 1:
            notes.append(
                f"{label.path}: {one.name} is drawn on one of {step} slices, and those between "
                f"count as background; interpolate it in the program it was drawn with"
            )
    return notes


# ------------------------------------------------------------------ which series
class Candidate(NamedTuple):
    """A series that annotations may be of.

    Attributes:
      series: as its headers describe it.
      stack: its slices.
    """

    series: Series
    stack: Stack


class Match(NamedTuple):
    """The series that a file of annotations is of.

    Attributes:
      uids: of the series; none where it is not clear.
      reason: why there is none, in words.
    """

    uids: tuple[str, ...]
    reason: str = ""


def matched(structures: Sequence[Structure], candidates: Sequence[Candidate]) -> Match:
    """Match the structures of one file with the series of its patient.

    Coordinates decide. Two scans of one patient may cover the same coordinates; then the series
    that the file names is right, else those in the frame of reference that it names, else the one
    in its folder. Where none of these tells, there is no match.

    Args:
      structures: of a file.
      candidates: series of its patient.
    """
    if not candidates:
        return Match((), "no series of its patient can be read")
    label = structures[0].label
    reasons = [misfit(structures, one.stack) for one in candidates]
    fitting = [one for one, reason in zip(candidates, reasons, strict=True) if not reason]
    if not fitting:
        is_named = [one.series.uid in label.references for one in candidates]
        return Match((), reasons[int(np.argmax(is_named))])
    named = [one for one in fitting if one.series.uid in label.references]
    in_frame = [one for one in fitting if one.stack.planes[0].reference in label.frames]
    beside = [one for one in fitting if one.series.folder == label.path.parent]
    for chosen in (named, in_frame):
        if chosen:
            return Match(tuple(one.series.uid for one in chosen))
    for chosen in (fitting, beside):
        if len(chosen) == 1:
            return Match((chosen[0].series.uid,))
    places = " and ".join(one.series.where for one in fitting[:2])
    return Match((), f"its coordinates fit {len(fitting)} series alike, {places}")


def misfit(structures: Sequence[Structure], stack: Stack) -> str:
    """Why structures of one file are not on the slices of a series; "" if they are.

    Raises:
      UserError: the file cannot be read.
    """
    label = structures[0].label
    if label.kind == "SEG":
        return dicom_segments.misfit(dicom_segments.read_frames(label.path), stack)
    numbers = [structure.number for structure in structures]
    return dicom_contours.regions_fit(label, numbers, stack)


def doubled(structures: Sequence[Structure], classes: Classes) -> str:
    """The problem of a series for which two files hold one class; "" if there is none."""
    files: dict[int, set[str]] = {}
    for structure in structures:
        files.setdefault(structure.value, set()).add(str(structure.label.path))
    for value, paths in sorted(files.items()):
        if len(paths) > 1:
            first, second = sorted(paths)[:2]
            return (
                f"{second}: holds {classes.names[value]} for the same images as {first}; take one "
                f"of them out of the folder"
            )
    return ""


# ------------------------------------------------------------------ the label
def label_of(structures: Sequence[Structure], stack: Stack, overlap: str = "refuse") -> np.ndarray:
    """The label ``(X, Y, Z)`` uint8 of a series.

    Args:
      structures: of the series, from one file or several.
      stack: its slices.
      overlap: ``refuse``, or ``later``: where two classes overlap, the one that is named later is
        right.

    Raises:
      UserError: structures of two classes overlap, or a file cannot be read or does not fit.
    """
    label_XYZ = np.zeros(stack.shape, np.uint8)
    names: dict[int, str] = {}
    for structure in sorted(structures, key=_value):
        names.setdefault(structure.value, structure.name)
    for structure, mask_XYZ in _masks(structures, stack):
        if overlap == "refuse":
            _check_overlap(structure, names, label_XYZ[mask_XYZ])
        covered = mask_XYZ & (label_XYZ <= structure.value)
        label_XYZ[covered] = structure.value
    for path in dict.fromkeys(one.label.path for one in structures if one.label.kind == "SEG"):
        unseen_XYZ = dicom_segments.unseen(dicom_segments.read_frames(path), stack)
        if unseen_XYZ is not None:
            label_XYZ[unseen_XYZ & (label_XYZ == 0)] = UNSEEN
    return label_XYZ


def _value(structure: Structure) -> int:
    return structure.value


def _masks(structures: Sequence[Structure], stack: Stack) -> Iterator[tuple[Structure, np.ndarray]]:
    """Each structure with its mask ``(X, Y, Z)`` bool; a file is opened once."""
    files = dict.fromkeys(str(structure.label.path) for structure in structures)
    for path in files:
        members = [one for one in structures if str(one.label.path) == path]
        label = members[0].label
        reason = misfit(members, stack)
        if reason:
            raise UserError(reason, where=label.path, remedy="put it beside the images it is of")
        numbers = [one.number for one in members]
        if label.kind == "SEG":
            frames = dicom_segments.read_frames(label.path)
            yield from zip(members, dicom_segments.masks(frames, stack, numbers), strict=True)
            continue
        contours = dicom_contours.read_contours(label.path)
        for one in members:
            yield one, dicom_contours.mask(contours.get(one.number, []), stack)


def _check_overlap(structure: Structure, names: Mapping[int, str], under: np.ndarray) -> None:
    """Refuse a structure that covers one of another class.

    Args:
      structure: to be written.
      names: value → a structure of the class.
      under: labels so far where it lies.
    """
    counts = np.bincount(under, minlength=UNSEEN + 1)
    for value in np.flatnonzero(counts).tolist():
        if value not in (0, structure.value):
            raise UserError(
                f"{names[value]} and {structure.name} overlap in {counts[value]:,} voxels",
                where=structure.label.path,
                remedy="read one of them, or let the later class win with --overlap later",
            )
