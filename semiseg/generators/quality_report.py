"""The card of a synthetic set: what must hold before a segmenter may learn from it, each figure
beside the same of real data.

Three parts of the real data: ``seen`` are the pairs of the generator's budget, ``all`` the whole
training split (images only), ``held`` the validation split, which no generator has seen. The card
rejects bad sets; it does not choose among good ones, nor the share of synthetic data.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from semiseg.augment import centre
from semiseg.data import pools, readers, store
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.files import read_json
from semiseg.generators import judge, measures
from semiseg.generators.masks import check_size


class Pairs(NamedTuple):
    """Images ``(N, S, S, C)`` uint8 with their masks ``(N, S, S)`` uint8, and names of what they
    come from.
    """

    names: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    subjects: (
        np.ndarray
    )  # of a synthetic pair: the subject whose mask it has, "" where none is known


class Reference(NamedTuple):
    """The real data a set is compared with."""

    seen: Pairs
    held: Pairs
    images: np.ndarray  # of the whole training split
    subjects: np.ndarray  # of these
    classes: tuple[str, ...]


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
      sample: least Dice of a single sample that is kept, as a share of the judges' Dice.
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


def assess(
    fake: Pairs,
    real: Reference,
    limits: Limits = Limits(),
    *,
    steps: int = 300,
    widths: tuple[int, ...] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """The card of ``fake``: ``checks`` (value, limit, passed), ``figures`` (everything measured),
    ``samples`` (one row each), ``passed``.

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
    """
    k, side = len(real.classes), real.seen.images.shape[1]
    widths = widths or (
        (8, 16, 32) if side <= 64 else (8, 16, 32, 64)
    )  # a heart is found by what lies around it
    check_size(fake.labels, side, "the synthetic set")
    rng = np.random.default_rng(seed)
    figures: dict[str, float] = {}
    m = len(fake.images)

    share = (real.seen.labels != 0).mean((1, 2))
    own = (fake.labels != 0).mean((1, 2))
    contrast = fake.images.reshape(len(fake.images), -1).std(1)
    valid = (
        (contrast >= 2)
        & (fake.labels < k).all((1, 2))
        & (own >= 0.25 * share.min())
        & (own <= 2 * share.max())
    )
    figures["valid"] = float(valid.mean())
    cell = side // 8
    small = (
        fake.images[:, : 8 * cell, : 8 * cell]
        .reshape(m, 8, cell, 8, cell, -1)
        .mean((2, 4))
        .reshape(m, -1)
    )
    twin = np.tril(cdist(small, small, "cityblock") < 0.5 * small.shape[1], -1).any(1)
    figures["distinct"] = float(1 - twin.mean())
    figures["classes"] = float(all((fake.labels == c).any() for c in range(k)))

    figures["sharpness"] = float(
        np.median(measures.sharpness(fake.images)) / np.median(measures.sharpness(real.images))
    )

    # judges
    subjects = rng.permutation(np.unique(real.seen.subjects))
    if len(subjects) < 2:
        raise UserError(
            "the card needs two seen subjects, to judge each by what was learnt from the other; "
            "give more with --labels"
        )
    first = np.isin(real.seen.subjects, subjects[: len(subjects) // 2])
    n = len(real.seen.images)
    images = np.concatenate([real.seen.images, fake.images])
    labels = np.concatenate([real.seen.labels, fake.labels])
    parts = [np.flatnonzero(first), np.flatnonzero(~first), n + np.arange(m)]
    model, (one, two, pupil) = judge.train(
        images, labels, parts, k, steps=steps, widths=widths, seed=seed
    )
    by = [judge.dice(judge.predictions(model, p, images), labels) for p in (one, two)]
    figures["judges_dice"] = float(np.nanmean(np.where(first, by[1][:n], by[0][:n])))
    knew = [
        np.isin(fake.subjects, s)
        for s in (subjects[: len(subjects) // 2], subjects[len(subjects) // 2 :])
    ]
    agreed = np.where(
        knew[0], by[1][n:], np.where(knew[1], by[0][n:], 0.5 * (by[0][n:] + by[1][n:]))
    )
    figures["agreement_dice"] = float(np.nanmean(agreed)) if np.isfinite(agreed).any() else 0.0
    figures["agreement"] = figures["agreement_dice"] / max(figures["judges_dice"], 1e-6)

    # distances
    for name, feature in (
        ("", measures.random_features),
        ("_segmenter", lambda x: judge.features(model, one, x)),
    ):
        real_f, fake_f = measures.standardised(feature(real.images), feature(fake.images))
        figures[f"kid{name}"], figures[f"kid{name}_floor"] = (
            measures.kid(real_f, fake_f),
            measures.kid_floor(real_f, real.subjects, n, seed=seed),
        )
        figures[f"kid{name}_floors"] = max(figures[f"kid{name}"], 0.0) / max(
            figures[f"kid{name}_floor"], 1e-9
        )
        if not name:
            a, b = measures.apart(real.subjects, len(real.images) // 2, rng)
            figures["density"], figures["coverage"] = measures.density_coverage(real_f, fake_f)
            even = rng.permutation(len(real_f))[: 2 * min(len(real_f) // 2, m)]
            figures["coverage_real"] = measures.density_coverage(
                real_f[even[::2]], real_f[even[1::2]]
            )[1]
            figures["coverage_matched"] = measures.density_coverage(
                real_f[even[::2]], fake_f[rng.permutation(m)[: len(even) // 2]]
            )[1]
            figures["auc"] = measures.auc(real_f, fake_f, seed=seed)
            figures["auc_real"] = measures.auc(real_f[a], real_f[b], seed=seed)

    # memorisation
    seen_t, held_t, fake_t = (
        measures.texture(p.images, p.labels) for p in (real.seen, real.held, fake)
    )
    held_near, _ = measures.nearest(held_t, seen_t, side)
    near, neighbour = measures.nearest(fake_t, seen_t, side)
    border = float(np.quantile(held_near, 0.99))
    figures |= {
        "texture_nearest": float(np.median(near)),
        "texture_nearest_held": float(np.median(held_near)),
        "texture_border": border,
    }
    figures["memorised"] = float((near > border).mean())

    # transfer
    figures["transfer_dice"], figures["transfer_real_dice"] = (
        float(
            np.mean(
                [
                    np.nanmean(
                        judge.dice(judge.predictions(model, p, real.held.images), real.held.labels)
                    )
                    for p in ps
                ]
            )
        )
        for ps in ((pupil,), (one, two))
    )
    figures["transfer"] = figures["transfer_dice"] / max(figures["transfer_real_dice"], 1e-6)

    low = {"valid": limits.valid, "distinct": limits.distinct, "classes": 1.0, "agreement": limits.agreement, "transfer": limits.transfer,
           "sharpness": limits.sharp,
           "coverage_matched": limits.coverage * figures["coverage_real"]}  # fmt: skip
    high = {
        "kid_floors": limits.kid,
        "kid_segmenter_floors": limits.kid,
        "memorised": limits.memorised,
        "sharpness": 1 / limits.sharp,
    }
    checks = [_check(name, figures[name], ">=", limit) for name, limit in low.items()]
    checks += [_check(name, figures[name], "<=", limit) for name, limit in high.items()]
    keep = (
        valid
        & ~twin
        & (near <= border)
        & (np.nan_to_num(agreed) >= limits.sample * figures["judges_dice"])
    )
    samples = [
        {"name": str(fake.names[i]), "valid": bool(valid[i]), "twin": bool(twin[i]), "dice": round(float(np.nan_to_num(agreed[i])), 4),
         "texture": round(float(near[i]), 4), "nearest": str(real.seen.names[neighbour[i]]), "keep": bool(keep[i])}
        for i in range(m)
    ]  # fmt: skip
    counts = {
        "samples": m,
        "seen": n,
        "held": len(real.held.images),
        "real": len(real.images),
        "kept": int(keep.sum()),
    }
    rounded = {name: round(v, 5) for name, v in figures.items()}
    return {
        "passed": all(c["passed"] for c in checks),
        "checks": checks,
        "figures": rounded,
        "counts": counts,
        "samples": samples,
    }


def _check(name: str, value: float, sign: str, limit: float) -> dict[str, Any]:
    passed = bool(value >= limit) if sign == ">=" else bool(value <= limit)
    return {
        "check": name,
        "value": round(float(value), 5),
        "must": f"{sign} {limit:.4g}",
        "passed": passed,
    }


# ------------------------------------------------------------------ files
def read_set(folder: str | Path, side: int | None, channels: int) -> tuple[Pairs, dict[str, Any]]:
    """A synthetic set from its folder, and what its generator.json says ({} where there is none)."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; name the --out of `semiseg gan sample`, or a folder with "
            f"images/ and labels/"
        )
    known = folder / "generator.json"
    record = read_json(known) if known.exists() else {}
    source = readers.read("folder", folder, progress=False)
    cases = sorted(
        (ref.load() for refs in source.splits.values() for ref in refs), key=lambda c: c.name
    )
    bare = next((c.name for c in cases if c.label is None), None)
    if bare is not None:
        raise UserError(f"{folder}: {bare} has no mask; a synthetic set needs one for every image")
    if cases[0].image.shape[-1] != channels:
        raise UserError(
            f"{folder}: images have {cases[0].image.shape[-1]} channels, the data set {channels}"
        )
    if side is None:
        side = cases[0].image.shape[0]
    frame = Frame(side)
    odd = next((c for c in cases if c.image.shape[:2] != (side, side)), None)
    if odd is not None:
        raise UserError(
            f"{folder}: {odd.name} is {odd.image.shape[0]}×{odd.image.shape[1]}, the others "
            f"{side}×{side}; a set needs one size"
        )
    torn = next(
        (c for c in cases if c.label is not None and c.label.shape != c.image.shape[:2]), None
    )
    if torn is not None and torn.label is not None:
        raise UserError(
            f"{folder}: the mask of {torn.name} is {'×'.join(map(str, torn.label.shape))}, its "
            f"image {side}×{side}; save both at one size"
        )
    origin: dict[str, str] = {}
    if (folder / "provenance.csv").exists():
        with (folder / "provenance.csv").open(newline="") as file:
            origin = {row["name"]: row["source_subject"] for row in csv.DictReader(file)}
    stem = lambda c: c.name.removesuffix("_slice_0")
    images, labels = (
        np.stack([frame.to_pool(c.image) for c in cases]),
        np.stack([c.label for c in cases if c.label is not None]),
    )
    return Pairs(
        np.array([stem(c) for c in cases]),
        images,
        labels,
        np.array([origin.get(stem(c), "") for c in cases]),
    ), record


