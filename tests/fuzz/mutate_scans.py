"""Changes of scan files by knowledge of their formats: headers, chunks, elements, checksums."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from random import Random

from fuzz.mutate_bytes import NUMBERS, REALS, any_bytes

NIFTI1 = {
    "sizeof_hdr": (0, "i"),
    "dim_info": (39, "b"),
    "dim0": (40, "h"),
    "dim1": (42, "h"),
    "dim2": (44, "h"),
    "dim3": (46, "h"),
    "dim4": (48, "h"),
    "dim5": (50, "h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim0": (76, "f"),
    "pixdim1": (80, "f"),
    "pixdim3": (88, "f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "b"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern_b": (256, "f"),
    "quatern_d": (264, "f"),
    "qoffset_x": (268, "f"),
    "srow_x0": (280, "f"),
    "srow_x3": (292, "f"),
    "srow_y1": (300, "f"),
    "srow_z2": (320, "f"),
    "magic": (344, "i"),
}
"""Field of a NIfTI-1 header → its place and type."""
NIFTI2 = {
    "sizeof_hdr": (0, "i"),
    "datatype": (12, "h"),
    "dim0": (16, "q"),
    "dim1": (24, "q"),
    "dim3": (40, "q"),
    "dim4": (48, "q"),
    "pixdim1": (112, "d"),
    "vox_offset": (168, "q"),
    "scl_slope": (176, "d"),
    "qform_code": (344, "i"),
    "sform_code": (348, "i"),
    "srow_x0": (400, "d"),
    "srow_z2": (480, "d"),
}
DATATYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304)
SMALL = (-32768, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 32767)


def nifti(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change a field of the header, in the file or in what it compresses, or any bytes."""
    if rng.random() < 0.3:
        return any_bytes(content, rng)
    if content[:2] == b"\x1f\x8b":
        if rng.random() < 0.2:
            return _gzip(content, rng)
        inner, words = nifti(gzip.decompress(content), rng)
        return gzip.compress(inner, 1, mtime=0), f"inside: {words}"
    fields = NIFTI1
    if len(content) > 8 and content[4:8] == b"n+2\0":
        fields = NIFTI2
    changed = bytearray(content)
    words = []
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(sorted(fields))
        place, code = fields[name]
        value = _value(name, code, rng)
        changed[place : place + struct.calcsize(code)] = struct.pack("<" + code, value)
        words.append(f"{name} {value}")
    return bytes(changed), ", ".join(words)


def _value(name: str, code: str, rng: Random) -> float:
    if code in "fd":
        value = rng.choice((*REALS, 352.0, 4.0, -2.5, 1e9))
        return 1e38 if code == "f" and 1e38 < value < 1e301 else value
    if name == "datatype":
        return rng.choice(DATATYPES)
    if code == "b":
        return rng.randrange(-128, 128)
    limit = 1 << (8 * struct.calcsize(code) - 1)
    numbers = [value for value in (*SMALL, *NUMBERS, 1 << 40, 1 << 62) if -limit <= value < limit]
    return rng.choice(numbers)


