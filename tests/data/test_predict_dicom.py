"""``semiseg predict`` on DICOM series."""

import numpy as np
import pytest

highdicom = pytest.importorskip("highdicom", reason="needs the extra dicom")

import dicom_samples as samples  # noqa: E402
from dicom_samples import images, stored, write, write_ct, write_images  # noqa: E402
from test_dicom_seg import segments  # noqa: E402

import semiseg  # noqa: E402
from semiseg.cli.main import main  # noqa: E402


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """A network of grey images."""
    return semiseg.run(tiny, tmp_path_factory.mktemp("dicom") / "run", progress=False).path


def predict(run, source, out, *flags):
    return main(["predict", str(run), f"--input={source}", f"--output={out}", *flags])


def test_a_series_becomes_a_segmentation_of_its_own(run, tmp_path, capsys):
    """Catches a mask of other slices than its series, a NIfTI that disagrees with the SEG, and a
    series that is left out without a word.
    """
    import nibabel

    headers = images(stored(rows=40, columns=36), samples.CORONAL)
    write_images(headers, tmp_path / "in" / "p1" / "ct")
    write_ct(tmp_path / "in" / "p2", (4, 40, 36), seed=1)
    write(
        samples.structures({"GTV": []}),
        tmp_path / "in" / "p1" / "rs.dcm",
    )
    write(
        segments(headers, np.ones((4, 40, 36), np.uint8), ["liver"]),
        tmp_path / "in" / "p1" / "ct" / "seg.dcm",
    )
    out = tmp_path / "out"
    assert predict(run, tmp_path / "in", out, "--nifti", "--probabilities") == 0
    error = capsys.readouterr().err
    assert "left out files of annotations (SEG): 1 (p1/ct/seg.dcm)" in error
    assert "left out files of annotations (RTSTRUCT): 1 (p1/rs.dcm)" in error
    names = {path.name for path in out.iterdir()}
    assert names - {".origin.json"} == {
        f"{name}{end}"
        for name in ("p1_ct", "p2")
        for end in (".dcm", ".nii.gz", "_probabilities.nii.gz")
    }
    written = highdicom.seg.segread(out / "p1_ct.dcm")
    assert written.FrameOfReferenceUID == headers[0].FrameOfReferenceUID
    instances = [header.SOPInstanceUID for header in headers]
    pixels_ZYX = written.get_pixels_by_source_instance(
        instances, combine_segments=True, assert_missing_frames_are_empty=True
    )
    nifti = nibabel.load(out / "p1_ct.nii.gz")
    voxels = np.asarray(nifti.dataobj)
    probabilities = np.asarray(nibabel.load(out / "p1_ct_probabilities.nii.gz").dataobj)
    assert (probabilities.argmax(-1) == voxels).all()
    assert 0 < voxels.sum() < voxels.size
    place = np.linalg.inv(nifti.affine) @ [
        *(headers[1].ImagePositionPatient * np.array([-1, -1, 1])),
        1,
    ]
    first = np.rint(place[:3]).astype(int)
    assert (first == (0, 0, 1)).all()
    assert (voxels.transpose(2, 1, 0) == pixels_ZYX).all()


def test_what_an_import_refuses_a_prediction_refuses(run, tmp_path, capsys):
    """Catches a series with a missing slice that is segmented as if it were whole."""
    headers = images(stored(5, rows=40, columns=36))
    del headers[2]
    write_images(headers, tmp_path / "in" / "p1")
    write_ct(tmp_path / "in" / "p2", (4, 40, 36))
    assert predict(run, tmp_path / "in", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "a slice is missing" in error and "p1 (series 7, CT)" in error
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [".origin.json", "p2.dcm"]


def test_one_enhanced_file_is_an_input(run, tmp_path):
    write(
        samples.multi_frame(stored(rows=40, columns=36)),
        tmp_path / "mf.dcm",
    )
    assert predict(run, tmp_path / "mf.dcm", tmp_path / "out") == 0
    assert highdicom.seg.segread(tmp_path / "out" / "mf.dcm").NumberOfFrames >= 1


def test_a_folder_without_scans_says_so(run, tmp_path, capsys):
    write(samples.structures({"GTV": []}), tmp_path / "in" / "rs.dcm")
    assert predict(run, tmp_path / "in", tmp_path / "out") == 2
    assert "no DICOM series" in capsys.readouterr().err


def test_a_tilted_series_is_resampled_where_asked(run, tmp_path, capsys):
    """Catches a series that is refused for good, and a DICOM SEG of other slices than its own."""
    places = [place + (0, 0.5 * i, 0) for i, place in enumerate(samples.positions(4))]
    headers = images(stored(rows=40, columns=36), places=places)
    write_images(headers, tmp_path / "in" / "ct")
    out = tmp_path / "out"
    assert predict(run, tmp_path / "in", out, "--nifti") == 1
    assert "pass --resample" in capsys.readouterr().err
    assert predict(run, tmp_path / "in", out, "--nifti", "--resample") == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == [".origin.json", "ct.dcm", "ct.nii.gz"]
    written = highdicom.seg.segread(out / "ct.dcm")
    assert (written.Rows, written.Columns) == (40, 36)
