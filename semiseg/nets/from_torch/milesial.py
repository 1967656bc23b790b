"""Weights of milesial's U-Net (github.com/milesial/Pytorch-UNet), both forms, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from semiseg.nets.from_torch.rules import Rule, conv_norm, layer, mapped, to_params, transposed
from semiseg.types import Net, Params


def unet_fields(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Fields of ``unet`` that the weights were made with: ``bilinear=True`` has no weights that
    upsample.
    """
    names = ["inc", *(f"down{level}.maxpool_conv.1" for level in range(1, 5))]
    widths = [np.asarray(state[f"{name}.double_conv.3.weight"]).shape[0] for name in names]
    up = "transpose" if "up1.up.weight" in state else "corners"
    return {"widths": tuple(widths), "norm": "batch", "activation": "relu", "up": up}


def unet_params(state: Mapping[str, np.ndarray], net: Net) -> Params:
    """Variables of ``UNet(norm="batch", activation="relu")``, with ``up="corners"`` for
    ``bilinear=True``, from the state dict of ``UNet``.

    Where a size is no multiple of 16 the two differ at the border: milesial pads a decoder level
    with zeros, and here the image is padded.
    """
    rules: list[Rule] = layer(r"outc\.conv", "head")
    for conv, norm, number in ((0, 1, 0), (3, 4, 1)):
        for theirs, ours in (
            (r"inc\.", "down0."),
            (r"down(\d)\.maxpool_conv\.1\.", r"down\1."),
            *((rf"up{k}\.conv\.", f"up{4 - k}.") for k in range(1, 5)),
        ):
            block = theirs + r"double_conv\."
            rules += conv_norm(
                f"{block}{conv}", f"{block}{norm}", f"{ours}conv{number}", f"{ours}norm{number}"
            )
    for k in range(1, 5):
        rules += [
            (rf"up{k}\.up\.weight", f"join{4 - k}.kernel", transposed),
            (rf"up{k}\.up\.bias", f"join{4 - k}.bias"),
        ]
    return to_params(mapped(state, rules, "UNet", unused=r".*num_batches_tracked"))
