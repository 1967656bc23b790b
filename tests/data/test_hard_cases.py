"""Inputs of people's bug reports, by their kinds (values, headers, names): each is read right or
refused in one line.
"""

import gzip
import os
import struct
import subprocess
import sys
import unicodedata

import nibabel
import numpy as np
import pytest
from data_samples import picture, write_png
from hard_samples import cases, pictures, problems, read, save, volume, volumes

from semiseg.data import importing, store
from semiseg.data.images import read_pixels
from semiseg.data.input_scan import read_scan
from semiseg.data.orientation import PLANES, Grid, acquisition_plane, orientation_of
from semiseg.errors import UserError


# ------------------------------------------------------------------ A, B: headers
@pytest.mark.parametrize("tiny", [2e-7, -2e-7])
def test_spacings_equal_but_for_rounding_are_equal(tiny):
    """Catches volumes of one set that are cut along different axes."""
    for axis in range(3):
        affine = np.eye(4)
        affine[axis, axis] += tiny
        plane, reason = acquisition_plane(
            [Grid(affine, (24, 20, 16)), Grid(np.eye(4), (24, 20, 9))]
        )
        assert plane == "axial"
        assert "no axis" in reason


def test_the_affine_wins_over_pixdim(tmp_path):
    """Catches spacing from pixdim where the affine says another, and no word about it."""
    folder = volumes(tmp_path, affine=np.diag([0.5, 0.5, 3.0, 1.0]))
    for path in folder.rglob("*.nii.gz"):
        content = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into("<3f", content, 80, 1, 1, 1)
        path.write_bytes(gzip.compress(bytes(content)))
    result = read(folder)
    case = result.splits["val"][0].load()
    assert case.spacing == (3.0, 0.5, 0.5)
    assert any("the affine is used" in note for note in result.notes)


def test_micrometres_become_millimetres(tmp_path):
    """Catches distances a thousand times too large."""

    def edit(header):
        header.set_xyzt_units("micron", "sec")

    folder = volumes(
        tmp_path,
        affine=np.diag([400.0, 400.0, 1000.0, 1.0]),
        edit=edit,
    )
    (first, *_) = read(folder).splits["val"]
    assert first.load().spacing == (1.0, 0.4, 0.4)


@pytest.mark.parametrize("side", [0.004, 1.0])
def test_a_flipped_label_is_refused_at_any_scale(side, tmp_path):
    """Catches a tolerance in mm, which lets labels of microscopes pass."""
    affine = np.diag([side, side, 3 * side, 1.0])
    folder = volumes(tmp_path, affine=affine)
    _, label = volume(0)
    mirror = np.diag([-1.0, 1, 1, 1])
    save(folder / "labels" / "v0.nii.gz", label, affine @ mirror)
    assert "labels/v0.nii.gz: lies elsewhere in space" in problems(folder)
    rounded = affine * (1 + 1e-8)
    save(folder / "labels" / "v0.nii.gz", label, rounded)
    assert "elsewhere" not in problems(folder)


CODES = ("RAS", "LAS", "LPS", "PIR", "SRA")


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("code", CODES)
def test_any_order_of_axes_becomes_one(code, plane, tmp_path):
    """Catches scans that are mirrored or cut in other planes, and masks that go back elsewhere."""
    image, _ = volume(0, (6, 7, 8))
    base = nibabel.Nifti1Image(image, np.diag([1.0, 2.0, 3.0, 1.0]))
    way = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(tuple(code))
    )
    turned = base.as_reoriented(way)
    nibabel.save(base, tmp_path / "ras.nii")
    nibabel.save(turned, tmp_path / "turned.nii")
    expected = read_pixels([tmp_path / "ras.nii"], plane=plane)
    result = read_pixels([tmp_path / "turned.nii"], plane=plane)
    np.testing.assert_array_equal(result.image, expected.image)
    np.testing.assert_allclose(result.affine, expected.affine)
    assert result.spacing == expected.spacing
    assert result.orientation == code
    scan = read_scan(tmp_path / "turned.nii", "grey", plane)
    bright = np.asarray(scan.slices)[..., 0] > 50
    scan.write_mask(bright.astype(np.uint8), tmp_path / "m.nii", 2)
    written = nibabel.load(tmp_path / "m.nii")
    np.testing.assert_array_equal(written.get_fdata(), turned.get_fdata() > 50)
    np.testing.assert_allclose(written.affine, turned.affine)


