"""PointRend: any network as the coarse one, and a small one that decides its uncertain pixels again
at full resolution.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.network import ModuleOutput, Network
from semiseg.nets.unet import UNet
from semiseg.types import Net


@dataclasses.dataclass(frozen=True)
class PointRend(Network):
    """PointRend head of Kirillov et al., CVPR 2020 (figures 3 and 4), on any other network, in 2D
    or 3D.

    The network, one that gives ``aux["features"]``, sees the image averaged over blocks of
    ``scale``. The head maps a pixel's features and coarse logits, interpolated there, and its
    values of one 3×3 convolution of the full image to logits: an MLP that is given the coarse
    logits again at each layer.

    Training decides ``points`` pixels, of ``oversample`` times as many drawn the most uncertain
    (``importance`` of them; the others anywhere); evaluation doubles the resolution until it is
    full and decides the most uncertain at each step. Uncertain is a small gap between the two
    largest logits.

    Deliberate differences: points are pixels, not places between them; instead of a loss of their
    own, the points' logits take their pixels' places in the training output, so that every loss and
    every method, also on unlabelled images, trains the head, and the coarse logits are supervised
    beside them as ``aux["deep"]``. ``aux["points"]`` holds the points' logits ``(B, P, K)`` and
    their pixels ``(B, P)`` (row-major, in the padded image) for a loss of their own.

    Attributes:
      net: the coarse network.
      scale: how much smaller an image it sees, a power of two; 1 refines its own resolution once.
      points: pixels an image that are decided at a time; all, where there are fewer.
      width: channels of the MLP and of the convolution of the full image.
      hidden: its layers.
      oversample: candidates per point.
      importance: share of the points that are the most uncertain of the candidates.
    """

    net: Net = UNet()
    scale: int = 2
    points: int = 1024
    width: int = 64
    hidden: int = 3
    oversample: int = 3
    importance: float = 0.75

    def __post_init__(self) -> None:
        if self.scale < 1 or self.scale & (self.scale - 1):
            raise ValueError(f"PointRend: scale is {self.scale}; it must be a power of two")
        if isinstance(self.net, PointRend) or not isinstance(self.net, Network):
            raise ValueError(f"PointRend: {type(self.net).__name__} cannot be its coarse network")
        counts = (self.points, self.oversample, self.hidden)
        if min(counts) < 1 or not 0 <= self.importance <= 1:
            raise ValueError(
                "PointRend: points, oversample and hidden must be at least 1, importance from 0 "
                "to 1"
            )

    linear_head = False

    @property
    def dims(self) -> int:
        return self.net.dims

    @property
    def dtype(self) -> str:
        return self.net.dtype

    @property
    def norm(self) -> str:
        """That of the coarse network; the head has none."""
        return self.net.norm  # type: ignore[attr-defined]

    @property
    def block(self) -> int | tuple[int, ...]:
        inner = self.net.block
        if isinstance(inner, int):
            return inner * self.scale
        return tuple(pixels * self.scale for pixels in inner)

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals, size)


def uncertainty(logits: jax.Array) -> jax.Array:
    """``(..., K)`` to ``(...)``: minus the gap between the two largest logits, at most 0.

    >>> uncertainty(jnp.array([[1.0, 4.0, 3.0], [2.0, 2.0, 0.0]])).tolist()
    [-1.0, 0.0]
    """
    first, second = jnp.moveaxis(jax.lax.top_k(logits, 2)[0], -1, 0)
    return second - first


def values(x: jax.Array, place: jax.Array, space: tuple[int, ...]) -> jax.Array:
    """Linear interpolation of ``x (B, *n, C)`` at pixels of an image of the same view and of size
    ``space``.

    Args:
      x: activations of any size.
      place: ``(B, P)`` row-major pixels of ``space``.
      space: size of the image.

    Returns:
      ``(B, P, C)``; pixel centres are aligned and the border is repeated.

    Example:
      >>> x = jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1)
      >>> values(x, jnp.array([[0, 1, 2, 3]]), (1, 4)).ravel().tolist()
      [0.0, 1.0, 3.0, 4.0]
    """
    sizes = x.shape[1:-1]
    pixels = jnp.unravel_index(place, space)
    corners = []
    for pixel, n, whole in zip(pixels, sizes, space, strict=True):
        corners.append(_neighbours(pixel, n, whole, x.dtype))
    if sizes == space:
        corners = [[(low, jnp.ones_like(weight))] for (low, weight), _ in corners]
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    total = jnp.zeros((*place.shape, x.shape[-1]), x.dtype)
    for corner in itertools.product(*corners):
        index = jnp.zeros_like(place)
        weight = jnp.ones(place.shape, x.dtype)
        for (pixel, part), n in zip(corner, sizes, strict=True):
            index = index * n + pixel
            weight = weight * part
        total = total + jnp.take_along_axis(flat, index[..., None], 1) * weight[..., None]
    return total


def _neighbours(
    pixel: jax.Array,
    n: int,
    whole: int,
    dtype: Any,
) -> list[tuple[jax.Array, jax.Array]]:
    """The two of ``n`` pixels on either side of pixels of an axis ``whole`` long, and their
    weights.
    """
    centre = jnp.clip((pixel + 0.5) * (n / whole) - 0.5, 0, n - 1)
    low = jnp.floor(centre).astype(jnp.int32)
    part = (centre - low).astype(dtype)
    return [(low, 1 - part), (jnp.minimum(low + 1, n - 1), part)]


class _Module(nnx.Module):
    """Variables: net (the coarse network's), fine (on the full image), hidden0 …, head."""

    def __init__(
        self,
        net: PointRend,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ):
        self.config = net
        small = tuple(n // net.scale for n in size)
        self.net: Any = net.net.module(channels, classes, normals, small)
        self.fine = layers.Conv(channels, net.width, dims=net.dims, normals=normals)
        width = self._features(channels, small) + net.width
        for i in range(net.hidden):
            linear = layers.Linear(width + classes, net.width, normals=normals)
            setattr(self, f"hidden{i}", linear)
            width = net.width
        self.head = layers.Linear(width + classes, classes, normals=normals)

    def _features(self, channels: int, small: tuple[int, ...]) -> int:
        """Channels of the coarse network's features."""
        image = jnp.zeros((1, *small, channels), self.config.dtype)
        aux = nnx.eval_shape(lambda module: module(image, False, None)[1], self.net)
        if "features" not in aux:
            raise ValueError(
                f"PointRend: {type(self.config.net).__name__} gives no features to decide points "
                f"from"
            )
        return aux["features"].shape[-1]

    def decide(
        self,
        place: jax.Array,
        space: tuple[int, ...],
        image: jax.Array,
        features: jax.Array,
        coarse: jax.Array,
    ) -> jax.Array:
        """Logits ``(B, P, K)`` of the pixels ``place`` of ``space``."""
        logits = values(coarse, place, space)
        x = jnp.concatenate([values(features, place, space), values(image, place, space)], -1)
        for i in range(self.config.hidden):
            linear = getattr(self, f"hidden{i}")
            x = jax.nn.relu(linear(jnp.concatenate([x, logits], -1)))
        return self.head(jnp.concatenate([x, logits], -1))

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        net = self.config
        space = x.shape[1:-1]
        k_net, k_points = layers.subkeys(key, 2)
        small = x
        if net.scale > 1:
            small = layers.block_mean(x, (net.scale,) * len(space))
        coarse, inner = self.net(small, train, k_net)
        features = inner["features"]
        image = jax.nn.relu(self.fine(x))
        aux: dict[str, Any] = {"features": features}
        if "losses" in inner:
            aux["losses"] = inner["losses"]
        if not train:
            return self._refined(space, image, features, coarse), aux
        logits = layers.resize(coarse, space)
        doubt = uncertainty(jax.lax.stop_gradient(logits)).reshape(x.shape[0], -1)
        place = self._drawn(doubt, k_points)
        decided = self.decide(place, space, image, features, coarse)
        aux["points"] = {"logits": decided.astype(jnp.float32), "place": place}
        if net.scale > 1:
            aux["deep"] = [coarse]
        return _replaced(logits, place, decided), aux

    def _refined(
        self,
        space: tuple[int, ...],
        image: jax.Array,
        features: jax.Array,
        coarse: jax.Array,
    ) -> jax.Array:
        """Logits at full resolution, which is doubled and decided where uncertain (section 3.1)."""
        logits = coarse
        size = coarse.shape[1:-1]
        while True:
            size = tuple(min(2 * n, whole) for n, whole in zip(size, space, strict=True))
            logits = layers.resize(logits, size)
            doubt = uncertainty(logits).reshape(logits.shape[0], -1)
            _, place = jax.lax.top_k(doubt, min(self.config.points, doubt.shape[1]))
            decided = self.decide(place, size, image, features, coarse)
            logits = _replaced(logits, place, decided)
            if size == space:
                return logits

    def _drawn(self, doubt: jax.Array, key: jax.Array | None) -> jax.Array:
        """``(B, P)`` pixels to train on; without a key simply the most uncertain."""
        net = self.config
        batch, every = doubt.shape
        count = min(net.points, every)
        if key is None:
            return jax.lax.top_k(doubt, count)[1]
        k_candidates, k_rest = jax.random.split(key)
        certain = min(count, math.ceil(net.importance * count))
        candidates = jax.random.randint(k_candidates, (batch, net.oversample * count), 0, every)
        _, best = jax.lax.top_k(jnp.take_along_axis(doubt, candidates, 1), certain)
        rest = jax.random.randint(k_rest, (batch, count - certain), 0, every)
        return jnp.concatenate([jnp.take_along_axis(candidates, best, 1), rest], 1)


def _replaced(logits: jax.Array, place: jax.Array, decided: jax.Array) -> jax.Array:
    """``logits (B, *space, K)`` with those of the pixels ``place (B, P)`` set to ``decided (B, P,
    K)``.
    """
    flat = logits.reshape(logits.shape[0], -1, logits.shape[-1])
    rows = jnp.arange(logits.shape[0])[:, None]
    return flat.at[rows, place].set(decided.astype(flat.dtype)).reshape(logits.shape)
