"""Mean teacher: agree, on unlabelled images, with the average of your own past."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class MeanTeacher(SemiSupervised):
    """Tarvainen & Valpola, NeurIPS 2017 (equations 1-2), as used for segmentation by Yu et al.,
    MICCAI 2019.

    Loss = criterion(student(x_l), y) + w(t) · ||softmax(student(u')) - softmax(teacher(u))||²  with w(t) = weight · exp(-5 (1 - t)²);
    the teacher is the exponential moving average of the student, of weights and of normalisation
    statistics, and is what is evaluated.

    Attributes:
      weight: of the consistency term (squared error, mean over pixels and classes) at the end of
        its ramp.
      start: share of the training before which the term is off.
      noise: standard deviation of the noise added to the teacher's (standardised) input, clipped at
        twice that.
      student_view: "strong" or "weak": the view of the unlabelled images that the student sees; the
        teacher's is weak.
    """

    weight: float = 1.0
    start: float = 0.0
    noise: float = 0.0
    student_view: Literal["strong", "weak"] = "strong"

    paper: ClassVar[str] = "Tarvainen & Valpola, NeurIPS 2017"
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
        k_student, k_teacher, k_noise = (jax.random.fold_in(key, i) for i in (1, 2, 3))
        output, supervised = self.supervise(model, params, batch, key)
        noise = jnp.clip(
            self.noise * jax.random.normal(k_noise, batch.weak.shape),
            -2 * self.noise,
            2 * self.noise,
        )
        target = self.target(model, memory["teacher"], batch.weak + noise, k_teacher)
        view = batch.strong if self.student_view == "strong" else batch.weak
        student = jax.nn.softmax(model.apply(params, view, train=True, key=k_student).logits)
        consistency = softmax_mse(student, target, batch.valid)
        weight = self.ramped(progress) * (progress >= self.start)
        metrics = {
            "supervised": supervised,
            "consistency": consistency,
            "consistency_weight": weight,
        }
        return supervised + weight * consistency, Aux(
            metrics, output.new_state, None, Pseudo(target, batch.valid, student)
        )
