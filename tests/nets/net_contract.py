"""What every network must do, with one compiled training program and one of evaluation a network:
tests read different runs of them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from semiseg.methods.parts.heads import last_layer
from semiseg.nets.cost_summary import equations
from semiseg.types import Model, Params

CLASSES = 3


@functools.partial(jax.jit, static_argnums=0)
def train(
    net: Any,
    params: Params,
    x: jax.Array,
    label: jax.Array,
    key: jax.Array,
    steps: jax.Array,
    lr: jax.Array,
):
    """``steps`` of Adam in a compiled loop: the last variables, logits and the largest gradient of
    each weight.
    """
    tx = optax.scale_by_adam(0.8, 0.95)

    def loss(weights, state, key):
        out = net.apply(
            Params(weights, state),
            x,
            train=True,
            key=key,
        )
        terms = [jnp.mean(jnp.sin(y)) for y in out.aux.get("deep", [])] + list(
            out.aux.get("losses", {}).values()
        )
        picked = jnp.take_along_axis(
            jax.nn.log_softmax(out.logits),
            label[..., None],
            -1,
        )
        return 0.01 * sum(terms) - picked.mean(), out

    def step(i, carry):
        params, opt, _, largest = carry
        (_, out), g = jax.value_and_grad(loss, has_aux=True)(
            params.weights, params.state, jax.random.fold_in(key, i)
        )
        direction, opt = tx.update(g, opt)
        weights = jax.tree.map(
            lambda w, d: w - lr * d,
            params.weights,
            direction,
        )
        return (
            Params(weights, out.new_state),
            opt,
            out.logits,
            jax.tree.map(
                lambda a, b: jnp.maximum(a, jnp.abs(b).max()),
                largest,
                g,
            ),
        )

    zero = jax.tree.map(lambda w: jnp.float32(0), params.weights)
    first = params, tx.init(params.weights), jnp.zeros((*x.shape[:-1], CLASSES)), zero
    params, _, logits, largest = jax.lax.fori_loop(0, steps, step, first)
    return params, logits, largest


def predict(net: Any, params: Params, x: jax.Array) -> jax.Array:
    return evaluate(net, params, x)[0]


@functools.partial(jax.jit, static_argnums=0)
def evaluate(net: Any, params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits, and those that feature dropout without dropping would have."""
    out = net.apply(params, x, train=False)
    again = (
        last_layer(
            Model(net, x, CLASSES),
            params,
            out.aux["features"],
        )
        if net.linear_head
        else out.logits
    )  # type: ignore[arg-type]
    return out.logits, again


def images(size: tuple[int, ...], channels: int = 2) -> tuple[jax.Array, jax.Array]:
    """Two noisy images of a ball in a ring, and their labels."""
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    label = np.zeros((2, *size), np.int32)
    for i, centre in enumerate((-0.2, 0.3)):
        r = np.sqrt(sum((g - centre) ** 2 for g in grid) * 2 / len(size))
        label[i] = (r < 0.75).astype(int) + (r < 0.45)
    x = rng.normal(
        0,
        0.2,
        (*label.shape, channels),
    )
    x[..., 0] += label
    return jnp.asarray(x, jnp.float32), jnp.asarray(label)


class Case:
    """A network, its variables, two images whose sizes divide nothing, and one step from there."""

    def __init__(self, net: Any, size: tuple[int, ...], channels: int = 2):
        self.net = net
        self.x, self.label = images(size, channels)
        self.params = net.init(
            jax.random.key(1),
            jax.ShapeDtypeStruct(
                self.x.shape,
                jnp.float32,
            ),
            CLASSES,
        )

    def train(self, key: int = 0, steps: int = 1, lr: float = 0.0):
        return train(
            self.net,
            self.params,
            self.x,
            self.label,
            jax.random.key(key),
            jnp.int32(steps),
            jnp.float32(lr),
        )


def fits(net: Any, size: tuple[int, ...]) -> None:
    """Sizes that divide nothing, one and four channels, two and ten classes; shapes alone."""
    for channels, classes in ((1, 2), (4, 10)):
        x = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
        out = jax.eval_shape(
            lambda x, k=classes: net.apply(
                net.init(jax.random.key(0), x, k), x, train=True, key=jax.random.key(0)
            ),
            x,
        )
        assert out.logits.shape == (1, *size, classes)
        assert out.aux["features"].shape[:-1] == (
            1,
            *size,
        )


