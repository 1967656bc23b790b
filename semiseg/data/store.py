"""The store: imported data sets as TFDS array_record files, and the wall between training and test.

A set lies in ``ROOT/NAME``: ``records/2.0.0/`` (TFDS, a record a scan, written and read without
TensorFlow), ``semiseg.json`` and ``card.md`` (what it is, for programs and for people),
``test_images.json`` (hashes of its test images) and ``ledger.jsonl`` (every reading of its test
split). Training code reads with :func:`read_split`, which knows no test split;
:mod:`semiseg.data.wall` writes the ledgers. :mod:`semiseg.data.importing` writes a set.

Listing sets must be instant: what needs JAX or TFDS is imported where it is used.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg import shapes
from semiseg.data import embedded, regions, unrecorded, wall
from semiseg.data import ledger as ledger_file
from semiseg.data.info import StoreInfo
from semiseg.data.problems import class_problems
from semiseg.data.set_folder import DESCRIPTION, LEDGER, checked_name, recover, root_folder
from semiseg.data.test_images import Token
from semiseg.errors import UserError
from semiseg.shapes import COUNT, NAME, PATH, TEXT, ByName, Each

if TYPE_CHECKING:
    from semiseg.types import Case

LAYOUT = 2
"""Version of a set's folder; a set of another version is refused."""
SHAPE = {
    "source": PATH,
    "classes": Each(NAME, least=2),
    "channels": COUNT,
    "channel_names": Each(TEXT),
    "official_order": Each(TEXT),
    "folds": Each(Each(TEXT)),
    "regions": ByName(Each(TEXT)),
    "counts": ByName(ByName(COUNT)),
    "files": ByName(TEXT),
    "allowed": ByName(COUNT),
    **dict.fromkeys(("unit", "dtype", "license", "citation", "fingerprint", "format"), TEXT),
}
"""What semiseg.json holds, see :mod:`semiseg.shapes`."""
COUNTED = ("records", "volumes", "images", "subjects", "annotated")
"""What is counted in each split."""
EMBEDDED = "nuclei"
"""Name of the set that comes with the package."""


def list_sets(root: str | Path | None = None) -> list[StoreInfo]:
    """Every set under ``root``, the embedded one first."""
    folder = root_folder(root)
    places = [path.parent for path in folder.glob(f"*/{DESCRIPTION}")]
    names = sorted(place.name for place in places if not place.name.startswith("."))
    sets = [info(EMBEDDED, root)]
    for name in names:
        try:
            sets.append(info(name, root))
        except UserError:  # a damaged set must not hide the others; its own name still reports it
            continue
    return sets


def info(name: str, root: str | Path | None = None) -> StoreInfo:
    """What a set is.

    Raises:
      UserError: there is none of that name, or its ``semiseg.json`` is damaged.
    """
    folder = root_folder(root)
    if name == EMBEDDED:
        return embedded.info(str(folder))
    path = folder / checked_name(name) / DESCRIPTION
    if not path.exists():
        recover(folder)
    if not path.exists():
        names = ", ".join(listed.name for listed in list_sets(root))
        raise UserError(
            f"no data set {name!r} in {folder}; there is {names}",
            remedy="import it or give --root",
        )
    try:
        known = parse(path.read_text(encoding="utf-8"), name, folder)
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
        raise UserError(
            f"damaged ({error})", where=path, remedy="import the set again with --overwrite"
        ) from error
    if (path.parent / unrecorded.FILE).exists():
        # an import that is at work does so itself; whoever may not write leaves it to others
        with contextlib.suppress(UserError, OSError):
            wall.finish_import(known)
    return known


