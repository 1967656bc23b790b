"""A state dict as the variables of a network, checked name by name and shape by shape.

Classes that are known by their names are listed in :mod:`semiseg.nets.from_torch.published`. A
network's module may have a function ``from_torch(state_dict)`` with the rules of one of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.errors import UserError
from semiseg.nets import NETS
from semiseg.nets.from_torch.by_order import order_of_use, params_by_order
from semiseg.nets.from_torch.published import Published, published
from semiseg.nets.from_torch.state_dict import SortedState
from semiseg.types import Net, Params

Shapes = dict[str, tuple[int, ...]]
"""The shape of every variable under its dotted name."""


class Imported(NamedTuple):
    """Variables, and what they were made for.

    Attributes:
      params: the variables.
      channels: of the images.
      classes: number of classes, the background included.
      parameters: trainable numbers.
      source: whose class the weights are of, or that they were matched by shape and order.
      notes: what differs between the network and that class without changing a shape, in words.
    """

    params: Params
    channels: int
    classes: int
    parameters: int
    source: str
    notes: tuple[str, ...]


BY_ORDER = "unknown names, matched by shape and order"


def import_weights(net: Net, state_dict: Mapping[str, np.ndarray], size: int = 96) -> Imported:
    """``state_dict`` as variables of ``net``, checked against what the network makes itself.

    Names of a class of :data:`semiseg.nets.from_torch.published.PUBLISHED` are matched by rules.
    Other names are matched by shape and order, see :mod:`semiseg.nets.from_torch.by_order`.

    Args:
      net: the network, with the fields that the weights were made with.
      state_dict: PyTorch's names and arrays.
      size: side of the images of a network with a table of positions, in pixels.

    Raises:
      UserError: the weights are another network's, or do not fit it.
    """
    who = type(net).__name__
    source, state = published(state_dict)
    if source is None:
        return _by_order(net, state, size)
    described = describe(source, state)
    if not source.net or not isinstance(net, NETS[source.net]):
        raise UserError(f"{who}: the file has the weights of {described}")
    try:
        params = _by_name(source, net, state)
        classes = net.classes(params.weights)
    except ValueError as error:
        raise UserError(f"{who}: {error}") from None
    except KeyError as error:
        raise UserError(f"{who}: the file has no {error}") from None
    params = _without_unused_heads(net, params)
    given = _shapes(params)
    channels = _channels(net, given, size, classes)
    remedy = f"the file has the weights of {described}"
    _check_shapes(who, given, _wanted(net, size, channels, classes), remedy)
    notes = []
    for field, value in _fields(source, state).items():
        used = getattr(net, field)
        if used != value:
            notes.append(f"{field} is {_text(used)} here and {_text(value)} in {source.title}")
    return Imported(params, channels, classes, _count(params), source.title, tuple(notes))


def network_of(
    state_dict: Mapping[str, np.ndarray], name: str | None = None
) -> tuple[str, dict[str, Any]]:
    """The name of the network that weights are of, and its fields, as far as the names say so.

    Args:
      state_dict: PyTorch's names and arrays.
      name: of the network, if somebody says it; a class of another network has no fields of it.

    Raises:
      UserError: neither ``name`` nor the file says which network it is.
    """
    source, state = published(state_dict)
    if source is not None and source.net and name in (None, source.net):
        return source.net, _fields(source, state)
    if name is not None:
        return name, {}
    if source is not None:
        raise UserError(f"the file has the weights of {describe(source, state)}")
    first = next(iter(state_dict))
    raise UserError(
        f"the names in the file ({first} …) are of no class that is known here; say which network "
        f"it is (--net NAME --net.FIELD VALUE), and the weights are matched by shape and order"
    )


def _fields(source: Published, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Fields of the network that a class has, as its weights say.

    Raises:
      UserError: a variable is missing by which they are known.
    """
    try:
        return source.fields(state)
    except KeyError as error:
        raise UserError(f"{source.title}: the file has no {error}") from None


def describe(source: Published, state: Mapping[str, np.ndarray]) -> str:
    """A class, and the flags that its weights need here.

    >>> from semiseg.nets.from_torch.published import PUBLISHED
    >>> describe(PUBLISHED[-1], {})
    "MONAI's UNet, which no network here is"
    """
    if not source.net:
        return f"{source.title}, which no network here is"
    return f"{source.title}: give {flags(source, state)}"


def flags(source: Published, state: Mapping[str, np.ndarray]) -> str:
    """The network's flags that weights of a class were made with, defaults left out."""
    default = NETS[source.net]()
    words = [f"--net {source.net}"]
    for field, value in _fields(source, state).items():
        if getattr(default, field) != value:
            words.append(f"--net.{field} {_text(value)}")
    return " ".join(words)


