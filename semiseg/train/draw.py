"""Drawing a batch from the pools and augmenting it: all inside the compiled step."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from semiseg.augment import Augmentation, Size, normalise, standardise
from semiseg.ragged import Images
from semiseg.types import Batch, Choice, Foreground, Pools

SCHEDULES = ("constant", "pretrain", "decay")
"""When synthetic images are seen, see :func:`share`; a program is handed the index."""
DRAWS = ("subjects", "images")
"""How images are drawn: a subject, then a scan of it, then an image of that, each evenly; or all
images (slices) evenly.
"""
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


class Windows(NamedTuple):
    """How images and windows are drawn; a part of the program.

    Attributes:
      size: of a window.
      by: one of :data:`DRAWS`.
      anywhere: whether windows lie anywhere in an image that is larger; else in its centre.
    """

    size: Size
    by: str = "subjects"
    anywhere: bool = True


def draw(
    pools: Pools,
    key: jax.Array,
    augment: Augmentation,
    share: jax.Array | float,
    *,
    labelled: int,
    unlabelled: int,
    windows: Windows,
    foreground: jax.Array | float = 0.0,
    role: str = "labelled",
) -> tuple[Batch, jax.Array]:
    """A batch of ``labelled`` images with labels and ``unlabelled`` ones in two views.

    Images are drawn with replacement, of images that are larger than a window windows anywhere in
    them. Each labelled place is synthetic with probability ``share``; in the role ``unlabelled``
    each unlabelled place is. A method that uses no unlabelled images costs nothing for them: what
    is unused is removed when the program is compiled.

    Args:
      pools: what is drawn from.
      key: of this step.
      augment: weak and strong views.
      share: probability that a place is synthetic, see :func:`share`.
      labelled: number of labelled images.
      unlabelled: number of unlabelled images.
      windows: how images and windows are drawn.
      foreground: share of the labelled windows that are centred on a voxel of a class, the class
        drawn evenly among those of the scan.
      role: what synthetic images are taken for, one of :data:`ROLES`.

    Returns:
      The batch, and which ``(labelled,)`` of its labelled images are synthetic.
    """
    k_real, k_fake, k_which, k_rest, k_augment, k_weak, k_strong = jax.random.split(key, 7)
    chosen = _chosen(pools.labelled, k_real, labelled, windows.by)
    synthetic = jnp.zeros(labelled, bool)
    if role != "unlabelled":
        fake, synthetic = _synthetic(pools, k_fake, k_which, labelled, share)
        chosen = jnp.where(synthetic, fake, chosen)
    centre = None
    if pools.foreground is not None:
        k_foreground = jax.random.fold_in(key, 9)
        chosen, centre, on = _foreground(
            pools.foreground, k_foreground, chosen, foreground, ~synthetic
        )
    images = pools.image.take(chosen)
    offsets = window_offsets(key, 7, images.shape, windows)
    if offsets is not None and centre is not None:
        there = _centred(centre, images.shape, _size(windows.size, images.axes))
        offsets = jnp.where(on[:, None], there, offsets)
    image, label, inside, _ = augment.weak(k_augment, images, pools.label, windows.size, offsets)
    if unlabelled == 0:
        image = _with_amplitudes(augment, "labelled", key, image, jnp.roll(image, 1, 0), inside)
        return _without_unlabelled(_normalised(image, images), label), synthetic

    rest = _chosen(pools.unlabelled, k_rest, unlabelled, windows.by)
    if role == "unlabelled":
        fake, which = _synthetic(pools, k_fake, k_which, unlabelled, share)
        rest = jnp.where(which, fake, rest)
    pictures = pools.image.take(rest)
    offsets = window_offsets(key, 8, pictures.shape, windows)
    views = augment.weak(k_weak, pictures, pools.label, windows.size, offsets)
    weak, _, valid, coordinates = views
    unlike = _with_amplitudes(augment, "strong", key, weak, image, valid)
    image = _with_amplitudes(augment, "labelled", key, image, weak, inside)
    image = _normalised(image, images)
    strong, hidden = _strong(augment, k_strong, unlike)
    batch = Batch(
        image=image,
        label=label,
        weak=_normalised(weak, pictures),
        strong=_normalised(strong, pictures, like=weak),
        valid=valid,
        place=rest,
        coordinates=coordinates,
        layout=pictures.without_voxels,
        hidden=hidden,
    )
    return batch, synthetic


def drawn(
    pools: Pools,
    choice: Choice,
    key: jax.Array,
    augment: Augmentation,
    count: int,
    windows: Windows,
) -> tuple[jax.Array, jax.Array]:
    """Weak views ``(count, *size, C)`` of images of a ``choice``, and the pool's labels of them."""
    k_which, k_augment = jax.random.split(key)
    images = pools.image.take(_chosen(choice, k_which, count, windows.by))
    offsets = window_offsets(key, 8, images.shape, windows)
    image, label, _, _ = augment.weak(k_augment, images, pools.label, windows.size, offsets)
    return _normalised(image, images), label


