"""Segmenters that judge a synthetic set: trained on half of the pairs each, on the synthetic set,
all through one compiled program.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.augment import Augmentation, standardise
from semiseg.config import Trial
from semiseg.data.frame import Frame
from semiseg.data.pool_image import pool_images
from semiseg.data.pools import of_arrays
from semiseg.evaluate import probabilities as predict
from semiseg.generators.measures import last_repeated
from semiseg.methods import Supervised
from semiseg.nets import UNet
from semiseg.runner.build import knobs_of
from semiseg.train import program as programs
from semiseg.train.program import Program
from semiseg.types import Choice, Model, Params, Pools

BATCH = 8
"""Images of a step, and of a pass that computes features."""


def train(
    images: np.ndarray,
    labels: np.ndarray,
    parts: Sequence[np.ndarray],
    classes: int,
    *,
    steps: int,
    widths: tuple[int, ...],
    seed: int = 0,
) -> tuple[Model, list[Params]]:
    """A segmenter for each part, all of ``steps`` steps.

    Args:
      images: ``(N, S, S, C)`` uint8.
      labels: ``(N, S, S)`` uint8.
      parts: indices into the images, one array a segmenter.
      classes: of the masks.
      steps: of each segmenter.
      widths: of its U-Net.
      seed: of all segmenters.

    Returns:
      The model they share, and the variables of each.
    """
    _, side, _, channels = images.shape
    sample = jax.ShapeDtypeStruct((1, side, side, channels), np.float32)
    model = Model(UNet(widths=widths), sample, classes)
    program = Program(
        model,
        side,
        BATCH,
        "adamw",
        "poly",
        draw="images",
        anywhere=False,
    )
    trial = Trial(
        method=Supervised(),
        augment=Augmentation(),
        steps=steps,
        lr=0.003,
        weight_decay=0.01,
        warmup=0.02,
        clip=1.0,
    )
    knobs = jax.tree.map(jnp.float32, knobs_of(trial))
    sharding = devices.copied(program.mesh(knobs.method))
    trained = []
    for part in parts:
        state = programs.start(program, knobs, jnp.uint32(seed))
        state, pools = jax.device_put((state, _of_part(images, labels, part)), sharding)
        state, _ = programs.chunk(
            program,
            knobs,
            jnp.uint32(seed),
            pools,
            state,
            jnp.int32(steps),
        )
        trained.append(programs.final(program, knobs, state))
    return model, trained


def _of_part(images: np.ndarray, labels: np.ndarray, part: np.ndarray) -> Pools:
    """All images, of which ``part`` is drawn; no synthetic ones."""
    made = of_arrays(images, labels, np.ones(len(images), bool))
    drawn = Choice(
        jnp.asarray(np.resize(part, len(images)).astype(np.int32)),
        jnp.int32(len(part)),
        made.labelled.below,
    )
    return made._replace(labelled=drawn, unlabelled=drawn)


def predictions(model: Model, params: Params, images: np.ndarray) -> np.ndarray:
    """Classes ``(N, H, W)`` uint8 of images ``(N, H, W, C)`` uint8."""
    frame = Frame(images.shape[1])
    stream = predict.probabilities(model, frame, params, pool_images(images))
    return np.stack([probability.argmax(-1).astype(np.uint8) for probability in stream])


def features(model: Model, params: Params, images: np.ndarray) -> np.ndarray:
    """Mean and deviation of the segmenter's last activations over the image, and their means over
    its foreground and background.

    Args:
      model: of :func:`train`.
      params: of one segmenter.
      images: ``(N, H, W, C)`` uint8.

    Returns:
      ``(N, F)`` float32.
    """

    @jax.jit
    def of_batch(params: Params, x: jax.Array) -> jax.Array:
        output = model.apply(params, standardise(x.astype(jnp.float32) / 255), train=False)
        y = output.aux["features"].astype(jnp.float32)
        foreground = 1 - jax.nn.softmax(output.logits)[..., :1]

        def mean_where(weight: jax.Array) -> jax.Array:
            return (y * weight).sum((1, 2)) / (weight.sum((1, 2)) + 1)

        means = [mean_where(foreground), mean_where(1 - foreground)]
        return jnp.concatenate([y.mean((1, 2)), y.std((1, 2)), *means], -1)

    batches = []
    for i in range(0, len(images), BATCH):
        part = images[i : i + BATCH]
        whole_batch = last_repeated(part, BATCH)
        batches.append(np.asarray(of_batch(params, whole_batch))[: len(part)])
    return np.concatenate(batches)
