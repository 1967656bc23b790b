"""The critic of DAN and SASSNet, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_cases import KEY

from semiseg.methods.parts.critic import discriminator, judge
from semiseg.nets import UNet
from semiseg.types import Model


@pytest.mark.parametrize(
    "size",
    [(128, 128), (96, 80), (32, 48, 48), (16, 16), (17, 31)],
)
def test_a_critic_sees_the_whole_image(size):
    """Its logit follows all pixels of it. Catches a critic that judges small pieces, or that a
    size does not fit.
    """
    model = Model(
        UNet(),
        jax.ShapeDtypeStruct((1, *size, 1), np.float32),
        2,
    )
    params = discriminator(model, KEY, 3, width=2)
    image = jax.random.normal(KEY, (1, *size, 3))
    assert judge(params, image).shape == (1,)
    gradient = jax.grad(lambda x: judge(params, x).sum())(image)
    assert (np.abs(gradient).max(-1) > 0).mean() > 0.99


def test_one_pixel_of_its_last_map_sees_46():
    """Catches three levels of 3 x 3, which see 15, in which no organ has a shape."""
    model = Model(
        UNet(),
        jax.ShapeDtypeStruct((1, 256, 256, 1), np.float32),
        2,
    )
    params = discriminator(model, KEY, 1, width=2)
    levels = [v for k, v in sorted(params.weights.items()) if k.startswith("conv")]
    sees, step = 1, 1
    for layer in levels:
        sees += (layer["kernel"].shape[0] - 1) * step
        step *= 2
    assert sees == 46
    assert params.weights["linear"]["kernel"].shape == (4 * 16, 1)


def test_a_critic_drops_channels_with_a_key_alone():
    """Catches a dropout that is always on, and one that never is."""
    model = Model(
        UNet(),
        jax.ShapeDtypeStruct((1, 32, 32, 1), np.float32),
        2,
    )
    params = discriminator(model, KEY, 2, width=4)
    image = jax.random.normal(KEY, (1, 32, 32, 2))
    plain = judge(params, image)
    np.testing.assert_array_equal(
        judge(params, image, KEY, 0.0),
        plain,
    )
    looks = {
        float(
            judge(
                params,
                image,
                jax.random.key(i),
                jnp.float32(0.5),
            )[0]
        )
        for i in range(4)
    }
    assert len(looks) == 4
