"""Pseudo-labelling: learn from your own confident predictions on unlabelled images."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.terms import hard_cross_entropy
from semiseg.methods.parts.thresholds import confident
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class PseudoLabel(SemiSupervised):
    """Lee, ICML workshop 2013, with the confidence threshold of Sohn et al. 2020 and an averaged
    model as the one that labels.

    Loss = criterion(f(x_l), y) + w(t) / |valid| · Σ over pixels with max softmax(g(u)) ≥ threshold
    of CE(f(u'), argmax g(u)). A rejected pixel has zero gradient: it is left out, never trained as
    background.

    Attributes:
      threshold: least confidence of an accepted pixel.
      decay: of the average that labels and is evaluated; 0 labels with the network itself (Lee
        2013).
      student_view: "strong" or "weak": the view that is trained on the pseudo-labels, which come
        from the weak one.
    """

    weight: float = 0.5
    threshold: float = 0.9
    student_view: Literal["strong", "weak"] = "strong"

    paper: ClassVar[str] = "Lee, ICML workshop 2013"
    passes: ClassVar[str] = "L + U | U"

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
        probability = self.target(model, memory["teacher"], batch.weak, jax.random.fold_in(key, 2))
        accepted = confident(probability, self.threshold, batch.valid)
        view = batch.strong if self.student_view == "strong" else batch.weak
        logits = model.apply(params, view, train=True, key=jax.random.fold_in(key, 1)).logits
        unsupervised = hard_cross_entropy(logits, probability.argmax(-1), accepted, batch.valid)
        weight = self.ramped(progress)
        share = accepted.sum() / jnp.maximum(batch.valid.sum(), 1)
        metrics = {
            "supervised": supervised,
            "unsupervised": unsupervised,
            "accepted": share,
            "unsupervised_weight": weight,
        }
        return supervised + weight * unsupervised, Aux(
            metrics, output.new_state, None, Pseudo(probability, accepted, jax.nn.softmax(logits))
        )
