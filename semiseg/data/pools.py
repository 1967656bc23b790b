"""Pools: a data set's training images as one flat array on the device, and which of them a label
budget shows.

The arrays depend on the data set and the frame alone. A trial's label budget is a list of indices
and a copy of the labels in which everything outside the budget is IGNORE. So trials of all budgets,
subsets and seeds share one compiled program, and no method can read a held-back label: these are in
a field of their own, which the trainer's diagnostics read and a batch does not hold.

In a cross-validation the images are those of all subjects outside the test split, once for all
folds. The images of the held-out fold are in no list of indices, and its labels in no array.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import ragged
from semiseg.data import foreground, splits
from semiseg.data.flat import Flat as Flat
from semiseg.data.flat import appended
from semiseg.data.flat import flatten as flatten
from semiseg.data.frame import FIT, STRETCH, Frame
from semiseg.data.rotating import Rotating
from semiseg.data.scaling import as_uint8, in_the_middle
from semiseg.data.training_split import Training as Training
from semiseg.data.training_split import training as training
from semiseg.data.training_split import whole_training
from semiseg.errors import UserError
from semiseg.types import IGNORE, Choice, Images, Pools


def dense(split: Training, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The middle of every pool image as arrays of one shape, for what cannot take images of
    different shapes. What an image lacks is black background.

    Returns:
      Levels ``(N, *size, C)`` uint8 and labels ``(N, *size)`` uint8, IGNORE throughout where nobody
      annotated an image.
    """
    number = len(split.cases)
    channels = split.flat.voxels.shape[-1]
    images = np.zeros((number, *size, channels), np.uint8)
    labels = np.zeros((number, *size), np.uint8)
    for i in range(number):
        images[i] = in_the_middle(as_uint8(split.image(i)), size)
        labels[i] = IGNORE
        if split.annotated[i]:
            labels[i] = in_the_middle(split.label(i), size)
    return images, labels


class Budget(NamedTuple):
    """A label budget: the subjects of the training split whose labels are used.

    Attributes:
      subjects: in the order in which they get their labels.
      images: number of annotated images (slices, or volumes of a 3D network) of these subjects.
    """

    subjects: tuple[str, ...]
    images: int


# ------------------------------------------------------------------ pools of a trial
def pools(
    name: str,
    root: str | None,
    frame: Frame,
    *,
    labels: int,
    label_subset: int,
    folds: int = 0,
    fold: int = 0,
    ratio: float = 0.0,
    synthetic: str | None = None,
    memory: str | None = None,
    by: str = "subjects",
) -> tuple[Pools | Rotating, Budget, Training]:
    """Pools of one trial.

    The unlabelled pool is every image outside the label budget; where the budget is everything, it
    is everything.

    Args:
      name, root: of the data set.
      frame: geometry and grey values of the pool images.
      labels: number of annotated subjects in the label budget, 0 for all.
      label_subset: 0 is the data set's official order where it has one; others are random; budgets
        of one subset are nested.
      folds, fold: of a trial; the budget is drawn from the subjects outside the fold.
      ratio: synthetic images per real one in a labelled batch.
      synthetic: name of the imported synthetic set.
      memory: what scans may take on the device; None for all of them.
      by: one of :data:`semiseg.train.draw.DRAWS`; a rotating pool decides by it what it holds.
    """
    in_memory = memory is None
    whole = whole_training(name, root, frame, folds=folds, in_memory=in_memory)
    split = training(
        name,
        root,
        frame,
        folds=folds,
        fold=fold,
        in_memory=in_memory,
    )
    budget, chosen = _budget(split, labels, label_subset)
    rest = chosen if chosen.all() else ~chosen
    if ratio > 0 and synthetic is None:
        raise UserError("--ratio needs --synthetic NAME: the imported synthetic set to mix in")
    if memory is not None:
        return _rotating(whole, split, chosen, rest, synthetic, memory, by), budget, split
    everything = _with_synthetic(whole, synthetic)
    fakes = everything.number - len(whole.cases)
    labelled = split.in_pool(chosen)
    shown = np.concatenate([labelled, np.ones(fakes, bool)])
    made = Pools(
        image=everything.images,
        label=jnp.asarray(everything.flat.masked(shown)),
        labelled=choice(labelled, whole),
        unlabelled=choice(split.in_pool(rest), whole),
        synthetic_count=jnp.int32(fakes),
        foreground=foreground.of_budget(_places(whole), whole.scan, labelled),
        hidden=_hidden(split, everything),
    )
    return made, budget, split


