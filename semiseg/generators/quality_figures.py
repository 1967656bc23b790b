"""What a quality report measures of a synthetic set: single samples, and what segmenters say."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from semiseg.errors import UserError
from semiseg.evaluate.metrics import image_dice
from semiseg.generators import judge, measures
from semiseg.generators.quality_masks import Evidence, evidence
from semiseg.generators.quality_sets import Pairs, Reference
from semiseg.generators.quality_spoilt import power
from semiseg.types import Model, Params

LEAST_CONTRAST = 2
"""Grey levels of a valid image's deviation."""
FOREGROUND = (0.25, 2)
"""Foreground of a valid mask, in units of the least and the largest of the real masks, seen or held
out: four seen masks alone say little of what is possible.
"""
CELLS = 8
"""Two images are twins if their means over CELLS² cells differ by less than half a grey level."""
TWIN_DIFFERENCE = 0.5

Figures = dict[str, float]
"""Measured values by name."""


# ------------------------------------------------------------------ single samples
def valid_samples(fake: Pairs, real: Reference) -> np.ndarray:
    """``(N,)`` bool: contrast, classes and foreground of a sample are possible ones."""
    real_labels = np.concatenate([real.seen.labels, real.held_out.labels])
    usual = (real_labels != 0).mean((1, 2))
    foreground = (fake.labels != 0).mean((1, 2))
    contrast = fake.images.reshape(len(fake.images), -1).std(1)
    known_classes = (fake.labels < len(real.classes)).all((1, 2))
    least, largest = FOREGROUND
    possible = (foreground >= least * usual.min()) & (foreground <= largest * usual.max())
    return (contrast >= LEAST_CONTRAST) & known_classes & possible


def twins(images: np.ndarray) -> np.ndarray:
    """Whether an image is a copy of one before it.

    Args:
      images: ``(N, S, S, C)``.

    Returns:
      ``(N,)`` bool.

    >>> twins(np.stack([np.zeros((8, 8, 1)), np.ones((8, 8, 1)), np.zeros((8, 8, 1))])).tolist()
    [False, False, True]
    """
    n = len(images)
    cell = images.shape[1] // CELLS
    side = CELLS * cell
    blocks = images[:, :side, :side].reshape(
        n,
        CELLS,
        cell,
        CELLS,
        cell,
        -1,
    )
    small = blocks.mean((2, 4)).reshape(n, -1)
    alike = cdist(small, small, "cityblock") < TWIN_DIFFERENCE * small.shape[1]
    return np.tril(alike, -1).any(1)


def relative_sharpness(fake: np.ndarray, real: np.ndarray) -> float:
    """Median sharpness of images ``(N, S, S, C)`` in units of that of real ones.

    >>> images = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 1))
    >>> relative_sharpness(images, images)
    1.0
    """
    return float(np.median(measures.sharpness(fake)) / np.median(measures.sharpness(real)))


