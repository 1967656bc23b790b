"""The U-Net: images in, class logits out. The network every method is measured with."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.types import Output, Params

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.01),
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
}


@dataclasses.dataclass(frozen=True)
class UNet:
    """U-Net of Ronneberger, Fischer & Brox, MICCAI 2015 (fig. 1), in 2D or 3D.

    Deliberate differences: same-size convolutions, so that the output has the size of the input (any size: the image is edge padded at the
    end to a multiple of 2^levels and the output cropped back); a norm after each convolution, which then has no bias; leaky ReLU; a quarter
    of the channels; dropout between the convolutions of every encoder level instead of at its end only.

    ``UNet(dropout=(.05, .1, .2, .3, .5), head=3)`` is the network of SSL4MIS with 2×2 transposed convolutions (1.94 M parameters).

    Attributes:
      widths: channels of each level, finest first.
      norm: ``batch``, ``instance``, ``group`` or ``none``.
      dropout: rate of each encoder level (one number for all), while training with a key.
      dims: 2 for ``(B, H, W, C)``, 3 for ``(B, D, H, W, C)``.
      convs: convolutions of a level, on either side.
      activation: ``leaky_relu`` (slope .01), ``relu`` or ``gelu``.
      deep_supervision: also give logits of every coarser decoder level, in ``aux["deep"]``, finest (1/2) first.
      dtype: of the activations; variables and logits are float32 always.
      head: size of the last kernel, 1 or 3.
      spatial_dropout: drop whole channels instead of elements.
      groups: of the group norm, at most.
      momentum: weight of the old running statistics of batch norm.
      eps: added to the variance.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    norm: layers.NormKind = "batch"
    dropout: float | tuple[float, ...] = 0.0
    dims: Literal[2, 3] = 2
    convs: int = 2
    activation: Literal["leaky_relu", "relu", "gelu"] = "leaky_relu"
    deep_supervision: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    head: Literal[1, 3] = 1
    spatial_dropout: bool = False
    groups: int = 8
    momentum: float = 0.9
    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # YAML gives lists, and a net must be hashable
        if not isinstance(self.dropout, float | int):
            object.__setattr__(self, "dropout", tuple(self.dropout))
            if len(self.dropout) != len(self.widths):  # type: ignore[arg-type]
                raise ValueError(f"UNet: dropout has {len(self.dropout)} rates for {len(self.widths)} levels")  # type: ignore[arg-type]

    def rates(self) -> tuple[float, ...]:
        """Dropout rate of each encoder level."""
        return self.dropout if isinstance(self.dropout, tuple) else (float(self.dropout),) * len(self.widths)

    def init(self, key: jax.Array, sample: jax.ShapeDtypeStruct | jax.Array, classes: int) -> Params:
        """Fresh variables for inputs shaped like ``sample`` ``(B, *space, C)``, as nested dicts of float32 arrays."""
        return _init(self, sample.shape[-1], classes, key)

    def apply(self, params: Params, x: jax.Array, *, train: bool, key: jax.Array | None = None) -> Output:
        """Logits ``(B, *space, K)`` of images ``(B, *space, C)``.

        ``aux["features"]`` ``(B, *space, widths[0])`` are the activations under the last layer; ``aux["deep"]`` see the class.
        """
        if x.ndim != self.dims + 2:
            raise ValueError(f"UNet(dims={self.dims}) needs (B, *space, C), got {x.shape}")
        graph = _graph(self, x.shape[-1], params.weights["head"]["bias"].shape[0])
        module = nnx.merge(graph, params.weights, params.state, copy=True)
        size = x.shape[1:-1]
        block = 2 ** (len(self.widths) - 1)
        if any(n % block for n in size):
            x = jnp.pad(x, [(0, 0)] + [(0, -n % block) for n in size] + [(0, 0)], mode="edge")
        logits, deep, features = module(x.astype(self.dtype), train, key)
        aux: dict[str, Any] = {"features": _crop(features, size)}
        if self.deep_supervision:
            aux["deep"] = [_crop(y.astype(jnp.float32), [-(-n // 2**i) for n in size]) for i, y in enumerate(deep, 1)]
        new_state = nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)) if train else params.state
        return Output(_crop(logits.astype(jnp.float32), size), aux, new_state)


def _crop(x: jax.Array, size: Any) -> jax.Array:
    if x.shape[1:-1] == tuple(size):
        return x
    return jax.lax.slice(x, [0] * x.ndim, [x.shape[0], *size, x.shape[-1]])


class _Block(nnx.Module):
    """(convolution, norm, activation) × convs, dropout after the first."""

    def __init__(self, net: UNet, channels: int, out: int, rate: float, normals: layers.Normals):
        self.net, self.rate = net, rate
        for i in range(net.convs):
            conv = layers.Conv(channels if i == 0 else out, out, dims=net.dims, bias=net.norm == "none", normals=normals)
            setattr(self, f"conv{i}", conv)
            if net.norm != "none":
                setattr(self, f"norm{i}", layers.Norm(out, net.norm, groups=net.groups, momentum=net.momentum, eps=net.eps))

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        for i in range(self.net.convs):
            x = getattr(self, f"conv{i}")(x)
            if self.net.norm != "none":
                x = getattr(self, f"norm{i}")(x, train)
            x = ACTIVATIONS[self.net.activation](x)
            if i == 0 and train:
                x = layers.dropout(x, self.rate, key, self.net.spatial_dropout)
        return x


class _Module(nnx.Module):
    """Variables of a U-Net: down0 … downL, up(L-1) … up0 with joinL-1 … join0 (the transposed convolutions), head, head1 …"""

    def __init__(self, net: UNet, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        for i, width in enumerate(net.widths):
            setattr(self, f"down{i}", _Block(net, channels if i == 0 else net.widths[i - 1], width, net.rates()[i], normals))
        for i in reversed(range(len(net.widths) - 1)):
            width = net.widths[i]
            setattr(self, f"join{i}", layers.UpConv(net.widths[i + 1], width, dims=net.dims, normals=normals))
            setattr(self, f"up{i}", _Block(net, 2 * width, width, 0.0, normals))
            if i and net.deep_supervision:
                setattr(self, f"head{i}", layers.Conv(width, classes, size=1, dims=net.dims, normals=normals))
        self.head = layers.Conv(net.widths[0], classes, size=net.head, dims=net.dims, normals=normals)

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> tuple[jax.Array, list[jax.Array], jax.Array]:
        skips: list[jax.Array] = []
        deep: list[jax.Array] = []
        for i in range(len(self.net.widths)):
            key_i = None if key is None else jax.random.fold_in(key, i)
            x = getattr(self, f"down{i}")(layers.max_pool(x) if i else x, train, key_i)
            skips.append(x)
        for i in reversed(range(len(self.net.widths) - 1)):
            x = jnp.concatenate([skips[i], getattr(self, f"join{i}")(x)], -1)
            x = getattr(self, f"up{i}")(x, train, None)
            if i and self.net.deep_supervision:
                deep.insert(0, getattr(self, f"head{i}")(x))
        return self.head(x), deep, x


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _init(net: UNet, channels: int, classes: int, key: jax.Array) -> Params:
    count = layers.Normals()
    nnx.eval_shape(lambda: _Module(net, channels, classes, count))
    module = _Module(net, channels, classes, layers.Normals(jax.random.normal(key, (count.used,))))
    weights, state = (nnx.to_pure_dict(nnx.state(module, kind)) for kind in (nnx.Param, nnx.BatchStat))
    return Params(weights, state)


@functools.lru_cache
def _graph(net: UNet, channels: int, classes: int) -> Any:
    """The module without its arrays; building it once keeps tracing cheap."""
    return nnx.graphdef(nnx.eval_shape(lambda: _Module(net, channels, classes, layers.Normals())))
