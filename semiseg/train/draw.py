"""Drawing a batch from the pools and augmenting it: all inside the compiled step."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.augment import Augmentation, Size, standardise
from semiseg.types import Batch, Pools

SCHEDULES = ("constant", "pretrain", "decay")
"""When synthetic images are seen, see :func:`share`; a program is handed the index."""
ROLES = ("labelled", "soft", "unlabelled")
"""What synthetic images are taken for: their masks are taught; mixed with the predictions of the
network's average; not used.
"""


def share(
    schedule: jax.Array | float, ratio: jax.Array | float, step: jax.Array, steps: jax.Array | float
) -> jax.Array:
    """Probability that a place is synthetic in ``step``: over all ``steps`` its mean is p = ratio /
    (1 + ratio) whatever the schedule.

    ``constant``: p. ``pretrain``: 1 for the first p of the steps, then 0; the step it ends in has
    what is left. ``decay``: min(1, c (1 - t)) at t in the middle of the step, c = 2p for p up to ½
    and 1 / (2 (1 - p)) above.
    """
    p = ratio / (1.0 + ratio)
    pretrain = jnp.clip(p * steps - step, 0.0, 1.0)
    slope = jnp.where(p <= 0.5, 2.0 * p, 0.5 * (1.0 + ratio))
    decay = jnp.minimum(1.0, slope * (1.0 - (step + 0.5) / steps))
    return jnp.select([schedule == 0, schedule == 1], [p, pretrain], decay)


def draw(
    pools: Pools,
    key: jax.Array,
    augment: Augmentation,
    share: jax.Array | float,
    *,
    labelled: int,
    unlabelled: int,
    size: Size,
    role: str = "labelled",
) -> tuple[Batch, jax.Array]:
    """A batch of ``labelled`` images with labels and ``unlabelled`` ones in two views, windows of
    ``size``, of volumes anywhere in them; and which ``(labelled,)`` of the former are synthetic.

    Images are drawn with replacement. Each labelled place is synthetic with probability ``share``;
    in the role ``unlabelled`` each unlabelled place is. A method that uses no unlabelled images
    costs nothing for them: what is unused is removed when the program is compiled.
    """
    k_real, k_fake, k_which, k_rest, k_augment, k_weak, k_strong = jax.random.split(key, 7)
    space = label_shape(pools)

    def fakes(count: int) -> tuple[jax.Array, jax.Array]:
        fake = jax.random.randint(k_fake, (count,), 0, jnp.maximum(pools.synthetic_count, 1))
        return fake, (jax.random.uniform(k_which, (count,)) < share) & (pools.synthetic_count > 0)

    choose = lambda which, made, given: jnp.where(
        which.reshape(-1, *(1,) * (made.ndim - 1)), made, given
    )
    real = pools.labelled_N[jax.random.randint(k_real, (labelled,), 0, pools.labelled_count)]
    image, label, synthetic = (
        pools.image_NHWC[real],
        pools.label_NHW[real],
        jnp.zeros(labelled, bool),
    )
    if role != "unlabelled":
        fake, synthetic = fakes(labelled)
        image = choose(synthetic, pools.synthetic_image_MHWC[fake], image)
        label = choose(synthetic, pools.synthetic_label_MHW[fake], label)
    image, label, _, _ = augment.weak(
        k_augment, image, label, size, _places(key, 7, labelled, space, size)
    )
    if unlabelled == 0:
        none, seen = jnp.zeros((0, *image.shape[1:])), image.shape[1:-1]
        valid, nowhere = jnp.zeros((0, *seen), bool), jnp.zeros((0, len(seen), *seen))
        return Batch(
            standardise(image), label, none, none, valid, jnp.zeros(0, jnp.int32), nowhere
        ), synthetic

    rest = pools.unlabelled_N[jax.random.randint(k_rest, (unlabelled,), 0, pools.unlabelled_count)]
    picture = pools.image_NHWC[rest]
    if role == "unlabelled":
        fake, which = fakes(unlabelled)
        picture, rest = (
            choose(which, pools.synthetic_image_MHWC[fake], picture),
            jnp.where(which, len(pools.image_NHWC) + fake, rest),
        )
    nothing = jnp.zeros((unlabelled, *space), jnp.uint8)
    weak, _, valid, coordinates = augment.weak(
        k_weak, picture, nothing, size, _places(key, 8, unlabelled, space, size)
    )
    strong = augment.strong(k_strong, weak)
    # the strong view is standardised as its weak one: by its own statistics, its changes of
    # brightness and contrast would cancel
    return Batch(
        standardise(image),
        label,
        standardise(weak),
        standardise(strong, like=weak),
        valid,
        rest,
        coordinates,
    ), synthetic


def _places(
    key: jax.Array, number: int, count: int, space: tuple[int, ...], size: Size
) -> jax.Array | None:
    """Whole voxels ``(count, 3)`` by which windows of volumes lie off the centre, anywhere they
    fit; None where all lie there.

    ``number`` is folded into ``key``, of which the first seven parts are used.
    """
    if len(space) == 2 or isinstance(size, int) or space == size:
        return None
    room = jnp.array([n - w for n, w in zip(space, size)])
    return (
        jax.random.randint(jax.random.fold_in(key, number), (count, len(space)), 0, room + 1)
        - room // 2
    )


def label_shape(pools: Pools) -> tuple[int, ...]:
    """Spatial shape of a pool image."""
    return pools.label_NHW.shape[1:]
