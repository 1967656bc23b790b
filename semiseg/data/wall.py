"""The wall between training and the test set: what is written when somebody looks over it.

Reading test cases (:func:`record_evaluation`), predicting them (:func:`record_predictions`) and
importing them again (:func:`record_import`) leave a line in the ledgers of the test set: that of
the data set, one next to the stores and one of the user. :func:`history` counts the lines.
What the wall stops and what it cannot: docs/explanation/the-wall.md.
"""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from semiseg import __version__
from semiseg.data import embedded, ledger, test_images, unrecorded
from semiseg.data.info import StoreInfo, numbered
from semiseg.data.set_folder import LEDGER, default_root
from semiseg.data.source import SPLITS
from semiseg.data.test_images import TestImages, Token, may_be_written
from semiseg.errors import UserError
from semiseg.holding import holding, is_ours

if TYPE_CHECKING:
    from semiseg.data.fingerprints import Hashes
    from semiseg.data.set_digest import SetDigest
    from semiseg.types import Case

EVALUATE = "evaluate"
PREDICT = "predict"
IMPORT = "import"
REMOVE = "remove"


class History(NamedTuple):
    """What the ledgers say of a test set.

    Attributes:
      evaluations: how often its cases were read, in all copies of the data set.
      predictions: how often some of its images were predicted outside of an evaluation.
      related: how often another test set was read that shares images with it.
      problems: what is wrong with the ledgers, one line each; empty where all are whole.
    """

    evaluations: int
    predictions: int
    related: int
    problems: tuple[str, ...]

    @property
    def message(self) -> str:
        """One or two sentences for people.

        >>> History(3, 0, 0, ()).message
        'The ledger of the test set counts 3 test evaluations; its chain is whole.'
        """
        counts = [numbered(self.evaluations, "test evaluation")]
        if self.predictions:
            counts.append(numbered(self.predictions, "prediction") + " of its images")
        if self.related:
            counts.append(numbered(self.related, "evaluation") + " of test sets that share images")
        text = f"The ledger of the test set counts {', '.join(counts)}"
        if not self.problems:
            return f"{text}; its chain is whole."
        return f"{text}. It is not whole: {'; '.join(self.problems)}."


# ------------------------------------------------------------------ which images
def images_of(known: StoreInfo) -> TestImages:
    """The test images of a stored set, by hash; the file that lists them is written if need be.

    Raises:
      UserError: the records are damaged.
    """
    place = str(known.folder.resolve())
    if known.format == embedded.FORMAT:
        return dataclasses.replace(embedded.test_images(), sets=(place,))
    path = known.folder / test_images.FILE
    records = _test_records(known)
    images = test_images.read(path, records)
    if images is None:
        images = _hashed(known)
        _write_if_possible(path, images, records)
    return dataclasses.replace(images, sets=(place,))


def _hashed(known: StoreInfo) -> TestImages:
    """The images of a set that was imported before their hashes were stored."""
    return test_images.collected((case.subject, case.image) for case in _opened(known))


def _opened(known: StoreInfo) -> Sequence[Case]:
    """The test cases, for what is computed of all of them and shows none.

    Raises:
      UserError: the records are damaged.
    """
    from semiseg.data import array_records

    remedy = f"import {known.name} again with --overwrite"
    # before TFDS opens a file: what it reads can make it import modules
    damaged = array_records.damaged_files(known.folder, known.files, "test")
    if damaged:
        raise UserError("damaged or missing", where=damaged[0], remedy=remedy)
    place = array_records.folder(known.folder)
    try:
        return array_records.read(known.folder, "test", Token(known.folder))
    except (ValueError, RuntimeError, OSError, IndexError) as error:
        raise UserError("damaged or missing", where=place, remedy=remedy) from error


def add_to_fingerprint(known: StoreInfo, digest: SetDigest) -> None:
    """Add the test cases of a set to its fingerprint; nothing else is told of them.

    Raises:
      UserError: the records are damaged.
    """
    for case in _opened(known):
        digest.add("test", case)


def _test_records(known: StoreInfo) -> dict[str, str]:
    """Hashes of the record files of the test split."""
    return {name: digest for name, digest in known.files.items() if "-test.array_record" in name}


def _write_if_possible(path: Path, images: TestImages, records: dict[str, str]) -> None:
    try:
        test_images.write(path, images, records)
    except OSError:  # a set that cannot be written is hashed each time
        return


def check_images(known: StoreInfo, images: Iterable[tuple[str, Any]]) -> None:
    """Refuse test cases that are not those of the set's list of hashes.

    Raises:
      UserError: the list was changed, and the ledger line with it.
    """
    expected = images_of(known)
    if test_images.collected(images).fingerprint != expected.fingerprint:
        raise UserError(
            "does not list the images in the test records",
            where=known.folder / test_images.FILE,
            remedy="delete the file and evaluate again",
        )


