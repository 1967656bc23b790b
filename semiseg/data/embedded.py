"""The set that comes with the package: 96² nuclei from the Data Science Bowl 2018.

It is read straight from ``nuclei/nuclei.npz``, which holds one array a split and kind, so that
reading train never touches test. How it was made: ``nuclei/README.md`` and
experiments/make_nuclei.py.
"""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semiseg.data.info import StoreInfo
from semiseg.data.readers import dsb2018
from semiseg.data.source import SPLITS
from semiseg.data.test_images import TestImages, Token, check_split, collected
from semiseg.errors import UserError
from semiseg.files import file_hash

if TYPE_CHECKING:
    from semiseg.types import Case

NAME = "nuclei"
"""Name of the set."""
FORMAT = "embedded"
"""What the set says it was imported from."""
FILE = Path(str(resources.files("semiseg.data"))) / "nuclei" / "nuclei.npz"


def info(root: str) -> StoreInfo:
    """What the set is; ``root`` is the folder of its ledger."""
    counts, fingerprint = _facts()
    return StoreInfo(
        name=NAME,
        root=root,
        classes=dsb2018.CLASSES,
        unit="pixel",
        channels=1,
        dtype="uint8",
        license=dsb2018.LICENSE,
        citation=dsb2018.CITATION,
        official_order=(),
        counts=counts,
        fingerprint=fingerprint,
        format=FORMAT,
        source=FILE.name,
        allowed={"near_duplicates": 1},  # two frames of one specimen, see nuclei/README.md
    )


def read(split: str, token: Token | None = None) -> list[Case]:
    """The cases of a split.

    Args:
      split: ``train`` or ``val``; for ``test`` call :func:`semiseg.data.store.read_test` instead,
        which writes the ledger.
      token: opens the test split.

    Raises:
      UserError: another split without a token.
    """
    from semiseg.types import Case

    check_split(split, FILE, token)
    arrays = _load(*(f"{split}_{kind}" for kind in ("name", "group", "image", "label")))
    return [
        Case(str(name), str(name), image[..., None], label, (1.0, 1.0), str(name), 0, str(group))
        for name, group, image, label in zip(*arrays, strict=True)
    ]


@functools.cache
def _facts() -> tuple[dict[str, dict[str, int]], str]:
    """Counts of the splits, and the fingerprint. An image is its own subject and its own volume."""
    counts: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        number = len(_load(f"{split}_name")[0])
        kinds = ("records", "images", "volumes", "subjects", "annotated")
        counts[split] = dict.fromkeys(kinds, number)
    return counts, file_hash(FILE)


@functools.cache
def groups() -> dict[str, str]:
    """Subject → group of look-alikes, of all splits; neither images nor labels are read.

    >>> len(groups())
    657
    """
    group_of: dict[str, str] = {}
    for split in SPLITS:
        names, group_N = _load(f"{split}_name", f"{split}_group")
        group_of |= dict(zip(names.tolist(), group_N.tolist(), strict=True))
    return group_of


@functools.cache
def test_images() -> TestImages:
    """Hashes of the test images, which no data set lists in a file."""
    images = _load("test_image")[0]
    subjects = _load("test_name")[0].tolist()
    return collected(zip(subjects, images, strict=True))


def _load(*keys: str) -> list[np.ndarray]:
    try:
        with np.load(FILE, allow_pickle=False) as archive:
            return [archive[key] for key in keys]
    except Exception as error:  # zipfile and NumPy raise anything on a damaged file
        raise UserError("damaged or missing", where=FILE, remedy="install semiseg again") from error
