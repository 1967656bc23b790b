"""Scaling of images, labels and probabilities: a product with a small matrix an axis."""

from __future__ import annotations

import functools

import numpy as np


def levels_of(x: np.ndarray) -> np.ndarray:
    """Grey values from 0 to 255 as uint8, rounded and clipped."""
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def scaled(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``(*shape, C)`` of an image ``(*space, C)`` float32."""
    if x.ndim == 3:
        return scaled_plane(x, shape)
    if x.shape[:-1] == tuple(shape):
        return x
    planes_DHWC = np.stack([scaled_plane(plane, shape[1:]) for plane in x])
    if len(x) == shape[0]:
        return planes_DHWC
    return np.tensordot(resampler(len(x), shape[0]), planes_DHWC, 1)


def scaled_plane(x_HWC: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    height, width = x_HWC.shape[:2]
    if (height, width) == tuple(shape):
        return x_HWC
    x_IWC = np.einsum("ih,hwc->iwc", resampler(height, shape[0]), x_HWC, optimize=True)
    return np.einsum("jw,iwc->ijc", resampler(width, shape[1]), x_IWC, optimize=True)


def to_plane(probability_IJK: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    height, width, classes = probability_IJK.shape
    if (height, width) == tuple(shape):
        return probability_IJK
    rows = resampler(height, shape[0])
    columns = resampler(width, shape[1])
    x = rows @ probability_IJK.reshape(height, width * classes)
    x_HKJ = np.swapaxes(x.reshape(-1, width, classes), 1, 2) @ columns.T
    return np.moveaxis(x_HKJ, 1, -1)


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


def as_uint8(levels: np.ndarray) -> np.ndarray:
    """Pool levels as uint8, whatever they are stored as.

    >>> as_uint8(np.array([0.0, 0.5, 1.0], np.float16)).tolist()
    [0, 128, 255]
    """
    if levels.dtype == np.uint8:
        return levels
    return levels_of(levels.astype(np.float32) * 255)


def in_the_middle(x: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The middle of ``x (*space, …)`` in an array ``(*size, …)``; what is missing is 0.

    >>> in_the_middle(np.array([1, 2, 3]), (1,)).tolist()
    [2]
    >>> in_the_middle(np.array([7]), (3,)).tolist()
    [0, 7, 0]
    """
    result = np.zeros((*size, *x.shape[len(size) :]), x.dtype)
    here = []
    there = []
    for n, w in zip(x.shape, size, strict=False):  # channels are not cut
        start = int((n - w) / 2)
        here.append(slice(max(start, 0), max(start, 0) + min(n, w)))
        there.append(slice(max(-start, 0), max(-start, 0) + min(n, w)))
    result[tuple(there)] = x[tuple(here)]
    return result