# ------------------------------------------------------------------ ledgers
def paths_of(known: StoreInfo, images: TestImages) -> list[Path]:
    """The ledgers of a set's test split: its own, that next to the stores, and the user's."""
    shared = ledger.shared_folders(Path(known.root))
    return [known.folder / LEDGER, *(_shared(folder, images) for folder in shared)]


def _shared(folder: Path, images: TestImages) -> Path:
    return folder / f"{images.fingerprint[: ledger.DIGITS]}.jsonl"


def _everywhere(images: TestImages) -> list[Path]:
    """The ledgers of a test set that can be written: of each copy, beside it, and the user's."""
    sets = [Path(place) for place in images.sets if Path(place).is_dir()]
    roots = dict.fromkeys(place.parent for place in sets)
    folders = [folder for root in roots for folder in ledger.shared_folders(root)]
    if not folders:
        folders = ledger.shared_folders(default_root())
    paths = [place / LEDGER for place in sets]
    paths += [_shared(folder, images) for folder in dict.fromkeys(folders)]
    return [path for path in paths if may_be_written(path)]


def _entry(event: str, reason: str, run: str, images: TestImages, n: int) -> ledger.Entry:
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "run": run,
        "reason": reason,
        "semiseg": __version__,
        "n": n,
        "event": event,
        "id": uuid.uuid4().hex[:16],
        "fingerprint": images.fingerprint,
    }


def check_ledgers(known: StoreInfo) -> None:
    """Refuse early what :func:`record_evaluation` would refuse after hours of training.

    Raises:
      UserError: the set has no test split, or a ledger cannot be written.
    """
    check_test(known)
    for path in paths_of(known, images_of(known)):
        if not may_be_written(path):
            raise UserError(
                "cannot be written, so test is not read",
                where=path,
                remedy="make it writable (XDG_STATE_HOME names the folder of the user's ledgers)",
            )


def check_test(known: StoreInfo) -> None:
    """Refuse a set without a test split."""
    if not known.number("test"):
        remedy = "import it with test cases"
        if known.number("val"):
            remedy += ", or evaluate with --split val"
        raise UserError("has no test split", where=known.name, remedy=remedy)


# ------------------------------------------------------------------ who looks over the wall
def record_evaluation(known: StoreInfo, run: str, reason: str) -> Token:
    """Write that the test cases are read; the token reads them.

    Raises:
      UserError: the set has no test split, or a ledger cannot be written.
    """
    check_test(known)
    images = images_of(known)
    entry = _entry(EVALUATE, reason, run, images, known.number("test", "images"))
    ledger.append_or_refuse(paths_of(known, images), entry, "test is not read")
    test_images.register(ledger.shared_folders(Path(known.root)), images)
    if known.format == embedded.FORMAT:
        return Token(embedded.FILE)
    return Token(known.folder)


def record_predictions(images: TestImages, run: str, reason: str, n: int) -> None:
    """Write that ``n`` images of a test set are predicted.

    Raises:
      UserError: no ledger of it can be written.
    """
    paths = _everywhere(images)
    if not paths:
        raise UserError(
            "cannot be written, so its test images are not predicted",
            where=_shared(ledger.user_folder(), images),
            remedy="make it writable (XDG_STATE_HOME names the folder of the user's ledgers)",
        )
    entry = _entry(PREDICT, reason, run, images, n)
    ledger.append_or_refuse(paths, entry, "its test images are not predicted")


def record_import(
    known: StoreInfo, before: TestImages | None, table: Hashes, reason: str
) -> list[str]:
    """Write who is in test before and after an import, where test images are met that are known.

    Args:
      known: the set that was imported.
      before: the test images of the set that it replaced.
      table: the fingerprints of its images.
      reason: why, in words.

    Returns:
      A line for each known test set that it shares images with.
    """
    from semiseg.data import seal  # with what lists of sets do not wait for

    place = str(known.folder.resolve())
    hashes = {split: test_images.of_split(table, split) for split in SPLITS}
    after = dataclasses.replace(hashes["test"], sets=(place,))
    shared = ledger.shared_folders(Path(known.root))
    earlier = {images.fingerprint: images for images in test_images.registered(shared)}
    if before is not None:
        earlier.setdefault(before.fingerprint, before)
    nuclei = images_of(embedded.info(known.root))
    earlier.setdefault(nuclei.fingerprint, nuclei)
    announced = unrecorded.read(known.folder)
    messages: list[str] = []
    for images in earlier.values():
        replaced = before is not None and images.fingerprint == before.fingerprint
        places = {split: images.among(hashes[split].subjects) for split in SPLITS}
        if not replaced and not any(places.values()):
            continue
        entry = _entry(IMPORT, reason, "", after, after.n)
        entry |= {
            "set": place,
            "before": _of_test(images),
            "after": _of_test(after),
            "now": {split: len(members) for split, members in places.items()},
        }
        paths = [known.folder / LEDGER]
        for test_set in (images, after):
            paths += [_shared(folder, test_set) for folder in shared if test_set.n]
        paths = [path for path in dict.fromkeys(paths) if may_be_written(path)]
        if announced is not None:  # a killed import may have written some of its lines
            entry["id"] = announced.line_id(images)
            paths = [path for path in paths if not ledger.holds(path, entry)]
        ledger.append_or_refuse(paths, entry, "nothing says what became of the test images")
        messages.append(_import_message(known, images, places))
    if after.n:
        test_images.write(known.folder / test_images.FILE, after, _test_records(known))
        test_images.register(shared, after)
    seal.record(known, reason)
    unrecorded.done(known.folder)
    return messages


