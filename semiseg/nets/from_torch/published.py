"""The PyTorch classes whose weights are known by their names: which network each is here, and with
which fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from semiseg.nets.from_torch import milesial, ssl4mis
from semiseg.types import Net, Params

State = Mapping[str, np.ndarray]


class Published(NamedTuple):
    """A PyTorch class.

    Attributes:
      title: whose class it is.
      net: name of the network here; empty where there is none.
      marks: patterns of names (whole regular expressions); weights in which every one of them
        occurs are of this class.
      fields: the fields of the network that a state dict was made with, as far as it says so.
      params: variables from a state dict; None for the ``from_torch`` of the network's module.
    """

    title: str
    net: str
    marks: tuple[str, ...]
    fields: Callable[[State], dict[str, Any]]
    params: Callable[[State, Net], Params] | None = None


# ------------------------------------------------------------------ fields of the others' classes
def _basic_unet(state: State) -> dict[str, Any]:
    """MONAI's BasicUNet."""
    widths = [_outputs(state["conv_0.conv_0.conv.weight"])]
    widths += [_outputs(state[f"down_{i}.convs.conv_0.conv.weight"]) for i in range(1, 5)]
    return {**_norm(state), "widths": tuple(widths), "dims": _dims(state), "slope": 0.1}


def _basic_unet_plus_plus(state: State) -> dict[str, Any]:
    """MONAI's BasicUNetPlusPlus, which has the weights of every head whatever it gives."""
    widths = [_outputs(state["conv_0_0.conv_0.conv.weight"])]
    widths += [_outputs(state[f"conv_{i}_0.convs.conv_0.conv.weight"]) for i in range(1, 5)]
    fields = {**_norm(state), "widths": tuple(widths), "slope": 0.1}
    if "final_conv_0_1.weight" in state:
        fields["deep_supervision"] = True
    return fields


def _attention_unet(state: State) -> dict[str, Any]:
    """MONAI's AttentionUnet with strides of 2."""
    return {
        "norm": "batch",
        "gating": "fine",
        "down": "stride",
        "up": "transpose3",
        "activation": "relu",
        "one_merge": True,
    }


def _segresnet(state: State) -> dict[str, Any]:
    """MONAI's SegResNet."""
    return {
        "width": _outputs(state["convInit.conv.weight"]),
        "down": _counts(state, r"down_layers\.(\d+)\.\d+\.conv1\.conv\.weight"),
        "up": _counts(state, r"up_layers\.(\d+)\.\d+\.conv1\.conv\.weight"),
        "dims": _dims(state),
    }


def _vnet(state: State) -> dict[str, Any]:
    """MONAI's VNet."""
    arrangement = {"convs": (1, 1, 2, 3, 2), "ups": (2, 2, 1, 1)}
    return {**arrangement, "activation": "elu", "head": "conv", "dims": _dims(state)}


def _nnunet(state: State) -> dict[str, Any]:
    """nnU-Net's ResidualEncoderUNet or PlainConvUNet (dynamic-network-architectures)."""
    residual = r"encoder\.stages\.(\d+)\.blocks\.\d+\.conv1\.conv\.weight"
    plain = r"encoder\.stages\.(\d+)\.0\.convs\.\d+\.conv\.weight"
    kind = "residual" if any(re.fullmatch(residual, name) for name in state) else "plain"
    pattern = residual if kind == "residual" else plain
    kernels: dict[int, np.ndarray] = {}
    for name, value in state.items():
        if match := re.fullmatch(pattern, name):
            kernels.setdefault(int(match[1]), np.asarray(value))
    stages = [kernels[stage] for stage in sorted(kernels)]
    flat = 0
    while flat < len(stages) and stages[flat].ndim == 5 and stages[flat].shape[2] == 1:
        flat += 1
    decoder = r"decoder\.stages\.(\d+)\.convs\.\d+\.conv\.weight"
    return {
        "widths": tuple(_outputs(kernel) for kernel in stages),
        "blocks": _counts(state, pattern),
        "convs": _counts(state, decoder)[0],
        "encoder": kind,
        "flat": flat,
        "dims": stages[0].ndim - 2,
        **_norm(state),
    }


def _unknown(state: State) -> dict[str, Any]:
    """Nothing is read off the file."""
    return {}


