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

    Example:
      >>> [float(share(schedule, 1.0, jnp.int32(0), 10)) for schedule in range(3)]
      [0.5, 1.0, 0.949999988079071]
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
    """A batch of ``labelled`` images with labels and ``unlabelled`` ones in two views.

    Images are drawn with replacement, of volumes windows anywhere in them. Each labelled place is
    synthetic with probability ``share``; in the role ``unlabelled`` each unlabelled place is. A
    method that uses no unlabelled images costs nothing for them: what is unused is removed when the
    program is compiled.

    Args:
      pools: what is drawn from.
      key: of this step.
      augment: weak and strong views.
      share: probability that a place is synthetic, see :func:`share`.
      labelled: number of labelled images.
      unlabelled: number of unlabelled images.
      size: of a window.
      role: what synthetic images are taken for, one of :data:`ROLES`.

    Returns:
      The batch, and which ``(labelled,)`` of its labelled images are synthetic.
    """
    k_real, k_fake, k_which, k_rest, k_augment, k_weak, k_strong = jax.random.split(key, 7)
    space = label_shape(pools)

    real = pools.labelled_N[jax.random.randint(k_real, (labelled,), 0, pools.labelled_count)]
    image = pools.image_NHWC[real]
    label = pools.label_NHW[real]
    synthetic = jnp.zeros(labelled, bool)
    if role != "unlabelled":
        fake, synthetic = _synthetic(pools, k_fake, k_which, labelled, share)
        image = _choose(synthetic, pools.synthetic_image_MHWC[fake], image)
        label = _choose(synthetic, pools.synthetic_label_MHW[fake], label)
    offsets = window_offsets(key, 7, labelled, space, size)
    image, label, _, _ = augment.weak(k_augment, image, label, size, offsets)
    if unlabelled == 0:
        return _without_unlabelled(image, label), synthetic

    rest = pools.unlabelled_N[jax.random.randint(k_rest, (unlabelled,), 0, pools.unlabelled_count)]
    picture = pools.image_NHWC[rest]
    if role == "unlabelled":
        fake, which = _synthetic(pools, k_fake, k_which, unlabelled, share)
        picture = _choose(which, pools.synthetic_image_MHWC[fake], picture)
        rest = jnp.where(which, len(pools.image_NHWC) + fake, rest)
    nothing = jnp.zeros((unlabelled, *space), jnp.uint8)
    offsets = window_offsets(key, 8, unlabelled, space, size)
    weak, _, valid, coordinates = augment.weak(k_weak, picture, nothing, size, offsets)
    strong = augment.strong(k_strong, weak)
    # the strong view is standardised as its weak one: by its own statistics, its changes of
    # brightness and contrast would cancel
    batch = Batch(
        image=standardise(image),
        label=label,
        weak=standardise(weak),
        strong=standardise(strong, like=weak),
        valid=valid,
        place=rest,
        coordinates=coordinates,
    )
    return batch, synthetic


def _synthetic(
    pools: Pools, k_fake: jax.Array, k_which: jax.Array, count: int, share: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """``count`` synthetic images by their index, and which places they take."""
    fake = jax.random.randint(k_fake, (count,), 0, jnp.maximum(pools.synthetic_count, 1))
    which = (jax.random.uniform(k_which, (count,)) < share) & (pools.synthetic_count > 0)
    return fake, which


def _choose(which_B: jax.Array, synthetic: jax.Array, real: jax.Array) -> jax.Array:
    """``(B, …)``: the synthetic ones where ``which_B`` says so."""
    which = which_B.reshape(-1, *(1,) * (synthetic.ndim - 1))
    return jnp.where(which, synthetic, real)


def _without_unlabelled(image: jax.Array, label: jax.Array) -> Batch:
    seen = image.shape[1:-1]
    none = jnp.zeros((0, *image.shape[1:]))
    return Batch(
        image=standardise(image),
        label=label,
        weak=none,
        strong=none,
        valid=jnp.zeros((0, *seen), bool),
        place=jnp.zeros(0, jnp.int32),
        coordinates=jnp.zeros((0, len(seen), *seen)),
    )


def window_offsets(
    key: jax.Array, number: int, count: int, space: tuple[int, ...], size: Size
) -> jax.Array | None:
    """Whole voxels ``(count, 3)`` by which windows of volumes lie off the centre, anywhere they
    fit; None where all lie there.

    Args:
      key: of this step, of which the first seven parts are used elsewhere.
      number: is folded into ``key``.
      count: of windows.
      space: shape of a volume.
      size: of a window.
    """
    if len(space) == 2 or isinstance(size, int) or space == size:
        return None
    room = jnp.array([n - w for n, w in zip(space, size, strict=True)])
    draws = jax.random.randint(jax.random.fold_in(key, number), (count, len(space)), 0, room + 1)
    return draws - room // 2


def label_shape(pools: Pools) -> tuple[int, ...]:
    """Spatial shape of a pool image."""
    return pools.label_NHW.shape[1:]
