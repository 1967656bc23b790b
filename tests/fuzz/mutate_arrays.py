"""Changes of arrays by knowledge of their formats: NumPy, HDF5, zip, safetensors, PyTorch."""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import warnings
import zipfile
from random import Random
from typing import Any

import numpy as np

from fuzz.mutate_bytes import NUMBERS, any_bytes
from fuzz.mutate_text import VALUES

TYPES = ("i1", "u1", "i2", "<u2", ">i4", "u8", "f2", "f4", "f8", "c16", "?", "S3", "U4", "M8[s]")
TAKES_NO_WORDS = (TypeError, ValueError, OverflowError, OSError)
"""What libraries raise for an array that their format cannot hold."""


def odd_array(array: np.ndarray, rng: Random) -> tuple[np.ndarray, str]:
    """An array of another type, shape or content."""
    how = rng.choice(("type", "type", "axis", "flat", "cut", "empty", "value", "scalar", "other"))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if how == "type":
            code = rng.choice(TYPES)
            try:
                return array.astype(code), f"type {code}"
            except TAKES_NO_WORDS:
                return np.zeros(array.shape, code), f"type {code}, blank"
        if how == "axis":
            return rng.choice((array[None], array[..., None], array.T)), "an axis more or turned"
        if how == "flat":
            return array.ravel(), "flat"
        if how == "cut" and array.ndim:
            return array[: rng.randrange(len(array) + 1)], "cut"
        if how == "empty":
            return array[:0] if array.ndim else np.zeros(0, array.dtype), "empty"
        if how == "scalar":
            return np.array(7), "scalar"
        if how == "value" and array.size and array.dtype.kind in "fiu":
            changed = array.copy()
            odd = [np.nan, np.inf, 1e300, -1.0] if array.dtype.kind == "f" else [0, 1, 100]
            changed.flat[rng.randrange(array.size)] = rng.choice(odd)
            return changed, "a value"
    return np.arange(12).reshape(3, 4), "another array"


