"""Drawing a batch from the pools and augmenting it: all inside the compiled step."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.augment import Augmentation, Size, standardise
from semiseg.types import Batch, Pools


def draw(pools: Pools, key: jax.Array, augment: Augmentation, ratio: jax.Array | float, *, labelled: int, unlabelled: int, size: Size) -> Batch:
    """A batch of ``labelled`` images with labels and ``unlabelled`` ones in two views: windows of ``size``, of volumes anywhere in them.

    Images are drawn with replacement. Each labelled place is synthetic with probability ``ratio / (1 + ratio)``. A method that uses no
    unlabelled images costs nothing for them: what is unused is removed when the program is compiled.
    """
    k_real, k_fake, k_which, k_rest, k_augment, k_weak, k_strong = jax.random.split(key, 7)
    real = pools.labelled_N[jax.random.randint(k_real, (labelled,), 0, pools.labelled_count)]
    fake = jax.random.randint(k_fake, (labelled,), 0, jnp.maximum(pools.synthetic_count, 1))
    synthetic = (jax.random.uniform(k_which, (labelled,)) < ratio / (1.0 + ratio)) & (pools.synthetic_count > 0)
    space = label_shape(pools)
    one = (1,) * len(space)
    image = jnp.where(synthetic.reshape(-1, *one, 1), pools.synthetic_image_MHWC[fake], pools.image_NHWC[real])
    label = jnp.where(synthetic.reshape(-1, *one), pools.synthetic_label_MHW[fake], pools.label_NHW[real])
    image, label, _, _ = augment.weak(k_augment, image, label, size, _places(key, 7, labelled, space, size))
    if unlabelled == 0:
        none, seen = jnp.zeros((0, *image.shape[1:])), image.shape[1:-1]
        return Batch(standardise(image), label, none, none, jnp.zeros((0, *seen), bool), jnp.zeros(0, jnp.int32), jnp.zeros((0, len(seen), *seen)))

    rest = pools.unlabelled_N[jax.random.randint(k_rest, (unlabelled,), 0, pools.unlabelled_count)]
    nothing = jnp.zeros((unlabelled, *space), jnp.uint8)
    weak, _, valid, coordinates = augment.weak(k_weak, pools.image_NHWC[rest], nothing, size, _places(key, 8, unlabelled, space, size))
    strong = augment.strong(k_strong, weak)
    # the strong view is standardised as its weak one: by its own statistics, its changes of brightness and contrast would cancel
    return Batch(standardise(image), label, standardise(weak), standardise(strong, like=weak), valid, rest, coordinates)


def _places(key: jax.Array, number: int, count: int, space: tuple[int, ...], size: Size) -> jax.Array | None:
    """Whole voxels ``(count, 3)`` by which windows of volumes lie off the centre, anywhere they fit; None where all lie there.

    ``number`` is folded into ``key``, of which the first seven parts are used.
    """
    if len(space) == 2 or isinstance(size, int) or space == size:
        return None
    room = jnp.array([n - w for n, w in zip(space, size)])
    return jax.random.randint(jax.random.fold_in(key, number), (count, len(space)), 0, room + 1) - room // 2


def label_shape(pools: Pools) -> tuple[int, ...]:
    """Spatial shape of a pool image."""
    return pools.label_NHW.shape[1:]
