"""DICOM SEG in and out."""

import numpy as np
import pytest

highdicom = pytest.importorskip("highdicom", reason="needs the extra dicom")

import dicom_samples as samples  # noqa: E402
from dicom_samples import (  # noqa: E402
    images,
    only_series,
    read_set,
    refs_of,
    stored,
    write,
    write_ct,
    write_images,
)
from pydicom.sr.codedict import codes  # noqa: E402
from pydicom.uid import generate_uid  # noqa: E402

from semiseg.data import dicom_segments  # noqa: E402
from semiseg.data.dicom_input import inputs_of, is_series, mask_name, read_input  # noqa: E402
from semiseg.data.dicom_scan import read_scan  # noqa: E402
from semiseg.data.dicom_seg import write_segmentation, write_volume  # noqa: E402
from semiseg.errors import UserError  # noqa: E402

CLASSES = ("background", "liver", "tumour")


def blobs(shape, seed=0):
    """A mask of three classes that touch each other."""
    return np.random.default_rng(seed).integers(0, 3, shape, dtype=np.uint8)


def segments(headers, pixels, labels, kind="BINARY", **options):
    """A SEG that highdicom writes.

    Args:
      headers: of the images.
      pixels: ``(Z, Y, X)`` numbers or ``(Z, Y, X, K)`` masks or shares.
      labels: of the segments.
      kind: of the object.
      **options: further arguments of highdicom.
    """
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="test", version="1", family=codes.DCM.ArtificialIntelligence
    )
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for number, label in enumerate(labels, 1)
    ]
    for header in headers:
        for keyword in ("PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
            setattr(header, keyword, None)
    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        **options,
    )


def patients(root, make):
    """Three patients with a SEG each.

    Args:
      root: their folder.
      make: a function of the images' headers that returns the SEG.
    """
    for i in range(3):
        headers = images(stored(seed=i), patient=f"ID-{i}")
        write_images(headers, root / f"p{i}" / "ct")
        write(make(headers), root / f"p{i}" / "seg.dcm")
    return root


def labels_of(root, **options):
    """The labels ``(D, H, W)`` of a folder, all splits."""
    source = read_set(root, **options)
    assert not source.problems
    return [ref.load().label for ref in refs_of(source)]


# ------------------------------------------------------------------ in
def test_segments_are_read_by_label_or_number(tmp_path):
    """Catches segments in another order, and slices in the order of the file."""
    pixels = blobs((4, 6, 8))
    root = patients(tmp_path, lambda headers: segments(headers, pixels, ["liver", "tumour"]))
    for label in labels_of(root):
        assert (label == pixels).all()
    for options in ({"segments": "tumour"}, {"segments": "2"}, {"classes": "background,Tumour"}):
        for label in labels_of(root, **options):
            assert (label == (pixels == 2)).all()


def test_a_fraction_of_half_belongs_to_the_segment(tmp_path):
    """Catches a threshold at 0, and values that are taken for shares of 1."""
    shares = np.random.default_rng(0).integers(0, 101, (4, 6, 8, 1)) / 100

    def make(headers):
        return segments(headers, shares, ["liver"], "FRACTIONAL", max_fractional_value=100)

    for label in labels_of(patients(tmp_path, make)):
        assert (label == (shares[..., 0] >= 0.5)).all()


def test_a_labelmap_is_read(tmp_path):
    """Catches a LABELMAP whose background becomes a class."""
    pixels = blobs((4, 6, 8))

    def make(headers):
        return segments(headers, pixels, ["liver", "tumour"], "LABELMAP")

    root = patients(tmp_path, make)
    source = read_set(root)
    assert source.classes == CLASSES
    for label in labels_of(root):
        assert (label == pixels).all()


def test_segments_that_overlap_are_refused_or_the_later_one_wins(tmp_path):
    """Catches a segment that silently covers another one."""
    masks = np.zeros((4, 6, 8, 2), np.uint8)
    masks[1, 1:4, 1:4, 0] = 1
    masks[1, 3:5, 3:5, 1] = 1
    root = patients(tmp_path, lambda headers: segments(headers, masks, ["liver", "tumour"]))
    with pytest.raises(UserError, match="liver and tumour overlap in 1 voxels"):
        labels_of(root)
    for label in labels_of(root, overlap="later"):
        assert np.bincount(label.ravel()).tolist() == [4 * 6 * 8 - 12, 8, 4]


def test_a_resampled_segmentation_is_a_problem(tmp_path):
    """Catches a mask that is laid over images of other pixels."""
    pixels = blobs((4, 6, 8))
    fine = images(stored(), patient="ID-0")
    for header in fine:
        header.PixelSpacing = [0.25, 0.4]
    headers = images(stored(), patient="ID-0")
    write_images(headers, tmp_path / "ct")
    write(segments(fine, pixels, ["liver", "tumour"]), tmp_path / "seg.dcm")
    source = read_set(tmp_path)
    assert "its pixels are not those of the images" in source.problems[0]


