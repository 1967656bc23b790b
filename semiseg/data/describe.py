"""What is in an imported set, for people (:func:`table`) and programs (:func:`describe`).

Counts cover all splits. Pixels are those of train and val: reading test, even for its class
frequencies, would be a test evaluation.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data import regions, store
from semiseg.data.budget_facts import budget_facts, budget_lines
from semiseg.data.data_card import FILE
from semiseg.data.fold_advice import suggestion
from semiseg.data.fold_table import fold_facts, fold_lines
from semiseg.data.frame import planes
from semiseg.data.frame_facts import frame_facts, frame_lines
from semiseg.data.info import StoreInfo, numbered
from semiseg.data.pixel_counts import PixelCounts
from semiseg.types import IGNORE, Case

PERCENTILES = (0, 1, 50, 99, 100)


def describe(
    name: str,
    root: str | Path | None = None,
    *,
    spacing: str = "auto",
    intensity: str = "auto",
    image_size: int | None = None,
    folds: int = 0,
    labels: int = 0,
    label_subset: int = 0,
) -> dict[str, Any]:
    """What a set holds, as JSON types, and what a network sees of it.

    Counts, sizes, intensities, class frequencies (of pixels, and of images that show a class), how
    classes lie to each other, spacings and groups. Under ``frame`` stands what
    :func:`semiseg.data.frame_facts.frame_facts` decides by the training split (None without one),
    given the ``spacing``, ``intensity`` and ``image_size`` of a trial; under ``folds`` what so many
    folds hold out, see :func:`semiseg.data.fold_table.fold_facts` (None for 0); under ``budget``
    how the labelled subjects of a budget differ from the rest, see
    :func:`semiseg.data.budget_facts.budget_facts` (None for 0).
    """
    info = store.info(name, root)
    card = info.folder / FILE
    scans = {
        split: store.read_split(info.name, split, root)
        for split in ("train", "val")
        if info.number(split)
    }
    frame = None
    if "train" in scans:
        frame = frame_facts(scans["train"], info.unit, spacing, intensity, image_size)
    dealt = None
    if folds:
        dealt = fold_facts(info, itertools.chain(*scans.values()), folds)
    budget = budget_facts(info, scans.get("train", ()), labels, label_subset) if labels else None
    return {
        "name": info.name,
        "classes": list(info.classes),
        "regions": {name: list(members) for name, members in info.regions.items()},
        "unit": info.unit,
        "channels": info.channels,
        "dtype": info.dtype,
        "license": info.license,
        "citation": info.citation,
        "fingerprint": info.fingerprint,
        "format": info.format,
        "card": str(card) if card.exists() else None,
        "counts": info.counts,
        "splits": {split: _describe_split(info, cases) for split, cases in scans.items()},
        "frame": frame,
        "folds": dealt,
        "budget": budget,
        "advice": suggestion(info, root),
    }


def _describe_split(info: StoreInfo, scans: Sequence[Case]) -> dict[str, Any]:
    counts = PixelCounts(regions=info.region_values)
    for scan in scans:
        counts.add(scan)
    cases = [plane for scan in scans for plane in planes(scan)]
    frequency = counts.frequency(len(info.classes)).tolist()
    presence = counts.presence(len(info.classes)).tolist()
    thin = np.concatenate([case.image[::4, ::4].ravel() for case in cases])
    sizes = np.array([case.image.shape[:-1] for case in cases])
    spacings = np.array([case.spacing for case in cases])
    groups = Counter(case.group for case in cases if case.group)
    return {
        "size_min": sizes.min(0).tolist(),
        "size_median": np.median(sizes, 0).tolist(),
        "size_max": sizes.max(0).tolist(),
        "slices_median": _median_slices(cases),
        **_scan_facts(scans),
        "intensity_percentiles": {str(q): float(np.percentile(thin, q)) for q in PERCENTILES},
        "class_frequency": dict(zip(info.classes, frequency, strict=True)),
        "class_presence": dict(zip(info.classes, presence, strict=True)),
        "regions": {
            name: size._asdict() for name, size in counts.of_regions(len(info.classes)).items()
        },
        "one_way": one_way(cases, info.classes),
        "ignored": counts.ignored,
        "spacing_median": np.median(spacings, 0).tolist(),
        "groups": dict(sorted(groups.items())),
    }


def _scan_facts(scans: Sequence[Case]) -> dict[str, Any]:
    """Sizes of whole scans in pixels, and their extent in the set's unit; how files lie and hold
    them.
    """
    sizes = np.array([scan.image.shape[:-1] for scan in scans])
    extents = sizes * np.array([scan.spacing for scan in scans])
    orientations = Counter(scan.orientation for scan in scans if scan.orientation)
    return {
        "scan_size_min": sizes.min(0).tolist(),
        "scan_size_median": np.median(sizes, 0).tolist(),
        "scan_size_max": sizes.max(0).tolist(),
        "extent_median": np.median(extents, 0).tolist(),
        "orientations": dict(orientations.most_common()),
        "dtypes": dict(Counter(str(scan.image.dtype) for scan in scans).most_common()),
    }


def _median_slices(cases: Sequence[Case]) -> float | None:
    """Median number of slices of a volume; None where no image is a slice."""
    slices = [case for case in cases if len(case.spacing) == 3 and case.image.ndim == 3]
    if not slices:
        return None
    numbers = Counter(case.volume for case in slices)
    return float(np.median(list(numbers.values())))


# ------------------------------------------------------------------ directions
def one_way(cases: Iterable[Case], classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Pairs of classes that lie in one direction from each other in nearly all subjects.

    A mirrored image of such a set shows what does not occur.

    For a subject, the direction is that of the sum over its slices of the displacements between the
    two classes' centroids, in the plane. Over n subjects, R is the length of the mean of these unit
    vectors (Mardia & Jupp, Directional Statistics, 2000, section 2.3). A pair is listed where R is
    above 0.8 and n R² above 7 (Rayleigh test, p < 0.001).

    Returns:
      ``{"a, b": {"r": R, "subjects": n}}``.
    """
    pairs = list(itertools.combinations(range(1, min(len(classes), 10)), 2))
    displacements: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    for case in cases:
        if case.label is None or not pairs:
            continue
        for plane in case.label.reshape(-1, *case.label.shape[-2:]):
            centroids = _centroids(plane)
            for a, b in pairs:
                if a in centroids and b in centroids:
                    by_subject = displacements.setdefault((a, b), {})
                    total = by_subject.get(case.subject, np.zeros(2))
                    step = (centroids[b] - centroids[a]) * case.spacing[-2:]
                    by_subject[case.subject] = total + step
    listed: dict[str, dict[str, float]] = {}
    for (a, b), by_subject in displacements.items():
        n, r = _resultant(list(by_subject.values()))
        if r > 0.8 and n * r**2 > 7:
            listed[f"{classes[a]}, {classes[b]}"] = {"r": round(r, 3), "subjects": n}
    return listed


