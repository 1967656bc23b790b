"""Pools: a data set's training images as one flat array on the device, and which of them a label
budget shows.

The arrays depend on the data set and the frame alone. A trial's label budget is a list of indices
and a copy of the labels in which everything outside the budget is IGNORE. So trials of all budgets,
subsets and seeds share one compiled program, and no method can read a held-back label: these are in
a field of their own, which the trainer's diagnostics read and a batch does not hold.
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
from semiseg.data import foreground, splits, store
from semiseg.data.flat import Flat as Flat
from semiseg.data.flat import appended
from semiseg.data.flat import flatten as flatten
from semiseg.data.frame import FIT, STRETCH, Frame, PoolImage
from semiseg.data.info import StoreInfo
from semiseg.data.scaling import as_uint8, in_the_middle
from semiseg.errors import UserError
from semiseg.types import IGNORE, Case, Choice, Images, Pools


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """A training split in the frame: what every label budget of a data set shares.

    Attributes:
      info: of the data set.
      frame: with nothing left open.
      scans: as they are stored.
      cases: N images: slices, pictures, or for a 3D network volumes.
      scan: ``(N,)`` int32, number of the scan that each is of.
      flat: their pool images and labels.
      annotated: ``(N,)`` bool.
    """

    info: StoreInfo
    frame: Frame
    scans: tuple[Case, ...]
    cases: tuple[Case, ...]
    scan: np.ndarray
    flat: Flat
    annotated: np.ndarray

    @property
    def annotated_subjects(self) -> int:
        """Number of subjects with a label, from which label subsets are drawn."""
        cases = zip(self.cases, self.annotated.tolist(), strict=True)
        return len({case.subject for case, has_label in cases if has_label})

    @property
    def channels(self) -> int:
        """Of an image as the network sees it."""
        return self.flat.offset.shape[1] * self.flat.voxels.shape[-1]

    def image(self, i: int) -> np.ndarray:
        """Levels ``(*space, C)`` of the pool image of case ``i``, without its neighbours."""
        return self.flat.image(i)

    def label(self, i: int) -> np.ndarray:
        """Label ``(*space)`` of the pool image of case ``i``; IGNORE where nobody annotated it."""
        return self.flat.label(i)


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


# ------------------------------------------------------------------ the training split
def training(name: str, root: str | None, frame: Frame) -> Training:
    """The training split of a store in the frame, which is decided by its images."""
    return _training(name, root, frame, store.info(name, root).fingerprint)


def resolved(name: str, root: str | None, frame: Frame) -> Frame:
    """The frame with what is left open decided by the training images of a store."""
    return training(name, root, frame).frame


# Stored between the trials of a sweep; the fingerprint is a key, so that a set imported anew is
# read anew.
@functools.lru_cache(2)
def _training(name: str, root: str | None, frame: Frame, fingerprint: str) -> Training:
    info = store.info(name, root)
    scans = store.read_split(name, "train", root)
    frame = frame.resolved(scans, info.unit)
    images: list[Case] = []
    numbers: list[int] = []
    pool: list[PoolImage] = []
    labels: list[np.ndarray] = []
    for q, scan in enumerate(scans):
        of_scan = frame.scans([scan], f"data set {name!r}")
        images += of_scan
        numbers += [q] * len(of_scan)
        made = frame.to_pool(scan)
        pool.append(made)
        labels.append(_pool_label(frame, scan, made))
    flat = flatten(pool, labels, frame)
    annotated = np.array([case.label is not None for case in images])
    return Training(
        info, frame, tuple(scans), tuple(images), np.array(numbers, np.int32), flat, annotated
    )


def _pool_label(frame: Frame, scan: Case, image: PoolImage) -> np.ndarray:
    if scan.label is None:
        return np.full(image.levels.shape[:-1], IGNORE, np.uint8)
    return frame.label_to_pool(scan.label, scan.spacing)


# ------------------------------------------------------------------ pools of a trial
def pools(
    name: str,
    root: str | None,
    frame: Frame,
    *,
    labels: int,
    label_subset: int,
    ratio: float = 0.0,
    synthetic: str | None = None,
) -> tuple[Pools, Budget, Training]:
    """Pools of one trial.

    The unlabelled pool is every image outside the label budget; where the budget is everything, it
    is everything.

    Args:
      name, root: of the data set.
      frame: geometry and grey values of the pool images.
      labels: number of annotated subjects in the label budget, 0 for all.
      label_subset: 0 is the data set's official order where it has one; others are random; budgets
        of one subset are nested.
      ratio: synthetic images per real one in a labelled batch.
      synthetic: name of the imported synthetic set.
    """
    split = training(name, root, frame)
    budget, chosen = _budget(split, labels, label_subset)
    rest = chosen if chosen.all() else ~chosen
    if ratio > 0 and synthetic is None:
        raise UserError("--ratio needs --synthetic NAME: the imported synthetic set to mix in")
    everything = _with_synthetic(name, root, frame, synthetic, split.info.fingerprint)
    number = len(split.cases)
    fakes = everything.number - number
    shown = np.concatenate([chosen, np.ones(fakes, bool)])
    made = Pools(
        image=everything.images,
        label=jnp.asarray(everything.flat.masked(shown)),
        labelled=choice(chosen, split),
        unlabelled=choice(rest, split),
        synthetic_count=jnp.int32(fakes),
        foreground=foreground.of_budget(_places(split), split.scan, chosen),
        hidden=everything.labels,
    )
    return made, budget, split


class _Everything(NamedTuple):
    """Real and synthetic images on the device, with all labels."""

    flat: Flat
    images: Images
    labels: jax.Array

    @property
    def number(self) -> int:
        return len(self.flat.page)


@functools.lru_cache(2)
def _with_synthetic(
    name: str, root: str | None, frame: Frame, synthetic: str | None, fingerprint: str
) -> _Everything:
    split = _training(name, root, frame, fingerprint)
    flat = split.flat
    if synthetic is not None:
        flat = appended(flat, _synthetic(synthetic, root, split))
    return _Everything(flat, flat.on_device(), jnp.asarray(flat.labels))


def _synthetic(name: str, root: str | None, like: Training) -> Flat:
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
    return synthetic.flat


@functools.lru_cache(2)
def _places(split: Training) -> foreground.Places:
    labels = [split.label(i) if has else None for i, has in enumerate(split.annotated.tolist())]
    return foreground.places(labels, split.scan, len(split.info.classes))


def _budget(split: Training, labels: int, label_subset: int) -> tuple[Budget, np.ndarray]:
    """The label budget, and ``(N,)`` bool: whose labels it shows."""
    everyone = {case.subject for case in split.cases if case.label is not None}
    subjects = splits.labelled_subjects(
        split.info, split.cases, labels or len(everyone), label_subset
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
    below = np.ones(mask.size, np.float32)
    below[: len(index)] = np.cumsum(weight) / weight.sum()
    below[max(len(index) - 1, 0) :] = 1.0
    return Choice(
        jnp.asarray(np.resize(index, mask.size).astype(np.int32)),
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