def test_an_oblique_file_takes_the_closest_orientation():
    """Catches axes exchanged or dropped at an angle."""
    angle = np.deg2rad(17)
    turn = [
        [np.cos(angle), -np.sin(angle), 0],
        [np.sin(angle), np.cos(angle), 0],
        [0, 0, 1],
    ]
    affine = np.eye(4)
    sides = np.diag([-1.25, 1.25, 4.0])
    affine[:3, :3] = np.array(turn) @ sides
    orientation = orientation_of(affine)
    assert orientation.code == "LAS"
    voxels = np.random.default_rng(0).random((3, 4, 5))
    turned = orientation.to_scan(voxels)
    np.testing.assert_array_equal(orientation.to_file(turned), voxels)


# ------------------------------------------------------------------ voxels
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused_or_padding(value, tmp_path):
    """Catches NaN that trains, and a message without the number and the place."""
    folder = volumes(tmp_path)
    image = volume(0)[0].astype(np.float32)
    image[:2] = value
    save(folder / "images" / "v0.nii.gz", image)
    assert "v0.nii.gz: image holds NaN or infinity in 200 of 2400 voxels" in problems(folder)
    case = cases(folder, nan="padding")["v0"]
    assert np.isfinite(case.image).all()
    assert (case.label[:, :, -2:] == 255).all()  # x = 0 and 1, which lie to the right
    assert (case.label[:, :, :-2] != 255).all()
    with pytest.raises(UserError, match="in 200 of 2400 voxels.*--nan padding"):
        read_scan(folder / "images" / "v0.nii.gz", "grey")


def test_complex_and_coloured_voxels_are_one_line(tmp_path):
    """Catches the real part in silence, and a traceback."""
    image, label = volume(0)
    for name, voxels in (
        ("complex", image.astype(np.complex64)),
        ("colour", np.zeros(image.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])),
    ):
        save(tmp_path / name / "images" / "v.nii.gz", voxels)
        save(tmp_path / name / "labels" / "v.nii.gz", label)
    assert "v.nii.gz: holds complex64 voxels" in problems(tmp_path / "complex")
    assert "v.nii.gz: holds colours (RGB voxels)" in problems(tmp_path / "colour")


def test_types_and_scales_of_a_set_may_differ(tmp_path):
    """Catches a set of uint8 and float32 that is refused, and numbers that change in the store."""
    folder = volumes(tmp_path / "set", 4)
    images = {}
    for i, kind in enumerate((np.uint8, np.int16, np.uint16, np.float32)):
        image, _ = volume(i)
        positive = np.abs(image).astype(kind)
        save(folder / "images" / f"v{i}.nii.gz", positive)
        images[f"v{i}"] = positive
    info = importing.import_set(
        "folder", folder, "own", tmp_path / "root", progress=False, allow_near_duplicates=True
    )
    assert info.dtype == "mixed"
    stored = store.read_split("own", "train", tmp_path / "root")
    for case in stored + store.read_split("own", "val", tmp_path / "root"):
        file = images[case.name]
        assert case.image.dtype == file.dtype
        turned = file.transpose(2, 1, 0)[:, ::-1, ::-1]
        np.testing.assert_array_equal(case.image[..., 0], turned)
        assert case.affine.shape == (4, 4)
        assert case.orientation == "RAS"


def test_channels_are_the_fourth_axis_or_files_of_their_own(tmp_path):
    """Catches channels taken for scans, in another order, or for time."""
    for i in range(3):
        image, label = volume(i)
        both = np.stack([image, 2 * image], -1)
        save(tmp_path / "one" / "images" / f"v{i}.nii.gz", both)
        for c in range(2):
            save(
                tmp_path / "two" / "images" / f"v{i}_000{c}.nii.gz",
                both[..., c],
            )
        for name in ("one", "two"):
            save(tmp_path / name / "labels" / f"v{i}.nii.gz", label)
    one = cases(tmp_path / "one")
    two = cases(tmp_path / "two")
    for name, case in one.items():
        assert case.image.shape == (5, 20, 24, 2)
        np.testing.assert_array_equal(case.image, two[name].image)
        first, second = np.moveaxis(case.image, -1, 0)
        np.testing.assert_array_equal(second, 2 * first)


