"""What every semi-supervised method is built on: half of the batch is unlabelled, the weight of the
unlabelled term ramps up, and a moving average of the network is evaluated.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.fields import number
from semiseg.losses import CEDice
from semiseg.methods.parts.moving_average import ema_params
from semiseg.methods.parts.ramps import gaussian_ramp
from semiseg.methods.parts.terms import supervised_loss
from semiseg.types import Aux, Batch, Loss, Model, Net, Output, Params, Pseudo, PyTree, hyper

View = Literal["strong", "weak"]
"""Which view of the unlabelled images a student sees."""


@hyper
class SemiSupervised:
    """Loss = criterion(f(x_l), y) + w(t) · (what a method adds), with w(t) = weight · exp(-5 (1 -
    t)²).

    The exponential moving average of the network (of its weights and its normalisation statistics)
    is evaluated, as it is with ``supervised``; methods that have a teacher use it as the teacher.

    A method with one network has a Params for ``params``. A method with several has a dict of them,
    in which ``net`` is the one that is evaluated.

    Attributes:
      criterion: the segmentation loss on labelled images.
      weight: of the unlabelled term at the end of its ramp.
      ramp: share of the training after which the weight is at its full value.
      decay: of the moving average.
      labelled_share: part of the batch that is labelled.
      statistics: what the normalisation statistics of evaluation follow: "labelled" images alone,
        which makes ``weight`` 0 supervised training; or "all" images that teach, as in published
        code, where both kinds pass the network together. Where a method pastes them into one
        picture, both are the same.
      average_state: False is a quirk of published code: normalisation statistics are left out of
        the average.
      evaluate: "teacher", the average; or "student", the last iterate, as most published code does.
      teacher_train: a quirk of published code: a teacher normalises by its batch and keeps its
        dropout. It goes with ``average_state``: a teacher whose statistics stay those of its start
        can only be read so.
    """

    criterion: Loss = CEDice()
    weight: float = number(1.0, at_least=0)
    ramp: float = number(0.4, at_least=0)
    decay: float = number(0.99, within=(0, 1))
    labelled_share: float = number(0.5, within=(0, 1), traced=False)
    statistics: Literal["labelled", "all"] = "labelled"
    average_state: bool = True
    evaluate: Literal["teacher", "student"] = "teacher"
    teacher_train: bool = False

    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    holds: ClassVar[str] = "1 | 1"
    passes: ClassVar[str] = "L + U"
    uses_unlabelled: ClassVar[bool] = True
    visits: ClassVar[int] = 0
    """How often a training should see each unlabelled image for the method to do something."""
    critics: ClassVar[tuple[str, ...]] = ()
    """Names in ``params`` of networks with an Adam of their own, at ``critic_lr``."""

    # -------------------------------------------------------------- what training asks of a method
    def labelled(self, batch: int) -> int:
        """How many images of a batch come from the labelled pool; at least one, and never all.

        >>> SemiSupervised().labelled(8)
        4
        """
        images = max(1, round(batch * self.labelled_share))
        return min(images, batch - 1)

    def architectures(self, net: Net) -> tuple[Net, ...]:
        """The networks that it trains; here the run's network alone."""
        return (net,)

    def networks(self, model: Model, key: jax.Array) -> PyTree:
        """Initial ``params``; the evaluated network is drawn from ``key`` itself, as that of
        ``supervised`` is.
        """
        return model.init(key)

    def remember(
        self,
        model: Model,
        params: PyTree,
        key: jax.Array,
    ) -> dict[str, PyTree]:
        """What the memory stores beside the teacher and the count of steps."""
        return {}

    def init(self, model: Model, key: jax.Array) -> tuple[PyTree, PyTree]:
        """Initial ``(params, memory)``."""
        params = self.networks(model, key)
        memory = {"teacher": self.main(params), "step": jnp.zeros((), jnp.int32)}
        return params, memory | self.remember(model, params, jax.random.fold_in(key, 9))

    def update(self, params: PyTree, memory: PyTree) -> tuple[PyTree, PyTree]:
        """Average the network into the teacher."""
        teacher = ema_params(
            memory["teacher"],
            self.main(params),
            self.decay,
            memory["step"],
            state=self.average_state,
        )
        return params, {**memory, "teacher": teacher, "step": memory["step"] + 1}

    def main(self, params: PyTree) -> Params:
        """The network of ``params`` that is averaged and evaluated."""
        if isinstance(params, Params):
            return params
        return params["net"]

    def average(self, memory: PyTree) -> Params:
        """The moving average of :meth:`main`."""
        return memory["teacher"]

    def final(self, params: PyTree, memory: PyTree) -> Params:
        """The variables that are evaluated and exported."""
        if self.evaluate == "teacher":
            return self.average(memory)
        return self.main(params)

    def rate_progress(self, progress: jax.Array) -> jax.Array:
        """Where the learning rate's schedule is: the share of the training that is done."""
        return progress

    def begins_anew(self, before: PyTree, after: PyTree) -> jax.Array | None:
        """Whether the step between two memories put a fresh network in place of the trained one, so
        that the optimiser must forget the old one; None: never.
        """
        return None

    # -------------------------------------------------------------- parts of a loss
    def supervise(
        self,
        model: Model,
        params: Params,
        batch: Batch,
        key: jax.Array,
    ) -> tuple[Output, jax.Array]:
        """The labelled pass and its loss; exactly those of ``supervised``."""
        output = model.apply(params, batch.image, train=True, key=jax.random.fold_in(key, 0))
        return output, supervised_loss(self.criterion, output, batch.label, batch.weight)

    def target(
        self,
        model: Model,
        teacher: Params,
        image: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        """A teacher's class probabilities ``(B, *space, K)``, without gradient; ``key`` is for its
        dropout under ``teacher_train``.
        """
        dropout_key = key if self.teacher_train else None
        output = model.apply(teacher, image, train=self.teacher_train, key=dropout_key)
        return jax.nn.softmax(jax.lax.stop_gradient(output.logits))

    def new_state(self, labelled: Output, *others: Output) -> PyTree:
        """Normalisation statistics after a step: those of the labelled pass, or the mean of those
        after each pass.
        """
        if self.statistics == "labelled":
            return labelled.new_state
        states = [labelled.new_state, *(output.new_state for output in others)]
        return jax.tree.map(lambda *passes: sum(passes) / len(passes), *states)

    def ramped(self, progress: jax.Array) -> jax.Array:
        """w(t)."""
        return self.weight * gaussian_ramp(progress, self.ramp)


@hyper
class Taught(SemiSupervised):
    """A method whose moving average teaches.

    Attributes:
      teacher_decay: of a teacher of its own, beside the average that is evaluated: a younger one
        (0.95) follows its student in a short training. None: one average is both.
    """

    teacher_decay: float | None = number(None, within=(0, 1), traced=True)

    def init(self, model: Model, key: jax.Array) -> tuple[PyTree, PyTree]:
        params, memory = super().init(model, key)
        if self.teacher_decay is not None:
            memory["young"] = self.main(params)
        return params, memory

    def update(self, params: PyTree, memory: PyTree) -> tuple[PyTree, PyTree]:
        """Average the network into the evaluated average, and into the teacher."""
        params, new = super().update(params, memory)
        if self.teacher_decay is not None:
            new["young"] = ema_params(
                memory["young"],
                self.main(params),
                self.teacher_decay,
                memory["step"],
                state=self.average_state,
            )
        return params, new

    def teacher(self, memory: PyTree) -> Params:
        """The network that teaches."""
        return memory["young"] if "young" in memory else memory["teacher"]


def with_consistency(
    supervised: jax.Array,
    consistency: jax.Array,
    weight: jax.Array,
    *,
    state: PyTree,
    pseudo: Pseudo,
    memory: PyTree = None,
    **metrics: jax.Array,
) -> tuple[jax.Array, Aux]:
    """The loss ``supervised + weight · consistency``, and what a step brings beside it.

    Args:
      supervised: of the labelled images.
      consistency: of the unlabelled images.
      weight: w(t).
      state: new normalisation statistics.
      pseudo: what the unlabelled images were taught with.
      memory: the memory with what this step saw in it; None keeps it as it is.
      **metrics: logged beside the three terms.
    """
    terms = {"supervised": supervised, "consistency": consistency, "consistency_weight": weight}
    aux = Aux(metrics={**terms, **metrics}, state=state, memory=memory, pseudo=pseudo)
    return supervised + weight * consistency, aux


def student(
    model: Model,
    params: Params,
    image: jax.Array,
    key: jax.Array | None,
) -> jax.Array:
    """Class probabilities ``(B, *space, K)`` of a training pass, with gradient."""
    return jax.nn.softmax(model.apply(params, image, train=True, key=key).logits)


def view(batch: Batch, name: View) -> jax.Array:
    """The view of the unlabelled images that is called ``name``."""
    return batch.strong if name == "strong" else batch.weak


def seen(batch: Batch, name: View) -> jax.Array:
    """The valid pixels ``(U, *space)`` that the view called ``name`` shows: none under a cut-out of
    the strong one.
    """
    if name == "weak" or batch.hidden is None:
        return batch.valid
    return batch.valid & ~batch.hidden


def new_states(params: dict[str, Params], net: PyTree) -> dict[str, PyTree]:
    """Normalisation statistics after a step: those of ``net`` are new, heads have none."""
    states = {name: p.state for name, p in params.items()}
    return {**states, "net": net}


def choose(
    condition: jax.Array,
    new: PyTree,
    old: PyTree,
) -> PyTree:
    """``new`` where a scalar ``condition`` holds, else ``old``."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def predict(
    model: Model,
    params: Params,
    image: jax.Array,
) -> jax.Array:
    """Class probabilities ``(B, *space, K)`` of an evaluating network, without gradient."""
    output = model.apply(params, image, train=False)
    return jax.nn.softmax(jax.lax.stop_gradient(output.logits))
