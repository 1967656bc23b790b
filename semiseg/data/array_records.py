"""Cases as TFDS array_record files, without TensorFlow: the only place that knows TFDS.

A record is a scan: the bytes of its pixels with their shape and type, so that a set may mix sizes
and types. Whole numbers are compressed; floats hardly can be.
"""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data import example_bytes
from semiseg.data.cases_on_disk import CasesOnDisk
from semiseg.data.size_limits import RATIO, SMALL
from semiseg.data.source import SPLITS, STORED, first_line
from semiseg.data.test_images import Token, check_split
from semiseg.errors import UserError
from semiseg.files import file_hash
from semiseg.types import Case

LAYOUT = "2.0.0"
COMPRESSION = 1
"""zlib's level: three times as fast as its default, and 300 CT volumes take 3 % more space."""
_TEXTS = ("subject", "name", "volume", "group", "dtype", "orientation")
_PIXELS = ("image", "label")
PART = 2**24
"""Bytes that are compressed at once."""
_FEATURES = "tensorflow_datasets.core.features"
_KINDS = {f"{_FEATURES}.tensor_feature.Tensor": "tensor", f"{_FEATURES}.text_feature.Text": "text"}
"""Class of a feature that :func:`write` uses → the key under which it describes itself."""

MOST_BYTES = 2**31 - 2**20
"""Pixels of a record; a protocol buffer holds 2 GB, the rest of the record among them."""


def folder(place: Path) -> Path:
    """Where the record files of the set in ``place`` are."""
    return place / "records" / LAYOUT


def write(place: Path, splits: Mapping[str, Iterable[Case]]) -> None:
    """Write every split's cases, in order, under ``place``; one case at a time is in memory."""
    tfds = _tfds()
    target = folder(place)
    target.mkdir(parents=True)
    features = _features(tfds)
    infos = [_write_split(tfds, target, features, *item) for item in splits.items()]
    tfds.folder_dataset.write_metadata(
        data_dir=target,
        features=features,
        split_infos=infos,
        check_data=False,
        description="A set in the layout of semiseg.types.Case.",
    )


def _features(tfds: Any) -> Any:
    """What a record holds; the pixels are bytes, so that a set may mix sizes and types."""
    encoding = tfds.features.Encoding.BYTES
    packed = tfds.features.Tensor(shape=(None,), dtype=np.uint8, encoding=encoding)
    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "image": packed,
            "label": packed,
            "shape": tfds.features.Tensor(shape=(None,), dtype=np.int64),
            "labelled": np.bool_,
            "spacing": tfds.features.Tensor(shape=(None,), dtype=np.float64),
            "affine": tfds.features.Tensor(shape=(None,), dtype=np.float64),
            "index": np.int32,
            **{key: text() for key in _TEXTS},
        }
    )


def _write_split(tfds: Any, target: Path, features: Any, split: str, cases: Iterable[Case]) -> Any:
    """Write the records of a split to its one file.

    TFDS's own builder keeps a gigabyte in memory before it writes.
    """
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    template = tfds.core.ShardedFileTemplate(
        data_dir=target, dataset_name="records", split=split, filetype_suffix="array_record"
    )
    path = target / f"records-{split}.array_record-00000-of-00001"
    # the pixels are not among them: TFDS copies what it serialises
    small = tfds.features.FeaturesDict(
        {key: feature for key, feature in features.items() if key not in _PIXELS}
    )
    serializer = ExampleSerializer(small.get_serialized_info())
    writer = ArrayRecordWriter(str(path), "group_size:1")
    number = 0
    try:
        for case in cases:
            facts = serializer.get_tf_example(small.encode_example(_encode(case)))
            pixels = {"label": _packed(case.label), "image": _packed(case.image)}
            # in one order: of the same files, every import makes the same bytes
            record = example_bytes.record(facts.SerializeToString(deterministic=True), pixels)
            _check_size(case, len(record))
            del case, pixels  # a copy of the record is made while it is written
            writer.write(record)
            del record
            number += 1
    finally:
        writer.close()
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=[number],
        num_bytes=path.stat().st_size,
        filename_template=template,
    )


def _check_size(case: Case, size: int) -> None:
    """Refuse a scan that does not fit into a record.

    Raises:
      UserError: it takes too many bytes.
    """
    if size > MOST_BYTES:
        shape = "×".join(map(str, case.image.shape[:-1]))
        raise UserError(
            f"is a scan of {shape} voxels that takes {size / 2**30:.2f} GB, and a record holds "
            f"2 GB",
            where=case.name,
            remedy="crop it, save it as 16-bit numbers, or divide it into several files of one "
            "subject",
        )


class Records(CasesOnDisk):
    """The cases of a split, each read when it is asked for."""

    def __init__(self, source: Any, place: Path, split: str, files: Sequence[Any]):
        self._source = source
        self._place = place
        self._split = split
        self._files = files
        self._reader: Any = None

    def __len__(self) -> int:
        return len(self._source)

    def read(self, i: int) -> Case:
        """Scan ``i`` of the split.

        Raises:
          UserError: its record is damaged, or declares more than it holds.
        """
        try:
            return _decode(self._example(i))
        # a received set states hashes of its own, so its records may hold anything
        except Exception as error:
            raise UserError(
                f"record {i + 1} of {self._split} is damaged ({first_line(error)})",
                where=self._place,
                remedy="import the set again from its source with --overwrite",
            ) from error

    def _example(self, i: int) -> dict[str, Any]:
        """What record ``i`` holds, by the name of its feature.

        To read a list of positions, as TFDS does, takes a time that grows with the file (0.2 ms of
        70,000 records), so that reading all of them would be quadratic; a range takes 5 µs.
        """
        if len(self._files) != 1:
            example: dict[str, Any] = self._source[i]
            return example
        if self._reader is None:
            from array_record.python.array_record_module import ArrayRecordReader

            self._reader = ArrayRecordReader(str(self._files[0]))
        (record,) = self._reader.read(i, i + 1)
        example = self._source.dataset_info.features.deserialize_example_np(record)
        return example


