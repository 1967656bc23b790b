"""The training split of a data set in the frame: what every label budget of it shares.

In a cross-validation it is read once for all folds: the images of all subjects outside the test
split. A fold leaves the subjects out that it holds out.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from semiseg.data import fold_splits, pool_files, set_folder, store
from semiseg.data.flat import Flat, flatten
from semiseg.data.frame import Frame, PoolImage
from semiseg.data.info import StoreInfo
from semiseg.types import IGNORE, Case


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
      scored: those of them that somebody annotated.
      validation: scans of the held-out subjects.
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
    scored: frozenset[str] = frozenset()
    validation: Sequence[Case] = ()
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
    whole = whole_training(
        name,
        root,
        frame,
        folds=folds,
        in_memory=in_memory,
    )
    if not folds:
        return whole
    return _without_fold(whole, folds, fold)


def whole_training(
    name: str,
    root: str | None,
    frame: Frame,
    *,
    folds: int = 0,
    in_memory: bool = True,
) -> Training:
    """The images that all folds share; see :func:`training`."""
    of_set = _training if in_memory else _from_files
    # the folder itself is the key: what "the default" is may change while the process runs
    folder = str(set_folder.root_folder(root).absolute())
    return of_set(name, folder, frame, store.info(name, root).fingerprint, folds > 0)


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
    is_out = np.array([case.subject in held_out for case in whole.cases])
    place = np.flatnonzero(~is_out)
    scored = {whole.cases[i].subject for i in np.flatnonzero(is_out & whole.annotated)}
    inside = np.unique(whole.scan[~is_out])
    outside = np.unique(whole.scan[is_out])
    return dataclasses.replace(
        whole,
        scans=pool_files.Joined([whole.scans], inside.tolist()),
        cases=tuple(whole.cases[i] for i in place),
        scan=whole.scan[place],
        annotated=whole.annotated[place],
        place=place.astype(np.int32),
        held_out=held_out,
        scored=frozenset(scored),
        validation=pool_files.Joined([whole.scans], outside.tolist()),
        expected=None,
    )


@functools.lru_cache(2)
def _folds(whole: Training, folds: int) -> dict[str, int]:
    return fold_splits.of_scans(whole.info, whole.scans, folds)


def _pool_label(frame: Frame, scan: Case, image: PoolImage) -> np.ndarray:
    if scan.label is None:
        return np.full(image.levels.shape[:-1], IGNORE, np.uint8)
    return frame.label_to_pool(scan.label, scan.spacing)
