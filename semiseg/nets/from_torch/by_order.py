"""A state dict whose names nobody knows, matched by the shapes of its layers and their order.

PyTorch lists weights in the order in which the layers were declared, which in most classes is the
order in which they compute. Ours come in the order in which the network uses them. If both
sequences of convolutions have the same shapes, and both sequences of norms, they are paired;
anything else is refused. What has no weights (activations, interpolation, the order of a
concatenation) cannot be checked so: compare the predictions of an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.from_torch.rules import NORM_PARTS, last, put, split_state, transposed
from semiseg.types import Net, Params

Shapes = Mapping[str, tuple[int, ...]]


class Layer(NamedTuple):
    """A layer: its kind (``convolution``, ``norm`` or ``slope``), its name, and its parts."""

    kind: str
    name: str
    parts: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its main part."""
        return tuple(np.shape(next(iter(self.parts.values()))))


def params_by_order(
    net: Net, state: Mapping[str, np.ndarray], wanted: Shapes, order: list[str]
) -> Params:
    """Variables of ``net`` from a state dict, by shape and order.

    Args:
      net: the network.
      state: PyTorch's names and arrays, in its order.
      wanted: shapes of the network's variables under their dotted names.
      order: those names in the order in which the network uses them, see :func:`order_of_use`.

    Raises:
      ValueError: a layer has no partner, naming the first one and both shapes.
    """
    theirs = _their_layers(state)
    ours = _our_layers(wanted, order)
    kernels = _transposed_kernels(net, wanted)
    nested: dict[str, Any] = {}
    partner: dict[str, str] = {}
    for kind in ("convolution", "norm", "slope"):
        given = [layer for layer in theirs if layer.kind == kind]
        own = [layer for layer in ours if layer.kind == kind]
        if kind == "norm" and own and not given and getattr(net, "norm", "") == "instance":
            for layer in own:  # PyTorch's instance norm has no weights by default
                put(nested, f"{layer.name}.scale", np.ones(layer.shape, np.float32))
                put(nested, f"{layer.name}.bias", np.zeros(layer.shape, np.float32))
            continue
        for place in range(max(len(given), len(own))):
            a = given[place] if place < len(given) else None
            b = own[place] if place < len(own) else None
            turned = _turned(a, b, kernels)
            if a is None or b is None or turned is None:
                raise ValueError(_mismatch(kind, place, a, b))
            partner[a.name] = b.name
            for part, value in turned.items():
                put(nested, f"{b.name}.{part}", value)
    _settle_biases(net, theirs, partner, wanted, nested)
    return split_state(nested)


def order_of_use(net: Net, params: Params, sample: Any) -> list[str]:
    """Dotted names of a network's variables in the order in which a prediction uses them.

    Args:
      net: the network.
      params: its variables, or their shapes.
      sample: shaped like the images.
    """
    program = jax.make_jaxpr(lambda p, x: net.apply(p, x, train=False).logits)(params, sample)
    leaves = jax.tree.leaves_with_path(params)
    inputs = program.jaxpr.invars
    variable: Any
    names: dict[int, str] = {}
    for (path, _), variable in zip(leaves, inputs, strict=False):  # the image comes last
        names[id(variable)] = jax.tree_util.keystr(path, simple=True, separator=".")
    order: list[str] = []
    for equation in program.jaxpr.eqns:
        for variable in equation.invars:
            name = names.pop(id(variable), None)
            if name is not None:
                order.append(name)
    return [*order, *names.values()]


# ------------------------------------------------------------------ layers of either side
def _their_layers(state: Mapping[str, np.ndarray]) -> list[Layer]:
    """The layers of a state dict; weights come first among their parts."""
    grouped: dict[str, dict[str, Any]] = {}
    for name, value in state.items():
        layer, _, part = name.rpartition(".")
        if part != "num_batches_tracked":
            grouped.setdefault(layer, {})[part] = np.asarray(value)
    result = []
    for name, parts in grouped.items():
        if "weight" not in parts:
            raise ValueError(
                f"by shape and order: {name}.{next(iter(parts))} is no convolution's, norm's or "
                f"activation's"
            )
        parts = {"weight": parts.pop("weight"), **parts}
        kind = "convolution"
        if parts["weight"].ndim < 2:
            kind = "norm" if "bias" in parts else "slope"
        result.append(Layer(kind, name, parts))
    return result