def npy(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change the array or the header of an ``.npy`` file, or any bytes."""
    if rng.random() < 0.3:
        return any_bytes(content, rng)
    if rng.random() < 0.4:
        old, new = rng.choice(
            (
                (b"'<i2'", b"'<i8'"),
                (b"'|u1'", b"'|O' "),
                (b"(5, 4, 3)", rng.choice((b"(5, 4, 9)", b"(5, -4, 3)", b"(99999999,)", b"()"))),
                (b"False", b"True "),
                (b"'descr'", b"'other'"),
            )
        )
        return content.replace(old, new.ljust(len(old)), 1), f"header {new!r}"
    array, words = odd_array(np.load(io.BytesIO(content), allow_pickle=False), rng)
    return _saved(array), words


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def npz(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change an array of an ``.npz`` file or its archive, or any bytes."""
    draw = rng.random()
    if draw < 0.2:
        return any_bytes(content, rng)
    if draw < 0.35:
        return zipped(content, rng)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = rng.choice(sorted(arrays))
    how = rng.choice(("odd", "odd", "odd", "removed", "renamed", "exchanged", "pickle", "header"))
    words = how
    if how == "removed":
        del arrays[name]
    elif how == "renamed":
        arrays["other"] = arrays.pop(name)
    elif how == "exchanged":
        arrays[name] = arrays[rng.choice(sorted(arrays))]
    elif how == "odd":
        arrays[name], words = odd_array(arrays[name], rng)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for key, array in arrays.items():
            member = _saved(array)
            if key == name and how == "pickle":
                member = b"\x93NUMPY\x01\0v\0" + PICKLED + pickle.dumps([1])
            elif key == name and how == "header":
                member, words = npy(member, rng)
            out.writestr(f"{key}.npy", member)
    return file.getvalue(), f"{name}: {words}"


PICKLED = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"


# ------------------------------------------------------------------ archives
def zipped(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change the members of a zip, its directory, or any bytes."""
    draw = rng.random()
    if draw < 0.2:
        return any_bytes(content, rng)
    if draw < 0.4:
        return _directory(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    which = rng.randrange(len(members))
    name, data = members[which]
    how = rng.choice(
        ("removed", "doubled", "out", "bytes", "zeros", "exchanged", "comment", "deep")
    )
    kind = rng.choice(
        (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    if how == "removed":
        del members[which]
    elif how == "doubled":
        members.append((name, members[0][1]))
    elif how == "out":
        new = rng.choice((f"../../{name}", f"/{name}", name.upper(), f"more/{name}", f"é\n{name}"))
        members[which] = (new, data)
    elif how == "bytes":
        members[which] = (name, any_bytes(data, rng)[0])
    elif how == "zeros":
        members[which] = (name, bytes(rng.choice((0, 100, 30_000_000))))
    elif how == "exchanged":
        other = rng.randrange(len(members))
        members[which] = (name, members[other][1])
    elif how == "deep":
        members[which] = (name, content)
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", kind) as out:
        warnings.simplefilter("ignore")  # of names that are there twice
        for key, value in members:
            out.writestr(zipfile.ZipInfo(key), value, kind)
        if how == "comment":
            out.comment = b"PK\x05\x06" * 9
    return file.getvalue(), f"zip: {name} {how}, method {kind}"


def _directory(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change a field of an entry of the directory, or of the local header."""
    mark, size = rng.choice(((b"PK\x01\x02", 46), (b"PK\x03\x04", 30), (b"PK\x05\x06", 22)))
    places: list[int] = []
    place = content.find(mark)
    while place >= 0:
        places.append(place)
        place = content.find(mark, place + 1)
    place = rng.choice(places) + rng.randrange(4, size - 2)
    changed = bytearray(content)
    value = rng.choice(NUMBERS) & 0xFFFFFFFF
    width = min(4, len(changed) - place)
    changed[place : place + width] = struct.pack("<I", value)[:width]
    return bytes(changed), f"zip: {value} at {place} behind {mark!r}"


# ------------------------------------------------------------------ HDF5
def hdf5(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Write a file again with a dataset of another kind, or change any bytes."""
    import h5py

    if rng.random() < 0.35:
        return any_bytes(content, rng)
    file = io.BytesIO(content)
    with h5py.File(file, "r") as stored:
        arrays = {name: stored[name][()] for name in stored}
    name = rng.choice(sorted(arrays))
    how = rng.choice(HDF5)
    out = io.BytesIO()
    with h5py.File(out, "w") as made:
        for key, array in arrays.items():
            if key != name:
                made[key] = array
        try:
            words = _dataset(made, name, arrays[name], how, rng)
        except TAKES_NO_WORDS:
            words = "cannot be stored: left out"
    return out.getvalue(), f"HDF5 {name}: {how} {words}"


HDF5 = (
    *("odd", "odd", "odd", "compressed", "chunks", "unwritten", "huge", "group", "renamed"),
    *("removed", "soft", "external", "numbers elsewhere", "compound", "text", "attribute"),
    *("checksum", "scaled", "virtual", "user"),
)


def _dataset(made: Any, name: str, array: np.ndarray, how: str, rng: Random) -> str:
    """Store an array in one of many ways; says how in a few words."""
    import h5py

    words = ""
    if how == "odd":
        made[name], words = odd_array(array, rng)
    elif how in ("compressed", "checksum", "scaled"):
        options: dict[str, Any] = {
            "compressed": {"compression": rng.choice(("gzip", "lzf"))},
            "checksum": {"fletcher32": True},
            "scaled": {"scaleoffset": 3, "dtype": "f4"},
        }[how]
        made.create_dataset(name, data=array, chunks=True, shuffle=True, **options)
    elif how == "chunks":
        made.create_dataset(
            name, data=array, chunks=(1,) * array.ndim, maxshape=(None,) * array.ndim
        )
    elif how == "unwritten":
        made.create_dataset(name, array.shape, array.dtype, fillvalue=rng.choice((0, 7)))
    elif how == "huge":
        shape = tuple(rng.choice(((2**40, 2, 2), (40_000, 40_000), (1, 2**33, 3))))
        made.create_dataset(name, shape, "f8", chunks=(1,) * len(shape))
    elif how == "group":
        made.create_group(name)["inner"] = array
    elif how == "renamed":
        made["other"] = array
    elif how == "soft":
        made[name] = h5py.SoftLink(rng.choice(("/nothing", "/label", f"/{name}")))
    elif how == "external":
        made[name] = h5py.ExternalLink(rng.choice(("/etc/passwd", "p0.h5", "..")), "/image")
    elif how == "numbers elsewhere":
        size = array.size * array.dtype.itemsize
        made.create_dataset(name, array.shape, array.dtype, external=[("/etc/passwd", 0, size)])
    elif how == "virtual":
        layout = h5py.VirtualLayout(array.shape, array.dtype)
        layout[...] = h5py.VirtualSource("/etc/passwd", "x", array.shape)
        made.create_virtual_dataset(name, layout)
    elif how == "compound":
        made[name] = np.zeros(array.shape, [("a", "f4"), ("b", "i2")])
    elif how == "text":
        made[name] = rng.choice(("words", ["a", "b"]))
    elif how == "attribute":
        made[name] = array
        made[name].attrs["spacing"] = rng.choice((np.nan, 0.0, -1.0, "x"))
    return words


# ------------------------------------------------------------------ weights
def safetensors(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change the header of a safetensors file, or any bytes."""
    if rng.random() < 0.3:
        return any_bytes(content, rng)
    length = struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8 : 8 + length])
    tensors = [name for name in sorted(header) if name != "__metadata__"]
    how = rng.choice(
        ("dtype", "shape", "offsets", "removed", "renamed", "header", "header", "length")
    )
    name = rng.choice(tensors)
    entry = header[name]
    words = ""
    if how == "dtype":
        entry["dtype"] = words = rng.choice(("F16", "F64", "I8", "BOOL", "BF16", "F8_E4M3", "X"))
    elif how == "shape":
        shapes: tuple[list[Any], ...] = (
            [],
            [-1],
            [2**62, 2],
            entry["shape"][::-1],
            [1, *entry["shape"]],  # as many numbers as before, which no header contradicts
            [math.prod(entry["shape"])],
            [0],
            ["a"],
            [1.5],
        )
        entry["shape"] = rng.choice(shapes)
        words = str(entry["shape"])
    elif how == "offsets":
        entry["data_offsets"][rng.randrange(2)] = rng.choice((0, 2**63, -4, 8))
    elif how == "removed":
        del header[name]
    elif how == "renamed":
        header[rng.choice(("", "weights.x", "a\nb", rng.choice(tensors)))] = header.pop(name)
    elif how == "header":
        words = _metadata(header, rng)
    text = json.dumps(header).encode()
    size = len(text)
    if how == "length":
        size = rng.choice((0, 1, size - 1, size + 8, 2**40, 2**63))
    return struct.pack("<Q", size) + text + content[8 + length :], f"{name} {how} {words}"


def _metadata(header: dict[str, Any], rng: Random) -> str:
    """Change what our weights say of themselves."""
    metadata = header.get("__metadata__", {})
    if "semiseg" not in metadata or rng.random() < 0.1:
        header["__metadata__"] = {"semiseg": rng.choice(("[", "[]", "7", '{"config": 3}', "null"))}
        return "another header"
    content = json.loads(metadata["semiseg"])
    node: Any = content
    path: list[Any] = []
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else list(range(len(node))))
        path.append(key)
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.4:
            break
        node = inner
    if rng.random() < 0.2:
        del node[key]
    else:
        node[key] = rng.choice(VALUES)
    metadata["semiseg"] = json.dumps(content)
    return f"{path}: {str(node)[:60]!r}"


