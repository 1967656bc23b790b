"""CPS: two networks with different initial weights, each taught with the other's decisions."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import number
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.terms import hard_cross_entropy, supervised_loss
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class CPS(SemiSupervised):
    """Cross pseudo supervision, Chen et al., CVPR 2021 (equations 1-4), on unlabelled images.

    Loss = Σ over both networks of criterion(f_i(x_l), y) + w(t) · (CE(f_1(u), argmax f_2(u)) +
    CE(f_2(u), argmax f_1(u))). The paper also has the second term on labelled images, where the
    truth is known; here it is left out, as in SSL4MIS. The average of the first network is
    evaluated.
    """

    weight: float = number(1.0, at_least=0)

    title: ClassVar[str] = "CPS"
    paper: ClassVar[str] = "Chen et al., CVPR 2021"
    holds: ClassVar[str] = "2 | 1"
    passes: ClassVar[str] = "2 L + 2 U"

    def second(self, model: Model) -> Model:
        """The second network: the same architecture."""
        return model

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        other = self.second(model)
        return {"net": model.init(key), "other": other.init(jax.random.fold_in(key, 1))}

    def loss(
        self,
        model: Model,
        params: dict[str, Params],
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        models = {"net": model, "other": self.second(model)}
        supervised: dict[str, jax.Array] = {}
        logits: dict[str, jax.Array] = {}
        states: dict[str, PyTree] = {}
        for i, (name, net) in enumerate(models.items()):
            k_labelled = jax.random.fold_in(key, 2 * i)
            k_unlabelled = jax.random.fold_in(key, 2 * i + 1)
            output = net.apply(params[name], batch.image, train=True, key=k_labelled)
            supervised[name] = supervised_loss(self.criterion, output, batch.label, batch.weight)
            unlabelled = net.apply(params[name], batch.weak, train=True, key=k_unlabelled)
            states[name] = self.new_state(output, unlabelled)
            logits[name] = unlabelled.logits
        cross = self.teach(logits["net"], logits["other"], batch.valid)
        cross += self.teach(logits["other"], logits["net"], batch.valid)
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised["net"],
            "supervised_other": supervised["other"],
            "cross": cross,
            "unsupervised_weight": w,
        }
        total = supervised["net"] + supervised["other"] + w * cross
        labeller = jax.nn.softmax(logits["other"])
        pseudo = Pseudo(
            probability=labeller,
            accepted=batch.valid,
            student=jax.nn.softmax(logits["net"]),
        )
        return total, Aux(
            metrics=metrics,
            state=states,
            pseudo=pseudo,
        )

    def teach(
        self,
        pupil: jax.Array,
        other: jax.Array,
        valid: jax.Array,
    ) -> jax.Array:
        """Cross-entropy of ``pupil`` against the decision of ``other``, which has no gradient."""
        return hard_cross_entropy(pupil, jnp.argmax(other, -1), valid, valid)
