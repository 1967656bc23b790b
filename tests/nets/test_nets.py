"""What every network must do: one row a network (and variant worth its compile time)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.nets import NETS, UNet
from semiseg.types import Params

SMALL = {
    "unet": UNet(widths=(4, 8), dropout=0.2),
    "unet-instance": UNet(widths=(4, 6), norm="instance", dropout=(0.0, 0.3), convs=1, activation="relu"),
    "unet-group-3d": UNet(widths=(4, 8), norm="group", dims=3, dropout=0.2, spatial_dropout=True),
    "unet-none": UNet(widths=(4, 8), norm="none", dropout=0.2, head=3, activation="gelu"),
    "unet-deep": UNet(widths=(4, 6, 8), deep_supervision=True, dropout=0.2),
    "unet-bfloat16": UNet(widths=(4, 8), dtype="bfloat16", dropout=0.2),
}


@pytest.fixture(scope="module", params=SMALL)
def case(request):
    """(net, variables, images whose sizes are odd, jitted apply)."""
    net = SMALL[request.param]
    size = (3, 7, 5) if getattr(net, "dims", 2) == 3 else (13, 10)
    x = jax.random.normal(jax.random.key(0), (2, *size, 2))
    params = net.init(jax.random.key(1), jax.ShapeDtypeStruct(x.shape, x.dtype), 3)
    return net, params, x, jax.jit(net.apply, static_argnames="train")


def test_table_is_covered():
    """Catches a network added to the table without a row here."""
    assert {type(net) for net in SMALL.values()} == set(NETS.values())


def test_output_has_the_size_of_the_input(case):
    """Catches padding that is not cropped, logits of the compute dtype, and state whose structure changes (which would recompile)."""
    net, params, x, apply = case
    out = apply(params, x, train=True, key=jax.random.key(2))
    assert out.logits.shape == (*x.shape[:-1], 3) and out.logits.dtype == jnp.float32
    assert out.aux["features"].shape[:-1] == x.shape[:-1]
    assert jax.tree.map(jnp.shape, out.new_state) == jax.tree.map(jnp.shape, params.state)
    assert bool(jnp.isfinite(out.logits).all())
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((params, out.new_state)))


def test_variables_are_plain_named_arrays(case):
    """Catches Flax objects in what is written as flat keys."""
    _, params, _, _ = case
    for tree in params:
        for path, leaf in jax.tree.leaves_with_path(tree):
            assert all(isinstance(key, jax.tree_util.DictKey) and isinstance(key.key, str) for key in path)
            assert isinstance(leaf, jax.Array)


def test_every_weight_learns(case):
    """Catches a layer left out of the forward pass, a bias that a norm cancels, and weights put into the state."""
    net, params, x, _ = case

    def loss(weights):
        out = net.apply(Params(weights, params.state), x, train=True)
        every = [out.logits, *out.aux.get("deep", [])]
        return sum(jnp.mean(jnp.sin(y + jnp.arange(3.0).reshape((1,) * (y.ndim - 1) + (3,)))) for y in every)

    for path, g in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(params.weights)):
        assert bool(jnp.isfinite(g).all()) and float(jnp.abs(g).max()) > 1e-7, jax.tree_util.keystr(path)


def test_dropout_is_a_function_of_the_key(case):
    """Catches a global random state, dropout in evaluation, and a key that is ignored."""
    _, params, x, apply = case
    run = lambda train, key: np.asarray(apply(params, x, train=train, key=key).logits)
    a, b = jax.random.key(1), jax.random.key(2)
    np.testing.assert_array_equal(run(True, a), run(True, a))
    assert np.abs(run(True, a) - run(True, b)).max() > 1e-3
    assert np.abs(run(True, a) - run(True, None)).max() > 1e-3
    np.testing.assert_array_equal(run(False, a), run(False, None))


def test_evaluation_differs_by_the_norm_alone(case):
    """Catches batch statistics used in evaluation (images would depend on their neighbours), and statistics not returned."""
    net, params, x, apply = case
    train, evaluation = (apply(params, x, train=t, key=None).logits for t in (True, False))
    alone = apply(params, x[:1], train=False, key=None).logits
    np.testing.assert_allclose(alone, evaluation[:1], atol=1e-5 if net.dtype == "float32" else 0.05)
    if net.norm != "batch":
        np.testing.assert_array_equal(train, evaluation)
        assert not params.state
    else:
        assert np.abs(train - evaluation).max() > 1e-2
        assert jax.tree.structure(apply(params, x, train=False, key=None).new_state) == jax.tree.structure(params.state)


def test_images_of_a_batch_do_not_mix(case):
    """Catches a reshape that moves pixels between images."""
    net, params, x, apply = case
    changed = apply(params, x.at[1].set(0.0), train=False, key=None).logits
    np.testing.assert_array_equal(changed[0], apply(params, x, train=False, key=None).logits[0])
