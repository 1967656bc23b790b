"""What all networks share: their fields, initial weights from one draw, and images of any size
through a module that wants multiples of its strides.

A network is a frozen dataclass of hyperparameters that derives from :class:`Network` and says in
:meth:`Network.module` how its Flax module is built. Reading order: what a network declares, what it
gets (``init``, ``apply``), then how variables are made and checked, then sizes.
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
from semiseg.nets.layers import Normals, resize
from semiseg.types import Net, Output, Params

ModuleOutput = tuple[jax.Array, dict[str, Any]]
"""What a network's module gives for a batch: logits ``(B, *space, K)`` and named extras, see
:meth:`Network.module`.
"""

KINDS = {2: "2D images (B, H, W, C)", 3: "3D volumes (B, D, H, W, C)"}
"""What a network takes, by its number of spatial axes."""


class Network:
    """Base of the networks, and with it of :class:`semiseg.types.Net`: everything but the module.

    A subclass is a frozen dataclass. It gives :meth:`module` and :attr:`block`, and where they
    differ from the defaults :attr:`dims`, :attr:`dtype`, :attr:`linear_head` (a field, a constant
    of the class, or a property) and :meth:`classes`.
    """

    # ------------------------------------------------------------------ what a network declares
    @property
    def dims(self) -> int:
        """2 for images ``(B, H, W, C)``, 3 for volumes ``(B, D, H, W, C)``."""
        return 2

    @property
    def dtype(self) -> str:
        """Of the activations, ``float32`` or ``bfloat16``; variables and logits are float32."""
        return "float32"

    @property
    def linear_head(self) -> bool:
        """Whether the logits are the convolution ``head`` of ``aux["features"]``, resized where one
        of them is coarser.
        """
        return True

    @property
    def block(self) -> int | tuple[int, ...]:
        """Sizes the module takes are multiples of this (one number, or one an axis)."""
        raise NotImplementedError

    def module(
        self,
        channels: int,
        classes: int,
        normals: Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        """The Flax module with its variables.

        Called as ``module(x, train, key)`` it gives ``(logits, aux)``; ``x`` has ``dtype`` and
        sizes that are multiples of ``block``, and ``key`` is None unless there is dropout to draw.
        Arrays of ``aux`` may be at 1/n of the image. Only shapes of variables may depend on
        ``channels``, ``classes`` and ``size``.

        Args:
          channels: of the images.
          classes: number of classes, the background included.
          normals: of the initial weights. Layers of this package take it as it is, layers of Flax
            take ``rngs=normals.rngs()``.
          size: padded spatial size of the images that the module is made for.
        """
        raise NotImplementedError

    def classes(self, weights: Any) -> int:
        """Number of classes that ``weights`` were made for; by default the last layer is called
        ``head`` and has a bias.
        """
        return weights["head"]["bias"].shape[0]

    # ------------------------------------------------------------------ what it gets
    def init(
        self,
        key: jax.Array,
        sample: jax.ShapeDtypeStruct | jax.Array,
        classes: int,
    ) -> Params:
        """Initial variables as nested dicts of float32 arrays.

        Args:
          key: of the one normal draw that all weights are made of.
          sample: shaped like the images ``(B, *space, C)``.
          classes: number of classes, the background included.

        Raises:
          UserError: images of another number of axes, or weights that do not follow ``key``.
        """
        self._check_rank(sample.shape)
        space = sample.shape[1:-1]
        padded = tuple(n + m for n, m in zip(space, _missing(self, space), strict=True))
        return _initial_variables(self, sample.shape[-1], classes, padded, key)

    def apply(
        self,
        params: Params,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None = None,
    ) -> Output:
        """Logits ``(B, *space, K)`` of images ``(B, *space, C)`` of any size.

        Images are edge padded at the end to a multiple of ``block``, and logits cropped back.
        ``aux["features"]`` are the last activations, interpolated to the size of the image where
        the module has them at a lower one. Every other array of ``aux`` at 1/n of the padded image
        (``aux["deep"]``: a list) is cropped to ``ceil(size / n)``; one of another rank (a loss term
        …) is left as it is.

        Args:
          params: of :meth:`init`.
          x: the images.
          train: use batch statistics, and return the new running ones.
          key: of the dropout, whatever ``train`` is; nothing is dropped without one. With a key and
            without ``train``, repeated calls are samples of Monte Carlo dropout (Gal & Ghahramani,
            ICML 2016).

        Raises:
          UserError: images of another number of axes.
        """
        self._check_rank(x.shape)
        graph = _graph(self, x.shape[-1], self.classes(params.weights))
        module: Any = nnx.merge(graph, params.weights, params.state, copy=True)
        size = x.shape[1:-1]
        missing = _missing(self, size)
        if any(missing):
            x = jnp.pad(x, [(0, 0), *((0, pixels) for pixels in missing), (0, 0)], mode="edge")
        padded = x.shape[1:-1]
        logits, aux = module(x.astype(self.dtype), train, key)
        if "features" in aux and aux["features"].shape[1:-1] != padded:
            aux["features"] = resize(aux["features"], padded)
        aux = jax.tree.map(functools.partial(_crop_scaled, size=size, padded=padded), aux)
        if "deep" in aux:
            aux["deep"] = [coarse.astype(jnp.float32) for coarse in aux["deep"]]
        state = params.state
        if train:
            state = nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))
        return Output(_crop(logits.astype(jnp.float32), size), aux, state)

    def _check_rank(self, shape: Sequence[int]) -> None:
        """Refuses images of another number of axes."""
        if len(shape) != self.dims + 2:
            given = KINDS.get(len(shape) - 2, "arrays")
            raise UserError(
                f"{type(self).__name__} takes {KINDS[self.dims]}, and was given {given} of shape "
                f"{tuple(shape)}"
            )


# ------------------------------------------------------------------ fields of a declaration
def freeze_stages(net: Network, down: str, up: str, what: str) -> None:
    """Makes tuples of two fields, one number a stage, and refuses numbers that do not fit: the
    bottom has no stage on the way up.

    Args:
      net: under construction; YAML gives it lists, and it must be hashable.
      down, up: names of the fields.
      what: name of a stage in the plural, for the message.

    Raises:
      ValueError: ``up`` is not one shorter than ``down``.
    """
    for name in (down, up):
        object.__setattr__(net, name, tuple(getattr(net, name)))
    levels = len(getattr(net, down))
    ups = len(getattr(net, up))
    if ups != levels - 1:
        raise ValueError(
            f"{type(net).__name__}: {levels} {what} down need {levels - 1} up, not {ups}"
        )


# ------------------------------------------------------------------ how variables are made
@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _initial_variables(
    net: Network,
    channels: int,
    classes: int,
    size: tuple[int, ...],
    key: jax.Array,
) -> Params:
    """The variables of a new module, all from one draw.

    The module is built twice: once to count how many numbers it draws, and to check that its
    weights follow the key; then with the numbers.
    """
    count = Normals()

    def build(key: jax.Array) -> Params:
        count.key = key
        return _variables(net.module(channels, classes, count, size))

    program, shapes = jax.make_jaxpr(build, return_shape=True)(key)
    _check_seed(net, program.jaxpr, shapes)
    normals = Normals(jax.random.normal(key, (count.used,)), key)
    return _variables(net.module(channels, classes, normals, size))


def _variables(module: nnx.Module) -> Params:
    """A module's variables as nested dicts."""
    return Params(
        weights=nnx.to_pure_dict(nnx.state(module, nnx.Param)),
        state=nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)),
    )


