"""What every network must do: one row a network (and variant worth its compile time); two programs
are compiled for each.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from net_contract import Case, computes_in_bfloat16, learns, obeys

from semiseg.errors import UserError
from semiseg.nets import NETS

RESNET = {"width": 4, "depths": (1, 1, 1, 1), "dropout": 0.2}
SMALL = {
    "unet-group-3d": NETS["unet"](
        widths=(4, 8), norm="group", dims=3, dropout=0.2, spatial_dropout=True, convs=1
    ),
    "unet-none": NETS["unet"](
        widths=(4, 8),
        norm="none",
        dropout=0.2,
        head=3,
        activation="gelu",
        down="stride",
        up="transpose3",
    ),
    "unet-deep": NETS["unet"](
        widths=(4, 6, 8),
        norm="instance",
        dtype="bfloat16",
        dropout=(0.0, 0.3, 0.0),
        deep_supervision=True,
        up="plain",
    ),
    "unet-corners": NETS["unet"](
        widths=(4, 6, 8), norm="batch", dropout=0.2, activation="relu", up="corners"
    ),
    "unet-conv-corners": NETS["unet"](widths=(4, 8), dropout=0.2, head=3, up="conv_corners"),
    "unet-linear-3d": NETS["unet"](widths=(4, 8), dims=3, dropout=0.2, up="linear"),
    "wide_unet": NETS["wide_unet"](widths=(5, 9), norm="batch", dropout=0.2, up="nearest"),
    "unet_plus_plus": NETS["unet_plus_plus"](widths=(4, 6, 8), deep_supervision=True, dropout=0.2),
    "attention_unet": NETS["attention_unet"](widths=(4, 8), dropout=0.2),
    "attention_unet-fine": NETS["attention_unet"](
        widths=(4, 8), norm="batch", dropout=0.2, gating="fine", one_merge=True
    ),
    "residual_unet": NETS["residual_unet"](widths=(4, 8), dropout=0.2),
    "r2_unet": NETS["r2_unet"](widths=(4, 8), norm="batch", dropout=0.2, steps=1),
    "cbam_unet": NETS["cbam_unet"](widths=(4, 8), dropout=0.2, reduction=1),
    "coordinate_unet": NETS["coordinate_unet"](
        widths=(4, 8), norm="batch", dropout=0.2, reduction=1
    ),
    "fcn8s": NETS["fcn8s"](width=4, hidden=8, dropout=0.2),
    "segnet": NETS["segnet"](width=4, dropout=0.2),
    "enet": NETS["enet"](widths=(8, 12, 16), repeats=1, dropout=(0.1, 0.1)),
    "deeplabv3_plus": NETS["deeplabv3_plus"](
        hidden=8, low=4, output_stride=8, auxiliary=True, separable=True, **RESNET
    ),
    "fcn_resnet50": NETS["fcn_resnet50"](auxiliary=True, **RESNET),
}
ELSEWHERE = {"test_transformers.py", "test_nets3d.py"}
"""Files that hold the contract for the rest of the table."""


@functools.cache
def case(name):
    """A network with two images of odd sizes; boundaries of the classes are straight, so that a
    coarse output can follow them.
    """
    net = SMALL[name]
    made = Case(net, (13, 10, 7) if net.dims == 3 else (29, 37))
    grid = np.meshgrid(*map(np.arange, made.x.shape[1:-1]), indexing="ij")
    label = np.stack([np.digitize(g, [0.3 * g.max(), 0.7 * g.max()]) for g in grid[:2]])
    noise = jax.random.normal(jax.random.key(0), made.x.shape)
    made.x = label[..., None] - 1 + 0.3 * noise
    made.label = jnp.asarray(label, jnp.int32)
    return made


def test_table_is_covered():
    """Catches a network added to the table without a row here or in the files beside this one."""
    from pathlib import Path

    here = Path(__file__).parent
    others = "".join((here / name).read_text() for name in ELSEWHERE if (here / name).exists())
    # a base shares the module of what derives from it
    tested = set().union(*(type(net).__mro__ for net in SMALL.values()))
    assert [
        name for name, cls in NETS.items() if cls not in tested and cls.__name__ not in others
    ] == []


@pytest.mark.parametrize("name", SMALL)
def test_contract(name):
    """Catches padding that is not cropped, logits of the compute dtype, a layer left out or cut off
    from the gradient, a bias that a norm cancels, a key that is ignored, batch statistics in
    evaluation, a reshape that moves pixels between images, one fixed number of channels or classes.
    """
    obeys(case(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_it_learns_two_images_in_a_loop(name):
    """Catches a decoder without skips and statistics that do not reach evaluation: two images are
    fitted to a Dice above .95.
    """
    learns(
        case(name), *((300, 0.02) if name == "enet" else (100, 0.01))
    )  # ENet's dropout and narrow bottlenecks take longer


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_reaches_every_convolution(name):
    """Catches a layer that computes in float32 whatever was asked for, or one that cannot compute
    in bfloat16, and logits that stay in it.
    """
    computes_in_bfloat16(case(name))


@pytest.mark.parametrize("name", SMALL)
def test_only_statistics_and_plain_names_are_kept(name):
    """Catches Flax objects in what is written as flat keys, statistics where there is no batch
    norm, ones that evaluation changes, and ones that training does not.
    """
    net = SMALL[name]
    params = case(name).params
    for tree in params:
        for path, leaf in jax.tree.leaves_with_path(tree):
            assert all(
                isinstance(key, jax.tree_util.DictKey) and isinstance(key.key, str) for key in path
            )
            assert isinstance(leaf, jax.Array)
    assert bool(params.state) == (net.norm == "batch")
    moved = case(name).train()[0].state
    assert all(
        bool((a != b).any())
        for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(params.state), strict=True)
    )


@pytest.mark.parametrize("name", NETS)
def test_wrong_dimensions_are_one_line(name):
    """Catches a traceback from inside a convolution where slices meet volumes."""
    net = NETS[name]()
    wrong = jax.ShapeDtypeStruct(
        (1, *(32,) * (5 - net.dims), 1),
        jnp.float32,
    )
    with pytest.raises(UserError, match=f"takes {net.dims}D"):
        net.init(jax.random.key(0), wrong, 2)


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("unet_plus_plus", {"pruned": 5}, "5 levels can be pruned to a depth of 1 to 4"),
        ("unet_plus_plus", {"pruned": 2}, "need deep_supervision"),
        ("unet", {"widths": (8,)}, "at least two levels"),
        ("r2_unet", {"steps": -1}, "at least 0"),
        ("enet", {"widths": (8, 4, 4)}, "must not fall"),
        ("deeplabv3", {"depths": (3, 4, 6)}, "four stages"),
        ("deeplabv3_plus", {"output_stride": 32}, "8 or 16"),
        ("fcn_resnet50", {"depths": (3, 4, 0, 3)}, "four stages"),
    ],
)
def test_wrong_fields_are_one_line(name, fields, words):
    """Catches a combination that fails deep inside, or not at all."""
    with pytest.raises(ValueError, match=words):
        NETS[name](**fields)
