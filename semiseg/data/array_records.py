"""Cases as TFDS array_record files, without TensorFlow: the only place that knows TFDS.

Float images are stored as plain bytes (they hardly compress, and 1300 slices read in half a
second); uint8 images and labels as zlib.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data.source import SPLITS
from semiseg.data.test_images import Token, check_split
from semiseg.errors import UserError
from semiseg.files import file_hash
from semiseg.types import Case

LAYOUT = "1.0.0"
_FEATURES = "tensorflow_datasets.core.features"
_KINDS = {f"{_FEATURES}.tensor_feature.Tensor": "tensor", f"{_FEATURES}.text_feature.Text": "text"}
"""Class of a feature that :func:`write` uses → the key under which it describes itself."""


def folder(place: Path) -> Path:
    """Where the record files of the set in ``place`` are."""
    return place / "records" / LAYOUT


def write(place: Path, splits: dict[str, Iterator[Case]], channels: int, dtype: np.dtype) -> None:
    """Write every split's cases, in order, under ``place``.

    A UserError that an iterator raises comes through unchanged.
    """
    tfds = _tfds()
    from tensorflow_datasets.core import registered

    encoding = tfds.features.Encoding
    pixels = encoding.ZLIB if dtype == np.uint8 else encoding.BYTES
    failure: list[UserError] = []

    with registered.skip_registration():

        class Records(tfds.core.GeneratorBasedBuilder):  # type: ignore[name-defined]
            """A set in the layout of :class:`semiseg.types.Case`."""

            VERSION = tfds.core.Version(LAYOUT)

            def _info(self):
                text = tfds.features.Text
                features = {
                    "image": tfds.features.Tensor(
                        shape=(None, None, channels), dtype=dtype.type, encoding=pixels
                    ),
                    "label": tfds.features.Tensor(
                        shape=(None, None), dtype=np.uint8, encoding=encoding.ZLIB
                    ),
                    "labelled": np.bool_,
                    "spacing": tfds.features.Tensor(shape=(None,), dtype=np.float64),
                    "index": np.int32,
                    **{key: text() for key in ("subject", "name", "volume", "group")},
                }
                return tfds.core.DatasetInfo(
                    builder=self,
                    features=tfds.features.FeaturesDict(features),
                    disable_shuffling=True,
                )

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(cases) for split, cases in splits.items()}

            def _generate_examples(self, cases):
                try:
                    for i, case in enumerate(cases):
                        yield i, _encode(case)
                except UserError as error:
                    failure.append(error)
                    raise

    try:
        # TFDS announces a download, of which there is none
        with contextlib.redirect_stdout(io.StringIO()):
            Records(data_dir=str(place), file_format="array_record").download_and_prepare()
    except Exception:
        if failure:
            raise failure[0] from None
        raise
    shutil.rmtree(place / "downloads", ignore_errors=True)


def read(place: Path, split: str, token: Token | None = None) -> list[Case]:
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
    source = _tfds().builder_from_directory(str(folder(place))).as_data_source(split)
    return [_decode(source[i]) for i in range(len(source))]


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
    except OSError:  # missing, a folder, or not to be read
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
    label = case.label
    if label is None:
        label = np.zeros((0, 0), np.uint8)
    return {
        "image": case.image,
        "label": label,
        "labelled": case.label is not None,
        "spacing": np.asarray(case.spacing, np.float64),
        "index": case.index,
        "subject": case.subject,
        "name": case.name,
        "volume": case.volume,
        "group": case.group,
    }


def _decode(row: dict[str, Any]) -> Case:
    return Case(
        subject=row["subject"].decode(),
        name=row["name"].decode(),
        image=row["image"],
        label=row["label"] if row["labelled"] else None,
        spacing=tuple(float(side) for side in row["spacing"]),
        volume=row["volume"].decode(),
        index=int(row["index"]),
        group=row["group"].decode(),
    )


def _tfds():
    """TFDS, quiet: the import shows its own progress."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)
    return tfds
