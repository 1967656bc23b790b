"""Splits that last: a set that is imported again keeps its validation and test subjects.

:func:`keep` takes what a reader found and what an earlier import of the same name wrote down. Where
chance placed the subjects, those that were annotated before stay where they were, and the others
are drawn so that the fractions of the draw are approached. Where the files state the splits, a
subject that moved is an error: scores before and after would not be comparable, and a test subject
would be trained on.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from semiseg.data import splits as splitting
from semiseg.data.info import numbered
from semiseg.data.source import CaseRef, Source
from semiseg.data.splits_csv import Row, counted
from semiseg.errors import UserError

KEPT = "kept from the earlier import"
REMEDY = "leave them as they were, or pass --resplit to take the splits anew"


class Member(NamedTuple):
    """A subject of the source.

    Attributes:
      split: where the reader put it; "" where it has spare cases alone.
      group: see :class:`semiseg.types.Case`.
      refs: its cases, those without a split among them.
      placement: why it is there.
    """

    split: str
    group: str
    refs: tuple[CaseRef, ...]
    placement: splitting.Placement

    @property
    def is_movable(self) -> bool:
        """Whether no file states its split."""
        return self.placement.fractions is not None


class Kept(NamedTuple):
    """A source whose splits last.

    Attributes:
      source: with its cases in their splits.
      reasons: subject → why it is in its split.
      notes: what is new, one line each; empty where there is no earlier import.
    """

    source: Source
    reasons: dict[str, str]
    notes: tuple[str, ...] = ()


def reasons(source: Source) -> dict[str, str]:
    """Subject → why it is in its split, as its reader says."""
    return {subject: member.placement.reason for subject, member in _members(source).items()}


def keep(source: Source, earlier: Mapping[str, Row], where: str) -> Kept:
    """Put every subject back into the split that it had, and draw those that are new.

    Args:
      source: of the reader.
      earlier: subject → row of the set that is replaced; empty where there was none.
      where: name of the set, for messages.

    Raises:
      UserError: a stated split is another one than before, subjects of two splits are in one group
        now, or a validation or test subject has lost its annotation.
    """
    if not earlier:
        return Kept(source, reasons(source))
    members = _members(source)
    _check_stated(members, earlier, where)
    places, why = _places(members, earlier, where)
    splits: dict[str, list[CaseRef]] = {split: [] for split in source.splits}
    spare: list[CaseRef] = []
    for ref in _in_order(source):
        split = places[ref.subject]
        if split == "train" or (split and ref.label_path):
            splits.setdefault(split, []).append(ref)
        else:
            spare.append(ref)
    _check_annotated(splits, earlier, members, where)
    arranged = dataclasses.replace(source, splits=splits, spare=tuple(spare))
    notes = [*_news(members, places, earlier, where), *_spare_notes(source, spare, where)]
    return Kept(arranged, why, tuple(notes))


def _in_order(source: Source) -> list[CaseRef]:
    refs: list[CaseRef] = []
    for members in source.splits.values():
        refs += members
    return [*refs, *source.spare]


def _members(source: Source) -> dict[str, Member]:
    """Subject → what its reader says of it."""
    split_of: dict[str, str] = {}
    for split, refs in source.splits.items():
        for ref in refs:
            split_of.setdefault(ref.subject, split)
    refs_of: dict[str, list[CaseRef]] = defaultdict(list)
    for ref in _in_order(source):
        refs_of[ref.subject].append(ref)
    members: dict[str, Member] = {}
    for subject, refs in refs_of.items():
        stated = [ref.placement for ref in refs if ref.placement.fractions is None]
        placement = (*stated, refs[0].placement)[0]
        split = split_of.get(subject, "")
        members[subject] = Member(split, refs[0].group, tuple(refs), placement)
    return members


# ------------------------------------------------------------------ where everybody goes
def _check_stated(members: Mapping[str, Member], earlier: Mapping[str, Row], where: str) -> None:
    moved = [
        subject
        for subject, member in members.items()
        if not member.is_movable
        and member.split
        and subject in earlier
        and earlier[subject].annotated
        and earlier[subject].split != member.split
    ]
    if not moved:
        return
    subject = moved[0]
    more = ""
    if len(moved) > 1:
        verb = "moves" if len(moved) == 2 else "move"
        more = f" (and {numbered(len(moved) - 1, 'more subject')} {verb})"
    now = members[subject]
    raise UserError(
        f"subject {subject} is in {now.split} ({now.placement.reason}), and was in "
        f"{earlier[subject].split} when {where} was imported before{more}",
        remedy=REMEDY,
    )


def _places(
    members: Mapping[str, Member], earlier: Mapping[str, Row], where: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Subject → split, and subject → why."""
    places = {subject: member.split for subject, member in members.items()}
    why = {subject: member.placement.reason for subject, member in members.items()}
    units: dict[splitting.Unit, list[str]] = defaultdict(list)
    for subject, member in members.items():
        if member.is_movable:
            unit = ("group", member.group) if member.group else ("subject", subject)
            units[unit].append(subject)
    undecided: list[str] = []
    for unit, subjects in units.items():
        split = _earlier_split(unit, subjects, earlier, where)
        drawn = all(ref.placement.is_drawn for s in subjects for ref in members[s].refs)
        if split:
            for subject in subjects:
                places[subject] = split
                why[subject] = _reason(unit, subject, earlier)
        elif drawn:
            undecided += subjects
        else:
            places |= dict.fromkeys(subjects, "train")
            why |= dict.fromkeys(subjects, splitting.UNANNOTATED)
    places |= _drawn(members, undecided, places)
    return places, why


