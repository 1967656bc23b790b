"""Pictures and masks of people's bug reports: values are read as stored, or refused in one line."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from data_samples import picture, write_png
from hard_samples import cases, pictures, problems, read
from PIL import Image

from semiseg.data.picture_files import read_mask_picture, read_picture
from semiseg.errors import UserError


# ------------------------------------------------------------------ C: pictures
def raw_png(path, pixels, depth, colour):
    """A PNG of any bit depth and colour type (0 grey, 2 RGB), as other programs write it."""
    rows = []
    for row in pixels.reshape(len(pixels), -1):
        if depth == 16:
            rows.append(b"\0" + row.astype(">u2").tobytes())
        else:
            column = row.astype(np.uint8)[:, None]
            bits = np.unpackbits(column, axis=1)
            packed = np.packbits(bits[:, 8 - depth :])
            rows.append(b"\0" + packed.tobytes())

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        size = struct.pack(">I", len(data))
        return size + kind + data + struct.pack(">I", crc)

    height, width = pixels.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(rows))
    chunks = [
        chunk(b"IHDR", head),
        chunk(b"IDAT", data),
        chunk(b"IEND", b""),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_a_pixel_are_class_numbers(bits, tmp_path):
    """Catches labels that are stretched to 255."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2**bits, (9, 11))
    raw_png(tmp_path / "label.png", label, bits, 0)
    np.testing.assert_array_equal(read_mask_picture(tmp_path / "label.png"), label)


def test_a_png_of_more_pixels_than_it_can_hold_is_refused(tmp_path):
    """Catches gigabytes for a file of a hundred bytes whose header was changed."""
    path = tmp_path / "p.png"
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 7, 16_776_969)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    for reading in (read_picture, read_mask_picture):
        with pytest.raises(UserError, match="declares 117,438,783 bytes"):
            reading(path)


def test_deep_colours_keep_their_values(tmp_path):
    """Catches colours of 16 bits that are cut to 8."""
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 4096, (8, 6, 3)).astype(np.uint16)
    raw_png(tmp_path / "deep.png", deep, 16, 2)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    for name in ("deep.png", "deep.tif"):
        np.testing.assert_array_equal(read_picture(tmp_path / name), deep)


