"""SegResNet: a residual encoder-decoder, asymmetric, with an optional variational autoencoder that
regularises its encoder.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.from_torch.rules import Rule, layer, mapped, norm_only
from semiseg.nets.network import ModuleOutput, Network, freeze_stages
from semiseg.types import Params


@dataclasses.dataclass(frozen=True)
class SegResNet(Network):
    """SegResNet of Myronenko, BrainLes 2018 (fig. 1 and table 1): segmentation with autoencoder
    regularisation.

    Residual blocks are norm, ReLU, convolution, twice; each level is entered by a convolution of
    stride 2 and left by a 1×1 convolution and linear doubling; skips are added. Deliberate
    differences: the sigmoid over three nested regions is a softmax over classes; a norm and a ReLU
    stand before the last convolution, as in MONAI. Of the autoencoder the second dense layer gives
    the tensor the decoder starts from directly, so it has no 1×1 convolution of its own to restore
    the channels but the first of the decoder.

    Parameters, 4 channels, 3 classes, widths 32 … 256: 18.80 M (MONAI 1.6: 18.80 M; the paper gives
    none).

    Attributes:
      width: channels at full resolution; they double with each level.
      down: residual blocks of each encoder level.
      up: residual blocks of each decoder level, one level fewer.
      vae: while training, also reconstruct the image from its code; its loss, ``vae_weight`` ·
        (mean squared error + KL divergence), is ``aux["losses"]["vae"]``, to be added to a
        method's. The size of the images is then fixed when the variables are made.
      vae_weight: the paper's .1 for both terms.
      latent: numbers in the code; a mean and a standard deviation each.
      dropout: rate at which whole channels are dropped after the first convolution while training
        with a key (the paper: .2).
      norm: ``group`` with groups of at most ``groups``, or another kind.
      groups: of the group norm.
      dims: 2 or 3.
      dtype: of the activations; variables and logits are float32 always.
    """

    width: int = 32
    down: tuple[int, ...] = (1, 2, 2, 4)
    up: tuple[int, ...] = (1, 1, 1)
    vae: bool = False
    vae_weight: float = 0.1
    latent: int = 128
    dropout: float = 0.0
    norm: layers.NormKind = "group"
    groups: int = 8
    dims: Literal[2, 3] = 3
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        freeze_stages(self, "down", "up", "levels")

    linear_head = False

    @property
    def block(self) -> int:
        levels = len(self.down)
        if self.vae:
            return 2**levels
        return 2 ** (levels - 1)

    def classes(self, weights: Any) -> int:
        return weights["decoder"]["head"]["bias"].shape[0]

    def normalisation(self, channels: int) -> layers.Norm:
        """The norm before an activation."""
        return layers.Norm(channels, self.norm, groups=self.groups)

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals, size)


def double(x: jax.Array) -> jax.Array:
    """Twice the size along every axis by linear interpolation, pixel centres aligned; the border is
    repeated. ``(B, *space, C)`` to ``(B, *space · 2, C)``.

    Volumes as weighted sums of shifted copies, whose gradient is the same: two products a voxel and
    axis, where a matrix of interpolation takes as many as the axis is long; that is faster for
    images alone (a step of 201 instead of 225 ms at 4×128²×16).

    >>> double(jnp.array([0.0, 4.0]).reshape(1, 2, 1)).ravel().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    if x.ndim == 4:
        twice = [2 * n for n in x.shape[1:-1]]
        return jax.image.resize(x, (x.shape[0], *twice, x.shape[-1]), "linear")
    for axis in range(1, x.ndim - 1):
        n = x.shape[axis]
        part = functools.partial(jax.lax.slice_in_dim, x, axis=axis)
        before = jnp.concatenate([part(0, 1), part(0, n - 1)], axis)
        after = jnp.concatenate([part(1, n), part(n - 1, n)], axis)
        x = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = x.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 2 :])
    return x


class _Block(nnx.Module):
    """x + conv(relu(norm(conv(relu(norm(x))))))."""

    def __init__(self, net: SegResNet, width: int, normals: layers.Normals):
        conv = functools.partial(
            layers.Conv,
            width,
            width,
            dims=net.dims,
            bias=False,
            normals=normals,
        )
        self.norm1 = net.normalisation(width)
        self.conv1 = conv()
        self.norm2 = net.normalisation(width)
        self.conv2 = conv()

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = self.conv1(jax.nn.relu(self.norm1(x, train)))
        return x + self.conv2(jax.nn.relu(self.norm2(y, train)))


class _Decoder(nnx.Module):
    """Variables: shrink2 … shrink0 (1×1 convolutions), up2block0 …, norm and head (the last
    convolution, with a bias).
    """

    def __init__(self, net: SegResNet, out: int, normals: layers.Normals):
        self.net = net
        pointwise = functools.partial(layers.Conv, size=1, dims=net.dims, normals=normals)
        for i, blocks in zip(reversed(range(len(net.up))), net.up, strict=True):
            width = net.width * 2**i
            setattr(self, f"shrink{i}", pointwise(2 * width, width, bias=False))
            for j in range(blocks):
                setattr(self, f"up{i}block{j}", _Block(net, width, normals))
        self.norm = net.normalisation(net.width)
        self.head = pointwise(net.width, out)

    def __call__(
        self,
        x: jax.Array,
        skips: list[jax.Array] | None,
        train: bool,
    ) -> tuple[jax.Array, jax.Array]:
        levels = reversed(range(len(self.net.up)))
        for i, blocks in zip(levels, self.net.up, strict=True):
            x = double(getattr(self, f"shrink{i}")(x))
            if skips is not None:
                x = x + skips[i]
            for j in range(blocks):
                x = getattr(self, f"up{i}block{j}")(x, train)
        x = jax.nn.relu(self.norm(x, train))
        return self.head(x), x


