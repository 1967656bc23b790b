"""Who is labelled, and who is in which split: by subject, nested, and the same on every machine.

Nothing here draws from a generator's state: orders come from SHA-256 of names, so a label subset
never changes with Python, NumPy or the number of subjects asked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.data.store import StoreInfo
    from semiseg.types import Case


def _rank(*parts: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()


def order(
    subjects: Iterable[str], *, name: str, subset: int = 0, official: Iterable[str] = ()
) -> tuple[str, ...]:
    """The order in which subjects get their labels; a budget of n is its first n, so that budgets
    are nested.

    Subset 0 is the official order where the set has one. Every other subset is a permutation that
    depends on the set's ``name`` and ``subset`` alone, drawn over plain subjects: groups keep
    splits apart, they do not balance budgets.

    >>> order(["a", "b", "c"], name="set", official=["c", "a", "b"])
    ('c', 'a', 'b')
    """
    known = set(subjects)
    first = [s for s in dict.fromkeys(official) if s in known] if subset == 0 else []
    return (*first, *sorted(known.difference(first), key=lambda s: _rank(name, subset, s)))


def labelled_subjects(
    info: StoreInfo, cases: Iterable[Case], budget: int, subset: int = 0
) -> tuple[str, ...]:
    """The ``budget`` training subjects whose labels a run may see, out of those that ``cases`` (the
    training split) holds labels of.

    Raises UserError where there are fewer annotated subjects, or the budget is not positive.
    """
    annotated = {case.subject for case in cases if case.label is not None}
    if not 1 <= budget <= len(annotated):
        n, kept = (
            len(annotated),
            {
                split: count["annotated"]
                for split, count in info.counts.items()
                if split != "train" and count["annotated"]
            },
        )
        rest = f" (kept for {' and '.join(kept)}: {sum(kept.values())} more)" if kept else ""
        raise UserError(
            f"{info.name}: {budget} labelled subjects asked for, but the training split has {n} "
            f"annotated{rest}; ask for 1 to {n}"
        )
    if subset < 0:
        raise UserError(
            f"label subset {subset}: must be 0 (the official order, where there is one) or above"
        )
    return order(annotated, name=info.name, subset=subset, official=info.official_order)[:budget]


def assign(
    groups: Mapping[str, str],
    fractions: Mapping[str, float],
    seed: int = 0,
    strata: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Put whole groups of subjects into splits, close to ``fractions`` of the subjects within every
    stratum.

    Args:
      groups: subject → group; members of a group never part. An empty group name means that the
        subject stands alone.
      fractions: split → share of the subjects.
      strata: subject → stratum (a stain, a scanner) that each split should hold; one stratum where
        None. A group that spans strata counts for the first of its sorted subjects.

    Returns:
      subject → split. A stratum of at least as many groups as splits has a group in every split.
      Largest groups go first, each to the split that lacks most; ties are broken by a hash of
      ``seed`` and the group.
    """
    members: dict[tuple[str, str], list[str]] = defaultdict(list)
    for subject in sorted(groups):
        members[("group", groups[subject]) if groups[subject] else ("subject", subject)].append(
            subject
        )
    by_stratum: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for group, subjects in members.items():
        by_stratum[strata[subjects[0]] if strata else ""].append(group)
    total, split_of = sum(fractions.values()), {}
    for stratum in sorted(by_stratum):
        queue = sorted(by_stratum[stratum], key=lambda g: (-len(members[g]), _rank(seed, *g)))
        size = sum(len(members[g]) for g in queue)
        lacks = {split: size * share / total for split, share in fractions.items() if share > 0}
        count: Counter[str] = Counter()
        for i, group in enumerate(queue):
            empty = [split for split in lacks if not count[split]]
            open_to = empty if len(queue) - i <= len(empty) else list(lacks)
            split = max(open_to, key=lambda s: lacks[s])
            lacks[split] -= len(members[group])
            count[split] += len(members[group])
            split_of.update(dict.fromkeys(members[group], split))
    return split_of
