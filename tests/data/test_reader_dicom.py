"""``--format dicom``: patients, classes, splits."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

import dicom_samples as samples  # noqa: E402
from dicom_samples import (  # noqa: E402
    box,
    images,
    mask_of,
    read_set,
    refs_of,
    stored,
    structures,
    write,
    write_ct,
    write_images,
    write_study,
)

from semiseg.cli.data import main  # noqa: E402
from semiseg.data import readers, store  # noqa: E402
from semiseg.errors import UserError  # noqa: E402


@pytest.fixture
def studies(tmp_path):
    """Four patients in folders; the fourth is not annotated."""
    root = tmp_path / "studies"
    regions = {
        "GTV-1": [box(1, 1, 4, 5, 1)],
        "Lung": [box(8, 8, 12, 12, 1)],
    }
    for i in range(4):
        folder = root / f"case{i}"
        patient = f"ID-{i}"
        write_images(
            images(stored(rows=20, columns=24, seed=i), patient=patient),
            folder / "ct",
        )
        if i < 3:
            write(structures(regions, patient), folder / "rs.dcm")
    return root


def test_patients_are_subjects_and_no_identifier_is_told(studies):
    """Catches two series of a patient in two splits, and a patient's ID or name in a case."""
    far = [(0, 0, 900 + samples.GAP * i) for i in range(4)]
    late = images(stored(seed=9), places=far, patient="ID-0")
    write_images(late, studies / "case0" / "late")
    source = read_set(studies, roi="gtv-1", classes="background,tumour")
    assert not source.problems
    assert source.classes == ("background", "tumour")
    assert source.unit == "mm"
    assert source.channel_names == ("CT",)
    cases = [ref.load() for ref in refs_of(source)]
    assert {case.subject for case in cases} == {"case0", "case1", "case2", "case3"}
    assert {case.name for case in cases} >= {"case1", "case0_scan1"}
    assert [split for split, refs in source.splits.items() if refs] == ["train", "val", "test"]
    labelled = [case for case in cases if case.label is not None]
    assert len(labelled) == 3
    for case in labelled:
        assert (case.label == mask_of((1, 1, 4, 5, 1))).all()
    for case in cases:
        text = f"{case.subject} {case.name} {case.group} {case.volume}"
        assert "ID-" not in text and "Doe" not in text


def test_patients_in_one_folder_are_numbered(tmp_path):
    """Catches the patient's ID used for a name where there is no folder."""
    for i in range(3):
        headers = images(stored(seed=i), patient=f"ID-{i}")
        for k, header in enumerate(headers):
            write(header, tmp_path / f"{i}_{k}.dcm")
        write(
            structures({"GTV": [box(1, 1, 3, 3, 1)]}, f"ID-{i}"),
            tmp_path / f"rs{i}.dcm",
        )
    source = read_set(tmp_path)
    subjects = {ref.subject for ref in refs_of(source)}
    assert subjects == {"patient_001", "patient_002", "patient_003"}
    assert any("patients without a folder of their own: 3" in note for note in source.notes)


def test_annotations_with_another_patient_id_are_matched_by_folder(studies):
    """Catches an anonymiser that gives RTSTRUCTs another ID than the images."""
    path = studies / "case1" / "rs.dcm"
    header = samples.read_back(path)
    header.PatientID = "other"
    header.save_as(path)
    source = read_set(studies, roi="GTV-1")
    assert not source.problems
    assert sum(bool(ref.label_path) for ref in refs_of(source)) == 3


def test_a_follow_up_is_not_labelled_with_the_structures_of_the_first_scan(studies):
    """Catches two scans of a patient with the same coordinates, one of which was annotated."""
    late = images(stored(rows=20, columns=24, seed=9), patient="ID-0", reference="1.2.3.9")
    write_images(late, studies / "case0" / "late")
    source = read_set(studies, roi="GTV-1")
    line = source.problems[0]
    assert "its coordinates fit 2 series alike" in line and "case0/late" in line
    path = studies / "case0" / "rs.dcm"
    header = samples.read_back(path)
    header.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3.9"
    header.save_as(path)
    source = read_set(studies, roi="GTV-1")
    assert not source.problems
    refs = [ref for ref in refs_of(source) if ref.label_path]
    assert [ref.path for ref in refs if ref.subject == "case0"] == [str(studies / "case0" / "late")]


