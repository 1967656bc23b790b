"""Prediction: a trained network over whole scans, in batches of one fixed shape.

An image is seen at once. A volume is seen in windows of the size the network was trained on, each
standardised by itself as in training; where they overlap, probabilities are averaged with Gaussian
weights, so that a voxel follows the window it lies deepest in.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.augment import Augmentation, Size, standardise
from semiseg.data.frame import Frame
from semiseg.types import Model, Params

IMAGES = 8
"""Images in a batch."""
WINDOWS = 4
"""Windows of volumes in a batch."""


@functools.partial(jax.jit, static_argnums=(0, 1))
def _probabilities(model: Model, size: Size, params: Params, image_BHWC: jax.Array) -> jax.Array:
    image_BHWC = devices.cut(image_BHWC, devices.mesh(image_BHWC.shape[0]))
    nothing = jnp.zeros(image_BHWC.shape[:-1], jnp.uint8)
    window, _, _ = Augmentation.identity(image_BHWC, nothing, size)
    return jax.nn.softmax(model.apply(params, standardise(window), train=False).logits)


def probabilities(
    model: Model, frame: Frame, params: Params, pool_NHWC: np.ndarray
) -> Iterator[np.ndarray]:
    """Class probabilities float32 of what the frame shows of each pool image, one by one.

    Yields:
      ``(view_size, view_size, K)``; of volumes ``(*pool_shape, K)``, or ``(*window, K)`` where the
      frame shows their centre.
    """
    if not frame.depth:
        yield from _batches(model, frame.view_size, params, iter(pool_NHWC), IMAGES)
        return
    starts = frame.windows()
    window = frame.window
    parts = _windows(pool_NHWC, starts, window)
    results = _batches(model, window, params, parts, WINDOWS)
    if len(starts) == 1:
        yield from results
        return
    weight = gaussian(window)
    weights = np.zeros((*frame.pool_shape, 1), np.float32)
    for start in starts:
        weights[_box(start, window)] += weight
    for _ in pool_NHWC:
        total = np.zeros((*frame.pool_shape, model.classes), np.float32)
        for start in starts:
            total[_box(start, window)] += weight * next(results)
        yield total / weights


def _windows(
    volumes: np.ndarray, starts: Sequence[tuple[int, ...]], window: tuple[int, ...]
) -> Iterator[np.ndarray]:
    """Every window of every volume."""
    for volume in volumes:
        for start in starts:
            yield volume[_box(start, window)]


def _batches(
    model: Model, size: Size, params: Params, images: Iterator[np.ndarray], batch: int
) -> Iterator[np.ndarray]:
    """Probabilities of ``size`` of each image, ``batch`` at a time; the last batch is filled up."""
    params = jax.device_put(params, devices.copied(devices.mesh(batch)))
    while part := list(itertools.islice(images, batch)):
        padded = np.stack(part + part[-1:] * (batch - len(part)))
        yield from np.asarray(_probabilities(model, size, params, padded))[: len(part)]


def _box(start: tuple[int, ...], window: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(a, a + w) for a, w in zip(start, window, strict=True))


def gaussian(window: tuple[int, ...]) -> np.ndarray:
    """Weights ``(*window, 1)`` float32: a Gaussian of an eighth of each side around the centre
    (Isensee et al. 2021, nnU-Net).

    Example:
      >>> gaussian((3,)).round(3).ravel()
      array([0.029, 1.   , 0.029], dtype=float32)
    """
    lines = [np.exp(-0.5 * ((np.arange(w) - (w - 1) / 2) / (w / 8)) ** 2) for w in window]
    return functools.reduce(np.multiply.outer, lines)[..., None].astype(np.float32)


def labels(
    model: Model,
    frame: Frame,
    params: Params,
    pool_NHWC: np.ndarray,
    shapes: Sequence[tuple[int, ...]],
) -> list[np.ndarray]:
    """Predicted labels ``(*space)`` uint8 of each image or volume at its own ``shape`` ``(*space)``
    or ``(*space, C)``.
    """
    axes = len(frame.window)
    results = probabilities(model, frame, params, pool_NHWC)
    return [
        frame.from_window(probability, tuple(shape[:axes]))
        for probability, shape in zip(results, shapes, strict=True)
    ]
