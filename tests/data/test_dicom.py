"""DICOM in: series, annotations, and the folders that no scan can be made of."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

import dicom_samples as samples  # noqa: E402
from dicom_samples import box, images, positions, stored, structures, write, write_images  # noqa: E402

from semiseg.cli.data import main  # noqa: E402
from semiseg.data import dicom_contours, dicom_files, dicom_segments, readers, store  # noqa: E402
from semiseg.data.dicom_scan import read_scan  # noqa: E402
from semiseg.data.dicom_series import find_series  # noqa: E402
from semiseg.data.orientation import orientation_of  # noqa: E402
from semiseg.errors import UserError  # noqa: E402


def only_scan(folder, plane="axial"):
    """The one series of a folder."""
    findings = find_series(folder)
    assert not findings.problems
    (series,) = findings.series
    return read_scan(series, plane)


# ------------------------------------------------------------------ series
def test_slices_are_sorted_by_position_and_rescaled(tmp_path):
    """Catches an order by file name or number, a lost rescale, swapped pixel sizes."""
    voxels = stored()
    scan = only_scan(write_images(images(voxels), tmp_path / "ct"))
    assert scan.image.dtype == np.int16
    assert (scan.image[..., 0] == voxels - 1024).all()
    assert scan.spacing == (samples.GAP, *samples.SPACING)
    assert scan.turn.code == "LPS"
    place = scan.affine @ (1, 2, 3, 1)
    x, y, z = samples.ORIGIN
    expected = (-(x + 3 * 0.8), -(y + 2 * 0.5), z + samples.GAP, 1)
    np.testing.assert_allclose(place, expected)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize(
    "directions", [samples.AXIAL, samples.SAGITTAL, samples.CORONAL, (0, -1, 0, -1, 0, 0)]
)
def test_every_voxel_keeps_its_place_in_the_patient(tmp_path, directions, plane):
    """Catches an axis that is flipped, permuted or shifted on the way into a scan's orientation."""
    voxels = stored()
    scan = only_scan(write_images(images(voxels, directions), tmp_path / "ct"), plane)
    z, row, column = 1, 4, 6
    cosines = np.array(directions, float)
    place = positions(len(voxels), directions)[z]
    place = place + cosines[:3] * column * samples.SPACING[1]
    place = place + cosines[3:] * row * samples.SPACING[0]
    d, h, w = np.argwhere(scan.image[..., 0] == voxels[z, row, column] - 1024)[0]
    np.testing.assert_allclose((scan.affine @ (d, h, w, 1))[:3], place * (-1, -1, 1))
    assert orientation_of(scan.affine, plane).axes == (0, 1, 2)


def test_an_enhanced_file_is_the_same_scan(tmp_path):
    """Catches frames in the order of the file, and values of shared groups that are not read."""
    voxels = stored()
    write(samples.multi_frame(voxels), tmp_path / "one" / "mf.dcm")
    several = only_scan(write_images(images(voxels), tmp_path / "several"))
    one = only_scan(tmp_path / "one")
    assert (one.image == several.image).all()
    np.testing.assert_allclose(one.affine, several.affine)


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless"])
def test_compressed_series_have_the_same_values(tmp_path, syntax):
    """Catches a codec that is not installed with the extra."""
    voxels = stored(rows=32, columns=32).astype(np.uint16)
    uid = getattr(pydicom.uid, syntax)
    headers = samples.compressed(images(voxels), uid)
    scan = only_scan(write_images(headers, tmp_path / "ct"))
    assert (scan.image[..., 0] == voxels.astype(int) - 1024).all()


def test_a_slope_that_is_no_whole_number_gives_floats(tmp_path):
    """Catches values that are rounded, and the rescale of one slice used for all (PET)."""
    voxels = stored()
    headers = images(voxels)
    slopes = np.array([0.5, 0.25, 1.0, 2.0])
    for header, slope in zip(headers, slopes, strict=True):
        header.RescaleSlope = slope
        header.RescaleIntercept = 0
    scan = only_scan(write_images(headers, tmp_path / "pet"))
    assert scan.image.dtype == np.float32
    np.testing.assert_allclose(scan.image[..., 0], voxels * slopes[:, None, None])


