"""Cross-validation: which subjects each fold holds out.

The subjects outside the test split (those of train and val) that somebody annotated are dealt into
folds. The rule depends on the data set alone:

1. What belongs together stays together: the members of a group, and subjects that share an image.
2. Sites (a column such as ``site`` or ``scanner`` of ``subjects.csv``) are dealt one after the
   other, so that each fold has its share of each.
3. Within a site large groups go first, then those with the largest volume of the classes, each
   class in units of its total. Each goes to the fold that has the fewest subjects of the site; of
   several, to the one that has the fewest subjects in all, then to that in which the volumes of
   the classes stay most even.

Subjects that nobody annotated always train, unless they belong to a group that is held out. Where
an import brought folds with the data (``splits_final.json`` of nnU-Net), these are the folds of
that number.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from semiseg.data import subjects_csv
from semiseg.data.fingerprints import Hashes, hashes_of
from semiseg.data.info import StoreInfo, numbered
from semiseg.data.problems import value_counts
from semiseg.data.source import Source
from semiseg.data.splits import rank
from semiseg.errors import UserError
from semiseg.types import Case

MOST_LEFT_OUT = 10
"""Up to so many groups each may be a fold of its own (leave-one-out)."""
SITES = (
    *("site", "centre", "center", "hospital", "institution", "domain"),
    *("scanner", "vendor", "manufacturer", "stain"),
)
"""Columns of subjects.csv by which subjects are dealt, the first that there is."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """What goes into a fold as a whole.

    Attributes:
      name: of its first subject.
      subjects: sorted; those that nobody annotated are among them.
      size: number of annotated subjects.
      site: of its first subject; "" where nobody knows.
      shares: of each class but the background, in units of the data set's total volume of it.
    """

    name: str
    subjects: tuple[str, ...]
    size: int
    site: str = ""
    shares: tuple[float, ...] = ()


def deal(
    units: Sequence[Unit], folds: int, placed: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Subject → fold, by the rule of this module.

    Args:
      units: what is dealt.
      folds: their number, at most that of the units.
      placed: subject → fold of subjects that have one already; of a unit its first such one counts.

    >>> units = [Unit(name, (name,), 1, shares=(share,)) for name, share in
    ...          (("a", 0.4), ("b", 0.3), ("c", 0.2), ("d", 0.1))]
    >>> deal(units, 2)
    {'a': 0, 'b': 1, 'c': 1, 'd': 0}
    """
    classes = len(units[0].shares)
    volumes = np.zeros((folds, classes))
    of_site: dict[str, Counter[int]] = defaultdict(Counter)
    sizes: Counter[int] = Counter()
    fold_of: dict[str, int] = {}
    for unit in _in_order(units, placed or {}):
        fold = _stated(unit, placed or {})
        if fold is None:
            spread = np.square(volumes + unit.shares).sum(1) - np.square(volumes).sum(1)
            costs = np.round(spread, 9).tolist()
            site = of_site[unit.site]
            fold = min(range(folds), key=lambda i: (site[i], sizes[i], costs[i]))
        volumes[fold] += unit.shares
        of_site[unit.site][fold] += unit.size
        sizes[fold] += unit.size
        fold_of.update(dict.fromkeys(unit.subjects, fold))
    return fold_of


def _stated(unit: Unit, placed: Mapping[str, int]) -> int | None:
    stated = [placed[subject] for subject in unit.subjects if subject in placed]
    return stated[0] if stated else None


def _in_order(units: Sequence[Unit], placed: Mapping[str, int]) -> list[Unit]:
    """Units that have their fold, then the others: of the largest site first, each by its size and
    its volume.
    """
    sites = Counter(unit.site for unit in units)

    def order(unit: Unit) -> tuple[object, ...]:
        is_new = _stated(unit, placed) is None
        volume = round(sum(unit.shares), 9)
        by_site = (-sites[unit.site], unit.site)
        return (is_new, *by_site, -unit.size, -volume, rank("folds", unit.name))

    return sorted(units, key=order)


