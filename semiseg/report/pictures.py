"""Example images: which are shown, and how errors are marked on them."""

from __future__ import annotations

import base64
import io

import numpy as np

from semiseg.analysis.arms import find_arms
from semiseg.analysis.runs import Run, Runs
from semiseg.errors import UserError

FALSE_POSITIVE, FALSE_NEGATIVE, CONFUSED, TRUTH = "#d55e00", "#56b4e9", "#cc79a7", "#ffffff"

Example = tuple[str, str, float, np.ndarray]
"""Rank in words, subject, Dice, RGB overlay."""


def pick_examples(
    runs: Runs, labels: int | None = None, scale: int = 3
) -> list[tuple[str, Run, list[Example]]]:
    """For each arm at one budget: its first run and that run's worst, median and best image.

    The rank of an image is by its Dice averaged over the arms shown, so that all arms show the same
    images; where they kept different ones, each is ranked by itself. Raises UserError where no run
    at this budget kept examples.
    """
    arms = find_arms(runs)
    if labels is None:
        counts = {
            n: sum(any(run.labels == n for run in members) for members in arms.values())
            for n in {run.labels for run in runs}
        }
        labels = min(counts, key=lambda n: (-counts[n], n))
    chosen: list[tuple[str, Run, dict[str, np.ndarray]]] = []
    for arm, members in arms.items():
        for run in members.where(labels=labels):
            kept = run.examples()
            if kept is not None and np.isfinite(kept["dice"]).any():
                chosen.append((arm, run, kept))
                break
    if not chosen:
        raise UserError(
            f"{runs[0].path / 'examples.npz'}: no run with {labels} annotated subjects kept "
            f"examples; evaluate a run again to have some"
        )
    names = [
        [(str(s), kept["label"][i].tobytes()) for i, s in enumerate(kept["subject"])]
        for _, _, kept in chosen
    ]
    shared = all(set(n) == set(names[0]) and len(n) == len(set(n)) for n in names)
    rows = []
    for (arm, run, kept), mine in zip(chosen, names):
        rank = np.asarray(kept["dice"], dtype=float)
        if shared:
            rank = np.mean(
                [
                    [other["dice"][theirs.index(key)] for key in mine]
                    for (_, _, other), theirs in zip(chosen, names)
                ],
                axis=0,
            )
        if not np.isfinite(rank).any():
            rank = np.asarray(kept["dice"], dtype=float)
        order = np.argsort(rank, kind="stable")[
            : np.isfinite(rank).sum()
        ]  # NaN (nothing there, nothing found) has no rank, and sorts last
        picks = {int(order[0]): "worst"} | (
            {int(order[len(order) // 2]): "median"} if len(order) > 2 else {}
        )
        picks |= {int(order[-1]): "best"} if len(order) > 1 else {}
        shown = [
            (
                rank_name,
                str(kept["subject"][i]),
                float(kept["dice"][i]),
                overlay(kept["image"][i], kept["label"][i], kept["prediction"][i], scale),
            )
            for i, rank_name in picks.items()
        ]
        rows.append((arm, run, shown))
    return rows


def overlay(
    image: np.ndarray, label: np.ndarray, prediction: np.ndarray, scale: int = 3
) -> np.ndarray:
    """``(H·scale, W·scale, 3)`` uint8: the image in grey, errors tinted, the truth's outline in
    white.

    Args:
      image: ``(H, W)`` uint8.
      label: ``(H, W)`` classes; 255 (IGNORE) is no error.
      prediction: ``(H, W)`` classes.
      scale: pixels drawn for each pixel, so that the outline is thinner than one.
    """
    up = lambda a: np.repeat(np.repeat(a, scale, 0), scale, 1)
    rgb = up(np.repeat(np.asarray(image, float)[..., None], 3, -1))
    seen = label != 255
    errors = (
        (FALSE_POSITIVE, seen & (label == 0) & (prediction > 0)),
        (FALSE_NEGATIVE, seen & (label > 0) & (prediction == 0)),
        (CONFUSED, seen & (label > 0) & (prediction > 0) & (label != prediction)),
    )
    for colour, where in errors:
        rgb = np.where(up(where)[..., None], 0.35 * rgb + 0.65 * _rgb(colour), rgb)
    truth = up(np.where(seen, label, 0))
    padded = np.pad(truth, 1, mode="edge")
    same_left = padded[1:-1, :-2] == truth
    same_right = padded[1:-1, 2:] == truth
    same_above = padded[:-2, 1:-1] == truth
    same_below = padded[2:, 1:-1] == truth
    inner = same_left & same_right & same_above & same_below
    rgb[(truth > 0) & ~inner] = _rgb(TRUTH)
    return rgb.round().astype(np.uint8)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=float)


def data_uri(rgb: np.ndarray) -> str:
    """A picture ``(H, W, 3)`` as PNG inside the page."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
