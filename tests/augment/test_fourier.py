"""Low-frequency amplitudes change hands; phases, high frequencies and everything else stay."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from semiseg.augment import Augmentation, Fourier
from semiseg.augment.fourier import with_amplitude
from semiseg.config import Trial, from_dict, to_yaml
from semiseg.data.pools import of_arrays
from semiseg.train.draw import Windows, draw

RNG = np.random.default_rng(0)
ONE = RNG.uniform(0.2, 0.8, (12, 10, 2)).astype(np.float32)
OTHER = RNG.uniform(0.1, 0.9, (12, 10, 2)).astype(np.float32)


def spectrum(image):
    return np.fft.fft2(
        np.asarray(image, np.float64),
        axes=(0, 1),
    )


def low(most: int) -> np.ndarray:
    """``(12, 10)`` bool, written by hand: up to ``most`` periods along both axes."""
    periods = [[min(i, n - i) for i in range(n)] for n in (12, 10)]
    return np.array([[a <= most and b <= most for b in periods[1]] for a in periods[0]])


@pytest.mark.parametrize(("share", "most"), [(0.1, 1), (0.25, 2), (0.3, 3)])
def test_amplitudes_of_the_partner_phases_of_its_own(share, most):
    """Catches a swap of whole coefficients, of the high frequencies, of a block around a corner of
    the spectrum alone, and one share of the longer side.
    """
    result = spectrum(with_amplitude(jnp.asarray(ONE), jnp.asarray(OTHER), share))
    is_low = low(most)
    mine, theirs = spectrum(ONE), spectrum(OTHER)
    np.testing.assert_allclose(
        np.abs(result)[is_low],
        np.abs(theirs)[is_low],
        rtol=1e-3,
    )
    np.testing.assert_allclose(
        result[~is_low],
        mine[~is_low],
        atol=1e-3,
    )
    unit = result / np.abs(result)
    np.testing.assert_allclose(
        unit,
        mine / np.abs(mine),
        atol=2e-3,
    )


def test_the_result_is_real_and_strength_is_linear():
    """Catches half of a swap that swaps half of the frequencies, and an image whose spectrum is no
    longer symmetric.
    """
    half = spectrum(with_amplitude(jnp.asarray(ONE), jnp.asarray(OTHER), 0.25, 0.5))
    is_low = low(2)
    expected = 0.5 * (np.abs(spectrum(ONE)) + np.abs(spectrum(OTHER)))
    np.testing.assert_allclose(
        np.abs(half)[is_low],
        expected[is_low],
        rtol=1e-3,
    )
    none = with_amplitude(
        jnp.asarray(ONE),
        jnp.asarray(OTHER),
        0.25,
        0.0,
    )
    np.testing.assert_allclose(
        none,
        ONE,
        atol=1e-6,
    )


def test_an_image_without_amplitude_takes_no_nan():
    """Catches the phase of nothing: a black image has none, and neither has its gradient."""
    black = jnp.zeros((6, 6, 1))
    result = with_amplitude(
        black,
        jnp.full((6, 6, 1), 0.5),
        0.2,
    )
    np.testing.assert_allclose(
        result,
        0.5,
        atol=1e-6,
    )


def test_a_volume_is_swapped_slice_by_slice():
    """Catches a transform along the depth of a volume."""
    stack = jnp.stack([jnp.asarray(ONE), jnp.asarray(OTHER)])
    both = with_amplitude(
        stack,
        stack[::-1],
        0.2,
    )
    np.testing.assert_allclose(
        both[0],
        with_amplitude(stack[0], stack[1], 0.2),
        atol=1e-6,
    )


# ------------------------------------------------------------------ in a batch
POOLS = of_arrays(
    RNG.integers(30, 220, (6, 16, 16, 1)).astype(np.uint8),
    RNG.integers(0, 2, (6, 16, 16)).astype(np.uint8),
    np.array([True, True, False, False, False, False]),
)


@functools.partial(jax.jit, static_argnames=("unlabelled",))
def drawn(augment, unlabelled=2):
    return draw(
        POOLS, jax.random.key(3), augment, 0.0, labelled=2, unlabelled=unlabelled, windows=WINDOWS
    )[0]


WINDOWS = Windows(16)


def with_fourier(**changes) -> Augmentation:
    return Augmentation(fourier=Fourier(**{"p": 1.0, "share": 0.1, **changes}))


def differing(one, other) -> set[str]:
    """The images of a batch that are not the same, bit for bit."""
    fields = ("image", "label", "weak", "strong", "valid", "coordinates")
    return {n for n in fields if not np.array_equal(getattr(one, n), getattr(other, n))}


def test_views_say_who_takes_part():
    """Catches a weak view (a teacher's) that changes, a label that moves, and a swap that is on
    unless asked for.
    """
    plain = drawn(Augmentation())
    assert differing(plain, drawn(with_fourier(views="neither"))) == set()
    assert differing(plain, drawn(with_fourier(views="labelled"))) == {"image"}
    assert differing(plain, drawn(with_fourier(views="strong"))) == {"strong"}
    assert differing(plain, drawn(with_fourier(views="both"))) == {"image", "strong"}


def test_share_0_and_probability_0_change_no_bit():
    """Catches a share of 0 that swaps the means, and a probability that is compared the wrong way
    round.
    """
    plain = drawn(Augmentation())
    assert differing(plain, drawn(with_fourier(views="both", share=0.0))) == set()
    assert differing(plain, drawn(with_fourier(views="both", p=0.0))) == set()


def test_labelled_images_alone_take_from_each_other():
    """Catches a method without unlabelled images that this augmentation leaves out, or stops."""
    plain = drawn(
        Augmentation(),
        unlabelled=0,
    )
    assert differing(plain, drawn(with_fourier(views="labelled"), unlabelled=0)) == {"image"}


def test_a_recorded_trial_is_read_again():
    """Catches a word that YAML takes for something else."""
    for views in ("neither", "both"):
        trial = Trial(augment=with_fourier(views=views))
        assert from_dict(yaml.safe_load(to_yaml(trial))) == trial


def test_strengths_share_a_program():
    """Catches a share that is compiled in: a sweep over it would compile anew."""
    augment = with_fourier(views="both")
    changed = dataclasses.replace(
        augment, fourier=dataclasses.replace(augment.fourier, share=0.2, strength=0.5, p=0.1)
    )
    assert jax.tree.structure(augment) == jax.tree.structure(changed)
    other = with_fourier(views="labelled")
    assert jax.tree.structure(augment) != jax.tree.structure(other)


def test_outside_of_the_frame_stays_black():
    """Catches amplitudes that light up what the frame does not show."""
    image = jnp.asarray(ONE)[None]
    valid = jnp.ones((1, 12, 10), bool).at[0, :3].set(False)
    result = Fourier(views="both", p=1.0, share=0.2)(
        jax.random.key(0), image, jnp.asarray(OTHER)[None], valid
    )
    assert (np.asarray(result)[0, :3] == 0).all()
    assert (np.asarray(result)[0, 3:] != ONE[3:]).any()
    assert ((result >= 0) & (result <= 1)).all()
