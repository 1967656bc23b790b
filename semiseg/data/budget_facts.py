"""Whether the labelled subjects of a budget are like the rest of the pool: in the size of their
scans, their grey values, how much is labelled and which way it lies.

A budget whose hearts all lie one way teaches nothing of hearts that are turned. A choice is judged
by how near the others have a labelled subject, and by how often a random choice of as many subjects
is as far from them. Masks of subjects outside the budget are looked at here, where they are; no
training sees them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from semiseg.data import splits
from semiseg.data.info import StoreInfo, numbered
from semiseg.types import IGNORE, Case

CHOICES = 999
"""Random choices that a budget is compared with."""
SELDOM = 0.05
"""A budget is called unlike the pool where so few random choices are as far from it."""
FAR_TURN = 45.0
"""Degrees beyond which a subject lies another way than a labelled one."""
FAR_RANK = 0.25
"""Share of the pool between a subject and a labelled one, beyond which they are unlike."""
ELONGATED = 1.5
"""Ratio of an object's axes from which its long axis is a direction."""


class Trait(NamedTuple):
    """A number a subject.

    Attributes:
      name: what it is, with its unit.
      value: by subject.
      turn: degrees after which a direction is the same again; None for a number.
    """

    name: str
    value: Mapping[str, float]
    turn: float | None = None


def budget_facts(
    info: StoreInfo, scans: Sequence[Case], labels: int, subset: int = 0
) -> dict[str, Any]:
    """The labelled subjects of a budget beside the other training subjects, as JSON types.

    Args:
      info: of the data set.
      scans: of its training split.
      labels: number of labelled subjects.
      subset: label subset.

    Returns:
      ``labelled``, the subjects; ``others``, how many there are; ``traits``, for each trait its
      ``name``, how many other subjects have it (``others``), how many of these are ``far`` from
      every labelled one, the share of random choices that are as far or farther (``as_far``), and
      whether the budget is ``unlike`` the pool.

    Raises:
      UserError: the training split has fewer annotated subjects.
    """
    labelled = splits.labelled_subjects(info, scans, labels, subset)
    everyone = {scan.subject for scan in scans}
    annotated = {scan.subject for scan in scans if scan.label is not None}
    found = [_judged(trait, labelled, annotated) for trait in traits(info, scans)]
    return {
        "labels": labels,
        "label_subset": subset,
        "labelled": list(labelled),
        "others": len(everyone) - len(labelled),
        "traits": [facts for facts in found if facts is not None],
    }


def traits(info: StoreInfo, scans: Iterable[Case]) -> list[Trait]:
    """What is compared; a subject's number is the median over its scans."""
    numbers: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    unit = f", {info.unit}" if info.unit == "mm" else ", pixels"
    vectors: dict[tuple[int, int], dict[str, np.ndarray]] = defaultdict(dict)
    for scan in scans:
        thin = scan.image[..., ::2, ::2, 0].astype(float)
        mine = {
            f"extent of a slice{unit}": float(
                np.sqrt(np.prod(np.multiply(scan.image.shape[-3:-1], scan.spacing[-2:])))
            ),
            "grey value, mean": float(thin.mean()),
            "contrast, standard deviation": float(thin.std()),
        }
        if scan.label is not None:
            shown = (scan.label > 0) & (scan.label != IGNORE)
            if shown.any():
                mine[f"labelled size{unit}"] = float(
                    (shown.sum() * np.prod(scan.spacing)) ** (1 / shown.ndim)
                )
            for pair, vector in _directions(scan, len(info.classes)).items():
                vectors[pair][scan.subject] = vectors[pair].get(scan.subject, 0) + vector
        for name, number in mine.items():
            numbers[name][scan.subject].append(number)
    found = [
        Trait(name, {subject: float(np.median(many)) for subject, many in by_subject.items()})
        for name, by_subject in numbers.items()
    ]
    return [*found, *_pose(info.classes, vectors)]


def _directions(scan: Case, classes: int) -> dict[tuple[int, int], np.ndarray]:
    """Sum over slices of the displacement between the centroids of two classes, ``(row, column)``
    in the set's unit; with one class under ``(1, 1)`` the moments ``(cos 2θ, sin 2θ)`` of the long
    axis of what is labelled, weighed by its elongation.
    """
    found: dict[tuple[int, int], np.ndarray] = {}
    assert scan.label is not None
    pixel = np.asarray(scan.spacing[-2:])
    for plane in scan.label.reshape(-1, *scan.label.shape[-2:]):
        values = [value for value in np.unique(plane).tolist() if 0 < value < IGNORE]
        places = {value: np.stack(np.nonzero(plane == value), 1) * pixel for value in values}
        if classes == 2:
            for points in places.values():
                found[1, 1] = found.get((1, 1), np.zeros(2)) + _long_axis(points)
            continue
        centres = {value: points.mean(0) for value, points in places.items()}
        for a, b in itertools.combinations(centres, 2):
            found[a, b] = found.get((a, b), np.zeros(2)) + centres[b] - centres[a]
    return found


