"""Subjects under pseudonyms that only the holder of a key can trace back.

A pseudonym is the keyed hash of who somebody is (HMAC-SHA256, RFC 2104; recommended by ENISA,
"Pseudonymisation techniques and best practices", 2019, section 5.1). The key is a file of the
user's, never a part of the data set: with it, the same person has the same pseudonym in every
import; without it, nobody can try out names.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import dataclasses
import hmac
import io
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from semiseg.data.set_folder import DESCRIPTION
from semiseg.data.source import CaseRef, Source
from semiseg.errors import UserError
from semiseg.escapes import csv_row
from semiseg.files import read_json_if_whole, replacing

WITHHELD = "withheld"
"""Stands for a path of the source in what a data set says of itself."""
LENGTH = 10
"""Characters of a pseudonym, five bits each: 100,000 people share none in 199,999 of 200,000 sets.
"""
KEY_BYTES = 32
COMMENT = "# secret key of semiseg's pseudonyms: keep it apart from the data set\n"
IDENTIFYING = re.compile(
    r"name|initials|birth|dob|date|time|mrn|patient|person|subject|participant|record|case|visit"
    r"|accession|insur|social|ssn|nhs|passport|address|street|city|zip|post|phone|mail|comment|note"
    r"|(^|[_ ])(id|ids|uid|number|no)($|[_ ])",
    re.IGNORECASE,
)
"""Columns of subjects.csv and participants.tsv that may say who somebody is."""


@dataclasses.dataclass(frozen=True)
class Pseudonyms:
    """Makes pseudonyms with one key.

    Attributes:
      key: the secret.

    >>> Pseudonyms(bytes(32)).of("Ann Smith")
    'pqwjquwkmxi'
    """

    key: bytes = dataclasses.field(repr=False)

    @property
    def check(self) -> str:
        """Tells two keys apart, and tells nothing of either."""
        return self._hash("check", "")[:LENGTH]

    def of(self, person: str) -> str:
        """The pseudonym of a person."""
        return "p" + self._hash("person", person)[:LENGTH]

    def source(self, files: Source) -> Source:
        """A data set on disk with pseudonyms in place of every name.

        Raises:
          UserError: two people would have one pseudonym.
        """
        refs = [ref for members in files.splits.values() for ref in members] + [*files.spare]
        everybody = {ref.subject for ref in refs} | set(files.subjects) | set(files.official_order)
        for fold in files.folds:
            everybody |= set(fold)
        names = {one: self.of(files.people.get(one, one)) for one in sorted(everybody)}
        if len(set(names.values())) < len(names):
            raise UserError("two subjects have one pseudonym", remedy="use another key")
        subjects, left_out = _columns(files, names)
        notes = list(files.notes)
        if left_out:
            notes.append(
                f"left out columns that may say who a subject is: {', '.join(sorted(left_out))}"
            )
        return dataclasses.replace(
            files,
            splits={
                split: [self._ref(ref, names) for ref in members]
                for split, members in files.splits.items()
            },
            spare=tuple(self._ref(ref, names) for ref in files.spare),
            official_order=tuple(names[subject] for subject in files.official_order),
            folds=tuple(tuple(names[subject] for subject in fold) for fold in files.folds),
            subjects=subjects,
            people={},
            notes=tuple(notes),
        )

    def _ref(self, ref: CaseRef, names: dict[str, str]) -> CaseRef:
        subject = names[ref.subject]
        volume = ref.volume and f"{subject}-{self._hash('scan', ref.volume)[:LENGTH]}"
        return dataclasses.replace(
            ref,
            subject=subject,
            name=f"{subject}-{self._hash('scan', ref.name)[:LENGTH]}",
            volume=volume,
            group=ref.group and self._hash("group", ref.group)[:LENGTH],
        )

    def _hash(self, what: str, text: str) -> str:
        message = f"{what}\0{text}".encode("utf-8", "surrogateescape")
        digest = hmac.digest(self.key, message, "sha256")
        return base64.b32encode(digest).decode().lower()


def _columns(files: Source, names: dict[str, str]) -> tuple[dict[str, dict[str, str]], set[str]]:
    """What is known of the subjects, by pseudonym, without the columns that may identify them."""
    left_out: set[str] = set()
    originals = {subject.casefold() for subject in names}
    for columns in files.subjects.values():
        for column, value in columns.items():
            if IDENTIFYING.search(column) or value.casefold() in originals:
                left_out.add(column)
    kept = {
        names[subject]: {column: columns[column] for column in columns if column not in left_out}
        for subject, columns in files.subjects.items()
    }
    return {subject: columns for subject, columns in kept.items() if columns}, left_out


# ------------------------------------------------------------------ for the import
class Said(NamedTuple):
    """What a data set says of its import."""

    source: str
    flags: dict[str, Any]


def of_import(
    place: Path, key: str | Path | None, say: Callable[[str], None] | None = None
) -> Pseudonyms | None:
    """The pseudonyms of an import; None where it shall have none.

    Args:
      place: of the set, which may be replaced.
      key: the user's file, see :func:`read_key`.
      say: as for :func:`read_key`.

    Raises:
      UserError: the set that is replaced has other names: nobody would find its subjects again, and
        its ledger would keep them.
    """
    secret = None
    if key is not None:
        secret = read_key(Path(key).expanduser(), place.parent, say)
    before = read_json_if_whole(place / DESCRIPTION)
    check = secret.check if secret else ""
    if before and before.get("pseudonyms", "") != check:
        names = "the names of the files"
        if before.get("pseudonyms"):
            names = "pseudonyms of another key" if secret else "pseudonyms"
        raise UserError(
            f"its subjects have {names}",
            where=place,
            remedy="import it under another --name, or with the --pseudonyms of before",
        )
    return secret


def applied(
    files: Source, secret: Pseudonyms | None, map_file: str | Path | None, root: Path
) -> Source:
    """The data set under pseudonyms, whose map is written where the user wants it."""
    if secret is None:
        if map_file is not None:
            raise UserError("--pseudonym-map needs --pseudonyms")
        return files
    if map_file is not None:
        write_map(Path(map_file).expanduser(), root, files, secret)
    return secret.source(files)


def said_of(source: str | Path, flags: Mapping[str, Any], secret: Pseudonyms | None) -> Said:
    """Where a data set came from; paths, which may hold names, are left out under pseudonyms.

    >>> said_of("scans/smith", {"classes": "a,b", "subjects_file": "x/y.csv"}, None).source
    'scans/smith'
    """
    if secret is None:
        return Said(str(source), dict(flags))
    shown = {name: WITHHELD if _is_path(value) else value for name, value in flags.items()}
    return Said(WITHHELD, shown | {"pseudonyms": WITHHELD})


def _is_path(value: Any) -> bool:
    return isinstance(value, str | Path) and ("/" in str(value) or Path(value).exists())


# ------------------------------------------------------------------ files of the user's
def read_key(path: Path, root: Path, say: Callable[[str], None] | None = None) -> Pseudonyms:
    """The key in a file; a new one is written where there is no file.

    Args:
      path: of the user's file.
      root: where data sets live, in which it must not lie.
      say: receives a line where a key is written, or where others can read it.

    Raises:
      UserError: it holds no key, cannot be read or written, or lies beside the data sets.
    """
    _check_apart(path, root, "--pseudonyms")
    try:
        if not path.exists():
            text = COMMENT + secrets.token_hex(KEY_BYTES) + "\n"
            _write_private(path, text)
            if say is not None:
                say(
                    f"{path}: wrote a new secret key; keep it, apart from the data set: it makes "
                    f"the same pseudonyms again, and traces them back"
                )
        elif say is not None and stat.S_IMODE(path.stat().st_mode) & 0o077:
            say(f"{path}: others can read the key; `chmod 600` it")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read or written ({error})", where=path) from None
    words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    with contextlib.suppress(ValueError):
        (word,) = words
        key = bytes.fromhex(word)
        if len(key) >= KEY_BYTES:
            return Pseudonyms(key)
    raise UserError(
        f"holds no key of {2 * KEY_BYTES} hexadecimal digits",
        where=path,
        remedy="name a file that is not there yet: a key is written into it",
    )


def write_map(path: Path, root: Path, files: Source, pseudonyms: Pseudonyms) -> None:
    """Write ``subject,pseudonym`` of every subject, for the user's eyes alone.

    Args:
      path: where the user wants it.
      root: where data sets live, in which it must not lie.
      files: with the original names.
      pseudonyms: of the key.

    Raises:
      UserError: it lies beside the data sets, or cannot be written.
    """
    _check_apart(path, root, "--pseudonym-map")
    refs = [ref for members in files.splits.values() for ref in members]
    subjects = sorted({ref.subject for ref in [*refs, *files.spare]})
    rows = [(one, pseudonyms.of(files.people.get(one, one))) for one in subjects]
    try:
        _write_private(path, _table(("subject", "pseudonym"), rows))
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=path) from None


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(map(csv_row, rows))
    return text.getvalue()


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)


def _check_apart(path: Path, root: Path, flag: str) -> None:
    if path.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"{flag} {path} lies among the data sets, which it must not be passed on with",
            remedy="choose another folder",
        )
