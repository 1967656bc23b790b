"""Layers against lax, flax and autodiff: values and gradients to 1e-5, in 2D and 3D."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

from semiseg.nets import layers


def random(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def same_with_gradients(ours, reference, *args):
    """Values and the gradients of a wiggly scalar, by autodiff through both."""
    every = tuple(range(len(args)))

    @jax.jit
    def both(*args):
        def wiggle(f):
            return lambda *a: jnp.sin(3 * f(*a)).sum()

        return [(f(*args), *jax.grad(wiggle(f), every)(*args)) for f in (ours, reference)]

    for a, b in zip(*both(*args), strict=True):
        np.testing.assert_allclose(
            a,
            b,
            rtol=1e-5,
            atol=1e-5 * max(1, float(jnp.abs(b).max())),
        )


def lax_conv(x, w, stride, dilation, groups, pads=None):
    space = "DHW"[-(x.ndim - 2) :]
    same = [(dilation * (k // 2),) * 2 for k in w.shape[:-2]]
    return lax.conv_general_dilated(
        x,
        w,
        (stride,) * len(space),
        pads or same,
        rhs_dilation=(dilation,) * len(space),
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=groups,
        precision="highest",
    )


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "groups", "pads"),
    [(*plain, 1, 1, None) for plain in [
        ((9, 6), (3, 3), 1),
        ((8, 8), (5, 3), 1),
        ((7, 4), (1, 1), 1),
        ((9, 7), (1, 1), 2),
        ((9, 6), (3, 3), 2),
        ((8, 7), (5, 5), 3),
        ((4, 6, 5), (3, 3, 3), 1),
        ((4, 5, 6), (1, 3, 3), 1),
        ((5, 4, 6), (3, 3, 3), 2),
        ((3, 4, 5), (1, 1, 1), 1),
    ]] + [
        ((9, 8), (3, 3), 1, 2, 1, None),
        ((9, 8), (5, 1), 1, 3, 2, None),
        ((9, 8), (3, 3), 1, 1, 4, None),
        ((8, 7), (3, 5), 2, 1, 2, None),
        ((9, 11), (3, 3), 2, 2, 1, None),
        ((11, 10), (3, 3), 3, 2, 4, None),
        ((9, 7), (1, 1), 2, 1, 2, None),
        ((8, 9), (4, 2), 2, 1, 1, ((1, 1), (0, 1))),
        ((7, 7), (3, 3), 1, 1, 1, ((0, 0), (2, 3))),
        ((5, 4, 6), (3, 1, 3), 2, 1, 2, None),
    ],
)  # fmt: skip
def test_conv_is_lax_with_autodiffs_gradients(size, kernel, stride, dilation, groups, pads):
    """Catches an unflipped kernel in dx, swapped spatial axes, channels not swapped, wrong padding
    for an odd size under a stride, stride and dilation not exchanged in dw, and groups mixed up.
    """
    x = random(0, 2, *size, 4)
    w = random(1, *kernel, 4 // groups, 8) / 4

    def ours(x, w):
        return layers.conv(x, w, stride, dilation=dilation, groups=groups, pads=pads)

    same_with_gradients(
        ours,
        lambda x, w: lax_conv(x, w, stride, dilation, groups, pads),
        x,
        w,
    )


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "dilation", "pads"),
    [
        (6, (3, 3, 3), 1, 1, None),
        (6, (3, 1, 3), 1, 2, None),
        (6, (5, 3, 3), 1, 1, None),
        (2, (3, 3, 3), 2, 2, None),
        (2, (4, 2, 2), 2, 1, ((1, 1), (0, 1), (1, 0))),
        (2, (3, 3, 3), 1, 1, ((0, 0), (2, 0), (1, 1))),
    ],
)
def test_conv_of_a_volume_is_lax_with_autodiffs_gradients(channels, kernel, stride, dilation, pads):
    """Catches planes side by side in another order than the kernel's, an unflipped kernel where the
    outputs' planes are, and a plane too many under a stride.
    """
    x = random(0, 2, 7, 6, 5, channels)
    w = random(1, *kernel, channels, 3) / 4
    same_with_gradients(
        lambda x, w: layers.conv(x, w, stride, dilation=dilation, pads=pads),
        lambda x, w: lax_conv(x, w, stride, dilation, 1, pads),
        x,
        w,
    )


@pytest.mark.parametrize("channels", [2, 6])
def test_conv_of_a_volume_on_a_cpu_is_of_planes(channels):
    """Catches a convolution along three axes on a CPU, which takes ten times as long, and one of
    planes elsewhere, where libraries know those of volumes.
    """
    x = random(0, 2, 4, 6, 5, channels)
    w = random(1, 3, 3, 3, channels, 3)
    gradient = jax.jit(jax.grad(lambda x, w: jnp.sin(layers.conv(x, w)).sum(), (0, 1)))

    def axes_of_kernels(platform):
        text = gradient.trace(x, w).lower(lowering_platforms=(platform,)).as_text()
        return [len(kernel.split(",")) - 2 for kernel in re.findall(r"\]x\[(.*?)\]->", text)]

    assert axes_of_kernels("cpu") == [2, 2, 2]
    assert axes_of_kernels("cuda") == [3, 3, 3]


def test_conv_in_a_scan_has_the_gradient_it_has_outside():
    """Catches a custom gradient that depends on where it is traced, e.g. residuals of another
    iteration.
    """
    x = random(0, 3, 2, 8, 8, 3)
    w = random(1, 3, 3, 3, 3) / 4
    gradient = jax.grad(lambda w, x: jnp.sin(layers.conv(jnp.tanh(layers.conv(x, w)), w)).sum())
    inside = jax.jit(lambda w: lax.scan(lambda _, x: (None, gradient(w, x)), None, x)[1])(w)
    np.testing.assert_allclose(
        inside,
        [gradient(w, x_i) for x_i in x],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "how",
    [{}, {"stride": 2}, {"dilation": 2}, {"groups": 3}],
)
def test_conv_on_a_cpu_is_in_the_one_form_that_is_fast_in_a_loop(how):
    """Catches another order of axes on a CPU: the numbers stay right, but a step in a scan takes 30
    times as long.
    """
    x = random(0, 2, 8, 8, 3)
    w = random(
        1,
        3,
        3,
        3 // how.get("groups", 1),
        6,
    )
    gradient = jax.jit(
        jax.grad(
            lambda x, w: jnp.sin(layers.conv(x, w, **how)).sum(),
            (0, 1),
        )
    )

    def lowered(platform):
        return gradient.trace(x, w).lower(lowering_platforms=(platform,)).as_text()

    def orders(text):
        return re.findall(r"dim_numbers = (\[.*?\]x\[.*?\]->\[.*?\])", text)

    assert orders(lowered("cpu")) == ["[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"] * 3
    assert len(set(orders(lowered("cuda")))) > 1


def test_conv_refuses_even_kernels():
    """Catches a silent shift by half a pixel."""
    with pytest.raises(ValueError, match="odd"):
        layers.conv(random(0, 1, 4, 4, 1), random(1, 2, 2, 1, 1))


@pytest.mark.parametrize("dims", [2, 3])
def test_up_conv_is_lax(dims):
    """Catches a flipped kernel and a wrong order of axes in depth-to-space."""
    x = random(0, 2, *(3, 5, 4)[:dims], 3)
    w = random(1, *(2,) * dims, 3, 4)
    space = "DHW"[-dims:]
    names = (f"N{space}C", f"{space}IO", f"N{space}C")

    def reference(x, w):
        return lax.conv_transpose(
            x, jnp.flip(w, range(dims)), (2,) * dims, "VALID", dimension_numbers=names
        )

    same_with_gradients(layers.up_conv, reference, x, w)


@pytest.mark.parametrize("dims", [2, 3])
def test_transposed_and_down_conv_are_lax(dims):
    """Catches zeros before instead of after the pixels, a flipped kernel, and blocks whose axes are
    mixed up.
    """
    x = random(0, 2, *(4, 6, 2)[:dims], 3)
    w = random(1, *(3,) * dims, 3, 4)
    space = "DHW"[-dims:]
    names = (f"N{space}C", f"{space}IO", f"N{space}C")

    def up(x, w):
        return lax.conv_general_dilated(
            x, w, (1,) * dims, [(1, 2)] * dims, lhs_dilation=(2,) * dims, dimension_numbers=names
        )

    same_with_gradients(layers.transposed_conv, up, x, w)
    w = random(1, *(2,) * dims, 3, 4)

    def down(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            (2,) * dims,
            "VALID",
            dimension_numbers=names,
        )

    same_with_gradients(layers.down_conv, down, x, w)


@pytest.mark.parametrize("dims", [2, 3])
def test_max_pool_is_lax(dims):
    """Catches pooling over the wrong axis; without ties the gradients agree too."""
    x = random(0, 2, *(4, 6, 8)[:dims], 3)
    window = (1, *(2,) * dims, 1)
    same_with_gradients(
        layers.max_pool,
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID"),
        x,
    )


def test_max_pool_refuses_odd_sizes():
    """Catches a silently dropped last row."""
    with pytest.raises(ValueError, match="even"):
        layers.max_pool(random(0, 1, 5, 4, 1))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["batch", "instance", "group"])
def test_norm_is_flax(kind, dims):
    """Catches statistics over the wrong axes, eps outside the root, a group of the wrong channels,
    a bias not shifted by the mean.
    """
    x = 2 * random(0, 3, *(4, 6, 5)[:dims], 8) + 0.5
    scale = 1 + random(1, 8) / 4
    bias = random(2, 8)
    flax_norm = {
        "batch": linen.BatchNorm(use_running_average=False, epsilon=1e-3),
        "instance": linen.GroupNorm(num_groups=None, group_size=1, epsilon=1e-3),
        "group": linen.GroupNorm(num_groups=2, epsilon=1e-3),
    }[kind]

    def ours(x, scale, bias):
        return layers.normalize(
            x,
            *layers.moments(x, kind, 2),
            scale,
            bias,
            1e-3,
        )

    def reference(x, scale, bias):
        stats = (
            {"batch_stats": {"mean": jnp.zeros(8), "var": jnp.ones(8)}} if kind == "batch" else {}
        )
        y = flax_norm.apply(
            {
                "params": {"scale": scale, "bias": bias},
                **stats,
            },
            x,
            mutable=["batch_stats"],
        )
        return y[0]

    same_with_gradients(ours, reference, x, scale, bias)


def test_variance_of_a_constant_far_from_zero_is_not_negative():
    """Catches E[x²] − E[x]² without its guard: rounding makes it negative, and the root NaN."""
    x = jnp.full((2, 33, 31, 1), 777.7)
    _, var = layers.moments(x, "batch")
    assert float(var[0]) >= 0
    one = jnp.ones(1)
    gradient = jax.grad(
        lambda x: layers.normalize(x, *layers.moments(x, "batch"), one, one, 1e-5).sum()
    )(x)
    assert bool(jnp.isfinite(gradient).all())


def test_running_statistics_follow_the_batch():
    """Catches a momentum applied to the wrong side, and statistics that change in evaluation."""
    norm = layers.Norm(2, "batch", momentum=0.9)
    x = random(0, 4, 8, 8, 2) * 3 + 1
    norm(x, train=True)
    np.testing.assert_allclose(
        norm.mean[...],
        0.1 * np.mean(x, (0, 1, 2)),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        norm.var[...],
        0.9 + 0.1 * np.var(x, (0, 1, 2)),
        rtol=1e-5,
    )
    before = np.array(norm.mean[...])
    y = norm(x, train=False)
    np.testing.assert_array_equal(norm.mean[...], before)
    np.testing.assert_allclose(
        y, (x - before) / np.sqrt(norm.var[...] + 1e-5), rtol=1e-4, atol=1e-5
    )


def test_statistics_of_bfloat16_are_float32():
    """Catches sums in bfloat16, which stop growing at 256."""
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    mean, _ = layers.moments(x, "batch")
    assert mean.dtype == jnp.float32
    assert float(mean[0]) == 1


def test_group_norm_takes_a_number_of_groups_that_divides():
    """Catches widths that are no multiple of the groups."""
    assert layers.Norm(12, "group", groups=8).groups == 6
    assert layers.Norm(4, "group", groups=8).groups == 4


@pytest.mark.parametrize("spatial", [False, True])
def test_dropout_keeps_the_mean_and_drops_its_rate(spatial):
    """Catches keep and drop exchanged, a missing 1 / (1 − rate), and elementwise dropout where
    channels were asked for.
    """
    x = jnp.ones((64, 4, 4, 64))
    y = layers.dropout(
        x,
        0.3,
        jax.random.key(0),
        spatial,
    )
    assert abs(float((y == 0).mean()) - 0.3) < 0.02
    np.testing.assert_allclose(
        y[y != 0],
        1 / 0.7,
        rtol=1e-4,
    )
    per_channel = np.ptp(np.asarray(y), axis=(1, 2))
    assert bool((per_channel == 0).all()) == spatial
    np.testing.assert_array_equal(layers.dropout(x, 0.3, None), x)
