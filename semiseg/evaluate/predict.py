"""Prediction: a trained network over whole scans, in batches of one fixed shape, back at the scans' own resolution."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.augment import Augmentation, standardise
from semiseg.data.frame import Frame
from semiseg.types import Model, Params


@functools.partial(jax.jit, static_argnums=(0, 1))
def _probabilities(model: Model, size: int, params: Params, image_BHWC: jax.Array) -> jax.Array:
    image_BHWC = devices.cut(image_BHWC, devices.mesh(image_BHWC.shape[0]))
    window, _, _ = Augmentation.identity(image_BHWC, jnp.zeros(image_BHWC.shape[:-1], jnp.uint8), size)
    return jax.nn.softmax(model.apply(params, standardise(window), train=False).logits)


def probabilities(model: Model, frame: Frame, params: Params, pool_NHWC: np.ndarray, batch: int = 8) -> Iterator[np.ndarray]:
    """Class probabilities ``(view_size, view_size, K)`` float32 of what the frame shows of each pool image, one by one."""
    params = jax.device_put(params, devices.copied(devices.mesh(batch)))
    for i in range(0, len(pool_NHWC), batch):
        part = pool_NHWC[i : i + batch]
        padded = np.concatenate([part, np.repeat(part[-1:], batch - len(part), 0)])
        yield from np.asarray(_probabilities(model, frame.view_size, params, padded))[: len(part)]


def labels(
    model: Model, frame: Frame, params: Params, pool_NHWC: np.ndarray, shapes: Sequence[tuple[int, ...]], batch: int = 8
) -> list[np.ndarray]:
    """Predicted labels ``(H, W)`` uint8 of each image at its own ``shape``."""
    return [frame.from_window(p, (s[0], s[1])) for p, s in zip(probabilities(model, frame, params, pool_NHWC, batch), shapes)]
