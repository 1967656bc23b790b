"""Entropy minimisation: be sure on unlabelled images, right or wrong."""

from __future__ import annotations

import math
from typing import ClassVar

import jax

from semiseg.fields import number
from semiseg.losses import masked_mean
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.terms import entropy
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class EntropyMinimisation(SemiSupervised):
    """Grandvalet & Bengio, NeurIPS 2004; for pixels Vu et al., CVPR 2019 (equations 2-3).

    Adds w(t) · mean over pixels of -Σ p log p / ln K, p = softmax(f(u)).
    """

    weight: float = number(0.1, at_least=0)

    title: ClassVar[str] = "entropy minimisation"
    paper: ClassVar[str] = "Grandvalet & Bengio, NeurIPS 2004; Vu et al., CVPR 2019"
    passes: ClassVar[str] = "L + U"

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
        taught = model.apply(params, batch.weak, train=True, key=jax.random.fold_in(key, 1))
        p = jax.nn.softmax(taught.logits)
        uncertainty = masked_mean(entropy(p), batch.valid) / math.log(model.classes)
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "entropy": uncertainty,
            "entropy_weight": w,
        }
        total = supervised + w * uncertainty
        return total, Aux(
            metrics=metrics,
            state=self.new_state(output, taught),
            pseudo=Pseudo(
                probability=p,
                accepted=batch.valid,
            ),
        )
