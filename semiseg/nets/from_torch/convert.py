"""A state dict as the variables of a network, checked name by name and shape by shape.

Every network whose module has a function ``from_torch(state_dict)`` takes weights of the PyTorch
class that this function names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.errors import UserError
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
    """

    params: Params
    channels: int
    classes: int
    parameters: int


def import_weights(net: Net, state_dict: Mapping[str, np.ndarray], size: int = 96) -> Imported:
    """``state_dict`` as variables of ``net``, checked against what the network makes itself.

    Args:
      net: the network, with the fields that the weights were made with.
      state_dict: PyTorch's names and arrays.
      size: side of the images of a network with a table of positions, in pixels.

    Raises:
      UserError: the network has no converter, or the weights do not fit it.
    """
    who = type(net).__name__
    convert = converter(net)
    if convert is None:
        raise UserError(f"{who}: there is no PyTorch class whose weights it takes")
    try:
        params = convert(state_dict)
        classes = net.classes(params.weights)
    except ValueError as error:
        raise UserError(f"{who}: {error}") from None
    except KeyError as error:
        raise UserError(f"{who}: the file has no {error}") from None
    given = _shapes(params)
    channels = _channels(net, given, size, classes)
    _check_shapes(who, given, _wanted(net, size, channels, classes))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params.weights))
    return Imported(params, channels, classes, parameters)


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


def _check_shapes(who: str, given: Shapes, wanted: Shapes) -> None:
    """Refuses the first variable that is missing, left over, or of another shape."""
    differing = wanted.keys() ^ given.keys()
    for name in sorted(differing, key=lambda name: (name in given, name)):
        where = "is missing in the file" if name in wanted else "is not part of this network"
        raise UserError(
            f"{who}: {name} {where}; set the fields (--net.widths …) that the weights were made "
            f"with"
        )
    for name, shape in wanted.items():
        if given[name] != shape:
            raise UserError(
                f"{who}: {name} is {given[name]} in the file and {shape} in the network; set its "
                f"fields (--net.widths …)"
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
