"""What a generator may see: the pairs of a label budget, and the other images without a label."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from semiseg.data import pools
from semiseg.data.provenance import Provenance, of_training
from semiseg.errors import UserError
from semiseg.generators import masks
from semiseg.generators.gan_batch import Data
from semiseg.generators.settings import Settings
from semiseg.types import IGNORE


@dataclasses.dataclass(frozen=True, eq=False)
class Budget:
    """What a generator may see, on the host.

    Attributes:
      images: ``(N, S, S, C)`` uint8, of the whole training split; those outside the budget only if
        unlabelled images may be used.
      labels: ``(N, S, S)`` uint8, IGNORE outside the budget, with regions as classes from
        ``len(classes)`` on.
      labelled: indices of the budget's pairs, ascending.
      names: of every image.
      subjects: of every image.
      classes: names of the data set's classes.
      fingerprint: of the data set.
      provenance: what of the data set is in here.
      held_out: subjects of the fold that is held out; None without folds.
    """

    images: np.ndarray
    labels: np.ndarray
    labelled: np.ndarray
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    classes: tuple[str, ...]
    fingerprint: str
    provenance: Provenance = Provenance()
    held_out: frozenset[str] | None = None

    @property
    def labelled_subjects(self) -> list[str]:
        """Annotated subjects of the budget's pairs, sorted."""
        return sorted({self.subjects[i] for i in self.labelled})

    @property
    def labelled_images(self) -> np.ndarray:
        """``(M, S, S, C)`` uint8: images of the budget's pairs."""
        return self.images[self.labelled]

    @property
    def labelled_masks(self) -> np.ndarray:
        """``(M, S, S)`` uint8: masks of the budget's pairs."""
        return self.labels[self.labelled]


def read_budget(settings: Settings) -> Budget:
    """The training split as the settings allow it to be seen.

    Raises:
      UserError: fewer than two labelled images, or a class that no mask of the budget has.
    """
    _, chosen, training = pools.pools(
        settings.data,
        settings.root,
        settings.frame,
        labels=settings.labels,
        label_subset=settings.label_subset,
        folds=settings.folds,
        fold=settings.fold,
    )
    size = (settings.image_size, settings.image_size)
    images, labels = pools.dense(training, size)
    subjects = [case.subject for case in training.cases]
    labelled = np.flatnonzero(np.isin(subjects, chosen.subjects) & training.annotated)
    held_back = np.ones(len(labels), bool)
    held_back[labelled] = False
    labels[held_back] = IGNORE
    classes = training.info.classes
    where = (
        f"data set {settings.data!r}, labels {settings.labels}, label subset "
        f"{settings.label_subset}"
    )
    check_pairs(labels[labelled], classes, where)
    cases = list(training.cases)
    if not settings.unlabelled:
        images = images[labelled]
        labels = labels[labelled]
        cases = [cases[i] for i in labelled]
        labelled = np.arange(len(labelled))
    labels[labelled] = masks.with_regions(
        images[labelled], labels[labelled], len(classes), settings.regions
    )
    return Budget(
        images,
        labels,
        labelled,
        names=tuple(case.name for case in cases),
        subjects=tuple(case.subject for case in cases),
        classes=classes,
        fingerprint=training.info.fingerprint,
        provenance=of_training(
            training.info,
            chosen.subjects,
            unlabelled=_learns_more(settings),
            held_out=training.held_out,
        ),
        held_out=training.held_out,
    )


def _learns_more(settings: Settings) -> bool:
    """Whether a fit learns from images outside the budget."""
    judged_alone = settings.unconditional and settings.train.unconditional > 0
    return settings.unlabelled and (judged_alone or settings.train.pseudo > 0)


def check_pairs(labels: np.ndarray, classes: tuple[str, ...], where: str) -> None:
    """Refuse pairs that no generator can learn from.

    Args:
      labels: ``(M, S, S)``, masks of the budget.
      classes: names of the data set's classes.
      where: what a message starts with.

    Raises:
      UserError: fewer than two masks, or a class that none of them has.

    >>> check_pairs(np.zeros((4, 8, 8)), ("background", "nucleus"), "nuclei")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    semiseg.errors.UserError: nuclei: no mask has class 'nucleus', so none could be painted; ...
    """
    if len(labels) < 2:
        what = (
            f"{len(labels)} labelled image, a generator needs at least 2 (and some 30 to be any "
            f"good)"
        )
        raise UserError(what, where=where, remedy="raise --labels")
    for k, name in enumerate(classes):
        if not (labels == k).any():
            what = f"no mask has class {name!r}, so none could be painted"
            remedy = "raise --labels or choose another --label-subset"
            raise UserError(what, where=where, remedy=remedy)


def data_of(budget: Budget, pseudo: tuple[np.ndarray, np.ndarray] | None = None) -> Data:
    """The arrays of the program.

    Args:
      budget: what may be seen.
      pseudo: a teacher's masks ``(N, S, S)`` and its confidence ``(N,)``; only those of images
        outside the budget are used.
    """
    n = len(budget.images)
    labels = budget.labels
    weight = np.ones(n, np.float32)
    taught = np.zeros(0, int)
    if pseudo is not None:
        masks_of_teacher, confidence = pseudo
        taught = np.setdiff1d(np.arange(n), budget.labelled)
        labels = labels.copy()
        labels[taught] = masks_of_teacher[taught]
        weight[taught] = confidence[taught]
    return Data(
        jnp.asarray(budget.images),
        jnp.asarray(labels),
        _padded(budget.labelled, n),
        jnp.int32(len(budget.labelled)),
        _padded(taught, n),
        jnp.int32(len(taught)),
        jnp.asarray(weight),
    )


def _padded(index: np.ndarray, n: int) -> jnp.ndarray:
    """``(n,)`` int32: ``index`` repeated, so that budgets of all sizes share one program."""
    if not len(index):
        return jnp.zeros(n, jnp.int32)
    return jnp.asarray(np.resize(index, n).astype(np.int32))
