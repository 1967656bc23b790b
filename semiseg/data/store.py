"""The store: imported data sets as TFDS array_record files, and the wall between training and test.

A set lives in ``ROOT/NAME``: ``records/1.0.0/`` (TFDS, written and read without TensorFlow),
``semiseg.json`` and ``card.md`` (what it is, for programs and for people) and ``ledger.jsonl``
(every look at its test split). Training code reads with :func:`read_split`, which knows no test
split.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg import __version__
from semiseg.data.source import SPLITS, Source, progress_bar
from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.data.data_card import Seen
    from semiseg.types import Case

LAYOUT = 1


@dataclasses.dataclass(frozen=True)
class StoreInfo:
    """What is known of a set without opening its records.

    Attributes:
      name, root: where it is.
      classes: class names, background first.
      unit: of spacings and distances (``mm``, ``voxel``, ``pixel``).
      channels, dtype: of every image; dtype is ``uint8`` or ``float32``.
      license, citation: of the data.
      official_order: subjects in the order published work labels them, or empty.
      counts: split → number of ``records``, ``volumes``, ``subjects`` and ``annotated`` subjects.
      fingerprint: SHA-256 of all names, pixels, labels and spacings: two sets with one fingerprint
        hold the same data.
      format, source: what it was imported from.
      files: record file → SHA-256.
    """

    name: str
    root: str
    classes: tuple[str, ...]
    unit: str
    channels: int
    dtype: str
    license: str
    citation: str
    official_order: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    fingerprint: str
    format: str
    source: str
    files: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return Path(self.root) / self.name


def default_root() -> Path:
    """``SEMISEG_DATA``, or ``semiseg/data`` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SEMISEG_DATA") or Path(cache) / "semiseg" / "data").expanduser()


def list_sets(root: str | Path | None = None) -> list[StoreInfo]:
    """Every set under ``root``, the embedded one first."""
    folder = _root(root)
    names = sorted(
        p.parent.name for p in folder.glob("*/semiseg.json") if not p.parent.name.startswith(".")
    )
    found = [info("nuclei", root)]
    for name in names:
        try:
            found.append(info(name, root))
        except UserError:  # a damaged set must not hide the others; its own name still reports it
            continue
    return found


def info(name: str, root: str | Path | None = None) -> StoreInfo:
    """What a set is. Raises UserError where there is none of that name or its ``semiseg.json`` is
    damaged.
    """
    folder = _root(root)
    if name == "nuclei":
        from semiseg.data import embedded

        return embedded.info(str(folder))
    path = folder / _checked(name) / "semiseg.json"
    if not path.exists():
        _recover(folder)
    if not path.exists():
        here = ", ".join(s.name for s in list_sets(root))
        raise UserError(
            f"no data set {name!r} in {folder}; there is {here}; import it or give --root"
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop("layout") != LAYOUT:
            raise ValueError("written by another version of semiseg")
        fields |= {key: tuple(fields[key]) for key in ("classes", "official_order")}
        return StoreInfo(name=name, root=str(folder), **fields)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise UserError(
            f"{path}: damaged ({error}); import the set again with --overwrite"
        ) from error


def read_split(name: str, split: str, root: str | Path | None = None) -> list[Case]:
    """The cases of ``train`` or ``val`` in stored order. There is no other split here: see
    :func:`read_test`.
    """
    if split not in ("train", "val"):
        raise UserError(
            f"split {split!r} cannot be read here: training sees train and val; `semiseg "
            f"evaluate RUN --split test` reads test"
        )
    return _read(info(name, root), split)


def read_test(name: str, root: str | Path | None = None, *, reason: str, run: str) -> list[Case]:
    """The test cases; the look is written to the set's ledger before the first byte is read.

    Args:
      reason: why, in words, e.g. ``semiseg evaluate``.
      run: the run folder that is tested.
    """
    known = info(name, root)
    if not known.counts.get("test", {}).get("records"):
        raise UserError(
            f"{name}: has no test split; import it with test cases, or evaluate with --split val"
        )
    line = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "run": str(run),
        "reason": reason,
        "semiseg": __version__,
        "n": known.counts["test"]["records"],
    }
    path = known.folder / "ledger.jsonl"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}), so test is not read; make it writable"
        ) from error
    return _read(known, "test")


