"""DICOM of dcmqi, dicom2nifti, highdicom, rt-utils and the Radiomics Digital Phantom."""

from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

from dicom_samples import (  # noqa: E402
    only_scan,
    only_series,
    read_set,
    refs_of,
)

from semiseg.data import dicom_segments  # noqa: E402
from semiseg.data.dicom_scan import read_scan  # noqa: E402
from semiseg.data.orientation import orientation_of  # noqa: E402
from semiseg.errors import UserError  # noqa: E402

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
    series = only_series(kinds / folder)
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
    source = read_set(folder, roi="GTV-1")
    volumes = {"pat_2": (6.5, 7), "pat_3": (11.6, 12), "pat_4": (123.4, 23)}
    assert not source.problems
    for ref in refs_of(source):
        case = ref.load()
        millilitres, slices = volumes[case.subject]
        voxel = np.prod(case.spacing) / 1000
        assert (case.label == 1).sum() * voxel == pytest.approx(millilitres, rel=0.03)
        assert case.label.any(axis=(1, 2)).sum() == slices