def finish_import(known: StoreInfo) -> None:
    """Write what a killed import has not written of a set that is in its place."""
    from semiseg.data.fingerprints import hashes_of

    if is_ours(known.folder):  # the import is at work
        return
    with holding(known.folder, "semiseg data import"):
        announced = unrecorded.read(known.folder)
        table = hashes_of(known)
        if announced is not None and table is not None:
            record_import(known, announced.before, table, announced.reason)


def record_removal(known: StoreInfo, reason: str) -> None:
    """Write that a set is removed; the shared ledgers take over what its own ledger holds.

    Raises:
      UserError: no shared ledger can be written, or the test images are not known any more.
    """
    if not known.number("test"):
        return
    images = images_of(known)
    paths = [path for path in paths_of(known, images) if may_be_written(path)]
    if not any(map(ledger.is_shared, paths)):
        raise UserError(
            "cannot be written, so the data set is not removed",
            where=_shared(ledger.user_folder(), images),
            remedy="make it writable (XDG_STATE_HOME names the folder of the user's ledgers)",
        )
    entry = _entry(REMOVE, reason, "", images, known.number("test", "images"))
    entry["removed"] = str(known.folder / LEDGER)
    ledger.append_or_refuse(paths, entry, "the data set is not removed")


def _of_test(images: TestImages) -> dict[str, Any]:
    """What a line says of a test set."""
    subjects = sorted(set(images.subjects.values()))
    return {"fingerprint": images.fingerprint, "n": images.n, "subjects": subjects}


def _import_message(known: StoreInfo, images: TestImages, places: dict[str, list[str]]) -> str:
    others = [place for place in images.sets if Path(place) != known.folder.resolve()]
    where = ", ".join(others) or f"the {known.name} that was there before"
    now = [f"{len(members)} are in {split}" for split, members in places.items() if members]
    number = len(images.subjects)
    what = numbered(number, "test image")
    subjects = len(set(images.subjects.values()))
    if subjects != number:
        what += f" (pictures or slices of {numbered(subjects, 'subject')})"
    return f"{what} of {where}: {', '.join(now) or 'none is'} here; the ledger says so"


# ------------------------------------------------------------------ what the ledgers say
def history(known: StoreInfo) -> History:
    """What the ledgers say of a set's test split.

    Raises:
      UserError: a ledger or the records cannot be read.
    """
    if not known.number("test"):
        return History(0, 0, 0, ())
    images = images_of(known)
    paths = paths_of(known, images)
    of_this: dict[str, ledger.Entry] = {}
    others: dict[str, ledger.Entry] = {}
    _sort(ledger.merged(paths), images.fingerprint, images.fingerprint, of_this, others)
    shared = ledger.shared_folders(Path(known.root))
    for related in test_images.registered(shared):
        if related.fingerprint != images.fingerprint and related.among(images.subjects):
            entries = ledger.merged(_shared(folder, related) for folder in shared)
            _sort(entries, related.fingerprint, images.fingerprint, of_this, others)
    return History(
        _number(of_this.values(), EVALUATE),
        _number(of_this.values(), PREDICT),
        _number(others.values(), EVALUATE),
        tuple(ledger.problems(paths)),
    )


def _sort(
    entries: Sequence[ledger.Entry],
    otherwise: str,
    fingerprint: str,
    of_this: dict[str, ledger.Entry],
    others: dict[str, ledger.Entry],
) -> None:
    """Put entries that speak of the test set ``fingerprint`` apart from all others."""
    names = ledger.fingerprints(entries, otherwise)
    for entry, name in zip(entries, names, strict=True):
        group = others
        if name == fingerprint:
            group = of_this
        group[ledger.identity(entry)] = entry


def _number(entries: Iterable[ledger.Entry], event: str) -> int:
    # lines of earlier versions have no event: all were evaluations
    return sum(entry.get("event", EVALUATE) == event for entry in entries)
