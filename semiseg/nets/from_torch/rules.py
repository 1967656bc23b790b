"""From PyTorch's names and axes to ours: what the ``from_torch`` functions of the networks are
written with.

PyTorch stores a convolution as ``(O, C, *k)``, a transposed one as ``(C, O, *k)`` and a matrix as
``(O, C)``; ours are channels last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from semiseg.types import Params

Rule = tuple[str, str] | tuple[str, str, Callable[[np.ndarray], np.ndarray]]
"""Pattern of a name (a whole regular expression), our dotted name, and how the array is turned; by
default :func:`last`.
"""

NORM_PARTS = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
"""PyTorch's names of a norm's arrays, and ours."""


# ------------------------------------------------------------------ how an array is turned
def last(weight: np.ndarray) -> np.ndarray:
    """``(O, C, *k)`` to ``(*k, C, O)``, and a matrix ``(O, C)`` to ``(C, O)``; a vector stays.

    >>> last(np.ones((8, 3, 5, 5))).shape, last(np.ones(8)).shape
    ((5, 5, 3, 8), (8,))
    """
    if weight.ndim < 2:
        return weight
    return np.moveaxis(weight, (0, 1), (-1, -2))


def transposed(weight: np.ndarray) -> np.ndarray:
    """``(C, O, *k)`` of a transposed convolution to ``(*k, C, O)``.

    >>> transposed(np.ones((3, 8, 2, 2))).shape
    (2, 2, 3, 8)
    """
    return np.moveaxis(weight, (0, 1), (-2, -1))


def same(weight: np.ndarray) -> np.ndarray:
    """The array as it is."""
    return weight


# ------------------------------------------------------------------ rules of common layers
def layer(theirs: str, ours: str) -> list[Rule]:
    """Rules for the weight and bias of a convolution or matrix: a pattern of its name, and ours.

    >>> layer("fc", "head")
    [('fc\\\\.weight', 'head.kernel'), ('fc\\\\.bias', 'head.bias')]
    """
    return [(rf"{theirs}\.weight", f"{ours}.kernel"), (rf"{theirs}\.bias", f"{ours}.bias")]


def norm_only(theirs: str, ours: str) -> list[Rule]:
    """Rules for a norm: a pattern of its name, and ours.

    >>> norm_only("bn", "norm")[2]
    ('bn\\\\.running_mean', 'norm.mean')
    """
    return [(rf"{theirs}\.{part}", f"{ours}.{name}") for part, name in NORM_PARTS.items()]


def conv_norm(conv: str, norm: str, our_conv: str, our_norm: str) -> list[Rule]:
    """Rules for a convolution and the norm after it: patterns of their names, and ours."""
    return [*layer(conv, our_conv), *norm_only(norm, our_norm)]


# ------------------------------------------------------------------ rules of U-Nets
def unet_blocks(
    first: str, encoder: str, decoder: str, block: str, convs: tuple[int, int]
) -> list[Rule]:
    r"""Rules for the blocks of a U-Net of five levels whose parts have milesial's names (``down1``
    … ``down4``, and ``up1`` … ``up4`` from the coarsest level to the finest): two convolutions
    each, with the norm after it.

    Args:
      first: pattern of what stands before the names of the first block.
      encoder, decoder: patterns of what stands before ``down`` and ``up``.
      block: pattern of what stands before the number of a convolution.
      convs: numbers of the two convolutions; their norms have the next ones.

    >>> rules = dict(unet_blocks("inc.", "", "", "double.", convs=(0, 3)))
    >>> rules[r"inc.double.3\.weight"], rules[r"up4\.conv\.double.1\.weight"]
    ('down0.conv1.kernel', 'up0.norm0.scale')
    """
    places = [(first, "down0"), (encoder + r"down(\d)\.maxpool_conv\.1\.", r"down\1")]
    places += [(rf"{decoder}up{4 - level}\.conv\.", f"up{level}") for level in range(4)]
    rules: list[Rule] = []
    for theirs, ours in places:
        for number, conv in enumerate(convs):
            before = theirs + block
            rules += conv_norm(
                f"{before}{conv}",
                f"{before}{conv + 1}",
                f"{ours}.conv{number}",
                f"{ours}.norm{number}",
            )
    return rules


def unet_joins(decoder: str) -> list[Rule]:
    r"""Rules for the transposed convolutions of such a U-Net; ``decoder`` as there.

    >>> unet_joins("")[1]
    ('up4\\.up\\.bias', 'join0.bias')
    """
    rules: list[Rule] = []
    for level in range(4):
        theirs = rf"{decoder}up{4 - level}\.up"
        rules.append((rf"{theirs}\.weight", f"join{level}.kernel", transposed))
        rules.append((rf"{theirs}\.bias", f"join{level}.bias"))
    return rules


# ------------------------------------------------------------------ from a state dict to variables
def mapped(
    state_dict: Mapping[str, Any],
    rules: Sequence[Rule],
    what: str,
    unused: str = "(?!)",
) -> dict[str, Any]:
    r"""A state dict as nested dicts of float32 arrays under our names.

    Args:
      state_dict: PyTorch's names and arrays.
      rules: the first one whose pattern matches a name gives its new one; ``\1`` … are its groups.
      what: the network, for the error message.
      unused: pattern of names that have no counterpart.

    Raises:
      ValueError: a name that no rule knows: the weights are of another network.

    Example:
      >>> state = {"layer3.weight": np.ones((8, 2, 3, 3))}
      >>> nested = mapped(state, [(r"layer(\d)\.weight", r"down\1.kernel")], "UNet")
      >>> nested["down3"]["kernel"].shape
      (3, 3, 2, 8)
    """
    nested: dict[str, Any] = {}
    for name, value in state_dict.items():
        if re.fullmatch(unused, name):
            continue
        for pattern, target, *how in rules:
            match = re.fullmatch(pattern, name)
            if match:
                turn = how[0] if how else last
                put(nested, match.expand(target), turn(np.asarray(value, np.float32)))
                break
        else:
            raise ValueError(
                f"{what}: weight {name!r} is none of this network's; are the weights of another "
                f"class or version?"
            )
    return nested


def renumbered(nested: dict[str, Any], first: Mapping[str, int]) -> dict[str, Any]:
    """Parts called ``kind-N…`` under our numbers: N less the number of the kind's first.

    >>> renumbered({"up-3block": 1, "head": 2}, {"up": 2})
    {'head': 2, 'up1block': 1}
    """
    for name in [name for name in nested if "-" in name]:
        kind, rest = name.split("-")
        nested[f"{kind}{int(rest[0]) - first[kind]}{rest[1:]}"] = nested.pop(name)
    return nested


def put(nested: dict[str, Any], name: str, value: Any) -> None:
    """Sets ``a.b.c`` in nested dicts.

    >>> nested = {}
    >>> put(nested, "a.b", 1)
    >>> nested
    {'a': {'b': Array(1, dtype=int32, weak_type=True)}}
    """
    *path, leaf = name.split(".")
    for part in path:
        nested = nested.setdefault(part, {})
    nested[leaf] = jnp.asarray(value)


def to_params(nested: dict[str, Any]) -> Params:
    """Weights and running statistics of nested dicts that hold both.

    A bias between a convolution and its norm (``convX`` beside ``normX``) is none of ours: instance
    norm cancels it, and it is subtracted from the running mean of batch norm.

    >>> params = to_params({"norm": {"scale": jnp.ones(2), "mean": jnp.zeros(2)}})
    >>> params.weights["norm"].keys(), params.state["norm"].keys()
    (dict_keys(['scale']), dict_keys(['mean']))
    """
    return split_state(_without_cancelled_biases(nested))


def split_state(nested: dict[str, Any]) -> Params:
    """Weights and running statistics (``mean``, ``var``) of nested dicts that hold both."""
    weights: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for name, part in nested.items():
        if isinstance(part, dict):
            inner = split_state(part)
            if inner.weights:
                weights[name] = inner.weights
            if inner.state:
                state[name] = inner.state
        elif name in ("mean", "var"):
            state[name] = part
        else:
            weights[name] = part
    return Params(weights, state)


def _without_cancelled_biases(nested: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts without the biases between a convolution and its norm."""
    parts = {}
    for name, part in nested.items():
        if isinstance(part, dict):
            part = _without_cancelled_biases(part)
        parts[name] = part
    for name, part in parts.items():
        norm = parts.get("norm" + name[4:])
        if not name.startswith("conv") or norm is None or "bias" not in part:
            continue
        bias = part.pop("bias")
        if "mean" in norm:
            norm["mean"] = norm["mean"] - bias
    return parts