@pytest.mark.parametrize("tag", range(1, 9))
def test_an_orientation_tag_turns_nothing(tag, tmp_path):
    """Catches an image that is turned beside a mask that is not."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (6, 9), dtype=np.uint8)
    tags = [(274, "H", 1, tag, True)]
    tifffile.imwrite(tmp_path / "turned.tif", pixels, extratags=tags)
    image = read_picture(tmp_path / "turned.tif")
    np.testing.assert_array_equal(image[..., 0], pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("turn", [1, 3, 6])
def test_a_photograph_that_is_shown_turned_is_refused(turn, suffix, tmp_path):
    """Catches a mask that lies across its photograph: square, nothing else tells."""
    path = tmp_path / f"photo{suffix}"
    exif = Image.Exif()
    exif[274] = turn
    image, _ = picture(0)
    Image.fromarray(image).save(path, exif=exif)
    if turn == 1:
        assert read_picture(path).shape[:2] == image.shape[:2]
        return
    with pytest.raises(UserError, match=rf"photo\{suffix}.*EXIF.*exiftran"):
        read_picture(path)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_other_pictures_are_read_and_masks_with_loss_refused(suffix, tmp_path):
    """Catches a folder of JPEG images that is called empty, and a mask with blurred numbers."""
    folder = pictures(tmp_path, suffix)
    assert problems(folder) == ""
    assert cases(folder)["p0"].image.shape == (16, 16, 1)
    (folder / "labels" / "p0.png").unlink()
    Image.fromarray(picture(0)[1]).save(folder / "labels" / "p0.jpg")
    assert "p0.jpg: is a mask saved with loss" in problems(folder)


def test_a_mask_that_went_through_jpeg_is_a_problem(tmp_path):
    """Catches 255 classes and "no problems found"."""
    folder = pictures(tmp_path)
    for i in range(4):
        Image.fromarray(255 * (picture(i)[1] > 0).astype(np.uint8)).save(tmp_path / "x.jpg")
        write_png(
            folder / "labels" / f"p{i}.png",
            np.asarray(Image.open(tmp_path / "x.jpg")),
        )
    (tmp_path / "x.jpg").unlink()
    assert "p0.png: holds" in problems(folder)
    assert "grey levels around 0 and 255" in problems(folder)


# ------------------------------------------------------------------ masks of a set
def test_0_and_255_are_decided_file_by_file(tmp_path):
    """Catches one white mask among masks of 0 and 1 whose lesion is ignored without a word."""
    folder = pictures(tmp_path)
    for i in range(4):
        write_png(
            folder / "labels" / f"p{i}.png",
            (picture(i)[1] > 0).astype(np.uint8),
        )
    white = 255 * (picture(0)[1] > 0).astype(np.uint8)
    write_png(folder / "labels" / "p0.png", white)
    np.testing.assert_array_equal(cases(folder)["p0"].label, white == 255)
    assert any("1 labels hold 0 and 255 alone" in note for note in read(folder).notes)
    write_png(
        folder / "labels" / "p1.png",
        3 * (picture(1)[1] > 0).astype(np.uint8),
    )
    assert "p0.png: holds 0 and 255 alone, other labels hold class numbers" in problems(folder)


def test_what_stands_out_in_labels_is_said(tmp_path):
    """Catches much ignored, empty labels and a class of one file that nobody hears of."""
    folder = pictures(tmp_path)
    label = np.full((16, 16), 255, np.uint8)
    label[:4] = 1
    write_png(folder / "labels" / "p0.png", label)
    write_png(
        folder / "labels" / "p1.png",
        np.zeros((16, 16), np.uint8),
    )
    label[:4] = 3
    write_png(
        folder / "labels" / "p2.png",
        np.where(label == 3, label, 0),
    )
    notes = "\n".join(read(folder).notes)
    assert "more than 50% of the pixels are ignored (255) in 1 of 4 labels (p0.png)" in notes
    assert "1 of 4 labels are background alone (p1.png)" in notes
    assert "label value 3 is in p2.png alone" in notes


def test_a_deep_tiff_with_an_odd_tag_is_refused_in_one_line(tmp_path):
    """Catches a traceback of tifffile: rows of a strip that are a fraction."""
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, np.zeros((8, 6, 3), np.uint16), photometric="rgb")
    content = bytearray(path.read_bytes())
    entry = content.index(struct.pack("<H", 278), 8)
    struct.pack_into("<H", content, entry + 2, 5)  # type: two numbers
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as it is stored"):
        read_picture(path)


def test_colours_in_no_order_are_refused(tmp_path):
    """Catches a TIFF whose colours two readers read in two ways."""
    path = tmp_path / "colour.tif"
    tifffile.imwrite(path, np.zeros((8, 6, 3), np.uint8), photometric="rgb", planarconfig="contig")
    content = bytearray(path.read_bytes())
    entry = content.index(struct.pack("<HH", 284, 3), 8)
    struct.pack_into("<H", content, entry + 8, 7)
    path.write_bytes(content)
    with pytest.raises(UserError, match="colours in the order 7"):
        read_picture(path)


def test_a_tiff_that_does_not_say_what_is_black_is_refused(tmp_path):
    """Catches class numbers that are turned over."""
    path = tmp_path / "label.tif"
    Image.fromarray(np.full((8, 6), 3, np.uint8)).save(path)
    assert (read_mask_picture(path) == 3).all()
    content = bytearray(path.read_bytes())
    entry = content.index(struct.pack("<HH", 262, 3), 8)
    struct.pack_into("<H", content, entry, 33000)
    path.write_bytes(content)
    with pytest.raises(UserError, match="whether 0 is black or white"):
        read_mask_picture(path)


def test_pixels_within_the_header_are_refused(tmp_path):
    """Catches a damaged file whose letters are read as grey values."""
    path = tmp_path / "shifted.tif"
    tifffile.imwrite(path, np.full((4, 5), 7, np.uint8), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["StripOffsets"].overwrite((0,))
    with pytest.raises(UserError, match="has pixels at byte 0, within its header"):
        read_picture(path)


def test_grey_values_are_not_read_as_bits(tmp_path):
    """Catches a damaged file whose bytes become eight pixels each."""
    path = tmp_path / "bits.tif"
    tifffile.imwrite(path, np.full((9, 7), 7, np.uint8), photometric="minisblack", metadata=None)
    content = bytearray(path.read_bytes())
    entry = content.index(struct.pack("<HH", 258, 3), 8)
    struct.pack_into("<H", content, entry + 2, 0)
    path.write_bytes(content)
    with pytest.raises(UserError, match="does not say how many bits a pixel has"):
        read_picture(path)
