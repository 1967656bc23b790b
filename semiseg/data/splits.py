"""Who is labelled, and who is in which split: by subject, nested, and the same on every machine.

Nothing here draws from a generator's state: orders come from SHA-256 of names, so a label subset
never changes with Python, NumPy or the number of subjects asked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from semiseg.data.info import numbered
from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.data.info import StoreInfo
    from semiseg.types import Case


def rank(*parts: object) -> bytes:
    """By which names are ordered at random: the same on every machine."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()


# ------------------------------------------------------------------ label budgets
def order(
    subjects: Iterable[str], *, name: str, subset: int = 0, official: Iterable[str] = ()
) -> tuple[str, ...]:
    """The order in which subjects get their labels.

    A label budget of n is its first n subjects, so that budgets are nested. Subset 0 is the
    official order where the set has one. Every other subset is a permutation that depends on the
    set's ``name`` and ``subset`` alone. It is drawn over plain subjects: groups keep splits apart,
    they do not balance budgets.

    >>> order(["a", "b", "c"], name="set", official=["c", "a", "b"])
    ('c', 'a', 'b')
    >>> order(["a", "b", "c", "d", "e"], name="nuclei", subset=1)
    ('c', 'e', 'd', 'a', 'b')
    """
    known = set(subjects)
    first: list[str] = []
    if subset == 0:
        first = [subject for subject in dict.fromkeys(official) if subject in known]
    rest = sorted(known.difference(first), key=lambda subject: rank(name, subset, subject))
    return (*first, *rest)


def labelled_subjects(
    info: StoreInfo,
    cases: Iterable[Case],
    budget: int,
    subset: int = 0,
    held_out: int = 0,
) -> tuple[str, ...]:
    """The ``budget`` training subjects whose labels a run may see.

    Args:
      info: of the data set.
      cases: its training split; subjects with a label are chosen from.
      budget: number of subjects.
      subset: label subset, see :func:`order`.
      held_out: number of annotated subjects in the fold that is held out; 0 without folds.

    Raises:
      UserError: there are fewer annotated subjects, or a number is out of range.
    """
    annotated = {case.subject for case in cases if case.label is not None}
    if not 1 <= budget <= len(annotated):
        n = len(annotated)
        raise UserError(
            f"{numbered(budget, 'labelled subject')} asked for, but the training split has "
            f"{n} annotated"
            f"{_annotated_elsewhere(info, held_out)}",
            where=info.name,
            remedy=f"ask for 1 to {n}",
        )
    if subset < 0:
        raise UserError(
            "must be 0 (the official order, where there is one) or above",
            where=f"label subset {subset}",
        )
    ordered = order(annotated, name=info.name, subset=subset, official=info.official_order)
    return ordered[:budget]


def _annotated_elsewhere(info: StoreInfo, held_out: int) -> str:
    """Where the set's other annotated subjects are, in parentheses; "" if there are none."""
    elsewhere = {
        split: count["annotated"]
        for split, count in info.counts.items()
        if split != "train" and count["annotated"]
    }
    if held_out:  # val is dealt into the folds
        elsewhere.pop("val", None)
        elsewhere = {"the held-out fold": held_out, **elsewhere}
    if not elsewhere:
        return ""
    return f" (kept for {' and '.join(elsewhere)}: {sum(elsewhere.values())} more)"


# ------------------------------------------------------------------ splits
class Placement(NamedTuple):
    """Why a case is in its split.

    Attributes:
      reason: in words, for ``splits.csv``.
      fractions: split → share, of the draw that placed the case; None where its split is stated.
        Cases of a draw that nobody annotated have them too, though they are not drawn.
      seed: of the draw.
      stratum: see :func:`assign`.
    """

    reason: str
    fractions: Mapping[str, float] | None = None
    seed: int = 0
    stratum: str = ""

    @property
    def is_drawn(self) -> bool:
        """Whether chance placed it."""
        return self.fractions is not None and self.reason != UNANNOTATED


UNANNOTATED = "in train without annotation"
STATED = Placement("stated by the files")
ALL_TRAIN = Placement("stated by --splits train")
IN_TABLE = Placement("stated in subjects.csv")
IN_FOLDER = Placement("stated by its folder")
IN_LIST = Placement("stated by a list of the data set")


