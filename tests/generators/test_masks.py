"""Mask sources: bent masks keep their topology, regions come and go, the label-map VAE draws and
joins.
"""

import gan_cases
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.errors import UserError
from semiseg.generators import masks, settings, vae
from semiseg.types import IGNORE

LITTLE_SHIFT = masks.Vary(shift=0.03)


def ring(size: int = 48) -> np.ndarray:
    """A heart: a ring of class 2 around class 3, and class 1 beside it."""
    rows, columns = np.mgrid[:size, :size]
    r = np.hypot(rows - size / 2, columns - size / 2)
    label = np.zeros((size, size), np.uint8)
    label[r < 11] = 2
    label[r < 7] = 3
    label[18:30, 38:42] = 1
    return label


def varied(i: int, **options) -> masks.Varied:
    return masks.vary(
        ring(),
        np.random.default_rng(i),
        LITTLE_SHIFT,
        **options,
    )


def test_bent_masks_differ_and_keep_their_topology():
    """Catches a ring that breaks, a class that is lost, and a change that changes nothing."""
    wanted = masks.topology(ring())
    assert wanted == {
        1: (1, 0, 0),
        2: (1, 0, 1),
        3: (1, 0, 0),
    }
    bent = [varied(i) for i in range(12)]
    assert len({mask.label.tobytes() for mask in bent}) == 12
    assert sum(mask.bent for mask in bent) >= 10
    for mask in bent:
        assert masks.topology(mask.label) == wanted
        assert mask.label.dtype == np.uint8
        assert mask.label.shape == ring().shape


def test_an_image_moves_with_its_mask():
    """Catches an image that is mirrored or bent in another way."""
    alone = varied(3)
    with_image = varied(3, image=(ring() * 80)[..., None])
    assert with_image.image is not None
    assert np.array_equal(with_image.label, alone.label)
    difference = with_image.image[..., 0].astype(int) - 80 * with_image.label
    assert np.abs(difference).mean() < 8


def test_topology_that_cannot_hold_is_left_alone():
    """Catches a broken mask handed out after the last try: a bend that tears a thin ring leaves it
    only mirrored.
    """
    label = np.zeros((40, 40), np.uint8)
    rows, columns = np.mgrid[:40, :40]
    label[np.abs(np.hypot(rows - 20, columns - 20) - 12) < 0.8] = 1
    strong = masks.Vary(bend=0.3, smooth=0.02, tries=3)
    mask = masks.vary(label, np.random.default_rng(0), strong)
    assert not mask.bent
    assert masks.topology(mask.label) == masks.topology(label)


def test_there_are_as_many_regions_as_numbers_of_a_byte():
    """Catches weights of 2⁷⁰ classes that are asked for before anybody refuses them."""
    for regions in (0, 255, 2**70):
        with pytest.raises(UserError, match="regions"):
            settings.override(settings.Settings(), {"regions": regions})


def test_regions_split_the_background_and_come_off_again():
    """Catches a region drawn over a class, IGNORE turned into one, and labels that are not the data
    set's again.
    """
    images, labels = gan_cases.pairs(4)
    images[:, :, 8:] = np.clip(images[:, :, 8:].astype(int) + 90, 0, 255)
    labels[0, 0] = IGNORE
    split = masks.with_regions(images, labels, 2, 3)
    assert set(np.unique(split)) == {0, 1, 2, 3, IGNORE}
    assert np.array_equal(split == 1, labels == 1)
    assert np.array_equal(split == IGNORE, labels == IGNORE)
    assert np.array_equal(masks.without_regions(split, 2), labels)


def test_a_plain_background_is_one_region():
    """Catches thresholds that split noise."""
    images, labels = gan_cases.pairs(4)
    plain = np.full_like(images, 70)
    assert np.array_equal(masks.with_regions(plain, labels, 2, 3), labels)


def test_size_is_checked():
    """Catches masks that are silently cropped."""
    with pytest.raises(UserError, match="masks are 20×24, the generator paints 16×16"):
        masks.check_size(
            np.zeros((2, 20, 24), np.uint8),
            16,
            "masks",
        )


def dice(x: np.ndarray, y: np.ndarray) -> float:
    return 2 * (x & y).sum() / (x.sum() + y.sum())


def test_label_vae_learns_draws_and_joins():
    """Catches a decoder that ignores its code, a walk that does not end at its ends, a loss that
    does not fall.
    """
    _, labels = gan_cases.pairs(32)
    model = vae.LabelVAE(widths=(8, 16), latent=6, lr=5e-3)
    weights, loss = vae.fit(
        model,
        2,
        jnp.asarray(labels),
        jnp.int32(250),
        jnp.uint32(0),
    )
    _, early = vae.fit(
        model,
        2,
        jnp.asarray(labels),
        jnp.int32(10),
        jnp.uint32(0),
    )
    assert float(loss) < 0.5 * float(early)
    noise = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    drawn = vae.sample(model, weights, noise)
    assert drawn.shape == (16, 16, 16)
    assert len({mask.tobytes() for mask in drawn}) > 12
    assert np.mean([vae.usable(mask, labels) for mask in drawn]) > 0.7
    a = labels[:2]
    b = labels[2:4]

    def at(share):
        return vae.between(model, weights, a, b, np.full(2, share, np.float32), 2)

    assert dice(at(0.0), a) > 0.7
    assert dice(at(1.0), b) > 0.7
    assert dice(at(0.5), a) < dice(at(0.0), a)


def test_empty_and_full_masks_are_not_usable():
    """Catches a check of the classes alone, or of the foreground alone."""
    _, labels = gan_cases.pairs(32)
    assert not vae.usable(np.zeros((16, 16), np.uint8), labels)
    assert not vae.usable(np.ones((16, 16), np.uint8), labels)
