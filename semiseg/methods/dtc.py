"""DTC: a network that segments and measures distances agrees with itself."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.losses import masked_mean
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.distance_head import as_probability, decision, distance_loss
from semiseg.methods.parts.heads import head, run
from semiseg.methods.parts.terms import weighed
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class DTC(SemiSupervised):
    """Dual-task consistency, Luo et al., AAAI 2021 (equations 1-6).

    A second head predicts z, the signed distance of each foreground class, tanh-bounded. Loss =
    criterion + distance_weight · ||z - z(y)||² on labelled images + w(t) · ||softmax(f) -
    sigmoid(-k z)||², the mean of that on labelled and that on unlabelled ones; the gradient goes
    through both heads.

    Attributes:
      distance_weight: of the supervised distance term (published: 0.3).
      steepness: k (published: 1500).
    """

    weight: float = 1.0
    distance_weight: float = 0.3
    steepness: float = 1500.0

    paper: ClassVar[str] = "Luo et al., AAAI 2021"
    holds: ClassVar[str] = "1 + 1 head | 1"
    passes: ClassVar[str] = "L + U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        return {
            "net": model.init(key),
            "distance": head(model, jax.random.fold_in(key, 1), model.classes - 1),
        }

    def loss(
        self,
        model: Model,
        params: dict[str, Params],
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        output, supervised = self.supervise(model, params["net"], batch, key)
        unlabelled = model.apply(
            params["net"], batch.weak, train=True, key=jax.random.fold_in(key, 1)
        )
        z, z_u = (
            jnp.tanh(run(params["distance"], out.aux["features"])) for out in (output, unlabelled)
        )
        distance = distance_loss(weighed(z, batch.weight), batch.label, model.classes)
        p, q = jax.nn.softmax(output.logits), jax.nn.softmax(unlabelled.logits)
        agree = lambda p, z, valid: masked_mean(
            jnp.square(p[..., 1:] - as_probability(z, self.steepness)), valid
        )
        dual = (agree(p, z, batch.label != IGNORE) + agree(q, z_u, batch.valid)) / 2
        w = self.ramped(progress)
        metrics = {"supervised": supervised, "distance": distance, "dual": dual, "dual_weight": w}
        state = {"net": output.new_state, "distance": params["distance"].state}
        return supervised + self.distance_weight * distance + w * dual, Aux(
            metrics, state, None, Pseudo(q, batch.valid, decision(z_u))
        )
