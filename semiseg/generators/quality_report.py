"""The quality report of a synthetic set: what must hold before a segmenter may learn from it, each
figure beside the same of real data.

It rejects bad sets; it does not choose among good ones, nor the share of synthetic data.
:mod:`semiseg.generators.quality_sets` reads both sides, :mod:`semiseg.generators.quality_page`
shows the result.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from semiseg.data import store
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.files import read_json
from semiseg.generators import judge, measures
from semiseg.generators.masks import check_size
from semiseg.generators.quality_page import write_page
from semiseg.generators.quality_sets import Pairs, Reference, read_reference, read_set
from semiseg.generators.sample import GENERATOR
from semiseg.types import Model, Params

STEPS = 300
"""Optimiser steps of the segmenters that judge."""
LEAST_CONTRAST = 2
"""Grey levels of a valid image's deviation."""
FOREGROUND = (0.25, 2)
"""Foreground of a valid mask, in units of the least and the largest of the seen masks."""
CELLS = 8
"""Two images are twins if their means over CELLS² cells differ by less than half a grey level."""
TWIN_DIFFERENCE = 0.5
TEXTURE_QUANTILE = 0.99
"""Of held-out images' textures: what is nearer to a seen image is memorised."""
SMALL_SIDE = 64
"""Up to this side of an image, pixels, three levels of a U-Net find what there is; a heart is found
by what lies around it.
"""

Figures = dict[str, float]
"""Measured values by name."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a set must reach; figures are explained in :func:`assess`.

    Attributes:
      valid: least share of valid samples.
      sharp: least sharpness, as a share of the real images'; the largest is its inverse.
      distinct: least share of samples that differ from all before them.
      agreement: least Dice of the judges on the set, as a share of their Dice on real images they
        were not trained on.
      kid: largest KID, in floors.
      coverage: least coverage, as a share of that of real halves.
      memorised: largest share of samples whose texture is nearer to a seen image than all but 1 %
        of held-out images are.
      transfer: least Dice on held-out real images of a segmenter trained on the set, as a share of
        the judges'.
      sample: least Dice of a single sample that passes the filter, as a share of the judges' Dice.
    """

    valid: float = 0.95
    sharp: float = 0.6
    distinct: float = 0.95
    agreement: float = 0.8
    kid: float = 4.0
    coverage: float = 0.5
    memorised: float = 0.1
    transfer: float = 0.6
    sample: float = 0.6


def report_on(
    folder: str | Path,
    data: str,
    root: str | None = None,
    *,
    labels: int | None = None,
    label_subset: int | None = None,
    steps: int = STEPS,
    limits: Limits = Limits(),
    out: str | Path | None = None,
) -> dict[str, Any]:
    """The quality report of a synthetic set's folder.

    The budget is the one its generator was fitted on unless ``labels`` is given; so no judge learns
    from a label the budget does not hold. The validation split's pairs say how near to a seen image
    is too near, which the filter asks as well, and by them transfer is scored.

    Args:
      folder: of the set.
      data: name of the real data set.
      root: folder of the stores; None for the default.
      labels: the label budget to judge with; default: the generator's.
      label_subset: its order of subjects; default: the generator's.
      steps: of the segmenters that judge.
      limits: what the set must reach.
      out: folder for card.json, keep.txt and index.html with the nearest neighbours.

    Returns:
      The content of card.json.

    Raises:
      UserError: a set that cannot be read or compared.
    """
    folder = Path(folder)
    record: dict[str, Any] = {}
    if (folder / GENERATOR).exists():
        record = read_json(folder / GENERATOR)
    fitted = record.get("settings", {})
    if labels is None:
        labels = fitted.get("labels", 0)
    if label_subset is None:
        label_subset = fitted.get("label_subset", 0)
    channels = store.info(data, root).channels
    fake = read_set(folder, fitted.get("image_size"), channels)
    frame = Frame(fake.images.shape[1], fitted.get("zoom", 1.0), "centre")
    real = read_reference(data, root, frame, labels, label_subset)
    report = {
        "set": folder.name,
        "data": data,
        "generator": record.get("hash"),
        "labels": labels,
        "label_subset": label_subset,
        "steps": steps,
        **assess(fake, real, limits, steps=steps),
    }
    if out is not None:
        write_page(Path(out), report, fake, real)
    return report