def torch(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change the pickle or the archive of what ``torch.save`` wrote, or any bytes."""
    draw = rng.random()
    if draw < 0.2:
        return any_bytes(content, rng)
    if draw < 0.35:
        return zipped(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    pickled, words = _pickled(members[name], rng)
    members[name] = pickled
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as out:
        for key, value in members.items():
            out.writestr(key, value)
    return file.getvalue(), f"pickle: {words}"


GLOBALS = (
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"csubprocess\nPopen\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"ccollections\nOrderedDict\n",
    b"ctorch\nHalfStorage\n",
    b"ctorch\nDoubleStorage\n",
)


def _pickled(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change a number, a global or any byte of a pickle of protocol 2."""
    how = rng.choice(("global", "number", "number", "bytes", "code", "deep"))
    changed = bytearray(content)
    if how == "deep":
        return b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", how
    if how == "bytes":
        return any_bytes(content, rng)
    if how == "number":  # K: one byte, M: two, J: four
        places = [place for place, code in enumerate(content[:-5]) if code in b"KMJ"]
        place = rng.choice(places)
        size = {b"K": 1, b"M": 2, b"J": 4}[content[place : place + 1]]
        value = rng.choice((*NUMBERS, 3, 7)) & ((1 << 8 * size) - 1)
        changed[place + 1 : place + 1 + size] = value.to_bytes(size, "little")
        return bytes(changed), f"{value} at {place}"
    if how == "global":
        start = content.find(b"c", 2)
        end = content.find(b"\n", content.find(b"\n", start) + 1) + 1
        new = rng.choice(GLOBALS)
        return content[:start] + new + content[end:], f"{new!r}"
    place = rng.randrange(len(changed))
    changed[place] = rng.choice(b"(.0NR]}tuabcehqsQX\x80\x85\x86\x87\x93")
    return bytes(changed), f"a code at {place}"
