"""A network with given initial weights."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from semiseg.errors import UserError
from semiseg.types import Model, Net, Output, Params, PyTree

REMEDY = "choose the network (--net, --net.widths …) that the weights were made with"


@dataclasses.dataclass(frozen=True, eq=False)
class Begun:
    """``net``, but with :meth:`init` giving ``initial``, and fresh variables in the layers that
    follow the number of classes.

    Every network that a method makes of the run's architecture begins so. The fresh last layers
    keep two of them apart (CPS).
    """

    net: Net
    initial: Params

    @property
    def dims(self) -> int:
        return self.net.dims

    @property
    def block(self) -> int | tuple[int, ...]:
        return self.net.block

    @property
    def dtype(self) -> str:
        return self.net.dtype

    @property
    def linear_head(self) -> bool:
        return self.net.linear_head

    def classes(self, weights: Any) -> int:
        return self.net.classes(weights)

    def module(self, channels: int, classes: int, normals: Any, size: tuple[int, ...]) -> Any:
        return self.net.module(channels, classes, normals, size)

    def init(
        self, key: jax.Array, sample: jax.ShapeDtypeStruct | jax.Array, classes: int
    ) -> Params:
        fresh = self.net.init(key, sample, classes)
        return jax.tree.map(
            lambda last, new, given: new if last else given,
            last_layers(self.net, sample, classes),
            fresh,
            self.initial,
        )

    def apply(
        self, params: Params, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> Output:
        return self.net.apply(params, x, train=train, key=key)


def begun(model: Model, initial: Params | None) -> Model:
    """``model`` with networks that begin with ``initial``; None leaves them as they are."""
    return model if initial is None else model._replace(net=Begun(model.net, initial))


def last_layers(net: Net, sample: jax.ShapeDtypeStruct | jax.Array, classes: int) -> PyTree:
    """For every variable whether its shape follows the number of classes; shaped like the network's
    Params.
    """

    def shapes(count: int) -> Params:
        init = functools.partial(net.init, sample=sample, classes=count)
        return jax.eval_shape(init, jax.random.key(0))

    return jax.tree.map(lambda a, b: a.shape != b.shape, shapes(classes), shapes(classes + 1))


def params_from_flat(flat: Mapping[str, np.ndarray], model: Model, where: str) -> Params:
    """Variables of the model's network from flat names (``weights.down0.conv0.kernel``); zeros in
    the layers that follow the number of classes.

    Raises:
      UserError: a variable is missing, of another shape, or none of this network, naming ``where``
        and the variable.
    """
    like = jax.eval_shape(model.init, jax.random.key(0))
    last = jax.tree.leaves(last_layers(model.net, model.sample, model.classes))
    paths, tree = jax.tree.flatten_with_path(like)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]
    values = []
    for name, (_, leaf), fresh in zip(names, paths, last, strict=True):
        value = flat.get(name)
        if fresh:
            value = np.zeros(leaf.shape, leaf.dtype)
        if value is None:
            raise UserError(f"{name} is missing", where=where, remedy=REMEDY)
        if value.shape != leaf.shape:
            what = f"{name} is {value.shape} in the file and {leaf.shape} in the network"
            raise UserError(what, where=where, remedy=REMEDY)
        values.append(value.astype(leaf.dtype))
    strange = sorted(flat.keys() - set(names))
    if strange:
        what = f"{strange[0]} is not part of this network"
        raise UserError(what, where=where, remedy=REMEDY)
    return jax.tree.unflatten(tree, values)