# ------------------------------------------------------------------ segmenters
class Agreement(NamedTuple):
    """What the judges say of a set's masks.

    Attributes:
      figures: their Dice on the set and on real pairs.
      dice: ``(N,)`` of each sample; NaN where there is no foreground.
    """

    figures: Figures
    dice: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Judges:
    """Two segmenters of half the seen subjects each, one of the synthetic set, and the referee: one
    of half the held-out subjects.

    Attributes:
      fake: the set.
      real: what it is compared with.
      model: of all.
      halves: the judges.
      pupil: trained on the set alone.
      subjects: of each judge.
      referee: trained on held-out pairs.
      unseen: ``(N,)`` bool, the held-out pairs that it did not see.
    """

    fake: Pairs
    real: Reference
    model: Model
    halves: list[Params]
    pupil: Params
    subjects: tuple[np.ndarray, np.ndarray]
    referee: Params
    unseen: np.ndarray

    @classmethod
    def train(
        cls,
        fake: Pairs,
        real: Reference,
        rng: np.random.Generator,
        *,
        steps: int,
        widths: tuple[int, ...],
        seed: int,
    ) -> Judges:
        """Train all.

        Args:
          fake: the set.
          real: what it is compared with.
          rng: cuts the seen subjects in half.
          steps: of each segmenter.
          widths: of its U-Net.
          seed: of all segmenters.

        Raises:
          UserError: there is one seen subject.
        """
        subjects = rng.permutation(np.unique(real.seen.subjects))
        if len(subjects) < 2:
            what = (
                "a quality report needs two seen subjects, to judge each by what was learnt from "
                "the other"
            )
            raise UserError(what, remedy="give more with --labels")
        middle = len(subjects) // 2
        first = np.isin(real.seen.subjects, subjects[:middle])
        unseen = _other_half(real.held_out.subjects, seed)
        n = len(first)
        n_held_out = len(unseen)
        of_referee = n + np.flatnonzero(~unseen)
        of_set = n + n_held_out + np.arange(len(fake.images))
        model, (one, two, referee, pupil) = judge.train(
            np.concatenate([real.seen.images, real.held_out.images, fake.images]),
            np.concatenate([real.seen.labels, real.held_out.labels, fake.labels]),
            [np.flatnonzero(first), np.flatnonzero(~first), of_referee, of_set],
            len(real.classes),
            steps=steps,
            widths=widths,
            seed=seed,
        )
        halves = (subjects[:middle], subjects[middle:])
        return cls(
            fake,
            real,
            model,
            [one, two],
            pupil,
            halves,
            referee,
            unseen,
        )

    def refereed(self) -> Refereed:
        """What the referee and the images' edges say of the masks."""
        classes = len(self.real.classes)
        images = self.real.held_out.images[self.unseen]
        labels = self.real.held_out.labels[self.unseen]
        predictions = judge.predictions(self.model, self.referee, images)
        of_set = judge.predictions(self.model, self.referee, self.fake.images)
        return Refereed(
            evidence(self.fake.images, self.fake.labels, of_set, classes),
            evidence(images, labels, predictions, classes),
            images,
            labels,
            predictions,
        )

    def agreement(self) -> Agreement:
        """Dice of each pair by the judge that did not see its subject; by both where none did."""
        seen = self.real.seen
        first, second = (self._dice(params, seen) for params in self.halves)
        by_one, by_two = (self._dice(params, self.fake) for params in self.halves)
        of_one, of_two = (np.isin(self.fake.subjects, subjects) for subjects in self.subjects)
        of_neither = 0.5 * (by_one + by_two)
        dice = np.where(of_one, by_two, np.where(of_two, by_one, of_neither))
        real_dice = np.where(np.isin(seen.subjects, self.subjects[0]), second, first)
        judges_dice = float(np.nanmean(real_dice))
        agreement_dice = 0.0
        if np.isfinite(dice).any():
            agreement_dice = float(np.nanmean(dice))
        figures = {
            "judges_dice": judges_dice,
            "agreement_dice": agreement_dice,
            "agreement": agreement_dice / max(judges_dice, 1e-6),
        }
        return Agreement(figures, dice)

    def transfer(self) -> Figures:
        """Dice on held-out images of what learnt from the set, beside the judges."""
        held_out = self.real.held_out
        of_set = float(np.nanmean(self._dice(self.pupil, held_out)))
        each = [np.nanmean(self._dice(params, held_out)) for params in self.halves]
        of_real = float(np.mean(each))
        return {
            "transfer_dice": of_set,
            "transfer_real_dice": of_real,
            "transfer": of_set / max(of_real, 1e-6),
        }

    def features(self, images: np.ndarray) -> np.ndarray:
        """Features of the first judge, ``(N, F)``."""
        return judge.features(self.model, self.halves[0], images)

    def _dice(self, params: Params, pairs: Pairs) -> np.ndarray:
        predictions = judge.predictions(self.model, params, pairs.images)
        scores = [image_dice(p, y) for p, y in zip(predictions, pairs.labels, strict=True)]
        return np.array(scores)


class Refereed(NamedTuple):
    """Evidence of the masks of a set, and of the held-out pairs that the referee did not see.

    Attributes:
      of_set: of the set.
      held_out: of the real pairs.
      images: ``(N, S, S, C)``, of these pairs.
      labels: ``(N, S, S)``.
      predictions: ``(N, S, S)``, the referee's.
    """

    of_set: Evidence
    held_out: Evidence
    images: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray

    def power(self, size: int) -> dict[str, float]:
        """See :func:`semiseg.generators.quality_spoilt.power`."""
        return power(self.images, self.labels, self.predictions, self.held_out, size)


def _other_half(subjects: np.ndarray, seed: int) -> np.ndarray:
    """``(N,)`` bool: the pairs of a random half of the subjects; of one subject, every other pair.

    >>> _other_half(np.array(["a", "a", "b", "b"]), 0).sum()
    np.int64(2)
    """
    names = np.random.default_rng(seed).permutation(np.unique(subjects))
    if len(names) < 2:
        return np.arange(len(subjects)) % 2 == 1
    return np.isin(subjects, names[len(names) // 2 :])
