"""What every semi-supervised method is built on: half of the batch unlabelled, a ramped weight, and
an average of the network that is evaluated.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.losses import CEDice
from semiseg.methods.parts.terms import ema_params, gaussian_ramp, supervised_loss
from semiseg.types import Batch, Loss, Model, Output, Params, PyTree, hyper, static


@hyper
class SemiSupervised:
    """Loss = criterion(f(x_l), y) + w(t) · (what a method adds), with w(t) = weight · exp(-5 (1 -
    t)²).

    The exponential moving average of the network, of weights and of normalisation statistics, is
    what is evaluated (as it is of ``supervised``), and is the teacher of the methods that have one.
    Normalisation statistics follow the labelled images alone.

    A method with one network has a Params for ``params``; one with more, a dict of them in which
    ``net`` is the one evaluated.

    Attributes:
      criterion: the segmentation loss on labelled images.
      weight: of the unlabelled term at the end of its ramp.
      ramp: share of the training after which the weight is at its full value.
      decay: of the moving average.
      labelled_share: part of the batch that is labelled.
      average_state: False is a quirk of published code: normalisation statistics are left out of
        the average.
      evaluate: "teacher", the average; or "student", the last iterate, as most published code does.
      teacher_train: a quirk of published code: a teacher normalises by its batch and keeps its
        dropout. It goes with ``average_state``: a teacher whose statistics stay those of its start
        can only be read so.
    """

    criterion: Loss = CEDice()
    weight: float = 1.0
    ramp: float = 0.4
    decay: float = 0.99
    labelled_share: float = static(default=0.5)
    average_state: bool = True
    evaluate: Literal["teacher", "student"] = "teacher"
    teacher_train: bool = False

    paper: ClassVar[str] = ""
    """Authors, venue and year."""
    holds: ClassVar[str] = "1 | 1"
    """Networks that are trained, and after the bar those that are kept without gradient (averages,
    teachers).
    """
    passes: ClassVar[str] = "L + U"
    """Images a step puts through a network, in terms of the labelled L and the unlabelled U of a
    batch; after a bar those without gradient.
    """

    def labelled(self, batch: int) -> int:
        """How many images of a batch come from the labelled pool."""
        return min(max(1, round(batch * self.labelled_share)), batch - 1)

    def networks(self, model: Model, key: jax.Array) -> PyTree:
        """Fresh ``params``; the evaluated network is drawn from ``key`` itself, as that of
        ``supervised`` is.
        """
        return model.init(key)

    def remember(self, model: Model, params: PyTree, key: jax.Array) -> dict[str, PyTree]:
        """What the memory holds beside the teacher and the count of steps."""
        return {}

    def init(self, model: Model, key: jax.Array) -> tuple[PyTree, PyTree]:
        params = self.networks(model, key)
        return params, {
            "teacher": evaluated(params),
            "step": jnp.zeros((), jnp.int32),
            **self.remember(model, params, jax.random.fold_in(key, 9)),
        }

    def update(self, params: PyTree, memory: PyTree) -> tuple[PyTree, PyTree]:
        teacher = ema_params(
            memory["teacher"],
            evaluated(params),
            self.decay,
            memory["step"],
            state=self.average_state,
        )
        return params, {**memory, "teacher": teacher, "step": memory["step"] + 1}

    def final(self, params: PyTree, memory: PyTree) -> Params:
        return memory["teacher"] if self.evaluate == "teacher" else evaluated(params)

    # -------------------------------------------------------------- parts of a loss
    def supervise(
        self, model: Model, params: Params, batch: Batch, key: jax.Array
    ) -> tuple[Output, jax.Array]:
        """The labelled pass and its loss; exactly those of ``supervised``."""
        output = model.apply(params, batch.image, train=True, key=jax.random.fold_in(key, 0))
        return output, supervised_loss(self.criterion, output, batch.label, batch.weight)

    def target(self, model: Model, teacher: Params, image: jax.Array, key: jax.Array) -> jax.Array:
        """A teacher's class probabilities ``(B, H, W, K)``, without gradient; ``key`` is for its
        dropout under ``teacher_train``.
        """
        logits = model.apply(
            teacher, image, train=self.teacher_train, key=key if self.teacher_train else None
        ).logits
        return jax.nn.softmax(jax.lax.stop_gradient(logits))

    def ramped(self, progress: jax.Array) -> jax.Array:
        """w(t)."""
        return self.weight * gaussian_ramp(progress, self.ramp)


def evaluated(params: PyTree) -> Params:
    """The network of ``params`` that is averaged and evaluated."""
    return params if isinstance(params, Params) else params["net"]


def averaged(memory: PyTree) -> Params:
    """The moving average of the evaluated network that every method keeps."""
    return memory["teacher"] if "teacher" in memory else memory["average"]


def predict(model: Model, params: Params, image: jax.Array) -> jax.Array:
    """Class probabilities ``(B, H, W, K)`` of an evaluating network, without gradient."""
    return jax.nn.softmax(jax.lax.stop_gradient(model.apply(params, image, train=False).logits))