def read_reference(
    data: str, root: str | None, frame: Frame, labels: int, label_subset: int
) -> Reference:
    """The real data in the frame's centre."""
    _, budget, training = pools.pools(data, root, frame, labels=labels, label_subset=label_subset)
    size = (frame.image_size,) * 2
    crop = lambda x: np.asarray(centre(x, size))
    images, marked = crop(training.images), crop(training.labels)
    shown = (
        np.array([c.subject in set(budget.subjects) for c in training.cases]) & training.annotated
    )
    pairs = lambda cases, x, y: Pairs(
        np.array([c.name for c in cases]), x, y, np.array([c.subject for c in cases])
    )
    seen = pairs([c for c, s in zip(training.cases, shown) if s], images[shown], marked[shown])
    kept = [c for c in store.read_split(data, "val", root) if c.label is not None]
    if not kept:
        raise UserError(
            f"data set {data!r} has no annotated validation split to hold a synthetic set "
            f"against; import it with one"
        )
    x, y = (
        np.stack([frame.to_pool(c.image) for c in kept]),
        np.stack([frame.label_to_pool(c.label) for c in kept if c.label is not None]),
    )
    subjects = np.array([c.subject for c in training.cases])
    return Reference(seen, pairs(kept, crop(x), crop(y)), images, subjects, training.info.classes)


