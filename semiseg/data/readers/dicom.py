"""A folder of DICOM studies, with annotations as DICOM SEG or RTSTRUCT.

Every series of slices is a scan; a patient ID is a subject. No name, birth date or ID of a patient
is stored: subjects are called as their folders, or by a number.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from semiseg.data import dicom_labels, dicom_resample, subjects_csv
from semiseg.data import splits as splitting
from semiseg.data.dicom_files import SUFFIXES, files_under, is_dicom
from semiseg.data.dicom_geometry import MIN_SLICES, Stack
from semiseg.data.dicom_labels import OVERLAPS, Candidate, Classes, Structure
from semiseg.data.dicom_patients import names_of, parts_of, patients_of, subjects_of
from semiseg.data.dicom_scan import read_scan
from semiseg.data.dicom_series import Findings, LabelFile, Series, find_series
from semiseg.data.orientation import acquisition_plane
from semiseg.data.problems import split_problems
from semiseg.data.source import SPLITS, CaseRef, Pixels, Reader, Source
from semiseg.errors import UserError

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}
LOOK_AT = 100
"""Files after which a folder without a DICOM file is taken for another format."""


class Rules(NamedTuple):
    """How a set's series are read.

    Attributes:
      plane: of acquisition, the same for all.
      overlap: see :func:`semiseg.data.dicom_labels.label_of`.
      min_slices: series of fewer are refused.
      resample: see :func:`semiseg.data.dicom_scan.read_scan`.
    """

    plane: str
    overlap: str
    min_slices: int
    resample: bool


class Scan(NamedTuple):
    """A series of a set.

    Attributes:
      series: as its headers describe it.
      subject, name: see :class:`semiseg.types.Case`.
      structures: that make its label; none where nobody annotated it.
    """

    series: Series
    subject: str
    name: str
    structures: tuple[Structure, ...]


class Placed(NamedTuple):
    """Scans in splits.

    Attributes:
      splits: split → cases.
      spare: those without annotation of patients of val and test.
      rows: of subjects.csv.
    """

    splits: dict[str, list[CaseRef]]
    spare: list[CaseRef]
    rows: dict[str, subjects_csv.Row]


def read(
    source: Path,
    *,
    roi: Annotated[str, "regions of RTSTRUCTs that become classes, by name; A|B: either"] = "",
    segments: Annotated[str, "segments of DICOM SEGs that become classes, by label or number"] = "",
    classes: Annotated[str, "class names, background first, separated by commas"] = "",
    overlap: Annotated[
        str, "classes that overlap: refuse, or later: the later one wins"
    ] = "refuse",
    series: Annotated[str, "only series of this modality, number, or words of description"] = "",
    min_slices: Annotated[int, "refuse series of fewer slices"] = MIN_SLICES,
    resample: Annotated[
        bool, "take series of a tilted gantry or uneven gaps, resampled to an even grid"
    ] = False,
    subjects_are_folders: Annotated[
        bool, "every folder of the source is another patient, whatever the patient IDs say"
    ] = False,
    subjects_file: Annotated[str, "path of subjects.csv, where it lies elsewhere"] = "",
    seed: Annotated[int, "of randomly drawn splits"] = 0,
    license: Annotated[str, "licence of the data, for reports"] = "",
    citation: Annotated[str, "what to cite, for reports"] = "",
    progress: bool = True,
) -> Source:
    """Find series and annotations by their headers, match them, and place every patient in a split.

    Without ``roi``, ``segments`` and ``classes``, every structure is a class.
    """
    if overlap not in OVERLAPS:
        raise UserError(f"must be one of {', '.join(OVERLAPS)}", where=f"--overlap {overlap}")
    if not source.is_dir():
        raise UserError("is no folder", where=source, remedy="give the folder of the studies")
    findings = find_series(source, progress)
    problems = list(findings.problems)
    notes = list(findings.notes)
    every = _selected(source, findings, series, notes)
    stacks = _stacks(every, min_slices, resample, problems)
    notes += dicom_resample.notes(source, stacks.values())
    patients = patients_of(source, findings, subjects_are_folders)
    chosen = _classes(source, findings.labels, (roi, segments, classes), notes)
    readable = [Candidate(one, stacks[one.uid]) for one in every if one.uid in stacks]
    structures = _matched(source, findings.labels, readable, patients, chosen, problems, notes)
    subjects = subjects_of(source, every, patients, notes)
    names = names_of([one.series for one in readable], subjects)
    scans: list[Scan] = []
    for one, _ in readable:
        members = tuple(structures.get(one.uid, ()))
        scans.append(Scan(one, subjects[one.uid], names[one.uid], members))
    plane, reason = acquisition_plane(stack.grid for stack in stacks.values())
    notes.append(f"{source}: slices are {plane}: {reason}")
    rules = Rules(plane, overlap, min_slices, resample)
    table = subjects_csv.place(source, subjects_file)
    placed = _splits(source, scans, rules, table, seed, problems)
    if placed.spare:
        notes.append(
            f"{source}: left out scans without annotation of patients of val and test: "
            f"{len(placed.spare)}"
        )
    if not problems:
        problems += split_problems(placed.splits)
    return Source(
        classes=chosen.names,
        unit="mm",
        license=license or "not stated",
        citation=citation or "not stated",
        splits=placed.splits,
        problems=tuple(problems),
        notes=tuple(notes),
        subjects=subjects_csv.columns_of(placed.rows),
        channel_names=_channel_names(every),
        spare=tuple(placed.spare),
        people={subjects[one.uid]: patients[one.uid] for one in every},
    )


def recognises(source: Path) -> str | None:
    """Whether one of the first files of a folder is DICOM."""
    if not source.is_dir():
        return None
    for path in itertools.islice(files_under(source), LOOK_AT):
        if path.suffix.lower() in SUFFIXES or is_dicom(path):
            return f"DICOM files ({path.relative_to(source)})"
    return None


READER = Reader(
    "dicom", "folders of DICOM series, annotated by DICOM SEG or RTSTRUCT", read, recognises
)


# ------------------------------------------------------------------ series
def _selected(source: Path, findings: Findings, words: str, notes: list[str]) -> list[Series]:
    """The series to import: no localisers, and only those that the user asks for."""
    localisers = [one for one in findings.series if one.is_localiser]
    if localisers:
        notes.append(f"{source}: left out localisers: {len(localisers)}")
    scans = [one for one in findings.series if not one.is_localiser]
    selected = [one for one in scans if _is_meant(one, words)]
    if len(selected) < len(scans):
        notes.append(
            f"{source}: left out series that are not {words}: {len(scans) - len(selected)}"
        )
    if not selected:
        left_out = "".join(f" ({note.partition(': ')[2]})" for note in notes[:1])
        raise UserError(
            f"holds no DICOM series of slices{left_out}",
            where=source,
            remedy="give the folder that holds the patients' folders",
        )
    return selected


def _is_meant(series: Series, words: str) -> bool:
    """Whether a series is one of those that ``--series`` names."""
    meant = words.strip().lower()
    if meant in (series.modality.lower(), series.number, series.uid):
        return True
    return meant in series.description.lower()


def _stacks(
    every: Iterable[Series], min_slices: int, resample: bool, problems: list[str]
) -> dict[str, Stack]:
    """UID → slices of the series that make a volume."""
    stacks: dict[str, Stack] = {}
    for one in every:
        try:
            stacks[one.uid] = one.stack(min_slices, resample)
        except UserError as error:
            problems.append(str(error))
    return stacks


def _channel_names(every: Sequence[Series]) -> tuple[str, ...]:
    """The modality, if the set has one."""
    modalities = {one.modality for one in every}
    if len(modalities) > 1:
        return ()
    return tuple(modalities)


# ------------------------------------------------------------------ annotations
def _classes(
    source: Path, labels: Sequence[LabelFile], flags: tuple[str, str, str], notes: list[str]
) -> Classes:
    if not labels:
        raise UserError(
            "holds no DICOM SEG and no RTSTRUCT, so nothing is annotated",
            where=source,
            remedy="put the annotations into the patients' folders",
        )
    chosen = dicom_labels.choose(labels, *flags)
    if chosen.is_assumed:
        notes.append(
            f"{source}: no --roi, --segments or --classes given: every structure is a class "
            f"({', '.join(chosen.names[1:])})"
        )
    return chosen


def _candidates(
    source: Path,
    label: LabelFile,
    readable: Sequence[Candidate],
    patients: Mapping[str, str],
) -> list[Candidate]:
    """The series that a file of annotations may be of: those of its patient, else of its folder."""
    patient = patients[str(label.path)]
    if patient in (patients[one.series.uid] for one in readable):
        return [one for one in readable if patients[one.series.uid] == patient]
    folder = parts_of(source, label.path.parent)[:1]
    return [one for one in readable if parts_of(source, one.series.folder)[:1] == folder]


def _matched(
    source: Path,
    labels: Sequence[LabelFile],
    readable: Sequence[Candidate],
    patients: Mapping[str, str],
    classes: Classes,
    problems: list[str],
    notes: list[str],
) -> dict[str, list[Structure]]:
    """UID of a series → its structures."""
    by_series: dict[str, list[Structure]] = defaultdict(list)
    unused = 0
    empty = 0
    for label in labels:
        structures = dicom_labels.structures_of(label, classes)
        if not structures:
            unused += 1
            continue
        candidates = _candidates(source, label, readable, patients)
        try:
            drawn = dicom_labels.drawn(structures)
            empty += len(structures) - len(drawn)
            if not drawn:
                continue
            match = dicom_labels.matched(drawn, candidates)
            for one in candidates:
                if one.series.uid in match.uids:
                    notes += dicom_labels.gap_notes(drawn, one.stack)
        except UserError as error:
            problems.append(str(error))
            continue
        if match.reason:
            problems.append(
                f"{label.path}: cannot be matched with a series of its patient ({match.reason}); "
                f"put it into the folder of the images it is of, or take it out"
            )
        for uid in match.uids:
            by_series[uid] += drawn
    if unused:
        notes.append(
            f"{source}: left out files of annotations that hold none of the classes: {unused}"
        )
    if empty:
        notes.append(f"{source}: left out regions that have a name and no contour: {empty}")
    doubled = [dicom_labels.doubled(structures, classes) for structures in by_series.values()]
    problems += [line for line in dict.fromkeys(doubled) if line]
    return by_series


# ------------------------------------------------------------------ splits
def _splits(
    source: Path,
    scans: Sequence[Scan],
    rules: Rules,
    table: Path,
    seed: int,
    problems: list[str],
) -> Placed:
    """Scans in splits: as subjects.csv says, else drawn among annotated patients."""
    images = {scan.name: scan.series.folder for scan in scans}
    rows = subjects_csv.read(table, images, problems)
    if any(row.split for row in rows.values()):
        problems += subjects_csv.split_problems(table, rows)
        split_of = {name: row.split for name, row in rows.items()}
        placements = dict.fromkeys(split_of, splitting.IN_TABLE)
    else:
        split_of, placements = _drawn(source, scans, rows, seed, problems)
    splits: dict[str, list[CaseRef]] = {split: [] for split in SPLITS}
    spare: list[CaseRef] = []
    for scan in scans:
        split = split_of.get(scan.name, "")
        if split not in SPLITS:
            continue
        case = _case(scan, rows.get(scan.name), rules, placements[scan.name])
        if split != "train" and not scan.structures:
            spare.append(case)
        else:
            splits[split].append(case)
    return Placed(splits, spare, rows)


def _drawn(
    source: Path,
    scans: Sequence[Scan],
    rows: Mapping[str, subjects_csv.Row],
    seed: int,
    problems: list[str],
) -> tuple[dict[str, str], dict[str, splitting.Placement]]:
    """Scan → split, and why. Patients without annotation are in train."""
    groups: dict[str, str] = {}
    for scan in scans:
        row = rows.get(scan.name)
        groups[_subject(scan, row)] = row.group if row is not None else ""
    annotated = {_subject(scan, rows.get(scan.name)) for scan in scans if scan.structures}
    drawn = {subject: group for subject, group in groups.items() if subject in annotated}
    if len(drawn) < len(FRACTIONS):
        problems.append(
            f"{source}: annotated patients: {len(drawn)}, and train, val and test need one each; "
            f"annotate more, or state splits in {subjects_csv.FILE} (where all patient IDs are the "
            f"same: --subjects-are-folders)"
        )
    split_of = dict.fromkeys(groups, "train") | splitting.assign(drawn, FRACTIONS, seed)
    why = dict.fromkeys(groups, splitting.unannotated(FRACTIONS, seed))
    why |= dict.fromkeys(drawn, splitting.drawn(FRACTIONS, seed))
    subjects = {scan.name: _subject(scan, rows.get(scan.name)) for scan in scans}
    splits = {name: split_of[subject] for name, subject in subjects.items()}
    placements = {name: why[subject] for name, subject in subjects.items()}
    return splits, placements


def _subject(scan: Scan, row: subjects_csv.Row | None) -> str:
    if row is not None and row.subject:
        return row.subject
    return scan.subject


# ------------------------------------------------------------------ records
def _case(
    scan: Scan, row: subjects_csv.Row | None, rules: Rules, placement: splitting.Placement
) -> CaseRef:
    label_path = ""
    if scan.structures:
        label_path = str(scan.structures[0].label.path)
    return CaseRef(
        _subject(scan, row),
        scan.name,
        str(scan.series.folder),
        functools.partial(_pixels, scan, rules),
        group=row.group if row is not None else "",
        label_path=label_path,
        placement=placement,
    )


def _pixels(scan: Scan, rules: Rules) -> Pixels:
    """The scan's voxels, and its label on the same grid."""
    voxels = read_scan(scan.series, rules.plane, rules.min_slices, rules.resample)
    label = None
    if scan.structures:
        label_XYZ = dicom_labels.label_of(scan.structures, voxels.stack, rules.overlap)
        label = voxels.label(label_XYZ)
    return Pixels(voxels.image, label, voxels.spacing, voxels.affine, voxels.turn.code)