def _centroids(plane: np.ndarray) -> dict[int, np.ndarray]:
    """Class → mean row and column of its pixels in a label ``(H, W)``; no background, no IGNORE."""
    values = [value for value in np.unique(plane).tolist() if 0 < value < IGNORE]
    return {value: np.mean(np.nonzero(plane == value), 1) for value in values}


def _resultant(vectors: Sequence[np.ndarray]) -> tuple[int, float]:
    """Number of vectors that are not zero, and the length of the mean of their directions.

    >>> _resultant([np.array([0.0, 2.0]), np.array([0.0, 1.0]), np.zeros(2)])
    (2, 1.0)
    """
    lengths = [np.linalg.norm(vector) for vector in vectors]
    units = [v / length for v, length in zip(vectors, lengths, strict=True) if length > 0]
    if not units:
        return 0, 0.0
    return len(units), float(np.linalg.norm(np.mean(units, 0)))


# ------------------------------------------------------------------ text
def table(facts: dict[str, Any]) -> str:
    """The result of :func:`describe` as text of a few lines."""
    classes = facts["classes"]
    lines = [
        f"{facts['name']}: {len(classes)} classes ({', '.join(classes)}), "
        f"{facts['channels']}-channel {facts['dtype']}",
        *(f"region: {words}" for words in regions.words(facts["regions"])),
        f"licence: {facts['license']}",
        f"cite: {facts['citation']}",
        "",
        f"{'split':<6} {'images':>8} {'volumes':>8} {'subjects':>9} {'annotated':>10}",
    ]
    for split, n in facts["counts"].items():
        lines.append(
            f"{split:<6} {n['images']:>8} {n['volumes']:>8} {n['subjects']:>9} {n['annotated']:>10}"
        )
    for split, described in facts["splits"].items():
        lines += ["", *_split_lines(split, described, facts["unit"])]
    if facts["frame"]:
        lines += ["", *frame_lines(facts["frame"], facts["unit"])]
    if facts["folds"]:
        lines += ["", *fold_lines(facts["folds"])]
    elif facts["advice"]:
        lines += ["", facts["advice"]]
    if facts["budget"]:
        lines += ["", *budget_lines(facts["budget"])]
    if facts["card"]:
        lines += ["", f"card: {facts['card']}"]
    return "\n".join(lines)