def _our_layers(wanted: Shapes, order: list[str]) -> list[Layer]:
    """The layers of a network in the order of their use; the main part comes first."""
    grouped: dict[str, dict[str, Any]] = {}
    for name in order:
        layer, _, part = name.partition(".")[2].rpartition(".")
        grouped.setdefault(layer, {})[part] = np.empty(wanted[name])
    kinds = {"kernel": "convolution", "scale": "norm", "slope": "slope"}
    result = []
    for name, parts in grouped.items():
        main = [part for part in kinds if part in parts]
        if not main:
            raise ValueError(
                f"by shape and order: {name} of this network has no partner in PyTorch"
            )
        parts = {main[0]: parts.pop(main[0]), **parts}
        result.append(Layer(kinds[main[0]], name, parts))
    return result


def _transposed_kernels(net: Net, wanted: Shapes) -> dict[str, bool]:
    """Names of the layers of a network that are transposed convolutions, and whether their kernel
    is stored flipped.
    """
    kernel = next(shape for name, shape in wanted.items() if name.endswith("kernel"))
    module = nnx.eval_shape(lambda: net.module(kernel[-2], 2, layers.Normals(), (64,) * net.dims))
    kinds: dict[str, bool] = {}
    for path, part in nnx.iter_modules(module):
        if isinstance(part, layers.UpConv | layers.TransposedConv):
            kinds[".".join(map(str, path))] = isinstance(part, layers.TransposedConv)
    return kinds


# ------------------------------------------------------------------ pairs
def _turned(theirs: Layer | None, ours: Layer | None, kernels: dict[str, bool]) -> Any:
    """The parts of a layer of theirs as ours, None if a shape differs.

    A bias that ours does not have is left out; one that theirs does not have is zero.
    """
    if theirs is None or ours is None:
        return None
    given = {part: np.asarray(value, np.float32) for part, value in theirs.parts.items()}
    if ours.kind == "convolution":
        turn = transposed if ours.name in kernels else last
        weight = given["weight"]
        if kernels.get(ours.name):
            weight = np.flip(weight, tuple(range(2, weight.ndim)))
        parts = {"kernel": turn(weight)}
        if "bias" in ours.parts:
            parts["bias"] = given.get("bias", np.zeros(ours.parts["bias"].shape, np.float32))
    elif ours.kind == "norm":
        parts = {NORM_PARTS[part]: value for part, value in given.items() if part in NORM_PARTS}
    else:
        parts = {"slope": np.broadcast_to(given["weight"], ours.shape)}
    shapes = {part: value.shape for part, value in parts.items()}
    if shapes != {part: value.shape for part, value in ours.parts.items()}:
        return None
    return parts


def _mismatch(kind: str, place: int, theirs: Layer | None, ours: Layer | None) -> str:
    """What is wrong with a pair."""
    where = f"by shape and order: {kind} {place + 1}"
    if theirs is None and ours is not None:
        return f"{where} of the network, {ours.name} {ours.shape}, has no partner in the file"
    if ours is None and theirs is not None:
        return f"{where} of the file, {theirs.name} {theirs.shape}, has no partner in the network"
    assert theirs is not None and ours is not None
    return (
        f"{where} is {theirs.name} {theirs.shape} in the file and {ours.name} {ours.shape} in the "
        f"network"
    )


def _settle_biases(
    net: Net,
    theirs: list[Layer],
    partner: dict[str, str],
    wanted: Shapes,
    nested: dict[str, Any],
) -> None:
    """Takes account of the biases that ours does not have, before a norm.

    Instance norm cancels them; they are subtracted from the running mean of batch norm.

    Raises:
      ValueError: no such norm follows.
    """
    for place, layer in enumerate(theirs):
        bias = layer.parts.get("bias")
        if layer.kind != "convolution" or bias is None or not np.any(bias):
            continue
        ours = partner[layer.name]
        if f"weights.{ours}.bias" in wanted:
            continue
        norm = getattr(net, "norm", "")
        after = theirs[place + 1] if place + 1 < len(theirs) else None
        follows = after is not None and after.kind == "norm" and after.shape == bias.shape
        if norm == "batch" and follows and after is not None:
            name = f"{partner[after.name]}.mean"
            put(nested, name, _part(nested, name) - jnp.asarray(bias, jnp.float32))
        elif norm != "instance":
            raise ValueError(
                f"by shape and order: {layer.name} has a bias, and {ours} has none that a norm "
                f"would cancel"
            )


def _part(nested: dict[str, Any], name: str) -> Any:
    """The array under a dotted name."""
    value: Any = nested
    for part in name.split("."):
        value = value[part]
    return value
