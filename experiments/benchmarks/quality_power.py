"""What the quality report of synthetic sets rejects: each kind of bad set, and fresh real pairs.

Command: python experiments/benchmarks/quality_power.py --csv experiments/results/quality_power.csv
(--side 48 --steps 100 for the rows of this code; --version names the code in its rows)
Draws 0 to 4 were looked at when the limits were chosen; --first 10 begins with others. Rows that
the file holds are not measured again, so an interrupted call goes on.
Every set has 96 pairs of the built-in nuclei. In each draw 96 training pairs are taken out of the
training split; a generator could see the others, of which the first 4, 8 or 32 are its label
budget. The pairs taken out are the good set, and what is done to them, to their masks or to the
pairs that were seen makes the bad ones. Segmenters that judge are trained once a draw and budget,
and not again for each set: their weights depend on nothing else.
Of a data set with several images a subject, --held-out subjects are taken out, and 96 of their
images; a budget counts subjects (--data acdc --zoom 1.5 --held-out 35 --no-symmetry --side 64).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from semiseg.data import store
from semiseg.data.frame import Frame
from semiseg.generators import judge, masks, quality_report
from semiseg.generators.quality_sets import Pairs, Reference, read_reference

SIZE = 96
"""Pairs of a set."""
KINDS_OF_A_COLLAPSE = 3
WRONG = 0.18
"""Share of wrong masks."""
WEAK_STEPS = 80
"""Optimiser steps of the segmenter whose predictions are pseudo-masks."""


class Draw(NamedTuple):
    """The pairs of one draw.

    Attributes:
      fresh: taken out of the training split; no generator has seen them.
      known: the rest of the training split.
      seen: how many of ``known``, from its beginning, are the label budget.
      kinds: of picture, of each fresh pair.
      seed: of what is drawn.
      widths: of the U-Net that makes pseudo-masks.
      classes: of the masks.
      symmetric: whether an image may be mirrored.
    """

    fresh: Pairs
    known: Pairs
    seen: int
    kinds: np.ndarray
    seed: int
    widths: tuple[int, ...]
    classes: int = 2
    symmetric: bool = True

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


# ------------------------------------------------------------------ sets
def fresh_pairs(draw: Draw) -> Pairs:
    """Real pairs that nobody has seen."""
    return draw.fresh


def few_kinds(draw: Draw) -> Pairs:
    """Mode collapse: fresh pairs of three kinds of picture, in up to eight orientations."""
    names, counts = np.unique(draw.kinds, return_counts=True)
    common = names[counts >= 3]
    chosen = draw.rng.choice(common, KINDS_OF_A_COLLAPSE, replace=False)
    some = _part(draw.fresh, np.flatnonzero(np.isin(draw.kinds, chosen)))
    views = []
    for turn in range(4):
        turned = _turned(some, turn)
        views += [turned, _mirrored(turned)]
    every = Pairs(*(np.concatenate(arrays) for arrays in zip(*views, strict=True)))
    return _part(every, np.arange(len(every.names))[:SIZE])


def blurred_with_noise(draw: Draw) -> Pairs:
    """A blur of one pixel, and as much noise as the blur took of the fine contrast."""
    images = draw.fresh.images.astype(np.float32)
    soft = ndimage.gaussian_filter(images, (0, 1, 1, 0))
    lost = (images - soft).std((1, 2, 3), keepdims=True)
    noisy = soft + lost * draw.rng.normal(size=images.shape)
    return draw.fresh._replace(images=noisy.clip(0, 255).astype(np.uint8))


def shifted_masks(draw: Draw) -> Pairs:
    """Masks one pixel to the right."""
    shifted = np.roll(draw.fresh.labels, 1, 2)
    return draw.fresh._replace(labels=shifted)


def dilated_masks(draw: Draw) -> Pairs:
    """Masks two pixels larger."""
    return draw.fresh._replace(labels=_each(draw.fresh.labels, _dilated))


def eroded_masks(draw: Draw) -> Pairs:
    """Masks one pixel smaller."""
    return draw.fresh._replace(labels=_each(draw.fresh.labels, _eroded))


def wrong_masks(draw: Draw) -> Pairs:
    """18 % of the masks belong to other images."""
    count = round(WRONG * SIZE)
    some = draw.rng.permutation(SIZE)[:count]
    labels = draw.fresh.labels.copy()
    labels[some] = draw.fresh.labels[np.roll(some, 1)]
    return draw.fresh._replace(labels=labels)


def pseudo_masks(draw: Draw) -> Pairs:
    """Fresh images with the predictions of a weak segmenter, trained on the label budget."""
    known = draw.known
    part = np.arange(draw.seen)
    options: dict[str, Any] = {
        "steps": WEAK_STEPS,
        "widths": draw.widths,
        "seed": 7,
    }
    model, (weak,) = judge.train(
        known.images,
        known.labels,
        [part],
        draw.classes,
        **options,
    )
    labels = judge.predictions(model, weak, draw.fresh.images)
    return draw.fresh._replace(labels=labels)


def unlabelled_copies(draw: Draw) -> Pairs:
    """Unlabelled training images as they are, with right masks."""
    pairs = _part(draw.known, draw.seen + np.arange(SIZE))
    return pairs._replace(subjects=np.full(SIZE, ""))


def warped_copies(draw: Draw) -> Pairs:
    """Seen pairs, turned and bent; of twice as many, those that the report's filter passes."""
    images = []
    labels = []
    how = masks.Vary(flip=draw.symmetric)
    index = np.arange(2 * SIZE) % draw.seen
    for i, j in enumerate(index):
        rng = np.random.default_rng([draw.seed, i])
        varied = masks.vary(
            draw.known.labels[j],
            rng,
            how,
            image=draw.known.images[j],
        )
        images.append(varied.image)
        labels.append(varied.label)
    names = np.array([f"warped{i}" for i in range(2 * SIZE)])
    return Pairs(
        names,
        np.stack(images),
        np.stack(labels),
        draw.known.subjects[index],
    )