def _split_lines(split: str, described: dict[str, Any], unit: str) -> list[str]:
    pixel, image = "pixel", "image"
    if described["slices_median"]:
        pixel, image = "voxel", "slice"
    smallest = "×".join(f"{n:g}" for n in described["size_min"])
    largest = "×".join(f"{n:g}" for n in described["size_max"])
    size = f"{smallest} to {largest}"
    if described["slices_median"]:
        size += f", {described['slices_median']:g} slices a volume"
    spacing = " × ".join(f"{z:g}" for z in described["spacing_median"])
    percentiles = [f"p{q} {value:.4g}" for q, value in described["intensity_percentiles"].items()]
    pixels = [f"{name} {share:.2%}" for name, share in described["class_frequency"].items()]
    images = [f"{name} {share:.0%}" for name, share in described["class_presence"].items()]
    files = _files(described)
    if unit == "mm":
        extent = " × ".join(f"{side:.4g}" for side in described["extent_median"])
        files += f"; {extent} mm in the median"
    lines = [
        f"{split}: size {size}, spacing {spacing} {unit}",
        f"  files      {files}",
        "  intensity  " + "  ".join(percentiles),
        f"  {pixel}s     " + "  ".join(pixels),
        f"  {image}s     " + "  ".join(images),
    ]
    for name, size in described["regions"].items():
        lines.append(
            f"  region     {name} {size['frequency']:.2%} "
            f"({numbered(size['pixels'], pixel)}), in {size['presence']:.0%} of {image}s"
        )
    for pair, way in described["one_way"].items():
        lines.append(
            f"  one way    {pair}: {way['r']:.2f} of 1 over {numbered(way['subjects'], 'subject')}"
        )
    if described["ignored"]:
        lines.append(
            f"  ignored    {described['ignored']:.2%} (label {IGNORE}: neither trained on nor "
            f"scored)"
        )
    groups = described["groups"]
    if groups:
        fewest = min(groups.values())
        most = numbered(max(groups.values()), image)
        size = most if len(set(groups.values())) == 1 else f"{fewest} to {most}"
        lines.append(f"  groups     {len(groups)}, of {size}")
    return lines


def _files(described: dict[str, Any]) -> str:
    """How the files of a split hold their numbers, and which way they lie.

    >>> _files({"dtypes": {"uint8": 3, "float32": 1}, "orientations": {"LAS": 4}})
    'uint8 (3), float32 (1); LAS (4)'
    """
    counts = [described["dtypes"]]
    if described["orientations"]:
        counts.append(described["orientations"])
    words = []
    for count in counts:
        words.append(", ".join(f"{name} ({number})" for name, number in count.items()))
    return "; ".join(words)
