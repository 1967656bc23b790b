"""The first weights of a network follow its seed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from semiseg.errors import UserError
from semiseg.nets import NETS
from semiseg.nets.network import Network

RESNET = {"width": 4, "depths": (1, 1, 1, 1)}
SMALL = {
    **dict.fromkeys(NETS, {"widths": (4, 8)}),
    "fcn8s": {"width": 4, "hidden": 8},
    "segnet": {"width": 4},
    "enet": {"widths": (8, 12, 16), "repeats": 1},
    "deeplabv3": {"hidden": 8, **RESNET},
    "deeplabv3_plus": {"hidden": 8, "low": 4, **RESNET},
    "fcn_resnet50": RESNET,
    "resenc_unet": {"widths": (4, 6), "blocks": (1, 1)},
    "segresnet": {"width": 4, "down": (1, 1), "up": (1,)},
    "vnet": {"width": 4, "convs": (1, 1), "ups": (1,), "kernel": 3},
    "plain_vnet": {"width": 4, "convs": (1, 1), "ups": (1,)},
    "unetr": {"patch": 4, "hidden": 8, "mlp": 8, "heads": 2, "depth": 1, "taps": (1,)}
    | {"features": 4},
    "swin_unetr": {"features": 4, "depths": (2,), "heads": (2,), "window": 2},
    "swin_unet": {"features": 8, "depths": (2, 1), "heads": (2, 4), "window": 3, "patch": 2},
    "transunet": {"width": 4, "blocks": (1, 1, 1), "hidden": 8, "mlp": 8, "heads": 2, "depth": 1},
    "pointrend": {},
}
"""Fields that make each network small enough to draw twice."""
NO_DRAW = {("fcn8s", "up3"), ("fcn8s", "up4")}
"""Bilinear kernels, as published: the only arrays that vary within and are not drawn."""


@pytest.mark.parametrize("name", NETS)
def test_two_keys_give_two_networks(name):
    """Catches a layer that draws from a key of its own: all seeds would share its weights."""
    net = NETS[name](**SMALL[name])
    sample = jax.ShapeDtypeStruct((1, *(16,) * net.dims, 2), jnp.float32)
    one = net.init(jax.random.key(0), sample, 3)
    other = net.init(jax.random.key(1), sample, 3)
    leaves = zip(
        jax.tree.leaves_with_path(one.weights), jax.tree.leaves(other.weights), strict=True
    )
    for (path, a), b in leaves:
        where = jax.tree_util.keystr(path, simple=True, separator=".")
        constant = np.ptp(a) == 0  # a bias, the scale of a norm
        assert constant or (name, where) in NO_DRAW or bool((a != b).any()), where


class Tutorial(nnx.Module):
    """Convolutions of flax, as its tutorials write them; ``rngs()`` is called for each."""

    def __init__(self, channels, classes, rngs):
        self.body = nnx.Conv(channels, 4, (3, 3), rngs=rngs())
        self.norm = nnx.BatchNorm(4, rngs=rngs())
        self.deep = nnx.Conv(4, 4, (3, 3), rngs=rngs())
        self.head = nnx.Conv(4, classes, (1, 1), rngs=rngs())

    def __call__(self, x, train, key):
        features = nnx.relu(
            self.norm(
                self.body(x),
                use_running_average=not train,
            )
        )
        features = nnx.relu(self.deep(features))
        return self.head(features), {"features": features}


@dataclasses.dataclass(frozen=True)
class Plain(Network):
    """A network of flax's layers, with keys of its own or those of the seed."""

    own_key: bool
    block = 1

    def module(self, channels, classes, normals, size):
        def fixed():
            return nnx.Rngs(0)

        return Tutorial(channels, classes, fixed if self.own_key else normals.rngs)


SAMPLE = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)


def test_a_network_with_a_key_of_its_own_is_refused():
    """Catches ``nnx.Rngs(0)`` in a network, which would ignore every seed without a word."""
    with pytest.raises(UserError, match=r"Plain: the weights body.kernel .*rngs=normals.rngs\(\)"):
        Plain(own_key=True).init(
            jax.random.key(0),
            SAMPLE,
            2,
        )


def test_layers_of_flax_follow_the_seed():
    """Catches layers that share one key, and statistics lost on the way."""
    one, other = (Plain(own_key=False).init(jax.random.key(k), SAMPLE, 2) for k in range(2))
    for name in ("body", "deep", "head"):
        assert bool((one.weights[name]["kernel"] != other.weights[name]["kernel"]).all())
    out = Plain(own_key=False).apply(
        one,
        jnp.ones(SAMPLE.shape),
        train=True,
    )
    assert out.logits.shape == (1, 8, 8, 2)
    assert set(out.new_state["norm"]) == {"mean", "var"}
    wide = jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32)  # body and deep have one shape
    same = Plain(own_key=False).init(
        jax.random.key(0),
        wide,
        2,
    )
    assert bool((same.weights["body"]["kernel"] != same.weights["deep"]["kernel"]).all())
