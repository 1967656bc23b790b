"""The loss on unlabelled images that have a mask from elsewhere, and its weight, which falls: what
another program knows helps a young network, and its errors must not stay in a trained one.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from semiseg.losses import CEDice
from semiseg.methods.parts.terms import supervised_loss
from semiseg.train.draw import Windows, drawn
from semiseg.types import Aux, Model, Params, Pools

SCHEDULES = ("linear", "cosine", "constant")
"""How the weight falls, see :func:`weight`; a program is handed the index."""


def weight(
    schedule: jax.Array | float,
    start: jax.Array | float,
    until: jax.Array | float,
    progress: jax.Array | float,
) -> jax.Array:
    """The weight of the masks at ``progress`` (0 to 1) of a training: from ``start`` to exactly 0
    at the share ``until`` and after it.

    With t = progress / until: ``linear`` start · (1 - t), ``cosine`` start · (1 + cos πt) / 2,
    ``constant`` start.

    >>> [round(float(weight(0, 2.0, 0.5, t)), 3) for t in (0.0, 0.25, 0.5, 0.9)]
    [2.0, 1.0, 0.0, 0.0]
    >>> [round(float(weight(2, 2.0, 0.5, t)), 3) for t in (0.0, 0.49, 0.5)]
    [2.0, 2.0, 0.0]
    """
    t = jnp.asarray(progress / until, jnp.float32)
    shape = jnp.select(
        [schedule == 0, schedule == 1], [1 - t, 0.5 * (1 + jnp.cos(jnp.pi * t))], 1.0
    )
    return jnp.where(t < 1, start * shape, 0.0)


def loss(
    model: Model,
    knobs: Any,
    params: Params,
    pools: Pools,
    key: jax.Array,
    count: int,
    windows: Windows,
) -> jax.Array:
    """The method's supervised loss on ``count`` images that have a mask from elsewhere.

    They are augmented as labelled images are. The pass leaves normalisation statistics as they are:
    these follow what the method itself sees.

    Args:
      model: the network.
      knobs: the traced part of a trial: the method, whose ``criterion`` it is (cross-entropy and
        Dice for a method without one), and the augmentation.
      params: of the network that is evaluated; of several it alone is taught so.
      pools: with ``pseudo`` images.
      key: of the draws and of dropout.
      count: number of images.
      windows: how they are drawn.
    """
    k_draw, k_dropout = jax.random.split(key)
    assert pools.pseudo is not None
    image, label = drawn(pools, pools.pseudo, k_draw, knobs.augment, count, windows)
    output = model.apply(params, image, train=True, key=k_dropout)
    return supervised_loss(getattr(knobs.method, "criterion", CEDice()), output, label)


def added(
    value: jax.Array, aux: Aux, masks: jax.Array, knobs: Any, progress: jax.Array
) -> tuple[jax.Array, Aux]:
    """A method's loss and what it brought, with the weighed loss of ``masks``, both logged."""
    falling = weight(knobs.pseudo_schedule, knobs.pseudo_weight, knobs.pseudo_until, progress)
    metrics = {**aux.metrics, "masks": masks, "masks_weight": falling}
    return value + falling * masks, aux._replace(metrics=metrics)