# ------------------------------------------------------------------ out
@pytest.mark.parametrize("plane", ["axial", "sagittal"])
@pytest.mark.parametrize("directions", [samples.AXIAL, samples.CORONAL])
def test_a_mask_goes_back_to_its_series(tmp_path, directions, plane):
    """Catches a mask on other slices, turned or mirrored, and a SEG that names other images."""
    headers = images(stored(), directions)
    write_images(headers, tmp_path / "ct")
    series = only_series(tmp_path / "ct")
    scan = read_scan(series, plane)
    mask = blobs(scan.image.shape[:3])
    target = tmp_path / "mask.dcm"
    write_segmentation(mask, scan, CLASSES, target)
    written = highdicom.seg.segread(target)
    assert written.FrameOfReferenceUID == "1.2.3.4"
    assert written.PatientID == "ID-4711"
    assert [item.SegmentLabel for item in written.SegmentSequence] == list(CLASSES[1:])
    instances = [header.SOPInstanceUID for header in headers]
    named = {str(uid) for _, _, uid in written.get_source_image_uids()}
    assert named == set(instances)
    pixels_ZYX = written.get_pixels_by_source_instance(instances, combine_segments=True)
    expected_ZYX = scan.turn.to_file(mask).transpose(2, 1, 0)
    assert (pixels_ZYX == expected_ZYX).all()
    places = {header.SOPInstanceUID: header.ImagePositionPatient for header in headers}
    for frame in written.PerFrameFunctionalGroupsSequence:
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(place, places[image.ReferencedSOPInstanceUID], atol=1e-6)


def test_a_mask_of_an_enhanced_file_goes_back_to_its_frames(tmp_path):
    """Catches frames in the order of positions where the file has them in another one."""
    write(samples.multi_frame(stored()), tmp_path / "ct" / "mf.dcm")
    series = only_series(tmp_path / "ct")
    scan = read_scan(series)
    mask = blobs(scan.image.shape[:3])
    write_segmentation(mask, scan, CLASSES, tmp_path / "mask.dcm")
    frames = dicom_segments.read_frames(tmp_path / "mask.dcm")
    assert not dicom_segments.misfit(frames, scan.stack)
    for value, mask_XYZ in zip(
        (1, 2), dicom_segments.masks(frames, scan.stack, (1, 2)), strict=True
    ):
        assert (scan.turn.to_scan(mask_XYZ) == (mask == value)).all()


def test_an_anonymised_series_and_an_empty_mask_are_written(tmp_path):
    """Catches headers that lack what a SEG must repeat, and a SEG without a frame."""
    headers = images(stored())
    for header in headers:
        for keyword in ("FrameOfReferenceUID", "PatientName", "PatientBirthDate", "SliceThickness"):
            delattr(header, keyword)
        header.SpecificCharacterSet = ""
    write_images(headers, tmp_path / "ct")
    series = only_series(tmp_path / "ct")
    scan = read_scan(series)
    empty = np.zeros(scan.image.shape[:3], np.uint8)
    write_segmentation(empty, scan, CLASSES, tmp_path / "mask.dcm")
    written = highdicom.seg.segread(tmp_path / "mask.dcm")
    assert not written.pixel_array.any()
    assert written.FrameOfReferenceUID.startswith("2.25.")


def test_a_mask_of_another_shape_is_refused(tmp_path):
    write_ct(tmp_path / "ct")
    series = only_series(tmp_path / "ct")
    with pytest.raises(UserError, match="the mask has shape"):
        write_segmentation(
            np.zeros((4, 8, 6), np.uint8), read_scan(series), CLASSES, tmp_path / "m"
        )


def test_a_mask_as_nifti_lies_on_the_series(tmp_path):
    """Catches a NIfTI that is mirrored against the images."""
    import nibabel

    write_ct(tmp_path / "ct", directions=samples.CORONAL)
    scan = read_input(tmp_path / "ct")
    mask = blobs(scan.image.shape[:3])
    write_volume(scan.turn.to_file(mask), scan, CLASSES, tmp_path / "mask.nii.gz")
    written = nibabel.load(tmp_path / "mask.nii.gz")
    d, h, w = np.argwhere(mask == 2)[5]
    place = scan.affine @ (d, h, w, 1)
    x, y, z, _ = np.rint(np.linalg.inv(written.affine) @ place).astype(int)
    assert np.asarray(written.dataobj)[x, y, z] == 2


def test_inputs_are_folders_of_one_series(tmp_path):
    """Catches a folder of annotations that is predicted, and two series that become one."""
    for name in ("p1/ct", "p2/ct"):
        write_ct(tmp_path / name)
    write(samples.structures({"GTV": []}), tmp_path / "p1" / "rs" / "rs.dcm")
    inputs = inputs_of(tmp_path)
    assert inputs.folders == (tmp_path / "p1" / "ct", tmp_path / "p2" / "ct")
    assert mask_name(inputs.folders[0], tmp_path) == "p1_ct.dcm"
    assert is_series(tmp_path / "p1" / "ct") and not is_series(tmp_path)
    with pytest.raises(UserError, match="holds no DICOM series"):
        read_input(tmp_path / "p1" / "rs")
    for i, header in enumerate(images(stored(seed=1))):
        write(header, tmp_path / "p2" / "ct" / f"other{i}.dcm")
    with pytest.raises(UserError, match="holds 2 DICOM series; put each into a folder"):
        read_input(tmp_path / "p2" / "ct")
