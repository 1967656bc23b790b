"""NRRD and MetaImage in and out, and masks of pictures whose format loses numbers."""

import builtins
import dataclasses

import numpy as np
import pytest
from data_samples import picture, write_png
from layouts import volume
from PIL import Image

import semiseg
from semiseg.cli.predict import main
from semiseg.data import images, importing, picture_files, store
from semiseg.data.input_scan import read_scan
from semiseg.data.orientation import orientation_of
from semiseg.errors import UserError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SPACING = (0.75, 1.25, 4.0)
ORIGIN = (11.0, -7.0, 3.0)
DIRECTIONS = {
    "axial": np.eye(3),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "tilted": np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]),
}


def write_itk(path, voxels, directions=DIRECTIONS["axial"]):
    """Voxels ``(X, Y, Z)`` or ``(X, Y, Z, C)``, with the geometry of this file in LPS."""
    sitk = pytest.importorskip("SimpleITK")
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = (2, 1, 0, *range(3, voxels.ndim))
    image = sitk.GetImageFromArray(voxels.transpose(axes), isVector=voxels.ndim == 4)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(directions.ravel())
    sitk.WriteImage(image, str(path))


def affine_of(directions):
    """Index (x, y, z, 1) to RAS mm, written out by hand."""
    affine = np.eye(4)
    affine[:3, :3] = directions * SPACING
    affine[:3, 3] = ORIGIN
    return LPS @ affine


# ------------------------------------------------------------------ NRRD and MetaImage
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("plane", DIRECTIONS)
def test_geometry_is_that_of_the_file(suffix, plane, tmp_path):
    """Catches LPS that is taken for RAS, and spacing in the order of NumPy's axes."""
    voxels, _ = volume(0)
    path = tmp_path / f"p0{suffix}"
    write_itk(path, voxels, DIRECTIONS[plane])
    header = images.read_header(path)
    assert np.allclose(header.grid.affine, affine_of(DIRECTIONS[plane]))
    assert np.array_equal(images.read_voxels(path)[..., 0], voxels)
    pixels = images.read_pixels([path])
    turn = orientation_of(affine_of(DIRECTIONS[plane]))
    assert np.array_equal(pixels.image[..., 0], turn.to_scan(voxels))
    assert pixels.image.dtype == np.int16


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_mask_lies_on_its_scan(suffix, tmp_path):
    """Catches a mask in the orientation of the store, or with another origin or direction."""
    sitk = pytest.importorskip("SimpleITK")
    voxels, label = volume(0)
    path = tmp_path / f"p0{suffix}"
    write_itk(path, voxels, DIRECTIONS["tilted"])
    scan = read_scan(path, "grey")
    turn = orientation_of(affine_of(DIRECTIONS["tilted"]))
    turned = np.ascontiguousarray(turn.to_scan(label))
    scan.write_mask(turned, tmp_path / f"mask{suffix}", 3)
    first = sitk.ReadImage(str(path))
    mask = sitk.ReadImage(str(tmp_path / f"mask{suffix}"))
    assert np.array_equal(sitk.GetArrayFromImage(mask), label.transpose(2, 1, 0))
    assert mask.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    for read in ("GetOrigin", "GetSpacing", "GetDirection"):
        of_mask = getattr(mask, read)()
        of_scan = getattr(first, read)()
        assert np.allclose(of_mask, of_scan), read


def test_a_set_of_nrrd_files(tmp_path):
    """Catches channels that become slices, and a label that is read in another orientation."""
    for i in range(5):
        voxels, label = volume(i, 2)
        write_itk(
            tmp_path / "set" / "images" / f"p{i}.nrrd",
            voxels,
            DIRECTIONS["coronal"],
        )
        write_itk(
            tmp_path / "set" / "labels" / f"p{i}.nrrd",
            label,
            DIRECTIONS["coronal"],
        )
    root = tmp_path / "root"
    info = importing.import_set("folder", tmp_path / "set", "own", root, progress=False)
    assert (info.channels, info.unit) == (2, "mm")
    for case in store.read_split("own", "train", root):
        voxels, label = volume(int(case.name[1:]), 2)
        turn = orientation_of(affine_of(DIRECTIONS["coronal"]), "coronal")
        assert np.array_equal(case.image, turn.to_scan(voxels))
        assert np.array_equal(case.label, turn.to_scan(label))
        assert np.allclose(case.spacing, (4.0, 1.25, 0.75))


