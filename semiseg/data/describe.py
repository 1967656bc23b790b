"""What is in an imported set, for people (:func:`table`) and programs (:func:`describe`).

Counts cover all splits; pixels are those of train and val, since looking at test, even at its class
frequencies, is a look at test.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data import store
from semiseg.data.data_card import FILE
from semiseg.types import IGNORE, Case


def describe(name: str, root: str | Path | None = None) -> dict[str, Any]:
    """Counts, sizes, intensities, class frequencies (of pixels, and of images that show a class),
    how classes lie, spacings and groups, as JSON types.
    """
    info = store.info(name, root)
    return {
        "name": info.name,
        "classes": list(info.classes),
        "unit": info.unit,
        "channels": info.channels,
        "dtype": info.dtype,
        "license": info.license,
        "citation": info.citation,
        "fingerprint": info.fingerprint,
        "format": info.format,
        "card": str(card) if (card := info.folder / FILE).exists() else None,
        "counts": info.counts,
        "splits": {
            split: _pixels(info, split, root)
            for split in ("train", "val")
            if info.counts.get(split, {}).get("records")
        },
    }


def _pixels(info: store.StoreInfo, split: str, root: str | Path | None) -> dict[str, Any]:
    cases = store.read_split(info.name, split, root)
    thin = np.concatenate([case.image[::4, ::4].ravel() for case in cases])
    count, shown = np.zeros(256, np.int64), np.zeros(256, np.int64)
    annotated = 0
    for case in cases:
        if case.label is not None:
            pixels = np.bincount(case.label.ravel(), minlength=256)
            count, shown, annotated = count + pixels, shown + (pixels > 0), annotated + 1
    scored = max(1, count[: len(info.classes)].sum())
    sizes = np.array([case.image.shape[:-1] for case in cases])
    spacings = np.array([case.spacing for case in cases])
    slices = Counter(
        case.volume for case in cases if len(case.spacing) == 3 and case.image.ndim == 3
    )
    return {
        "size_min": sizes.min(0).tolist(),
        "size_median": np.median(sizes, 0).tolist(),
        "size_max": sizes.max(0).tolist(),
        "slices_median": float(np.median([*slices.values()])) if slices else None,
        "intensity_percentiles": {
            str(q): float(np.percentile(thin, q)) for q in (0, 1, 50, 99, 100)
        },
        "class_frequency": {name: float(count[k] / scored) for k, name in enumerate(info.classes)},
        "class_presence": {
            name: float(shown[k] / max(1, annotated)) for k, name in enumerate(info.classes)
        },
        "one_way": one_way(cases, info.classes),
        "ignored": float(count[IGNORE] / max(1, count.sum())),
        "spacing_median": np.median(spacings, 0).tolist(),
        "groups": dict(sorted(Counter(case.group for case in cases if case.group).items())),
    }


def one_way(cases: Iterable[Case], classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Pairs of classes that lie in one direction from each other in nearly all subjects, so that a
    mirrored image shows what does not occur.

    For a subject, the direction is that of the sum over its slices of the displacements between the
    two classes' centroids, in the plane. Over n subjects, R is the length of the mean of these unit
    vectors (Mardia & Jupp, Directional Statistics, 2000, section 2.3). A pair is listed where R is
    above .8 and n R² above 7 (Rayleigh test, p < .001): ``{"a, b": {"r": R, "subjects": n}}``.
    """
    sums: dict[tuple[int, int], dict[str, np.ndarray]] = defaultdict(
        lambda: defaultdict(lambda: np.zeros(2))
    )
    pairs = list(itertools.combinations(range(1, min(len(classes), 10)), 2))
    for case in cases:
        if case.label is None or not pairs:
            continue
        for plane in case.label.reshape(-1, *case.label.shape[-2:]):
            where = {
                k: np.mean(np.nonzero(plane == k), 1)
                for k in np.unique(plane).tolist()
                if 0 < k < IGNORE
            }
            for a, b in pairs:
                if a in where and b in where:
                    sums[a, b][case.subject] += (where[b] - where[a]) * case.spacing[-2:]
    found = {}
    for (a, b), by_subject in sums.items():
        unit = np.array(
            [v / np.linalg.norm(v) for v in by_subject.values() if np.linalg.norm(v) > 0]
        ).reshape(-1, 2)
        r = float(np.linalg.norm(unit.mean(0))) if len(unit) else 0.0
        if r > 0.8 and len(unit) * r**2 > 7:
            found[f"{classes[a]}, {classes[b]}"] = {"r": round(r, 3), "subjects": len(unit)}
    return found


def table(facts: dict[str, Any]) -> str:
    """The result of :func:`describe` as text of a few lines."""
    lines = [
        (
            f"{facts['name']}: {len(facts['classes'])} classes ({', '.join(facts['classes'])}), "
            f"{facts['channels']}-channel {facts['dtype']}"
        ),
        f"licence: {facts['license']}",
        f"cite: {facts['citation']}",
        "",
        f"{'split':<6} {'records':>8} {'volumes':>8} {'subjects':>9} {'annotated':>10}",
        *(
            f"{s:<6} {c['records']:>8} {c['volumes']:>8} {c['subjects']:>9} {c['annotated']:>10}"
            for s, c in facts["counts"].items()
        ),
    ]
    for split, seen in facts["splits"].items():
        size = " to ".join(
            "×".join(f"{n:g}" for n in seen[key]) for key in ("size_min", "size_max")
        )
        size += f", {seen['slices_median']:g} slices a volume" if seen["slices_median"] else ""
        lines += [
            "",
            (
                f"{split}: size {size}, spacing "
                f"{' × '.join(f'{z:g}' for z in seen['spacing_median'])} {facts['unit']}"
            ),
            "  intensity  "
            + "  ".join(f"p{q} {v:.4g}" for q, v in seen["intensity_percentiles"].items()),
            "  pixels     "
            + "  ".join(f"{name} {share:.2%}" for name, share in seen["class_frequency"].items()),
            "  images     "
            + "  ".join(f"{name} {share:.0%}" for name, share in seen["class_presence"].items()),
        ]
        lines += [
            f"  one way    {pair}: {way['r']:.2f} of 1 over {way['subjects']} subjects"
            for pair, way in seen["one_way"].items()
        ]
        if seen["ignored"]:
            lines.append(
                f"  ignored    {seen['ignored']:.2%} (label {IGNORE}: neither trained on nor "
                f"scored)"
            )
        if seen["groups"]:
            lines.append(
                f"  groups     {len(seen['groups'])}, of 1 to {max(seen['groups'].values())} "
                f"records"
            )
    if facts["card"]:
        lines += ["", f"card: {facts['card']}"]
    return "\n".join(lines)