def test_one_patient_id_for_all_is_a_problem_with_a_remedy(studies):
    """Catches anonymised patients who all became one subject."""
    for path in studies.rglob("*"):
        if path.is_file():
            header = samples.read_back(path)
            header.PatientID = "ANON"
            header.save_as(path)
    source = read_set(studies, roi="GTV-1")
    assert any("--subjects-are-folders" in line for line in source.problems)
    source = read_set(studies, roi="GTV-1", subjects_are_folders=True)
    assert not source.problems


def test_structures_that_overlap_are_refused_or_the_later_one_wins(tmp_path):
    """Catches a class that silently covers another one."""
    regions = {
        "GTV": [box(3, 3, 4, 4, 1)],
        "PTV": [box(1, 1, 6, 6, 1)],
    }
    for i in range(3):
        write_study(tmp_path / f"p{i}", regions, patient=f"ID-{i}")
    source = read_set(tmp_path)
    with pytest.raises(UserError, match="GTV and PTV overlap in 4 voxels; .*--overlap later"):
        source.splits["train"][0].load()
    source = read_set(tmp_path, roi="PTV,GTV", overlap="later")
    label = source.splits["train"][0].load().label
    counts = np.bincount(label.ravel())
    assert counts.tolist() == [label.size - 36, 32, 4]


def test_what_a_user_may_get_wrong_is_one_line(studies, tmp_path):
    """Catches a traceback, or a set without the structure that was asked for."""
    wrong = {
        "no structure has that name; did you mean 'GTV-1'": {"roi": "GTV1"},
        "there is no SEG to read it from": {"segments": "liver"},
        "names 3 classes for 1 structures": {"roi": "Lung", "classes": "background,a,b"},
        "must be one of refuse, later": {"overlap": "maybe"},
        "holds no DICOM series of slices": {"series": "MR"},
    }
    for message, options in wrong.items():
        with pytest.raises(UserError, match=message):
            read_set(studies, **options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no DICOM series of slices"):
        read_set(tmp_path / "empty")


def test_without_the_extra_one_line_names_it(studies, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"pip install 'semiseg\[dicom\]'"):
        read_set(studies)


def test_a_folder_called_dl_breaks_nothing(tmp_path):
    """Catches GDCM taking a user's folder for a module that Python 3 does not have."""
    (tmp_path / "dl").mkdir()
    code = "from semiseg.data.dicom_files import require; require()"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_an_import_stores_no_identifier(studies, tmp_path):
    """Catches the name, birth date or ID of a patient in any file of a store."""
    root = tmp_path / "stores"
    argv = ["import", "--format=dicom", f"--source={studies}", "--name=ct", f"--root={root}"]
    assert main([*argv, "--roi=GTV-1"]) == 0
    content = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
    assert any(b"case0" in data for data in content)
    for data in content:
        for word in ("ID-0", "ID-3", "Doe", samples.BIRTH_DATE):
            assert word.encode() not in data
    cases = list(store.read_split("ct", "train", root))
    assert cases[0].image.dtype == np.int16
    assert cases[0].orientation == "LPS"


def test_the_format_is_recognised(studies, pictures):
    reader = readers.READERS["dicom"]
    assert "case0" in reader.recognises(studies)
    assert reader.recognises(pictures) is None


def test_a_region_without_contours_is_no_annotation(studies):
    """Catches a patient whose tumour nobody drew, and who counts as one without a tumour."""
    write(structures({"GTV-1": []}, "ID-3"), studies / "case3" / "rs.dcm")
    source = read_set(studies, roi="GTV-1")
    assert not source.problems
    assert any("a name and no contour: 1" in note for note in source.notes)
    refs = [ref for ref in refs_of(source) if ref.subject == "case3"]
    assert [ref.label_path for ref in refs] == [""]


def test_a_region_on_every_second_slice_is_told(studies):
    """Catches a label with holes between the slices on which somebody drew."""
    folder = studies / "case3"
    shutil.rmtree(folder)
    write_ct(folder / "ct", (6, 20, 24), seed=3, patient="ID-3")
    contours = [box(1, 1, 4, 5, z) for z in (0, 2, 4)]
    write(structures({"GTV-1": contours}, "ID-3"), folder / "rs.dcm")
    source = read_set(studies, roi="GTV-1")
    (note,) = [note for note in source.notes if "is drawn on one of 2 slices" in note]
    assert note.startswith(f"{folder}/rs.dcm: GTV-1")