def read(place: Path, split: str, token: Token | None = None) -> Records:
    """The cases of one split in the order they were written.

    Args:
      place: the set's folder.
      split: ``train`` or ``val``; for ``test`` call :func:`semiseg.data.store.read_test` instead.
      token: opens the test split.

    Raises:
      UserError: another split without a token, or ``features.json`` names what :func:`write` does
        not.
    """
    check_split(split, place, token)
    _check_features(folder(place) / "features.json")
    builder = _tfds().builder_from_directory(str(folder(place)))
    files = builder.info.splits[split].filepaths
    return Records(builder.as_data_source(split), folder(place), split, files)


def damaged_files(place: Path, hashes: dict[str, str], split: str | None = None) -> list[Path]:
    """Record files that are missing or no longer what the import wrote.

    Args:
      place: the set's folder.
      hashes: SHA-256 of each record file.
      split: with one, the files that hold the records of the other splits are not opened.
    """
    skipped: list[str] = []
    if split:
        skipped = [f"-{other}.array_record" for other in SPLITS if other != split]
    return [
        folder(place) / name
        for name, digest in hashes.items()
        if not any(part in name for part in skipped) and not _has_hash(folder(place) / name, digest)
    ]


def _has_hash(path: Path, digest: str) -> bool:
    try:
        return file_hash(path) == digest
    except (OSError, ValueError):  # missing, a folder, no name, or not to be read
        return False


def _check_features(path: Path) -> None:
    """Refuse a ``features.json`` that is not of the form :func:`write` leaves.

    TFDS imports the module of every class that the file names, and older forms of the file name
    classes in other places. A received set may name anything, and its hashes agree with that.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    try:
        features = content["featuresDict"]["features"]
        whole = {
            "pythonClassName": f"{_FEATURES}.features_dict.FeaturesDict",
            "featuresDict": {"features": features},
        }
        written = content == whole and all(map(_is_plain, features.values()))
    except (TypeError, KeyError, AttributeError):
        written = False
    if not written:
        raise UserError(
            "names a class that no import writes, and reading it would run its module",
            where=path,
            remedy="import the set again from its source with --overwrite",
        )


def _is_plain(feature: dict[str, Any]) -> bool:
    """Whether a feature is of a known class and describes itself in that class's own form."""
    name = feature["pythonClassName"]
    return name in _KINDS and feature.keys() == {"pythonClassName", _KINDS[name]}


def _encode(case: Case) -> dict[str, Any]:
    """What a record says of a scan beside its pixels."""
    affine = case.affine
    if affine is None:
        affine = np.zeros(0)
    return {
        "shape": np.array(case.image.shape, np.int64),
        "dtype": case.image.dtype.name,
        "labelled": case.label is not None,
        "spacing": np.asarray(case.spacing, np.float64),
        "affine": np.asarray(affine, np.float64).ravel(),
        "index": case.index,
        "subject": case.subject,
        "name": case.name,
        "volume": case.volume,
        "group": case.group,
        "orientation": case.orientation,
    }


def _decode(row: dict[str, Any]) -> Case:
    shape = tuple(int(n) for n in row["shape"])
    label = None
    if row["labelled"]:
        label = _unpacked(row["label"], np.dtype(np.uint8), shape[:-1])
    affine = None
    if row["affine"].size:
        affine = row["affine"].reshape(4, 4)
    return Case(
        subject=row["subject"].decode(),
        name=row["name"].decode(),
        image=_unpacked(row["image"], _stored_type(row["dtype"].decode()), shape),
        label=label,
        spacing=tuple(float(side) for side in row["spacing"]),
        volume=row["volume"].decode(),
        index=int(row["index"]),
        group=row["group"].decode(),
        affine=affine,
        orientation=row["orientation"].decode(),
    )


def _packed(pixels: np.ndarray | None) -> Iterator[bytes | memoryview]:
    """The bytes of an array in parts: of whole numbers zlib, of floats, which hardly compress, as
    they are.

    >>> data = np.frombuffer(b"".join(_packed(np.eye(2, dtype=np.int16))), np.uint8)
    >>> _unpacked(data, np.dtype("int16"), (2, 2)).tolist()
    [[1, 0], [0, 1]]
    """
    if pixels is None:
        return
    data = np.ascontiguousarray(pixels).data.cast("B")
    if pixels.dtype.kind not in "iu":
        yield data
        return
    compressor = zlib.compressobj(COMPRESSION)
    for start in range(0, len(data), PART):
        yield compressor.compress(data[start : start + PART])
    yield compressor.flush()


def _unpacked(data: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """An array that can be written to.

    Raises:
      ValueError: there are more or fewer bytes than the shape says.
    """
    size = math.prod(shape) * dtype.itemsize
    content: bytes = data.tobytes()
    if size > max(RATIO * len(content), SMALL):
        raise ValueError(f"declares {size:,} bytes, which {len(content):,} do not hold")
    if dtype.kind in "iu":
        content = zlib.decompressobj().decompress(content, size + 1)
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes instead of {size}")
    return np.frombuffer(content, dtype).reshape(shape).copy()


def _stored_type(name: str) -> np.dtype:
    for dtype in STORED:
        if dtype.name == name:
            return dtype
    raise ValueError(f"numbers of the type {name}")


def _tfds():
    """TFDS, quiet: the import shows its own progress."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)
    return tfds
