"""Supervised training on the labelled pool alone: the baseline that gets the same care as every
other method.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import number
from semiseg.losses import CEDice
from semiseg.methods.parts.moving_average import ema_params
from semiseg.methods.parts.terms import supervised_loss
from semiseg.types import Aux, Batch, Loss, Model, Net, Params, PyTree, hyper


@hyper
class Supervised:
    """Gradient descent on the labelled images; a moving average of the weights is evaluated.

    The average (Tarvainen & Valpola 2017, but without their consistency term) is stored here too,
    so that what a mean teacher gains over this baseline is due to its unlabelled images and not to
    averaging.

    Attributes:
      criterion: the segmentation loss.
      decay: of the weight average; 0 evaluates the last iterate itself.
    """

    criterion: Loss = CEDice()
    decay: float = number(0.99, within=(0, 1))

    title: ClassVar[str] = "supervised"
    paper: ClassVar[str] = "the baseline"
    holds: ClassVar[str] = "1 | 1"
    passes: ClassVar[str] = "L"
    uses_unlabelled: ClassVar[bool] = False

    def labelled(self, batch: int) -> int:
        """How many images of a batch come from the labelled pool: all."""
        return batch

    def architectures(self, net: Net) -> tuple[Net, ...]:
        """The networks that it trains: the run's network."""
        return (net,)

    def init(self, model: Model, key: jax.Array) -> tuple[Params, PyTree]:
        """Initial ``(params, memory)``."""
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
        return loss, Aux(
            metrics={"supervised": loss},
            state=output.new_state,
        )

    def update(self, params: Params, memory: PyTree) -> tuple[Params, PyTree]:
        """Average the network."""
        average = ema_params(memory["average"], params, self.decay, memory["step"])
        return params, {"average": average, "step": memory["step"] + 1}

    def main(self, params: Params) -> Params:
        """The network that is averaged and evaluated."""
        return params

    def average(self, memory: PyTree) -> Params:
        """The moving average of the network."""
        return memory["average"]

    def final(self, params: Params, memory: PyTree) -> Params:
        """The variables that are evaluated and exported."""
        return self.average(memory)
