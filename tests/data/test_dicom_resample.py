"""DICOM series of a tilted gantry or uneven gaps: resampled where asked, and back to the slices."""

import numpy as np
import pytest

highdicom = pytest.importorskip("highdicom", reason="needs the extra dicom")

import dicom_samples as samples  # noqa: E402
from dicom_samples import images, only_series, read_set, refs_of, write, write_images  # noqa: E402
from test_dicom_seg import segments  # noqa: E402

from semiseg.data.dicom_scan import read_scan  # noqa: E402
from semiseg.data.dicom_seg import write_segmentation  # noqa: E402
from semiseg.errors import UserError  # noqa: E402

SHAPE = (6, 14, 16)
"""Slices, rows, columns."""
WORLD = np.array([9.0, -7.0, 5.0])
"""HU a millimetre of LPS x, y, z: linear, so that interpolation is exact."""
ROW, COLUMN = samples.SPACING


def tilted(shift):
    """Places of slices that are shifted by so many rows each against the one before."""
    places = samples.positions(SHAPE[0])
    return [place + (0, ROW * shift * i, 0) for i, place in enumerate(places)]


def uneven(*depths):
    return [np.array(samples.ORIGIN) + (0, 0, depth) for depth in depths]


KINDS = {
    "tilt of whole pixels": tilted(1.0),
    "tilt": tilted(-0.37),
    "a slice is missing": uneven(0, 2.5, 5, 10, 12.5, 15),
    "the spacing changes": uneven(0, 2, 4, 6, 9, 12),
}


def values(places):
    """HU + 1024 ``(Z, Y, X)`` of slices at these places."""
    _, rows, columns = SHAPE
    slices = []
    for place in places:
        x = place[0] + COLUMN * np.arange(columns)
        y = place[1] + ROW * np.arange(rows)[:, None]
        slices.append(WORLD[0] * x + WORLD[1] * y + WORLD[2] * place[2] + 1024)
    return np.rint(slices).astype(np.int16)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_their_place(kind, tmp_path):
    """Catches a grid that is off, mirrored or sheared the other way; without the flag, a series
    that is taken as if it were even.
    """
    places = KINDS[kind]
    write_images(
        images(
            values(places),
            places=places,
        ),
        tmp_path,
    )
    series = only_series(tmp_path)
    with pytest.raises(UserError, match="pass --resample"):
        read_scan(series)
    scan = read_scan(series, resample=True)
    index = np.moveaxis(
        np.indices(scan.image.shape[:3]),
        0,
        -1,
    )
    ras = index @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    expected = ras @ (WORLD * (-1, -1, 1))
    seen = (
        scan.label(
            np.ones(
                (16, 14, 6),
                np.uint8,
            )
        )
        == 1
    )
    assert seen.mean() > 0.5
    margin = seen.copy()
    margin[:, 1:-1] &= seen[:, :-2] & seen[:, 2:]
    off = np.abs(scan.image[..., 0] - expected)[margin]
    assert off.max() <= 1.5
    assert (scan.image[..., 0][~seen] <= scan.image[..., 0][seen].max()).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_finds_its_way_back_to_the_slices(kind, tmp_path):
    """Catches a DICOM SEG that lies beside the images it refers to."""
    places = KINDS[kind]
    headers = images(
        values(places),
        places=places,
    )
    write_images(headers, tmp_path / "ct")
    scan = read_scan(
        only_series(tmp_path / "ct"),
        resample=True,
    )
    mask_ZYX = np.zeros(
        SHAPE,
        np.uint8,
    )
    mask_ZYX[1:5, 3:9, 4:11] = 1
    target = tmp_path / "seg.dcm"
    label = scan.label(mask_ZYX.transpose(2, 1, 0))
    write_segmentation(
        np.where(
            label == 255,
            0,
            label,
        ),
        scan,
        ("background", "liver"),
        target,
    )
    written = highdicom.seg.segread(target)
    assert written.FrameOfReferenceUID == headers[0].FrameOfReferenceUID
    back = written.get_pixels_by_source_instance(
        [header.SOPInstanceUID for header in headers],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    if kind == "tilt":  # half a pixel at the edge
        assert (back != mask_ZYX).mean() < 0.05
    else:
        assert (back == mask_ZYX).all()


def test_a_set_is_resampled_with_its_labels(tmp_path, capsys):
    """Catches contours and segments that are rasterised on slices which are not there."""
    source = tmp_path / "set"
    mask_ZYX = np.zeros(
        SHAPE,
        np.uint8,
    )
    mask_ZYX[1:5, 3:9, 4:11] = 1
    for i, kind in enumerate(KINDS):
        places = KINDS[kind]
        headers = images(
            values(places),
            places=places,
            patient=f"ID-{i}",
        )
        write_images(
            headers,
            source / f"p{i}" / "ct",
        )
        write(
            segments(headers, mask_ZYX, ["liver"]),
            source / f"p{i}" / "seg.dcm",
        )
    assert read_set(source).problems
    result = read_set(source, resample=True)
    assert result.problems == ()
    assert "resampled to an even grid: 4 (ct, ct, ct)" in " ".join(result.notes)
    for ref in refs_of(result):
        case = ref.load()
        assert case.label.shape == case.image.shape[:3]
        volume = (case.label == 1).sum() * np.prod(case.spacing)
        widths = np.diff(
            KINDS[list(KINDS)[int(case.subject[1:])]],
            axis=0,
        )[:, 2]
        depth = widths[1:4].sum() + (widths[0] + widths[4]) / 2
        assert volume == pytest.approx(
            6 * 7 * ROW * COLUMN * depth,
            rel=0.2,
        )


def test_contours_on_tilted_slices_are_in_place(tmp_path):
    """Catches points that are taken for those of even slices."""
    places = tilted(1.0)
    write_images(
        images(
            values(places),
            places=places,
        ),
        tmp_path / "p0" / "ct",
    )
    boxes = [
        samples.box(
            4,
            3 + z,
            10,
            8 + z,
            z,
        )
        for z in range(1, 5)
    ]
    write(
        samples.structures({"liver": boxes}),
        tmp_path / "p0" / "rs.dcm",
    )
    result = read_set(tmp_path, roi="liver", resample=True)
    (ref,) = refs_of(result)
    case = ref.load()
    assert (case.label == 1).sum() == 4 * 6 * 7
