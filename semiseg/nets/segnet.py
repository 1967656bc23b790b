"""SegNet: a decoder that puts activations back where the encoder's pooling took them from."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.layers import vgg
from semiseg.nets.network import ModuleOutput, Network


@dataclasses.dataclass(frozen=True)
class SegNet(Network):
    """SegNet of Badrinarayanan, Kendall & Cipolla, IEEE TPAMI 2017 (fig. 2), 2D: VGG16's 13
    convolutions and their mirror image.

    ``SegNet(width=64)`` is the paper's (29.4 M parameters, a model of 117 MB). Differences: the
    image's sizes need not be multiples of 32; dropout (Bayesian SegNet, BMVC 2017, drops around the
    six deepest stages), off by default; a quarter of the channels.

    Attributes:
      width: channels of the first convolution.
      norm: ``batch``, ``instance``, ``group`` or ``none``, after every convolution but the last.
      dropout: rate after the three deepest stages of encoder and decoder, while training with a
        key.
      dtype: of the activations; variables and logits are float32 always.
    """

    width: int = 16
    norm: layers.NormKind = "batch"
    dropout: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"

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
    """Variables: down0 … down4, up4 … up0 and head, which is the last convolution of the mirror
    image.
    """

    def __init__(self, net: SegNet, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        stages = vgg.stage_widths(net.width)
        inputs = [channels, *(widths[-1] for widths in stages)]
        for i, widths in enumerate(stages):
            setattr(self, f"down{i}", vgg.Stage(inputs[i], widths, net.norm, normals))
        for i in reversed(range(len(stages))):
            widths = stages[i][1:]
            if i > 0:
                widths = [*widths, inputs[i]]
            setattr(self, f"up{i}", vgg.Stage(inputs[i + 1], widths, net.norm, normals))
        self.head = layers.Conv(net.width, classes, normals=normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        places = []
        for i in range(5):
            x, place = layers.max_pool_with_index(getattr(self, f"down{i}")(x, train))
            x = self._drop(x, i, layers.subkey(key, 2 * i))
            places.append(place)
        for i in reversed(range(5)):
            x = getattr(self, f"up{i}")(layers.max_unpool(x, places[i]), train)
            x = self._drop(x, i, layers.subkey(key, 2 * i + 1))
        return self.head(x), {"features": x}

    def _drop(self, x: jax.Array, stage: int, key: jax.Array | None) -> jax.Array:
        """Dropout in the three deepest stages."""
        if stage < 2:
            return x
        return layers.dropout(x, self.net.dropout, key)
