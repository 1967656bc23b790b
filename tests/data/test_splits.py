"""Budgets are nested, stable and by subject; groups never part."""

import itertools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from semiseg.data.splits import assign, labelled_subjects, order
from semiseg.errors import UserError

SUBJECTS = [f"s{i:02d}" for i in range(20)]


def case(subject, label=True):
    return SimpleNamespace(
        subject=subject,
        label=np.zeros(1) if label else None,
    )


def test_subset_zero_is_the_official_order():
    """Catches a sorted or shuffled official prefix, and subjects that the official order forgot
    being dropped.
    """
    assert order(SUBJECTS, name="set", official=["s07", "s03"])[:2] == ("s07", "s03")
    assert sorted(order(SUBJECTS, name="set", official=["s07", "s03"])) == SUBJECTS


def test_subsets_differ_and_depend_on_name_and_subset_alone():
    """Catches Python's salted hash, an order that follows the input's, and one permutation for all
    sets or subsets.

    The literal order was written down once: a change of it would silently change everybody's
    published label subsets.
    """
    assert order(["a", "b", "c", "d", "e"], name="nuclei", subset=1) == ("c", "e", "d", "a", "b")
    assert order(SUBJECTS[::-1], name="x", subset=2) == order(SUBJECTS, name="x", subset=2)
    orders = {
        order(SUBJECTS, name=name, subset=subset, official=SUBJECTS)
        for name, subset in itertools.product("xy", (1, 2, 3))
    }
    assert len(orders) == 6
    assert tuple(SUBJECTS) not in orders


def test_budgets_are_nested_prefixes_of_annotated_subjects():
    """Catches budgets drawn anew, counted in cases, or spent on subjects that nobody annotated."""
    cases = [case(s, label=i % 2 == 0) for i, s in enumerate(SUBJECTS)] * 3
    info = SimpleNamespace(name="set", official_order=(), counts={})
    chosen = [labelled_subjects(info, cases, n, subset=1) for n in range(1, 11)]
    for n, (small, large) in enumerate(itertools.pairwise(chosen), start=1):
        assert len(small) == n
        assert large[:n] == small
    assert set(chosen[-1]) == set(SUBJECTS[::2])


@pytest.mark.parametrize(("budget", "subset"), [(0, 0), (-1, 0), (4, 0), (1, -1)])
def test_impossible_budgets_say_what_is_possible(budget, subset):
    """Catches a budget that is silently clipped, which would report more labels than were used, and
    subjects that seem to be lost.
    """
    counts = {split: {"annotated": n} for split, n in (("train", 3), ("val", 1), ("test", 2))}
    info = SimpleNamespace(name="set", official_order=("a",), counts=counts)
    with pytest.raises(
        UserError, match="3 annotated .kept for val and test: 3 more.; ask for 1 to 3|subset"
    ):
        labelled_subjects(
            info,
            [
                case("a"),
                case("b"),
                case("c"),
                case("d", label=False),
            ],
            budget,
            subset,
        )


def test_groups_never_part_and_fractions_hold():
    """Catches assignment by subject, and a fraction that is ignored."""
    groups = {f"s{i}": f"g{i // 4}" for i in range(200)}
    home = assign(groups, {"train": 0.6, "val": 0.15, "test": 0.25})
    assert len({(groups[s], home[s]) for s in groups}) == len(set(groups.values()))
    count = Counter(home.values())
    share = {split: number / 200 for split, number in count.items()}
    assert share == pytest.approx(
        {"train": 0.6, "val": 0.15, "test": 0.25},
        abs=0.03,
    )


def test_every_split_holds_every_stratum():
    """Catches strata that are ignored: one large and two small groups of a rare stain must reach
    all three splits.
    """
    groups = (
        {f"a{i}": "" for i in range(100)}
        | {f"b{i}": "big" for i in range(14)}
        | {"b14": "x", "b15": "y"}
    )
    home = assign(
        groups, {"train": 0.6, "val": 0.15, "test": 0.25}, strata={s: s[0] for s in groups}
    )
    assert {home[s] for s in groups if s[0] == "b"} == {"train", "val", "test"}
    assert home["b0"] == "train"


def test_seed_moves_ungrouped_subjects():
    """Catches a seed that does nothing, and two subjects without a group being tied together."""
    groups = dict.fromkeys(SUBJECTS, "")
    homes = [assign(groups, {"train": 0.5, "test": 0.5}, seed) for seed in (0, 0, 1)]
    assert homes[0] == homes[1] != homes[2]
    assert sorted(homes[0].values()).count("test") == 10
