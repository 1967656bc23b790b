"""Attention U-Net: skip connections that let through what the coarser level asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.from_torch.rules import Rule, conv_norm, mapped, norm_only, to_params, transposed
from semiseg.nets.layers.resample import resize
from semiseg.nets.unet import UNet
from semiseg.types import Params


class _Gate(nnx.Module):
    """skip · sigmoid(psi(relu(W_x skip + W_g g))), see ``AttentionUNet.gating``."""

    def __init__(self, net: AttentionUNet, skip: int, coarse: int, normals: layers.Normals):
        self.net = net
        hidden = max(1, skip // 2)
        bias = net.norm == "none"
        if net.gating == "grid":
            self.skip = layers.DownConv(skip, hidden, dims=net.dims, bias=False, normals=normals)
            self.signal = layers.Conv(coarse, hidden, size=1, dims=net.dims, normals=normals)
        else:
            self.conv_skip = layers.Conv(
                skip, hidden, size=1, dims=net.dims, bias=bias, normals=normals
            )
            self.conv_signal = layers.Conv(
                skip, hidden, size=1, dims=net.dims, bias=bias, normals=normals
            )
        self.conv_psi = layers.Conv(
            hidden, 1, size=1, dims=net.dims, bias=bias or net.gating == "grid", normals=normals
        )
        if not bias and net.gating == "fine":
            for name, channels in (("skip", hidden), ("signal", hidden), ("psi", 1)):
                setattr(self, f"norm_{name}", net.normalisation(channels))

    def __call__(
        self, skip: jax.Array, upsampled: jax.Array, coarse: jax.Array, train: bool
    ) -> jax.Array:
        if self.net.gating == "grid":
            weight = jax.nn.sigmoid(
                self.conv_psi(jax.nn.relu(self.skip(skip) + self.signal(coarse)))
            )
            return skip * resize(weight, skip.shape[1:-1])
        norm = lambda name, y: (
            y if self.net.norm == "none" else getattr(self, f"norm_{name}")(y, train)
        )
        y = jax.nn.relu(
            norm("skip", self.conv_skip(skip)) + norm("signal", self.conv_signal(upsampled))
        )
        return skip * jax.nn.sigmoid(norm("psi", self.conv_psi(y)))


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
        return _Gate(self, skip, coarse, normals)

    def merge(self, channels: int, out: int, normals: layers.Normals) -> nnx.Module:
        return (
            _OneMerge(channels, out, self.dims, normals)
            if self.one_merge
            else super().merge(channels, out, normals)
        )


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Variables of MONAI's form (see :class:`AttentionUNet`) from the state dict of MONAI's
    ``AttentionUnet`` with strides of 2.
    """
    flat = {}
    for (
        name,
        value,
    ) in state_dict.items():  # model.1.submodule.1.submodule.0.conv… : a level for every submodule
        level = name.count("submodule.")
        rest = name.split("submodule.")[-1].removeprefix("model.")
        if level == 0:
            part, rest = rest.split(".", 1)
            flat[{"0": "down0.", "1": "level0.", "2": "head."}[part] + rest] = value
        elif rest.startswith("conv."):  # the bottom
            flat[f"down{level}.{rest}"] = value
        else:
            part, rest = rest.split(".", 1)
            flat[{"0": f"down{level}.", "1": f"level{level}."}[part] + rest] = value
    flipped = lambda w: transposed(w)[tuple(slice(None, None, -1) for _ in w.shape[2:])]
    stem, gate = r"level(\d)\.", r"level(\d)\.attention\."
    rules: list[Rule] = [
        *conv_norm(
            r"down(\d)\.conv\.([01])\.conv",
            r"down(\d)\.conv\.([01])\.adn\.N",
            r"down\1.conv\2",
            r"down\1.norm\2",
        ),
        *conv_norm(
            gate + r"W_x\.0\.conv", gate + r"W_x\.1", r"gate\1.conv_skip", r"gate\1.norm_skip"
        ),
        *conv_norm(
            gate + r"W_g\.0\.conv", gate + r"W_g\.1", r"gate\1.conv_signal", r"gate\1.norm_signal"
        ),
        *conv_norm(
            gate + r"psi\.0\.conv", gate + r"psi\.1", r"gate\1.conv_psi", r"gate\1.norm_psi"
        ),
        (stem + r"upconv\.up\.conv\.weight", r"join\1.conv.kernel", flipped),
        (stem + r"upconv\.up\.conv\.bias", r"join\1.conv.bias"),
        *norm_only(stem + r"upconv\.up\.adn\.N", r"join\1.norm"),
        (stem + r"merge\.conv\.weight", r"up\1.conv.kernel"),
        (stem + r"merge\.adn\.A\.weight", r"up\1.slope"),
        (r"head\.conv\.weight", "head.kernel"),
        (r"head\.conv\.bias", "head.bias"),
    ]
    every = mapped(
        flat, rules, "AttentionUNet", unused=r".*num_batches_tracked|level\d\.merge\.conv\.bias"
    )
    for name in [n for n in every if n.startswith("up")]:  # MONAI's instance norm has no variables
        width = every[name]["conv"]["kernel"].shape[-1]
        every[name]["norm"] = {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
    return to_params(every)