def test_values_beyond_16_bits_and_bits_above_those_in_use(tmp_path):
    """Catches an overflow at 65,535 - 1,024, and overlays that are read as 12-bit values."""
    wide = stored().astype(np.uint16)
    wide[2, 3, 4] = 65535
    scan = only_scan(write_images(images(wide), tmp_path / "wide"))
    assert scan.image[2, 3, 4, 0] == 65535 - 1024
    plain = stored() % 4096
    headers = images((plain | 0x4000).astype(np.uint16))
    for header in headers:
        header.BitsStored = 12
        header.HighBit = 11
    scan = only_scan(write_images(headers, tmp_path / "overlay"))
    assert (scan.image[..., 0] == plain - 1024).all()


def test_copies_hidden_files_and_other_objects_are_left_out(tmp_path):
    """Catches a slice counted twice, AppleDouble files, and DICOMDIRs that lead elsewhere."""
    folder = write_images(images(stored()), tmp_path / "in" / "ct")
    outside = write_images(images(stored(seed=1)), tmp_path / "outside")
    copy = next(folder.iterdir())
    (folder / "copy.dcm").write_bytes(copy.read_bytes())
    (folder / "._IM0003.dcm").write_bytes(b"AppleDouble")
    samples.directory("../../outside/IM0003", folder / "DICOMDIR")
    samples.directory("../../outside/IM0010", folder / "index.dcm")
    (folder / "link").symlink_to(outside)
    findings = find_series(tmp_path / "in")
    assert [len(series.planes) for series in findings.series] == [4]
    assert not findings.problems
    assert "copies" in findings.notes[0]


# ------------------------------------------------------------------ what no scan can be made of
def _missing(headers):
    del headers[2]


def _doubled(headers):
    headers[2].ImagePositionPatient = headers[1].ImagePositionPatient


def _tilted(headers):
    for i, header in enumerate(headers):
        x, y, z = header.ImagePositionPatient
        header.ImagePositionPatient = [x, y + 0.5 * i, z]


def _turned(headers):
    headers[3].ImageOrientationPatient = list(samples.SAGITTAL)


def _few(headers):
    del headers[2:]


def _other_frame(headers):
    headers[1].FrameOfReferenceUID = "1.2.3.5"


def _other_size(headers):
    samples.with_pixels(headers[0], stored(1, 5, 8)[0])


def _other_spacing(headers):
    headers[0].PixelSpacing = [0.5, 0.9]


def _colour(headers):
    for header in headers:
        header.SamplesPerPixel = 3
        header.PhotometricInterpretation = "RGB"


def _oblique_rows(headers):
    for header in headers:
        header.ImageOrientationPatient = [1, 0, 0, 0.5, 0.5, 0]


AWKWARD = {
    "missing": (_missing, "gaps of 2.5 to 5 mm between its slices.*after slice 2 of 4"),
    "doubled": (_doubled, "5 images at 4 positions"),
    "tilted": (_tilted, r"tilted gantry: its slices are shifted by 2 mm .* 11\.3°"),
    "turned": (_turned, "several orientations .1 of 5"),
    "few": (_few, "too few slices: 2, and a volume needs 3"),
    "other frame": (_other_frame, "2 frames of reference"),
    "other size": (_other_size, r"several sizes: .*6×8 \(4\)"),
    "other spacing": (_other_spacing, "several pixel sizes, 0.5 to 0.9 mm"),
    "colour": (_colour, "colour images"),
    "oblique rows": (_oblique_rows, "no right angle"),
}


@pytest.mark.parametrize("case", AWKWARD)
def test_an_awkward_series_is_refused_in_one_line(tmp_path, case):
    """Catches a series that is read as if its slices were even, alike and one behind the other."""
    change, message = AWKWARD[case]
    headers = images(stored(5))
    change(headers)
    folder = write_images(headers, tmp_path / "ct")
    (series,) = find_series(folder).series
    with pytest.raises(UserError, match=message) as caught:
        read_scan(series)
    text = str(caught.value)
    assert text.startswith(f"{folder} (series 7, CT): ")
    assert "; " in text and "\n" not in text


