"""Mean teacher: agree, on unlabelled images, with the average of your own past."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.losses import CEDice, softmax_mse
from semiseg.methods.blocks import ema_params, gaussian_ramp, supervised_loss
from semiseg.types import Batch, Loss, Model, Params, PyTree, hyper, static


@hyper
class MeanTeacher:
    """Tarvainen & Valpola, NeurIPS 2017 (equations 1-2), as used for segmentation by Yu et al., MICCAI 2019.

    Loss = criterion(student(x_l), y) + w(t) · ||softmax(student(u')) - softmax(teacher(u))||²  with w(t) = weight · exp(-5 (1 - t)²);
    the teacher is the exponential moving average of the student, of weights and of normalisation statistics, and is what is evaluated.

    Attributes:
      criterion: the segmentation loss on labelled images.
      decay: of the moving average.
      weight: of the consistency term (squared error, mean over pixels and classes) at the end of its ramp.
      ramp: share of the training after which the weight is at its full value.
      start: share of the training before which the term is off.
      noise: standard deviation of the noise added to the teacher's (standardised) input, clipped at twice that.
      labelled_share: part of the batch that is labelled.
      student_view: "strong" or "weak": the view of the unlabelled images that the student sees; the teacher's is weak.
      teacher_train: quirk of published code: the teacher normalises by batch statistics and keeps its dropout.
      average_state: False is a quirk of published code: statistics are left out of the average.
      evaluate: "teacher", or "student" (a quirk of published code).
    """

    criterion: Loss = CEDice()
    decay: float = 0.99
    weight: float = 4.0
    ramp: float = 0.4
    start: float = 0.0
    noise: float = 0.0
    labelled_share: float = static(default=0.5)
    student_view: str = "strong"
    teacher_train: bool = False
    average_state: bool = True
    evaluate: str = "teacher"

    def labelled(self, batch: int) -> int:
        """How many images of a batch come from the labelled pool."""
        return min(max(1, round(batch * self.labelled_share)), batch - 1)

    def init(self, model: Model, key: jax.Array) -> tuple[Params, PyTree]:
        params = model.init(key)
        return params, {"teacher": params, "step": jnp.zeros((), jnp.int32)}

    def loss(self, model: Model, params: Params, memory: PyTree, batch: Batch, key: jax.Array, progress: jax.Array):
        k_labelled, k_student, k_teacher, k_noise = (jax.random.fold_in(key, i) for i in range(4))
        output = model.apply(params, batch.image, train=True, key=k_labelled)
        supervised = supervised_loss(self.criterion, output, batch.label)

        noise = jnp.clip(self.noise * jax.random.normal(k_noise, batch.weak.shape), -2 * self.noise, 2 * self.noise)
        target = model.apply(memory["teacher"], batch.weak + noise, train=self.teacher_train, key=k_teacher).logits
        view = batch.strong if self.student_view == "strong" else batch.weak
        student = model.apply(params, view, train=True, key=k_student).logits
        consistency = softmax_mse(jax.nn.softmax(student), jax.nn.softmax(jax.lax.stop_gradient(target)), batch.valid)
        weight = self.weight * gaussian_ramp(progress, self.ramp) * (progress >= self.start)
        metrics = {"supervised": supervised, "consistency": consistency, "consistency_weight": weight}
        return supervised + weight * consistency, (metrics, output.new_state)

    def update(self, memory: PyTree, params: Params) -> PyTree:
        teacher = ema_params(memory["teacher"], params, self.decay, memory["step"], state=self.average_state)
        return {"teacher": teacher, "step": memory["step"] + 1}

    def final(self, params: Params, memory: PyTree) -> Params:
        return memory["teacher"] if self.evaluate == "teacher" else params
