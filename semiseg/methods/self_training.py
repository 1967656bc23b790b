"""Self-training in rounds: train, label the unlabelled images, train a fresh network on them."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import count, number
from semiseg.methods.base import SemiSupervised, View, choose, seen, view
from semiseg.methods.parts.terms import hard_cross_entropy
from semiseg.methods.parts.thresholds import confident
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class SelfTraining(SemiSupervised):
    """Noisy student, Xie et al., CVPR 2020 (algorithm 1), with the networks of one size; for
    segmentation Yang et al., CVPR 2022 (ST).

    The steps are cut into ``rounds``. In the first the network learns from the labelled images
    alone. Then, in each round, its average at the end of the last round is frozen and labels, and a
    fresh student learns from the labelled images and, on the strong view, from the labels that are
    confident: loss = criterion + weight · 1/|valid| Σ over confident pixels of CE. The student, its
    average, the optimiser's moments and the learning rate's schedule begin anew with each round.
    Difference: all rounds start from the same initial weights.

    Attributes:
      rounds: of training, the supervised one included.
      threshold: least confidence of an accepted pixel.
      ramp: unused: the weight does not ramp.
      student_view: "strong", or "weak".
    """

    rounds: int = count(2, at_least=1)
    threshold: float = number(0.5, within=(0, 1))
    student_view: View = "strong"

    title: ClassVar[str] = "self training"
    paper: ClassVar[str] = "Xie et al., CVPR 2020; Yang et al., CVPR 2022"
    holds: ClassVar[str] = "1 | 3"
    passes: ClassVar[str] = "L + U | U"

    def remember(
        self,
        model: Model,
        params: Params,
        key: jax.Array,
    ) -> dict[str, PyTree]:
        return {
            "labeller": params,
            "fresh": params,
            "round": jnp.int32(0),
            "next": jnp.int32(0),
        }

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
        q = self.target(model, memory["labeller"], batch.weak, k_teacher)
        shown = seen(batch, self.student_view)
        accepted = confident(q, self.threshold, shown) & (memory["round"] > 0)
        image = view(batch, self.student_view)
        taught_pass = model.apply(params, image, train=True, key=k_student)
        logits = taught_pass.logits
        unsupervised = hard_cross_entropy(logits, q.argmax(-1), accepted, shown)
        # of the next step, so that a round's first step has its fresh student
        due = jnp.floor((progress + 1 / model.steps) * self.rounds + 1e-5).astype(jnp.int32)
        due = jnp.minimum(due, self.rounds - 1)
        metrics = {
            "supervised": supervised,
            "unsupervised": unsupervised,
            "round": memory["round"].astype(jnp.float32),
        }
        total = supervised + self.weight * unsupervised
        pseudo = Pseudo(
            probability=q,
            accepted=accepted,
            student=jax.nn.softmax(logits),
        )
        return total, Aux(
            metrics=metrics,
            state=self.new_state(output, taught_pass),
            memory={**memory, "next": due},
            pseudo=pseudo,
        )

    def rate_progress(self, progress: jax.Array) -> jax.Array:
        """The share of the round that is done, by which the learning rate falls."""
        done = progress * self.rounds
        return done - jnp.floor(done + 1e-5)

    def begins_anew(self, before: PyTree, after: PyTree) -> jax.Array:
        return after["round"] > before["round"]

    def update(self, params: Params, memory: PyTree) -> tuple[Params, PyTree]:
        """Average the network; where a round is over, begin the next one."""
        params, memory = super().update(params, memory)
        over = memory["next"] > memory["round"]
        fresh = memory["fresh"]
        return choose(over, fresh, params), {
            **memory,
            "labeller": choose(over, memory["teacher"], memory["labeller"]),
            "teacher": choose(over, fresh, memory["teacher"]),
            "step": jnp.where(over, 0, memory["step"]),
            "round": memory["next"],
        }
