"""Training images of a set that look like validation or test images of another set under its root:
``resembles.json`` in its folder.

A copy with equal pixels is known by its hash, wherever it lies. A copy that was brightened or
turned has another hash. So an import compares the descriptions of its training images with those of
the held-out images of the sets that are already there, and writes down which of these look alike.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data import near_duplicates
from semiseg.data.fingerprints import Hashes, descriptions_of, hashes_of
from semiseg.data.info import StoreInfo, numbered
from semiseg.files import read_json, write_text

FILE = "resembles.json"
"""In the folder of an imported set."""
MOST_PAIRS = 100_000_000
"""Pairs of images of two sets that are compared, which takes seconds; larger sets are left out."""


class Resemblance(NamedTuple):
    """Training images that look like held-out images of another set.

    Attributes:
      name: of the other set.
      held_out: ``(N,)`` uint64 hashes of its validation and test images.
      training: ``(N,)`` uint64 hash of the training image that each looks most like.
    """

    name: str
    held_out: np.ndarray
    training: np.ndarray

    @property
    def message(self) -> str:
        """One line for the user."""
        number = len(self.held_out)
        verb = "looks" if number == 1 else "look"
        return (
            f"{numbered(number, 'val or test image')} of {self.name} {verb} like training images "
            f"here; a run on {self.name} that learns from this set says so"
        )


def search(
    table: Hashes, descriptions: np.ndarray, others: Iterable[StoreInfo]
) -> list[Resemblance]:
    """What the training images of an import look like.

    Args:
      table: the hashes of its images.
      descriptions: ``(N, 16, 16)`` int8 of them.
      others: the sets to compare with; a generated set, which holds nothing out, is left out.
    """
    rows = np.flatnonzero(table.of("train"))
    result: list[Resemblance] = []
    for info in others:
        other = hashes_of(info)
        theirs = descriptions_of(info)
        if other is None or theirs is None or "generated" in info.allowed:
            continue
        equal = other.known(table.hashes[rows])  # these are known by their hashes
        held_out = np.flatnonzero(other.of("val", "test") & ~equal)
        if len(held_out) * len(rows) > MOST_PAIRS:
            continue
        pairs = near_duplicates.pairs(theirs[held_out], descriptions[rows])
        if pairs:
            first = held_out[[pair.first for pair in pairs]]
            second = rows[[pair.second for pair in pairs]]
            result.append(Resemblance(info.name, other.hashes[first], table.hashes[second]))
    return result


def write(path: Path, resemblances: Iterable[Resemblance]) -> None:
    """Write them as a JSON file; hashes are base64 of big-endian 64-bit numbers."""
    sets = [
        {
            "name": item.name,
            "images": len(item.held_out),
            "held_out": _encoded(item.held_out),
            "training": _encoded(item.training),
        }
        for item in resemblances
    ]
    write_text(path, json.dumps({"version": 1, "sets": sets}, indent=1) + "\n")


def of_set(info: StoreInfo) -> list[Resemblance]:
    """What an import wrote down; empty where it found nothing, or is of an earlier version."""
    path = info.folder / FILE
    if not path.is_file():
        return []
    record = read_json(path, f"import {info.name} again with --overwrite")
    return [
        Resemblance(item["name"], _decoded(item["held_out"]), _decoded(item["training"]))
        for item in record["sets"]
    ]


def held_out_like(info: StoreInfo, images: np.ndarray) -> np.ndarray:
    """Sorted uint64 hashes of the held-out images of other sets that look like one of ``images``.

    Args:
      info: the set that holds the images.
      images: uint64 hashes.
    """
    hashes = [
        item.held_out[np.isin(item.training, images)].astype(np.uint64) for item in of_set(info)
    ]
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *hashes]))


def _encoded(hashes: np.ndarray) -> str:
    return base64.b64encode(hashes.astype(">u8").tobytes()).decode()


def _decoded(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), ">u8").astype(np.uint64)
