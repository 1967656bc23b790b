"""Weights of milesial's U-Net (github.com/milesial/Pytorch-UNet), both forms, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from semiseg.nets.from_torch.rules import layer, mapped, to_params, unet_blocks, unet_joins
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
    rules = layer(r"outc\.conv", "head")
    rules += unet_blocks(r"inc\.", "", "", r"double_conv\.", convs=(0, 3))
    rules += unet_joins("")
    return to_params(mapped(state, rules, "UNet", unused=r".*num_batches_tracked"))
