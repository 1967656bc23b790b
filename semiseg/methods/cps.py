"""CPS: two networks that start differently, each taught with the other's decisions."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

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

    weight: float = 1.0

    paper: ClassVar[str] = "Chen et al., CVPR 2021"
    holds: ClassVar[str] = "2 | 1"
    passes: ClassVar[str] = "2 L + 2 U"

    def second(self, model: Model) -> Model:
        """The second network: the same architecture."""
        return model

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        return {
            "net": model.init(key),
            "other": self.second(model).init(jax.random.fold_in(key, 1)),
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
        supervised, logits, state = {}, {}, {}
        for i, (name, net) in enumerate({"net": model, "other": self.second(model)}.items()):
            output = net.apply(
                params[name], batch.image, train=True, key=jax.random.fold_in(key, 2 * i)
            )
            supervised[name], state[name] = (
                supervised_loss(self.criterion, output, batch.label, batch.weight),
                output.new_state,
            )
            logits[name] = net.apply(
                params[name], batch.weak, train=True, key=jax.random.fold_in(key, 2 * i + 1)
            ).logits
        cross = self.teach(logits["net"], logits["other"], batch.valid) + self.teach(
            logits["other"], logits["net"], batch.valid
        )
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised["net"],
            "supervised_other": supervised["other"],
            "cross": cross,
            "unsupervised_weight": w,
        }
        total = supervised["net"] + supervised["other"] + w * cross
        return total, Aux(
            metrics,
            state,
            None,
            Pseudo(jax.nn.softmax(logits["other"]), batch.valid, jax.nn.softmax(logits["net"])),
        )

    def teach(self, pupil: jax.Array, other: jax.Array, valid: jax.Array) -> jax.Array:
        """Cross-entropy of ``pupil`` against the decision of ``other``; a decision has no gradient."""
        return hard_cross_entropy(pupil, jnp.argmax(other, -1), valid, valid)