def _text(value: Any) -> str:
    """A field's value as a flag takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _by_name(source: Published, net: Net, state: Mapping[str, np.ndarray]) -> Params:
    """Variables by the rules of a class."""
    if source.params is not None:
        return source.params(state, net)
    convert = converter(net)
    if convert is None:
        raise ValueError(f"takes no weights of {source.title}")
    return convert(state)


def _by_order(net: Net, state: Mapping[str, np.ndarray], size: int) -> Imported:
    """Variables by shape and order."""
    who = type(net).__name__
    if isinstance(state, SortedState):
        raise UserError(
            f"{who}: the names in the file are of no class that is known here, and safetensors "
            f"does not store the order of weights; save them with `torch.save(model.state_dict(), "
            f"…)`"
        )
    kernels = [value for value in state.values() if np.ndim(value) > 1]
    if not kernels:
        raise UserError(f"{who}: the file has no convolutions")
    channels = kernels[0].shape[1]
    classes = kernels[-1].shape[0]
    wanted = _wanted(net, size, channels, classes)
    sample = jax.ShapeDtypeStruct((1, *(size,) * net.dims, channels), jnp.float32)
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), sample, classes))
    try:
        order = order_of_use(net, shapes, sample)
        params = params_by_order(net, state, wanted, order)
    except ValueError as error:
        raise UserError(
            f"{who}: the names in the file are of no class that is known here, and {error}; set "
            f"the network's fields (--net.widths …) to those the weights were made with"
        ) from None
    _check_shapes(who, _shapes(params), wanted, "set the network's fields (--net.widths …)")
    note = (
        "what has no weights (activation, interpolation, order of a concatenation) cannot be "
        "checked: compare the prediction of an image"
    )
    return Imported(params, channels, classes, _count(params), BY_ORDER, (note,))


def _without_unused_heads(net: Net, params: Params) -> Params:
    """Variables without the heads of the deep supervision, where the network has it off."""
    if getattr(net, "deep_supervision", True):
        return params
    weights = {}
    for name, part in params.weights.items():
        if not re.fullmatch(r"head\d+", name):
            weights[name] = part
    return Params(weights, params.state)


def _count(params: Params) -> int:
    """Trainable numbers."""
    return sum(leaf.size for leaf in jax.tree.leaves(params.weights))


def converter(net: Net) -> Callable[[Mapping[str, np.ndarray]], Params] | None:
    """The ``from_torch`` of the network's module, None if it has none.

    >>> from semiseg.nets import NETS
    >>> converter(NETS["unet"]()).__module__
    'semiseg.nets.unet'
    >>> converter(NETS["enet"]()) is None
    True
    """
    return getattr(sys.modules[type(net).__module__], "from_torch", None)


def _channels(net: Net, given: Shapes, size: int, classes: int) -> int:
    """Channels of the images, read off the first axis that grows with them; 1 if none does."""
    one = _wanted(net, size, 1, classes)
    two = _wanted(net, size, 2, classes)
    for name, shape in one.items():
        if not given.get(name):
            continue
        for axis, length in enumerate(shape):
            if two[name][axis] == length + 1:
                return given[name][axis]
    return 1


def _check_shapes(who: str, given: Shapes, wanted: Shapes, remedy: str) -> None:
    """Refuses the first variable that is missing, left over, or of another shape."""
    differing = wanted.keys() ^ given.keys()
    for name in sorted(differing, key=lambda name: (name in given, name)):
        where = "is missing in the file" if name in wanted else "is not part of this network"
        raise UserError(f"{who}: {name} {where}; {remedy}")
    for name, shape in wanted.items():
        if given[name] != shape:
            raise UserError(
                f"{who}: {name} is {given[name]} in the file and {shape} in the network; {remedy}"
            )


def _shapes(params: Params) -> Shapes:
    """The shape of every variable."""
    shapes = {}
    for path, leaf in jax.tree.leaves_with_path(params._asdict()):
        shapes[jax.tree_util.keystr(path, simple=True, separator=".")] = tuple(leaf.shape)
    return shapes


def _wanted(net: Net, size: int, channels: int, classes: int) -> Shapes:
    """The shapes of the variables that the network makes itself."""
    sample = jax.ShapeDtypeStruct((1, *(size,) * net.dims, channels), jnp.float32)
    made: Any = jax.eval_shape(lambda: net.init(jax.random.key(0), sample, classes))
    return _shapes(made)
