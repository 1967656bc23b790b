"""Losses of the generators: one value an image ``(B,)`` where pairs are weighted, a scalar
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from semiseg.types import PyTree

ADVERSARIAL = ("hinge", "bce")
"""The adversarial losses."""


# ------------------------------------------------------------------ adversarial
def adversary(kind: str, logits: jax.Array, real: bool) -> jax.Array:
    """The discriminator's loss: ``hinge`` max(0, 1 ∓ D) (Lim & Ye 2017, eq. 13), or ``bce``
    (Goodfellow et al., NeurIPS 2014, eq. 1).

    Args:
      kind: hinge or bce.
      logits: ``(B, …)`` of real or of fake images.
      real: which of the two.

    Returns:
      ``(B,)``.

    >>> logits = jnp.array([[2.0], [0.25]])
    >>> adversary("hinge", logits, real=True).tolist()
    [0.0, 0.75]
    >>> adversary("hinge", logits, real=False).tolist()
    [3.0, 1.25]
    """
    y = logits if real else -logits
    if kind == "hinge":
        return _mean(jax.nn.relu(1 - y))
    return _mean(jax.nn.softplus(-y))


def generator(kind: str, logits: jax.Array) -> jax.Array:
    """The generator's loss: −D for ``hinge``, −log σ(D) for ``bce`` (non-saturating).

    Args:
      kind: hinge or bce.
      logits: ``(B, …)`` of its images.

    Returns:
      ``(B,)``.

    >>> generator("hinge", jnp.array([[2.0]])).tolist()
    [-2.0]
    """
    if kind == "hinge":
        return _mean(-logits)
    return _mean(jax.nn.softplus(-logits))


def gradient_penalty(
    score: Callable[[PyTree, jax.Array], jax.Array], weights: PyTree, image: jax.Array
) -> tuple[jax.Array, PyTree]:
    """R1, ½ E‖∇ₓ D(x)‖² on real images (Mescheder et al., ICML 2018, eq. 8).

    Its gradient in the weights is the derivative of ∇_w Σ D along g = ∇ₓ Σ D, taken as a central
    difference: an ordinary pass at x ± ε g. Differentiating twice would leave the fast
    convolutions, whose backward pass only has to be right once.

    Args:
      score: ``(weights, (n B, H, W, C)) → (n B,)``, called for n = 1 and 2.
      weights: of the discriminator.
      image: ``(B, H, W, C)`` in [-1, 1].

    Returns:
      The value, and its gradient in ``weights``.

    >>> def score(w, x):
    ...     return 3 * w * x.sum((1, 2, 3))
    >>> value, slope = gradient_penalty(score, jnp.float32(1), jnp.ones((2, 1, 1, 1)))
    >>> value.item(), slope.round(3).item()
    (4.5, 9.0)
    """

    def total(x: jax.Array) -> jax.Array:
        return score(weights, x).sum()

    n = len(image)
    g = jax.grad(total)(image)
    value = 0.5 * jnp.sum(g**2) / n
    # moves the pixel that matters most by 0.02 of [-1, 1]
    steepest = jnp.abs(g).max()
    reach = 0.02 / jnp.maximum(steepest, 1e-12)
    ahead = image + reach * g
    behind = image - reach * g
    ends = jnp.concatenate([ahead, behind])
    signs = jnp.array([1.0, -1.0])
    weight = jnp.repeat(signs, n) / (2 * reach * n)

    def difference(w: PyTree) -> jax.Array:
        return (score(w, ends) * weight).sum()

    return value, jax.grad(difference)(weights)


# ------------------------------------------------------------------ reconstruction and style
def feature_matching(real: Sequence[jax.Array], fake: Sequence[jax.Array]) -> jax.Array:
    """Mean absolute difference of the discriminator's features of an image and its reconstruction
    (Wang et al., CVPR 2018, eq. 4).

    Args:
      real: features ``(B, h, w, F)`` of the images, one array a layer; constants.
      fake: of the reconstructions.

    Returns:
      ``(B,)``.

    >>> feature_matching([jnp.ones((1, 2, 2, 3))], [jnp.zeros((1, 2, 2, 3))]).tolist()
    [1.0]
    """
    total = jnp.float32(0)
    for r, f in zip(real, fake, strict=True):
        difference = jax.lax.stop_gradient(r) - f
        total = total + _mean(jnp.abs(difference))
    return total / len(real)


def l1(a: jax.Array, b: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean absolute difference of each pair of images, averaged over the classes that its mask has.

    Over pixels, a tenth of which are nuclei, the background would be most of the loss, and large
    nuclei stayed hollow for 700 steps.

    Args:
      a: ``(B, H, W, C)``.
      b: ``(B, H, W, C)``.
      mask: ``(B, H, W, K)`` one-hot.

    Returns:
      ``(B,)``.

    >>> mask = jnp.array([1.0, 1.0, 1.0, 0.0]).reshape(1, 2, 2, 1)
    >>> l1(1 - mask, jnp.zeros((1, 2, 2, 1)), jnp.concatenate([mask, 1 - mask], -1)).tolist()
    [0.5]
    """
    difference = jnp.abs(a - b).mean(-1, keepdims=True)
    size = mask.sum((1, 2))
    total = (difference * mask).sum((1, 2))
    of_class = total / jnp.maximum(size, 1)
    of_image = of_class.sum(-1)
    classes = (size > 0).sum(-1)
    return of_image / jnp.maximum(classes, 1)