def _long_axis(points: np.ndarray) -> np.ndarray:
    """Doubled angle of the long axis of points ``(N, 2)``, as a vector; zero where it has none.

    >>> bar = np.stack([np.arange(9.0), np.zeros(9)], 1)
    >>> _long_axis(bar).round(3).tolist(), _long_axis(bar[:, ::-1]).round(3).tolist()
    ([1.0, 0.0], [-1.0, 0.0])
    """
    if len(points) < 3:
        return np.zeros(2)
    spread = np.cov(points.T)
    small, large = np.linalg.eigvalsh(spread)
    if large < ELONGATED**2 * max(small, 1e-9):
        return np.zeros(2)
    vector = np.array([spread[0, 0] - spread[1, 1], 2 * spread[0, 1]])
    return vector / np.linalg.norm(vector)


def _pose(
    classes: Sequence[str], vectors: Mapping[tuple[int, int], Mapping[str, np.ndarray]]
) -> list[Trait]:
    """The direction of the pair of classes that most subjects show, the farthest apart of these."""
    best: tuple[int, float] = (0, 0.0)
    pose: list[Trait] = []
    for (a, b), by_subject in vectors.items():
        lengths = {subject: float(np.linalg.norm(v)) for subject, v in by_subject.items()}
        shown = {subject: by_subject[subject] for subject, n in lengths.items() if n > 0}
        if not shown:
            continue
        rank = (len(shown), float(np.median(list(lengths.values()))))
        if rank <= best:
            continue
        best = rank
        alone = a == b
        name = f"long axis of {classes[a]}" if alone else f"from {classes[a]} to {classes[b]}"
        angle = {s: float(np.degrees(np.arctan2(v[1], v[0]))) for s, v in shown.items()}
        if alone:
            angle = {subject: number / 2 for subject, number in angle.items()}
        pose = [Trait(f"direction {name}", angle, 180.0 if alone else 360.0)]
    return pose


# ------------------------------------------------------------------ near and far
def _judged(trait: Trait, labelled: Sequence[str], annotated: set[str]) -> dict[str, Any] | None:
    """How a budget stands in a trait; None where it cannot be compared."""
    subjects = sorted(trait.value)
    inside = np.array([subject in set(labelled) for subject in subjects])
    known = np.array([subject in annotated for subject in subjects])
    if not inside.any() or inside.all():
        return None
    between = distances(np.array([trait.value[s] for s in subjects]), trait.turn)
    nearest = between[:, inside].min(1)[~inside]
    rng = np.random.default_rng(0)
    candidates = np.flatnonzero(known)
    as_far = 1
    for _ in range(CHOICES):
        choice = np.zeros(len(subjects), bool)
        choice[rng.choice(candidates, inside.sum(), replace=False)] = True
        as_far += between[:, choice].min(1)[~choice].mean() >= nearest.mean() - 1e-12
    limit = FAR_RANK if trait.turn is None else FAR_TURN
    share = as_far / (CHOICES + 1)
    return {
        "name": trait.name,
        "direction": trait.turn is not None,
        "others": len(nearest),
        "far": int((nearest > limit).sum()),
        "as_far": round(share, 3),
        "unlike": bool(share <= SELDOM),
    }


def distances(values: np.ndarray, turn: float | None) -> np.ndarray:
    """``(N, N)`` distances: degrees of directions, else the share of the subjects in between.

    >>> distances(np.array([10.0, 350.0]), 360.0).tolist()
    [[0.0, 20.0], [20.0, 0.0]]
    >>> distances(np.array([1.0, 5.0, 1000.0]), None)[0].tolist()
    [0.0, 0.5, 1.0]
    """
    if turn is None:
        from scipy import stats

        values = (stats.rankdata(values) - 1) / max(len(values) - 1, 1)
        return np.abs(values[:, None] - values)
    apart = np.abs(values[:, None] - values) % turn
    return np.minimum(apart, turn - apart)


def budget_lines(facts: dict[str, Any]) -> list[str]:
    """The result of :func:`budget_facts` as a table."""
    lines = [
        f"labels {facts['labels']}, label subset {facts['label_subset']}, beside the other "
        f"{numbered(facts['others'], 'training subject')}",
    ]
    if not facts["traits"]:
        return [f"{lines[0]}: nothing to compare"]
    width = max(len(trait["name"]) for trait in facts["traits"])
    lines.append(f"  {'':<{width}}  far from every labelled  random choices as far")
    for trait in facts["traits"]:
        far = f"{trait['far']} of {trait['others']}"
        words = "  unlike the pool" if trait["unlike"] else ""
        lines.append(f"  {trait['name']:<{width}}  {far:>23}  {trait['as_far']:>21.0%}{words}")
    lines.append(
        f"  far: {FAR_TURN:.0f}° of a direction, a quarter of the subjects in between of a number; "
        f"unlike: at most {SELDOM:.0%} of random choices, so one trait in 20 by chance"
    )
    return lines
