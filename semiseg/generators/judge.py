"""Segmenters that judge a synthetic set: trained on half of the pairs each, on the synthetic set,
all through one compiled program.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.data.frame import Frame
from semiseg.evaluate import probabilities as predict
from semiseg.methods import Supervised
from semiseg.nets import UNet
from semiseg.train import program as programs
from semiseg.train.program import Knobs, Program
from semiseg.types import IGNORE, Model, Params, Pools


def train(
    images: np.ndarray,
    labels: np.ndarray,
    parts: Sequence[np.ndarray],
    classes: int,
    *,
    steps: int,
    widths: tuple[int, ...],
    batch: int = 8,
    seed: int = 0,
) -> tuple[Model, list[Params]]:
    """A segmenter for each part (indices into ``images``), all of ``steps`` steps."""
    from semiseg.augment import Augmentation

    n, side, _, channels = images.shape
    model = Model(
        UNet(widths=widths), jax.ShapeDtypeStruct((1, side, side, channels), np.float32), classes
    )
    program = Program(model, side, batch, "adamw", "poly")
    knobs = Knobs(
        method=Supervised(),
        augment=Augmentation(),
        lr=0.003,
        weight_decay=0.01,
        warmup=0.02,
        clip=1.0,
        steps=float(steps),
    )
    knobs = jax.tree.map(jnp.float32, knobs)
    trained = []
    for part in parts:
        index = jnp.asarray(np.resize(part, n).astype(np.int32))
        count = jnp.int32(len(part))
        nothing = (
            jnp.zeros((1, side, side, channels), jnp.uint8),
            jnp.full((1, side, side), IGNORE, jnp.uint8),
            jnp.int32(0),
        )
        pools = Pools(
            jnp.asarray(images), jnp.asarray(labels), index, count, index, count, *nothing
        )
        state = programs.start(program, knobs, jnp.uint32(seed))
        state, pools = jax.device_put((state, pools), devices.copied(program.mesh(knobs.method)))
        state, _ = programs.chunk(program, knobs, jnp.uint32(seed), pools, state, jnp.int32(steps))
        trained.append(programs.final(program, knobs, state))
    return model, trained


def predictions(model: Model, params: Params, images: np.ndarray) -> np.ndarray:
    """Classes ``(N, H, W)`` uint8."""
    side = images.shape[1]
    return np.stack(
        [
            p.argmax(-1).astype(np.uint8)
            for p in predict.probabilities(model, Frame(side), params, images)
        ]
    )


def features(model: Model, params: Params, images: np.ndarray) -> np.ndarray:
    """``(N, F)``: mean and deviation of the segmenter's last activations over the image, and over
    its foreground and background.
    """
    from semiseg.augment import standardise

    @jax.jit
    def some(params: Params, x: jax.Array) -> jax.Array:
        output = model.apply(params, standardise(x.astype(jnp.float32) / 255), train=False)
        y, front = (
            output.aux["features"].astype(jnp.float32),
            1 - jax.nn.softmax(output.logits)[..., :1],
        )
        part = lambda w: (y * w).sum((1, 2)) / (w.sum((1, 2)) + 1)
        return jnp.concatenate([y.mean((1, 2)), y.std((1, 2)), part(front), part(1 - front)], -1)

    found = []
    for i in range(0, len(images), 8):
        chunk = images[i : i + 8]
        found.append(
            np.asarray(
                some(params, np.concatenate([chunk, np.repeat(chunk[-1:], 8 - len(chunk), 0)]))
            )[: len(chunk)]
        )
    return np.concatenate(found)


def dice(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Mean Dice over the foreground classes that an image shows or is predicted to show ``(N,)``;
    NaN where it is neither.
    """
    scores = []
    for p, y in zip(prediction, label):
        seen = y != IGNORE
        classes = np.setdiff1d(np.union1d(p[seen], y[seen]), [0])
        found = [
            2 * np.sum((p == k) & (y == k)) / (np.sum((p == k) & seen) + np.sum(y == k))
            for k in classes
        ]
        scores.append(np.mean(found) if found else np.nan)
    return np.array(scores)
