"""The frame: how a scan of any size becomes the network's input, and how a prediction finds its way
back.

A slice ``(H, W)`` is scaled to a square pool image of ``pool_size`` pixels; the network sees
windows of ``image_size`` of it. For a 3D network the slices of a scan are put together again and
the volume ``(D, H, W)`` is scaled to one grid, the same for all. Scalings are products with a small
matrix an axis, which is exact, quick and its own inverse geometry.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.types import Case


PERCENTILES = (0.2, 99.8)
"""Percentiles of a scan's intensities that become 0 and 255, unless it is uint8 already."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """Geometry between a slice, or a volume, and the network.

    Attributes:
      image_size: side of the network's input, pixels.
      zoom: side of the pool image in units of ``image_size``. At 1 the network sees the whole
        slice; at 1.5 windows of two thirds of each side at 1.5 times the resolution.
      view: what the network sees in evaluation: the ``whole`` pool image (2D: at once, it is
        convolutional; 3D: in overlapping windows), or its ``centre`` window, outside of which all
        is background: right where the object is known to lie in the middle.
      slices: 2.5D: adjacent slices of a scan that are the channels of one image, an odd number; the
        middle one is the image itself.
      depth: slices of a 3D network's input; 0 for a 2D network.
      depth_zoom: slices of the pool volume in units of ``depth``.
    """

    image_size: int
    zoom: float = 1.0
    view: str = "whole"
    slices: int = 1
    depth: int = 0
    depth_zoom: float = 1.0

    @property
    def pool_size(self) -> int:
        """Side of the pool image, pixels.

        >>> Frame(image_size=96, zoom=1.5).pool_size
        144
        """
        return round(self.image_size * self.zoom)

    @property
    def pool_shape(self) -> tuple[int, ...]:
        """Spatial shape of a pool image, ``(S, S)`` or ``(D, S, S)``.

        >>> Frame(96).pool_shape, Frame(96, depth=8, depth_zoom=2.0).pool_shape
        ((96, 96), (16, 96, 96))
        """
        plane = (self.pool_size, self.pool_size)
        if not self.depth:
            return plane
        return (round(self.depth * self.depth_zoom), *plane)

    @property
    def window(self) -> tuple[int, ...]:
        """Spatial shape of the network's input in training, ``(H, W)`` or ``(D, H, W)``.

        >>> Frame(96, zoom=1.5).window, Frame(96, depth=8).window
        ((96, 96), (8, 96, 96))
        """
        plane = (self.image_size, self.image_size)
        return (self.depth, *plane) if self.depth else plane

    @property
    def view_size(self) -> int:
        """Side of a 2D network's input in evaluation."""
        return self.image_size if self.view == "centre" else self.pool_size

    # -------------------------------------------------------------- to the network
    def scans(self, cases: Sequence[Case], where: str) -> tuple[Case, ...]:
        """What the network takes for one image each: pictures and the slices of volumes, or for a
        3D network the volumes.

        See :func:`planes` and :func:`volumes`.

        Raises:
          UserError: images that are no slices of a volume, or slices of several sizes in one,
            naming ``where`` they are.
        """
        if self.depth:
            return volumes(cases, where)
        return tuple(plane for case in cases for plane in planes(case))

    def to_pool(self, image: np.ndarray) -> np.ndarray:
        """An image as the pool holds it.

        Intensities are clipped at the percentiles 0.2 and 99.8, unless the image is uint8, and
        scaled with antialiasing.

        Args:
          image: ``(H, W, C)`` or ``(D, H, W, C)``.

        Returns:
          ``(*pool_shape, C)`` uint8.

        >>> image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
        >>> Frame(image_size=2).to_pool(image)[..., 0].tolist()
        [[4, 5], [10, 11]]
        """
        x = image.astype(np.float32)
        if image.dtype != np.uint8:
            low, high = np.percentile(x[..., ::2, ::2, :], PERCENTILES)
            x = (x - low) * (255.0 / max(high - low, 1e-6))
        if x.ndim == 3:
            x = self._plane(x)
        else:
            planes = np.stack([self._plane(plane) for plane in x])
            x = _along_depth(planes, self.pool_shape[0])
        return np.clip(np.rint(x), 0, 255).astype(np.uint8)

    def _plane(self, x_HWC: np.ndarray) -> np.ndarray:
        """``(S, S, C)``: a slice scaled to the pool's side."""
        height, width = x_HWC.shape[:2]
        side = self.pool_size
        if (height, width) == (side, side):
            return x_HWC
        x_SWC = np.einsum("ih,hwc->iwc", resampler(height, side), x_HWC, optimize=True)
        return np.einsum("jw,iwc->ijc", resampler(width, side), x_SWC, optimize=True)

    def to_pools(self, cases: Sequence[Case]) -> np.ndarray:
        """The pool images of scans, each between its neighbours where ``slices`` says so.

        Returns:
          ``(N, *pool_shape, slices · C)`` uint8.
        """
        images = np.stack([self.to_pool(case.image) for case in cases])
        if self.slices == 1:
            return images
        volumes = [case.volume for case in cases]
        places = [case.index for case in cases]
        around = images[neighbours(volumes, places, self.slices)]  # (N, slices, S, S, C)
        return np.moveaxis(around, 1, 3).reshape(*images.shape[:3], -1)

    def label_to_pool(self, label: np.ndarray) -> np.ndarray:
        """A label ``(H, W)`` or ``(D, H, W)`` at ``pool_shape``, nearest neighbour.

        >>> Frame(image_size=2).label_to_pool(np.arange(16).reshape(4, 4)).tolist()
        [[5, 7], [13, 15]]
        """
        axes = zip(label.shape, self.pool_shape, strict=True)
        return label[np.ix_(*(nearest(n, m) for n, m in axes))]

    # -------------------------------------------------------------- and back
    def windows(self) -> list[tuple[int, ...]]:
        """First voxels of the windows that evaluation sees of a volume.

        They cover it, and neighbours share at least half of themselves. With the view ``centre``
        there is one, in the middle.

        >>> Frame(image_size=4, depth=2, depth_zoom=2.0).windows()
        [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
        """
        starts: list[list[int]] = []
        for n, w in zip(self.pool_shape, self.window, strict=True):
            if self.view == "centre":
                starts.append([(n - w) // 2])
            else:
                count = 1 + math.ceil(2 * (n - w) / w)
                starts.append([round(start) for start in np.linspace(0, n - w, count)])
        return list(itertools.product(*starts))

    def from_window(self, probability: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Labels ``shape`` uint8 of a window's class probabilities ``(*window, K)``.

        What lies outside the window is background (class 0).
        """
        probabilities = self._planes(probability, shape)  # one plane at a time is in memory
        planes = [plane.argmax(-1).astype(np.uint8) for plane in probabilities]
        return planes[0] if len(shape) == 2 else np.stack(planes)

    def to_scan(self, probability: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Class probabilities ``(*shape, K)`` float32 on the scan's own grid.

        Args:
          probability: of a window, ``(*window, K)``. Outside of it all is background (class 0).
          shape: of the scan, ``(H, W)`` or ``(D, H, W)``.

        >>> probability = np.eye(2, dtype=np.float32).reshape(1, 2, 2).repeat(2, axis=0)
        >>> Frame(image_size=2).to_scan(probability, (1, 3))[..., 1].tolist()
        [[0.0, 0.5, 1.0]]
        """
        planes = list(self._planes(probability, shape))
        return planes[0] if len(shape) == 2 else np.stack(planes)

    def _planes(self, probability: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Probabilities ``(H, W, K)`` of each slice of a scan, of a picture one."""
        pool = self.pool_shape
        canvas = self._canvas(probability)
        if len(pool) == 2:
            yield self._to_plane(canvas, shape)
            return
        for plane in _along_depth(canvas, shape[0]):
            yield self._to_plane(plane, shape[1:])

    def _canvas(self, probability: np.ndarray) -> np.ndarray:
        """``(*pool_shape, K)``: a window's probabilities in the middle of background."""
        window = probability.shape[:-1]
        pool = self.pool_shape
        if window == pool:
            return probability
        canvas = np.zeros((*pool, probability.shape[-1]), np.float32)
        canvas[..., 0] = 1.0
        starts = [(n - w) // 2 for n, w in zip(pool, window, strict=True)]
        box = tuple(slice(a, a + w) for a, w in zip(starts, window, strict=True))
        canvas[box] = probability
        return canvas

    def _to_plane(self, probability_SSK: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        side = self.pool_size
        classes = probability_SSK.shape[-1]
        if shape == (side, side):
            return probability_SSK
        rows = resampler(side, shape[0])
        columns = resampler(side, shape[1])
        x = rows @ probability_SSK.reshape(side, side * classes)
        x_HKW = np.swapaxes(x.reshape(-1, side, classes), 1, 2) @ columns.T
        return np.moveaxis(x_HKW, 1, -1)


# ------------------------------------------------------------------ slices and volumes
def planes(case: Case) -> list[Case]:
    """The slices ``(H, W, C)`` of a volume ``(D, H, W, C)``; of a picture itself.

    A slice keeps the spacing and the affine of its scan. Its label is None where nobody annotated
    it: where the label of the scan is IGNORE throughout.

    >>> from semiseg.types import Case
    >>> volume = Case("p7", "p7", np.zeros((2, 4, 5, 1)), None, (8.0, 1.0, 1.0), "p7")
    >>> [(plane.name, plane.index, plane.image.shape) for plane in planes(volume)]
    [('p7_slice_0', 0, (4, 5, 1)), ('p7_slice_1', 1, (4, 5, 1))]
    """
    if case.image.ndim == 3:
        return [case]
    digits = len(str(len(case.image) - 1))
    labels: Sequence[np.ndarray | None] = [None] * len(case.image)
    if case.label is not None:
        labels = [_label_or_none(label) for label in case.label]
    return [
        dataclasses.replace(
            case, name=f"{case.name}_slice_{i:0{digits}d}", image=image, label=label, index=i
        )
        for i, (image, label) in enumerate(zip(case.image, labels, strict=True))
    ]


def _label_or_none(label: np.ndarray) -> np.ndarray | None:
    from semiseg.types import IGNORE

    if (label == IGNORE).all():
        return None
    return label


def volumes(cases: Sequence[Case], where: str) -> tuple[Case, ...]:
    """The scans that ``cases`` are slices of, in the order of their first slices.

    Slices are put in the order of their places (a missing one is stepped over); one nobody
    annotated is IGNORE throughout. Volumes stay.
    """
    scans: dict[str, list[Case]] = {}
    for case in cases:
        scans.setdefault(case.volume, []).append(case)
    return tuple(_volume(sorted(slices, key=_place), where) for slices in scans.values())


def _place(case: Case) -> int:
    return case.index


def _volume(slices: Sequence[Case], where: str) -> Case:
    """One case of the slices of a volume, in their order."""
    first = slices[0]
    if first.image.ndim == 4:
        return first  # stored whole
    if len(first.spacing) == 2:
        raise UserError(
            f"{first.name} is a 2D image, and the network takes volumes: choose a 2D network "
            f"(--net.dims 2), or import volumes",
            where=where,
        )
    shapes = sorted({case.image.shape for case in slices})
    if len(shapes) > 1:
        sizes = " and ".join("×".join(map(str, shape[:2])) for shape in shapes)
        raise UserError(
            f"slices of the volume {first.volume} have the sizes {sizes}: save a volume's slices "
            f"at one size and import it again",
            where=where,
        )
    image = np.stack([case.image for case in slices])
    label = None
    if any(case.label is not None for case in slices):
        label = np.stack([_label_or_ignore(case) for case in slices])
    return dataclasses.replace(first, name=first.volume, image=image, label=label, index=0)


def _label_or_ignore(case: Case) -> np.ndarray:
    from semiseg.types import IGNORE

    if case.label is None:
        return np.full(case.image.shape[:2], IGNORE, np.uint8)
    return case.label


def neighbours(volumes: Sequence[str], places: Sequence[int], slices: int) -> np.ndarray:
    """For each image, the images of its volume around it in the order of their places.

    The ends are repeated. A missing slice is stepped over: the neighbour is the next one there is.

    Args:
      volumes: the volume of each of N images.
      places: the place of each in its volume.
      slices: number of neighbours, the image itself in the middle.

    Returns:
      ``(N, slices)`` indices.

    >>> neighbours(["a", "b", "a", "a"], [2, 0, 0, 5], 3).tolist()
    [[2, 0, 3], [1, 1, 1], [2, 2, 0], [0, 3, 3]]
    """
    indices = np.empty((len(volumes), slices), np.int64)
    members: dict[str, list[int]] = {}
    for i in np.argsort(places, kind="stable").tolist():
        members.setdefault(volumes[i], []).append(i)
    offsets = np.arange(slices) - slices // 2
    for images in members.values():
        for rank, i in enumerate(images):
            ranks = np.clip(rank + offsets, 0, len(images) - 1)
            indices[i] = np.array(images)[ranks]
    return indices


# ------------------------------------------------------------------ scaling
def _along_depth(x: np.ndarray, depth: int) -> np.ndarray:
    """``x (D, …)`` scaled to ``depth``."""
    if len(x) == depth:
        return x
    return np.tensordot(resampler(len(x), depth), x, 1)


@functools.lru_cache(256)
def resampler(n: int, m: int) -> np.ndarray:
    """``(m, n)`` matrix of linear interpolation from n to m samples, centres aligned.

    When it shrinks, the kernel is a triangle as wide as the step.

    >>> resampler(2, 3).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    scale = n / m
    centre = (np.arange(m) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(n)[None] - centre[:, None])
    weight = np.maximum(0.0, 1.0 - distance / max(scale, 1.0))
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


@functools.lru_cache(256)
def nearest(n: int, m: int) -> np.ndarray:
    """``(m,)`` indices of the nearest of n samples, centres aligned.

    >>> nearest(4, 2).tolist(), nearest(2, 4).tolist()
    ([1, 3], [0, 0, 1, 1])
    """
    return np.clip(np.floor((np.arange(m) + 0.5) * n / m).astype(int), 0, n - 1)
