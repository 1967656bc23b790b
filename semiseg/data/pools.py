"""Pools: a data set's training images as arrays on the device, and which of them a label budget
shows.

The arrays depend on the data set and the frame alone. A trial's label budget is a list of indices
and a copy of the labels in which everything outside the budget is IGNORE. So trials of all budgets,
subsets and seeds share one compiled program, and no method can read a held-back label: these are in
a field of their own, which the trainer's diagnostics read and a batch does not hold.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.data import splits, store
from semiseg.data.frame import Frame
from semiseg.data.info import StoreInfo
from semiseg.errors import UserError
from semiseg.types import IGNORE, Case, Pools


class Training(NamedTuple):
    """A training split in the frame: what every label budget of a data set shares.

    Attributes:
      info: of the data set.
      cases: N scans.
      images: ``(N, S, S, slices · C)``, or ``(N, D, S, S, C)`` for a 3D network, uint8.
      labels: ``(N, S, S)`` or ``(N, D, S, S)`` uint8; IGNORE where nobody annotated the scan.
      annotated: ``(N,)`` bool.
    """

    info: StoreInfo
    cases: tuple[Case, ...]
    images: np.ndarray
    labels: np.ndarray
    annotated: np.ndarray

    @property
    def annotated_subjects(self) -> int:
        """Number of subjects with a label, from which label subsets are drawn."""
        cases = zip(self.cases, self.annotated.tolist(), strict=True)
        return len({case.subject for case, has_label in cases if has_label})


class Budget(NamedTuple):
    """A label budget: the subjects of the training split whose labels are used.

    Attributes:
      subjects: in the order in which they get their labels.
      images: number of annotated scans of these subjects.
    """

    subjects: tuple[str, ...]
    images: int


def training(name: str, root: str | None, frame: Frame) -> Training:
    """The training split of a store, scaled to the frame's pool shape.

    For a 3D network its cases are volumes.
    """
    return _training(name, root, frame, store.info(name, root).fingerprint)


# Stored between the trials of a sweep; the fingerprint is a key, so that a set imported anew is
# read anew.
@functools.lru_cache(2)
def _training(name: str, root: str | None, frame: Frame, fingerprint: str) -> Training:
    cases = frame.scans(store.read_split(name, "train", root), f"data set {name!r}")
    unlabelled = np.full(frame.pool_shape, IGNORE, np.uint8)
    labels = [
        unlabelled if case.label is None else frame.label_to_pool(case.label) for case in cases
    ]
    annotated = np.array([case.label is not None for case in cases])
    info = store.info(name, root)
    return Training(info, cases, frame.to_pools(cases), np.stack(labels), annotated)


class _Arrays(NamedTuple):
    """Images and labels on the device, and how many of them there are."""

    images: jax.Array
    labels: jax.Array
    number: int


@functools.lru_cache(2)
def _on_device(name: str, root: str | None, frame: Frame, fingerprint: str) -> _Arrays:
    split = _training(name, root, frame, fingerprint)
    return _Arrays(jnp.asarray(split.images), jnp.asarray(split.labels), len(split.cases))


def _no_synthetic(frame: Frame, channels: int) -> _Arrays:
    """One blank image, since an array must have a shape; none is counted."""
    return _Arrays(
        jnp.zeros((1, *frame.pool_shape, channels), jnp.uint8),
        jnp.full((1, *frame.pool_shape), IGNORE, jnp.uint8),
        0,
    )


def _synthetic(name: str, root: str | None, frame: Frame, like: Training) -> _Arrays:
    """The images of a synthetic set, which must be ``like`` the data set it is mixed into."""
    synthetic = training(name, root, frame)
    where = f"synthetic set {name!r}"
    if synthetic.images.shape[-1] != like.images.shape[-1]:
        raise UserError(
            f"{where} has {synthetic.images.shape[-1]} channels, the data set "
            f"{like.images.shape[-1]}: import it with the same channels"
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
    return _on_device(name, root, frame, synthetic.info.fingerprint)


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
      frame: geometry of the pool images.
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
    real = _on_device(name, root, frame, split.info.fingerprint)
    if synthetic is None:
        extra = _no_synthetic(frame, split.images.shape[-1])
    else:
        extra = _synthetic(synthetic, root, frame, split)
    by_image = chosen.reshape(-1, *(1,) * len(frame.pool_shape))
    made = Pools(
        image_NHWC=real.images,
        label_NHW=jnp.asarray(np.where(by_image, split.labels, np.uint8(IGNORE))),
        labelled_N=_padded(chosen),
        labelled_count=jnp.int32(chosen.sum()),
        unlabelled_N=_padded(rest),
        unlabelled_count=jnp.int32(rest.sum()),
        synthetic_image_MHWC=extra.images,
        synthetic_label_MHW=extra.labels,
        synthetic_count=jnp.int32(extra.number),
        hidden_NHW=real.labels,
    )
    return made, budget, split


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


def _padded(mask: np.ndarray) -> jax.Array:
    """``(N,)`` int32 indices where ``mask (N,)`` is True, repeated to fill the array.

    >>> _padded(np.array([False, True, True])).tolist()
    [1, 2, 1]
    """
    return jnp.asarray(np.resize(np.flatnonzero(mask), mask.size).astype(np.int32))
