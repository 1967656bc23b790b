"""Who is a patient in a folder of DICOM studies, and what the data set calls them.

Patient IDs keep the scans of a person together and are not stored: a subject is called as the
folder that holds this patient alone, else by a number.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from semiseg.data.dicom_series import Findings, Series


def patients_of(source: Path, findings: Findings, by_folder: bool) -> dict[str, str]:
    """UID of a series, and path of a file of annotations → what tells patients apart: their ID, or
    their folder where there is none.
    """
    patients: dict[str, str] = {}
    for one in findings.series:
        folder = f"folder {parts_of(source, one.folder)[:1]}"
        patients[one.uid] = one.patient or folder
        if by_folder:
            patients[one.uid] = folder
    for label in findings.labels:
        folder = f"folder {parts_of(source, label.path.parent)[:1]}"
        patients[str(label.path)] = label.patient or folder
        if by_folder:
            patients[str(label.path)] = folder
    return patients


def parts_of(source: Path, folder: Path) -> tuple[str, ...]:
    return folder.relative_to(source).parts


def subjects_of(
    source: Path, every: Sequence[Series], patients: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """UID of a series → name of its subject: the folder that holds this patient alone, else a
    number.
    """
    owners: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for one in every:
        parts = parts_of(source, one.folder)
        for depth in range(1, len(parts) + 1):
            owners[parts[:depth]].add(patients[one.uid])
    names: dict[str, str] = {}
    numbered = 0
    for one in every:
        patient = patients[one.uid]
        if patient in names:
            continue
        parts = parts_of(source, one.folder)
        depths = [d for d in range(1, len(parts) + 1) if owners[parts[:d]] == {patient}]
        name = ""
        if depths:
            name = "_".join(parts[: depths[0]])
        if not name or name in names.values():
            numbered += 1
            name = f"patient_{len(names) + 1:03d}"
        names[patient] = name
    if numbered:
        notes.append(
            f"{source}: patients without a folder of their own: {numbered}; they are called "
            f"patient_001 … in the order of their files"
        )
    return {one.uid: names[patients[one.uid]] for one in every}


def names_of(every: Sequence[Series], subjects: Mapping[str, str]) -> dict[str, str]:
    """UID of a series → name of the scan: its subject's, with a number where it has several."""
    totals = Counter(subjects[one.uid] for one in every)
    seen: Counter[str] = Counter()
    names: dict[str, str] = {}
    for one in every:
        subject = subjects[one.uid]
        seen[subject] += 1
        names[one.uid] = subject
        if totals[subject] > 1:
            names[one.uid] = f"{subject}_scan{seen[subject]}"
    return names
