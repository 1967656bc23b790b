"""How far a synthetic set is from the real images, which kinds of picture it reaches, and what of
the images that its generator could see it repeats.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semiseg.generators import copies, measures, variety
from semiseg.generators.quality_figures import Figures, Judges
from semiseg.generators.quality_sets import Pairs, Reference

TEXTURE_QUANTILE = 0.99
"""Of held-out images' textures: what is nearer to a seen image is memorised."""
LIKENESS_QUANTILE = 0.95
"""Of held-out images' likeness to training images: what is more like one is a copy."""
LEAST_SEEN = 32
"""The distance between two parts of the real images grows as a part shrinks; for fewer seen pairs
than this, it is measured with parts of this size, so that a small budget excuses nothing.
"""
HALVES = 6
"""Random parts of the real images, for the figures of real against real."""


# ------------------------------------------------------------------ distances
def distances(
    fake: Pairs,
    real: Reference,
    judges: Judges,
    rng: np.random.Generator,
    seed: int,
) -> Figures:
    """KID, density, coverage and AUC of the set and of real images among themselves."""
    seen = max(len(real.seen.images), LEAST_SEEN)
    real_features, fake_features = measures.standardised(
        measures.random_features(real.images), measures.random_features(fake.images)
    )
    figures = _kid(
        "kid",
        real_features,
        fake_features,
        real.subjects,
        seen,
        seed,
    )
    figures |= _spread(real_features, fake_features, real.subjects, rng, seed)
    real_features, fake_features = measures.standardised(
        judges.features(real.images), judges.features(fake.images)
    )
    return figures | _kid(
        "kid_segmenter",
        real_features,
        fake_features,
        real.subjects,
        seen,
        seed,
    )


def _kid(
    name: str,
    real: np.ndarray,
    fake: np.ndarray,
    subjects: np.ndarray,
    size: int,
    seed: int,
) -> Figures:
    distance = measures.kid(real, fake)
    floor = measures.kid_floor(real, subjects, size, seed=seed)
    return {
        name: distance,
        f"{name}_floor": floor,
        f"{name}_floors": max(distance, 0.0) / max(floor, 1e-9),
    }


def _spread(
    real: np.ndarray,
    fake: np.ndarray,
    subjects: np.ndarray,
    rng: np.random.Generator,
    seed: int,
) -> Figures:
    """Density, coverage and AUC from features ``(N, F)``; coverage also between sets of one size,
    since it grows with the number of fakes.
    """
    one, two = measures.disjoint_parts(subjects, len(real) // 2, rng)
    axes, fake_axes = variety.principal(real, fake)
    reached_real, auc_halves = _real_against_real(real, axes, subjects, len(fake), rng)
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
        "auc_halves": auc_halves,
        "kinds": variety.reached(axes, fake_axes),
        "kinds_real": reached_real,
    }


def _real_against_real(
    real: np.ndarray,
    axes: np.ndarray,
    subjects: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Means over random parts of the real subjects, of as many images as the set: the share of
    cells that a part reaches, and the AUC of the part and the others.

    Args:
      real: ``(N, F)`` features.
      axes: ``(N, A)``, the same on their principal components.
      subjects: ``(N,)``, of each image.
      size: of the set.
      rng: draws the parts.
    """
    reached = []
    aucs = []
    for _ in range(HALVES):
        part, others = measures.disjoint_parts(subjects, size, rng)
        reached.append(variety.reached(axes[others], axes[part]))
        aucs.append(measures.auc(real[others], real[part]))
    return float(np.mean(reached)), float(np.mean(aucs))


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


class Copies(NamedTuple):
    """How like the set is to the images that its generator could see.

    Attributes:
      figures: medians, and the share of copies.
      likeness: ``(N,)`` of each sample to the most alike image.
      far: likeness that 99 % of held-out images do not reach; the filter drops what does. The
        verdict asks at a lower border how many samples are too like, so that it is not the filter's
        own question.
    """

    figures: Figures
    likeness: np.ndarray
    far: float


def copied(fake: Pairs, real: Reference) -> Copies:
    """Likeness of each sample to the whole training split, annotated or not, after registration,
    against that of held-out images.
    """
    of_held_out, _ = copies.likeness(real.held_out.images, real.images)
    likeness, _ = copies.likeness(fake.images, real.images)
    border = float(np.quantile(of_held_out, LIKENESS_QUANTILE))
    figures = {
        "likeness": float(np.median(likeness)),
        "likeness_held": float(np.median(of_held_out)),
        "likeness_border": border,
        "copied": float((likeness > border).mean()),
    }
    return Copies(figures, likeness, float(np.quantile(of_held_out, TEXTURE_QUANTILE)))
