"""The U-Net as a U-Net: what its fields do."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.nets import UNet
from semiseg.types import Params


def test_the_published_network_is_expressible():
    """Catches a level, a convolution or a bias too many: the count of the SSL4MIS U-Net less its
    redundant convolution biases.
    """
    net = UNet(norm="batch", dropout=(0.05, 0.1, 0.2, 0.3, 0.5), head=3)
    shapes = jax.eval_shape(
        lambda: net.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32), 4)
    )
    w = net.widths

    def pairs(c, o):
        return 9 * c * o + 9 * o * o + 4 * o

    want = sum(pairs(c, o) for c, o in zip((1, *w[:-1]), w, strict=True))
    want += (
        sum(4 * b * a + a + pairs(2 * a, a) for a, b in itertools.pairwise(w)) + 9 * w[0] * 4 + 4
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes.weights)) == want


def test_padding_of_the_input_does_not_move_the_image():
    """Catches a crop at the wrong end: an image embedded at the origin of its edge-padded version
    has the same logits.
    """
    net = UNet(widths=(4, 8, 8), norm="instance")
    x = jax.random.normal(jax.random.key(0), (1, 14, 9, 1))
    params = net.init(jax.random.key(1), x, 2)
    padded = jnp.pad(x, [(0, 0), (0, 2), (0, 3), (0, 0)], mode="edge")
    logits = jax.jit(lambda x: net.apply(params, x, train=False).logits)
    np.testing.assert_allclose(
        logits(x),
        logits(padded)[:, :14, :9],
        atol=1e-5,
    )


def test_deep_supervision_gives_each_coarser_level():
    """Catches the wrong order and floor instead of ceil for odd sizes."""
    net = UNet(widths=(2, 2, 2, 2), deep_supervision=True)
    x = jnp.zeros((1, 21, 12, 1))

    def aux(net):
        return jax.eval_shape(
            lambda key: net.apply(net.init(key, x, 3), x, train=False).aux, jax.random.key(0)
        )

    assert [d.shape for d in aux(net)["deep"]] == [(1, 11, 6, 3), (1, 6, 3, 3)]
    assert "deep" not in aux(dataclasses.replace(net, deep_supervision=False))


def test_a_list_from_yaml_is_hashable_and_a_wrong_number_of_rates_is_refused():
    """Catches a net that cannot be a static argument of jit."""
    assert hash(UNet(widths=[4, 8], dropout=[0.1, 0.2])) == hash(
        UNet(widths=(4, 8), dropout=(0.1, 0.2))
    )
    with pytest.raises(ValueError, match="3 rates for 2 levels"):
        UNet(widths=(4, 8), dropout=(0.1, 0.2, 0.3))


def test_it_learns_two_images():
    """Catches a decoder without skips, a detached gradient, statistics that do not reach
    evaluation: two images are fitted in a scan.
    """
    net = UNet(widths=(8, 8), norm="batch", momentum=0.7)
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 1))
    label = (x[..., 0] > 0.3).astype(jnp.int32)
    params = net.init(jax.random.key(1), x, 2)

    def step(params, _):
        def loss(weights):
            out = net.apply(
                Params(weights, params.state),
                x,
                train=True,
            )
            picked = jnp.take_along_axis(
                jax.nn.log_softmax(out.logits),
                label[..., None],
                -1,
            )
            return -picked.mean(), out.new_state

        gradient, state = jax.grad(loss, has_aux=True)(params.weights)
        return Params(
            jax.tree.map(
                lambda w, g: w - g,
                params.weights,
                gradient,
            ),
            state,
        ), None

    params = jax.jit(lambda p: jax.lax.scan(step, p, None, length=120)[0])(params)
    prediction = jax.jit(lambda p: net.apply(p, x, train=False).logits.argmax(-1))(params)
    assert float((prediction == label).mean()) > 0.97


def test_dropout_is_apart_from_batch_statistics():
    """With a key and without ``train``, running statistics normalise and pixels drop: two keys
    disagree, one key agrees with itself, and no statistic moves. Catches Monte Carlo dropout that
    silently drops nothing.
    """
    net = UNet(widths=(4, 8), norm="batch", dropout=(0.5, 0.5))
    x = jax.random.normal(jax.random.key(0), (1, 16, 16, 1))
    params = net.init(jax.random.key(1), x, 2)
    first = net.apply(
        params,
        x,
        train=False,
        key=jax.random.key(2),
    )
    again = net.apply(
        params,
        x,
        train=False,
        key=jax.random.key(2),
    )
    other = net.apply(
        params,
        x,
        train=False,
        key=jax.random.key(3),
    )
    plain = net.apply(params, x, train=False)
    assert (first.logits == again.logits).all()
    assert (first.logits != other.logits).any()
    assert (first.logits != plain.logits).any()
    assert first.new_state is params.state
