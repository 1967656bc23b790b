"""The frame: how a scan of any size becomes the network's square input, and how a prediction finds its way back.

A slice ``(H, W)`` is scaled to a square pool image of ``pool_size`` pixels; the network sees windows of ``image_size`` of it. Both scalings are
products with two small matrices (one an axis), which is exact, quick and its own inverse geometry.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from semiseg.types import Case


@dataclasses.dataclass(frozen=True)
class Frame:
    """Geometry between a slice and the network.

    Attributes:
      image_size: side of the network's input, pixels.
      zoom: side of the pool image in units of ``image_size``. At 1 the network sees the whole slice; at 1.5 windows of two thirds of each
        side at 1.5 times the resolution.
      view: what the network sees in evaluation: the ``whole`` pool image (it is convolutional), or its ``centre`` window, outside of which
        all is background: right where the object is known to lie in the middle.
      slices: 2.5D: adjacent slices of a scan that are the channels of one image, an odd number; the middle one is the image itself.
    """

    image_size: int
    zoom: float = 1.0
    view: str = "whole"
    slices: int = 1

    @property
    def pool_size(self) -> int:
        return round(self.image_size * self.zoom)

    @property
    def view_size(self) -> int:
        """Side of the network's input in evaluation."""
        return self.image_size if self.view == "centre" else self.pool_size

    def to_pool(self, image_HWC: np.ndarray) -> np.ndarray:
        """``(S, S, C)`` uint8: intensities clipped at the 0.2 and 99.8 percentiles unless already uint8, scaled with antialiasing."""
        x = image_HWC.astype(np.float32)
        if image_HWC.dtype != np.uint8:
            low, high = np.percentile(x[::2, ::2], (0.2, 99.8))
            x = (x - low) * (255.0 / max(high - low, 1e-6))
        if x.shape[:2] != (self.pool_size, self.pool_size):
            rows, cols = (resampler(n, self.pool_size) for n in x.shape[:2])
            x = np.einsum("ih,hwc->iwc", rows, x, optimize=True)
            x = np.einsum("jw,iwc->ijc", cols, x, optimize=True)
        return np.clip(np.rint(x), 0, 255).astype(np.uint8)

    def to_pools(self, cases: Sequence[Case]) -> np.ndarray:
        """``(N, S, S, slices · C)`` uint8: :meth:`to_pool` of every case, between its neighbours in the scan where ``slices`` says so."""
        images = np.stack([self.to_pool(c.image) for c in cases])
        if self.slices == 1:
            return images
        around = images[neighbours([c.volume for c in cases], [c.index for c in cases], self.slices)]  # (N, slices, S, S, C)
        return np.moveaxis(around, 1, 3).reshape(*images.shape[:3], -1)

    def label_to_pool(self, label_HW: np.ndarray) -> np.ndarray:
        """``(S, S)`` uint8, nearest neighbour."""
        rows, cols = (nearest(n, self.pool_size) for n in label_HW.shape)
        return label_HW[rows[:, None], cols]

    def from_window(self, probability_HWK: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Labels ``shape`` of a window's class probabilities; what lies outside the window is background (class 0)."""
        s, w = self.pool_size, probability_HWK.shape[0]
        if w < s:
            canvas = np.zeros((s, s, probability_HWK.shape[-1]), np.float32)
            canvas[..., 0] = 1.0
            a = (s - w) // 2
            canvas[a : a + w, a : a + w] = probability_HWK
        else:
            canvas = probability_HWK
        if shape == (s, s):
            return canvas.argmax(-1).astype(np.uint8)
        rows, cols = (resampler(s, n) for n in shape)
        k = canvas.shape[-1]
        x = rows @ canvas.reshape(s, s * k)
        x = np.swapaxes(x.reshape(-1, s, k), 1, 2) @ cols.T  # (H, K, W)
        return x.argmax(1).astype(np.uint8)


def neighbours(volumes: Sequence[str], places: Sequence[int], slices: int) -> np.ndarray:
    """``(N, slices)``: for each image the images of its volume around it in the order of their places; the ends are repeated.

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
    """``(m, n)`` matrix of linear interpolation from n to m samples, centres aligned; a triangle as wide as the step when shrinking."""
    scale = n / m
    centre = (np.arange(m) + 0.5) * scale - 0.5
    weight = np.maximum(0.0, 1.0 - np.abs(np.arange(n)[None] - centre[:, None]) / max(scale, 1.0))
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


@functools.lru_cache(256)
def nearest(n: int, m: int) -> np.ndarray:
    """``(m,)`` indices of the nearest of n samples, centres aligned."""
    return np.clip(np.floor((np.arange(m) + 0.5) * n / m).astype(int), 0, n - 1)


