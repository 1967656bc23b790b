"""What all networks share: fresh variables from one draw, and images of any size through a module
that wants a multiple of its strides.

A network is a frozen dataclass of hyperparameters that derives from :class:`Network` and says how
its flax module is built.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend import core

from semiseg.errors import UserError
from semiseg.nets.layers import Normals
from semiseg.nets.layers.resample import resize
from semiseg.types import Output, Params


class Network:
    """Base of the networks: everything but the module.

    A subclass is a frozen dataclass. It gives :meth:`module`, :attr:`block`, and the attributes
    (fields, or constants of the class):

    - ``dims``: 2 for images ``(B, H, W, C)``, 3 for volumes ``(B, D, H, W, C)``;
    - ``dtype``: of the activations, ``float32`` or ``bfloat16``; variables and logits are float32
      always.
    - ``linear_head``: whether the logits are the convolution ``head`` of ``aux["features"]`` (where
      one of them is coarser, resized).
    """

    dims: int = 2
    dtype: str = "float32"
    linear_head: bool = True

    @property
    def block(self) -> int | tuple[int, ...]:
        """Sizes the module takes are multiples of this (one number, or one an axis)."""
        raise NotImplementedError

    def module(
        self, channels: int, classes: int, normals: Normals, size: tuple[int, ...]
    ) -> nnx.Module:
        """The flax module with its variables, initialised from ``normals``: layers of this package
        take it as it is, layers of flax take ``rngs=normals.rngs()``.

        Called as ``module(x, train, key)`` it gives ``(logits, aux)``; ``x`` has ``dtype`` and
        sizes that are multiples of ``block``, and ``key`` is None unless there is dropout to draw.
        Arrays of ``aux`` may be at 1/n of the image. Only shapes of variables may depend on
        ``channels``, ``classes`` and ``size``, the (padded) spatial size of the images it is made
        for.
        """
        raise NotImplementedError

    def classes(self, weights: Any) -> int:
        """Number of classes that ``weights`` were made for; by default the last layer is called
        ``head`` and has a bias.
        """
        return weights["head"]["bias"].shape[0]

    def init(
        self, key: jax.Array, sample: jax.ShapeDtypeStruct | jax.Array, classes: int
    ) -> Params:
        """Fresh variables for inputs shaped like ``sample`` ``(B, *space, C)``, as nested dicts of
        float32 arrays.
        """
        self._check(sample.shape)
        size = tuple(n + p for n, p in zip(sample.shape[1:-1], _missing(self, sample.shape[1:-1])))
        return _init(self, sample.shape[-1], classes, size, key)

    def apply(
        self, params: Params, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> Output:
        """Logits ``(B, *space, K)`` of images ``(B, *space, C)`` of any size: edge padded at the
        end to a multiple of ``block``, and cropped back.

        ``aux["features"]`` are the last activations, interpolated to the size of the image where
        the module has them at a lower one. Every other array of ``aux`` at 1/n of the padded image
        (``aux["deep"]``: a list) is cropped to ``ceil(size / n)``; one of another rank (a loss term
        …) is left as it is.
        """
        self._check(x.shape)
        module: Any = nnx.merge(
            _graph(self, x.shape[-1], self.classes(params.weights)),
            params.weights,
            params.state,
            copy=True,
        )
        size = x.shape[1:-1]
        missing = _missing(self, size)
        if any(missing):
            x = jnp.pad(x, [(0, 0), *((0, p) for p in missing), (0, 0)], mode="edge")
        logits, aux = module(x.astype(self.dtype), train, key if train else None)
        padded = x.shape[1:-1]
        crop = lambda y: (
            _crop(y, [-(-n * m // p) for n, m, p in zip(size, y.shape[1:-1], padded)])
            if y.ndim == x.ndim
            else y
        )
        if "features" in aux and aux["features"].shape[1:-1] != padded:
            aux["features"] = resize(aux["features"], padded)
        aux = jax.tree.map(crop, aux)
        if "deep" in aux:
            aux["deep"] = [y.astype(jnp.float32) for y in aux["deep"]]
        new_state = nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)) if train else params.state
        return Output(_crop(logits.astype(jnp.float32), size), aux, new_state)

    def _check(self, shape: Sequence[int]) -> None:
        if len(shape) != self.dims + 2:
            kind = {4: "2D images (B, H, W, C)", 5: "3D volumes (B, D, H, W, C)"}
            wanted, found = kind[self.dims + 2], kind.get(len(shape), "arrays")
            raise UserError(
                f"{type(self).__name__} takes {wanted}, and was given {found} of shape "
                f"{tuple(shape)}"
            )


def _missing(net: Network, size: Sequence[int]) -> list[int]:
    block = net.block
    return [-n % b for n, b in zip(size, (block,) * len(size) if isinstance(block, int) else block)]


def _crop(x: jax.Array, size: Sequence[int]) -> jax.Array:
    if x.shape[1:-1] == tuple(size):
        return x
    return jax.lax.slice(x, [0] * x.ndim, [x.shape[0], *size, x.shape[-1]])


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _init(
    net: Network, channels: int, classes: int, size: tuple[int, ...], key: jax.Array
) -> Params:
    count = Normals()

    def build(key: jax.Array) -> Params:
        count.key = key
        return _variables(net.module(channels, classes, count, size))

    program, shapes = jax.make_jaxpr(build, return_shape=True)(key)
    _check_seed(net, program.jaxpr, shapes)
    normals = Normals(jax.random.normal(key, (count.used,)), key)
    return _variables(net.module(channels, classes, normals, size))


def _variables(module: nnx.Module) -> Params:
    return Params(
        weights=nnx.to_pure_dict(nnx.state(module, nnx.Param)),
        state=nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)),
    )


def _check_seed(net: Network, jaxpr: Any, shapes: Params) -> None:
    """Refuse weights that are random but do not depend on the key: all seeds would share them.

    The check reads the traced program that builds the module, so it computes nothing. An equation
    that calls another program counts as a whole.
    """
    seeded: set[Any] = set(jaxpr.invars)
    random: set[Any] = set()
    for equation in jaxpr.eqns:
        inputs = {v for v in equation.invars if not isinstance(v, core.Literal)}
        if inputs & seeded:
            seeded.update(equation.outvars)
        elif inputs & random or _draws(equation):
            random.update(equation.outvars)
    leaves = jax.tree.leaves_with_path(shapes.weights)
    for (path, _), variable in zip(leaves, jaxpr.outvars, strict=False):  # the state comes after
        if variable in random:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise UserError(
                f"{type(net).__name__}: the weights {name} are drawn from a key of their own "
                f"(nnx.Rngs(0)?), so every seed would start from the same ones; give the layer "
                f"rngs=normals.rngs()"
            )


def _draws(equation: Any) -> bool:
    """Whether an equation, or one within a program that it calls, draws random bits."""
    if equation.primitive.name in ("random_bits", "threefry2x32", "rng_bit_generator"):
        return True
    inner = core.jaxprs_in_params(equation.params)
    return any(_draws(e) for program in inner for e in program.eqns)


@functools.lru_cache
def _graph(net: Network, channels: int, classes: int) -> Any:
    """The module without its arrays; building it once keeps tracing cheap."""
    size = (net.block,) * net.dims if isinstance(net.block, int) else net.block
    return nnx.graphdef(nnx.eval_shape(lambda: net.module(channels, classes, Normals(), size)))
