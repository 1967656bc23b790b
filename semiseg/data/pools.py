"""Pools: a data set's training images as arrays on the device, and which of them a label budget
shows.

The arrays depend on the data set and the frame alone; a trial's budget is a list of indices and a
copy of the labels in which everything outside the budget is IGNORE. So trials of all budgets,
subsets and seeds share one compiled program, and no method can read a hidden label: the hidden ones
stand in a field of their own, which the trainer's diagnostics read and a batch does not hold.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from semiseg.data import splits, store
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.types import IGNORE, Case, Pools


class Training(NamedTuple):
    """A training split in the frame: what every budget of a data set shares."""

    info: store.StoreInfo
    cases: tuple[Case, ...]
    images: np.ndarray  # (N, S, S, slices · C), or (N, D, S, S, C) for a 3D network, uint8
    labels: np.ndarray  # (N, S, S) or (N, D, S, S) uint8
    annotated: np.ndarray  # (N,) bool


class Budget(NamedTuple):
    """Which subjects of the training split are shown with their labels."""

    subjects: tuple[str, ...]
    images: int


def training(name: str, root: str | None, frame: Frame) -> Training:
    """The training split of a store, scaled to the frame's pool shape; for a 3D network its cases
    are volumes.
    """
    return _training(name, root, frame, store.info(name, root).fingerprint)


# Kept between the trials of a sweep; the fingerprint is a key, so that a set imported anew is read
# anew.
@functools.lru_cache(2)
def _training(name: str, root: str | None, frame: Frame, fingerprint: str) -> Training:
    cases = frame.scans(store.read_split(name, "train", root), f"data set {name!r}")
    images = frame.to_pools(cases)
    hidden = np.full(frame.pool_shape, IGNORE, np.uint8)
    labels = np.stack([hidden if c.label is None else frame.label_to_pool(c.label) for c in cases])
    return Training(
        store.info(name, root),
        cases,
        images,
        labels,
        np.array([c.label is not None for c in cases]),
    )


@functools.lru_cache(2)
def _on_device(name: str, root: str | None, frame: Frame, fingerprint: str):
    data = _training(name, root, frame, fingerprint)
    return jnp.asarray(data.images), jnp.asarray(data.labels)


def _synthetic(name: str | None, root: str | None, frame: Frame, like: Training):
    if name is None:
        space = frame.pool_shape
        return (
            jnp.zeros((1, *space, like.images.shape[-1]), jnp.uint8),
            jnp.full((1, *space), IGNORE, jnp.uint8),
            0,
        )
    data = training(name, root, frame)
    if data.images.shape[-1] != like.images.shape[-1]:
        raise UserError(
            f"synthetic set {name!r} has {data.images.shape[-1]} channels, the data set "
            f"{like.images.shape[-1]}: import it with the same channels"
        )
    if data.info.classes != like.info.classes:
        names = ", ".join(like.info.classes)
        raise UserError(
            f"synthetic set {name!r} has the classes {', '.join(data.info.classes)}, the data "
            f"set {names}: import it with --classes {names}"
        )
    if not data.annotated.all():
        raise UserError(
            f"synthetic set {name!r} holds images without a mask: import it again with one mask "
            f"an image"
        )
    return *_on_device(name, root, frame, data.info.fingerprint), len(data.cases)


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

    Args:
      labels: number of annotated subjects shown, 0 for all.
      label_subset: 0 is the data set's official order where it has one; others are random; budgets
        of one subset are nested.
      ratio: synthetic images per real one in a labelled batch.
      synthetic: name of the imported synthetic set.

    The unlabelled pool is every image outside the budget; where the budget is everything, it is
    everything.
    """
    data = training(name, root, frame)
    everyone = len({c.subject for c in data.cases if c.label is not None})
    shown = splits.labelled_subjects(data.info, data.cases, labels or everyone, label_subset)
    chosen = np.array([c.subject in set(shown) for c in data.cases]) & data.annotated
    if not chosen.any():
        raise UserError(
            f"data set {name!r}: none of the {len(shown)} chosen subjects has a label; check "
            f"with `semiseg data check {name}`"
        )
    rest = ~chosen if not chosen.all() else chosen
    if ratio > 0 and synthetic is None:
        raise UserError("--ratio needs --synthetic NAME: the imported synthetic set to mix in")
    synthetic_image, synthetic_label, count = _synthetic(synthetic, root, frame, data)
    images, hidden = _on_device(name, root, frame, data.info.fingerprint)
    made = Pools(
        image_NHWC=images,
        label_NHW=jnp.asarray(
            np.where(
                chosen.reshape(-1, *(1,) * len(frame.pool_shape)), data.labels, np.uint8(IGNORE)
            )
        ),
        labelled_N=_padded(chosen),
        labelled_count=jnp.int32(chosen.sum()),
        unlabelled_N=_padded(rest),
        unlabelled_count=jnp.int32(rest.sum()),
        synthetic_image_MHWC=synthetic_image,
        synthetic_label_MHW=synthetic_label,
        synthetic_count=jnp.int32(count),
        hidden_NHW=hidden,
    )
    return made, Budget(tuple(shown), int(chosen.sum())), data


def _padded(mask: np.ndarray):
    return jnp.asarray(np.resize(np.flatnonzero(mask), mask.size).astype(np.int32))