def test_positions_rounded_to_a_tenth_are_even(tmp_path):
    """Catches a tolerance below the rounding of files: 0.625 mm as 0.6 and 0.7 mm."""
    places = [(0, 0, round(0.625 * i, 1)) for i in range(9)]
    scan = only_scan(write_images(images(stored(9), places=places), tmp_path / "ct"))
    assert scan.spacing[0] == pytest.approx(0.625)


def test_a_header_that_declares_too_much_allocates_nothing(tmp_path):
    """Catches memory for 8 GB that a file of 1 kB asks for."""
    voxels = stored()
    headers = images(voxels)
    for header in headers:
        header.Rows = 65535
        header.Columns = 65535
    (series,) = find_series(write_images(headers, tmp_path / "ct")).series
    with pytest.raises(UserError, match="65535×65535 pixels, and has"):
        read_scan(series)
    one = samples.multi_frame(voxels)
    one.NumberOfFrames = 2
    write(one, tmp_path / "mf" / "mf.dcm")
    assert "describes 4 frames and declares 2" in find_series(tmp_path / "mf").problems[0]


def test_damaged_files_are_named(tmp_path):
    """Catches a traceback, and a damaged slice that is taken for another kind of file."""
    folder = write_images(images(stored()), tmp_path / "ct")
    cut = folder / "IM0003"
    cut.write_bytes(cut.read_bytes()[:-40])
    (folder / "empty.dcm").touch()
    (folder / "header.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    (folder / "notes.txt").write_text("none of them")
    findings = find_series(folder)
    named = [line.partition(": ")[0] for line in findings.problems]
    assert named == [str(folder / "empty.dcm"), str(folder / "header.dcm")]
    with pytest.raises(UserError, match="IM0003: .*copy the file again"):
        read_scan(findings.series[0])


def test_a_deflated_bomb_is_refused(tmp_path, monkeypatch):
    """Catches an object that inflates to whatever it likes."""
    headers = images(np.zeros((3, 512, 512), np.int16))
    for header in headers:
        header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    folder = write_images(headers, tmp_path / "ct")
    assert only_scan(folder).image.shape == (3, 512, 512, 1)
    monkeypatch.setattr(dicom_files, "INFLATED", 100_000)
    problems = find_series(folder).problems
    assert len(problems) == 3
    assert "inflates to more than 100,000 bytes" in problems[0]


# ------------------------------------------------------------------ RTSTRUCT
def label_of(folder, **options):
    """The label ``(D, H, W)`` of the one scan of a folder, by way of the reader."""
    source = readers.read("dicom", folder, progress=False, **options)
    (case,) = source.splits["train"]
    return case.load().label


def write_study(folder, regions, **options):
    write_images(images(stored(rows=20, columns=24), **options), folder / "ct")
    write(structures(regions, **options), folder / "rs.dcm")
    return folder


def mask_of(*boxes, rows=20, columns=24, slices=4):
    """Ones in boxes (left, top, right, bottom, z), which turn what lies below."""
    mask = np.zeros((slices, rows, columns), bool)
    for left, top, right, bottom, z in boxes:
        mask[z, top : bottom + 1, left : right + 1] ^= True
    return mask


KEYHOLE = [
    (1.5, 1.5, 1),
    (10.5, 1.5, 1),
    (10.5, 10.5, 1),
    (1.5, 10.5, 1),
    (1.5, 5.2, 1),
    (4.5, 5.2, 1),
    (4.5, 7.5, 1),
    (7.5, 7.5, 1),
    (7.5, 4.5, 1),
    (4.5, 4.5, 1),
    (4.5, 5.2, 1),
    (1.5, 5.2, 1),
]
CONTOURS = {
    "two on one slice": (
        [box(1, 1, 4, 5, 1), box(8, 9, 9, 9, 1)],
        [(1, 1, 4, 5, 1), (8, 9, 9, 9, 1)],
    ),
    "a hole": ([box(1, 1, 9, 9, 2), box(3, 3, 5, 6, 2)], [(1, 1, 9, 9, 2), (3, 3, 5, 6, 2)]),
    "a keyhole": ([KEYHOLE], [(2, 2, 10, 10, 1), (5, 5, 7, 7, 1)]),
    "a copy": ([box(1, 1, 4, 5, 0), box(1, 1, 4, 5, 0)], [(1, 1, 4, 5, 0)]),
    "to the edge": ([box(0, 0, 23, 19, 3)], [(0, 0, 23, 19, 3)]),
    "between the centres": ([box(1, 1, 1, 1, 0)], [(1, 1, 1, 1, 0)]),
}


@pytest.mark.parametrize("case", CONTOURS)
def test_contours_fill_the_pixels_inside(tmp_path, case):
    """Catches swapped rows and columns, filled holes, contours that cancel each other or replace
    each other, a bridge that leaves a line.
    """
    contours, boxes = CONTOURS[case]
    folder = write_study(tmp_path / "s", {"GTV-1": contours})
    scan = only_scan(folder)
    label = find_series(folder).labels[0]
    regions = dicom_contours.read_contours(label.path)
    assert not dicom_contours.misfit(regions[1], scan.stack)
    mask = scan.turn.to_scan(dicom_contours.mask(regions[1], scan.stack))
    assert (mask == mask_of(*boxes)).all()


def test_a_contour_is_even_odd_for_any_polygon():
    """Catches a rule that fails at vertices and level edges: compared with matplotlib's."""
    from matplotlib.path import Path as Outline

    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.arange(30), np.arange(20)), axis=-1).reshape(-1, 2)
    for corners in (3, 5, 8):
        polygon = rng.uniform(-2, 22, (corners, 2))
        hull = polygon[np.argsort(np.arctan2(*(polygon - polygon.mean(axis=0)).T))]
        outline = Outline(np.vstack([hull, hull[:1]]))
        expected = outline.contains_points(grid).reshape(20, 30)
        assert (dicom_contours.inside(hull, (20, 30)) == expected).all()


