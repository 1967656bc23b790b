"""What a network costs before anybody trains it: parameters, multiply-adds, activations and
receptive field, read off its program.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.nets.network import block_sizes
from semiseg.types import Net, Params

REACH = 2048
"""Columns of the strips that the receptive field is measured on."""

Line = tuple[int, str, int, str]
"""A part of a network: its level, name, number of parameters and the shapes of its kernels."""


# ------------------------------------------------------------------ cost
def cost(net: Net, size: int, channels: int = 1, classes: int = 2) -> dict[str, Any]:
    """Figures for one image of ``size`` along each axis, by tracing alone (nothing is computed).

    Returns:
      ``parameters``: trainable numbers.
      ``multiply_adds``: of convolutions and matrix products in evaluation, as they are computed (a
        transposed convolution over its zeros, too).
      ``activation_mib``: outputs of those in float32 (or the net's dtype): the least that a
        training step stores for an image, MiB.

    Example:
      >>> from semiseg.nets import UNet
      >>> cost(UNet(widths=(4, 8)), size=16)
      {'parameters': 1682, 'multiply_adds': 222208, 'activation_mib': 0.03}
    """
    image = _image(net, size, channels)
    params = _shapes_of(net, image, classes)
    program = jax.make_jaxpr(lambda p, x: net.apply(p, x, train=False).logits)(params, image)
    multiply_adds = 0
    stored = 0
    for equation in equations(program.jaxpr):
        products = _multiply_adds(equation)
        if products is None:
            continue
        output = equation.outvars[0].aval
        multiply_adds += products
        stored += output.size * output.dtype.itemsize
    return {
        "parameters": _count(params.weights),
        "multiply_adds": multiply_adds,
        "activation_mib": round(stored / 2**20, 2),
    }


def equations(jaxpr: Any) -> Iterator[Any]:
    """The primitive operations of a traced program, those of the programs inside it too.

    >>> program = jax.make_jaxpr(jax.jit(lambda x: jnp.sin(x) + 1))(0.0)
    >>> [equation.primitive.name for equation in equations(program.jaxpr)]
    ['sin', 'add']
    """
    for equation in jaxpr.eqns:
        programs = []
        for value in equation.params.values():
            programs += _programs(value)
        if "branches_platforms" in equation.params:
            programs = programs[-1:]  # one a kind of device: the last serves those not named
        if not programs:
            yield equation
        for program in programs:
            yield from equations(program)


def _programs(value: Any) -> list[Any]:
    """The programs that a parameter of an operation holds: itself, or some of its items."""
    items = value if isinstance(value, tuple | list) else (value,)
    opened = [getattr(item, "jaxpr", item) for item in items]
    return [item for item in opened if hasattr(item, "eqns")]


def _multiply_adds(equation: Any) -> int | None:
    """Multiply-adds of a convolution or a matrix product; None for another operation."""
    output = equation.outvars[0].aval
    if equation.primitive.name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        _, kernel_axes, _ = equation.params["dimension_numbers"]
        return output.size * kernel.size // kernel.shape[kernel_axes[0]]
    if equation.primitive.name == "dot_general":
        left = equation.invars[0].aval
        (summed, _), _ = equation.params["dimension_numbers"]
        return output.size * math.prod(left.shape[axis] for axis in summed)
    return None


def _image(net: Net, size: int, channels: int) -> jax.ShapeDtypeStruct:
    """One image of ``size`` along each axis."""
    return jax.ShapeDtypeStruct((1, *(size,) * net.dims, channels), jnp.float32)


def _shapes_of(net: Net, image: Any, classes: int) -> Params:
    """The shapes of a network's variables."""
    return jax.eval_shape(lambda: net.init(jax.random.key(0), image, classes))


def _count(tree: Any) -> int:
    """Numbers in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# ------------------------------------------------------------------ receptive field
def receptive_field(net: Net, classes: int = 2) -> int | None:
    """How many columns of a strip the output pixel in its middle can see; None if it sees all
    :data:`REACH` of them.

    A column is seen where the gradient of that pixel is not zero, in either of two cases: positive
    kernels on strips of ones, where no ReLU is off and every maximum is a tie; and kernels of both
    signs on noise, where maxima (and with them the indices of a pooling) fall anywhere. Kernels are
    random, so that no layer norm cancels them. Norms are made batch norms, which in evaluation see
    nothing: the statistics of instance and group norm are those of the whole image. A volume's last
    axis is seen as the same network in 2D sees its columns.
    """
    net = _bare(net)
    *thin, column = block_sizes(net)
    shape = (2, *thin, -(-REACH // column) * column, 1)
    middle = (slice(None), *(n // 2 for n in shape[1:-1]))
    shapes = _shapes_of(net, jnp.zeros(shape), classes)

    @jax.jit
    @jax.grad
    def gradient(x: jax.Array, params: Params) -> jax.Array:
        return net.apply(params, x, train=False).logits[middle].sum()

    rng = np.random.default_rng(0)
    seen = np.zeros(shape[-2], bool)
    other_axes = (*range(len(shape) - 2), len(shape) - 1)
    for signed in (False, True):
        x = np.ones(shape)
        if signed:
            x = rng.normal(size=shape)
        params = _random_weights(shapes, rng, signed)
        seen |= np.asarray(gradient(jnp.asarray(x, jnp.float32), params) != 0).any(other_axes)
    columns = np.flatnonzero(seen)
    if not columns.size:
        return 0
    width = int(np.max(columns) - np.min(columns) + 1)
    if width >= shape[-2]:
        return None
    return width


def _random_weights(shapes: Params, rng: np.random.Generator, signed: bool) -> Params:
    """Variables with random kernels, of both signs or positive; norms that change nothing."""

    def fill(path: Any, leaf: Any) -> np.ndarray:
        if leaf.ndim == 1:
            return np.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)
        inputs = math.prod(leaf.shape[:-1])
        if signed:
            kernel = rng.normal(0, (2 / inputs) ** 0.5, leaf.shape)
        else:
            kernel = rng.uniform(0.5 / inputs, 1.5 / inputs, leaf.shape)
        return kernel.astype(leaf.dtype)

    return Params(*(jax.tree_util.tree_map_with_path(fill, part) for part in shapes))


def _bare(net: Any) -> Any:
    """``net`` in 2D, without statistics of the whole image, every pixel decided."""
    fields = {field.name for field in dataclasses.fields(net)}
    if "net" in fields:
        return dataclasses.replace(net, net=_bare(net.net), points=2**30)
    changes: dict[str, Any] = {}
    if "dims" in fields:
        changes["dims"] = 2
    if "flat" in fields:
        changes["flat"] = 0
    if "norm" in fields and net.norm != "none":
        changes["norm"] = "batch"
    return dataclasses.replace(net, **changes)


@functools.cache
def recorded() -> dict[str, int | None]:
    """Receptive fields that :func:`receptive_field` has measured (minutes for all), by the ``repr``
    of the network: those of the defaults.

    TransUNet's, too large to measure in passing, is None as UNETR's is: every token sees all
    others.

    >>> from semiseg.nets import UNet
    >>> recorded()[repr(UNet())]
    188
    """
    fields: dict[str, int | None] = json.loads(
        Path(__file__).with_name("receptive_fields.json").read_text()
    )
    return fields


# ------------------------------------------------------------------ parts
def tree(net: Net, channels: int = 1, classes: int = 2, depth: int = 2) -> list[Line]:
    """The parts of a network down to ``depth``, in the order of their names' first use.

    >>> from semiseg.nets import UNet
    >>> tree(UNet(widths=(4, 8)), depth=0)[0]
    (0, 'down0', 196, '3×3×1×4, 3×3×4×4')
    """
    weights = _shapes_of(net, _image(net, 64, channels), classes).weights
    lines: list[Line] = []
    for name, part in weights.items():
        lines += _parts(part, name, 0, depth)
    return lines


def _parts(node: Any, name: str, level: int, depth: int) -> list[Line]:
    """The line of a part, and those of its own parts down to ``depth``."""
    children: dict[str, Any] = {}
    if isinstance(node, dict) and level < depth:
        children = {key: child for key, child in node.items() if isinstance(child, dict)}
    kernels = ""
    if not children:
        kernels = _kernels([leaf.shape for leaf in jax.tree.leaves(node) if leaf.ndim > 1])
    lines = [(level, name, _count(node), kernels)]
    for key, child in children.items():
        lines += _parts(child, key, level + 1, depth)
    return lines


def _kernels(shapes: Sequence[tuple[int, ...]]) -> str:
    """The first three shapes, and how many more there are."""
    words = ["×".join(map(str, shape)) for shape in shapes]
    text = ", ".join(words[:3])
    if len(words) > 3:
        text += f" and {len(words) - 3} more"
    return text


def paper(net: type) -> str:
    """The first sentence of a network's docstring, which names its paper.

    >>> from semiseg.nets import UNet
    >>> paper(UNet)
    'U-Net of Ronneberger, Fischer & Brox, MICCAI 2015 (fig. 1), in 2D or 3D'
    """
    paragraph = (net.__doc__ or "").split("\n\n")[0]
    sentence = " ".join(paragraph.split())
    return re.split(r"(?<!fig)(?<!figs)(?<!J)(?:\. |: |\.$)", sentence)[0]
