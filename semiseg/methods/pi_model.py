"""Π-model: two random looks of one network at one image agree."""

from __future__ import annotations

from typing import ClassVar

import jax

from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class PiModel(SemiSupervised):
    """Laine & Aila, ICLR 2017 (algorithm 1), on unlabelled images.

    Adds w(t) · ||softmax(f(weak(u))) - softmax(f(strong(u)))||², each with its own dropout, if the
    network has any; the gradient goes through both, as there.
    """

    weight: float = 4.0

    paper: ClassVar[str] = "Laine & Aila, ICLR 2017"
    passes: ClassVar[str] = "L + 2 U"

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
        looks = [
            jax.nn.softmax(
                model.apply(params, view, train=True, key=jax.random.fold_in(key, i)).logits
            )
            for i, view in enumerate((batch.weak, batch.strong), 1)
        ]
        consistency = softmax_mse(looks[0], looks[1], batch.valid)
        w = self.ramped(progress)
        metrics = {"supervised": supervised, "consistency": consistency, "consistency_weight": w}
        return supervised + w * consistency, Aux(
            metrics, output.new_state, None, Pseudo(looks[0], batch.valid, looks[1])
        )