def ledger(name: str, root: str | Path | None = None) -> list[dict[str, Any]]:
    """Every look at a set's test split so far, oldest first."""
    path = info(name, root).folder / "ledger.jsonl"
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.exists()
        else []
    )


def import_set(
    format: str,
    source: str | Path,
    name: str,
    root: str | Path | None = None,
    progress: bool = True,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> StoreInfo:
    """Read ``source`` with the reader ``format`` and store it as ``name``; ``options`` go to the
    reader, what it assumed to ``say``.

    The set is built in a hidden folder beside its place and renamed at the end: it is there whole
    or not at all. A set that is replaced (``overwrite``) hands its ledger on; what is no set is not
    replaced. Raises UserError at the first problem; ``semiseg.data.check`` lists all.
    """
    from semiseg.data import data_card as card
    from semiseg.data import readers

    folder = _root(root)
    if _checked(name) == "nuclei":
        raise UserError("nuclei is the embedded set's name; import under another one with --name")
    _check_place(folder / name, overwrite)
    found = readers.read(format, source, progress=progress, **options)
    if found.problems:
        more = (
            f" (and {len(found.problems) - 1} more: `semiseg data check` lists all)"
            if len(found.problems) > 1
            else ""
        )
        raise UserError(found.problems[0] + more)
    for note in found.notes:
        say(note)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be made ({error.strerror}); choose another --root"
        ) from error
    _recover(folder)
    building = (
        folder / f".{name}.importing-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    )
    try:
        building.mkdir()
        facts, seen = _write(found, building, progress)
        facts |= {"format": format, "source": str(source), "layout": LAYOUT}
        (building / card.FILE).write_text(
            card.card(name, facts, seen, card.command(format, source, name, options)),
            encoding="utf-8",
        )
        (building / "semiseg.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
        _check_place(folder / name, overwrite)  # once more: an import takes its time
        _put(building, folder / name)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); free some space or choose "
            f"another --root"
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return info(name, root)


# ------------------------------------------------------------------ folders
def _root(root: str | Path | None) -> Path:
    return Path(root).expanduser() if root else default_root()


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UserError(
            f"data set name {name!r}: must be letters, digits, '.', '_' and '-', and start with "
            f"a letter or digit"
        )
    return name


def _check_place(place: Path, overwrite: bool) -> None:
    """Refuse a place that is taken, and one whose replacement would delete what is no data set."""
    if not os.path.lexists(place):
        return
    if place.is_symlink():
        kind = "a link"
    elif not place.is_dir():
        kind = "a file"
    elif not (place / "semiseg.json").is_file():
        kind = "a folder without semiseg.json"
    elif overwrite:
        return
    else:
        raise UserError(
            f"{place}: exists already; choose another --name, or replace it with --overwrite"
        )
    raise UserError(
        f"{place}: is {kind} and no data set, so it is not replaced; choose another --name or "
        f"--root, or remove it first"
    )


def _put(built: Path, place: Path) -> None:
    """Rename ``built`` to ``place``; what stood there steps aside first, so that a kill in between
    leaves one of the two (`_recover`).
    """
    aside = place.with_name(f".{place.name}.replaced-{uuid.uuid4().hex[:6]}")
    if place.exists():
        if (place / "ledger.jsonl").exists():
            shutil.copy2(place / "ledger.jsonl", built / "ledger.jsonl")
        place.rename(aside)
    built.rename(place)
    shutil.rmtree(aside, ignore_errors=True)


def _recover(folder: Path) -> None:
    """Put back sets whose replacement was killed half-way; remove what dead imports left."""
    for aside in folder.glob(".*.replaced-*"):
        place = folder / aside.name[1:].rsplit(".replaced-", 1)[0]
        if place.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(place)
    for left in folder.glob(".*.importing-*"):
        host, pid, _ = left.name.rsplit(".importing-", 1)[1].rsplit("-", 2)
        if host == socket.gethostname() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


# ------------------------------------------------------------------ records
def _write(found: Source, folder: Path, show: bool) -> tuple[dict[str, Any], dict[str, Seen]]:
    """Write the records of a source; returns the fields of StoreInfo that come from them, and what
    was seen of train and val.
    """
    from semiseg.data import array_records as records
    from semiseg.data.check import case_problems
    from semiseg.data.data_card import Seen

    splits = {split: found.splits[split] for split in SPLITS if found.splits.get(split)}
    first = next(iter(splits.values()))[0].load()
    digest = hashlib.sha256()
    counts: dict[str, dict[str, int]] = {}
    looked = {split: Seen() for split in splits if split != "test"}

    def cases(split: str):
        seen: dict[str, set[str]] = {"volumes": set(), "subjects": set(), "annotated": set()}
        for ref in progress_bar(splits[split], f"import {split}", show=show):
            case = ref.load()
            problems = case_problems(
                case,
                found.classes,
                first.image.shape[-1],
                first.image.dtype.name,
                ref.path,
                ref.label_path,
            )
            if problems:
                raise UserError(problems[0])
            facts = (
                case.subject,
                case.name,
                case.volume,
                case.index,
                case.group,
                case.spacing,
                case.image.shape,
                case.label is None,
            )
            digest.update(repr((split, *facts)).encode())
            digest.update(case.image.tobytes())
            digest.update(b"" if case.label is None else case.label.tobytes())
            seen["volumes"].add(case.volume)
            seen["subjects"].add(case.subject)
            if case.label is not None:
                seen["annotated"].add(case.subject)
            if split in looked:
                looked[split].add(case)
            yield case
        counts[split] = {"records": len(splits[split])} | {
            key: len(value) for key, value in seen.items()
        }

    records.write(
        folder, {split: cases(split) for split in splits}, first.image.shape[-1], first.image.dtype
    )
    place = records.folder(folder)
    facts = {
        "classes": found.classes,
        "unit": found.unit,
        "channels": first.image.shape[-1],
        "dtype": first.image.dtype.name,
        "license": found.license,
        "citation": found.citation,
        "official_order": found.official_order,
        "counts": counts,
        "fingerprint": digest.hexdigest(),
        "files": {p.name: file_hash(p) for p in sorted(place.iterdir())},
    }
    return facts, looked


def _read(known: StoreInfo, split: str) -> list[Case]:
    if known.name == "nuclei":
        from semiseg.data import embedded

        return embedded.read(split)
    from semiseg.data import array_records as records

    expected = known.counts.get(split, {}).get("records", 0)
    if not expected:
        raise UserError(f"{known.name}: has no {split} split; import it with one")
    remedy = f"damaged or missing; import {known.name} again with --overwrite"
    # before TFDS opens a file: what it reads can make it import modules
    damaged = damaged_files(known, split)
    if damaged:
        raise UserError(f"{damaged[0]}: {remedy}")
    try:
        cases = records.read(known.folder, split)
        if len(cases) != expected:
            raise ValueError(f"{len(cases)} records instead of {expected}")
        return cases
    except (ValueError, RuntimeError, OSError, IndexError) as error:
        raise UserError(f"{records.folder(known.folder)}: {remedy}") from error


def damaged_files(known: StoreInfo, split: str | None = None) -> list[Path]:
    """Record files that are missing or no longer what the import wrote.

    With ``split``, the files that hold the records of the other splits are not opened.
    """
    from semiseg.data import array_records as records

    place = records.folder(known.folder)
    others = [f"-{other}.array_record" for other in SPLITS if split and other != split]
    return [
        place / name
        for name, digest in known.files.items()
        if not any(other in name for other in others) and not _has_hash(place / name, digest)
    ]


def _has_hash(path: Path, digest: str) -> bool:
    try:
        return file_hash(path) == digest
    except OSError:  # missing, a folder, or not to be read
        return False


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