def _earlier_split(
    unit: splitting.Unit, subjects: Sequence[str], earlier: Mapping[str, Row], where: str
) -> str:
    """The split that the annotated members of a unit had; "" for none."""
    splits: dict[str, str] = {}
    for subject in subjects:
        row = earlier.get(subject)
        if row is not None and (row.annotated or row.split != "train"):
            splits.setdefault(row.split, subject)
    if len(splits) > 1:
        first, second = list(splits)[:2]
        raise UserError(
            f"subjects {splits[first]} and {splits[second]} are in one group, {unit[1]}, and were "
            f"in {first} and {second} when {where} was imported before",
            remedy="give them two groups, or pass --resplit to take the splits anew",
        )
    return next(iter(splits), "")


def _reason(unit: splitting.Unit, subject: str, earlier: Mapping[str, Row]) -> str:
    if subject in earlier:
        return KEPT
    return f"with its group {unit[1]}"


def _drawn(
    members: Mapping[str, Member], undecided: Sequence[str], places: Mapping[str, str]
) -> dict[str, str]:
    """New subjects → split; those of the draw that stay count in the fractions."""
    if not undecided:
        return {}
    placement = members[undecided[0]].placement
    new = set(undecided)
    placed = {
        subject: places[subject]
        for subject, member in members.items()
        if subject not in new and any(ref.placement.is_drawn for ref in member.refs)
    }
    strata = {subject: members[subject].placement.stratum for subject in (*placed, *new)}
    groups = {subject: members[subject].group for subject in undecided}
    fractions = placement.fractions or {}
    return splitting.assign(groups, fractions, placement.seed, strata, placed)


def _check_annotated(
    splits: Mapping[str, Sequence[CaseRef]],
    earlier: Mapping[str, Row],
    members: Mapping[str, Member],
    where: str,
) -> None:
    """Refuse a source in which a validation or test subject is still there without its label."""
    for split in ("val", "test"):
        present = {ref.subject for ref in splits.get(split, ())}
        for subject, row in earlier.items():
            if row.split == split and subject in members and subject not in present:
                path = members[subject].refs[0].path
                raise UserError(
                    f"subject {subject} was in {split} when {where} was imported before, and has "
                    f"no label now",
                    where=path,
                    remedy="restore its label, or pass --resplit to take the splits anew",
                )


# ------------------------------------------------------------------ what is new
def _news(
    members: Mapping[str, Member],
    places: Mapping[str, str],
    earlier: Mapping[str, Row],
    where: str,
) -> list[str]:
    """Who stays, who is new, who is annotated now, and who is gone."""
    stay = [row.split for subject, row in earlier.items() if subject in members]
    held = [split for split in stay if split != "train"]
    notes: list[str] = []
    if held:
        notes.append(
            f"{where}: subjects that stay where the earlier import had them: {counted(held)}; "
            f"--resplit takes the splits anew"
        )
    new = [places[subject] for subject in members if subject not in earlier]
    if new:
        notes.append(f"{where}: {numbered(len(new), 'new subject')}: {counted(new)}")
    annotated = [
        places[subject]
        for subject, member in members.items()
        if subject in earlier
        and not earlier[subject].annotated
        and any(ref.label_path for ref in member.refs)
    ]
    if annotated:
        words = numbered(len(annotated), "subject")
        notes.append(f"{where}: {words} annotated since the earlier import: {counted(annotated)}")
    gone = [row.split for subject, row in earlier.items() if subject not in members]
    if gone:
        words = numbered(len(gone), "subject")
        notes.append(f"{where}: {words} of the earlier import not in the source: {counted(gone)}")
    return notes


def _spare_notes(source: Source, spare: Sequence[CaseRef], where: str) -> list[str]:
    """A line for scans without a label that came to subjects of val and test."""
    known = {ref.name for ref in source.spare}
    new = [ref for ref in spare if ref.name not in known]
    if not new:
        return []
    return [
        f"{where}: left out {numbered(len(new), 'image')} without annotation of subjects in val "
        f"and test ({new[0].name})"
    ]