def _rotating(
    whole: Training,
    split: Training,
    chosen: np.ndarray,
    rest: np.ndarray,
    synthetic: str | None,
    memory: str,
    by: str,
) -> Rotating:
    """Pools of which a part is on the device; ``chosen`` and ``rest`` ``(N,)`` are cases."""
    labelled = split.in_pool(chosen)
    fakes = None if synthetic is None else _synthetic(synthetic, whole.info.root, whole)
    return Rotating(
        memory,
        whole.flat,
        whole.scan,
        [case.subject for case in whole.cases],
        labelled,
        split.in_pool(rest),
        split.in_pool(np.ones(len(split.cases), bool)),
        by,
        foreground.of_budget(_places(whole), whole.scan, labelled),
        None if fakes is None else fakes.flat,
        None if fakes is None else fakes.scan,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Everything:
    """Real and synthetic images, on the device, too."""

    flat: Flat
    images: Images

    @property
    def number(self) -> int:
        return len(self.flat.page)


@functools.lru_cache(2)
def _with_synthetic(whole: Training, synthetic: str | None) -> _Everything:
    flat = whole.flat
    if synthetic is not None:
        flat = appended(flat, _synthetic(synthetic, whole.info.root, whole).flat)
    return _Everything(flat, flat.on_device())


@functools.lru_cache(2)
def _hidden(split: Training, everything: _Everything) -> jax.Array:
    """All labels but those of the held-out fold."""
    if split.held_out is None:
        return jnp.asarray(everything.flat.labels)
    seen = split.in_pool(np.ones(len(split.cases), bool))
    shown = np.ones(everything.number, bool)
    shown[: len(seen)] = seen
    return jnp.asarray(everything.flat.masked(shown))


def _synthetic(name: str, root: str | None, like: Training) -> Training:
    """The images of a synthetic set, which must be ``like`` the data set it is mixed into.

    They are in the pool's geometry already: nothing but their longest side is fitted.
    """
    spacing = STRETCH if like.frame.is_stretched else FIT
    rule = like.frame.intensity if like.frame.is_stretched else "zscore"
    frame = dataclasses.replace(
        like.frame, spacing=spacing, intensity=rule, stored=like.frame.stored
    )
    synthetic = training(name, root, frame)
    where = f"synthetic set {name!r}"
    if synthetic.channels != like.channels:
        raise UserError(
            f"{where} has {synthetic.channels} channels, the data set "
            f"{like.channels}: import it with the same channels"
        )
    if synthetic.info.classes != like.info.classes:
        names = ", ".join(like.info.classes)
        raise UserError(
            f"{where} has the classes {', '.join(synthetic.info.classes)}, the data set {names}: "
            f"import it with --classes {names}"
        )
    if not synthetic.annotated.all():
        raise UserError(
            f"{where} holds images without a mask: import it again with one mask an image"
        )
    return synthetic


@functools.lru_cache(2)
def _places(split: Training) -> foreground.Places:
    labels = [split.label(i) if has else None for i, has in enumerate(split.annotated.tolist())]
    return foreground.places(labels, split.scan, len(split.info.classes))


def _budget(split: Training, labels: int, label_subset: int) -> tuple[Budget, np.ndarray]:
    """The label budget, and ``(N,)`` bool: whose labels it shows."""
    everyone = {case.subject for case in split.cases if case.label is not None}
    subjects = splits.labelled_subjects(
        split.info,
        split.cases,
        labels or len(everyone),
        label_subset,
        held_out=len(split.scored),
    )
    members = set(subjects)
    chosen = np.array([case.subject in members for case in split.cases]) & split.annotated
    if not chosen.any():
        name = split.info.name
        raise UserError(
            f"data set {name!r}: none of the {len(subjects)} chosen subjects has a label; check "
            f"with `semiseg data check {name}`"
        )
    return Budget(subjects, int(chosen.sum())), chosen


def choice(mask: np.ndarray, split: Training | None = None) -> Choice:
    """The images where ``mask (N,)`` is True; without a ``split`` each is a subject of its own.

    >>> choice(np.array([False, True, True])).images.tolist()
    [1, 2, 1]
    """
    index = np.flatnonzero(mask)
    weight = np.ones(len(index))
    if split is not None:
        weight = _by_subject([split.cases[i].subject for i in index], split.scan[index])
    return _choice(index, weight, mask.size)


def choice_of_cases(cases: Sequence[int], split: Training) -> Choice:
    """The pool images of some ``cases`` of a split, by their indices."""
    subjects = [split.cases[i].subject for i in cases]
    weight = _by_subject(subjects, split.scan[list(cases)])
    return _choice(split.place[list(cases)], weight, len(split.flat.page))


def _choice(index: np.ndarray, weight: np.ndarray, size: int) -> Choice:
    """Images ``index`` of a pool of ``size``, drawn with these weights."""
    below = np.ones(size, np.float32)
    below[: len(index)] = np.cumsum(weight) / weight.sum()
    below[max(len(index) - 1, 0) :] = 1.0
    return Choice(
        jnp.asarray(np.resize(index, size).astype(np.int32)),
        jnp.int32(len(index)),
        jnp.asarray(below),
    )


def _by_subject(subjects: Sequence[str], scans: np.ndarray) -> np.ndarray:
    """Weights of images: subjects weigh the same, in a subject its scans, in a scan its images.

    >>> _by_subject(["a", "a", "a", "b"], np.array([0, 0, 1, 2])).tolist()
    [0.25, 0.25, 0.5, 1.0]
    """
    images_of: dict[int, int] = {}
    scans_of: dict[str, set[int]] = {}
    for subject, scan in zip(subjects, scans.tolist(), strict=True):
        images_of[scan] = images_of.get(scan, 0) + 1
        scans_of.setdefault(subject, set()).add(scan)
    weights = [
        1 / (images_of[scan] * len(scans_of[subject]))
        for subject, scan in zip(subjects, scans.tolist(), strict=True)
    ]
    return np.array(weights)


def of_arrays(
    images: np.ndarray, labels: np.ndarray, part: np.ndarray, hidden: np.ndarray | None = None
) -> Pools:
    """Pools of arrays of one shape, without synthetic images: what no store holds.

    Args:
      images: ``(N, *space, C)`` uint8.
      labels: ``(N, *space)`` uint8.
      part: ``(N,)`` bool: labelled images; the others are unlabelled, or all where there are none.
      hidden: ``(N, *space)``, see :class:`semiseg.types.Pools`.
    """
    rest = part if part.all() else ~part
    return Pools(
        image=ragged.of_dense(jnp.asarray(images)),
        label=ragged.labels_of_dense(jnp.asarray(labels)),
        labelled=choice(part),
        unlabelled=choice(rest),
        synthetic_count=jnp.int32(0),
        hidden=None if hidden is None else ragged.labels_of_dense(jnp.asarray(hidden)),
    )
