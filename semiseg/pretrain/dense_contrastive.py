"""Dense contrast: a pixel is recognised in another view of its image, among pixels of the whole
batch.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.augment import Geometry, warp
from semiseg.fields import count, number
from semiseg.methods.parts.heads import channels_of, run, stack
from semiseg.pretrain.objective import Objective
from semiseg.types import IGNORE, Aux, Batch, Model, Params, PyTree, hyper


@hyper
class DenseContrastive(Objective):
    """Pixel contrast after Wang et al., CVPR 2021 (DenseCL), and Xie et al., CVPR 2021
    (PixContrast, equation 2).

    The first view is the weak view, the second the strong one taken through another affine map, so
    that it is known where each of its pixels lies in the first. ``pixels`` of them an image, those
    that both views show, go through a projection of two 1 × 1 layers to vectors z of length 1. Loss
    = InfoNCE in both directions: -log exp(z_i · z'_i / τ) / Σ_j exp(z_i · z'_j / τ), where j runs
    over the pixels of all images of the batch but those nearer to i than ``radius``. Differs from
    the papers in that the correspondence is given by geometry instead of by similarity (DenseCL),
    and in having in-batch negatives instead of a queue, hence no momentum encoder, and no
    image-level term.

    Attributes:
      temperature: τ.
      radius: pixels of the same image nearer than this, in units of the window's longest side, are
        no negatives.
      pixels: drawn from each image.
      channels: of a projected vector.
      geometry: from the first view to the second; without mirrors and quarter turns, which the
        run's own augmentation decides on.
    """

    temperature: float = number(0.2, above=0)
    radius: float = number(0.05, at_least=0)
    pixels: int = count(64, at_least=2)
    channels: int = count(32, at_least=1)
    geometry: Geometry = Geometry(
        flip=0.0,
        rot90=0.0,
        rotate_p=1.0,
        scale_p=1.0,
        scale_low=0.67,
        scale_high=1.5,
        translate=0.15,
        elastic_p=0.0,
    )

    paper: ClassVar[str] = "Wang et al., CVPR 2021; Xie et al., CVPR 2021"
    passes: ClassVar[str] = "2 U"

    def head(
        self,
        model: Model,
        key: jax.Array,
    ) -> Params:
        widths = (channels_of(model), 2 * self.channels, self.channels)
        return stack(key, widths, (1, 1), dims=1)

    def loss(
        self,
        model: Model,
        params: dict[str, Params],
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        k_view, k_pixel, k_first, k_second = jax.random.split(key, 4)
        images, *space = batch.valid.shape
        view, valid, coordinates = self.view(k_view, batch.strong, batch.valid)
        chosen = jax.random.randint(k_pixel, (images, self.pixels), 0, valid[0].size)
        is_seen = jnp.take_along_axis(valid.reshape(images, -1), chosen, 1).reshape(-1)
        flat = coordinates.reshape(images, len(space), -1)
        points = jnp.take_along_axis(flat, chosen[:, None], 2)  # (B, axes, pixels) of the first

        first = model.apply(params["net"], batch.weak, train=True, key=k_first)
        second = model.apply(params["net"], view, train=True, key=k_second)
        z = self.project(params["head"], first.aux["features"], nearest(points, space))
        z_second = self.project(params["head"], second.aux["features"], chosen)
        near = self.near(points, max(space))
        loss, right, choices = info_nce(z, z_second, is_seen, near, self.temperature)
        metrics = {
            "accuracy": right,
            "chance": 1 / jnp.maximum(choices, 1),
            "overlap": is_seen.mean(),
        }
        states = {"net": first.new_state, "head": params["head"].state}
        return loss, Aux(
            metrics=metrics,
            state=states,
        )

    def near(
        self,
        points: jax.Array,
        longest_side: int,
    ) -> jax.Array:
        """Bool ``(B · pixels, B · pixels)``: two of ``points`` ``(B, axes, pixels)`` are of one
        image and nearer than ``radius``.
        """
        images, _, pixels = points.shape
        between = points[..., :, None] - points[..., None, :]
        distance = jnp.linalg.norm(between, axis=1)  # (B, pixels, pixels)
        is_close = distance < self.radius * longest_side
        is_same = jnp.eye(images, dtype=bool)[:, None, :, None]
        near = is_same & is_close[:, :, None, :]
        return near.reshape(images * pixels, images * pixels)

    def view(
        self,
        key: jax.Array,
        image: jax.Array,
        valid: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Second view, where it shows something that is valid, and where in ``image`` each of its
        pixels lies ``(B, axes, *space)``.
        """

        def one(
            key: jax.Array,
            image: jax.Array,
            valid: jax.Array,
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            coordinates = self.geometry.coordinates(key, valid.shape, valid.shape)
            label = jnp.where(valid, 0, IGNORE)
            image, label, _ = warp(image, label, coordinates)
            return image, label == 0, coordinates

        return jax.vmap(one)(jax.random.split(key, len(image)), image, valid)

    def project(
        self,
        head: Params,
        features: jax.Array,
        place: jax.Array,
    ) -> jax.Array:
        """Vectors of length 1 ``(B · pixels, channels)`` of the pixels with the flat indices
        ``place`` ``(B, pixels)``.
        """
        flat = features.reshape(len(features), -1, features.shape[-1])
        pixels = jnp.take_along_axis(flat, place[..., None], 1)
        z = run(head, pixels).reshape(-1, self.channels)
        return z * jax.lax.rsqrt(jnp.square(z).sum(-1, keepdims=True) + 1e-12)


def nearest(
    points: jax.Array,
    space: list[int],
) -> jax.Array:
    """Flat index ``(B, pixels)`` of the pixel nearest to each of ``points`` ``(B, axes, pixels)``.

    >>> points = jnp.array([[[1.2], [2.9]]])  # row 1, column 3 of 4
    >>> nearest(points, [4, 4]).tolist()
    [[7]]
    """
    index = jnp.zeros_like(points[:, 0], jnp.int32)
    for axis, n in enumerate(space):
        place = jnp.round(points[:, axis]).astype(jnp.int32)
        index = index * n + jnp.clip(place, 0, n - 1)
    return index


def info_nce(
    z_ND: jax.Array,
    other_ND: jax.Array,
    seen_N: jax.Array,
    near_NN: jax.Array,
    temperature: jax.Array | float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """InfoNCE (van den Oord et al. 2018, equation 4) of N pairs, mean of both directions over the
    pairs that are ``seen``.

    Args:
      z_ND: N vectors of length 1 of the first view.
      other_ND: their partners in the second view.
      seen_N: bool, which pairs count.
      near_NN: bool, which pairs are no negatives of each other.
      temperature: similarities are divided by it.

    Returns:
      the loss, the share of vectors whose partner is the most similar one, and how many there were
      to choose from on average.

    >>> z = jnp.eye(2)
    >>> far, seen = jnp.zeros((2, 2), bool), jnp.array([True, True])
    >>> loss, right, choices = info_nce(z, z, seen, far, temperature=1.0)
    >>> f"{loss:.3f}, {right:.1f}, {choices:.1f}"
    '0.313, 1.0, 2.0'
    """
    is_pair = jnp.eye(len(z_ND), dtype=bool)
    choices = is_pair | (seen_N & ~near_NN)
    similar = jnp.matmul(z_ND, other_ND.T, precision="highest") / temperature

    def mean(x_N: jax.Array) -> jax.Array:
        return (x_N * seen_N).sum() / jnp.maximum(seen_N.sum(), 1)

    loss = jnp.zeros(())
    right = jnp.zeros(())
    for scores in (similar, similar.T):
        scores = jnp.where(choices, scores, -jnp.inf)
        loss += 0.5 * mean(jax.nn.logsumexp(scores, -1) - jnp.diagonal(scores))
        right += 0.5 * mean(scores.argmax(-1) == jnp.arange(len(scores)))
    return loss, right, mean(choices.sum(-1))
