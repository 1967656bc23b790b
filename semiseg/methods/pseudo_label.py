"""Pseudo-labelling: learn from your own confident predictions on unlabelled images."""

from __future__ import annotations

from typing import ClassVar

import jax

from semiseg.fields import number
from semiseg.methods.base import Taught, View, seen, view
from semiseg.methods.parts.terms import hard_cross_entropy, share_of_valid
from semiseg.methods.parts.thresholds import confident
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class PseudoLabel(Taught):
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

    weight: float = number(0.5, at_least=0)
    threshold: float = number(0.9, within=(0, 1))
    student_view: View = "strong"

    title: ClassVar[str] = "pseudo label"
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
        k_student, k_teacher = jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)
        q = self.target(model, self.teacher(memory), batch.weak, k_teacher)
        shown = seen(batch, self.student_view)
        accepted = confident(q, self.threshold, shown)
        image = view(batch, self.student_view)
        taught_pass = model.apply(params, image, train=True, key=k_student)
        logits = taught_pass.logits
        unsupervised = hard_cross_entropy(logits, q.argmax(-1), accepted, shown)
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "unsupervised": unsupervised,
            "accepted": share_of_valid(accepted, shown),
            "unsupervised_weight": w,
        }
        pseudo = Pseudo(
            probability=q,
            accepted=accepted,
            student=jax.nn.softmax(logits),
        )
        return supervised + w * unsupervised, Aux(
            metrics=metrics,
            state=self.new_state(output, taught_pass),
            pseudo=pseudo,
        )