def card(
    folder: str | Path, data: str, root: str | None = None, *, labels: int | None = None, label_subset: int | None = None, steps: int = 300,
    limits: Limits = Limits(), out: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The card of a synthetic set's folder; ``out`` receives card.json, keep.txt and index.html
    with the nearest neighbours.

    The budget is the one its generator was fitted on unless ``labels`` is given; so no judge learns
    from a label the budget does not hold. The validation split's pairs say how near to a seen image
    is too near, which the filter asks as well, and by them transfer is scored.
    """
    info = store.info(data, root)
    settings = {}
    if (Path(folder) / "generator.json").exists():
        settings = read_json(Path(folder) / "generator.json").get("settings", {})
    fake, record = read_set(folder, settings.get("image_size"), info.channels)
    budget = settings.get("labels", 0) if labels is None else labels
    subset = settings.get("label_subset", 0) if label_subset is None else label_subset
    frame = Frame(fake.images.shape[1], settings.get("zoom", 1.0), "centre")
    real = read_reference(data, root, frame, budget, subset)
    found = assess(fake, real, limits, steps=steps)
    found = {
        "set": Path(folder).name,
        "data": data,
        "generator": record.get("hash"),
        "labels": budget,
        "label_subset": subset,
        "steps": steps,
        **found,
    }
    if out is not None:
        from semiseg.generators.quality_page import write_page

        write_page(Path(out), found, fake, real)
    return found