def _gzip(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change the checksum, the length or the parts of a gzip file."""
    inner = gzip.decompress(content)
    changed = bytearray(content)
    how = rng.choice(("checksum", "length", "parts", "flags", "after", "inner"))
    if how == "checksum":
        changed[-8] ^= 1
    elif how == "length":
        changed[-4:] = struct.pack("<I", rng.choice((0, 1, 2**32 - 1)))
    elif how == "parts":
        changed = bytearray(gzip.compress(inner[:100]) + gzip.compress(inner[100:]))
    elif how == "flags":
        changed[3] = rng.randrange(256)
    elif how == "after":
        changed += rng.randbytes(20)
    else:
        place = rng.randrange(len(inner))
        inner = inner[:place] + bytes([inner[place] ^ 16]) + inner[place + 1 :]
        changed = bytearray(gzip.compress(inner)[:-8] + content[-8:])
    return bytes(changed), f"gzip {how}"


# ------------------------------------------------------------------ headers of text
WORDS = (
    "0",
    "-1",
    "1",
    "nan",
    "inf",
    "1e308",
    "99999999999999999999",
    "4294967296",
    "",
    "3 3 3",
    "0 0 0",
    "(1,0,0)",
    "LIST",
    "LOCAL",
    "LIST 3D",
    "../../secret.raw",
    "/etc/passwd",
    "x%d.raw 1 9999999 1",
    "MET_DOUBLE",
    "MET_CHAR_ARRAY",
    "double",
    "block",
    "gzip",
    "bzip2",
    "raw",
    "hex",
    "big",
    "True",
    "False",
    "None",
)


def text_header(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change a field of a NRRD's or MetaImage's header, or any bytes."""
    if rng.random() < 0.3:
        return any_bytes(content, rng)
    fields = list(re.finditer(rb"(?m)^([A-Za-z][\w ]*?)( ?[:=] ?)(.*?)\r?$", content[:1500]))
    if not fields:
        return any_bytes(content, rng)
    field = rng.choice(fields)
    name = field[1].decode()
    how = rng.choice(("value", "value", "value", "number", "removed", "doubled", "renamed"))
    value = rng.choice(WORDS).encode()
    line = field[0]
    if how == "value":
        line = field[1] + field[2] + value
    elif how == "number":
        numbers = field[3].split()
        if numbers:
            numbers[rng.randrange(len(numbers))] = value
        line = field[1] + field[2] + b" ".join(numbers)
    elif how == "removed":
        line = b""
    elif how == "doubled":
        line = line + b"\n" + field[1] + field[2] + value
    else:
        line = rng.choice(fields)[1] + field[2] + field[3]
    changed = content[: field.start()] + line + content[field.end() :]
    return changed, f"{name} {how} {line[:60]!r}"


# ------------------------------------------------------------------ pictures
def picture(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change a chunk of a PNG, an entry of a TIFF, a segment of a JPEG, or any bytes."""
    if rng.random() < 0.3:
        return any_bytes(content, rng)
    if content.startswith(b"\x89PNG"):
        return _png(content, rng)
    if content[:4] in (b"II*\0", b"MM\0*"):
        return _tiff(content, rng)
    if content[:2] == b"BM":
        return _field(content, rng, (10, 14, 18, 22, 26, 28, 30, 34, 46), "BMP")
    if content[:2] == b"\xff\xd8":
        return _jpeg(content, rng)
    return any_bytes(content, rng)


def _field(content: bytes, rng: Random, places: tuple[int, ...], words: str) -> tuple[bytes, str]:
    place = rng.choice(places)
    value = rng.choice(NUMBERS) & 0xFFFFFFFF
    changed = content[:place] + struct.pack("<I", value) + content[place + 4 :]
    return changed, f"{words} {value} at {place}"


def _png(content: bytes, rng: Random) -> tuple[bytes, str]:
    chunks: list[tuple[bytes, bytes]] = []
    place = 8
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        chunks.append((name, content[place + 8 : place + 8 + length]))
        place += 12 + length
    which = rng.randrange(len(chunks))
    name, data = chunks[which]
    how = rng.choice(("header", "header", "swap", "removed", "doubled", "data", "checksum", "text"))
    fix_checksum = rng.random() < 0.7
    if how == "header":
        changed = bytearray(chunks[0][1])
        if rng.random() < 0.5:
            place = rng.choice((0, 4))
            changed[place : place + 4] = struct.pack(">I", rng.choice(NUMBERS) & 0xFFFFFFFF)
        else:
            changed[rng.randrange(8, 13)] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
        chunks[0] = (b"IHDR", bytes(changed))
    elif how == "swap":
        other = rng.randrange(len(chunks))
        chunks[which] = chunks[other]
        chunks[other] = (name, data)
    elif how == "removed":
        del chunks[which]
    elif how == "doubled":
        chunks.insert(which, (name, data))
    elif how == "data" and data:
        chunks[which] = (name, any_bytes(data, rng)[0])
    elif how == "text":
        bomb = zlib.compress(bytes(3_000_000), 9)
        chunks.insert(1, (b"zTXt", b"comment\0\0" + bomb))
    parts = [content[:8]]
    for number, (name, data) in enumerate(chunks):
        checksum = zlib.crc32(name + data)
        if not fix_checksum and number == which:
            checksum ^= 1
        parts.append(struct.pack(">I4s", len(data), name) + data + struct.pack(">I", checksum))
    return b"".join(parts), f"PNG {how}, checksum {'right' if fix_checksum else 'wrong'}"


def _tiff(content: bytes, rng: Random) -> tuple[bytes, str]:
    order = "<" if content[:2] == b"II" else ">"
    start = struct.unpack_from(order + "I", content, 4)[0]
    number = struct.unpack_from(order + "H", content, start)[0]
    entry = start + 2 + 12 * rng.randrange(number)
    tag = struct.unpack_from(order + "H", content, entry)[0]
    changed = bytearray(content)
    how = rng.choice(("value", "value", "value", "kind", "count", "tag", "next"))
    value = rng.choice(NUMBERS)
    if how == "value":
        struct.pack_into(order + "I", changed, entry + 8, rng.choice((value, *SMALL)) & 0xFFFFFFFF)
    elif how == "kind":
        struct.pack_into(order + "H", changed, entry + 2, rng.randrange(20))
    elif how == "count":
        struct.pack_into(order + "I", changed, entry + 4, value & 0xFFFFFFFF)
    elif how == "tag":
        struct.pack_into(order + "H", changed, entry, rng.choice((256, 258, 259, 274, 277, 339)))
    else:  # the next directory: a loop, or nowhere
        place = start + 2 + 12 * number
        struct.pack_into(order + "I", changed, place, rng.choice((start, 8, len(content) + 9)))
    return bytes(changed), f"TIFF {how} of tag {tag}"


def _jpeg(content: bytes, rng: Random) -> tuple[bytes, str]:
    places = [match.start() for match in re.finditer(rb"\xff[\xc0-\xfe]", content[:-4])]
    place = rng.choice(places)
    changed = bytearray(content)
    changed[place + rng.randrange(1, 9)] = rng.choice((0, 1, 0xC0, 0xC2, 0xD9, 0xFF))
    return bytes(changed), f"JPEG segment at {place}"


# ------------------------------------------------------------------ DICOM
TAGS = {
    (0x0002, 0x0010): (b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.1.99"),
    (0x0018, 0x0050): (b"0", b"-3", b"nan", b"1e300"),
    (0x0020, 0x0013): (b"-1", b"99999999999", b"x"),
    (0x0020, 0x0032): (b"0\\0\\0", b"1\\2", b"nan\\0\\0", b"1e300\\0\\0", b"\\\\"),
    (0x0020, 0x0037): (
        b"1\\0\\0\\1\\0\\0",
        b"0\\0\\0\\0\\0\\0",
        b"1\\0\\0\\0\\1",
        b"inf\\0\\0\\0\\1\\0",
    ),
    (0x0028, 0x0030): (b"0\\0", b"-1\\1", b"nan\\1", b"1e-30\\1e-30", b"1", b"a\\b"),
    (0x0028, 0x1052): (b"1e300", b"nan", b"x", b"-99999999"),
    (0x0028, 0x1053): (b"0", b"1e300", b"inf", b"0.333"),
}
SHORTS = (
    (0x28, 2),
    (0x28, 8),
    (0x28, 0x10),
    (0x28, 0x11),
    (0x28, 0x100),
    (0x28, 0x101),
    (0x28, 0x103),
)
LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT")


def dicom(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change an element of an explicit little-endian file: value, declared length, type; or any
    bytes.
    """
    elements = _elements(content)
    if rng.random() < 0.25 or not elements:
        return any_bytes(content, rng)
    how = rng.choice(("value", "value", "short", "short", "length", "kind", "removed", "doubled"))
    tag, head, start, end = rng.choice(elements)
    changed = bytearray(content)
    if how == "value":
        chosen = [element for element in elements if element[0] in TAGS]
        tag, head, start, end = rng.choice(chosen or elements)
        value = rng.choice(TAGS.get(tag, (b"", b"1", b"\xff" * 6)))
        value += b" " * (len(value) % 2)
        changed[start:end] = value
        if start - head == 8:
            struct.pack_into("<H", changed, head + 6, len(value))
    elif how == "short":
        chosen = [element for element in elements if element[0] in SHORTS]
        tag, head, start, end = rng.choice(chosen or elements)
        if end - start == 2:
            value = rng.choice((0, 1, 2, 3, 7, 8, 12, 15, 16, 32, 64, 255, 65535))
            struct.pack_into("<H", changed, start, value)
    elif how == "length":
        code = "<H" if start - head == 8 else "<I"
        value = rng.choice(NUMBERS) & (0xFFFF if code == "<H" else 0xFFFFFFFF)
        struct.pack_into(code, changed, head + (6 if code == "<H" else 8), value)
    elif how == "kind":
        changed[head + 4 : head + 6] = rng.choice((b"DS", b"IS", b"US", b"OB", b"SQ", b"UN", b"??"))
    elif how == "removed":
        del changed[head:end]
    else:
        changed[end:end] = content[head:end]
    return bytes(changed), f"DICOM {how} of {tag[0]:04x},{tag[1]:04x}"


def _elements(content: bytes) -> list[tuple[tuple[int, int], int, int, int]]:
    """Tag, and where head, value and end are, of the elements of the first level."""
    elements = []
    place = 132
    while place + 8 <= len(content):
        group, number = struct.unpack_from("<HH", content, place)
        start = place + 8
        length = struct.unpack_from("<H", content, place + 6)[0]
        if content[place + 4 : place + 6] in LONG:
            start = place + 12
            if start > len(content):
                break
            length = struct.unpack_from("<I", content, place + 8)[0]
        if start + length > len(content):
            break
        elements.append(((group, number), place, start, start + length))
        place = start + length
    return elements
