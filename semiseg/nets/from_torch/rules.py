"""From PyTorch's names and axes to ours: what the ``from_torch`` functions of the networks are
written with.

PyTorch keeps a convolution as ``(O, C, *k)``, a transposed one as ``(C, O, *k)`` and a matrix as
``(O, C)``; ours are channels last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

Rule = tuple[str, str] | tuple[str, str, Callable[[np.ndarray], np.ndarray]]
"""Pattern of a name (a whole regular expression), our dotted name, and how the array is turned; by
default :func:`last`.
"""


def last(weight: np.ndarray) -> np.ndarray:
    """``(O, C, *k)`` to ``(*k, C, O)``, and a matrix ``(O, C)`` to ``(C, O)``; a vector stays."""
    return np.moveaxis(weight, (0, 1), (-1, -2)) if weight.ndim > 1 else weight


def transposed(weight: np.ndarray) -> np.ndarray:
    """``(C, O, *k)`` of a transposed convolution to ``(*k, C, O)``."""
    return np.moveaxis(weight, (0, 1), (-2, -1))


def same(weight: np.ndarray) -> np.ndarray:
    """The array as it is."""
    return weight


def mapped(
    state_dict: Mapping[str, Any], rules: Sequence[Rule], what: str, unused: str = "(?!)"
) -> dict[str, Any]:
    """A state dict as nested dicts of float32 arrays under our names.

    Args:
      rules: the first one whose pattern matches a name gives its new one; ``\\1`` … are its groups.
      what: the network, for the error message.
      unused: pattern of names that have no counterpart.

    Raises:
      ValueError: a name that no rule knows: the weights are of another network.
    """
    nested: dict[str, Any] = {}
    for name, value in state_dict.items():
        if re.fullmatch(unused, name):
            continue
        for pattern, target, *how in rules:
            found = re.fullmatch(pattern, name)
            if found:
                put(
                    nested,
                    found.expand(target),
                    (how[0] if how else last)(np.asarray(value, np.float32)),
                )
                break
        else:
            raise ValueError(
                f"{what}: weight {name!r} is none of this network's; are the weights of another "
                f"class or version?"
            )
    return nested


def put(nested: dict[str, Any], name: str, value: Any) -> None:
    """Sets ``a.b.c`` in nested dicts."""
    *path, leaf = name.split(".")
    for part in path:
        nested = nested.setdefault(part, {})
    nested[leaf] = jnp.asarray(value)
