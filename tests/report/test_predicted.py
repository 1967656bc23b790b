"""Overlays of ``semiseg predict``: which slices they show, their outlines, and the text that says
what the colours mean.
"""

from pathlib import Path

import matplotlib as mpl
import nibabel
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import semiseg
from semiseg.cli.main import main
from semiseg.data.grey_values import Limits
from semiseg.report.lettering import shortened
from semiseg.report.predicted import fullest, outlined, predicted_picture, predicted_slices

ORANGE = (0xFF, 0x9F, 0x1C)
CYAN = (0x2E, 0xC4, 0xF1)
BLACK = np.array([-100.0])
WHITE = np.array([100.0])
LIMITS = Limits(BLACK, WHITE)
CLASSES = (
    "background",
    "anterior",
    "Übergangszone α",
)


def font_of(size):
    file = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size)


def says(picture, text, size):
    """Whether a text of a size is written somewhere in a picture ``(H, W, 3)``."""
    font = font_of(size)
    width = round(font.getlength(text)) + 2
    canvas = Image.new("L", (width, 2 * size), 16)
    draw = ImageDraw.Draw(canvas)
    draw.text((1, size), text, fill=240, font=font, anchor="lm")
    pixels = np.asarray(canvas)
    rows = np.flatnonzero((pixels != 16).any(1))
    wanted = pixels[rows[0] : rows[-1] + 1]
    red = picture[..., 0]
    windows = np.lib.stride_tricks.sliding_window_view(red, wanted.shape)
    ink = np.argwhere(wanted > 200)
    step = max(1, len(wanted) // 4)
    fits = np.ones(windows.shape[:2], bool)
    for row, column in ink[::step]:
        fits &= windows[..., row, column] == wanted[row, column]
    for place in np.argwhere(fits):
        if (windows[tuple(place)] == wanted).all():
            return True
    return False


def has(picture, colour):
    """Whether a pixel of a picture has a colour."""
    same = picture == colour
    return same.all(-1).any()


def volume_and_mask():
    mask = np.zeros((48, 8, 8), np.uint8)
    counts = {5: 9, 6: 8, 30: 20, 40: 10}
    for place, count in counts.items():
        mask[place].flat[:count] = 1
    image = np.full((48, 8, 8, 1), 100, np.int16)
    return image, mask


def test_overlays_show_the_fullest_slices():
    """Catches empty slices, neighbours that look alike, and slices out of order."""
    image, mask = volume_and_mask()
    assert fullest(mask) == [5, 30, 40]
    assert fullest(np.zeros((3, 4, 4), np.uint8)) == [0]
    shown = predicted_slices(image, mask, LIMITS)
    assert shown.places == [5, 30, 40]
    assert shown.values == [1]
    assert len(shown.pictures) == 3
    for rgb in shown.pictures:
        assert rgb.shape == (384, 384, 3)
        assert rgb[-1, -1].min() == 255


def test_outlines_are_seen_on_white_and_on_black():
    """Catches a line of one pixel, white on white, and a picture without a dark border."""
    mask = np.zeros((400, 500), np.uint8)
    mask[100:300, 100:300] = 1
    white = outlined(np.full(mask.shape, 255, np.uint8), mask)
    black = outlined(np.zeros(mask.shape, np.uint8), mask)
    colour = list(ORANGE)
    row = white[200, 90:110].tolist()
    start = row.index(colour)
    before = row[start - 1]
    behind = row[start + 2]
    assert row[0] == [255, 255, 255]
    assert row.count(colour) == 2
    assert max(before) < 40
    assert max(behind) < 40
    row = black[200, 90:110].tolist()
    assert row.count(colour) == 2


# ------------------------------------------------------------------ text
def test_a_volume_s_overlay_names_scan_slices_and_classes():
    """Catches slices counted from 0 or without their volume's number, a legend of classes that no
    slice shows, a colour of another class, and pixels under the text.
    """
    image, mask = volume_and_mask()
    picture = predicted_picture("a/p7.nii.gz", image, mask, LIMITS, CLASSES)
    size = 3 * 384 // 44
    for text in (
        "a/p7.nii.gz",
        "slice 6 of 48",
        "slice 31 of 48",
        "slice 41 of 48",
        "1 anterior",
    ):
        assert says(picture, text, size), text
    assert not says(picture, "slice 7 of 48", size)
    assert not says(picture, "2 Übergangszone α", size)
    legend = picture[-2 * size :]
    assert has(legend, ORANGE)
    assert not has(legend, CYAN)
    shown = predicted_slices(image, mask, LIMITS)
    gap = size // 2
    top = gap + round(1.5 * size)
    left = gap
    for rgb in shown.pictures:
        part = picture[top : top + 384, left : left + 384]
        np.testing.assert_array_equal(part, rgb)
        left += 384 + gap


def test_a_picture_s_overlay_has_each_class_and_no_slices():
    """Catches a legend without the number of a mask's class, and letters that the font lacks."""
    mask = np.zeros((100, 100), np.uint8)
    mask[10:20, 10:20] = 1
    mask[50:60, 50:60] = 2
    image = np.zeros((100, 100, 1), np.int16)
    picture = predicted_picture("p7.png", image, mask, LIMITS, CLASSES)
    for text in (
        "p7.png",
        "1 anterior",
        "2 Übergangszone α",
    ):
        assert says(picture, text, 15), text
    assert not says(picture, "slice", 15)
    nothing = np.zeros_like(mask)
    empty = predicted_picture("p7.png", image, nothing, LIMITS, CLASSES)
    assert says(empty, "nothing but background", 15)
    font = font_of(15)
    missing = bytes(font.getmask("\uffff"))
    for letter in "Üα…":
        assert bytes(font.getmask(letter)) != missing


@pytest.mark.parametrize(
    "sides",
    [
        (2000, 1500),
        (400, 400),
        (40, 8),
        (30, 1200),
    ],
)
def test_text_is_large_enough_to_read_where_the_picture_is_shown_small(sides):
    """Letters are 7 pixels high or more where the picture is 400 pixels wide. Catches text of a
    fixed size, which large scans make illegible.
    """
    image = np.full((*sides, 1), 100, np.int16)
    mask = np.ones(sides, np.uint8)
    picture = predicted_picture("p7.png", image, mask, LIMITS, CLASSES)
    rows = (picture[..., 0] > 120).any(1)
    start = int(rows.argmax())
    letters = int(rows[start:].argmin())
    width = picture.shape[1]
    assert letters * min(1, 400 / width) >= 7


def test_long_names_stay_in_the_picture():
    """Catches text that leaves the picture, captions of narrow slices on each other, and line
    breaks and bytes of a file's name that are no text.
    """
    font = font_of(15)
    long = shortened("hippocampus_" * 30 + "end.nii.gz", font, 200)
    assert font.getlength(long) <= 200
    assert long.startswith("hippo") and "…" in long and long.endswith("end.nii.gz")
    assert shortened("a\nb\udcff", font, 200) == "a b\\udcff"
    image = np.full((1500, 400, 30, 1), 100, np.int16)
    mask = np.zeros(image.shape[:-1], np.uint8)
    mask[[1000, 1200, 1400]] = 1
    classes = ("background", "x" * 300)
    picture = predicted_picture("p7\n.nii.gz", image, mask, LIMITS, classes)
    for text in (
        "slice 1001 of 1500",
        "slice 1201 of 1500",
        "slice 1401 of 1500",
    ):
        assert says(picture, text, 15), text
    assert (picture[:, -1] == 16).all()


def test_predict_writes_the_legend(tiny, tmp_path):
    """Catches overlays of the command without text, and scans of one name in two folders that
    cannot be told apart.
    """
    run = semiseg.run(tiny, tmp_path / "run", progress=False).path
    voxels = np.zeros((40, 36, 3), np.uint8)
    voxels[10:20, 10:20] = 200
    scan = nibabel.Nifti1Image(voxels, np.eye(4))
    source = tmp_path / "in"
    target = tmp_path / "out"
    for folder in ("a", "b"):
        place = source / folder
        place.mkdir(parents=True)
        nibabel.save(scan, place / "t2.nii.gz")
    words = [
        "predict",
        str(run),
        f"--input={source}",
        f"--output={target}",
        "--overlays",
    ]
    assert main(words) == 0
    for folder in ("a", "b"):
        file = target / folder / "t2_overlay.png"
        with Image.open(file) as opened:
            picture = np.asarray(opened)
        sizes = range(15, 40)
        assert any(says(picture, f"{folder}/t2.nii.gz", size) for size in sizes)
        assert any(says(picture, "slice 1 of 3", size) for size in sizes)
