"""FCN-8s: a classifier made convolutional, with skips from two finer stages."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.layers import vgg
from semiseg.nets.network import ModuleOutput, Network


@dataclasses.dataclass(frozen=True)
class FCN8s(Network):
    """FCN-8s on VGG16, Long, Shelhamer & Darrell, CVPR 2015 (fig. 3, section 4.2), 2D.

    ``FCN8s(width=64, hidden=4096, norm="none")`` is the paper's (134 M parameters). Differences:
    zeros at the borders instead of 100 pixels of padding and a crop; batch norm, for training from
    scratch; scores initialised at random instead of zero; the fixed 8-fold upsampling is bilinear
    interpolation, which is what its kernel computes inside; a quarter of the channels.

    Attributes:
      width: channels of the first convolution.
      hidden: channels of the two convolutions that were fully connected.
      norm: ``batch``, ``instance``, ``group`` or ``none``, after every convolution but the scores.
      dropout: rate after those two, while training with a key.
      dtype: of the activations; variables and logits are float32 always.
    """

    width: int = 16
    hidden: int = 256
    norm: layers.NormKind = "batch"
    dropout: float = 0.5
    dtype: Literal["float32", "bfloat16"] = "float32"

    linear_head = False

    @property
    def block(self) -> int:
        return 32

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)


class _Module(nnx.Module):
    """Variables: stage1 … stage5, full6, full7, head and the scores head4 and head3, and the learnt
    upsampling up4 and up3.
    """

    def __init__(self, net: FCN8s, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        for i, widths in enumerate(vgg.stage_widths(net.width), 1):
            setattr(self, f"stage{i}", vgg.Stage(channels, widths, net.norm, normals))
            channels = widths[-1]
        self.full6 = layers.ConvNorm(channels, net.hidden, net.norm, size=7, normals=normals)
        self.full7 = layers.ConvNorm(net.hidden, net.hidden, net.norm, size=1, normals=normals)
        self.head = layers.Conv(net.hidden, classes, size=1, normals=normals)
        self.head4 = layers.Conv(8 * net.width, classes, size=1, normals=normals)
        self.head3 = layers.Conv(4 * net.width, classes, size=1, normals=normals)
        self.up4 = nnx.Param(_bilinear(classes))
        self.up3 = nnx.Param(_bilinear(classes))

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        pooled = []
        for i in range(1, 6):
            x = layers.max_pool(getattr(self, f"stage{i}")(x, train))
            pooled.append(x)
        for i, full in enumerate((self.full6, self.full7)):
            x = layers.dropout(full(x, train), self.net.dropout, layers.subkey(key, i))
        y = _doubled(self.head(x), self.up4) + self.head4(pooled[3])
        y = _doubled(y, self.up3) + self.head3(pooled[2])
        size = [8 * pixels for pixels in y.shape[1:-1]]
        return layers.resize(y.astype(jnp.float32), size), {"features": x}


def _doubled(y: jax.Array, kernel: nnx.Param) -> jax.Array:
    """``y`` at twice the size by a learnt kernel."""
    return layers.transposed_conv(y, kernel[...].astype(y.dtype))


def _bilinear(classes: int) -> jax.Array:
    """4×4 kernel that doubles the size of each of ``classes`` maps by interpolation: ``(4, 4, K,
    K)``.
    """
    tap = jnp.array([0.25, 0.75, 0.75, 0.25])
    return (tap[:, None] * tap)[:, :, None, None] * jnp.eye(classes)
