"""Mask sources: bent masks keep their topology, regions come and go, the label-map VAE draws and
joins.
"""

import gan_cases
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.errors import UserError
from semiseg.generators import masks, vae
from semiseg.types import IGNORE


def ring(size: int = 48) -> np.ndarray:
    """A heart: a ring of class 2 around class 3, and class 1 beside it."""
    rows, columns = np.mgrid[:size, :size]
    r = np.hypot(rows - size / 2, columns - size / 2)
    label = np.where(r < 7, 3, np.where(r < 11, 2, 0)).astype(np.uint8)
    label[18:30, 38:42] = 1
    return label


def test_bent_masks_differ_and_keep_their_topology():
    """Catches a ring that breaks, a class that is lost, and a change that changes nothing."""
    label = ring()
    wanted = masks.topology(label)
    assert wanted == {1: (1, 0, 0), 2: (1, 0, 1), 3: (1, 0, 0)}
    made = [masks.vary(label, np.random.default_rng(i), masks.Vary(shift=0.03)) for i in range(12)]
    assert (
        all(masks.topology(m.label) == wanted for m in made)
        and len({m.label.tobytes() for m in made}) == 12
    )
    assert sum(m.bent for m in made) >= 10 and all(
        m.label.dtype == np.uint8 and m.label.shape == label.shape for m in made
    )
    image = (label * 80)[..., None]
    again = masks.vary(label, np.random.default_rng(3), masks.Vary(shift=0.03), image=image)
    assert again.image is not None and np.array_equal(again.label, made[3].label)
    assert np.abs(again.image[..., 0].astype(int) - 80 * again.label).mean() < 8, (
        "the image moves with its mask"
    )


def test_topology_that_cannot_hold_is_left_alone():
    """Catches a broken mask handed out after the last try: a bend that tears a thin ring leaves it
    only mirrored.
    """
    label = np.zeros((40, 40), np.uint8)
    rows, columns = np.mgrid[:40, :40]
    label[np.abs(np.hypot(rows - 20, columns - 20) - 12) < 0.8] = 1
    made, _, bent = masks.vary(
        label, np.random.default_rng(0), masks.Vary(bend=0.3, smooth=0.02, tries=3)
    )
    assert not bent and masks.topology(made) == masks.topology(label)


def test_regions_split_the_background_and_come_off_again():
    """Catches a region drawn over a class, IGNORE turned into one, and labels that are not the data
    set's again.
    """
    images, labels = gan_cases.pairs(4)
    images[:, :, 8:] = np.clip(images[:, :, 8:].astype(int) + 90, 0, 255)
    labels[0, 0] = IGNORE
    split = masks.with_regions(images, labels, 2, 3)
    assert (
        set(np.unique(split)) == {0, 1, 2, 3, IGNORE}
        and np.array_equal(split == 1, labels == 1)
        and np.array_equal(split == IGNORE, labels == IGNORE)
    )
    assert np.array_equal(masks.without_regions(split, 2), labels)
    plain = np.full_like(images, 70)
    assert np.array_equal(masks.with_regions(plain, labels, 2, 3), labels), (
        "a plain background is one region"
    )


def test_size_is_checked():
    """Catches masks that are silently cropped."""
    with pytest.raises(UserError, match="masks are 20×24, the generator paints 16×16"):
        masks.check_size(np.zeros((2, 20, 24), np.uint8), 16, "masks")


def test_label_vae_learns_draws_and_joins():
    """Catches a decoder that ignores its code, a walk that does not end at its ends, a loss that
    does not fall.
    """
    _, labels = gan_cases.pairs(32)
    model = vae.LabelVAE(widths=(8, 16), latent=6, lr=5e-3)
    weights, loss = vae.fit(model, 2, jnp.asarray(labels), jnp.int32(250), jnp.uint32(0))
    _, early = vae.fit(model, 2, jnp.asarray(labels), jnp.int32(10), jnp.uint32(0))
    assert float(loss) < 0.5 * float(early)
    drawn = vae.sample(
        model, weights, np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    )
    assert (
        drawn.shape == (16, 16, 16)
        and len({m.tobytes() for m in drawn}) > 12
        and np.mean([vae.usable(m, labels) for m in drawn]) > 0.7
    )
    a, b = labels[:2], labels[2:4]
    dice = lambda x, y: 2 * (x & y).sum() / (x.sum() + y.sum())
    ends = [
        vae.between(model, weights, a, b, np.full(2, s, np.float32), 2) for s in (0.0, 0.5, 1.0)
    ]
    assert dice(ends[0], a) > 0.7 and dice(ends[2], b) > 0.7 and dice(ends[1], a) < dice(ends[0], a)
    assert not vae.usable(np.zeros((16, 16), np.uint8), labels) and not vae.usable(
        np.ones((16, 16), np.uint8), labels
    )
