"""What a data set's scans are called where it is described: volumes of voxels in slices, or images
of pixels, in the singular where there is one.
"""

import re

import nibabel
import numpy as np
import pytest
from data_samples import picture
from PIL import Image

from semiseg.cli.main import main
from semiseg.data import fold_table, guard, importing
from semiseg.data.data_card import card
from semiseg.data.pixel_counts import PixelCounts
from semiseg.types import Case


def bring(folder, scans, root, **options):
    """Import scans, a subject each, to train on: ``(image, label)`` pictures, or volumes."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for i, scan in enumerate(scans):
        for kind, pixels in zip(("images", "labels"), scan, strict=True):
            if pixels.ndim == 3:
                affine = np.diag([1.0, 1.0, 5.0, 1.0])
                nibabel.save(nibabel.Nifti1Image(pixels, affine), folder / kind / f"p{i}.nii.gz")
            else:
                Image.fromarray(pixels).save(folder / kind / f"p{i}.png")
    options = {"splits": "train", "regions": (), **options}
    region = options.pop("regions")
    return importing.import_set(
        "folder", folder, "own", root=root, progress=False, region=region, **options
    )


def volume(seed, slices=5):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 900, (20, 18, slices)).astype(np.int16)
    label = np.zeros(image.shape, np.uint8)
    label[4:9, 3:8, 1] = 1
    label[4:9, 3:8, 2] = 2
    return image, label


def flat(seed):
    image, mask = picture(seed, 32)
    return image, np.where(mask > 0, 1, 0).astype(np.uint8)


def described(folder, capsys):
    """The data card, and what ``data describe`` prints."""
    capsys.readouterr()
    assert main(["data", "describe", "own", "--root", str(folder.parent)]) == 0
    return (folder / "card.md").read_text(), capsys.readouterr().out


def test_one_volume_is_a_volume_of_voxels(tmp_path, capsys):
    """Catches "1 images of 1 subjects", and images and pixels where there are slices and voxels."""
    classes = ("background", "edema", "core")
    info = bring(
        tmp_path / "files",
        [volume(0)],
        tmp_path / "root",
        classes=",".join(classes),
        regions=["whole=edema,core"],
    )
    text, printed = described(info.folder, capsys)
    assert "1 volume (5 slices) of 1 subject, 1-channel int16;" in text
    assert "| split | subjects | with annotation | volumes | slices | size |" in text
    assert "| train | 1 | 1 | 1 | 5 | 5×18×20 |" in text
    assert "| class | train: voxels | train: slices that show it |" in text
    assert "train: voxels | train: share | train: slices that show it" in text
    assert not re.search(r"pixel|image(?!s are)", text.split("- **Source**")[0])
    assert "region     whole 2.78% (50 voxels), in 40% of slices" in printed
    assert re.search(r"^  voxels     background 97", printed, re.MULTILINE)
    assert re.search(r"^  slices     background 100%", printed, re.MULTILINE)
    assert "3D         spacing" in printed
    assert re.search(r"3D .*; 5×18×20 voxels in the median", printed)
    assert re.search(r"2D .*; 18×20 pixels in the median", printed)


def test_several_pictures_are_images_of_pixels(tmp_path, capsys):
    """Catches voxels and volumes among pictures, and a plural that is lost."""
    scans = [flat(i) for i in range(3)]
    info = bring(tmp_path / "files", scans, tmp_path / "root", classes="background,cell")
    text, printed = described(info.folder, capsys)
    assert "3 images of 3 subjects, 1-channel uint8;" in text
    assert "| split | subjects | with annotation | images | size |" in text
    assert "| train | 3 | 3 | 3 | 32×32 |" in text
    assert "| class | train: pixels | train: images that show it |" in text
    assert "volume" not in text and "voxel" not in text
    assert re.search(r"^  pixels     background", printed, re.MULTILINE)
    assert re.search(r"^  images     background", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"records": 1, "volumes": 1, "images": 1}, "1 image of 1 subject,"),
        ({"records": 12, "volumes": 2, "images": 12}, "12 slices of 2 volumes of 1 subject,"),
        ({"records": 1, "volumes": 1, "images": 1}, "1 volume (1 slice) of 1 subject,"),
    ],
)
def test_a_card_counts_what_is_stored(counts, words):
    """Catches slices that are stored one by one counted as volumes, and one slice as several."""
    axes = 2 if "image" in words else 3
    image = np.zeros((4, 4, 1), np.uint8)
    seen = PixelCounts()
    seen.add(Case("p1", "p1", image, image[..., 0], (1.0,) * axes, "p1"))
    facts = {
        "classes": ("background", "cell"),
        "regions": {},
        "counts": {"train": {**counts, "subjects": 1, "annotated": 1}},
        "channels": 1,
        "dtype": "uint8",
        "unit": "mm",
        "source": "x",
        "format": "folder",
        "license": "",
        "citation": "",
        "fingerprint": "f",
    }
    assert words in card("s", facts, {"train": seen}, "semiseg data import")


def test_groups_are_counted_from_the_smallest(tmp_path, capsys):
    """Catches "of 1 to 2 images" of groups that have two each, and images of slices."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "subjects.csv").write_text("name,subject,group\np0,p0,a\np1,p1,a\np2,p2,b\n")
    scans = [volume(i, slices=4) for i in range(3)]
    info = bring(folder, scans, tmp_path / "root", classes="background,edema,core")
    _, printed = described(info.folder, capsys)
    assert "groups     2, of 4 to 8 slices" in printed


def test_one_fold_one_subject_and_one_test_image_are_said_in_the_singular():
    """Catches a verb and a noun of several."""
    row = {
        "subjects": ["a"],
        "share": {"cell": 1.0},
        "sites": {},
    }
    facts = {
        "stated": True,
        "site_column": "",
        "folds": [row],
        "alike": [("a", "b", 0.95)] * (fold_table.MOST_ALIKE + 1),
    }
    lines = fold_table.fold_lines(facts)
    assert lines[0] == "1 fold of 1 annotated subject outside test, as the files state them"
    assert lines[1].startswith("fold 0: 1 subject; ")
    assert lines[-1] == "1 more pair of subjects looks alike"
    assert guard._test_words([19, 0, 0]) == "1 of 3 scans is of the test images (19 slices)"
