"""FixMatch, dense: what the network is sure of on the weak view, it learns on the strong one."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts import thresholds
from semiseg.methods.parts.terms import hard_cross_entropy
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class FixMatch(SemiSupervised):
    """Sohn et al., NeurIPS 2020 (equations 3-4), a pixel for an image.

    Adds w(t) / |valid| · Σ over pixels with max q ≥ threshold of CE(f(strong(u)), argmax q), q =
    softmax(f(weak(u))) without gradient. A rejected pixel has zero gradient: it is left out, never
    trained as background.

    Attributes:
      threshold: least confidence of an accepted pixel.
      rule: fixed, flexmatch or freematch: the last two set one for each class from what has been
        learnt (then ``threshold`` is FlexMatch's upper bound, and unused by FreeMatch).
      rule_decay: of the moving averages that an adaptive rule follows.
      labeller: "student" labels with the network itself, normalised by its batch (the paper);
        "teacher" with its average.
      student_view: "strong", or "weak" (then nothing is left of the method but self-training).
      rejected: "ignored", or "background": a quirk of published code, which trains every rejected
        pixel as class 0.
    """

    weight: float = 0.5
    threshold: float = 0.95
    rule: thresholds.Kind = "fixed"
    rule_decay: float = 0.999
    labeller: Literal["student", "teacher"] = "student"
    student_view: Literal["strong", "weak"] = "strong"
    rejected: Literal["ignored", "background"] = "ignored"

    paper: ClassVar[str] = (
        "Sohn et al., NeurIPS 2020; thresholds of FlexMatch (Zhang et al. 2021) and FreeMatch "
        "(Wang et al. 2023)"
    )
    passes: ClassVar[str] = "L + U | U"

    def remember(self, model: Model, params: Params, key: jax.Array) -> dict[str, PyTree]:
        return {"thresholds": thresholds.start(model.classes)}

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
        if self.labeller == "teacher":
            q = self.target(model, memory["teacher"], batch.weak, jax.random.fold_in(key, 2))
        else:
            q = jax.nn.softmax(
                jax.lax.stop_gradient(model.apply(params, batch.weak, train=True).logits)
            )
        accepted, seen = thresholds.accept(
            self.rule, self.threshold, memory["thresholds"], q, batch.valid, self.rule_decay
        )
        label = q.argmax(-1)
        view = batch.strong if self.student_view == "strong" else batch.weak
        logits = model.apply(params, view, train=True, key=jax.random.fold_in(key, 1)).logits
        trained = accepted if self.rejected == "ignored" else batch.valid
        unsupervised = hard_cross_entropy(
            logits, jnp.where(accepted, label, 0), trained, batch.valid
        )
        w = self.ramped(progress)
        share = accepted.sum() / jnp.maximum(batch.valid.sum(), 1)
        metrics = {
            "supervised": supervised,
            "unsupervised": unsupervised,
            "accepted": share,
            "unsupervised_weight": w,
        }
        pseudo = Pseudo(q, accepted, jax.nn.softmax(logits))
        return supervised + w * unsupervised, Aux(
            metrics, output.new_state, {**memory, "thresholds": seen}, pseudo
        )
