"""PointRend: which points are decided, with what, and where the decisions go."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from net_contract import Case, learns, obeys

from semiseg import config
from semiseg.nets import UNet
from semiseg.nets.layers.resample import resize
from semiseg.nets.pointrend import PointRend, _replaced, uncertainty, values
from semiseg.nets.resenc_unet import ResEncUNet
from semiseg.types import Params

NET = PointRend(
    UNet(widths=(4, 6), norm="batch"),
    scale=2,
    points=24,
    width=8,
    hidden=1,
)


@pytest.fixture(scope="module")
def case():
    return Case(NET, (13, 10))


def test_contract(case):
    """Catches a head no gradient reaches, points that ignore the key, a network that is left out of
    the variables.
    """
    obeys(case)
    assert set(case.params.weights["net"]) == set(
        case.net.net.init(jax.random.key(0), case.x, 3).weights
    )


def test_two_images_are_learnt(case):
    """Catches decisions put at other pixels than they were made for."""
    learns(case, 120, 0.02)


def test_training_decides_the_points_alone(case):
    """Catches logits replaced elsewhere, and coarse logits other than those of the small image."""
    out = case.net.apply(
        case.params,
        case.x,
        train=True,
        key=jax.random.key(3),
    )
    place = out.aux["points"]["place"]
    logits = out.aux["points"]["logits"]
    assert place.shape == (2, 24)
    assert logits.shape == (2, 24, 3)
    padded = jnp.pad(case.x, [(0, 0), (0, 3), (0, 2), (0, 0)], mode="edge")
    small = padded.reshape(2, 8, 2, 6, 2, 2).mean((2, 4))
    coarse = case.net.net.apply(
        Params(
            case.params.weights["net"],
            case.params.state["net"],
        ),
        small,
        train=True,
    ).logits
    np.testing.assert_allclose(
        out.aux["deep"][0],
        coarse[:, :7, :5],
        atol=1e-5,
    )
    upsampled = resize(coarse, (16, 12))
    want = _replaced(upsampled, place, logits)[:, :13, :10]
    np.testing.assert_allclose(out.logits, want, atol=1e-5)
    changed = np.abs(_replaced(upsampled, place, logits) - upsampled).max(-1).reshape(2, -1) > 0
    assert all(
        set(np.flatnonzero(c)) <= set(np.asarray(p)) for c, p in zip(changed, place, strict=True)
    )


def test_values_are_interpolated_as_images_are():
    """Catches a shift by half a pixel, and rows exchanged with columns, in 2D and 3D."""
    for size, big in (((3, 5), (12, 20)), ((2, 3, 4), (4, 6, 8))):
        x = jax.random.normal(jax.random.key(0), (2, *size, 3))
        full = resize(x, big).reshape(2, -1, 3)
        place = jax.random.randint(
            jax.random.key(1),
            (2, 40),
            0,
            full.shape[1],
        )
        np.testing.assert_allclose(
            values(x, place, big), jnp.take_along_axis(full, place[..., None], 1), atol=1e-5
        )


def test_uncertain_is_a_small_gap():
    """Catches the confident pixels being refined."""
    logits = jnp.array([[5.0, 0.0, 1.0], [2.0, 1.9, -9.0]])
    np.testing.assert_allclose(
        uncertainty(logits),
        [-4.0, -0.1],
        atol=1e-6,
    )


def test_evaluation_decides_every_pixel_if_it_may(case):
    """Catches a refinement that stops before full resolution: with as many points as pixels every
    logit is the head's.
    """
    every = dataclasses.replace(case.net, points=10_000)
    head = jax.tree.map(lambda w: w, case.params.weights)
    head["head"] = {
        "kernel": jnp.zeros_like(head["head"]["kernel"]),
        "bias": jnp.array([1.0, 2.0, 3.0]),
    }
    params = case.params._replace(weights=head)
    logits = every.apply(params, case.x, train=False).logits
    np.testing.assert_allclose(
        logits,
        jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0]), logits.shape),
    )
    few = case.net.apply(params, case.x, train=False).logits
    decided = np.isclose(few, [1.0, 2.0, 3.0]).all(-1).sum((1, 2))
    assert (decided > 0).all()
    assert (decided <= 24).all()


def test_any_network_is_chosen_by_name():
    """Catches a coarse network that the command line or a run's own configuration cannot name."""
    trial = config.override(
        config.Trial(),
        {
            "net.net.widths": [4, 8],
            "net": "pointrend",
            "net.net": "resenc_unet",
            "net.net.blocks": 1,
            "net.points": 7,
        },
    )
    assert trial.net == PointRend(ResEncUNet((4, 8), 1), points=7)
    assert config.from_dict(config.to_dict(trial)) == trial


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PointRend(scale=3), "power of two"),
        (lambda: PointRend(PointRend()), "cannot be its coarse network"),
        (lambda: PointRend(points=0), "at least 1"),
    ],
)
def test_wrong_combinations_are_one_line(make, words):
    """Catches a head on a head, and blocks that do not divide."""
    with pytest.raises(ValueError, match=words):
        make()