@functools.lru_cache
def _graph(net: Network, channels: int, classes: int) -> Any:
    """The module without its arrays; building it once keeps tracing cheap."""
    size = block_sizes(net)
    return nnx.graphdef(nnx.eval_shape(lambda: net.module(channels, classes, Normals(), size)))


# ------------------------------------------------------------------ how the seed is checked
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
    for program in core.jaxprs_in_params(equation.params):
        if any(_draws(inner) for inner in program.eqns):
            return True
    return False


# ------------------------------------------------------------------ sizes
def block_sizes(net: Net) -> tuple[int, ...]:
    """The sizes along each axis whose multiples a network takes.

    >>> from semiseg.nets import UNet
    >>> block_sizes(UNet(widths=(8, 16, 32), dims=3))
    (4, 4, 4)
    """
    block = net.block
    if isinstance(block, int):
        return (block,) * net.dims
    return block


def _missing(net: Network, size: Sequence[int]) -> list[int]:
    """Pixels that each axis lacks to a multiple of the block."""
    return [-n % block for n, block in zip(size, block_sizes(net), strict=True)]


def _crop(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """The first ``size`` pixels of ``(B, *space, C)``."""
    if x.shape[1:-1] == tuple(size):
        return x
    return jax.lax.slice(x, [0] * x.ndim, [x.shape[0], *size, x.shape[-1]])


def _crop_scaled(y: jax.Array, size: Sequence[int], padded: Sequence[int]) -> jax.Array:
    """``y (B, *padded / n, C)`` cropped to ``ceil(size / n)``; another rank as it is."""
    if y.ndim != len(padded) + 2:
        return y
    coarse = []
    for pixels, whole, given in zip(size, padded, y.shape[1:-1], strict=True):
        coarse.append(-(-pixels * given // whole))
    return _crop(y, coarse)