def check(folds: int, units: int, name: str) -> None:
    """Refuse a number of folds that a data set cannot be dealt into.

    Args:
      folds: their number.
      units: number of groups of annotated subjects outside the test split.
      name: of the data set.

    Raises:
      UserError: there are fewer groups, or one subject at a time would be held out of many.

    >>> check(5, 10, "mine")
    >>> check(11, 11, "mine")
    Traceback (most recent call last):
    ...
    semiseg.errors.UserError: folds 11: each of the 11 groups of data set 'mine' would be a fold \
of its own, and 11 networks trained to score one group each; ask for at most 10 folds
    """
    where = f"folds {folds}"
    if folds > units:
        raise UserError(
            f"data set {name!r} has {numbered(units, 'group')} of annotated subjects outside its "
            f"test split",
            where=where,
            remedy=f"ask for at most {min(units, MOST_LEFT_OUT)} folds",
        )
    if folds == units > MOST_LEFT_OUT:
        raise UserError(
            f"each of the {units} groups of data set {name!r} would be a fold of its own, and "
            f"{units} networks trained to score one group each",
            where=where,
            remedy=f"ask for at most {MOST_LEFT_OUT} folds",
        )


# ------------------------------------------------------------------ of a data set
def of_scans(info: StoreInfo, scans: Iterable[Case], folds: int) -> dict[str, int]:
    """Subject → fold of a data set; a subject that is in none always trains.

    Args:
      info: of the data set.
      scans: of train and val, as they are stored.
      folds: their number.

    Raises:
      UserError: see :func:`check`.
    """
    dealer = Dealer(info)
    for scan in scans:
        dealer.add(scan)
    return dealer.deal(folds)


class Dealer:
    """Deals the subjects of a data set, whose scans of train and val it is shown one by one.

    Attributes:
      info: of the data set.
      volumes: subject → ``(K - 1,)`` volumes of the classes but the background, in mm³, mm² or
        pixels, of those that somebody annotated.
      groups: subject → group; "" for none.
    """

    def __init__(self, info: StoreInfo):
        self.info = info
        self.volumes: dict[str, np.ndarray] = {}
        self.groups: dict[str, str] = {}

    def add(self, scan: Case) -> None:
        """Count a scan."""
        self.groups.setdefault(scan.subject, scan.group)
        if scan.label is None:
            return
        classes = len(self.info.classes)
        counts = value_counts(scan.label)[1:classes]
        volume = counts * float(np.prod(scan.spacing))
        self.volumes[scan.subject] = self.volumes.get(scan.subject, 0) + volume

    def units(self) -> list[Unit]:
        """What is dealt: groups, subjects that share an image, and single subjects, with at least
        one annotated subject each.
        """
        total = np.sum([*self.volumes.values()], axis=0)
        sites = site_of(self.info)
        units: list[Unit] = []
        for subjects in _together(self.groups, hashes_of(self.info)):
            annotated = [subject for subject in subjects if subject in self.volumes]
            if not annotated:
                continue
            volume = np.sum([self.volumes[subject] for subject in annotated], axis=0)
            shares = np.round(volume / np.maximum(total, 1e-9), 9).tolist()
            site = sites.get(annotated[0], "")
            units.append(Unit(subjects[0], tuple(subjects), len(annotated), site, tuple(shares)))
        return units

    def deal(self, folds: int) -> dict[str, int]:
        """Subject → fold; a subject that is in none always trains.

        Raises:
          UserError: see :func:`check`.
        """
        units = self.units()
        check(folds, len(units), self.info.name)
        placed: dict[str, int] = {}
        if is_stored(self.info, folds):
            for fold, subjects in enumerate(self.info.folds):
                placed |= dict.fromkeys(subjects, fold)
        return deal(units, folds, placed)


def is_stored(info: StoreInfo, folds: int) -> bool:
    """Whether an import brought so many folds with the data."""
    return len(info.folds) == folds


def site_column(info: StoreInfo) -> str:
    """The column of subjects.csv by which a set is dealt; "" for none."""
    columns: set[str] = set()
    for values in subjects_csv.read_columns(info.folder).values():
        columns |= set(values)
    names = {column.lower(): column for column in sorted(columns)}
    return next((names[site] for site in SITES if site in names), "")


