"""URPC: predictions at several scales agree, less so where they are unsure of each other."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.losses import masked_mean
from semiseg.losses.common import weighted_mean
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.heads import added, head
from semiseg.methods.parts.terms import divergence, weighed
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class URPC(SemiSupervised):
    """Uncertainty rectified pyramid consistency, Luo et al., MICCAI 2021 (equations 1-6).

    p_s are predictions at 1, 1/2, 1/4 … of the resolution, p their mean, D_s = KL(p_s || p). Loss =
    mean over scales of the criterion + w(t) · mean over scales of [Σ (p_s - p)² e^(-D_s) / Σ
    e^(-D_s) + mean D_s]. Difference: coarse predictions come from heads on the resized last
    features, which add to the resized logits, instead of the decoder's own levels, so that every
    network has them.

    Attributes:
      weight: as published.
      scales: predictions, the full one included.
    """

    weight: float = 0.1
    scales: int = 4

    paper: ClassVar[str] = "Luo et al., MICCAI 2021"
    holds: ClassVar[str] = "1 + 3 heads | 1"
    passes: ClassVar[str] = "L + U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        heads = {
            f"head{s}": head(model, jax.random.fold_in(key, s), model.classes)
            for s in range(1, self.scales)
        }
        return {"net": model.init(key), **heads}

    def pyramid(
        self, params: dict[str, Params], logits: jax.Array, features: jax.Array
    ) -> list[jax.Array]:
        """Logits of every scale at the full resolution."""
        space, found = features.shape[1:-1], [logits]
        for s in range(1, self.scales):
            coarse = tuple(max(1, n // 2**s) for n in space)
            smaller = (
                jax.image.resize(x, (x.shape[0], *coarse, x.shape[-1]), "linear")
                for x in (logits, features)
            )
            found.append(
                jax.image.resize(added(params[f"head{s}"], *smaller), logits.shape, "linear")
            )
        return found

    def loss(
        self,
        model: Model,
        params: dict[str, Params],
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        output, first = self.supervise(model, params["net"], batch, key)
        labelled = self.pyramid(params, output.logits, output.aux["features"])
        supervised = (
            first + sum(self.criterion(weighed(y, batch.weight), batch.label) for y in labelled[1:])
        ) / self.scales

        unlabelled = model.apply(
            params["net"], batch.weak, train=True, key=jax.random.fold_in(key, 1)
        )
        p = [
            jax.nn.softmax(y)
            for y in self.pyramid(params, unlabelled.logits, unlabelled.aux["features"])
        ]
        mean = sum(p[1:], p[0]) / self.scales
        terms = []
        for p_s in p:
            d = divergence(p_s, mean)
            rectified = jnp.where(batch.valid, jnp.exp(-d), 0.0)
            terms.append(
                weighted_mean(jnp.square(p_s - mean).mean(-1), rectified)
                + masked_mean(d, batch.valid)
            )
        consistency = jnp.stack(terms).mean()
        w = self.ramped(progress)
        metrics = {"supervised": supervised, "consistency": consistency, "consistency_weight": w}
        state = {name: q.state for name, q in params.items()} | {"net": output.new_state}
        return supervised + w * consistency, Aux(
            metrics, state, None, Pseudo(mean, batch.valid, p[0])
        )
