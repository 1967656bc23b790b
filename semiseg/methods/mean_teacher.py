"""Mean teacher: agree, on unlabelled images, with the moving average of the network."""

from __future__ import annotations

from typing import ClassVar

import jax

from semiseg.fields import number
from semiseg.losses import softmax_mse
from semiseg.methods.base import Taught, View, seen, view, with_consistency
from semiseg.methods.parts.terms import clipped_noise
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class MeanTeacher(Taught):
    """Tarvainen & Valpola, NeurIPS 2017 (equations 1-2), as used for segmentation by Yu et al.,
    MICCAI 2019.

    Loss = criterion(student(x_l), y) + w(t) · ||softmax(student(u')) - softmax(teacher(u))||²
    with w(t) = weight · exp(-5 (1 - t)²). The teacher is the exponential moving average of the
    student (of its weights and its normalisation statistics), and is what is evaluated.

    Attributes:
      weight: of the consistency term (squared error, mean over pixels and classes) at the end of
        its ramp.
      start: share of the training before which the term is off.
      noise: standard deviation of the noise added to the teacher's (standardised) input, clipped at
        twice that.
      student_view: "strong" or "weak": the view of the unlabelled images that the student sees; the
        teacher's is weak.
    """

    weight: float = number(1.0, at_least=0)
    start: float = number(0.0, within=(0, 1))
    noise: float = number(0.0, at_least=0)
    student_view: View = "strong"

    title: ClassVar[str] = "mean teacher"
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
        noisy = batch.weak + clipped_noise(k_noise, batch.weak.shape, self.noise)
        target = self.target(model, self.teacher(memory), noisy, k_teacher)
        taught = model.apply(params, view(batch, self.student_view), train=True, key=k_student)
        p = jax.nn.softmax(taught.logits)
        shown = seen(batch, self.student_view)
        consistency = softmax_mse(p, target, shown)
        w = self.ramped(progress) * (progress >= self.start)
        pseudo = Pseudo(
            probability=target,
            accepted=shown,
            student=p,
        )
        return with_consistency(
            supervised,
            consistency,
            w,
            state=self.new_state(output, taught),
            pseudo=pseudo,
        )
