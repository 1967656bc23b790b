"""The transformer networks: their blocks against plain formulas, the contract, their papers' sizes,
PyTorch's numbers.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from net_contract import Case, computes_in_bfloat16, count, equals_torch, fits, learns, obeys

from semiseg.nets import layers, swin_unetr, unetr
from semiseg.nets.layers import attention
from semiseg.nets.swin_unet import SwinUnet
from semiseg.nets.swin_unetr import SwinUNETR
from semiseg.nets.transunet import TransUNet
from semiseg.nets.unetr import UNETR

SMALL = {
    "unetr": (
        UNETR(patch=4, hidden=8, mlp=8, heads=2, depth=1, taps=(1,), features=4, dropout=0.2),
        (5, 7, 6),
    ),
    "swin_unetr": (
        SwinUNETR(features=4, depths=(2,), heads=(2,), window=2, drop_path=0.5, dropout=0.1),
        (5, 7, 6),
    ),
    "swin_unet": (
        SwinUnet(
            features=8, depths=(2, 1), heads=(2, 4), window=3, patch=2, drop_path=0.5, dropout=0.1
        ),
        (13, 10),
    ),
    "transunet": (
        TransUNet(
            width=4,
            blocks=(1, 1, 1),
            hidden=8,
            mlp=8,
            heads=2,
            depth=1,
            decoder=(8, 8, 8, 8),
            dropout=0.2,
        ),
        (21, 26),
    ),
}


# ------------------------------------------------------------------ blocks
@pytest.mark.parametrize(
    ("size", "window"), [((4,), (2,)), ((4, 6), (2, 3)), ((2, 4, 6), (2, 2, 3))]
)
def test_blocks_are_cut_and_joined(size, window):
    """Catches axes exchanged when a window is cut: each block holds its own pixels in row-major
    order, and comes back.
    """
    x = jnp.arange(np.prod(size), dtype=jnp.float32).reshape(1, *size, 1)
    cut = layers.blocks(x, window)
    for place in itertools.product(*(range(n // w) for n, w in zip(size, window, strict=True))):
        part = x[(0, *(slice(p * w, (p + 1) * w) for p, w in zip(place, window, strict=True)))]
        np.testing.assert_array_equal(cut[(0, *place)], part.reshape(-1, 1))
    np.testing.assert_array_equal(layers.unblocks(cut, window), x)


@pytest.mark.parametrize(("full", "window"), [((3, 4), (3, 4)), ((4, 3, 2), (2, 3, 2))])
def test_relative_bias_is_looked_up_by_offset(full, window):
    """Catches an offset of the wrong sign, and a small window read from the corner of the table
    instead of its middle.
    """
    table = np.random.default_rng(0).normal(size=(2, *(2 * w - 1 for w in full))).astype(np.float32)
    bias = np.asarray(jax.jit(attention.relative_bias, static_argnums=1)(table, window))
    pixels = list(itertools.product(*map(range, window)))
    for (i, a), (j, b) in itertools.product(enumerate(pixels), repeat=2):
        middle = tuple(p - q + w - 1 for p, q, w in zip(a, b, full, strict=True))
        np.testing.assert_array_equal(
            bias[:, i, j],
            table[(slice(None), *middle)],
        )


def test_shifted_windows_do_not_see_across_the_border():
    """Catches attention between pixels that only the cyclic shift brought together, and a mask that
    hides true neighbours.
    """
    mask = attention.shift_mask((4, 6), (2, 3), (1, 1))
    place = np.stack(
        np.meshgrid(np.arange(4), np.arange(6), indexing="ij"),
        -1,
    )
    rolled = np.asarray(
        layers.blocks(
            jnp.asarray(np.roll(place, (-1, -1), (0, 1)))[None],
            (2, 3),
        )
    )[0]
    close = (np.abs(rolled[..., :, None, :] - rolled[..., None, :, :]) < (2, 3)).all(-1)
    np.testing.assert_array_equal(mask == 0, close)


def test_attention_is_the_formula():
    """Catches heads mixed up, a missing 1/√d, and queries exchanged with keys."""
    module = attention.Attention(
        6, 2, normals=layers.Normals(jax.random.normal(jax.random.key(0), (200,)))
    )
    x = jax.random.normal(jax.random.key(1), (3, 6))
    qkv = np.asarray(module.qkv(x))
    out = []
    for head in range(2):
        q, k, v = (qkv[:, 6 * i + 3 * head : 6 * i + 3 * head + 3] for i in range(3))
        weight = np.exp(q @ k.T / np.sqrt(3))
        out.append(weight / weight.sum(1, keepdims=True) @ v)
    np.testing.assert_allclose(
        module(x), module.out(jnp.concatenate(out, -1)), rtol=1e-5, atol=1e-6
    )


def test_a_branch_is_left_out_for_whole_images_and_keeps_its_mean():
    """Catches stochastic depth that drops pixels, and a missing 1 / (1 − rate)."""
    y = np.asarray(
        layers.drop_path(
            jnp.ones((4000, 2, 3)),
            0.3,
            jax.random.key(0),
        )
    )
    assert (np.ptp(y, axis=(1, 2)) == 0).all()
    assert abs(y.mean() - 1) < 0.05
    assert abs((y[:, 0, 0] == 0).mean() - 0.3) < 0.03


def test_patches_are_merged_in_swins_order():
    """Catches rows exchanged with columns, which would spoil published weights alone."""
    order = [list(itertools.product((0, 1), repeat=3))[i] for i in layers.merge_order(3)]
    assert order == [
        (0, 0, 0),
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
        (1, 1, 0),
        (1, 0, 1),
        (0, 1, 1),
        (1, 1, 1),
    ]
    assert [list(itertools.product((0, 1), repeat=2))[i] for i in layers.merge_order(2)] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
    ]


# ------------------------------------------------------------------ networks
@pytest.fixture(scope="module", params=SMALL)
def case(request):
    return Case(*SMALL[request.param])


def test_contract(case):
    """Catches an uncropped output, a weight no gradient reaches, randomness that ignores its key,
    images that mix.
    """
    obeys(case)


def test_bfloat16_reaches_every_kernel(case):
    """Catches a layer that computes in float32 whatever was asked for, or one that cannot compute
    in bfloat16.
    """
    computes_in_bfloat16(case)


def test_two_images_are_learnt(case):
    """Catches tokens put back in another order and skips joined at the wrong level."""
    learns(case, 120, 0.01)


@pytest.mark.parametrize(
    ("net", "size", "channels", "classes", "published"),
    [
        (UNETR(), (96,) * 3, 1, 14, 92_580_000),  # the paper's table 3: 92.58 M
        (UNETR(), (96,) * 3, 1, 14, 92_802_478),  # MONAI 1.6.1
        (SwinUNETR(), (32,) * 3, 4, 3, 61_980_000),  # the paper's section 3.2: 61.98 M
        (SwinUNETR(), (32,) * 3, 4, 3, 62_191_941),  # MONAI 1.6.1
        (SwinUnet(), (224, 224), 3, 9, 27_170_000),  # 27.17 M in published comparisons
        (TransUNet(), (224, 224), 3, 9, 105_280_000),  # 105.28 M in published comparisons
    ],
)
def test_parameters_are_the_published_number(net, size, channels, classes, published):
    """Catches a layer too many or of another width."""
    assert count(net, size, channels, classes) == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("dims", [2, 3])
def test_swin_unetr_has_monais_numbers(dims):
    """Catches another order of the merge, a shift by the wrong half, a bias transposed, windows
    padded at the wrong end.

    In 2D the coarsest stage is smaller than a window, as with MONAI's own weights at 96³.
    """
    nets = pytest.importorskip("monai.networks.nets")
    window, size, depths = (
        (5, (96, 32), (2, 1, 1, 1)) if dims == 2 else (4, (32, 32, 64), (2, 1, 1, 1))
    )
    theirs = nets.SwinUNETR(
        2, 3, feature_size=12, depths=depths, spatial_dims=dims, window_size=window
    )
    ours = SwinUNETR(features=12, depths=depths, window=window, dims=dims, flat_bias=True)
    equals_torch(
        ours,
        swin_unetr.from_torch(theirs.state_dict(), window),
        theirs,
        size,
        2,
    )


def test_unetr_has_monais_numbers():
    """Catches tokens in another order, taps off by one, and no norm after the blocks."""
    nets = pytest.importorskip("monai.networks.nets")
    theirs = nets.UNETR(
        2, 3, (32, 64), feature_size=4, hidden_size=12, mlp_dim=16, num_heads=3, spatial_dims=2
    )
    ours = UNETR(features=4, hidden=12, mlp=16, heads=3, taps=(4, 7, 10), dims=2)
    equals_torch(
        ours,
        unetr.from_torch(theirs.state_dict(), (2, 4)),
        theirs,
        (32, 64),
        2,
    )


def test_larger_tokens_fit():
    """Catches a decoder that ends at half the size of the image."""
    fits(
        SwinUNETR(features=4, depths=(1,), heads=(2,), window=2, patch=4, dims=2),
        (97, 131),
    )


def test_an_image_of_another_size_takes_an_interpolated_position():
    """Catches a network bound to the size it was made for: a constant position stays the same."""
    net = UNETR(patch=4, hidden=4, mlp=4, heads=1, depth=1, taps=(1,), features=2, dims=2)

    def made(key, n):
        return net.init(key, jnp.zeros((1, n, n, 1)), 2)

    assert jax.eval_shape(
        lambda k: made(k, 8),
        jax.random.key(0),
    ).weights["position"].shape == (
        2,
        2,
        4,
    )
    out = jax.eval_shape(
        lambda k: net.apply(made(k, 8), jnp.zeros((1, 20, 12, 1)), train=False).logits,
        jax.random.key(0),
    )
    assert out.shape == (1, 20, 12, 2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SwinUNETR(features=16), "3 heads do not divide 16"),
        (lambda: SwinUNETR(depths=(2, 2)), "2 depths but 4"),
        (lambda: SwinUNETR(window=1), "window is 1"),
        (lambda: SwinUnet(patch=0), "patch 0"),
        (lambda: UNETR(patch=12), "power of two"),
        (lambda: UNETR(taps=(3, 6)), "3 rising numbers"),
        (lambda: UNETR(depth=8), "from 1 to 8"),
        (lambda: TransUNet(heads=5), "5 heads do not divide 768"),
    ],
)
def test_wrong_combinations_are_one_line(make, words):
    """Catches a shape error from deep inside a compiled program."""
    with pytest.raises(ValueError, match=words):
        make()
