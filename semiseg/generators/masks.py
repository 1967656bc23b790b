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

EIGHT_CONNECTED = np.ones((3, 3))
"""Pixels that touch at a corner are one component."""


# ------------------------------------------------------------------ varied masks
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
    """A changed mask.

    Attributes:
      label: ``(H, W)`` uint8.
      image: ``(H, W, C)`` uint8 that was changed with it; None if there was none.
      bent: False if topology held in no try: it is only mirrored.
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
      label: ``(H, W)`` uint8.
      rng: of this mask alone.
      how: how much it changes.
      like: the map whose topology counts, if it is not the whole ``label`` (with background regions
        as classes: the label without them).
      image: ``(H, W, C)`` uint8, interpolated linearly.

    >>> vary(np.eye(4, dtype=np.uint8), np.random.default_rng(0), Vary(tries=0)).bent
    False
    """
    if like is None:
        like = label
    mirrors: tuple[int, ...] = ()
    if how.flip:
        mirrors = tuple(np.flatnonzero(rng.random(3) < 0.5))
    label = _mirrored(label, mirrors)
    like = _mirrored(like, mirrors)
    if image is not None:
        image = _mirrored(image, mirrors)
    wanted = topology(like)
    for _ in range(how.tries):
        points = _coordinates(label.shape, rng, how)
        if _agree(topology(_moved(like, points, order=0)), wanted):
            moved_image = None if image is None else _moved_image(image, points)
            return Varied(_moved(label, points, order=0), moved_image, True)
    return Varied(label, image, False)


def _mirrored(x: np.ndarray, mirrors: tuple[int, ...]) -> np.ndarray:
    """``(H, W, …)`` mirrored along axes 0 and 1; 2 exchanges the axes of a square."""
    for axis in mirrors:
        if axis < 2:
            x = np.flip(x, axis)
        elif x.shape[0] == x.shape[1]:
            x = x.swapaxes(0, 1)
    return np.ascontiguousarray(x)


def _moved(x: np.ndarray, points: np.ndarray, order: int) -> np.ndarray:
    """``(H, W)`` read at ``points``, by splines of ``order``."""
    moved: np.ndarray = ndimage.map_coordinates(x, points, order=order, mode="nearest")
    return moved


