"""The set that comes with the package: 96² nuclei from the Data Science Bowl 2018, read straight
from ``nuclei/nuclei.npz``.

How it was made: ``nuclei/README.md`` and experiments/make_nuclei.py. One array a split and kind, so
that reading train never touches test.
"""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semiseg.data.readers.dsb2018 import CITATION, LICENSE
from semiseg.data.store import StoreInfo, file_hash
from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.types import Case

FILE = Path(str(resources.files("semiseg.data"))) / "nuclei" / "nuclei.npz"


def info(root: str) -> StoreInfo:
    """What the set is; ``root`` is where its ledger stands."""
    counts, fingerprint = _facts()
    return StoreInfo(
        "nuclei",
        root,
        ("background", "nucleus"),
        "pixel",
        1,
        "uint8",
        LICENSE,
        CITATION,
        (),
        counts,
        fingerprint,
        "embedded",
        FILE.name,
    )


def read(split: str) -> list[Case]:
    """The cases of a split. For ``test`` go through :func:`semiseg.data.store.read_test`, which
    keeps the ledger.
    """
    from semiseg.types import Case

    arrays = _load(*(f"{split}_{kind}" for kind in ("name", "group", "image", "label")))
    return [
        Case(str(n), str(n), i[..., None], m, (1.0, 1.0), str(n), 0, str(g))
        for n, g, i, m in zip(*arrays)
    ]


@functools.cache
def _facts() -> tuple[dict[str, dict[str, int]], str]:
    sizes = {split: len(_load(f"{split}_name")[0]) for split in ("train", "val", "test")}
    return {
        split: dict.fromkeys(("records", "volumes", "subjects", "annotated"), n)
        for split, n in sizes.items()
    }, file_hash(FILE)


def _load(*keys: str) -> list[np.ndarray]:
    try:
        with np.load(FILE, allow_pickle=False) as archive:
            return [archive[key] for key in keys]
    except Exception as error:  # zipfile and NumPy raise anything on a damaged file
        raise UserError(f"{FILE}: damaged or missing; install semiseg again") from error
