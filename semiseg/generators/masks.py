"""Where masks come from: real ones, real ones bent and turned with their topology checked, a
label-map VAE (vae.py), a joint generator.

All are NumPy, a mask at a time from one generator of random numbers, so that sample i of a set
depends on the seed and i alone.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from semiseg.errors import UserError
from semiseg.types import IGNORE


@dataclasses.dataclass(frozen=True)
class Vary:
    """Affine and elastic change of a mask.

    Attributes:
      rotate: largest angle, degrees.
      zoom: largest factor, either way.
      shift: largest shift, share of the side.
      bend: deviation of the elastic displacement, share of the side.
      smooth: its correlation length, share of the side.
      flip: mirror along either axis and exchange the axes, each in half of the masks; False where
        left is not right.
      tries: how often to draw again where topology changed; then the mask is only mirrored.
    """

    rotate: float = 20.0
    zoom: float = 1.15
    shift: float = 0.08
    bend: float = 0.02
    smooth: float = 0.1
    flip: bool = True
    tries: int = 8


class Varied(NamedTuple):
    """A changed mask ``(H, W)`` uint8; the image it was changed with; whether it was bent (False:
    topology held in no try, it is only mirrored).
    """

    label: np.ndarray
    image: np.ndarray | None
    bent: bool


def vary(
    label: np.ndarray,
    rng: np.random.Generator,
    how: Vary = Vary(),
    *,
    like: np.ndarray | None = None,
    image: np.ndarray | None = None,
) -> Varied:
    """Turn and bend a mask, and an image with it.

    The topology that must hold is each class's number of components and holes, except those that
    the border cuts, and that no class is lost. What moves in from outside is the border repeated.

    Args:
      like: the map whose topology counts, if it is not the whole ``label`` (with background regions
        as classes: the label without them).
      image: ``(H, W, C)`` uint8, interpolated linearly.
    """
    parts = [label, label if like is None else like, *([] if image is None else [image])]
    if how.flip:
        for k, chance in enumerate(rng.random(3) < 0.5):
            if chance and (k < 2 or label.shape[0] == label.shape[1]):
                parts = [np.flip(p, k) if k < 2 else p.swapaxes(0, 1) for p in parts]
    label, like, *rest = (np.ascontiguousarray(p) for p in parts)
    wanted = topology(like)
    for _ in range(how.tries):
        points = _coordinates(label.shape, rng, how)
        move = lambda x, order, points=points: ndimage.map_coordinates(
            x, points, order=order, mode="nearest"
        )
        if _agree(topology(move(like, 0)), wanted):
            moved = [
                np.stack([move(r[..., c].astype(np.float32), 1) for c in range(r.shape[-1])], -1)
                for r in rest
            ]
            return Varied(
                move(label, 0), moved[0].round().astype(np.uint8) if moved else None, True
            )
    return Varied(label, rest[0] if rest else None, False)


def _coordinates(shape: tuple[int, ...], rng: np.random.Generator, how: Vary) -> np.ndarray:
    size = np.array(shape)[:, None, None]
    centre = (size - 1) / 2
    angle, zoom = np.deg2rad(how.rotate) * rng.uniform(-1, 1), how.zoom ** rng.uniform(-1, 1)
    grid = np.asarray(np.mgrid[: shape[0], : shape[1]]) - centre
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / zoom
    field = np.stack(
        [
            ndimage.gaussian_filter(rng.normal(size=shape), how.smooth * shape[0], mode="reflect")
            for _ in shape
        ]
    )
    field *= how.bend * size / max(field.std(), 1e-9)
    return (
        np.einsum("ij,jhw->ihw", turn, grid)
        + centre
        + field
        + how.shift * size * rng.uniform(-1, 1, (2, 1, 1))
    )


def topology(label: np.ndarray) -> dict[int, tuple[int, int, int]]:
    """Class → (components inside, components at the border, holes) of each foreground class."""
    found = {}
    for k in np.unique(label):
        if k in (0, IGNORE):
            continue
        parts, n = ndimage.label(label == k, np.ones((3, 3)))
        edge = len(
            np.setdiff1d(
                np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])), [0]
            )
        )
        outside, m = ndimage.label(np.pad(label != k, 1, constant_values=True))
        found[int(k)] = (n - edge, edge, m - 1)
    return found


def _agree(found: dict[int, tuple[int, int, int]], wanted: dict[int, tuple[int, int, int]]) -> bool:
    """Same classes; where no component meets the border the numbers are equal, elsewhere what the
    border did is forgiven.
    """
    if found.keys() != wanted.keys():
        return False
    for k, (inside, edge, holes) in wanted.items():
        inside_now, edge_now, holes_now = found[k]
        if not edge and not edge_now and (inside, holes) != (inside_now, holes_now):
            return False
        # components that left or met the border may be missing or new, never those far from it; a
        # tenth for touching neighbours
        if abs((inside + edge) - (inside_now + edge_now)) > max(edge, edge_now) + 0.1 * inside:
            return False
        if holes_now > holes + max(edge, edge_now):
            return False
    return True


# ------------------------------------------------------------------ regions
def with_regions(images: np.ndarray, labels: np.ndarray, classes: int, regions: int) -> np.ndarray:
    """Labels whose background is split by smoothed grey level into ``regions``: the darkest stays
    0, the others become ``classes`` on.

    It is what the mask does not say, said roughly: where the lungs are around a heart. Thresholds
    are those of each image's own background, at equal steps between its 5 and 95 percentiles, so a
    plain background stays one region (a step below 8 grey levels is none).
    """
    if regions < 2:
        return labels
    out = labels.copy()
    for i, (image, label) in enumerate(zip(images, labels)):
        smooth = ndimage.gaussian_filter(image.mean(-1), label.shape[0] / 32)
        ground = label == 0
        if not ground.any():
            continue
        low, high = np.percentile(smooth[ground], (5, 95))
        if (high - low) / regions < 8:
            continue
        region = np.clip(((smooth - low) / (high - low) * regions).astype(int), 0, regions - 1)
        out[i] = np.where(ground & (region > 0), classes + region - 1, label)
    return out


def without_regions(labels: np.ndarray, classes: int) -> np.ndarray:
    """The data set's own labels again."""
    return np.where((labels >= classes) & (labels != IGNORE), 0, labels).astype(np.uint8)


def check_size(masks: np.ndarray, size: int, where: str) -> None:
    """Refuse masks that the generator was not made for."""
    if masks.shape[1:] != (size, size):
        shape = "×".join(map(str, masks.shape[1:]))
        raise UserError(
            f"{where}: masks are {shape}, the generator paints {size}×{size}; scale them, or fit "
            f"it with --image-size={masks.shape[1]}"
        )