def _with_amplitudes(
    augment: Augmentation,
    view: Literal["labelled", "strong"],
    key: jax.Array,
    image: jax.Array,
    other: jax.Array,
    valid: jax.Array,
) -> jax.Array:
    """``image`` with low-frequency amplitudes of ``other``, where the augmentation swaps them; one
    of one's own may not know of it.
    """
    fourier = getattr(augment, "fourier", None)
    if fourier is None or not fourier.changes(view):
        return image
    return fourier(jax.random.fold_in(key, 10 + (view == "strong")), image, other, valid)


def _strong(
    augment: Augmentation, key: jax.Array, weak: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """The strong view, and the pixels that it hides; an augmentation of one's own may not say."""
    if hasattr(augment, "strong_and_hidden"):
        return augment.strong_and_hidden(key, weak)
    return augment.strong(key, weak), None


def _chosen(choice: Choice, key: jax.Array, count: int, by: str) -> jax.Array:
    """``(count,)`` indices of drawn images."""
    if by == "images":
        return choice.images[jax.random.randint(key, (count,), 0, choice.number)]
    u = jax.random.uniform(key, (count,))
    rank = jnp.searchsorted(choice.below, u, side="right")
    return choice.images[jnp.minimum(rank, choice.number - 1)]


def _synthetic(
    pools: Pools, k_fake: jax.Array, k_which: jax.Array, count: int, share: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """``count`` synthetic images by their index in the pool, and which places they take."""
    fake = jax.random.randint(k_fake, (count,), 0, jnp.maximum(pools.synthetic_count, 1))
    which = (jax.random.uniform(k_which, (count,)) < share) & (pools.synthetic_count > 0)
    return pools.real + fake, which


def _foreground(
    foreground: Foreground,
    key: jax.Array,
    chosen: jax.Array,
    share: jax.Array | float,
    allowed: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """With probability ``share`` another image of the same scan, and a voxel of a class in it.

    Returns:
      Images ``(B,)``, positions ``(B, A)``, and which ``(B,)`` of them are meant.
    """
    k_on, k_class, k_voxel = jax.random.split(key, 3)
    count = len(chosen)
    scan = foreground.scan[jnp.where(allowed, chosen, 0)]
    counts = foreground.number[scan]
    present = jnp.cumsum(counts > 0, 1)
    rank = 1 + jax.random.randint(k_class, (count,), 0, jnp.maximum(present[:, -1], 1))
    of_class = (present < rank[:, None]).sum(1)  # the rank-th class that is present
    of_class = jnp.minimum(of_class, counts.shape[1] - 1)
    most = jnp.take_along_axis(counts, of_class[:, None], 1)[:, 0]
    voxel = jax.random.randint(k_voxel, (count,), 0, jnp.maximum(most, 1))
    place = foreground.place[scan, of_class, voxel]
    on = allowed & (most > 0) & (jax.random.uniform(k_on, (count,)) < share)
    return jnp.where(on, place[:, 0], chosen), place[:, 1:], on


def _normalised(image: jax.Array, images: Images, like: jax.Array | None = None) -> jax.Array:
    """Grey values as a network sees them.

    A strong view is treated as its weak one: by its own statistics, its changes of brightness and
    contrast would cancel.
    """
    if images.mean is None or images.deviation is None:
        return standardise(image, like)
    return normalise(image, images.mean, images.deviation)


def _without_unlabelled(image: jax.Array, label: jax.Array) -> Batch:
    seen = image.shape[1:-1]
    none = jnp.zeros((0, *image.shape[1:]))
    return Batch(
        image=image,
        label=label,
        weak=none,
        strong=none,
        valid=jnp.zeros((0, *seen), bool),
        place=jnp.zeros(0, jnp.int32),
        coordinates=jnp.zeros((0, len(seen), *seen)),
    )


def window_offsets(
    key: jax.Array, number: int, shape: jax.Array, windows: Windows
) -> jax.Array | None:
    """Whole voxels ``(B, A)`` by which windows lie off the centre of their images, anywhere they
    fit; None where all lie there.

    Args:
      key: of this step, of which the first seven parts are used elsewhere.
      number: is folded into ``key``.
      shape: ``(B, A)``, of the images.
      windows: how they are drawn.
    """
    if not windows.anywhere:
        return None
    room = _room(shape, _size(windows.size, shape.shape[1]))
    draws = jax.random.randint(jax.random.fold_in(key, number), room.shape, 0, room + 1)
    return draws - room // 2


def _centred(centre: jax.Array, shape: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Offsets ``(B, A)`` of windows around the voxels ``centre (B, A)``, as far as they fit."""
    room = _room(shape, size)
    start = jnp.clip(centre - jnp.array(size) // 2, 0, room)
    return start - room // 2


def _room(shape: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """``(B, A)``: by how much the images are larger than a window."""
    return jnp.maximum(shape - jnp.array(size, jnp.int32), 0)


def _size(size: Size, axes: int) -> tuple[int, ...]:
    if isinstance(size, int):
        return (size,) * axes
    return tuple(size)
