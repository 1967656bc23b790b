"""Temporal ensembling: agree with the average of your earlier predictions of this image."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from semiseg.fields import number
from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised, View, student, view, with_consistency
from semiseg.methods.parts.terms import share_of_valid
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class TemporalEnsembling(SemiSupervised):
    """Laine & Aila, ICLR 2017 (algorithm 2), a pixel for an image.

    Z ← keep · Z + (1 - keep) · softmax(f(u)) for every pixel of the pool; the target is Z / (1 -
    keepᵗ), the mean without its start at zero (t: how often the pixel was seen). Adds w(t) ·
    ||softmax(f(u)) - target||² where a pixel was seen before.

    An image is remembered in the pool's own frame. A view looks its target up where its pixels come
    from (linearly), and writes its prediction back to the nearest pool pixel; pixels no view hits
    keep theirs. Since probabilities sum to 1, Σ_k Z is 1 - keepᵗ itself. The memory is a float16
    for each pool pixel and class: 172 MB for ACDC at 128² and ``zoom`` 1, 387 MB at 1.5.

    Attributes:
      keep: weight of the old ensemble; the published α = 0.6 is for one update an epoch.
      student_view: "weak", or "strong".
    """

    weight: float = number(4.0, at_least=0)
    keep: float = number(0.6, within=(0, 1))
    student_view: View = "strong"

    title: ClassVar[str] = "temporal ensembling"
    paper: ClassVar[str] = "Laine & Aila, ICLR 2017"
    passes: ClassVar[str] = "L + U"

    def remember(
        self,
        model: Model,
        params: Params,
        key: jax.Array,
    ) -> dict[str, PyTree]:
        if model.pool is None:
            raise ValueError(
                "temporal_ensembling remembers every image of the pool: the model needs the "
                "pool's shape"
            )
        return {"ensemble": jnp.zeros((*model.pool.shape[:-1], model.classes), jnp.float16)}

    def loss(
        self,
        model: Model,
        params: Params,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        output, supervised = self.supervise(model, params, batch, key)
        old = jax.lax.stop_gradient(memory["ensemble"])
        z = look_up(old[batch.place].astype(jnp.float32), batch.coordinates)
        seen = z.sum(-1)
        known = batch.valid & (seen > 0.5 * (1 - self.keep))
        target = z / jnp.maximum(seen, 1e-6)[..., None]
        p = student(model, params, view(batch, self.student_view), jax.random.fold_in(key, 1))
        consistency = softmax_mse(p, target, known)
        w = self.ramped(progress)
        ensemble = write_back(
            old,
            batch.place,
            batch.coordinates,
            batch.valid,
            jax.lax.stop_gradient(p),
            self.keep,
        )
        memory = {**memory, "ensemble": ensemble}
        pseudo = Pseudo(
            probability=target,
            accepted=known,
            student=p,
        )
        return with_consistency(
            supervised,
            consistency,
            w,
            state=output.new_state,
            pseudo=pseudo,
            memory=memory,
            known=share_of_valid(known, batch.valid),
        )


def look_up(z_UHWK: jax.Array, coordinates: jax.Array) -> jax.Array:
    """The remembered maps of a batch's pool images at the pixels of its views ``(U, *size, K)``,
    interpolated linearly.
    """

    def one_channel(channel: jax.Array, points: jax.Array) -> jax.Array:
        return map_coordinates(channel, list(points), 1, mode="nearest")

    over_channels = jax.vmap(one_channel, (-1, None), -1)
    return jax.vmap(over_channels)(z_UHWK, coordinates)


def write_back(
    ensemble: jax.Array,
    place: jax.Array,
    coordinates: jax.Array,
    valid: jax.Array,
    p: jax.Array,
    keep: jax.Array | float,
) -> jax.Array:
    """``keep · Z + (1 - keep) · p`` at the pool pixels nearest to each valid pixel of the views;
    the rest stays.

    Where several are nearest to one (a view that shrinks, an image drawn twice) the last of them is
    written, on every kind of device.

    Args:
      ensemble: Z ``(N, *space, K)`` of all pool images.
      place: ``(U,)``, index of each view's image in the pool.
      coordinates: ``(U, axes, *size)``, the pool pixel that each pixel of a view comes from.
      valid: ``(U, *size)`` bool.
      p: predictions ``(U, *size, K)``.
      keep: weight of the old ensemble.
    """
    nearest = jnp.moveaxis(jnp.round(coordinates).astype(jnp.int32), 1, 0)
    first_view = (place[:, None] == place).argmax(-1)  # of the same image
    slot = _at_each_pixel(first_view, valid.shape)
    number = jnp.arange(1, valid.size + 1).reshape(valid.shape)
    nothing = jnp.zeros((len(place), *ensemble.shape[1:-1]), jnp.int32)
    last = nothing.at[(slot, *nearest)].max(jnp.where(valid, number, 0))
    is_written = valid & (last[(slot, *nearest)] == number)
    outside = ensemble.shape[0]  # an index that is dropped
    index = jnp.where(is_written, _at_each_pixel(place, valid.shape), outside)
    where = (index, *nearest)
    old = ensemble.at[where].get(mode="fill", fill_value=0).astype(jnp.float32)
    new = keep * old + (1 - keep) * p
    return ensemble.at[where].set(new.astype(ensemble.dtype), mode="drop")


def _at_each_pixel(x_U: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.broadcast_to(x_U.reshape(-1, *(1,) * (len(shape) - 1)), shape)