class _Autoencoder(nnx.Module):
    """Variables: norm, reduce (stride 2, 16 channels), code (to means and deviations), restore,
    widen (1×1), decoder.
    """

    def __init__(
        self,
        net: SegResNet,
        channels: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ):
        self.net = net
        width = net.width * 2 ** (len(net.down) - 1)
        inner = 16 * math.prod(n // 2 ** len(net.down) for n in size)
        self.norm = net.normalisation(width)
        self.reduce = layers.Conv(width, 16, stride=2, dims=net.dims, normals=normals)
        self.code = layers.Linear(inner, 2 * net.latent, normals=normals)
        self.restore = layers.Linear(net.latent, inner, normals=normals)
        self.widen = layers.Conv(16, width, size=1, dims=net.dims, normals=normals)
        self.decoder = _Decoder(net, channels, normals)

    def __call__(
        self,
        x: jax.Array,
        image: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> jax.Array:
        y = self.reduce(jax.nn.relu(self.norm(x, train)))
        flat = y.reshape(y.shape[0], -1)
        if flat.shape[1] != self.code.kernel[...].shape[0]:
            raise ValueError(
                f"SegResNet(vae=True) was made for images of another size; it trains on none of "
                f"{image.shape[1:-1]}"
            )
        mean, log_variance = jnp.split(self.code(flat).astype(jnp.float32), 2, -1)
        noise: jax.Array | float = 0.0
        if key is not None:
            noise = jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        code = (mean + noise).astype(x.dtype)
        z = jax.nn.relu(self.restore(code)).reshape(y.shape)
        restored, _ = self.decoder(double(self.widen(z)), None, train)
        error = jnp.mean((restored.astype(jnp.float32) - image.astype(jnp.float32)) ** 2)
        # the sum over the code of each image, divided by its number of pixels: the N of the paper's
        # equation 4
        sums = jnp.sum(mean**2 + jnp.exp(log_variance) - log_variance - 1, -1)
        divergence = jnp.mean(sums) / math.prod(image.shape[1:-1])
        return self.net.vae_weight * (error + divergence)


class _Module(nnx.Module):
    """Variables: enter0, down0block0 …, enter1 (stride 2) …; decoder; vae."""

    def __init__(
        self,
        net: SegResNet,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ):
        self.net = net
        given = channels
        for i, blocks in enumerate(net.down):
            width = net.width * 2**i
            stride = 1 if i == 0 else 2
            conv = layers.Conv(
                given,
                width,
                stride=stride,
                dims=net.dims,
                bias=False,
                normals=normals,
            )
            setattr(self, f"enter{i}", conv)
            for j in range(blocks):
                setattr(self, f"down{i}block{j}", _Block(net, width, normals))
            given = width
        self.decoder = _Decoder(net, classes, normals)
        if net.vae:
            self.vae = _Autoencoder(net, channels, normals, size)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        image = x
        skips = []
        k_drop, k_code = layers.subkeys(key, 2)
        for i, blocks in enumerate(self.net.down):
            x = getattr(self, f"enter{i}")(x)
            if i == 0:
                x = layers.dropout(x, self.net.dropout, k_drop, spatial=True)
            for j in range(blocks):
                x = getattr(self, f"down{i}block{j}")(x, train)
            skips.append(x)
        logits, features = self.decoder(x, skips, train)
        aux: dict[str, Any] = {"features": features}
        if self.net.vae and train:
            aux["losses"] = {"vae": self.vae(x, image, train, k_code)}
        return logits, aux


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Variables of ``SegResNet`` from the state dict of MONAI's ``SegResNet`` (group norm,
    ``upsample_mode="nontrainable"``).
    """
    numbers = [name.split(".")[1] for name in state_dict if name.startswith("up_layers.")]
    levels = 1 + max(map(int, numbers))
    rules: list[Rule] = [
        (r"convInit\.conv\.weight", "enter0.kernel"),
        (r"down_layers\.(\d+)\.0\.conv\.weight", r"enter\1.kernel"),
        (r"up_samples\.(\d+)\.0\.conv\.weight", r"decoder.shrink-\1-.kernel"),
        *norm_only(r"conv_final\.0", "decoder.norm"),
        *layer(r"conv_final\.2\.conv", "decoder.head"),
    ]
    for theirs, ours in (
        (r"down_layers\.(\d+)\.(\d+)\.", r"down-\1-\2."),
        (r"up_layers\.(\d+)\.(\d+)\.", r"decoder.up-\1-\2."),
    ):
        rules += norm_only(theirs + "norm([12])", ours + r"norm\3")
        rules.append((theirs + r"conv([12])\.conv\.weight", ours + r"conv\3.kernel"))
    weights = mapped(state_dict, rules, "SegResNet")
    for part in (weights, weights["decoder"]):
        for name in [name for name in part if "-" in name]:
            kind, level, block = name.split("-")
            part[_our_name(kind, int(level), block, levels)] = part.pop(name)
    return Params(weights, {})


def _our_name(kind: str, level: int, block: str, levels: int) -> str:
    """Our name of a part: PyTorch's first block of an encoder level is 1 (0 is the convolution
    before it), and its decoder levels count from the coarsest.

    >>> _our_name("down", 2, "1", 3), _our_name("up", 2, "1", 3), _our_name("shrink", 0, "", 3)
    ('down2block0', 'up0block1', 'shrink2')
    """
    if kind == "down":
        return f"down{level}block{int(block) - 1}"
    if kind == "up":
        return f"up{levels - 1 - level}block{block}"
    return f"{kind}{levels - 1 - level}"
