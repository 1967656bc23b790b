"""Scans that a fuzzer damaged: each kind of damage that was read as other content, or ended in a
traceback, is one line.
"""

import gzip
import math
import struct
import zlib

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_samples import write_ct
from PIL import Image

from semiseg.data.dicom_input import read_input
from semiseg.data.input_scan import read_scan
from semiseg.errors import UserError

SROW_Y1 = 300
"""Where a NIfTI header has the affine's place in its second row and second column."""
GREY = np.arange(63, dtype=np.uint8).reshape(9, 7)


@pytest.mark.parametrize("side", [1e-30, 1e30, math.nan, math.inf])
def test_voxels_of_an_impossible_size_are_refused(side, tmp_path):
    """Catches distances that are no numbers."""
    content = bytearray(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)).to_bytes())
    struct.pack_into("<f", content, SROW_Y1, side)
    (tmp_path / "p7.nii").write_bytes(content)
    with pytest.raises(UserError, match=r"p7\.nii.*(sides of|affine with NaN)"):
        read_scan(tmp_path / "p7.nii", "auto")


UNKNOWN_TO_ITK = {
    "blank": "a line that is no field",
    "line": "does not say how many bytes its compressed voxels have",
}
"""What is said of a header whose blank or end of a line ITK does not know."""


@pytest.mark.parametrize("how", ["cut", "changed", "size", "blank", "line"])
@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
def test_compressed_voxels_that_are_damaged_are_refused(suffix, how, tmp_path):
    """Catches what ITK's memory held before, as voxels."""
    path = tmp_path / f"p7{suffix}"
    voxels = np.random.default_rng(0).integers(0, 999, (3, 4, 5)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path), True)
    assert sorted(read_scan(path, "auto").image.ravel()) == sorted(voxels.ravel())
    part = path
    if suffix == ".mhd":
        part = tmp_path / "p7.zraw"
    content = part.read_bytes()
    if how == "size" and b"CompressedDataSize" in content:
        content = content.replace(b"DataSize = ", b"DataSize = 1\nComment = ")
    elif how == "blank" and b"CompressedDataSize" in content:  # a blank that ITK does not know
        content = content.replace(b"DataSize = ", b"DataSize\xa0= ")
    elif how == "line" and b"CompressedDataSize" in content:  # an end of a line neither
        content = content.replace(b"\nCompressedDataSize", b"\x0bCompressedDataSize")
    elif how == "changed":
        content = content[:-12] + bytes(8) + content[-4:]
    else:
        content = content[:-20]
    part.write_bytes(content)
    words = "is damaged: its compressed voxels"
    if suffix == ".mha":
        words = UNKNOWN_TO_ITK.get(how, words)
    with pytest.raises(UserError, match=words):
        read_scan(path, "auto")


def test_a_png_without_its_checksum_is_refused(tmp_path):
    path = tmp_path / "p7.png"
    Image.fromarray(GREY).save(path)
    content = path.read_bytes()
    start = content.index(b"IDAT")
    pixels = zlib.decompress(content[start + 4 : content.index(b"IEND") - 8])
    other = zlib.compress(pixels[:30] + b"\1" + pixels[31:])
    length = struct.pack(">I", len(other))
    checksum = struct.pack(">I", zlib.crc32(b"IDAT" + other) ^ 1)
    head = content[: start - 4]
    path.write_bytes(head + length + b"IDAT" + other + checksum + content[-12:])
    with pytest.raises(UserError, match="checksum"):
        read_scan(path, "auto")


@pytest.mark.parametrize("lost", [1, 4, 6])
def test_a_png_whose_pixels_do_not_end_is_refused(lost, tmp_path):
    """Catches rows that Pillow makes of what follows them, in a chunk with the right checksum."""
    path = tmp_path / "p7.png"
    Image.fromarray(GREY).save(path)
    content = path.read_bytes()
    start = content.index(b"IDAT")
    pixels = content[start + 4 : content.index(b"IEND") - 8 - lost]
    head = content[: start - 4]
    checksum = struct.pack(">I", zlib.crc32(b"IDAT" + pixels))
    chunk = struct.pack(">I", len(pixels)) + b"IDAT" + pixels + checksum
    path.write_bytes(head + chunk + content[-12:])
    with pytest.raises(UserError, match="compressed pixels do not end"):
        read_scan(path, "auto")


