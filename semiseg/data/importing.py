"""From files on disk to a stored data set: the only module that writes a store."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from semiseg.data import (
    array_records,
    data_card,
    earlier_splits,
    fingerprints,
    fold_splits,
    guard,
    provenance,
    readers,
    regions,
    resemblance,
    seal,
    set_folder,
    splits_csv,
    store,
    subjects_csv,
    unrecorded,
    wall,
)
from semiseg.data import pseudonyms as secrecy
from semiseg.data.info import StoreInfo
from semiseg.data.pixel_counts import PixelCounts
from semiseg.data.problems import case_problems, class_problems
from semiseg.data.provenance import Provenance
from semiseg.data.resemblance import Resemblance
from semiseg.data.set_digest import SetDigest
from semiseg.data.source import SPLITS, CaseRef, Source, progress_bar
from semiseg.errors import UserError, disk_problem
from semiseg.files import file_hash
from semiseg.holding import holding
from semiseg.types import Case


def import_set(
    format: str,
    source: str | Path,
    name: str,
    root: str | Path | None = None,
    progress: bool = True,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
    allow_near_duplicates: bool = False,
    resplit: bool = False,
    region: Sequence[str] = (),
    pseudonyms: str | Path | None = None,
    pseudonym_map: str | Path | None = None,
    **options: Any,
) -> StoreInfo:
    """Read files and store them as a data set.

    The set is built in a hidden folder beside its place and renamed at the end: it is there whole
    or not at all. A set that is replaced hands on its ledger and its splits, see
    :mod:`semiseg.data.earlier_splits`; what is no set is not replaced.

    Args:
      format: of the files, see :data:`semiseg.data.readers.READERS`.
      source: folder or file that holds them.
      name, root: of the set.
      progress: show a progress bar.
      overwrite: replace a set of this name.
      say: receives one line for each thing that the reader assumed, for each two subjects of a
        split that share an image, and for what is new since the earlier import.
      allow_near_duplicates: accept images that look alike in two splits; the set records it.
      resplit: take the splits anew, whatever those of the set were that is replaced.
      region: unions of classes, such as ``whole=edema,core``; without any, those of the set that is
        replaced.
      pseudonyms: file of the secret key under whose pseudonyms subjects are stored, see
        :mod:`semiseg.data.pseudonyms`.
      pseudonym_map: where to write which subject has which pseudonym.
      **options: of the reader.

    Raises:
      UserError: at the first problem; :mod:`semiseg.data.check` lists all.
    """
    if set_folder.checked_name(name) == store.EMBEDDED:
        raise UserError(
            f"{store.EMBEDDED} is the embedded set's name",
            remedy="import under another one with --name",
        )
    place = set_folder.root_folder(root) / name
    if unrecorded.read(place):
        store.info(name, root)  # tells the ledgers what a killed import has not
    set_folder.check_place(place, overwrite)
    with holding(place, "semiseg data import"):
        secret = secrecy.of_import(place, pseudonyms, say)
        files = readers.read(format, source, progress=progress, **options)
        _refuse_problems([*files.problems, *class_problems(files.classes, source)])
        files = secrecy.applied(files, secret, pseudonym_map, place.parent)
        origin = provenance.of_pairs(Path(source).expanduser())
        earlier: dict[str, splits_csv.Row] = {}
        if origin is None and not resplit:
            earlier = splits_csv.read(place)
        if place.exists() and not earlier and not resplit and say is not None and origin is None:
            say(
                f"{name}: the set that is replaced has no record of its splits: they are taken anew"
            )
        kept = earlier_splits.keep(files, earlier, name)
        files = kept.source
        united, handed_on = _regions(files, region, place)
        files = dataclasses.replace(files, regions=united)
        stated = fold_splits.of_source(files)
        for note in (*files.notes, *kept.notes, *handed_on, *stated.notes(name)):
            if say is not None:
                say(note)
        flags = options | {"allow_near_duplicates": allow_near_duplicates or None}
        said = secrecy.said_of(source, flags, secret)
        command = data_card.command(format, said.source, name, said.flags, region)
        before = guard.stored_images(name, root)
        with _building(place, overwrite) as folder:
            records = _write_records(files, folder, progress)
            facts = records.facts() | {
                "format": format,
                "source": said.source,
                "layout": store.LAYOUT,
                "allowed": files.allowed | _accepted(records.seen, origin, allow_near_duplicates),
            }
            if stated.folds:
                facts["folds"] = stated.folds
            if secret is not None:
                facts["pseudonyms"] = secret.check
            records.seen.write(folder / fingerprints.FILE)
            alike = _resembled(records.seen, origin, name, root)
            if alike:
                resemblance.write(folder / resemblance.FILE, alike)
            subjects_csv.write_columns(folder, files.subjects)
            splits_csv.write(folder, records.rows(kept.reasons))
            if origin is not None:
                provenance.write(folder / provenance.FILE, origin)
            card = data_card.card(name, facts, records.counts, command)
            # where the locale is C, a path's bytes come as surrogates, and go back as they came
            content = card.encode("utf-8", "surrogateescape")
            (folder / data_card.FILE).write_bytes(content)
            description = json.dumps(facts, indent=1)
            _check_readable(description, name, folder, source)
            (folder / set_folder.DESCRIPTION).write_text(description, encoding="utf-8")
            seal.write(folder)
            unrecorded.announce(folder, before, command)
        info = store.info(name, root)
        messages = wall.record_import(info, before, records.seen.hashes, command)
        messages += [item.message for item in alike]
        for message in (*records.seen.twins(), *messages):
            if say is not None:
                say(message)
        return info


def _regions(files: Source, typed: Sequence[str], place: Path) -> tuple[regions.Regions, list[str]]:
    """The regions of an import, and a line for those that a replaced set hands on or takes along.

    Args:
      files: of the reader.
      typed: by the user.
      place: of the set that is replaced, if there is one.
    """
    stated = regions.with_typed(files.regions, typed, files.classes)
    if stated or not place.exists():
        return stated, []
    try:
        earlier = store.info(place.name, place.parent).regions
    except UserError:  # it is damaged, or of another version: the import replaces it
        return {}, []
    try:
        kept = regions.checked(earlier, files.classes, place)
    except UserError as error:
        return {}, [f"{error}; the regions of the set that is replaced are left out"]
    return kept, [f"{place.name}: region {words}, as before" for words in regions.words(kept)]


@contextlib.contextmanager
def _building(place: Path, overwrite: bool) -> Iterator[Path]:
    """A new folder that takes its ``place`` when the block ends, and is gone where it fails."""
    root = place.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot be made ({error.strerror})", where=root, remedy="choose another --root"
        ) from error
    set_folder.recover(root)
    folder = set_folder.building_folder(root, place.name)
    try:
        folder.mkdir()
        yield folder
        set_folder.check_place(place, overwrite)  # once more: an import takes its time
        set_folder.replace(folder, place)
    except UserError:
        raise
    except Exception as error:
        problem = disk_problem(error)  # the writer of records raises RuntimeError on a full disk
        if problem is None and isinstance(error, OSError):
            problem = error.strerror or str(error)
        if problem is None:
            raise
        raise UserError(
            f"cannot be written ({problem})",
            where=root,
            remedy="free some space or choose another --root",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_readable(description: str, name: str, folder: Path, source: str | Path) -> None:
    """Refuse to store what no command reads again, such as a class whose name fills a page."""
    try:
        store.parse(description, name, folder)
    except ValueError as error:
        raise UserError(
            f"cannot be stored ({error})", where=source, remedy="correct it and import it again"
        ) from None


def _refuse_problems(problems: Sequence[str]) -> None:
    if not problems:
        return
    more = ""
    if len(problems) > 1:
        more = f" (and {len(problems) - 1} more: `semiseg data check` lists all)"
    raise UserError(problems[0] + more)


def _accepted(
    seen: fingerprints.Collector, origin: Provenance | None, allow_near_duplicates: bool
) -> dict[str, int]:
    """What the import was told to accept of copies and look-alikes in two splits.

    The splits of a generated set keep nothing apart: all of its pairs are training images.

    Raises:
      UserError: there is a copy, or a look-alike that was not allowed.
    """
    if origin is not None:
        return {"generated": 1}
    _refuse_problems(seen.copies())
    alike = seen.look_alikes()
    if not alike:
        return {}
    if not allow_near_duplicates:
        _refuse_problems(alike)
    return {"near_duplicates": len(alike)}


def _resembled(
    seen: fingerprints.Collector,
    origin: Provenance | None,
    name: str,
    root: str | Path | None,
) -> list[Resemblance]:
    """The sets under the root whose held-out images look like training images of an import.

    What made a generated set is recorded, so its images are not compared.
    """
    if origin is not None:
        return []
    others = [info for info in store.list_sets(root) if info.name != name]
    return resemblance.search(seen.hashes, seen.descriptions, others)


def _write_records(files: Source, folder: Path, progress: bool) -> _Records:
    records = _Records(files, folder, progress)
    splits = {split: records.cases(split) for split in records.splits}
    array_records.write(folder, splits)
    return records


class _Records:
    """The cases of a source on their way into record files, and what is counted on the way.

    Attributes:
      splits: split → cases; splits without a case are left out.
      channels: of the first image, and so of all.
      dtypes: of the images so far.
      counts: split → pixels of train and val, for the data card.
      seen: fingerprints of the images so far.
      split_of: subject → split, so far.
      annotated: subjects with a label so far.
    """

    def __init__(self, files: Source, folder: Path, progress: bool):
        self.files = files
        self.folder = folder
        self.progress = progress
        self.splits: dict[str, list[CaseRef]] = {
            split: files.splits[split] for split in SPLITS if files.splits.get(split)
        }
        self.channels = 0
        self.dtypes: set[str] = set()
        values = regions.numbers(files.regions, files.classes)
        counted = [split for split in self.splits if split != "test"]
        self.counts = {split: PixelCounts(regions=values) for split in counted}
        self.seen = fingerprints.Collector()
        self.split_of: dict[str, str] = {}
        self.annotated: set[str] = set()
        self._digest = SetDigest()
        self._numbers: dict[str, dict[str, int]] = {}

    def cases(self, split: str) -> Iterator[Case]:
        """The checked cases of a split. Nothing of a test image is counted but that it is there."""
        images = 0
        volumes: set[str] = set()
        subjects: set[str] = set()
        annotated: set[str] = set()
        for ref in progress_bar(self.splits[split], f"import {split}", show=self.progress):
            case = self._checked(ref)
            self._digest.add(split, case)
            self.seen.add(split, case, ref.path)
            images += 1 if case.image.ndim == 3 else len(case.image)
            volumes.add(case.volume)
            subjects.add(case.subject)
            self.split_of[case.subject] = split
            if case.label is not None:
                annotated.add(case.subject)
            if split in self.counts:
                self.counts[split].add(case)
            passed = [case]
            del case  # who takes it may let it go
            yield passed.pop()
        self.annotated |= annotated
        self._numbers[split] = {
            "records": len(self.splits[split]),
            "images": images,
            "volumes": len(volumes),
            "subjects": len(subjects),
            "annotated": len(annotated),
        }

    def _checked(self, ref: CaseRef) -> Case:
        case = ref.load()
        self.channels = self.channels or case.image.shape[-1]
        self.dtypes.add(case.image.dtype.name)
        problems = case_problems(case, self.files.classes, self.channels, ref.path, ref.label_path)
        if problems:
            raise UserError(problems[0])
        return case

    def rows(self, reasons: Mapping[str, str]) -> dict[str, splits_csv.Row]:
        """Subject → what ``splits.csv`` says of it, once the records are written.

        Args:
          reasons: subject → why it is in its split.
        """
        return {
            subject: splits_csv.Row(split, subject in self.annotated, reasons[subject])
            for subject, split in self.split_of.items()
        }

    def facts(self) -> dict[str, Any]:
        """The fields of StoreInfo that the records determine, once they are written."""
        paths = sorted(array_records.folder(self.folder).iterdir())
        dtype = "mixed"
        if len(self.dtypes) == 1:
            (dtype,) = self.dtypes
        return {
            "classes": self.files.classes,
            "unit": self.files.unit,
            "channels": self.channels,
            "channel_names": self.files.channel_names,
            "regions": self.files.regions,
            "dtype": dtype,
            "license": self.files.license,
            "citation": self.files.citation,
            "official_order": self.files.official_order,
            "counts": self._numbers,
            "fingerprint": self._digest.fingerprint,
            "files": {path.name: file_hash(path) for path in paths},
        }
