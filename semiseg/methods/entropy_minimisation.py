"""Entropy minimisation: be sure on unlabelled images, right or wrong."""

from __future__ import annotations

import math
from typing import ClassVar

import jax

from semiseg.losses import masked_mean
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.terms import entropy
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class EntropyMinimisation(SemiSupervised):
    """Grandvalet & Bengio, NeurIPS 2004; for pixels Vu et al., CVPR 2019 (equations 2-3).

    Adds w(t) · mean over pixels of -Σ p log p / ln K, p = softmax(f(u)).
    """

    weight: float = 0.1

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
        p = jax.nn.softmax(
            model.apply(params, batch.weak, train=True, key=jax.random.fold_in(key, 1)).logits
        )
        unsure = masked_mean(entropy(p), batch.valid) / math.log(model.classes)
        w = self.ramped(progress)
        metrics = {"supervised": supervised, "entropy": unsure, "entropy_weight": w}
        return supervised + w * unsure, Aux(metrics, output.new_state, None, Pseudo(p, batch.valid))
