"""Cases as TFDS array_record files, without TensorFlow: the only place that knows TFDS.

Float images are stored as plain bytes (they hardly compress, and 1300 slices read in half a
second); uint8 images and labels as zlib.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from semiseg.errors import UserError
from semiseg.types import Case

LAYOUT = "1.0.0"


def folder(place: Path) -> Path:
    """Where the record files of the set in ``place`` are."""
    return place / "records" / LAYOUT


def write(place: Path, splits: dict[str, Iterator[Case]], channels: int, dtype: np.dtype) -> None:
    """Write every split's cases, in order, under ``place``. A UserError raised by an iterator comes
    through unchanged.
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
        with contextlib.redirect_stdout(
            io.StringIO()
        ):  # TFDS announces a download there is none of
            Records(data_dir=str(place), file_format="array_record").download_and_prepare()
    except Exception:
        if failure:
            raise failure[0] from None
        raise
    shutil.rmtree(place / "downloads", ignore_errors=True)


def read(place: Path, split: str) -> list[Case]:
    """The cases of one split in the order they were written."""
    source = _tfds().builder_from_directory(str(folder(place))).as_data_source(split)
    return [_decode(source[i]) for i in range(len(source))]


def _encode(case: Case) -> dict:
    return {
        "image": case.image,
        "label": np.zeros((0, 0), np.uint8) if case.label is None else case.label,
        "labelled": case.label is not None,
        "spacing": np.asarray(case.spacing, np.float64),
        "index": case.index,
        "subject": case.subject,
        "name": case.name,
        "volume": case.volume,
        "group": case.group,
    }


def _decode(row: dict) -> Case:
    subject, name, volume, group = (
        row[key].decode() for key in ("subject", "name", "volume", "group")
    )
    label = row["label"] if row["labelled"] else None
    return Case(
        subject,
        name,
        row["image"],
        label,
        tuple(map(float, row["spacing"])),
        volume,
        int(row["index"]),
        group,
    )


def _tfds():
    """TFDS, quiet: the import shows its own progress."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)
    return tfds
