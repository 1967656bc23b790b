"""The quality report of a synthetic set: what must hold before a segmenter may learn from it, each
figure beside the same of real data.

It rejects bad sets; it does not choose among good ones, nor the share of synthetic data.
:mod:`semiseg.generators.quality_sets` reads both sides, :mod:`semiseg.generators.quality_page`
shows the result.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data import store
from semiseg.data.frame import FIT, Frame
from semiseg.files import read_json
from semiseg.generators import quality_masks, quality_spoilt
from semiseg.generators.masks import check_size
from semiseg.generators.quality_distances import (
    LIKENESS_QUANTILE,
    Copies,
    Memorisation,
    copied,
    distances,
    memorisation,
)
from semiseg.generators.quality_figures import (
    Figures,
    Judges,
    relative_sharpness,
    twins,
    valid_samples,
)
from semiseg.generators.quality_page import write_page
from semiseg.generators.quality_sets import Pairs, Reference, read_reference, read_set
from semiseg.generators.sample import GENERATOR

STEPS = 300
"""Optimiser steps of the segmenters that judge."""
SMALL_SIDE = 64
"""Up to this side of an image, pixels, three levels of a U-Net find what there is; a heart is found
by what lies around it.
"""


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
      auc: how far the AUC of real against fake may go from that of real against real to 1.
      kinds: least share of the kinds of picture that is reached, as a share of that of real parts.
      copied: largest share of samples more like a training image than all but 5 % of held-out
        images are, beyond the 5 % and three standard errors.
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
    auc: float = 0.5
    kinds: float = 0.85
    copied: float = 0.1


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
    frame = Frame(
        fake.images.shape[1], fitted.get("zoom", 1.0), "centre", spacing=FIT, stored="uint8"
    )
    folds = (fitted.get("folds", 0), fitted.get("fold", 0))
    real = read_reference(data, root, frame, labels, label_subset, *folds)
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
      quarter of the least and twice the largest of the real masks; and images that are not copies
      of each other;
    - sharpness: fine contrast, median over the set beside that of the real images;
    - agreement: two segmenters are trained on half of the seen subjects each; a sample is judged by
      the one that did not see its mask's subject;
    - KID on a random network and on a judge's features, over the floor of real halves; density and
      coverage (k = 5);
    - memorisation: correlation of texture with the nearest seen image, against that of held-out
      images;
    - copies: likeness after registration to any training image, annotated or not, against that of
      held-out images;
    - transfer: a segmenter trained on the set alone, on held-out images, beside the judges; real
      against fake: AUC, beside that of real against real;
    - kinds of picture: cells of the real images that the set reaches, beside those that as many
      real images reach;
    - masks: see :func:`semiseg.generators.quality_masks.checks`. What judges them there had no part
      in the filter.

    Args:
      fake: the set.
      real: what it is compared with.
      limits: what it must reach.
      steps: of the segmenters that judge.
      widths: of their U-Net; default: three levels for small images, else four.
      seed: of everything drawn.

    Returns:
      ``passed``, ``checks`` (value, limit, passed), ``figures`` (everything measured), ``counts``,
      ``samples`` (one row each); ``power``, how often the checks of the masks would reject sets of
      this size with spoilt masks, and ``cannot_tell``, the kinds that they would miss too often.
    """
    side = real.seen.images.shape[1]
    check_size(fake.labels, side, "the synthetic set")
    if not widths:
        widths = (8, 16, 32) if side <= SMALL_SIDE else (8, 16, 32, 64)
    rng = np.random.default_rng(seed)
    valid = valid_samples(fake, real)
    twin = twins(fake.images)
    judges = Judges.train(
        fake,
        real,
        rng,
        steps=steps,
        widths=widths,
        seed=seed,
    )
    agreement = judges.agreement()
    memory = memorisation(fake, real)
    alike = copied(fake, real)
    refereed = judges.refereed()
    of_masks = quality_masks.checks(refereed.of_set, refereed.held_out)
    classes = range(len(real.classes))
    figures = {
        "valid": float(valid.mean()),
        "distinct": float(1 - twin.mean()),
        "classes": float(all((fake.labels == k).any() for k in classes)),
        "sharpness": relative_sharpness(fake.images, real.images),
        **agreement.figures,
        **distances(fake, real, judges, rng, seed),
        **memory.figures,
        **alike.figures,
        **judges.transfer(),
        **{row.name: row.value for row in of_masks},
    }
    dice = np.nan_to_num(agreement.dice)
    passes = valid & ~twin & (memory.correlation <= memory.border)
    passes &= dice >= limits.sample * figures["judges_dice"]
    passes &= alike.likeness <= alike.far
    checks = _checks(figures, limits, len(fake.images), len(real.held_out.images))
    checks += [_check(*row[:4], row.passed) for row in of_masks]
    power = refereed.power(len(fake.images))
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
        "power": power,
        "cannot_tell": quality_spoilt.missed(power),
        "samples": _sample_rows(
            fake,
            real,
            valid,
            twin,
            dice,
            memory,
            alike,
            passes,
        ),
    }


def _sample_rows(
    fake: Pairs,
    real: Reference,
    valid: np.ndarray,
    twin: np.ndarray,
    dice: np.ndarray,
    memory: Memorisation,
    alike: Copies,
    passes: np.ndarray,
) -> list[dict[str, Any]]:
    """A row for each sample, from arrays ``(N,)``."""
    rows = []
    for i, name in enumerate(fake.names):
        row = {
            "name": str(name),
            "valid": bool(valid[i]),
            "twin": bool(twin[i]),
            "dice": round(float(dice[i]), 4),
            "texture": round(float(memory.correlation[i]), 4),
            "likeness": round(float(alike.likeness[i]), 4),
            "nearest": str(real.seen.names[memory.neighbour[i]]),
            "keep": bool(passes[i]),
        }
        rows.append(row)
    return rows


def _checks(
    figures: Figures,
    limits: Limits,
    size: int,
    held_out: int,
) -> list[dict[str, Any]]:
    # two judges of a pair or two each say little of their own Dice; held-out pairs say more
    judges_dice = min(figures["judges_dice"], figures["transfer_real_dice"])
    auc_real = max(figures["auc_halves"], 0.5)
    usual = 1 - LIKENESS_QUANTILE
    chance = math.sqrt(usual * (1 - usual) * (1 / size + 1 / held_out))
    at_least = {
        "valid": limits.valid,
        "distinct": limits.distinct,
        "classes": 1.0,
        "agreement": limits.agreement * judges_dice / max(figures["judges_dice"], 1e-6),
        "transfer": limits.transfer,
        "sharpness": limits.sharp,
        "coverage_matched": limits.coverage * figures["coverage_real"],
        "kinds": limits.kinds * figures["kinds_real"],
    }
    at_most = {
        "kid_floors": limits.kid,
        "kid_segmenter_floors": limits.kid,
        "memorised": limits.memorised,
        "sharpness": 1 / limits.sharp,
        "auc": auc_real + limits.auc * (1 - auc_real),
        "copied": usual + limits.copied + quality_masks.ERRORS * chance,
    }
    checks = []
    for name, limit in at_least.items():
        checks.append(_check(name, figures[name], ">=", limit, figures[name] >= limit))
    for name, limit in at_most.items():
        checks.append(_check(name, figures[name], "<=", limit, figures[name] <= limit))
    return checks


def _check(
    name: str,
    value: float,
    sign: str,
    limit: float,
    passed: bool,
) -> dict[str, Any]:
    must = f"{sign} {limit:.4g}"
    return {"check": name, "value": round(float(value), 5), "must": must, "passed": bool(passed)}