def _moved_image(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    channels = np.moveaxis(image.astype(np.float32), -1, 0)
    moved = [_moved(channel, points, order=1) for channel in channels]
    return np.stack(moved, -1).round().astype(np.uint8)


def _coordinates(shape: tuple[int, ...], rng: np.random.Generator, how: Vary) -> np.ndarray:
    """``(2, H, W)``: where each pixel of a changed mask is read."""
    size = np.array(shape)[:, None, None]
    centre = (size - 1) / 2
    angle = np.deg2rad(how.rotate) * rng.uniform(-1, 1)
    zoom = how.zoom ** rng.uniform(-1, 1)
    height, width = shape
    grid = np.asarray(np.mgrid[:height, :width]) - centre
    cosine = np.cos(angle)
    sine = np.sin(angle)
    rotation = [
        [cosine, sine],
        [-sine, cosine],
    ]
    turn = np.array(rotation) / zoom
    fields = []
    for _ in shape:
        noise = rng.normal(size=shape)
        sigma = how.smooth * height
        smooth = ndimage.gaussian_filter(noise, sigma, mode="reflect")
        fields.append(smooth)
    field = np.stack(fields)
    deviation = max(field.std(), 1e-9)
    field *= how.bend * size / deviation
    turned = np.einsum("ij,jhw->ihw", turn, grid) + centre
    share = rng.uniform(-1, 1, (2, 1, 1))
    shift = how.shift * size * share
    return turned + field + shift


# ------------------------------------------------------------------ topology
class Topology(NamedTuple):
    """Of one class of a mask.

    Attributes:
      inside: number of components that do not touch the border.
      border: number of components that do.
      holes: number of holes.
    """

    inside: int
    border: int
    holes: int


def topology(label: np.ndarray) -> dict[int, Topology]:
    """The topology of each foreground class of a mask ``(H, W)``.

    >>> ring = np.pad(1 - np.pad([[1]], 1), 1)
    >>> topology(ring)
    {1: Topology(inside=1, border=0, holes=1)}
    """
    classes = {}
    for k in np.unique(label):
        if k in (0, IGNORE):
            continue
        parts, n = ndimage.label(label == k, EIGHT_CONNECTED)
        rows = parts[[0, -1]]
        columns = parts[:, [0, -1]]
        at_border = np.union1d(rows, columns)
        border = int(np.count_nonzero(at_border))
        _, outside = ndimage.label(np.pad(label != k, 1, constant_values=True))
        classes[int(k)] = Topology(n - border, border, outside - 1)
    return classes


def _agree(now: dict[int, Topology], wanted: dict[int, Topology]) -> bool:
    """Whether a mask has the wanted classes, each with its topology."""
    if now.keys() != wanted.keys():
        return False
    return all(_agree_in_class(now[k], wanted[k]) for k in wanted)


def _agree_in_class(now: Topology, wanted: Topology) -> bool:
    """Equal numbers where no component meets the border; elsewhere what the border did is forgiven.

    Components that left or met the border may be missing or new, never those far from it; a tenth
    may be for touching neighbours.
    """
    border = max(wanted.border, now.border)
    if not border and now != wanted:
        return False
    lost = (wanted.inside + wanted.border) - (now.inside + now.border)
    if abs(lost) > border + 0.1 * wanted.inside:
        return False
    return now.holes <= wanted.holes + border


# ------------------------------------------------------------------ regions
def with_regions(
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    regions: int,
) -> np.ndarray:
    """Labels whose background is split by smoothed grey level into ``regions``: the darkest stays
    0, the others become ``classes`` on.

    It is what the mask does not say, said roughly: where the lungs are around a heart. Thresholds
    are those of each image's own background, at equal steps between its 5th and 95th percentiles,
    so a plain background stays one region (a step below 8 grey levels is none).

    Args:
      images: ``(N, H, W, C)`` uint8.
      labels: ``(N, H, W)`` uint8.
      classes: of the data set.
      regions: of the background.

    Returns:
      ``(N, H, W)`` uint8.

    >>> halves = np.repeat(np.uint8([0, 200]), 32)[None, :, None] * np.ones((1, 64, 1, 1), np.uint8)
    >>> np.unique(with_regions(halves.reshape(1, 64, 64, 1), np.zeros((1, 64, 64)), 2, 2)).tolist()
    [0.0, 2.0]
    """
    if regions < 2:
        return labels
    split = labels.copy()
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        smooth = ndimage.gaussian_filter(image.mean(-1), label.shape[0] / 32)
        ground = label == 0
        if not ground.any():
            continue
        low, high = np.percentile(smooth[ground], (5, 95))
        if (high - low) / regions < 8:
            continue
        level = (smooth - low) / (high - low) * regions
        region = np.clip(level.astype(int), 0, regions - 1)
        is_further = ground & (region > 0)
        split[i] = np.where(is_further, classes + region - 1, label)
    return split


def without_regions(labels: np.ndarray, classes: int) -> np.ndarray:
    """The data set's own labels again.

    >>> without_regions(np.array([0, 1, 2, 255]), classes=2).tolist()
    [0, 1, 0, 255]
    """
    is_region = (labels >= classes) & (labels != IGNORE)
    return np.where(is_region, 0, labels).astype(np.uint8)


def check_size(masks: np.ndarray, size: int, where: str) -> None:
    """Refuse masks ``(N, H, W)`` that the generator was not made for.

    >>> check_size(np.zeros((2, 20, 24)), 16, "masks")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    semiseg.errors.UserError: masks: masks are 20×24, the generator paints 16×16; ...
    """
    if masks.shape[1:] != (size, size):
        shape = "×".join(map(str, masks.shape[1:]))
        what = f"masks are {shape}, the generator paints {size}×{size}"
        remedy = f"scale them, or fit it with --image-size={masks.shape[1]}"
        raise UserError(what, where=where, remedy=remedy)
