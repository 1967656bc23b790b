"""What a network costs before anybody trains it: parameters, multiply-adds, activations and
receptive field, read off its program.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.types import Net, Params

REACH = 2048
"""Columns of the strips that the receptive field is measured on."""


def cost(net: Net, size: int, channels: int = 1, classes: int = 2) -> dict[str, Any]:
    """Figures for one image of ``size`` along each axis, by tracing alone (nothing is computed).

    Returns:
      ``parameters``: trainable numbers.
      ``multiply_adds``: of convolutions and matrix products in evaluation, as they are computed (a
        transposed convolution over its zeros, too).
      ``activation_mib``: outputs of those in float32 (or the net's dtype): the least that a
        training step keeps for an image.
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
    return {
        "parameters": sum(p.size for p in jax.tree.leaves(params.weights)),
        "multiply_adds": macs,
        "activation_mib": round(kept / 2**20, 2),
    }


def equations(jaxpr: Any) -> Iterator[Any]:
    """The primitive operations of a traced program, those of the programs inside it too."""
    for equation in jaxpr.eqns:
        values = [
            v
            for p in equation.params.values()
            for v in (p if isinstance(p, tuple | list) else (p,))
        ]
        inner = [getattr(v, "jaxpr", v) for v in values if hasattr(getattr(v, "jaxpr", v), "eqns")]
        if not inner:
            yield equation
        for program in inner:
            yield from equations(program)


def receptive_field(net: Net, classes: int = 2) -> int | None:
    """How many columns of a strip the output pixel in its middle can see; None if it sees all
    :data:`REACH` of them.

    Where the gradient of that pixel is not zero, in either of two cases: positive kernels on strips
    of ones, where no ReLU is off and every maximum is a tie; and kernels of both signs on noise,
    where maxima (and with them the indices of a pooling) fall anywhere. Kernels are random, so that
    no layer norm cancels them. Norms are made batch norms, which in evaluation see nothing: the
    statistics of instance and group norm are those of the whole image. A volume's last axis is seen
    as the same network in 2D sees its columns.
    """
    net = _bare(net)
    block = net.block  # type: ignore[attr-defined]
    thin = (block,) * net.dims if isinstance(block, int) else block  # type: ignore[attr-defined]
    shape = (2, *thin[:-1], -(-REACH // thin[-1]) * thin[-1], 1)
    middle = (slice(None), *(n // 2 for n in shape[1:-1]))
    made = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros(shape), classes))
    gradient = jax.jit(
        jax.grad(lambda x, params: net.apply(params, x, train=False).logits[middle].sum())
    )
    rng, seen = np.random.default_rng(0), np.zeros(shape[-2], bool)
    for signed in (False, True):

        def fill(path: Any, a: Any, signed: bool = signed) -> np.ndarray:
            if a.ndim == 1:
                return np.full(a.shape, path[-1].key in ("scale", "var"), a.dtype)
            inputs = math.prod(a.shape[:-1])
            return (
                rng.normal(0, (2 / inputs) ** 0.5, a.shape)
                if signed
                else rng.uniform(0.5 / inputs, 1.5 / inputs, a.shape)
            ).astype(a.dtype)

        x = rng.normal(size=shape) if signed else np.ones(shape)
        params = Params(*(jax.tree_util.tree_map_with_path(fill, part) for part in made))
        seen |= np.asarray(gradient(jnp.asarray(x, jnp.float32), params) != 0).any(
            (*range(len(shape) - 2), -1)
        )
    columns = np.flatnonzero(seen)
    width = int(np.max(columns) - np.min(columns) + 1) if columns.size else 0
    return None if width >= shape[-2] else width


def _bare(net: Any) -> Any:
    """``net`` in 2D, without statistics of the whole image, every pixel decided."""
    fields = {field.name for field in dataclasses.fields(net)}
    if "net" in fields:
        return dataclasses.replace(net, net=_bare(net.net), points=2**30)
    changes: dict[str, Any] = {"dims": 2} if "dims" in fields else {}
    changes |= {"flat": 0} if "flat" in fields else {}
    return dataclasses.replace(
        net, **changes, **({"norm": "batch"} if "norm" in fields and net.norm != "none" else {})
    )


@functools.cache
def recorded() -> dict[str, int | None]:
    """Receptive fields that :func:`receptive_field` has measured (minutes for all), by the ``repr``
    of the network: those of the defaults.

    TransUNet's, too large to measure in passing, is None as UNETR's is: every token sees all
    others.
    """
    return json.loads(Path(__file__).with_name("receptive_fields.json").read_text())  # type: ignore[no-any-return]


def tree(
    net: Net, channels: int = 1, classes: int = 2, depth: int = 2
) -> list[tuple[int, str, int, str]]:
    """``(level, name, parameters, shapes)`` of the parts of a network down to ``depth``, in the
    order of their names' first use.
    """
    x = jax.ShapeDtypeStruct((1, *(64,) * net.dims, channels), jnp.float32)  # type: ignore[attr-defined]
    weights = jax.eval_shape(lambda: net.init(jax.random.key(0), x, classes)).weights
    lines: list[tuple[int, str, int, str]] = []

    def walk(node: Any, name: str, level: int) -> None:
        leaves = jax.tree.leaves(node)
        kernels = [leaf.shape for leaf in leaves if leaf.ndim > 1]
        shown = (
            ""
            if level < depth
            and isinstance(node, dict)
            and any(isinstance(v, dict) for v in node.values())
            else _shapes(kernels)
        )
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
