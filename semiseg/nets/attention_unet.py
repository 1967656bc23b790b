"""Attention U-Net: skip connections that let through what the coarser level asks for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.from_torch.rules import (
    Rule,
    conv_norm,
    layer,
    mapped,
    norm_only,
    to_params,
    transposed,
)
from semiseg.nets.unet import UNet
from semiseg.types import Params


class _GridGate(nnx.Module):
    """skip · sigmoid(psi(relu(W_x skip + W_g coarse))) of the paper, where W_x halves the skip and
    the weights are interpolated back.
    """

    def __init__(self, net: AttentionUNet, skip: int, coarse: int, normals: layers.Normals):
        hidden = max(1, skip // 2)
        pointwise = functools.partial(layers.Conv, size=1, dims=net.dims, normals=normals)
        self.skip = layers.DownConv(skip, hidden, dims=net.dims, bias=False, normals=normals)
        self.signal = pointwise(coarse, hidden)
        self.conv_psi = pointwise(hidden, 1)

    def __call__(
        self,
        skip: jax.Array,
        upsampled: jax.Array,
        coarse: jax.Array,
        train: bool,
    ) -> jax.Array:
        y = jax.nn.relu(self.skip(skip) + self.signal(coarse))
        weight = jax.nn.sigmoid(self.conv_psi(y))
        return skip * layers.resize(weight, skip.shape[1:-1])


class _FineGate(nnx.Module):
    """skip · sigmoid(psi(relu(W_x skip + W_g upsampled))), a norm after each convolution."""

    def __init__(self, net: AttentionUNet, skip: int, normals: layers.Normals):
        hidden = max(1, skip // 2)
        bias = net.norm == "none"
        pointwise = functools.partial(
            layers.Conv,
            size=1,
            dims=net.dims,
            bias=bias,
            normals=normals,
        )
        self.conv_skip = pointwise(skip, hidden)
        self.conv_signal = pointwise(skip, hidden)
        self.conv_psi = pointwise(hidden, 1)
        self.norm_skip = net.normalisation(hidden)
        self.norm_signal = net.normalisation(hidden)
        self.norm_psi = net.normalisation(1)

    def __call__(
        self,
        skip: jax.Array,
        upsampled: jax.Array,
        coarse: jax.Array,
        train: bool,
    ) -> jax.Array:
        y = self.norm_skip(self.conv_skip(skip), train)
        y = jax.nn.relu(y + self.norm_signal(self.conv_signal(upsampled), train))
        return skip * jax.nn.sigmoid(self.norm_psi(self.conv_psi(y), train))


class _OneMerge(nnx.Module):
    """One convolution, instance norm and PReLU: MONAI's join of skip and upsampled activations."""

    def __init__(self, channels: int, out: int, dims: int, normals: layers.Normals):
        self.conv = layers.Conv(channels, out, dims=dims, bias=False, normals=normals)
        self.norm = layers.Norm(out, "instance")
        self.slope = nnx.Param(jnp.full(1, 0.25))

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        x = self.norm(self.conv(x), train)
        return jnp.where(x > 0, x, self.slope[...].astype(x.dtype) * x)


@dataclasses.dataclass(frozen=True)
class AttentionUNet(UNet):
    """Attention U-Net of Oktay et al., MIDL 2018 (figs. 1 and 2), in 2D or 3D.

    With ``gating="grid"`` as in the paper: the skip goes through a 2×2 convolution of stride 2, the
    gating signal (the coarser level) through a 1×1 one; their sum, ReLU, 1×1 convolution and
    sigmoid give a coarse map, interpolated to the skip's size. Differences: one head instead of one
    at every scale (``deep_supervision`` gives the others); the finest skip is gated, too; half the
    skip's channels inside a gate; transposed convolutions; the U-Net's own differences.
    ``gating="fine"`` is what most public code does: the upsampled activations are the signal, so
    nothing is interpolated, and each 1×1 convolution has a norm.

    ``AttentionUNet(widths=(64, …, 1024), norm="batch", gating="fine", up="nearest",
    activation="relu")`` is the public 2D implementation (34.9 M parameters);
    ``AttentionUNet(norm="batch", gating="fine", down="stride", up="transpose3", activation="relu",
    one_merge=True)`` is MONAI's. Every other field is UNet's.

    Attributes:
      gating: ``grid`` (the paper) or ``fine``.
      one_merge: decoder levels are one convolution, instance norm and PReLU.
    """

    gating: Literal["grid", "fine"] = "grid"
    one_merge: bool = False

    def gate(self, skip: int, coarse: int, normals: layers.Normals) -> nnx.Module:
        if self.gating == "grid":
            return _GridGate(self, skip, coarse, normals)
        return _FineGate(self, skip, normals)

    def merge(self, channels: int, out: int, normals: layers.Normals) -> nnx.Module:
        if self.one_merge:
            return _OneMerge(channels, out, self.dims, normals)
        return super().merge(channels, out, normals)


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Variables of MONAI's form (see :class:`AttentionUNet`) from the state dict of MONAI's
    ``AttentionUnet`` with strides of 2.
    """
    flat = {_flat_name(name): value for name, value in state_dict.items()}
    block = r"down(\d)\.conv\.([01])\."
    level = r"level(\d)\."
    gate = level + r"attention\."
    rules: list[Rule] = [
        *conv_norm(block + "conv", block + r"adn\.N", r"down\1.conv\2", r"down\1.norm\2"),
        (level + r"upconv\.up\.conv\.weight", r"join\1.conv.kernel", _flipped),
        (level + r"upconv\.up\.conv\.bias", r"join\1.conv.bias"),
        *norm_only(level + r"upconv\.up\.adn\.N", r"join\1.norm"),
        (level + r"merge\.conv\.weight", r"up\1.conv.kernel"),
        (level + r"merge\.adn\.A\.weight", r"up\1.slope"),
        *layer(r"head\.conv", "head"),
    ]
    for theirs, ours in (("W_x", "skip"), ("W_g", "signal"), ("psi", "psi")):
        conv = gate + theirs + r"\.0\.conv"
        norm = gate + theirs + r"\.1"
        rules += conv_norm(conv, norm, rf"gate\1.conv_{ours}", rf"gate\1.norm_{ours}")
    unused = r".*num_batches_tracked|level\d\.merge\.conv\.bias"
    nested = mapped(flat, rules, "AttentionUNet", unused=unused)
    for name, part in nested.items():
        if name.startswith("up"):  # MONAI's instance norm has no variables
            width = part["conv"]["kernel"].shape[-1]
            part["norm"] = {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
    return to_params(nested)


def _flat_name(name: str) -> str:
    """MONAI's name without its nesting: a level deeper for every ``submodule``.

    >>> _flat_name("model.1.submodule.1.submodule.0.conv.0.conv.weight")
    'down2.conv.0.conv.weight'
    """
    level = name.count("submodule.")
    rest = name.split("submodule.")[-1].removeprefix("model.")
    if level > 0 and rest.startswith("conv."):  # the bottom
        return f"down{level}.{rest}"
    part, rest = rest.split(".", 1)
    parts = {"0": f"down{level}.", "1": f"level{level}."}
    if level == 0:
        parts["2"] = "head."
    return parts[part] + rest


def _flipped(weight: np.ndarray) -> np.ndarray:
    """The kernel of a transposed convolution, which PyTorch stores flipped."""
    space = tuple(range(2, weight.ndim))
    return transposed(np.flip(weight, space))
