"""What a quality report measures of a synthetic set: single samples, what segmenters say of it, its
distance from real images, and what it has memorised.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from semiseg.errors import UserError
from semiseg.evaluate.metrics import image_dice
from semiseg.generators import judge, measures
from semiseg.generators.quality_sets import Pairs, Reference
from semiseg.types import Model, Params

LEAST_CONTRAST = 2
"""Grey levels of a valid image's deviation."""
FOREGROUND = (0.25, 2)
"""Foreground of a valid mask, in units of the least and the largest of the seen masks."""
CELLS = 8
"""Two images are twins if their means over CELLS² cells differ by less than half a grey level."""
TWIN_DIFFERENCE = 0.5
TEXTURE_QUANTILE = 0.99
"""Of held-out images' textures: what is nearer to a seen image is memorised."""

Figures = dict[str, float]
"""Measured values by name."""


# ------------------------------------------------------------------ single samples
def valid_samples(fake: Pairs, real: Reference) -> np.ndarray:
    """``(N,)`` bool: contrast, classes and foreground of a sample are possible ones."""
    seen = (real.seen.labels != 0).mean((1, 2))
    foreground = (fake.labels != 0).mean((1, 2))
    contrast = fake.images.reshape(len(fake.images), -1).std(1)
    known_classes = (fake.labels < len(real.classes)).all((1, 2))
    least, largest = FOREGROUND
    possible = (foreground >= least * seen.min()) & (foreground <= largest * seen.max())
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
    blocks = images[:, :side, :side].reshape(n, CELLS, cell, CELLS, cell, -1)
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
    """Two segmenters of half the seen subjects each, and one of the synthetic set.

    Attributes:
      fake: the set.
      real: what it is compared with.
      model: of all three.
      halves: the judges.
      pupil: trained on the set alone.
      subjects: of each judge.
    """

    fake: Pairs
    real: Reference
    model: Model
    halves: list[Params]
    pupil: Params
    subjects: tuple[np.ndarray, np.ndarray]

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
        """Train all three.

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
        n = len(first)
        of_set = n + np.arange(len(fake.images))
        model, (one, two, pupil) = judge.train(
            np.concatenate([real.seen.images, fake.images]),
            np.concatenate([real.seen.labels, fake.labels]),
            [np.flatnonzero(first), np.flatnonzero(~first), of_set],
            len(real.classes),
            steps=steps,
            widths=widths,
            seed=seed,
        )
        return cls(fake, real, model, [one, two], pupil, (subjects[:middle], subjects[middle:]))

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


# ------------------------------------------------------------------ distances
def distances(
    fake: Pairs, real: Reference, judges: Judges, rng: np.random.Generator, seed: int
) -> Figures:
    """KID, density, coverage and AUC of the set and of real images among themselves."""
    seen = len(real.seen.images)
    real_features, fake_features = measures.standardised(
        measures.random_features(real.images), measures.random_features(fake.images)
    )
    figures = _kid("kid", real_features, fake_features, real.subjects, seen, seed)
    figures |= _spread(real_features, fake_features, real.subjects, rng, seed)
    real_features, fake_features = measures.standardised(
        judges.features(real.images), judges.features(fake.images)
    )
    return figures | _kid("kid_segmenter", real_features, fake_features, real.subjects, seen, seed)


def _kid(
    name: str, real: np.ndarray, fake: np.ndarray, subjects: np.ndarray, size: int, seed: int
) -> Figures:
    distance = measures.kid(real, fake)
    floor = measures.kid_floor(real, subjects, size, seed=seed)
    return {
        name: distance,
        f"{name}_floor": floor,
        f"{name}_floors": max(distance, 0.0) / max(floor, 1e-9),
    }


def _spread(
    real: np.ndarray, fake: np.ndarray, subjects: np.ndarray, rng: np.random.Generator, seed: int
) -> Figures:
    """Density, coverage and AUC from features ``(N, F)``; coverage also between sets of one size,
    since it grows with the number of fakes.
    """
    one, two = measures.disjoint_parts(subjects, len(real) // 2, rng)
    density, coverage = measures.density_coverage(real, fake)
    even = rng.permutation(len(real))[: 2 * min(len(real) // 2, len(fake))]
    matched = rng.permutation(len(fake))[: len(even) // 2]
    half = real[even[::2]]
    _, coverage_real = measures.density_coverage(half, real[even[1::2]])
    _, coverage_matched = measures.density_coverage(half, fake[matched])
    return {
        "density": density,
        "coverage": coverage,
        "coverage_real": coverage_real,
        "coverage_matched": coverage_matched,
        "auc": measures.auc(real, fake, seed=seed),
        "auc_real": measures.auc(real[one], real[two], seed=seed),
    }


class Memorisation(NamedTuple):
    """What a set has memorised.

    Attributes:
      figures: correlations of the textures, and the share of memorised samples.
      border: correlation above which a sample is memorised.
      correlation: ``(N,)`` of each sample with the nearest seen image.
      neighbour: ``(N,)`` index of that image.
    """

    figures: Figures
    border: float
    correlation: np.ndarray
    neighbour: np.ndarray


def memorisation(fake: Pairs, real: Reference) -> Memorisation:
    """Correlation of each sample's texture with the nearest seen image, against that of held-out
    images.
    """
    side = real.seen.images.shape[1]
    seen = measures.texture(real.seen.images, real.seen.labels)
    held_out = measures.texture(real.held_out.images, real.held_out.labels)
    of_held_out, _ = measures.nearest(held_out, seen, side)
    textures = measures.texture(fake.images, fake.labels)
    correlation, neighbour = measures.nearest(textures, seen, side)
    border = float(np.quantile(of_held_out, TEXTURE_QUANTILE))
    figures = {
        "texture_nearest": float(np.median(correlation)),
        "texture_nearest_held": float(np.median(of_held_out)),
        "texture_border": border,
        "memorised": float((correlation > border).mean()),
    }
    return Memorisation(figures, border, correlation, neighbour)