# ------------------------------------------------------------------ all figures
def assess(
    fake: Pairs,
    real: Reference,
    limits: Limits = Limits(),
    *,
    steps: int = STEPS,
    widths: tuple[int, ...] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Everything that is measured of a set.

    - validity: two grey levels of contrast at least, classes the data set has, foreground between a
      quarter of the least and twice the largest of the seen masks; and images that are not copies
      of each other;
    - sharpness: fine contrast, median over the set beside that of the real images;
    - agreement: two segmenters are trained on half of the seen subjects each; a sample is judged by
      the one that did not see its mask's subject;
    - KID on a random network and on a judge's features, over the floor of real halves; density and
      coverage (k = 5);
    - memorisation: correlation of texture with the nearest seen image, against that of held-out
      images;
    - transfer: a segmenter trained on the set alone, on held-out images, beside the judges; real
      against fake: AUC (reported, without a limit).

    Args:
      fake: the set.
      real: what it is compared with.
      limits: what it must reach.
      steps: of the segmenters that judge.
      widths: of their U-Net; default: three levels for small images, else four.
      seed: of everything drawn.

    Returns:
      ``passed``, ``checks`` (value, limit, passed), ``figures`` (everything measured), ``counts``
      and ``samples`` (one row each).
    """
    side = real.seen.images.shape[1]
    check_size(fake.labels, side, "the synthetic set")
    if not widths:
        widths = (8, 16, 32) if side <= SMALL_SIDE else (8, 16, 32, 64)
    rng = np.random.default_rng(seed)
    valid = valid_samples(fake, real)
    twin = twins(fake.images)
    judges = _Judges.train(fake, real, rng, steps=steps, widths=widths, seed=seed)
    agreement = judges.agreement()
    memory = _memorisation(fake, real)
    classes = range(len(real.classes))
    figures = {
        "valid": float(valid.mean()),
        "distinct": float(1 - twin.mean()),
        "classes": float(all((fake.labels == k).any() for k in classes)),
        "sharpness": relative_sharpness(fake.images, real.images),
        **agreement.figures,
        **_distances(fake, real, judges, rng, seed),
        **memory.figures,
        **judges.transfer(),
    }
    passes = (
        valid
        & ~twin
        & (memory.correlation <= memory.border)
        & (np.nan_to_num(agreement.dice) >= limits.sample * figures["judges_dice"])
    )
    samples = [
        {
            "name": str(fake.names[i]),
            "valid": bool(valid[i]),
            "twin": bool(twin[i]),
            "dice": round(float(np.nan_to_num(agreement.dice[i])), 4),
            "texture": round(float(memory.correlation[i]), 4),
            "nearest": str(real.seen.names[memory.neighbour[i]]),
            "keep": bool(passes[i]),
        }
        for i in range(len(fake.images))
    ]
    checks = _checks(figures, limits)
    return {
        "passed": all(check["passed"] for check in checks),
        "checks": checks,
        "figures": {name: round(value, 5) for name, value in figures.items()},
        "counts": {
            "samples": len(fake.images),
            "seen": len(real.seen.images),
            "held": len(real.held_out.images),
            "real": len(real.images),
            "kept": int(passes.sum()),
        },
        "samples": samples,
    }


def _checks(figures: Figures, limits: Limits) -> list[dict[str, Any]]:
    at_least = {
        "valid": limits.valid,
        "distinct": limits.distinct,
        "classes": 1.0,
        "agreement": limits.agreement,
        "transfer": limits.transfer,
        "sharpness": limits.sharp,
        "coverage_matched": limits.coverage * figures["coverage_real"],
    }
    at_most = {
        "kid_floors": limits.kid,
        "kid_segmenter_floors": limits.kid,
        "memorised": limits.memorised,
        "sharpness": 1 / limits.sharp,
    }
    checks = []
    for name, limit in at_least.items():
        checks.append(_check(name, figures[name], ">=", limit, figures[name] >= limit))
    for name, limit in at_most.items():
        checks.append(_check(name, figures[name], "<=", limit, figures[name] <= limit))
    return checks


def _check(name: str, value: float, sign: str, limit: float, passed: bool) -> dict[str, Any]:
    must = f"{sign} {limit:.4g}"
    return {"check": name, "value": round(float(value), 5), "must": must, "passed": bool(passed)}


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
class _Agreement(NamedTuple):
    figures: Figures
    dice: np.ndarray  # (N,) of each sample; NaN where there is no foreground


@dataclasses.dataclass(frozen=True, eq=False)
class _Judges:
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
    ) -> _Judges:
        subjects = rng.permutation(np.unique(real.seen.subjects))
        if len(subjects) < 2:
            what = (
                "the card needs two seen subjects, to judge each by what was learnt from the other"
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

    def agreement(self) -> _Agreement:
        """Dice of each pair by the judge that did not see its subject, by both where neither did."""
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
        return _Agreement(figures, dice)

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
        return judge.dice(judge.predictions(self.model, params, pairs.images), pairs.labels)


# ------------------------------------------------------------------ distances
def _distances(
    fake: Pairs, real: Reference, judges: _Judges, rng: np.random.Generator, seed: int
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
    one, two = measures.apart(subjects, len(real) // 2, rng)
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


class _Memorisation(NamedTuple):
    figures: Figures
    border: float  # correlation above which a sample is memorised
    correlation: np.ndarray  # (N,) of each sample with the nearest seen image
    neighbour: np.ndarray  # (N,) index of that image


def _memorisation(fake: Pairs, real: Reference) -> _Memorisation:
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
    return _Memorisation(figures, border, correlation, neighbour)
