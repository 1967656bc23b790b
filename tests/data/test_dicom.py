"""DICOM in: series, and the folders that no scan can be made of."""

import tracemalloc

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

import dicom_samples as samples  # noqa: E402
from dicom_samples import (  # noqa: E402
    images,
    only_scan,
    only_series,
    positions,
    stored,
    write,
    write_ct,
    write_images,
)

from semiseg.data import dicom_files  # noqa: E402
from semiseg.data.dicom_scan import read_scan  # noqa: E402
from semiseg.data.dicom_series import find_series  # noqa: E402
from semiseg.data.orientation import orientation_of  # noqa: E402
from semiseg.errors import UserError  # noqa: E402


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
    expected = (
        -(x + 3 * 0.8),
        -(y + 2 * 0.5),
        z + samples.GAP,
        1,
    )
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
    np.testing.assert_allclose(
        (scan.affine @ (d, h, w, 1))[:3],
        place * (-1, -1, 1),
    )
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
    np.testing.assert_allclose(
        scan.image[..., 0],
        voxels * slopes[:, None, None],
    )


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
    folder = write_ct(tmp_path / "in" / "ct")
    outside = write_ct(tmp_path / "outside", seed=1)
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


def _palette(headers):
    for header in headers:
        header.PhotometricInterpretation = "PALETTE COLOR"


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
    "palette": (_palette, "colour images"),
    "oblique rows": (_oblique_rows, "no right angle"),
}


@pytest.mark.parametrize("case", AWKWARD)
def test_an_awkward_series_is_refused_in_one_line(tmp_path, case):
    """Catches a series that is read as if its slices were even, alike and one behind the other."""
    change, message = AWKWARD[case]
    headers = images(stored(5))
    change(headers)
    folder = write_images(headers, tmp_path / "ct")
    series = only_series(folder)
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
    series = only_series(write_images(headers, tmp_path / "ct"))
    with pytest.raises(UserError, match="65535×65535 pixels, and has"):
        read_scan(series)
    one = samples.multi_frame(voxels)
    one.NumberOfFrames = 2
    write(one, tmp_path / "mf" / "mf.dcm")
    assert "describes 4 frames and declares 2" in find_series(tmp_path / "mf").problems[0]


def test_damaged_files_are_named(tmp_path):
    """Catches a traceback, and a damaged slice that is taken for another kind of file."""
    folder = write_ct(tmp_path / "ct")
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


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "ExplicitVRLittleEndian"])
def test_compressed_pixels_that_are_declared_uncompressed_are_refused(tmp_path, syntax):
    """Catches run lengths of RLE that are taken for grey levels."""
    headers = samples.compressed(images(stored()), pydicom.uid.RLELossless)
    folder = write_images(headers, tmp_path / "ct")
    path = sorted(folder.iterdir())[1]
    declared = pydicom.uid.RLELossless.encode() + b"\0"
    other = getattr(pydicom.uid, syntax).encode().ljust(len(declared), b"\0")
    content = path.read_bytes()
    assert content.count(declared) == 1
    path.write_bytes(content.replace(declared, other))
    with pytest.raises(UserError, match="not compressed, and stores them in fragments"):
        only_scan(folder)


def test_elements_with_types_that_are_declared_without_are_refused(tmp_path):
    """Catches grey levels that are read from two numbers before their beginning on."""
    folder = write_ct(tmp_path / "ct")
    path = sorted(folder.iterdir())[1]
    declared = pydicom.uid.ExplicitVRLittleEndian.encode() + b"\0"
    other = pydicom.uid.ImplicitVRLittleEndian.encode().ljust(len(declared), b"\0")
    content = path.read_bytes()
    assert content.count(declared) == 1
    path.write_bytes(content.replace(declared, other))
    with pytest.raises(UserError, match="have no types, and they have"):
        only_scan(folder)


@pytest.mark.parametrize("length", [0, 2, 2**31 - 2])
def test_a_wrong_length_of_the_pixels_is_refused(length, tmp_path):
    """Catches pixels that are read where their element does not say they are."""
    folder = write_ct(tmp_path / "ct")
    path = sorted(folder.iterdir())[0]
    content = bytearray(path.read_bytes())
    place = content.index(b"\xe0\x7f\x10\x00OW")
    content[place + 8 : place + 12] = length.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(UserError, match="IM0003"):
        only_scan(folder)


def test_an_odd_transfer_syntax_warns_of_nothing(tmp_path, recwarn):
    """Catches a warning of pydicom beside the lines of a command."""
    folder = write_ct(tmp_path / "ct")
    path = sorted(folder.iterdir())[0]
    declared = pydicom.uid.ExplicitVRLittleEndian.encode()
    path.write_bytes(path.read_bytes().replace(declared, declared.replace(b"10008", b"100 8")))
    find_series(folder)
    assert not [str(one.message) for one in recwarn]


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


# ------------------------------------------------------------------ declared lengths
ELEMENTS = {
    "header": b"\x28\x00\x01\x12OW\0\0",
    "meta": b"\x02\x00\x02\x01OB\0\0",
}


@pytest.mark.parametrize("where", ELEMENTS)
def test_an_element_of_four_gigabytes_in_a_small_file_is_one_line(where, tmp_path):
    """Catches what a header declares being allocated before the file's length is looked at."""
    (header,) = images(stored(1))
    header.RedPaletteColorLookupTableData = bytes(8)
    header.file_meta.PrivateInformationCreatorUID = "1.2"
    header.file_meta.PrivateInformation = bytes(8)
    path = tmp_path / "a.dcm"
    write(header, path)
    content = path.read_bytes()
    start = content.index(ELEMENTS[where]) + len(ELEMENTS[where])
    path.write_bytes(content[:start] + b"\xfe\xff\xff\xff" + content[start + 4 :])
    assert path.stat().st_size < 2048
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="an element of 4,294,967,294 bytes is declared"):
            dicom_files.read_header(path)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1 << 24


def test_a_slice_that_is_no_dicom_file_is_noted(tmp_path):
    """Catches a scan that lacks its last slice, without a word: the copy of a file was cut."""
    paths = sorted(write_ct(tmp_path).iterdir())
    last = max(paths, key=lambda path: float(samples.read_back(path).ImagePositionPatient[2]))
    last.write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no slice")
    findings = find_series(tmp_path)
    assert findings.series[0].stack().shape[2] == 3
    assert findings.notes == (f"{last}: left out: it is no DICOM file",)


def test_a_note_repeats_no_more_than_a_code(tmp_path):
    """Catches the names of a patient in a note on an element that swallowed those after it."""
    write_ct(tmp_path)
    path = sorted(tmp_path.iterdir())[0]
    header = samples.read_back(path)
    header.Modality = ["REG"] + ["DOE^JANE"] * 9
    del header.Rows
    samples.write(header, path)
    (note,) = find_series(tmp_path).notes
    assert note.startswith(f"{tmp_path}: left out objects that hold no scan (")
    assert "JANE" not in note