MISFITS = {
    "between slices": ([box(1, 1, 4, 5, 1.5)], "1 of its 1 contours lie between the slices"),
    "above": ([box(1, 1, 4, 5, 1), box(1, 1, 4, 5, 9)], "1 of its 2 contours lie outside"),
    "beside": ([box(20, 1, 40, 5, 1)], "lie outside of the images"),
    "not parallel": ([[(1, 1, 0), (5, 1, 2), (5, 5, 2)]], "not parallel"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_contours_that_fit_no_series_are_a_problem(tmp_path, case):
    """Catches structures that lose a part, or land on slices they were not drawn on."""
    contours, message = MISFITS[case]
    folder = write_study(tmp_path / "s", {"GTV-1": contours})
    source = readers.read("dicom", tmp_path, progress=False)
    assert any(
        line.startswith(f"{folder}/rs.dcm: cannot be matched") and message in line
        for line in source.problems
    )


# ------------------------------------------------------------------ the reader
@pytest.fixture
def studies(tmp_path):
    """Four patients in folders; the fourth is not annotated."""
    root = tmp_path / "studies"
    regions = {"GTV-1": [box(1, 1, 4, 5, 1)], "Lung": [box(8, 8, 12, 12, 1)]}
    for i in range(4):
        folder = root / f"case{i}"
        patient = f"ID-{i}"
        write_images(images(stored(rows=20, columns=24, seed=i), patient=patient), folder / "ct")
        if i < 3:
            write(structures(regions, patient), folder / "rs.dcm")
    return root


def test_patients_are_subjects_and_no_identifier_is_told(studies):
    """Catches two series of a patient in two splits, and a patient's ID or name in a case."""
    far = [(0, 0, 900 + samples.GAP * i) for i in range(4)]
    late = images(stored(seed=9), places=far, patient="ID-0")
    write_images(late, studies / "case0" / "late")
    source = readers.read(
        "dicom", studies, progress=False, roi="gtv-1", classes="background,tumour"
    )
    assert not source.problems
    assert source.classes == ("background", "tumour")
    assert source.unit == "mm"
    assert source.channel_names == ("CT",)
    cases = [ref.load() for refs in source.splits.values() for ref in refs]
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
        write(structures({"GTV": [box(1, 1, 3, 3, 1)]}, f"ID-{i}"), tmp_path / f"rs{i}.dcm")
    source = readers.read("dicom", tmp_path, progress=False)
    subjects = {ref.subject for refs in source.splits.values() for ref in refs}
    assert subjects == {"patient_001", "patient_002", "patient_003"}
    assert any("patients without a folder of their own: 3" in note for note in source.notes)


def test_annotations_with_another_patient_id_are_matched_by_folder(studies):
    """Catches an anonymiser that gives RTSTRUCTs another ID than the images."""
    path = studies / "case1" / "rs.dcm"
    header = samples.read_back(path)
    header.PatientID = "other"
    header.save_as(path)
    source = readers.read("dicom", studies, progress=False, roi="GTV-1")
    assert not source.problems
    assert sum(bool(ref.label_path) for refs in source.splits.values() for ref in refs) == 3


def test_a_follow_up_is_not_labelled_with_the_structures_of_the_first_scan(studies):
    """Catches two scans of a patient with the same coordinates, one of which was annotated."""
    late = images(stored(rows=20, columns=24, seed=9), patient="ID-0", reference="1.2.3.9")
    write_images(late, studies / "case0" / "late")
    source = readers.read("dicom", studies, progress=False, roi="GTV-1")
    line = source.problems[0]
    assert "its coordinates fit 2 series alike" in line and "case0/late" in line
    path = studies / "case0" / "rs.dcm"
    header = samples.read_back(path)
    header.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3.9"
    header.save_as(path)
    source = readers.read("dicom", studies, progress=False, roi="GTV-1")
    assert not source.problems
    refs = [ref for split in source.splits.values() for ref in split if ref.label_path]
    assert [ref.path for ref in refs if ref.subject == "case0"] == [str(studies / "case0" / "late")]


def test_one_patient_id_for_all_is_a_problem_with_a_remedy(studies):
    """Catches anonymised patients who all became one subject."""
    for path in studies.rglob("*"):
        if path.is_file():
            header = samples.read_back(path)
            header.PatientID = "ANON"
            header.save_as(path)
    source = readers.read("dicom", studies, progress=False, roi="GTV-1")
    assert any("--subjects-are-folders" in line for line in source.problems)
    source = readers.read("dicom", studies, progress=False, roi="GTV-1", subjects_are_folders=True)
    assert not source.problems


def test_structures_that_overlap_are_refused_or_the_later_one_wins(tmp_path):
    """Catches a class that silently covers another one."""
    regions = {"GTV": [box(3, 3, 4, 4, 1)], "PTV": [box(1, 1, 6, 6, 1)]}
    for i in range(3):
        write_study(tmp_path / f"p{i}", regions, patient=f"ID-{i}")
    source = readers.read("dicom", tmp_path, progress=False)
    with pytest.raises(UserError, match="GTV and PTV overlap in 4 voxels; .*--overlap later"):
        source.splits["train"][0].load()
    source = readers.read("dicom", tmp_path, progress=False, roi="PTV,GTV", overlap="later")
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
            readers.read("dicom", studies, progress=False, **options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no DICOM series of slices"):
        readers.read("dicom", tmp_path / "empty", progress=False)


def test_without_the_extra_one_line_names_it(studies, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"pip install 'semiseg\[dicom\]'"):
        readers.read("dicom", studies, progress=False)


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


# ------------------------------------------------------------------ real files
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
KINDS = SHARED / "dicom"
READ = {
    "dcmqi/ct-3slice": ((3, 512, 512), "LPS"),
    "dcmqi/24x38x3/multiframe": ((3, 38, 24), "LPS"),
    "rt_utils/oriented_data": ((3, 50, 100), "LPS"),
    "dicom2nifti/generic/anatomical/002_non_isotropic": ((4, 28, 64), "LPS"),
    "dicom2nifti/generic/compressed_j2k": ((256, 256, 4), "PIR"),
    "dicom2nifti/generic/compressed_jpeg": ((256, 256, 4), "PIR"),
    "dicom2nifti/generic/compressed_jpegls": ((256, 256, 4), "PIR"),
    "dicom2nifti/generic/compressed_rle": ((256, 256, 4), "PIR"),
    "dicom2nifti/philips_enhanced": ((256, 256, 8), "PIR"),
    "dicom2nifti/siemens_multiframe": ((8, 256, 256), "LPS"),
}
REFUSED = {
    "dicom2nifti/failing/slicecount": "too few slices: 2",
    "dicom2nifti/failing/sliceincrement": "a slice is missing",
    "dicom2nifti/failing/sliceorientation": "several orientations",
    "dicom2nifti/generic/rgb": "colour images",
    "rt_utils/mock_data": "too few slices: 2",
    "rt_utils/one_slice_data": "too few slices: 1",
    "highdicom": "too few slices: 1",
}


@pytest.fixture(scope="module")
def kinds():
    if not KINDS.is_dir():
        pytest.skip(f"the sample series of dcmqi, dicom2nifti and highdicom are not in {KINDS}")
    return KINDS


@pytest.mark.parametrize("folder", READ)
def test_real_series_are_read(kinds, folder):
    shape, code = READ[folder]
    scan = only_scan(kinds / folder)
    assert scan.image.shape == (*shape, 1)
    assert scan.turn.code == code


@pytest.mark.parametrize("folder", REFUSED)
def test_real_series_are_refused(kinds, folder):
    (series,) = find_series(kinds / folder).series
    with pytest.raises(UserError, match=REFUSED[folder]):
        read_scan(series)


def test_jpeg_2000_is_its_nifti(kinds):
    """Catches voxels that are read in another place than dicom2nifti puts them."""
    import nibabel

    folder = kinds / "dicom2nifti" / "generic" / "compressed_j2k"
    scan = only_scan(folder)
    truth = nibabel.load(folder / "001_ground_truth.nii.gz")
    turn = orientation_of(truth.affine)
    voxels = turn.to_scan(np.asarray(truth.dataobj))
    assert (scan.image[..., 0] == voxels).all()
    affine = turn.scan_affine(truth.affine, truth.shape)
    np.testing.assert_allclose(scan.affine, affine, atol=1e-3)


SEGS = {
    "liver.dcm": ("ct-3slice", ["liver_seg.nrrd"]),
    "partial_overlaps.dcm": ("ct-3slice", [f"partial_overlaps-{k}.nrrd" for k in (1, 2, 3)]),
    "24x38x3/seg/label.seg": ("24x38x3/image", ["24x38x3/nrrd/label.nrrd"]),
    "sparse-labelmap-noppv.dcm": ("24x38x3/image", ["sparse_labelmap_noppv_seg.nrrd"]),
    "sparse-labelmap-ppv5.dcm": ("24x38x3/image", ["sparse_labelmap_ppv5_seg.nrrd"]),
}


@pytest.mark.parametrize("file", SEGS)
def test_segments_are_their_nrrd(kinds, file):
    """Catches frames on other slices, and bits in another order, than dcmqi has them."""
    sitk = pytest.importorskip("SimpleITK", reason="reads the NRRD labels")
    folder, truths = SEGS[file]
    stack = only_scan(kinds / "dcmqi" / folder).stack
    frames = dicom_segments.read_frames(kinds / "dcmqi" / file)
    assert not dicom_segments.misfit(frames, stack)
    for name in truths:
        image = sitk.ReadImage(str(kinds / "dcmqi" / name))
        truth_XYZ = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
        values = [int(value) for value in np.unique(truth_XYZ) if value]
        if frames.padding is not None:
            values.remove(frames.padding)
            assert (dicom_segments.unseen(frames, stack) == (truth_XYZ == frames.padding)).all()
        for value, mask_XYZ in zip(
            values, dicom_segments.masks(frames, stack, values), strict=True
        ):
            assert (mask_XYZ == (truth_XYZ == value)).all()


def test_regions_of_the_phantom_have_their_volume():
    """Catches references that are believed, and rasterisation that is off by a rim of pixels."""
    folder = SHARED / "ct_rtstruct"
    if not folder.is_dir():
        pytest.skip(f"the Radiomics Digital Phantom is not in {folder}")
    source = readers.read("dicom", folder, progress=False, roi="GTV-1")
    volumes = {"pat_2": (6.5, 7), "pat_3": (11.6, 12), "pat_4": (123.4, 23)}
    assert not source.problems
    for refs in source.splits.values():
        for ref in refs:
            case = ref.load()
            millilitres, slices = volumes[case.subject]
            voxel = np.prod(case.spacing) / 1000
            assert (case.label == 1).sum() * voxel == pytest.approx(millilitres, rel=0.03)
            assert case.label.any(axis=(1, 2)).sum() == slices