def parse(text: str, name: str, folder: Path) -> StoreInfo:
    """What ``semiseg.json`` says of a set in the root ``folder``.

    Raises:
      ValueError, TypeError, KeyError, AttributeError: it is damaged.
      UserError: it is of another version.
    """
    fields = json.loads(text)
    words = shapes.problem(fields, SHAPE)
    if words:
        raise ValueError(words)
    layout = fields.pop("layout")
    if layout == 1 and "source" in fields:
        raise UserError(
            "was imported by an earlier version of semiseg, which stored slices (layout 1)",
            where=folder / name,
            remedy=f"import it again from {fields['source']} with --overwrite",
        )
    if layout != LAYOUT:
        raise ValueError("written by another version of semiseg")
    too_many = class_problems(fields["classes"], "classes")
    if too_many:
        raise ValueError(too_many[0])
    for key in ("classes", "official_order", "channel_names"):
        fields[key] = tuple(fields[key])
    for split, count in fields["counts"].items():
        lacking = sorted({*COUNTED} - set(count))
        if lacking:
            raise ValueError(f"counts.{split}.{lacking[0]} is missing")
    fields["folds"] = tuple(map(tuple, fields.get("folds", ())))
    fields["regions"] = regions.checked(fields.get("regions", {}), fields["classes"], name)
    return StoreInfo(name=name, root=str(folder), **fields)


def read_split(name: str, split: str, root: str | Path | None = None) -> list[Case]:
    """The cases of ``train`` or ``val`` in stored order; :func:`read_test` reads the test split."""
    return list(open_split(name, split, root))


def open_split(name: str, split: str, root: str | Path | None = None) -> Sequence[Case]:
    """The cases of ``train`` or ``val``, each read from the disk when it is asked for."""
    if split not in ("train", "val"):
        raise UserError(
            f"split {split!r} cannot be read here: training sees train and val",
            remedy="`semiseg evaluate RUN --split test` reads test",
        )
    return _read(info(name, root), split)


def read_test(name: str, root: str | Path | None = None, *, reason: str, run: str) -> list[Case]:
    """The test cases; the ledgers of the test set get a line before a case is read.

    Args:
      name, root: the set.
      reason: why, in words, e.g. ``semiseg evaluate``.
      run: the run folder that is tested.
    """
    known = info(name, root)
    token = wall.record_evaluation(known, str(run), reason)
    cases = list(_read(known, "test", token))
    wall.check_images(known, ((case.subject, case.image) for case in cases))
    return cases


def open_test(
    name: str, root: str | Path | None = None, *, reason: str, run: str
) -> Sequence[Case]:
    """As :func:`read_test`, each case read from the disk when it is asked for."""
    known = info(name, root)
    token = wall.record_evaluation(known, run, reason)
    cases = _read(known, "test", token)
    wall.check_images(known, ((case.subject, case.image) for case in cases))
    return cases


def check_test(name: str, root: str | Path | None = None) -> None:
    """Refuse before a training what :func:`read_test` would refuse after it.

    Raises:
      UserError: there is no test split, or its ledger cannot be written.
    """
    wall.check_ledgers(info(name, root))


def history(name: str, root: str | Path | None = None) -> wall.History:
    """How often a set's test images were looked at, in all copies of it, and whether the ledgers
    are whole.
    """
    return wall.history(info(name, root))


def ledger(name: str, root: str | Path | None = None) -> list[dict[str, Any]]:
    """The lines of a set's own ledger, oldest first; :func:`history` counts those of all copies."""
    return ledger_file.read(info(name, root).folder / LEDGER)


def _read(known: StoreInfo, split: str, token: Token | None = None) -> Sequence[Case]:
    if known.name == EMBEDDED:
        return embedded.read(split, token)
    from semiseg.data import array_records

    expected = known.number(split)
    if not expected:
        raise UserError(f"has no {split} split", where=known.name, remedy="import it with one")
    remedy = f"import {known.name} again with --overwrite"
    # before TFDS opens a file: what it reads can make it import modules
    damaged = damaged_files(known, split)
    if damaged:
        raise UserError("damaged or missing", where=damaged[0], remedy=remedy)
    try:
        cases = array_records.read(known.folder, split, token)
    except (ValueError, RuntimeError, OSError, IndexError) as error:
        place = array_records.folder(known.folder)
        raise UserError("damaged or missing", where=place, remedy=remedy) from error
    if len(cases) != expected:
        raise UserError(
            f"counts.{split}.records is {expected}, and there are {len(cases)}",
            where=known.folder / DESCRIPTION,
            remedy=remedy,
        )
    return cases


def damaged_files(known: StoreInfo, split: str | None = None) -> list[Path]:
    """Record files that are missing or no longer what the import wrote.

    With ``split``, the files that hold the records of the other splits are not opened.
    """
    from semiseg.data import array_records

    return array_records.damaged_files(known.folder, known.files, split)
