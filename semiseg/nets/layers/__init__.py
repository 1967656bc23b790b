"""What networks are built of: convolutions, norms, attention, pooling; channels last, in any number
of spatial axes.

A network's file begins with ``from semiseg.nets import layers`` and says ``layers.Conv``. This page
is the list of what there is; each file states what it holds. Whole encoders (``vgg``, ``resnet``)
are imported by name.
"""

from semiseg.nets.layers.attention import (
    MLP,
    Attention,
    Swin,
    Transformer,
    attend,
    heads_divide,
    relative_bias,
    shift_mask,
)
from semiseg.nets.layers.convolution import (
    Conv,
    ConvNorm,
    DownConv,
    TransposedConv,
    UpConv,
    conv,
    down_conv,
    transposed_conv,
    up_conv,
)
from semiseg.nets.layers.linear import Linear, add_bias, along_channels
from semiseg.nets.layers.norm import (
    LayerNorm,
    NoNorm,
    Norm,
    NormKind,
    layer_norm,
    make_norm,
    moments,
    normalize,
)
from semiseg.nets.layers.normals import Normals
from semiseg.nets.layers.patches import (
    PatchEmbed,
    PatchMerge,
    blocks,
    cut,
    join,
    merge_order,
    split_axes,
    unblocks,
)
from semiseg.nets.layers.resample import (
    avg_pool,
    block_mean,
    max_pool,
    max_pool_with_index,
    max_unpool,
    nearest,
    overlapping_max_pool,
    resize,
)
from semiseg.nets.layers.stochastic import drop_path, dropout, subkey, subkeys

__all__ = [
    "MLP",
    "Attention",
    "Conv",
    "ConvNorm",
    "DownConv",
    "LayerNorm",
    "Linear",
    "NoNorm",
    "Norm",
    "NormKind",
    "Normals",
    "PatchEmbed",
    "PatchMerge",
    "Swin",
    "Transformer",
    "TransposedConv",
    "UpConv",
    "add_bias",
    "along_channels",
    "attend",
    "avg_pool",
    "block_mean",
    "blocks",
    "conv",
    "cut",
    "down_conv",
    "drop_path",
    "dropout",
    "heads_divide",
    "join",
    "layer_norm",
    "make_norm",
    "max_pool",
    "max_pool_with_index",
    "max_unpool",
    "merge_order",
    "moments",
    "nearest",
    "normalize",
    "overlapping_max_pool",
    "relative_bias",
    "resize",
    "shift_mask",
    "split_axes",
    "subkey",
    "subkeys",
    "transposed_conv",
    "unblocks",
    "up_conv",
]