def test_without_simple_itk_the_extra_is_named(tmp_path, monkeypatch):
    """Catches an ImportError, and an extra that does not bring it."""
    voxels, _ = volume(0)
    path = tmp_path / "p0.nrrd"
    write_itk(path, voxels)
    whole = builtins.__import__

    def without(name, *arguments, **options):
        if name == "SimpleITK":
            raise ImportError(name)
        return whole(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'semiseg\[dicom\]'"):
        read_scan(path, "grey")


# ------------------------------------------------------------------ masks of pictures
@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".JPG", ".bmp"])
def test_masks_keep_their_numbers(suffix, tmp_path):
    """Catches classes that JPEG blurs, and masks in a format that few programs read."""
    image, label = picture(0, 32)
    Image.fromarray(image).save(tmp_path / f"p0{suffix}")
    scan = read_scan(tmp_path / f"p0{suffix}", "grey")
    (tmp_path / "masks").mkdir()
    scan.write_mask(label, tmp_path / "masks" / f"p0{suffix}", 3)
    (mask,) = (tmp_path / "masks").iterdir()
    assert mask.name == "p0.png"
    assert np.array_equal(np.asarray(Image.open(mask)), label)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_formats_without_losses_stay(suffix, tmp_path):
    """Catches a PNG in place of a TIFF."""
    image, label = picture(0)
    Image.fromarray(image).save(tmp_path / f"p0{suffix}")
    scan = read_scan(tmp_path / f"p0{suffix}", "grey")
    (tmp_path / "masks").mkdir()
    scan.write_mask(label, tmp_path / "masks" / f"p0{suffix}", 3)
    mask = Image.open(tmp_path / "masks" / f"p0{suffix}")
    assert np.array_equal(np.asarray(mask), label)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("stated", [{"dpi": (200, 100)}, {"x": 3.0, "y": 5.0}, {}])
def test_a_tiff_keeps_its_resolution(stated, tmp_path):
    """Catches a mask without the size of its pixels, and a tag with two numbers for one."""
    image, label = picture(0)
    if "x" in stated:
        stated = {"x_resolution": 3.0, "y_resolution": 5.0, "resolution_unit": 1}
    Image.fromarray(image).save(tmp_path / "p0.tif", **stated)
    scan = read_scan(tmp_path / "p0.tif", "grey")
    (tmp_path / "masks").mkdir()
    scan.write_mask(label, tmp_path / "masks" / "p0.tif", 3)
    with Image.open(tmp_path / "p0.tif") as first, Image.open(tmp_path / "masks/p0.tif") as mask:
        key = "dpi" if "dpi" in first.info else "resolution"
        assert mask.info[key] == first.info[key]


def test_a_run_segments_jpeg(tiny, tmp_path, capsys):
    """Catches a command that names a file which it does not write."""
    run = semiseg.run(
        dataclasses.replace(tiny, steps=2),
        tmp_path / "run",
        progress=False,
    )
    write_png(tmp_path / "in" / "p0.png", picture(0, 32)[0])
    with Image.open(tmp_path / "in" / "p0.png") as image:
        image.save(tmp_path / "in" / "p1.jpg")
    target = tmp_path / "masks"
    words = ["--input", str(tmp_path / "in"), "--output", str(target)]
    assert main([str(run.path), *words]) == 0
    assert sorted(path.name for path in target.iterdir()) == [".origin.json", "p0.png", "p1.png"]
    assert str(target / "p1.png") in capsys.readouterr().out
    assert picture_files.mask_path(target / "p1.jpg").exists()