def obeys(case: Case) -> None:
    """Shapes and types, gradients, randomness, independence of images."""
    fits(case.net, (97, 131) if case.net.dims == 2 else (19, 33, 41))
    params, logits, largest = case.train()
    assert logits.shape == case.label.shape + (CLASSES,)
    assert logits.dtype == jnp.float32
    assert bool(jnp.isfinite(logits).all())
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, case.params)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    for path, g in jax.tree.leaves_with_path(largest):
        assert bool(jnp.isfinite(g)), f"no gradient: {jax.tree_util.keystr(path)}"
        assert float(g) > 1e-9, f"no gradient: {jax.tree_util.keystr(path)}"
    np.testing.assert_array_equal(logits, case.train()[1])
    assert np.abs(logits - case.train(key=1)[1]).max() > 1e-4
    evaluated, again = evaluate(case.net, case.params, case.x)
    inner = (
        slice(None),
        *(slice(4, -4),) * case.net.dims,
    )  # a 3×3 head also sees what the image was padded with
    near = (2e-2 if case.net.dtype == "bfloat16" else 1e-4) * np.abs(evaluated).max()
    np.testing.assert_allclose(
        again[inner],
        evaluated[inner],
        rtol=0,
        atol=near,
        err_msg="linear_head: not one layer of the features",
    )
    changed = predict(
        case.net,
        case.params,
        case.x.at[1].set(0.0),
    )
    np.testing.assert_array_equal(changed[0], evaluated[0])
    assert np.abs(changed[1] - evaluated[1]).max() > 1e-3


def computes_in_bfloat16(case: Case) -> None:
    """Every kernel meets activations of bfloat16 where they were asked for, and logits are float32;
    traced alone.
    """
    net = bfloat16(case.net)
    x = case.x[:1]
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), x, CLASSES))
    traced = jax.make_jaxpr(lambda p: net.apply(p, x, train=True, key=jax.random.key(0)).logits)(
        params
    )
    assert traced.out_avals[0].dtype == jnp.float32
    kernels = [
        e.invars[1].aval
        for e in equations(traced.jaxpr)
        if e.primitive.name in ("conv_general_dilated", "dot_general")
    ]
    kernels = [
        a for a in kernels if a.ndim != x.ndim or a.shape[0] > 1
    ]  # the others are not kernels: interpolation multiplies from the left
    assert kernels
    assert not [a for a in kernels if a.dtype == jnp.float32]


def bfloat16(net: Any) -> Any:
    """``net``, or the coarse network of a head, in bfloat16."""
    inner = {"net": bfloat16(net.net)} if hasattr(net, "net") else {"dtype": "bfloat16"}
    return dataclasses.replace(net, **inner)


def learns(case: Case, steps: int, lr: float) -> None:
    """Two images fitted to a Dice above .95 of each class, judged in evaluation."""
    params, _, _ = case.train(steps=steps, lr=lr)
    found = np.asarray(predict(case.net, params, case.x).argmax(-1))
    label = np.asarray(case.label)
    dice = [
        2 * np.sum((found == k) & (label == k)) / (np.sum(found == k) + np.sum(label == k))
        for k in range(CLASSES)
    ]
    assert min(dice) > 0.95, dice


def count(net: Any, size: tuple[int, ...], channels: int, classes: int) -> int:
    """Number of weights, without making them."""
    sample = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    made = jax.eval_shape(
        lambda key: net.init(key, sample, classes),
        jax.random.key(0),
    )
    return sum(leaf.size for leaf in jax.tree.leaves(made.weights))


def equals_torch(
    net: Any, params: Params, torch_net: Any, size: tuple[int, ...], channels: int
) -> None:
    """Every weight has its place, and the outputs agree to 1e-4 of their scale.

    ``SEMISEG_PEER_RECORD=FILE`` appends the difference to a CSV file.
    """
    import torch

    x = np.random.default_rng(0).normal(size=(1, *size, channels)).astype(np.float32)
    with torch.no_grad():
        want = np.moveaxis(
            torch_net.eval()(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy(), 1, -1
        )
    made = jax.eval_shape(
        lambda key: net.init(key, jax.ShapeDtypeStruct(x.shape, jnp.float32), want.shape[-1]),
        jax.random.key(0),
    )

    def shapes(p):
        return {jax.tree_util.keystr(k): v.shape for k, v in jax.tree.leaves_with_path(p)}

    assert shapes(params) == shapes(made)
    got = jax.jit(lambda params, x: net.apply(params, x, train=False).logits)(params, x)
    difference = np.abs(got - want).max()
    scale = np.abs(want).max()
    if record := os.environ.get("SEMISEG_PEER_RECORD"):
        package = type(torch_net).__module__.partition(".")[0]
        row = [
            type(net).__name__,
            f"{package} {version(package.replace('_', '-'))}",
            "x".join(map(str, size)),
            f"{difference:.2e}",
            f"{scale:.3g}",
        ]
        with open(record, "a") as file:
            file.write(",".join(row) + "\n")
    assert difference < 1e-4 * max(1, scale)