@pytest.mark.parametrize("tag, value", [(257, 190), (284, 2)])
def test_a_tiff_that_lacks_strips_is_refused(tag, value, tmp_path):
    """Catches rows that are black because nobody wrote them, and planes taken for pixels."""
    path = tmp_path / "p7.tif"
    Image.fromarray(np.stack([GREY] * 3, -1)).save(path)
    content = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", content, 4)[0]
    for entry in range(struct.unpack_from("<H", content, start)[0]):
        place = start + 2 + 12 * entry
        if struct.unpack_from("<H", content, place)[0] == tag:
            struct.pack_into("<I", content, place + 8, value)
    path.write_bytes(content)
    with pytest.raises(UserError, match="has less"):
        read_scan(path, "auto")


def test_a_tiff_whose_tag_has_no_value_is_refused(tmp_path):
    """Catches floats that are read as the integers of their bits."""
    path = tmp_path / "p7.tif"
    Image.fromarray(GREY.astype(np.float32)).save(path)
    content = path.read_bytes()
    real = struct.pack("<HHI", 339, 3, 1)
    assert content.count(real) == 1
    path.write_bytes(content.replace(real, struct.pack("<HHI", 339, 3, 0)))
    with pytest.raises(UserError, match="damaged tag"):
        read_scan(path, "auto")


def test_a_metaimage_with_a_line_that_is_no_field_is_refused(tmp_path):
    """Catches voxels that are what ITK's memory held before."""
    path = tmp_path / "p7.mha"
    voxels = np.random.default_rng(0).integers(0, 999, (3, 4, 5)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CompressedData = ", b"CompressedData \n "))
    with pytest.raises(UserError, match="a line that is no field in its header: 'CompressedData '"):
        read_scan(path, "auto")


def test_a_tiff_with_an_unknown_predictor_is_refused(tmp_path):
    path = tmp_path / "p7.tif"
    Image.fromarray(GREY).save(path, compression="tiff_lzw", tiffinfo={317: 2})
    content = path.read_bytes()
    assert content.count(struct.pack("<HHII", 317, 3, 1, 2)) == 1
    known, other = (struct.pack("<HHII", 317, 3, 1, value) for value in (2, 5))
    path.write_bytes(content.replace(known, other))
    with pytest.raises(UserError, match="predictor 5"):
        read_scan(path, "auto")


@pytest.mark.parametrize("colours", [6, 8])
def test_a_tiff_of_other_colours_is_refused(colours, tmp_path):
    """Catches numbers that Pillow converts to red, green and blue."""
    path = tmp_path / "p7.tif"
    Image.fromarray(np.stack([GREY] * 3, -1)).save(path)
    content = path.read_bytes()
    rgb = struct.pack("<HHII", 262, 3, 1, 2)
    assert content.count(rgb) == 1
    path.write_bytes(content.replace(rgb, struct.pack("<HHII", 262, 3, 1, colours)))
    with pytest.raises(UserError, match="save it as RGB"):
        read_scan(path, "auto")


def test_a_picture_with_nan_is_refused(tmp_path):
    path = tmp_path / "p7.tif"
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(path)
    with pytest.raises(UserError, match="NaN"):
        read_scan(path, "auto")


ELEMENTS = {
    "number": (b"(\0S\x10DS\x04\x001.0 ", b"(\0S\x10DS\x04\x00x.0 "),
    "rescaling": (b"(\0S\x10DS\x04\x001.0 ", b"(\0S\x10DS\x06\x001e+200"),
    "missing": (b"(\0\x11\0US", b"(\0\x12\0US"),
    "kind": (b"(\0\x02\0US", b"(\0\x02\0DS"),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_an_element_of_the_wrong_kind_is_one_line(name, tmp_path, capfd):
    """Catches tracebacks and warnings of pydicom, which converts a value when it is used."""
    write_ct(tmp_path / "ct")
    path = min((tmp_path / "ct").iterdir())
    content = path.read_bytes()
    old, new = ELEMENTS[name]
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(UserError, match=path.name):
        read_input(tmp_path / "ct")
    assert not capfd.readouterr().err


def test_a_whole_gzip_is_still_read(tmp_path):
    image = nibabel.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4))
    (tmp_path / "p7.nii.gz").write_bytes(gzip.compress(image.to_bytes()))
    assert read_scan(tmp_path / "p7.nii.gz", "auto").image.all()
