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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import ragged
from semiseg.data import fold_splits, foreground, pool_files, splits, store
from semiseg.data.flat import Flat as Flat
from semiseg.data.flat import appended
from semiseg.data.flat import flatten as flatten
from semiseg.data.frame import FIT, STRETCH, Frame, PoolImage
from semiseg.data.info import StoreInfo
from semiseg.data.rotating import Rotating
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
      flat: P pool images and labels: those of the cases; of a fold also those that it holds out.
      annotated: ``(N,)`` bool.
      place: ``(N,)`` int32, which of the pool images each case is.
      held_out: subjects of the fold that is held out; None without folds.
      validation: scans of these.
      expected: what prediction warns of, where it is known without the scans.
    """

    info: StoreInfo
    frame: Frame
    scans: Sequence[Case]
    cases: tuple[Case, ...]
    scan: np.ndarray
    flat: Flat
    annotated: np.ndarray
    place: np.ndarray
    held_out: frozenset[str] | None = None
    validation: tuple[Case, ...] = ()
    expected: dict[str, Any] | None = None

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
        return self.flat.image(int(self.place[i]))

    def label(self, i: int) -> np.ndarray:
        """Label ``(*space)`` of the pool image of case ``i``; IGNORE where nobody annotated it."""
        return self.flat.label(int(self.place[i]))

    def in_pool(self, chosen: np.ndarray) -> np.ndarray:
        """``(P,)`` bool: the pool images of the cases where ``chosen (N,)`` is True."""
        shown = np.zeros(len(self.flat.page), bool)
        shown[self.place[chosen]] = True
        return shown


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
def training(
    name: str,
    root: str | None,
    frame: Frame,
    *,
    folds: int = 0,
    fold: int = 0,
    in_memory: bool = True,
) -> Training:
    """The training split of a store in the frame, which is decided by its images.

    With ``folds`` these are the images of all subjects outside the test split, so that the folds
    share one frame; the cases are those of the subjects outside the ``fold``. If they are not to be
    ``in_memory``, pool images are mapped from files and scans are read when they are asked for.

    Raises:
      UserError: the set cannot be dealt into so many folds.
    """
    whole = _whole(name, root, frame, folds, in_memory)
    return _without_fold(whole, folds, fold) if folds else whole


def _whole(name: str, root: str | None, frame: Frame, folds: int, in_memory: bool) -> Training:
    """The images that all folds share."""
    of_set = _training if in_memory else _from_files
    return of_set(name, root, frame, store.info(name, root).fingerprint, folds > 0)


# Stored between the trials of a sweep; the fingerprint is a key, so that a set imported anew is
# read anew.
@functools.lru_cache(2)
def _training(
    name: str, root: str | None, frame: Frame, fingerprint: str, with_val: bool = False
) -> Training:
    info = store.info(name, root)
    scans = store.read_split(name, "train", root)
    if with_val and info.number("val"):
        scans += store.read_split(name, "val", root)
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
    return Training(
        info,
        frame,
        tuple(scans),
        tuple(images),
        np.array(numbers, np.int32),
        flat,
        annotated=np.array([case.label is not None for case in images]),
        place=np.arange(len(images), dtype=np.int32),
    )


@functools.lru_cache(2)
def _from_files(
    name: str, root: str | None, frame: Frame, fingerprint: str, with_val: bool = False
) -> Training:
    """:func:`_training` of scans that stay on the disk."""
    info = store.info(name, root)
    splits_read = ["train", "val"] if with_val and info.number("val") else ["train"]
    scans = pool_files.Joined([store.open_split(name, split, root) for split in splits_read])
    made = pool_files.prepared(info, scans, frame, "+".join(splits_read))
    return Training(
        info,
        made.frame,
        scans,
        made.cases,
        made.scan,
        made.flat,
        made.annotated,
        place=np.arange(len(made.cases), dtype=np.int32),
        expected=made.expected,
    )


@functools.lru_cache(5)
def _without_fold(whole: Training, folds: int, fold: int) -> Training:
    """All subjects outside the test split but those of a fold."""
    fold_of = _folds(whole, folds)
    held_out = frozenset(subject for subject, number in fold_of.items() if number == fold)
    place = np.flatnonzero([case.subject not in held_out for case in whole.cases])
    seen = [q for q, scan in enumerate(whole.scans) if scan.subject not in held_out]
    return dataclasses.replace(
        whole,
        scans=pool_files.Joined([whole.scans], seen),
        cases=tuple(whole.cases[i] for i in place),
        scan=whole.scan[place],
        annotated=whole.annotated[place],
        place=place.astype(np.int32),
        held_out=held_out,
        validation=tuple(scan for scan in whole.scans if scan.subject in held_out),
        expected=None,
    )


@functools.lru_cache(2)
def _folds(whole: Training, folds: int) -> dict[str, int]:
    return fold_splits.of_scans(whole.info, whole.scans, folds)


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
    whole = _whole(name, root, frame, folds, memory is None)
    split = training(name, root, frame, folds=folds, fold=fold, in_memory=memory is None)
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
        held_out=len({scan.subject for scan in split.validation if scan.label is not None}),
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