FILTERED = warped_copies
SETS: tuple[Callable[[Draw], Pairs], ...] = (
    fresh_pairs,
    few_kinds,
    blurred_with_noise,
    shifted_masks,
    dilated_masks,
    eroded_masks,
    wrong_masks,
    pseudo_masks,
    unlabelled_copies,
    warped_copies,
)


def _part(pairs: Pairs, index: np.ndarray) -> Pairs:
    return Pairs(*(np.asarray(array)[index] for array in pairs))


def _turned(pairs: Pairs, turn: int) -> Pairs:
    images = np.rot90(pairs.images, turn, (1, 2))
    labels = np.rot90(pairs.labels, turn, (1, 2))
    return pairs._replace(images=images, labels=labels)


def _mirrored(pairs: Pairs) -> Pairs:
    return pairs._replace(images=pairs.images[:, :, ::-1], labels=pairs.labels[:, :, ::-1])


def _each(labels: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Every mask ``(H, W)`` changed."""
    return np.stack([change(label) for label in labels]).astype(np.uint8)


def _dilated(label: np.ndarray) -> np.ndarray:
    """Two pixels more of foreground, each of the class of the nearest one."""
    larger = ndimage.binary_dilation(label != 0, iterations=2)
    nearest = ndimage.distance_transform_edt(
        label == 0, return_distances=False, return_indices=True
    )
    return np.where(larger, label[tuple(nearest)], 0)


def _eroded(label: np.ndarray) -> np.ndarray:
    """A pixel less of every class."""
    smaller = np.zeros_like(label)
    for k in np.unique(label[label != 0]):
        smaller[ndimage.binary_erosion(label == k)] = k
    return smaller


# ------------------------------------------------------------------ draws
def draws(
    args: argparse.Namespace, widths: tuple[int, ...]
) -> Iterator[tuple[int, int, Draw, Reference]]:
    """Number, budget, pairs and reference of each draw."""
    frame = Frame(args.side, args.zoom, "centre")
    whole = read_reference(args.data, args.root, frame, 0, 0)
    cases = store.read_split(args.data, "train", args.root)
    kinds = {case.name: case.group or case.subject for case in cases}
    subjects = list(dict.fromkeys(whole.seen.subjects))
    for number in range(args.first, args.first + args.draws):
        order = np.random.default_rng([17, number]).permutation(len(subjects))
        rank = {subjects[i]: place for place, i in enumerate(order)}
        place = np.array([rank[subject] for subject in whole.seen.subjects])
        by_subject = np.argsort(place, kind="stable")
        candidates = by_subject[place[by_subject] < args.held_out]
        evenly = np.linspace(0, len(candidates) - 1, SIZE)
        taken = candidates[evenly.round().astype(int)]
        rest = by_subject[place[by_subject] >= args.held_out]
        fresh = _part(whole.seen, taken)._replace(subjects=np.full(SIZE, ""))
        known = _part(whole.seen, rest)
        fresh_kinds = np.array([kinds[name] for name in fresh.names])
        for budget in args.budgets:
            seen = int((place[rest] < args.held_out + budget).sum())
            draw = Draw(
                fresh,
                known,
                seen,
                fresh_kinds,
                number,
                widths,
                len(whole.classes),
                args.symmetry,
            )
            reference = whole._replace(
                seen=_part(known, np.arange(seen)),
                images=known.images,
                subjects=known.subjects,
            )
            yield number, budget, draw, reference


class Trained:
    """:func:`judge.train` that trains no part twice."""

    def __init__(self) -> None:
        self.train = judge.train
        self.params: dict[str, Any] = {}

    def __call__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        parts: list[np.ndarray],
        classes: int,
        **options: Any,
    ) -> tuple[Any, list[Any]]:
        keys = []
        for part in parts:
            key = self._key(images[part], labels[part], options)
            keys.append(key)
        missing = [i for i, key in enumerate(keys) if key not in self.params]
        wanted = [parts[i] for i in missing]
        model, trained = self.train(images, labels, wanted, classes, **options)
        for i, params in zip(missing, trained, strict=True):
            self.params[keys[i]] = params
        return model, [self.params[key] for key in keys]

    def _key(self, images: np.ndarray, labels: np.ndarray, options: dict[str, Any]) -> str:
        content = images.tobytes() + labels.tobytes() + repr(sorted(options.items())).encode()
        return hashlib.sha256(content).hexdigest()


# ------------------------------------------------------------------ the table
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--version", default="now", help="what the rows call this code")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200, help="of the segmenters that judge")
    parser.add_argument("--data", default="nuclei")
    parser.add_argument("--root", help="where the stores are")
    parser.add_argument("--zoom", type=float, default=1.0)
    parser.add_argument(
        "--held-out", type=int, default=SIZE, help="subjects taken out of each draw"
    )
    parser.add_argument("--symmetry", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument(
        "--budgets",
        type=int,
        nargs="+",
        default=[4, 8, 32],
    )
    parser.add_argument("--sets", nargs="+", default=[make.__name__ for make in SETS])
    args = parser.parse_args()
    judge.train = Trained()
    widths = (8, 16, 32)
    rows = _rows(args.csv, args.version)
    done = set()
    for row in rows:
        done.add((row["set"], int(row["labels"]), int(row["draw"])))
    for number, budget, draw, reference in draws(args, widths):
        for make in SETS:
            if make.__name__ not in args.sets or (make.__name__, budget, number) in done:
                continue
            began = time.perf_counter()
            report = _judged(make, draw, reference, args.steps)
            failed = {c["check"] for c in report["checks"] if not c["passed"]}
            row = {
                "version": args.version,
                "side": args.side,
                "steps": args.steps,
                "set": make.__name__,
                "labels": budget,
                "draw": number,
                "passed": report["passed"],
                "failed": " ".join(sorted(failed)),
                "auc": report["figures"]["auc"],
                "seconds": round(time.perf_counter() - began, 1),
            }
            rows.append(row)
            print(*row.values(), sep="\t", flush=True)
            if args.csv:
                _write(args.csv, args.version, rows)


def _judged(
    make: Callable[[Draw], Pairs], draw: Draw, reference: Reference, steps: int
) -> dict[str, Any]:
    """The report of a set; of a filtered one, of what the filter passes."""
    pairs = make(draw)
    if make is FILTERED:
        first = quality_report.assess(pairs, reference, steps=steps)
        kept = np.array([sample["keep"] for sample in first["samples"]])
        index = np.flatnonzero(kept)[:SIZE]
        if len(index) < SIZE // 4:
            return first
        pairs = _part(pairs, index)
    return quality_report.assess(pairs, reference, steps=steps)


def _rows(path: Path | None, version: str, others: bool = False) -> list[dict[str, Any]]:
    """The rows of a version in a CSV file, or those of all other versions."""
    if path is None or not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if (row["version"] != version) == others]


def _write(path: Path, version: str, rows: list[dict[str, Any]]) -> None:
    """Replace the rows of a version in a CSV file."""
    others = _rows(path, version, others=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*others, *rows])


if __name__ == "__main__":
    main()
