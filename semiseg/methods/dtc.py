"""DTC: the segmentation and the signed distances that one network predicts agree."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import number
from semiseg.losses import masked_mean
from semiseg.methods.base import SemiSupervised, new_states
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

    weight: float = number(1.0, at_least=0)
    distance_weight: float = number(0.3, at_least=0)
    steepness: float = number(1500.0, at_least=0)

    title: ClassVar[str] = "DTC"
    paper: ClassVar[str] = "Luo et al., AAAI 2021"
    holds: ClassVar[str] = "1 + 1 head | 1"
    passes: ClassVar[str] = "L + U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        distance = head(model, jax.random.fold_in(key, 1), model.classes - 1)
        return {"net": model.init(key), "distance": distance}

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
        k_unlabelled = jax.random.fold_in(key, 1)
        unlabelled = model.apply(params["net"], batch.weak, train=True, key=k_unlabelled)
        z = jnp.tanh(run(params["distance"], output.aux["features"]))
        z_unlabelled = jnp.tanh(run(params["distance"], unlabelled.aux["features"]))
        distance = distance_loss(weighed(z, batch.weight), batch.label, model.classes)
        p = jax.nn.softmax(output.logits)
        q = jax.nn.softmax(unlabelled.logits)
        dual_labelled = self.disagreement(p, z, batch.label != IGNORE)
        dual = (dual_labelled + self.disagreement(q, z_unlabelled, batch.valid)) / 2
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "distance": distance,
            "dual": dual,
            "dual_weight": w,
        }
        total = supervised + self.distance_weight * distance + w * dual
        states = new_states(params, self.new_state(output, unlabelled))
        pseudo = Pseudo(
            probability=q,
            accepted=batch.valid,
            student=decision(z_unlabelled),
        )
        return total, Aux(
            metrics=metrics,
            state=states,
            pseudo=pseudo,
        )

    def disagreement(
        self,
        p: jax.Array,
        z: jax.Array,
        valid: jax.Array,
    ) -> jax.Array:
        """Mean squared difference of both heads over valid pixels and foreground classes."""
        error = jnp.square(p[..., 1:] - as_probability(z, self.steepness))
        return masked_mean(error, valid)
