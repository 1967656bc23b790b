"""Prediction: a trained network over whole scans, in batches of one fixed shape.

A volume is seen in windows of the size the network was trained on, an image at once, with the grey
values of its scan as in training; where windows overlap, probabilities are averaged with Gaussian
weights, so that a pixel follows the window it lies deepest in. A window that is larger than the
image is filled with what training fills it with.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import numpy as np

from semiseg import devices
from semiseg.augment import normalise, standardise
from semiseg.data.frame import Frame, PoolImage
from semiseg.ragged import unit_range
from semiseg.types import Case, Model, Params

IMAGES = 8
"""Windows of images in a batch."""
WINDOWS = 4
"""Windows of volumes in a batch."""
PIXELS = 2**18
"""Pixels of 2D windows in a batch, if there are several."""


@functools.partial(jax.jit, static_argnums=0)
def _probabilities(
    model: Model,
    params: Params,
    image_BHWC: jax.Array,
    mean_BC: jax.Array | None,
    deviation_BC: jax.Array | None,
) -> jax.Array:
    image_BHWC = devices.cut(image_BHWC, devices.mesh(image_BHWC.shape[0]))
    x = unit_range(image_BHWC)
    if mean_BC is None or deviation_BC is None:
        x = standardise(x)
    else:
        x = normalise(x, mean_BC, deviation_BC)
    return jax.nn.softmax(model.apply(params, x, train=False).logits)


def probabilities(
    model: Model,
    frame: Frame,
    params: Params,
    images: Iterable[PoolImage],
    after_window: Callable[[], None] | None = None,
) -> Iterator[np.ndarray]:
    """Class probabilities ``(*space, K)`` float32 of pool images, one by one.

    What the frame does not show is background (class 0) with probability 1. ``after_window`` is
    called when the network has seen a window.
    """
    axes = len(frame.window)
    batch = IMAGES if axes == 2 else WINDOWS
    ahead, images = itertools.tee(images)  # holds no more than a batch of them
    results = _batches(model, params, _windows(frame, ahead), batch)
    if after_window is not None:
        results = _counted(results, after_window)
    for image in images:
        yield _assembled(frame, image.levels.shape[:-1], model.classes, results)


def _counted(
    results: Iterator[np.ndarray], after_window: Callable[[], None]
) -> Iterator[np.ndarray]:
    for result in results:
        after_window()
        yield result


def _assembled(
    frame: Frame, space: tuple[int, ...], classes: int, results: Iterator[np.ndarray]
) -> np.ndarray:
    """The next windows' probabilities put together to those of an image."""
    starts = frame.windows(space)
    window = frame.view_shape(space)
    if len(starts) == 1:
        return _placed(next(results), starts[0], space)
    weight = gaussian(window)
    total = np.zeros((*space, classes), np.float32)
    weights = np.zeros((*space, 1), np.float32)
    for start in starts:
        here, there = _overlap(start, window, space)
        total[there] += (weight * next(results))[here]
        weights[there] += weight[here]
    total /= weights  # in place: of a large scan this is the largest array
    return total


def _placed(probability: np.ndarray, start: Sequence[int], space: tuple[int, ...]) -> np.ndarray:
    """One window's probabilities on the grid of the image; outside of it all is background."""
    window = probability.shape[:-1]
    if window == space:
        return probability
    here, there = _overlap(start, window, space)
    total = np.zeros((*space, probability.shape[-1]), np.float32)
    total[..., 0] = 1.0
    total[there] = probability[here]
    return total


def _overlap(
    start: Sequence[int], window: Sequence[int], space: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a window and an image overlap: in the window, and in the image.

    >>> _overlap((-1, 2), (4, 4), (2, 9))
    ((slice(1, 3, None), slice(0, 4, None)), (slice(0, 2, None), slice(2, 6, None)))
    """
    here = []
    there = []
    for first, w, n in zip(start, window, space, strict=True):
        begin = max(first, 0)
        end = min(first + w, n)
        here.append(slice(begin - first, end - first))
        there.append(slice(begin, end))
    return tuple(here), tuple(there)


def _windows(frame: Frame, images: Iterable[PoolImage]) -> Iterator[PoolImage]:
    """Every window of every image, filled with zeros beyond its edge."""
    for image in images:
        space = image.levels.shape[:-1]
        window = frame.view_shape(space)
        for start in frame.windows(space):
            here, there = _overlap(start, window, space)
            levels = np.zeros((*window, image.levels.shape[-1]), image.levels.dtype)
            levels[here] = image.levels[there]
            yield image._replace(levels=levels)


def _batches(
    model: Model, params: Params, windows: Iterator[PoolImage], most: int
) -> Iterator[np.ndarray]:
    """Probabilities of each window: those of one shape that follow each other in batches, the last
    of which is filled up.
    """
    for shape, of_shape in itertools.groupby(windows, key=_shape):
        batch = most
        if len(shape) == 2:
            batch = max(1, min(most, PIXELS // math.prod(shape)))
        copied = jax.device_put(params, devices.copied(devices.mesh(batch)))
        while part := list(itertools.islice(of_shape, batch)):
            padded = part + part[-1:] * (batch - len(part))
            levels = np.stack([window.levels for window in padded])
            mean = _stacked([window.mean for window in padded])
            deviation = _stacked([window.deviation for window in padded])
            results = _probabilities(model, copied, levels, mean, deviation)
            yield from np.asarray(results)[: len(part)]


def _shape(window: PoolImage) -> tuple[int, ...]:
    return window.levels.shape[:-1]


def _stacked(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [array for array in arrays if array is not None]
    return np.stack(known) if len(known) == len(arrays) else None


def gaussian(window: tuple[int, ...]) -> np.ndarray:
    """Weights ``(*window, 1)`` float32: a Gaussian of an eighth of each side around the centre
    (Isensee et al. 2021, nnU-Net).

    Example:
      >>> gaussian((3,)).round(3).ravel()
      array([0.029, 1.   , 0.029], dtype=float32)
    """
    lines = [np.exp(-0.5 * ((np.arange(w) - (w - 1) / 2) / (w / 8)) ** 2) for w in window]
    return functools.reduce(np.multiply.outer, lines)[..., None].astype(np.float32)


def labels(model: Model, frame: Frame, params: Params, scans: Sequence[Case]) -> list[np.ndarray]:
    """Predicted labels ``(*space)`` uint8 of each picture, slice or (3D) volume of some scans."""
    cases = frame.scans(scans, "prediction")
    results = probabilities(model, frame, params, frame.each_pool(scans))
    return [
        frame.labels(probability, case.image.shape[: len(frame.window)])
        for probability, case in zip(results, cases, strict=True)
    ]
