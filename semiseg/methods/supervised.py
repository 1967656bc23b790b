"""Supervised training on the labelled pool alone: the baseline that gets the same care as every
other method.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.losses import CEDice
from semiseg.methods.parts.terms import ema_params, supervised_loss
from semiseg.types import Aux, Batch, Loss, Model, Params, PyTree, hyper


@hyper
class Supervised:
    """Gradient descent on the labelled images; an average of the weights is what is evaluated.

    The average (Tarvainen & Valpola 2017, but without their consistency term) is kept here too, so
    that what a mean teacher gains over this baseline is due to its unlabelled images and not to
    averaging.

    Attributes:
      criterion: the segmentation loss.
      decay: of the weight average; 0 evaluates the last iterate itself.
    """

    criterion: Loss = CEDice()
    decay: float = 0.99

    paper: ClassVar[str] = "the baseline"
    holds: ClassVar[str] = "1 | 1"
    passes: ClassVar[str] = "L"

    def labelled(self, batch: int) -> int:
        """How many images of a batch come from the labelled pool: all."""
        return batch

    def init(self, model: Model, key: jax.Array) -> tuple[Params, PyTree]:
        params = model.init(key)
        return params, {"average": params, "step": jnp.zeros((), jnp.int32)}

    def loss(
        self,
        model: Model,
        params: Params,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        output = model.apply(params, batch.image, train=True, key=jax.random.fold_in(key, 0))
        loss = supervised_loss(self.criterion, output, batch.label, batch.weight)
        return loss, Aux({"supervised": loss}, output.new_state)

    def update(self, params: Params, memory: PyTree) -> tuple[Params, PyTree]:
        return params, {
            "average": ema_params(memory["average"], params, self.decay, memory["step"]),
            "step": memory["step"] + 1,
        }

    def final(self, params: Params, memory: PyTree) -> Params:
        return memory["average"]
