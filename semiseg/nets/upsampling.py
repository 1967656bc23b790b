"""From a coarse decoder level of a U-Net to the next finer one: the choices of ``UNet.up``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
from flax import nnx

from semiseg.nets import layers

if TYPE_CHECKING:
    from semiseg.nets.unet import UNet


class Up(nnx.Module):
    """To twice the size: see ``UNet.up``. Called with ``train``."""

    def __init__(self, net: UNet, channels: int, out: int, normals: layers.Normals):
        self.net = net
        kind: type[layers.Conv] | type[layers.TransposedConv] = layers.Conv
        if net.up == "transpose3":
            kind = layers.TransposedConv
        self.conv = kind(channels, out, dims=net.dims, bias=net.norm == "none", normals=normals)
        self.norm = net.normalisation(out)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if self.net.up == "nearest":
            x = layers.nearest(x)
        return self.net.act(self.norm(self.conv(x), train))


class Interpolation(nnx.Module):
    """To twice the size by linear interpolation, see ``UNet.up``. Called with ``train``; without
    variables.
    """

    def __init__(self, net: UNet):
        self.corners = net.up in ("corners", "conv_corners")

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return layers.resize(x, [2 * n for n in x.shape[1:-1]], self.corners)


class ConvInterpolation(Interpolation):
    """A 1×1 convolution before the interpolation."""

    def __init__(self, net: UNet, channels: int, out: int, normals: layers.Normals):
        super().__init__(net)
        self.conv = layers.Conv(channels, out, size=1, dims=net.dims, normals=normals)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return super().__call__(self.conv(x), train)


def upsampled(join: Any, x: jax.Array, train: bool) -> jax.Array:
    """``x`` through what :meth:`UNet.upsampling` made.

    >>> import jax.numpy as jnp
    >>> upsampled(None, jnp.ones((1, 4, 4, 2)), train=False).shape
    (1, 8, 8, 2)
    """
    if join is None:
        return layers.nearest(x)
    if isinstance(join, layers.UpConv):
        return join(x)
    return join(x, train)
