"""Temporal ensembling: agree with the average of what you said of this image before."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised
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

    weight: float = 4.0
    keep: float = 0.6
    student_view: Literal["strong", "weak"] = "strong"

    paper: ClassVar[str] = "Laine & Aila, ICLR 2017"
    passes: ClassVar[str] = "L + U"

    def remember(self, model: Model, params: Params, key: jax.Array) -> dict[str, PyTree]:
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
        view = batch.strong if self.student_view == "strong" else batch.weak
        student = jax.nn.softmax(
            model.apply(params, view, train=True, key=jax.random.fold_in(key, 1)).logits
        )
        consistency = softmax_mse(student, target, known)
        w = self.ramped(progress)
        new = write_back(
            old,
            batch.place,
            batch.coordinates,
            batch.valid,
            jax.lax.stop_gradient(student),
            self.keep,
        )
        metrics = {
            "supervised": supervised,
            "consistency": consistency,
            "consistency_weight": w,
            "known": known.sum() / jnp.maximum(batch.valid.sum(), 1),
        }
        return supervised + w * consistency, Aux(
            metrics, output.new_state, {**memory, "ensemble": new}, Pseudo(target, known, student)
        )


def look_up(z_UHWK: jax.Array, coordinates: jax.Array) -> jax.Array:
    """The remembered maps of a batch's pool images at the pixels of its views ``(U, *size, K)``,
    interpolated linearly.
    """

    def one(z: jax.Array, points: jax.Array) -> jax.Array:
        return jax.vmap(
            lambda channel: map_coordinates(channel, list(points), 1, mode="nearest"), -1, -1
        )(z)

    return jax.vmap(one)(z_UHWK, coordinates)


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
    """
    nearest = jnp.moveaxis(jnp.round(coordinates).astype(jnp.int32), 1, 0)
    each = lambda x: jnp.broadcast_to(x.reshape(-1, *(1,) * (valid.ndim - 1)), valid.shape)
    slot = each((place[:, None] == place).argmax(-1))  # of the first view of the same image
    number = jnp.arange(1, valid.size + 1).reshape(valid.shape)
    last = (
        jnp.zeros((len(place), *ensemble.shape[1:-1]), jnp.int32)
        .at[(slot, *nearest)]
        .max(jnp.where(valid, number, 0))
    )
    written = valid & (last[(slot, *nearest)] == number)
    where = (jnp.where(written, each(place), ensemble.shape[0]), *nearest)
    old = ensemble.at[where].get(mode="fill", fill_value=0).astype(jnp.float32)
    return ensemble.at[where].set((keep * old + (1 - keep) * p).astype(ensemble.dtype), mode="drop")