def site_of(info: StoreInfo) -> dict[str, str]:
    """Subject → site, of those whose site is known."""
    column = site_column(info)
    columns = subjects_csv.read_columns(info.folder)
    return {subject: values.get(column, "") for subject, values in columns.items()}


def _together(groups: Mapping[str, str], table: Hashes | None) -> list[list[str]]:
    """Sorted subjects of train and val that stay together."""
    keys: dict[object, set[str]] = defaultdict(set)
    leader = {subject: subject for subject in groups}
    for subject, group in groups.items():
        if group:
            keys["group", group].add(subject)
    if table is not None:
        known = np.isin(table.subjects, sorted(leader)) & (table.hashes != 0)
        rows = zip(table.subjects[known].tolist(), table.hashes[known].tolist(), strict=True)
        for subject, image in rows:
            keys["image", image].add(subject)
    for members in keys.values():
        leaders = {leader[subject] for subject in members}
        if len(leaders) > 1:
            first = min(leaders)
            leader = {s: first if old in leaders else old for s, old in leader.items()}
    members_of: dict[str, list[str]] = defaultdict(list)
    for subject in sorted(leader):
        members_of[leader[subject]].append(subject)
    return list(members_of.values())


# ------------------------------------------------------------------ stated by the files
class Stated(NamedTuple):
    """Folds that came with the files.

    Attributes:
      folds: subjects that each holds out; empty where there are none, or none that can be used.
      problem: why they cannot be used; "" otherwise.
    """

    folds: tuple[tuple[str, ...], ...] = ()
    problem: str = ""

    def notes(self, name: str) -> list[str]:
        """What an import of a data set says of them."""
        if self.problem:
            return [f"{name}: the folds of the files are not used: {self.problem}"]
        if not self.folds:
            return []
        number = len(self.folds)
        return [f"{name}: with --folds {number} each fold is one of the {number} of the files"]


def of_source(source: Source) -> Stated:
    """The folds that came with the files of a data set."""
    groups: dict[str, str] = {}
    for split in ("train", "val"):
        for ref in source.splits.get(split, ()):
            if ref.label_path:
                groups.setdefault(ref.subject, ref.group)
    return stated(source.folds, groups)


def stated(folds: Iterable[Iterable[str]], groups: Mapping[str, str]) -> Stated:
    """The folds that files state, if each subject and each group is held out by one of them.

    Args:
      folds: the subjects that each holds out.
      groups: subject → group of the annotated subjects outside the test split; "" for none.

    >>> groups = {"a": "", "b": "g", "c": "g"}
    >>> stated([["a", "of test"], ["b", "c"]], groups).folds
    (('a',), ('b', 'c'))
    >>> stated([["a", "b"], ["c"]], groups).problem
    'group g is in folds 0 and 1'
    """
    result = tuple(tuple(subject for subject in fold if subject in groups) for fold in folds)
    fold_of: dict[str, int] = {}
    fold_of_group: dict[str, int] = {}
    for number, subjects in enumerate(result):
        if not subjects:
            return Stated(problem=f"fold {number} holds out no annotated subject")
        for subject in subjects:
            if subject in fold_of:
                return Stated(problem=f"subject {subject} is held out twice")
            fold_of[subject] = number
            group = groups[subject]
            first = fold_of_group.setdefault(group, number)
            if group and first != number:
                return Stated(problem=f"group {group} is in folds {first} and {number}")
    return Stated(result)


# ------------------------------------------------------------------ what a fold changes
def dealt(table: Hashes | None, held_out: frozenset[str] | None) -> Hashes | None:
    """The table of a set's images as a run on a fold sees it: the held-out subjects are val, the
    others outside the test split train. Without a fold it is as it was stored.
    """
    if table is None or held_out is None:
        return table
    splits = np.where(table.of("test"), "test", "train")
    splits[np.isin(table.subjects, sorted(held_out))] = "val"
    return table._replace(splits=splits)


def words(fold: int, folds: int, subjects: int) -> str:
    """What a run says of its fold.

    >>> words(2, 5, 19)
    'fold 2 of 5: 19 subjects held out'
    """
    return f"fold {fold} of {folds}: {numbered(subjects, 'subject')} held out"
