"""Optimisers and schedules with traced hyperparameters, composed of optax parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from semiseg.types import PyTree

OPTIMISERS = ("sgd", "nesterov", "adam", "adamw")
SCHEDULES = ("poly", "cosine", "step", "constant")


def optimiser(
    name: str,
    *,
    momentum: jax.Array | float,
    weight_decay: jax.Array | float,
    clip: jax.Array | float,
    by_network: bool = False,
) -> optax.GradientTransformation:
    """Direction of descent, before the learning rate.

    ``sgd``, ``nesterov``: (Nesterov) momentum with L2 decay in the gradient; ``adam``: L2 decay in
    the gradient; ``adamw``: decoupled decay (Loshchilov & Hutter 2019). ``momentum`` is Adam's
    first decay rate. ``clip``: largest norm of the gradient, 0 for none; ``by_network``: of each
    entry of a dict of networks by itself, so that one's gradient does not shorten another's. All
    but ``name`` and ``by_network`` may be traced. Only matrices and kernels decay, not biases and
    normalisation scales.
    """
    decay = optax.add_decayed_weights(weight_decay, mask=_kernels)
    clipping = _clipping(clip, by_network)
    if name in ("sgd", "nesterov"):
        return optax.chain(clipping, decay, optax.trace(momentum, nesterov=name == "nesterov"))
    adam = optax.scale_by_adam(b1=momentum, b2=0.999)
    if name == "adam":
        return optax.chain(clipping, decay, adam)
    return optax.chain(clipping, adam, decay)


class Apart(NamedTuple):
    """States of the networks' optimiser, and of the critics'."""

    networks: PyTree
    critics: PyTree


def with_critics(
    tx: optax.GradientTransformation,
    critics: Sequence[str],
    *,
    clip: jax.Array | float,
) -> optax.GradientTransformation:
    """``tx`` for a dict of networks but the ``critics``, which have an Adam of their own without
    decay (decay rates 0.9 and 0.99, as DAN and SASSNet have in published code).
    """
    own = optax.chain(_clipping(clip, by_network=True), optax.scale_by_adam(b1=0.9, b2=0.99))

    def split(tree: PyTree) -> tuple[PyTree, PyTree]:
        rest = {name: x for name, x in tree.items() if name not in critics}
        return rest, {name: tree[name] for name in critics}

    def init(weights: PyTree) -> Apart:
        rest, mine = split(weights)
        return Apart(tx.init(rest), own.init(mine))

    def update(gradient: PyTree, state: Any, weights: PyTree = None) -> tuple[PyTree, Any]:
        rest, mine = split(gradient)
        rest_weights, my_weights = split(weights)
        direction, networks = tx.update(rest, state.networks, rest_weights)
        of_critics, critics_state = own.update(mine, state.critics, my_weights)
        return {**direction, **of_critics}, Apart(networks, critics_state)

    return optax.GradientTransformation(init, update)


def _clipping(clip: jax.Array | float, by_network: bool) -> optax.GradientTransformation:
    if not by_network:
        return optax.stateless(lambda gradient, _: clipped(gradient, clip))
    return optax.stateless(
        lambda gradient, _: {name: clipped(one, clip) for name, one in gradient.items()}
    )


def _kernels(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: x.ndim > 1, tree)


def clipped(gradient: PyTree, limit: jax.Array | float) -> PyTree:
    """``gradient`` scaled to the norm ``limit`` where it is longer; 0 is no limit.

    Example:
      >>> clipped(jnp.array([3.0, 4.0]), 1.0)
      Array([0.6, 0.8], dtype=float32)
    """
    norm = optax.tree.norm(gradient)
    scale = jnp.where((limit > 0) & (norm > limit), limit / jnp.maximum(norm, 1e-12), 1.0)
    return jax.tree.map(lambda g: g * scale, gradient)


def rate(name: str, progress: jax.Array, warmup: jax.Array | float) -> jax.Array:
    """Factor on the learning rate.

    ``poly``: (1 - t)^0.9 (Chen et al. 2017, DeepLab); ``cosine``: (1 + cos πt) / 2; ``step``: a
    tenth from 5/12 of the steps on, a hundredth from 10/12 (Yu et al. 2019: every 2500 of 6000);
    ``constant``. A linear ``warmup`` comes before.

    Args:
      name: one of :data:`SCHEDULES`.
      progress: t in [0, 1), the share of the steps that are done.
      warmup: share of the steps in which the rate rises.

    Example:
      >>> [round(float(rate("step", jnp.float32(t), 0.0)), 3) for t in (0.1, 0.5, 0.9)]
      [1.0, 0.1, 0.01]
    """
    rising = (progress + 1e-3) / jnp.maximum(warmup, 1e-3)
    return jnp.minimum(1.0, rising) * _FALLING[name](progress)


def _poly(t: jax.Array) -> jax.Array:
    return (1.0 - t) ** 0.9


def _cosine(t: jax.Array) -> jax.Array:
    return 0.5 * (1.0 + jnp.cos(jnp.pi * t))


def _step(t: jax.Array) -> jax.Array:
    return 0.1 ** jnp.floor(2.4 * t + 1e-4)  # 2.4 · 2500 / 6000 may round to just below 1


_FALLING: dict[str, Callable[[jax.Array], jax.Array]] = {
    "poly": _poly,
    "cosine": _cosine,
    "step": _step,
    "constant": jnp.ones_like,
}
