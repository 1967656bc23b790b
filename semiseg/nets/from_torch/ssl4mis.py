"""Weights of SSL4MIS (Luo et al., github.com/HiLab-git/SSL4MIS): its 2D U-Net with one or several
decoders, its 3D U-Net and its V-Net, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from semiseg.nets.from_torch.rules import (
    Rule,
    conv_norm,
    layer,
    mapped,
    norm_only,
    to_params,
    transposed,
    unet_blocks,
    unet_joins,
)
from semiseg.types import Net, Params

State = Mapping[str, np.ndarray]

STAGES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""SSL4MIS's names of the stages of a V-Net, those on the way down first."""

NO_COUNTERPART = r".*num_batches_tracked"


# ------------------------------------------------------------------ 2D: UNet, UNet_DS, UNet_CCT …
def unet_fields(state: State) -> dict[str, Any]:
    """Fields of ``unet`` that a 2D U-Net of SSL4MIS was made with; dropout has no weights."""
    widths = [_outputs(state["encoder.in_conv.conv_conv.0.weight"])]
    for level in range(1, 5):
        widths.append(_outputs(state[f"encoder.down{level}.maxpool_conv.1.conv_conv.0.weight"]))
    up = "transpose"
    if any(name.endswith("up1.conv1x1.weight") for name in state):
        up = "conv_corners"
    return {"widths": tuple(widths), "norm": "batch", "head": 3, "up": up}


def unet_params(state: State, net: Net) -> Params:
    """Variables of ``UNet(norm="batch", head=3, up="conv_corners")`` from the state dict of
    ``UNet``, ``UNet_DS``, ``UNet_URPC`` or ``UNet_CCT``.

    Of ``UNet_CCT`` the main decoder is read. The auxiliary decoders and the heads of the deep
    supervision play no part in a prediction and are left out.
    """
    decoder = r"(?:main_)?decoder\."
    encoder = r"encoder\."
    rules = layer(decoder + "out_conv", "head")
    rules += unet_blocks(encoder + r"in_conv\.", encoder, decoder, r"conv_conv\.", convs=(0, 4))
    rules += unet_joins(decoder)
    for level in range(4):
        rules += layer(rf"{decoder}up{4 - level}\.conv1x1", f"join{level}.conv")
    unused = NO_COUNTERPART + r"|aux_decoder\d\..*|decoder\.out_conv_dp\d\..*"
    return to_params(mapped(state, rules, "UNet", unused=unused))


# ------------------------------------------------------------------ 3D: unet_3D
def unet_3d_fields(state: State) -> dict[str, Any]:
    """Fields of ``unet`` that ``unet_3D`` was made with. Its instance norm has no weights, so that
    the file does not say whether there was one; SSL4MIS builds it with one.
    """
    parts = (*(f"conv{level}" for level in range(1, 5)), "center")
    return {
        "widths": tuple(_outputs(state[f"{part}.conv1.0.weight"]) for part in parts),
        "norm": "instance",
        "dims": 3,
        "activation": "relu",
        "up": "linear",
    }


def unet_3d_params(state: State, net: Net) -> Params:
    """Variables of ``UNet(dims=3, norm="instance", activation="relu", up="linear")`` from the state
    dict of ``unet_3D``.
    """
    rules: list[Rule] = layer("final", "head")
    for number in (0, 1):
        rules += layer(rf"center\.conv{number + 1}\.0", f"down4.conv{number}")
        for level in range(4):
            theirs = rf"conv{level + 1}\.conv{number + 1}\.0"
            rules += layer(theirs, f"down{level}.conv{number}")
            rules += layer(
                rf"up_concat{level + 1}\.conv\.conv{number + 1}\.0", f"up{level}.conv{number}"
            )
    nested = mapped(state, rules, "UNet")
    if getattr(net, "norm", "none") != "none":
        for block in nested.values():
            for number in (0, 1):
                if f"conv{number}" in block:
                    width = block[f"conv{number}"]["kernel"].shape[-1]
                    block[f"norm{number}"] = _identity(width)
    return to_params(nested)


# ------------------------------------------------------------------ 3D: VNet
def vnet_fields(state: State) -> dict[str, Any]:
    """Fields of ``plain_vnet`` that a V-Net of SSL4MIS was made with."""
    norm = "batch"
    if not any(name.endswith("running_mean") for name in state):
        # convolution and activation alone: the second convolution of a stage is entry 2, not 3
        norm = "none" if "block_two.conv.2.weight" in state else "instance"
    return {"width": _outputs(state["block_one.conv.0.weight"]), "norm": norm}


def vnet_params(state: State, net: Net) -> Params:
    """Variables of ``PlainVNet`` from the state dict of ``VNet``.

    Raises:
      ValueError: its norm is a group norm, of 16 groups, which ``PlainVNet`` does not have.
    """
    batch = any(name.endswith("running_mean") for name in state)
    if not batch and "block_one.conv.1.weight" in state:
        raise ValueError("a V-Net of SSL4MIS with group norm has no counterpart here")
    # without norms a stage is convolution, activation, convolution …; else a norm is between them
    step = 2 if "block_two.conv.2.weight" in state else 3
    rules: list[Rule] = layer("out_conv", "head")
    for place, name in enumerate(STAGES):
        level = min(place, 8 - place)
        stage = f"down{level}" if place < 5 else f"up{level}"
        for number in range(3):
            theirs = rf"block_{name}\.conv\.{step * number}"
            norm = rf"block_{name}\.conv\.{step * number + 1}"
            ours = f"{stage}.part{number}"
            rules += conv_norm(theirs, norm, f"{ours}.conv", f"{ours}.norm")
        rules += conv_norm(
            rf"block_{name}_dw\.conv\.0",
            rf"block_{name}_dw\.conv\.1",
            f"into{level + 1}.conv",
            f"into{level + 1}.norm",
        )
        rules += [
            (rf"block_{name}_up\.conv\.0\.weight", f"out{level - 1}.conv.kernel", transposed),
            (rf"block_{name}_up\.conv\.0\.bias", f"out{level - 1}.conv.bias"),
            *norm_only(rf"block_{name}_up\.conv\.1", f"out{level - 1}.norm"),
        ]
    nested = mapped(state, rules, "PlainVNet", unused=NO_COUNTERPART)
    if not batch and getattr(net, "norm", "none") != "none":
        _add_identities(nested)
    return to_params(nested)


def _add_identities(nested: dict[str, Any]) -> None:
    """Puts the norm without weights of ``InstanceNorm3d`` beside every convolution but the last."""
    for part in list(nested.values()):
        if not isinstance(part, dict):
            continue
        if "conv" in part:
            part["norm"] = _identity(part["conv"]["kernel"].shape[-1])
        else:
            _add_identities(part)


def _identity(width: int) -> dict[str, Any]:
    """Scale and bias that change nothing."""
    return {"scale": jnp.ones(width), "bias": jnp.zeros(width)}


def _outputs(weight: np.ndarray) -> int:
    """Channels that a convolution gives."""
    return int(np.asarray(weight).shape[0])