def drawn(fractions: Mapping[str, float], seed: int, stratum: str = "") -> Placement:
    """The placement of a case that was drawn.

    >>> drawn({"train": 0.8, "val": 0.2}, 3).reason
    'drawn at random with seed 3'
    """
    return Placement(f"drawn at random with seed {seed}", fractions, seed, stratum)


def unannotated(fractions: Mapping[str, float], seed: int) -> Placement:
    """The placement of a case that a draw left in train because nobody annotated it, or another
    member of its group.
    """
    return Placement(UNANNOTATED, fractions, seed)


Unit = tuple[str, str]
"""What goes into a split as a whole: ``("group", name)``, or ``("subject", name)`` where a subject
has no group.
"""


def assign(
    groups: Mapping[str, str],
    fractions: Mapping[str, float],
    seed: int = 0,
    strata: Mapping[str, str] | None = None,
    placed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Put whole groups of subjects into splits, close to ``fractions`` of the subjects within every
    stratum.

    Args:
      groups: subject → group; members of a group never part. An empty group name means that the
        subject stands alone.
      fractions: split → share of the subjects.
      seed: moves groups of one size between splits.
      strata: subject → stratum (a stain, a scanner) that each split should hold; one stratum where
        None. A group that spans strata counts for the first of its sorted subjects.
      placed: subject → split of those that stay where they are, and count in the fractions.

    Returns:
      subject → split. A stratum of at least as many groups as splits has a group in every split.
      Largest groups go first, each to the split that lacks most; ties are broken by a hash of
      ``seed`` and the group.

    >>> subjects = ["a", "b", "c", "d", "e"]
    >>> split_of = assign(dict.fromkeys(subjects, ""), {"train": 0.6, "test": 0.4})
    >>> sorted(split_of.values())
    ['test', 'test', 'train', 'train', 'train']
    >>> assign({"a": "g", "b": "g", "c": ""}, {"train": 0.6, "test": 0.4})
    {'a': 'train', 'b': 'train', 'c': 'test'}
    >>> assign({"new": ""}, {"train": 0.5, "test": 0.5}, placed={"a": "test"})
    {'new': 'train'}
    """
    members: dict[Unit, list[str]] = defaultdict(list)
    for subject in sorted(groups):
        group = groups[subject]
        unit = ("group", group) if group else ("subject", subject)
        members[unit].append(subject)
    by_stratum: dict[str, list[Unit]] = defaultdict(list)
    for unit, subjects in members.items():
        stratum = strata[subjects[0]] if strata else ""
        by_stratum[stratum].append(unit)
    present: dict[str, Counter[str]] = defaultdict(Counter)
    for subject, split in (placed or {}).items():
        present[strata[subject] if strata else ""][split] += 1
    split_of: dict[str, str] = {}
    for stratum in sorted(by_stratum):
        sizes = {unit: len(members[unit]) for unit in by_stratum[stratum]}
        queue = sorted(sizes, key=lambda unit: (-sizes[unit], rank(seed, *unit)))
        chosen = _fill([sizes[unit] for unit in queue], fractions, present[stratum])
        for unit, split in zip(queue, chosen, strict=True):
            split_of.update(dict.fromkeys(members[unit], split))
    return split_of


def _fill(
    sizes: Sequence[int], fractions: Mapping[str, float], present: Mapping[str, int]
) -> list[str]:
    """The split of each unit: the one that lacks most; the last units go to empty splits.

    ``present`` says how many subjects each split has already.

    >>> _fill([3, 1, 1], {"train": 0.6, "val": 0.2, "test": 0.2}, {})
    ['train', 'val', 'test']
    """
    total = sum(fractions.values())
    size = sum(sizes) + sum(present.get(split, 0) for split in fractions)
    lacks = {
        split: size * share / total - present.get(split, 0)
        for split, share in fractions.items()
        if share > 0
    }
    count: Counter[str] = Counter(present)
    chosen: list[str] = []
    for i, members in enumerate(sizes):
        candidates = list(lacks)
        empty = [split for split in lacks if not count[split]]
        if len(sizes) - i <= len(empty):
            candidates = empty
        split = max(candidates, key=lambda candidate: lacks[candidate])
        lacks[split] -= members
        count[split] += members
        chosen.append(split)
    return chosen
