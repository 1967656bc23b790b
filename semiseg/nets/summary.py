"""What a network costs before anybody trains it: parameters, multiply-adds, activations and receptive field, read off its program."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.types import Net, Params

REACH = 2048
"""Columns of the strip that the receptive field is measured on."""


def cost(net: Net, size: int, channels: int = 1, classes: int = 2) -> dict[str, Any]:
    """Figures for one image of ``size`` along each axis, by tracing alone (nothing is computed).

    Returns:
      ``parameters``: trainable numbers.
      ``multiply_adds``: of convolutions and matrix products in evaluation, as they are computed (a transposed convolution over its zeros, too).
      ``activation_mib``: outputs of those in float32 (or the net's dtype): the least that a training step keeps for an image.
    """
    x = jax.ShapeDtypeStruct((1, *(size,) * net.dims, channels), jnp.float32)  # type: ignore[attr-defined]
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), x, classes))
    program = jax.make_jaxpr(lambda p, x: net.apply(p, x, train=False).logits)(params, x)
    macs = kept = 0
    for equation in equations(program.jaxpr):
        out = equation.outvars[0].aval
        if equation.primitive.name == "conv_general_dilated":
            kernel, (_, spec, _) = equation.invars[1].aval, equation.params["dimension_numbers"]
            macs += out.size * kernel.size // kernel.shape[spec[0]]
        elif equation.primitive.name == "dot_general":
            (axes, _), _ = equation.params["dimension_numbers"]
            macs += out.size * math.prod(equation.invars[0].aval.shape[a] for a in axes)
        else:
            continue
        kept += out.size * out.dtype.itemsize
    return {"parameters": sum(p.size for p in jax.tree.leaves(params.weights)), "multiply_adds": macs, "activation_mib": round(kept / 2**20, 2)}


def equations(jaxpr: Any) -> Iterator[Any]:
    """The primitive operations of a traced program, those of the programs inside it too."""
    for equation in jaxpr.eqns:
        values = [v for p in equation.params.values() for v in (p if isinstance(p, tuple | list) else (p,))]
        inner = [getattr(v, "jaxpr", v) for v in values if hasattr(getattr(v, "jaxpr", v), "eqns")]
        if not inner:
            yield equation
        for program in inner:
            yield from equations(program)


def receptive_field(net: Net, classes: int = 2) -> int | None:
    """How many columns of a strip the output pixel in its middle sees; None if it sees all :data:`REACH` of them.

    Where the gradient of that pixel is not zero, with every kernel replaced by the mean over its inputs: nothing is negative then, so nothing
    cancels and no ReLU is off. Norms are made batch norms, which in evaluation see nothing: the statistics of instance and group norm are those
    of the whole image.
    """
    if hasattr(net, "norm") and net.norm != "none":
        net = dataclasses.replace(net, norm="batch")  # type: ignore[type-var]
    dims: int = net.dims  # type: ignore[attr-defined]
    block = net.block  # type: ignore[attr-defined]
    thin = (block,) * dims if isinstance(block, int) else block
    x = jnp.ones((1, *thin[:-1], -(-REACH // thin[-1]) * thin[-1], 1))
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), x, classes))
    mean = lambda path, a: jnp.full(a.shape, 1 / math.prod(a.shape[:-1]) if path[-1].key == "kernel" else float(path[-1].key in ("scale", "var")), a.dtype)
    params = Params(*(jax.tree_util.tree_map_with_path(mean, tree) for tree in params))
    middle = tuple(n // 2 for n in x.shape[:-1])
    gradient = jax.jit(jax.grad(lambda x, params: net.apply(params, x, train=False).logits[middle].sum()))(x, params)
    columns = np.flatnonzero(np.asarray(gradient != 0).any(tuple(a for a in range(x.ndim) if a != x.ndim - 2)))
    width = int(columns.max() - columns.min() + 1) if columns.size else 0
    return None if width >= x.shape[-2] else width


def tree(net: Net, channels: int = 1, classes: int = 2, depth: int = 2) -> list[tuple[int, str, int, str]]:
    """``(level, name, parameters, shapes)`` of the parts of a network down to ``depth``, in the order of their names' first use."""
    x = jax.ShapeDtypeStruct((1, *(64,) * net.dims, channels), jnp.float32)  # type: ignore[attr-defined]
    weights = jax.eval_shape(lambda: net.init(jax.random.key(0), x, classes)).weights
    lines: list[tuple[int, str, int, str]] = []

    def walk(node: Any, name: str, level: int) -> None:
        leaves = jax.tree.leaves(node)
        kernels = [leaf.shape for leaf in leaves if leaf.ndim > 1]
        shown = "" if level < depth and isinstance(node, dict) and any(isinstance(v, dict) for v in node.values()) else _shapes(kernels)
        lines.append((level, name, sum(leaf.size for leaf in leaves), shown))
        if isinstance(node, dict) and level < depth:
            for key, child in node.items():
                if isinstance(child, dict):
                    walk(child, key, level + 1)

    for key, child in weights.items():
        walk(child, key, 0)
    return lines


def _shapes(kernels: list[tuple[int, ...]]) -> str:
    words = ["×".join(map(str, shape)) for shape in kernels]
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def paper(net: type) -> str:
    """The first sentence of a network's docstring, which names its paper."""
    words = " ".join((net.__doc__ or "").split("\n\n")[0].split())
    return re.split(r"(?<!fig)(?<!figs)(?<!J)(?:\. |: |\.$)", words)[0]
