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
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.types import Case


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
        return round(self.image_size * self.zoom)

    @property
    def pool_shape(self) -> tuple[int, ...]:
        """Spatial shape of a pool image, ``(S, S)`` or ``(D, S, S)``."""
        return (
            *((round(self.depth * self.depth_zoom),) if self.depth else ()),
            self.pool_size,
            self.pool_size,
        )

    @property
    def window(self) -> tuple[int, ...]:
        """Spatial shape of the network's input in training."""
        return (*((self.depth,) if self.depth else ()), self.image_size, self.image_size)

    @property
    def view_size(self) -> int:
        """Side of a 2D network's input in evaluation."""
        return self.image_size if self.view == "centre" else self.pool_size

    # -------------------------------------------------------------- to the network
    def scans(self, cases: Sequence[Case], where: str) -> tuple[Case, ...]:
        """What the network takes for one image each: the cases themselves, or for a 3D network the
        volumes made of their slices.

        A volume's slices are put in the order of their places (a missing one is stepped over); one
        nobody annotated is IGNORE throughout.

        Raises:
          UserError: images that are no slices of a volume, or slices of several sizes in one,
            naming ``where`` they are.
        """
        return volumes(cases, where) if self.depth else tuple(cases)

    def to_pool(self, image: np.ndarray) -> np.ndarray:
        """``(*pool_shape, C)`` uint8: intensities clipped at the 0.2 and 99.8 percentiles unless
        already uint8, scaled with antialiasing.
        """
        x = image.astype(np.float32)
        if image.dtype != np.uint8:
            low, high = np.percentile(x[..., ::2, ::2, :], (0.2, 99.8))
            x = (x - low) * (255.0 / max(high - low, 1e-6))
        if x.ndim == 3:
            x = self._plane(x)
        else:
            x = _along_depth(np.stack([self._plane(plane) for plane in x]), self.pool_shape[0])
        return np.clip(np.rint(x), 0, 255).astype(np.uint8)

    def _plane(self, x: np.ndarray) -> np.ndarray:
        if x.shape[:2] != (self.pool_size, self.pool_size):
            rows, cols = (resampler(n, self.pool_size) for n in x.shape[:2])
            x = np.einsum("ih,hwc->iwc", rows, x, optimize=True)
            x = np.einsum("jw,iwc->ijc", cols, x, optimize=True)
        return x

    def to_pools(self, cases: Sequence[Case]) -> np.ndarray:
        """``(N, *pool_shape, slices · C)`` uint8: :meth:`to_pool` of every scan, between its
        neighbours where ``slices`` says so.
        """
        images = np.stack([self.to_pool(c.image) for c in cases])
        if self.slices == 1:
            return images
        around = images[
            neighbours([c.volume for c in cases], [c.index for c in cases], self.slices)
        ]  # (N, slices, S, S, C)
        return np.moveaxis(around, 1, 3).reshape(*images.shape[:3], -1)

    def label_to_pool(self, label: np.ndarray) -> np.ndarray:
        """``pool_shape`` uint8, nearest neighbour."""
        return label[np.ix_(*(nearest(n, m) for n, m in zip(label.shape, self.pool_shape)))]

    # -------------------------------------------------------------- and back
    def windows(self) -> list[tuple[int, ...]]:
        """First voxels of the windows that evaluation sees of a volume: they cover it, and
        neighbours share at least half of themselves.
        """
        starts = []
        for n, w in zip(self.pool_shape, self.window):
            count = 1 if self.view == "centre" else 1 + -(-2 * (n - w) // w)
            starts.append(
                [(n - w) // 2]
                if self.view == "centre"
                else [round(s) for s in np.linspace(0, n - w, count)]
            )
        return [
            tuple(int(line[i]) for line, i in zip(starts, place))
            for place in np.ndindex(*map(len, starts))
        ]

    def from_window(self, probability: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Labels ``shape`` uint8 of a window's class probabilities ``(*window, K)``.

        What lies outside the window is background (class 0).
        """
        planes = [p.argmax(-1).astype(np.uint8) for p in self._planes(probability, shape)]
        return planes[0] if len(shape) == 2 else np.stack(planes)

    def to_scan(self, probability: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Class probabilities ``(*shape, K)`` float32 on the scan's own grid.

        Args:
          probability: of a window, ``(*window, K)``. Outside of it all is background (class 0).
          shape: of the scan, ``(H, W)`` or ``(D, H, W)``.
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


def volumes(cases: Sequence[Case], where: str) -> tuple[Case, ...]:
    """The scans that ``cases`` are slices of, in the order of their first slices: see
    :meth:`Frame.scans`.
    """
    scans: dict[str, list[Case]] = {}
    for case in cases:
        scans.setdefault(case.volume, []).append(case)
    return tuple(
        _volume(sorted(members, key=lambda case: case.index), where) for members in scans.values()
    )


def _volume(members: list[Case], where: str) -> Case:
    from semiseg.types import IGNORE

    first = members[0]
    if first.image.ndim == 4:
        return first  # stored whole
    if len(first.spacing) == 2:
        raise UserError(
            f"{where}: {first.name} is a 2D image, and the network takes volumes: choose a 2D "
            f"network (--net.dims 2), or import volumes"
        )
    shapes = sorted({case.image.shape for case in members})
    if len(shapes) > 1:
        sizes = " and ".join("×".join(map(str, shape[:2])) for shape in shapes)
        raise UserError(
            f"{where}: slices of the volume {first.volume} have the sizes {sizes}: save a "
            f"volume's slices at one size and import it again"
        )
    label = None
    if any(case.label is not None for case in members):
        label = np.stack(
            [
                np.full(c.image.shape[:2], IGNORE, np.uint8) if c.label is None else c.label
                for c in members
            ]
        )
    return dataclasses.replace(
        first, name=first.volume, image=np.stack([c.image for c in members]), label=label, index=0
    )


def _along_depth(x: np.ndarray, depth: int) -> np.ndarray:
    """``x (D, …)`` scaled to ``depth``."""
    return x if len(x) == depth else np.tensordot(resampler(len(x), depth), x, 1)


def neighbours(volumes: Sequence[str], places: Sequence[int], slices: int) -> np.ndarray:
    """``(N, slices)``: for each image the images of its volume around it in the order of their
    places; the ends are repeated.

    A missing slice is stepped over: the neighbour is the next one there is.
    """
    found = np.empty((len(volumes), slices), np.int64)
    ordered: dict[str, list[int]] = {}
    for i in sorted(range(len(volumes)), key=lambda i: places[i]):
        ordered.setdefault(volumes[i], []).append(i)
    for members in ordered.values():
        for at, i in enumerate(members):
            around = np.arange(at - slices // 2, at + slices // 2 + 1)
            found[i] = np.array(members)[np.clip(around, 0, len(members) - 1)]
    return found


@functools.lru_cache(256)
def resampler(n: int, m: int) -> np.ndarray:
    """``(m, n)`` matrix of linear interpolation from n to m samples, centres aligned; a triangle as
    wide as the step when shrinking.
    """
    scale = n / m
    centre = (np.arange(m) + 0.5) * scale - 0.5
    weight = np.maximum(0.0, 1.0 - np.abs(np.arange(n)[None] - centre[:, None]) / max(scale, 1.0))
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


@functools.lru_cache(256)
def nearest(n: int, m: int) -> np.ndarray:
    """``(m,)`` indices of the nearest of n samples, centres aligned."""
    return np.clip(np.floor((np.arange(m) + 0.5) * n / m).astype(int), 0, n - 1)
