"""Losses of the generators: one value an image ``(B,)`` where pairs are weighted, a scalar
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from semiseg.types import PyTree


def adversary(kind: str, logits: jax.Array, real: bool) -> jax.Array:
    """The discriminator's loss on logits ``(B, …)`` of real or of fake images: ``hinge`` max(0, 1 ∓
    D) (Lim & Ye 2017), or ``bce``.
    """
    y = logits if real else -logits
    return _mean(jax.nn.relu(1 - y) if kind == "hinge" else jax.nn.softplus(-y))


def generator(kind: str, logits: jax.Array) -> jax.Array:
    """The generator's loss on logits ``(B, …)`` of its images: −D for ``hinge``, −log σ(D) for
    ``bce`` (non-saturating).
    """
    return _mean(-logits if kind == "hinge" else jax.nn.softplus(-logits))


def feature_matching(real: Sequence[jax.Array], fake: Sequence[jax.Array]) -> jax.Array:
    """Mean absolute difference of the discriminator's features of an image and its reconstruction
    (Wang et al., CVPR 2018, eq. 4).
    """
    return sum(
        (_mean(jnp.abs(jax.lax.stop_gradient(r) - f)) for r, f in zip(real, fake)), jnp.float32(0)
    ) / len(real)


def l1(a: jax.Array, b: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean absolute difference of each pair of images, averaged over the classes that its one-hot
    mask has.

    Over pixels, a tenth of which are nuclei, the background would be most of the loss, and large
    nuclei stayed hollow for 700 steps.
    """
    d, space = jnp.abs(a - b).mean(-1, keepdims=True), (1, 2)
    size = mask.sum(space)
    return ((d * mask).sum(space) / jnp.maximum(size, 1)).sum(-1) / jnp.maximum(
        (size > 0).sum(-1), 1
    )


def kl(mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """KL of N(mean, exp(logvar)) from N(0, 1), summed over the code: ``(B, Z)`` → ``(B,)`` (Kingma
    & Welling 2014).
    """
    return 0.5 * jnp.sum(jnp.exp(logvar) + mean**2 - 1 - logvar, -1)


def mode_seeking(a: jax.Array, b: jax.Array, foreground: jax.Array, wanted: jax.Array) -> jax.Array:
    """max(0, 1 − d / wanted) for the distance d of two images of one mask: 1 if they are equal, 0
    once they differ as much as is wanted.

    After Mao et al., CVPR 2019 (eq. 3), whose 1 / d is never content: at a weight that moved
    anything, samples came to differ three times as much as real images do. d is the mean absolute
    difference, averaged over background and foreground, since nuclei fill a few per cent of an
    image and the larger part would otherwise be all that differs.

    Args:
      a, b: ``(B, H, W, C)``.
      foreground: ``(B, H, W, 1)``.
      wanted: scalar, of the scale of differences of real images.
    """
    d = jnp.abs(a - b).mean(-1, keepdims=True)
    part = lambda w: (d * w).sum((1, 2, 3)) / (w.sum((1, 2, 3)) + 1)
    return jax.nn.relu(
        1 - 0.5 * (part(foreground) + part(1 - foreground)) / jnp.maximum(wanted, 1e-3)
    )


def gradient_penalty(
    score: Callable[[PyTree, jax.Array], jax.Array], weights: PyTree, image: jax.Array
) -> tuple[jax.Array, PyTree]:
    """R1, ½ E‖∇ₓ D(x)‖² on real images (Mescheder et al., ICML 2018, eq. 8): its value, and its
    gradient in ``weights``.

    That gradient is the derivative of ∇_w Σ D along g = ∇ₓ Σ D, taken as a central difference: an
    ordinary pass at x ± ε g. Differentiating twice would leave the fast convolutions, whose
    backward pass only has to be right once.

    Args:
      score: ``(weights, (n B, H, W, C)) → (n B,)``, asked for n = 1 and 2.
    """
    g = jax.grad(lambda x: score(weights, x).sum())(image)
    value = 0.5 * jnp.sum(g**2) / len(image)
    reach = 0.02 / jnp.maximum(
        jnp.abs(g).max(), 1e-12
    )  # moves the pixel that matters most by 0.02 of [-1, 1]
    ends = jnp.concatenate([image + reach * g, image - reach * g])
    sign = jnp.repeat(jnp.array([1.0, -1.0]), len(image)) / (2 * reach * len(image))
    return value, jax.grad(lambda w: (score(w, ends) * sign).sum())(weights)


def weighted(values: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean over images of ``values · weight``; all-zero weights give 0."""
    return jnp.sum(values * weight) / jnp.maximum(jnp.sum(weight), 1e-6)


def norm(tree: PyTree) -> jax.Array:
    """Length of a gradient."""
    return optax.tree.norm(tree)


def _mean(x: jax.Array) -> jax.Array:
    return x.mean(tuple(range(1, x.ndim)))
