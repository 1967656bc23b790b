"""``data describe --labels``: whether the labelled subjects are like the rest of the pool."""

import dataclasses
import json

import numpy as np
import pytest

from semiseg.cli.data import main
from semiseg.data import store
from semiseg.data.budget_facts import budget_facts, budget_lines, distances
from semiseg.data.splits import labelled_subjects
from semiseg.errors import UserError
from semiseg.types import Case

CLASSES = ("background", "left", "right")


def scan(subject, *, angle=0.0, grey=100.0, radius=4, spacing=(1.0, 1.0), label=True):
    """Two discs, the second ``angle`` degrees from the row axis."""
    rows, columns = np.mgrid[:64, :64]
    mask = np.zeros((64, 64), np.uint8)
    way = np.radians(angle)
    for value, sign in ((1, -1), (2, 1)):
        centre = 32 + sign * 12 * np.cos(way), 32 + sign * 12 * np.sin(way)
        mask[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2] = value
    noise = np.random.default_rng(sum(subject.encode())).normal(0, 5, (64, 64))
    image = (grey + noise)[..., None].astype(np.float32)
    return Case(subject, subject, image, mask if label else None, spacing, subject)


class Set:
    """What is asked of a data set's description."""

    name, classes, unit = "hearts", CLASSES, "mm"

    def __init__(self, order):
        self.official_order = tuple(order)
        self.counts = {"val": {"annotated": 0}, "test": {"annotated": 0}}


def judged(scans, labels):
    facts = budget_facts(Set([s.subject for s in scans]), scans, labels)
    return facts, {trait["name"].split(",")[0]: trait for trait in facts["traits"]}


def test_a_budget_of_one_pose_is_unlike_a_pool_that_is_turned():
    """Catches a pose that is not seen, an angle that does not go round, and traits that are alike
    called unlike.
    """
    angles = [350, 0, 10, *np.linspace(20, 340, 27)]
    scans = [scan(f"p{i:02}", angle=angle) for i, angle in enumerate(angles)]
    facts, traits = judged(scans, 3)
    assert facts["labelled"] == ["p00", "p01", "p02"]
    assert facts["others"] == 27
    pose = traits["direction from left to right"]
    turned = sum(45 + 10 < angle < 360 - 45 - 10 for angle in angles)
    assert (pose["far"], pose["others"], pose["direction"]) == (turned, 27, True)
    assert pose["unlike"]
    assert pose["as_far"] <= 0.05
    assert not any(trait["unlike"] for name, trait in traits.items() if trait is not pose)
    text = "\n".join(budget_lines(facts))
    assert "beside the other 27 training subjects" in text
    assert text.count("unlike the pool") == 1
    spread = judged([scans[i] for i in (1, 12, 21, *range(2, 12), *range(13, 21))], 3)[1]
    assert not spread["direction from left to right"]["unlike"]


def test_grey_values_and_sizes_are_compared():
    """Catches a budget of bright scans, of small objects, or of one field of view."""
    one = [scan(f"p{i:02}", grey=200.0 + i, radius=3, spacing=(2.0, 2.0)) for i in range(2)]
    rest = [scan(f"p{i:02}", grey=50.0 + i, radius=5, spacing=(1.0, 1.0)) for i in range(2, 30)]
    traits = judged(one + rest, 2)[1]
    assert traits["grey value"]["unlike"]
    assert traits["extent of a slice"]["unlike"]
    assert not traits["contrast"]["unlike"]


def test_one_class_has_the_way_of_its_long_axis():
    """Catches an axis that is turned by 180° taken for another one, and discs given a direction."""

    def bar(i, upright):
        case = scan(f"p{i:02}")
        mask = np.zeros((64, 64), np.uint8)
        mask[20:44, 30:34] = 1
        return dataclasses.replace(case, label=mask if upright else mask.T.copy())

    class Bars(Set):
        classes = CLASSES[:2]

    scans = [bar(i, i < 3) for i in range(20)]
    facts = budget_facts(Bars([s.subject for s in scans]), scans, 2)
    (pose,) = [trait for trait in facts["traits"] if trait["direction"]]
    assert pose["name"] == "direction long axis of left"
    assert pose["far"] == 17
    assert distances(np.array([1.0, 179.0]), 180.0)[0, 1] == pytest.approx(2)
    disc = (scan("p").label == 1).astype(np.uint8)
    round_ones = [dataclasses.replace(scan(f"p{i:02}"), label=disc) for i in range(5)]
    facts = budget_facts(Bars([s.subject for s in round_ones]), round_ones, 2)
    assert not [trait for trait in facts["traits"] if trait["direction"]]


def test_random_budgets_are_seldom_called_unlike():
    """About one in 20 for a trait, whatever the pool looks like: here a skewed one."""
    rng = np.random.default_rng(0)
    pool = [scan(f"p{i:02}", grey=float(g)) for i, g in enumerate(rng.lognormal(4, 0.5, 25))]
    unlike = 0
    for _ in range(30):  # the names stay, as the official order
        rng.shuffle(pool)
        unlike += judged(pool, 3)[1]["grey value"]["unlike"]
    assert unlike <= 6  # of 30 draws with probability 0.05; 7 or more: 0.001


def test_subjects_without_masks_are_compared_by_their_images():
    scans = [scan(f"p{i:02}", grey=100.0 + i, label=i < 4) for i in range(12)]
    facts, traits = judged(scans, 2)
    assert traits["grey value"]["others"] == 10
    assert traits["labelled size"]["others"] == 2
    assert facts["others"] == 10


def test_the_command_prints_and_writes_it(root, tmp_path, capsys):
    """The subjects are those that training shows. Catches a number of labels that is ignored."""
    out = tmp_path / "facts.json"
    words = ["describe", "discs", "--root", root, "--json", str(out)]
    assert main([*words, "--labels=2", "--label-subset=1"]) == 0
    budget = json.loads(out.read_text())["budget"]
    info = store.info("discs", root)
    shown = labelled_subjects(info, store.read_split("discs", "train", root), 2, 1)
    assert budget["labelled"] == list(shown)
    assert (
        "labels 2, label subset 1, beside the other 6 training subjects" in capsys.readouterr().out
    )
    assert main(words) == 0
    assert json.loads(out.read_text())["budget"] is None
    with pytest.raises(UserError, match="ask for 1 to 8"):
        main([*words, "--labels=9"])
