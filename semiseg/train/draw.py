"""Drawing a batch from the pools and augmenting it: all inside the compiled step."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.augment import Augmentation, standardise
from semiseg.types import Batch, Pools


def draw(pools: Pools, key: jax.Array, augment: Augmentation, ratio: jax.Array | float, *, labelled: int, unlabelled: int, size: int) -> Batch:
    """A batch of ``labelled`` images with labels and ``unlabelled`` ones in two views.

    Images are drawn with replacement. Each labelled place is synthetic with probability ``ratio / (1 + ratio)``. A method that uses no
    unlabelled images costs nothing for them: what is unused is removed when the program is compiled.
    """
    k_real, k_fake, k_which, k_rest, k_augment, k_weak, k_strong = jax.random.split(key, 7)
    real = pools.labelled_N[jax.random.randint(k_real, (labelled,), 0, pools.labelled_count)]
    fake = jax.random.randint(k_fake, (labelled,), 0, jnp.maximum(pools.synthetic_count, 1))
    synthetic = (jax.random.uniform(k_which, (labelled,)) < ratio / (1.0 + ratio)) & (pools.synthetic_count > 0)
    image = jnp.where(synthetic[:, None, None, None], pools.synthetic_image_MHWC[fake], pools.image_NHWC[real])
    label = jnp.where(synthetic[:, None, None], pools.synthetic_label_MHW[fake], pools.label_NHW[real])
    image, label, _, _ = augment.weak(k_augment, image, label, size)
    if unlabelled == 0:
        none, space = jnp.zeros((0, *image.shape[1:])), image.shape[1:-1]
        return Batch(standardise(image), label, none, none, jnp.zeros((0, *space), bool), jnp.zeros(0, jnp.int32), jnp.zeros((0, len(space), *space)))

    rest = pools.unlabelled_N[jax.random.randint(k_rest, (unlabelled,), 0, pools.unlabelled_count)]
    nothing = jnp.zeros((unlabelled, *label_shape(pools)), jnp.uint8)
    weak, _, valid, coordinates = augment.weak(k_weak, pools.image_NHWC[rest], nothing, size)
    strong = augment.strong(k_strong, weak)
    # the strong view is standardised as its weak one: by its own statistics, its changes of brightness and contrast would cancel
    return Batch(standardise(image), label, standardise(weak), standardise(strong, like=weak), valid, rest, coordinates)


def label_shape(pools: Pools) -> tuple[int, ...]:
    """Spatial shape of a pool image."""
    return pools.label_NHW.shape[1:]