# ------------------------------------------------------------------ names and damage
def test_the_content_says_whether_a_file_is_compressed(tmp_path):
    """Catches a traceback for a misnamed file, and damage that nobody compared the checksum for."""
    folder = volumes(tmp_path, 6)
    images = folder / "images"
    plain = gzip.decompress((images / "v0.nii.gz").read_bytes())
    (images / "v0.nii.gz").write_bytes(plain)
    (images / "v1.nii.gz").rename(images / "v1.nii")
    whole = gzip.compress(plain)
    (images / "v2.nii.gz").write_bytes(whole[: len(whole) // 2])
    (images / "v3.nii.gz").write_bytes(plain[:-1000])
    flipped = bytearray(gzip.compress(plain, compresslevel=0))
    flipped[2000] ^= 0xFF
    (images / "v4.nii.gz").write_bytes(bytes(flipped))
    lines = problems(folder)
    for word in ("v2.nii.gz: is damaged", "v3.nii.gz: holds 3800", "v4.nii.gz: is damaged (CRC"):
        assert word in lines
    assert "v0" not in lines.replace("v0.nii.gz)", "")
    assert "v1.nii:" not in lines


def test_names_of_all_sorts(tmp_path):
    """Catches .Nii that is not found, AppleDouble files, and names in two forms of Unicode."""
    folder = pictures(tmp_path / "pictures")
    image, label = picture(9)
    composed = unicodedata.normalize("NFC", "Müller.png")
    decomposed = unicodedata.normalize("NFD", "Müller.png")
    write_png(folder / "images" / composed, image)
    write_png(folder / "labels" / decomposed, label)
    (folder / "images" / "._p0.png").write_bytes(b"\0\5\x16\7")
    assert problems(folder) == ""
    assert cases(folder)["Müller"].label is not None
    folder = volumes(tmp_path / "volumes")
    for kind in ("images", "labels"):
        content = gzip.decompress((folder / kind / "v0.nii.gz").read_bytes())
        (folder / kind / "sub-06_T1w.Nii").write_bytes(content)
        (folder / kind / "v0.nii.gz").unlink()
    assert "sub-06_T1w" in cases(folder)


def test_a_name_that_is_no_text_is_one_line(tmp_path):
    """Catches a traceback where a name has bytes of another encoding."""
    folder = pictures(tmp_path)
    latin = os.fsencode(folder / "images") + b"/M\xfcller.png"
    os.rename(folder / "images" / "p0.png", latin)
    assert "M\\xfcller.png: its name is no UTF-8 text" in problems(folder)


# ------------------------------------------------------------------ subjects.csv and splits
def test_pixel_sizes_from_the_table(tmp_path):
    """Catches pictures whose distances stay in pixels, and a size that some lack."""
    folder = pictures(tmp_path)
    table = folder / "subjects.csv"
    rows = [f"p{i},s{i},{size}" for i, size in enumerate(("0.5", "0.5", "0.25x0.5", "1"))]
    table.write_text("name,subject,spacing\n" + "\n".join(rows))
    assert read(folder).unit == "mm"
    assert cases(folder)["p0"].spacing == (0.5, 0.5)
    assert cases(folder)["p2"].spacing == (0.25, 0.5)
    table.write_text("name,subject,spacing\n" + "\n".join(rows).replace(",1", ","))
    assert "p3 has no spacing, others have one" in problems(folder)
    table.write_text("name,subject,spacing\n" + "\n".join(rows).replace("0.25x", "wide"))
    assert "p2 has spacing 'wide0.5'" in problems(folder)


@pytest.mark.parametrize("column", ["Subject ID", "splits", "Group", "spacing_mm"])
def test_a_column_with_nearly_a_known_name_is_refused(column, tmp_path):
    """Catches a split that is stored as a fact of the subjects and ignored."""
    folder = pictures(tmp_path)
    rows = "".join(f"p{i},s{i},x\n" for i in range(4))
    (folder / "subjects.csv").write_text(f"name,subject,{column}\n{rows}")
    assert f"has a column {column!r}" in problems(folder)
    (folder / "subjects.csv").write_text(f"name,subject,site\n{rows}")
    assert problems(folder) == ""


def test_a_set_may_be_all_training(tmp_path):
    """Catches splits drawn from images that are meant for training alone."""
    folder = pictures(tmp_path / "set")
    info = importing.import_set(
        "folder", folder, "own", tmp_path / "root", progress=False, splits="train"
    )
    assert {split: count["records"] for split, count in info.counts.items()} == {"train": 4}


def test_a_path_that_the_locale_cannot_say(tmp_path):
    """Catches a traceback for umlauts in a path where the locale is C."""
    folder = pictures(tmp_path / "path with spaces & ümläut")
    argv = ["data", "import", "--format=folder", f"--source={folder}", "--name=own"]
    command = [sys.executable, "-m", "semiseg.cli.main", *argv, f"--root={tmp_path / 'root'}"]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    card = (tmp_path / "root" / "own" / "card.md").read_text(encoding="utf-8")
    assert "ümläut" in card