def kl(mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """KL of N(mean, exp(logvar)) from N(0, 1), summed over the code (Kingma & Welling 2014,
    appendix B).

    Args:
      mean: ``(B, Z)``.
      logvar: ``(B, Z)``.

    Returns:
      ``(B,)``.

    >>> kl(jnp.ones((1, 4)), jnp.zeros((1, 4))).tolist()
    [2.0]
    """
    return 0.5 * jnp.sum(jnp.exp(logvar) + mean**2 - 1 - logvar, -1)


def mode_seeking(
    a: jax.Array,
    b: jax.Array,
    foreground: jax.Array,
    wanted: jax.Array,
) -> jax.Array:
    """max(0, 1 − d / wanted) for the distance d of two images of one mask: 1 if they are equal, 0
    once they differ as much as is wanted.

    After Mao et al., CVPR 2019 (eq. 3), whose 1 / d is never content: at a weight that moved
    anything, samples came to differ three times as much as real images do. d is the mean absolute
    difference, averaged over background and foreground, since nuclei fill a few per cent of an
    image and the larger part would otherwise be all that differs.

    Args:
      a: ``(B, H, W, C)``.
      b: ``(B, H, W, C)``.
      foreground: ``(B, H, W, 1)``.
      wanted: scalar, of the scale of differences of real images.

    Returns:
      ``(B,)``.

    >>> image = jnp.zeros((1, 4, 4, 1))
    >>> mode_seeking(image, image, image, jnp.float32(0.5)).tolist()
    [1.0]
    """
    difference = jnp.abs(a - b).mean(-1, keepdims=True)

    def mean_where(weight: jax.Array) -> jax.Array:
        total = (difference * weight).sum((1, 2, 3))
        return total / (weight.sum((1, 2, 3)) + 1)

    inside = mean_where(foreground)
    outside = mean_where(1 - foreground)
    distance = 0.5 * (inside + outside)
    share = distance / jnp.maximum(wanted, 1e-3)
    return jax.nn.relu(1 - share)


# ------------------------------------------------------------------ sums
def weighted(values: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean over images of ``values · weight``; all-zero weights give 0.

    >>> weighted(jnp.array([1.0, 3.0]), jnp.array([1.0, 0.0])).item()
    1.0
    """
    return jnp.sum(values * weight) / jnp.maximum(jnp.sum(weight), 1e-6)


def norm(tree: PyTree) -> jax.Array:
    """Euclidean length of a gradient.

    >>> norm({"a": jnp.array([3.0]), "b": jnp.array([4.0])}).item()
    5.0
    """
    return optax.tree.norm(tree)


def _mean(x: jax.Array) -> jax.Array:
    return x.mean(tuple(range(1, x.ndim)))