# ------------------------------------------------------------------ the table
PUBLISHED = (
    Published(
        "SSL4MIS's UNet",
        "unet",
        (
            r"encoder\.in_conv\.conv_conv\.0\.weight",
            r"encoder\.down4\.maxpool_conv\.1\.conv_conv\.0\.weight",
            r"(main_)?decoder\.out_conv\.weight",
        ),
        ssl4mis.unet_fields,
        ssl4mis.unet_params,
    ),
    Published(
        "SSL4MIS's unet_3D",
        "unet",
        (r"center\.conv1\.0\.weight", r"up_concat4\.conv\.conv1\.0\.weight"),
        ssl4mis.unet_3d_fields,
        ssl4mis.unet_3d_params,
    ),
    Published(
        "SSL4MIS's VNet",
        "plain_vnet",
        (r"block_one\.conv\.0\.weight", r"block_nine\.conv\.0\.weight"),
        ssl4mis.vnet_fields,
        ssl4mis.vnet_params,
    ),
    Published(
        "milesial's UNet",
        "unet",
        (r"inc\.double_conv\.0\.weight", r"outc\.conv\.weight"),
        milesial.unet_fields,
        milesial.unet_params,
    ),
    Published(
        "nnU-Net's network",
        "resenc_unet",
        (r"encoder\.stages\.0\..*\.conv\.weight", r"decoder\.seg_layers\.0\.weight"),
        _nnunet,
    ),
    Published(
        "MONAI's BasicUNet",
        "unet",
        (r"conv_0\.conv_0\.conv\.weight", r"upcat_1\.upsample\.deconv\.weight"),
        _basic_unet,
    ),
    Published(
        "MONAI's BasicUNetPlusPlus",
        "unet_plus_plus",
        (r"conv_0_0\.conv_0\.conv\.weight", r"upcat_0_4\.upsample\.deconv\.weight"),
        _basic_unet_plus_plus,
    ),
    Published(
        "MONAI's AttentionUnet",
        "attention_unet",
        (r"model\.1\..*attention\.W_g\.0\.conv\.weight",),
        _attention_unet,
    ),
    Published("MONAI's SegResNet", "segresnet", (r"convInit\.conv\.weight",), _segresnet),
    Published("MONAI's VNet", "vnet", (r"in_tr\.conv_block\.conv\.weight",), _vnet),
    Published(
        "MONAI's UNETR",
        "unetr",
        (r"vit\.patch_embedding\.position_embeddings", r"encoder1\.layer\.conv1\.conv\.weight"),
        _unknown,
    ),
    Published(
        "MONAI's SwinUNETR", "swin_unetr", (r"swinViT\.patch_embed\.proj\.weight",), _unknown
    ),
    Published(
        "torchvision's DeepLabV3",
        "deeplabv3",
        (r"backbone\.layer1\.0\.conv1\.weight", r"classifier\.0\.convs\.0\.0\.weight"),
        _unknown,
    ),
    Published(
        "torchvision's FCN",
        "fcn_resnet50",
        (r"backbone\.layer1\.0\.conv1\.weight", r"classifier\.0\.weight"),
        _unknown,
    ),
    Published("MONAI's UNet", "", (r"model\.0\.conv\..*", r"model\.1\.submodule\..*"), _unknown),
)
"""Known classes. Of two whose marks occur, the first is taken."""


def published(state: State) -> tuple[Published | None, State]:
    """The class that weights are of, and the weights under that class's own names.

    A first part that all names share (``model.`` of a Lightning module) is dropped where the class
    is known without it.

    >>> state = {"net.convInit.conv.weight": np.ones((8, 1, 3, 3, 3))}
    >>> source, state = published(state)
    >>> source.title, list(state)
    ("MONAI's SegResNet", ['convInit.conv.weight'])
    """
    shorter = state
    while shorter:
        for source in PUBLISHED:
            if all(_occurs(mark, shorter) for mark in source.marks):
                return source, shorter
        first = {name.partition(".")[0] for name in shorter}
        if len(first) > 1:
            break
        shorter = {name.partition(".")[2]: value for name, value in shorter.items()}
        if "" in shorter:
            break
    return None, state


def _occurs(mark: str, names: Iterable[str]) -> bool:
    return any(re.fullmatch(mark, name) for name in names)


# ------------------------------------------------------------------ what a state dict says
def _outputs(weight: np.ndarray) -> int:
    """Channels that a convolution gives."""
    return int(np.asarray(weight).shape[0])


def _dims(state: State) -> int:
    """Spatial axes of its convolutions."""
    return max(np.asarray(value).ndim for value in state.values()) - 2


def _norm(state: State) -> dict[str, str]:
    """Batch norm if there are running statistics, else instance norm."""
    has_statistics = any(name.endswith("running_mean") for name in state)
    return {"norm": "batch" if has_statistics else "instance"}


def _counts(state: State, pattern: str) -> tuple[int, ...]:
    """How many names of each number match a pattern whose first group is the number."""
    counts: dict[int, int] = {}
    for name in state:
        if match := re.fullmatch(pattern, name):
            number = int(match[1])
            counts[number] = counts.get(number, 0) + 1
    return tuple(counts[number] for number in sorted(counts))
