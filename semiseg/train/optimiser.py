"""Optimisers and schedules with traced hyperparameters, composed of optax parts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

OPTIMISERS = ("sgd", "nesterov", "adam", "adamw")
SCHEDULES = ("poly", "cosine", "step", "constant")


def optimiser(name: str, *, momentum, weight_decay, clip) -> optax.GradientTransformation:
    """Direction of descent, before the learning rate.

    ``sgd``, ``nesterov``: (Nesterov) momentum with L2 decay in the gradient; ``adam``: L2 decay in
    the gradient; ``adamw``: decoupled decay (Loshchilov & Hutter 2019). ``momentum`` is Adam's
    first decay rate. ``clip``: largest global norm of the gradient, 0 for none. All but ``name``
    may be traced. Only matrices and kernels decay, not biases and normalisation scales.
    """
    kernels = lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree)
    decay = optax.add_decayed_weights(weight_decay, mask=kernels)
    clipping = optax.stateless(lambda g, _: _clip(g, clip))
    if name in ("sgd", "nesterov"):
        return optax.chain(clipping, decay, optax.trace(momentum, nesterov=name == "nesterov"))
    adam = optax.scale_by_adam(b1=momentum, b2=0.999)
    return (
        optax.chain(clipping, decay, adam) if name == "adam" else optax.chain(clipping, adam, decay)
    )


def _clip(gradient, limit):
    norm = optax.tree.norm(gradient)
    scale = jnp.where((limit > 0) & (norm > limit), limit / jnp.maximum(norm, 1e-12), 1.0)
    return jax.tree.map(lambda g: g * scale, gradient)


def rate(name: str, progress: jax.Array, warmup: jax.Array | float) -> jax.Array:
    """Factor on the learning rate at ``progress`` in [0, 1).

    ``poly``: (1 - t)^0.9 (Chen et al. 2017, DeepLab); ``cosine``: (1 + cos πt) / 2; ``step``: a
    tenth from 5/12 of the steps on, a hundredth from 10/12 (Yu et al. 2019: every 2500 of 6000);
    ``constant``. A linear ``warmup`` share comes before.
    """
    falling = {
        "poly": lambda t: (1.0 - t) ** 0.9,
        "cosine": lambda t: 0.5 * (1.0 + jnp.cos(jnp.pi * t)),
        "step": lambda t: (
            0.1 ** jnp.floor(2.4 * t + 1e-4)
        ),  # 2.4 · 2500 / 6000 may round to just below 1
        "constant": jnp.ones_like,
    }[name]
    return jnp.minimum(1.0, (progress + 1e-3) / jnp.maximum(warmup, 1e-3)) * falling(progress)
