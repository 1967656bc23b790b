"""Control sets: pairs that no generator painted, from the pairs of a label budget alone.

duplicated     the budget's pairs again
augmented      the budget's pairs, mirrored, turned and bent
copy_paste     objects of one pair pasted into another (Ghiasi et al., CVPR 2021)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from semiseg.generators import masks
from semiseg.generators.budget import Budget
from semiseg.generators.pair_files import PairFolder
from semiseg.generators.settings import Settings
from semiseg.types import IGNORE

Pair = tuple[np.ndarray, np.ndarray]
"""Image ``(H, W, C)`` and mask ``(H, W)``, both uint8."""


def control(
    kind: str,
    budget: Budget,
    n: int,
    seed: int,
    flip: bool = True,
) -> Iterator[Pair]:
    """``n`` pairs of a control, from the budget's pairs alone.

    Args:
      kind: duplicated, augmented or copy_paste.
      budget: whose pairs are used.
      n: number of pairs.
      seed: of the set; pair i depends on it and on i alone.
      flip: whether augmented pairs are mirrored, as the masks of a generator are.
    """
    images = budget.labelled_images
    labels = budget.labelled_masks
    for i in range(n):
        if kind == "duplicated":
            j = i % len(images)
            yield images[j], labels[j]
            continue
        rng = np.random.default_rng([seed, i])
        j = int(rng.integers(len(images)))
        if kind == "augmented":
            yield _augmented(rng, images[j], labels[j], flip)
        else:
            yield _pasted(rng, images, labels, j)


def _augmented(
    rng: np.random.Generator,
    image: np.ndarray,
    label: np.ndarray,
    flip: bool,
) -> Pair:
    how = masks.Vary(flip=flip)
    varied = masks.vary(label, rng, how, image=image)
    if varied.image is None:
        return image, varied.label
    return varied.image, varied.label


def _pasted(
    rng: np.random.Generator,
    images: np.ndarray,
    labels: np.ndarray,
    j: int,
) -> Pair:
    """Pair ``j`` with about half of the objects of another pair, in their places; at least one
    object.
    """
    n_images = len(images)
    other = (j + int(rng.integers(1, n_images))) % n_images
    other_label = labels[other]
    foreground = (other_label != 0) & (other_label != IGNORE)
    parts, n = ndimage.label(foreground, masks.EIGHT_CONNECTED)
    if not n:
        return images[j], labels[j]
    chosen = rng.random(n + 1) < 0.5
    chosen[0] = False
    chosen[1 + rng.integers(n)] = True
    where = chosen[parts]
    image = np.where(where[..., None], images[other], images[j])
    label = np.where(where, other_label, labels[j])
    return image, label


def write_control(
    kind: str,
    budget: Budget,
    out: Path,
    n: int,
    settings: Settings,
) -> None:
    """Write ``n`` pairs of a control into a new folder."""
    names = [f"{kind}{i:06d}" for i in range(n)]
    pairs = control(kind, budget, n, settings.seed, settings.symmetric)
    with PairFolder(out, names, budget.provenance.labelled_alone()) as folder:
        for name, (image, label) in zip(names, pairs, strict=True):
            folder.write(name, image, label)
