"""Temporal ensembling: agree with the average of your earlier predictions of this image."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg import ragged
from semiseg.errors import FieldError
from semiseg.fields import number
from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised, View, seen, view, with_consistency
from semiseg.methods.parts.terms import share_of_valid
from semiseg.ragged import Images
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class TemporalEnsembling(SemiSupervised):
    """Laine & Aila, ICLR 2017 (algorithm 2), a pixel for an image.

    Z ← keep · Z + (1 - keep) · softmax(f(u)) for every pixel of the pool; the target is Z / (1 -
    keepᵗ), the mean without its start at zero (t: how often the pixel was seen). Adds w(t) ·
    ||softmax(f(u)) - target||² where a pixel was seen before.

    An image is remembered in the pool's own frame. A view looks its target up where its pixels come
    from (linearly), and writes its prediction back to the nearest pool pixel; pixels no view hits
    keep theirs. An image that is seen less than about five times has hardly a memory: a run says
    so. Since probabilities sum to 1, Σ_k Z is 1 - keepᵗ itself. The memory is a float16
    for each pool pixel and class: 172 MB for ACDC at 128² and ``zoom`` 1, 387 MB at 1.5.

    Attributes:
      keep: weight of the old ensemble; the published α = 0.6 is for one update an epoch. Beyond
        0.99 a float16 would not hold what a prediction adds.
      student_view: "weak", so that what is remembered is the network's best guess; or "strong".
    """

    weight: float = number(4.0, at_least=0)
    keep: float = number(0.6, within=(0, 0.99))
    student_view: View = "weak"

    title: ClassVar[str] = "temporal ensembling"
    paper: ClassVar[str] = "Laine & Aila, ICLR 2017"
    passes: ClassVar[str] = "L + U"
    visits: ClassVar[int] = 5

    def remember(
        self,
        model: Model,
        params: Params,
        key: jax.Array,
    ) -> dict[str, PyTree]:
        if model.pool is None:
            raise FieldError(
                "temporal_ensembling remembers every pixel of the pool, so all of it must be on "
                "the device",
                remedy="leave out --pool-memory, or choose another method",
                field="pool_memory",
            )
        return {"ensemble": jnp.zeros((*model.pool.shape[:2], model.classes), jnp.float16)}

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
        images = batch.layout
        assert images is not None
        z = look_up(old, images, batch.coordinates)
        shown = seen(batch, self.student_view)
        weight = z.sum(-1)
        known = shown & (weight > 0.5 * (1 - self.keep))
        target = z / jnp.maximum(weight, 1e-6)[..., None]
        taught = model.apply(
            params, view(batch, self.student_view), train=True, key=jax.random.fold_in(key, 1)
        )
        p = jax.nn.softmax(taught.logits)
        consistency = softmax_mse(p, target, known)
        w = self.ramped(progress)
        ensemble = write_back(
            old,
            images,
            batch.coordinates,
            shown,
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
            state=self.new_state(output, taught),
            pseudo=pseudo,
            memory=memory,
            known=share_of_valid(known, shown),
        )


def look_up(ensemble: jax.Array, images: Images, coordinates: jax.Array) -> jax.Array:
    """The remembered maps of a batch's pool images at the pixels of its views ``(U, *size, K)``,
    interpolated linearly.

    Args:
      ensemble: ``(P, V, K)``, of the pool's voxels.
      images: where the U images lie in it.
      coordinates: ``(U, axes, *size)``, the pool pixel that each pixel of a view comes from.
    """

    def one(page: jax.Array, offset: jax.Array, shape: jax.Array, points: jax.Array) -> jax.Array:
        return ragged.linear(ensemble, page, offset[None], shape, points)

    return jax.vmap(one)(images.page, images.middle, images.shape, coordinates)


def write_back(
    ensemble: jax.Array,
    images: Images,
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
      ensemble: Z ``(P, V, K)`` of the pool's voxels.
      images: where the U images lie in it.
      coordinates: ``(U, axes, *size)``, the pool pixel that each pixel of a view comes from.
      valid: ``(U, *size)`` bool.
      p: predictions ``(U, *size, K)``.
      keep: weight of the old ensemble.
    """
    at = jax.vmap(ragged.index_of_nearest)(images.middle, images.shape, coordinates)
    page = jnp.broadcast_to(images.page.reshape(-1, *(1,) * (valid.ndim - 1)), valid.shape)
    outside = ensemble.shape[1]  # an index that is dropped
    at = jnp.where(valid, at, outside)
    index = jnp.where(_is_last(page, at), at, outside)
    old = ensemble.at[page, index].get(mode="fill", fill_value=0).astype(jnp.float32)
    new = keep * old + (1 - keep) * p
    return ensemble.at[page, index].set(new.astype(ensemble.dtype), mode="drop")


def _is_last(page: jax.Array, at: jax.Array) -> jax.Array:
    """Whether a pixel is the last of those that are written to one voxel; shapes are equal.

    >>> _is_last(jnp.array([0, 0, 1, 0]), jnp.array([3, 2, 3, 3])).tolist()
    [False, True, True, True]
    """
    order = jnp.lexsort((at.ravel(), page.ravel()))  # stable: equal ones stay in their order
    sorted_page = page.ravel()[order]
    sorted_at = at.ravel()[order]
    same = (sorted_page[1:] == sorted_page[:-1]) & (sorted_at[1:] == sorted_at[:-1])
    last = jnp.concatenate([~same, jnp.ones(1, bool)])
    return jnp.zeros(at.size, bool).at[order].set(last).reshape(at.shape)
