"""What every pre-training objective is built on: a network, and a head that is not part of the
result, trained on images alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from semiseg.fields import number
from semiseg.types import Aux, Batch, Model, Params, PyTree, hyper


@hyper
class Objective:
    """A task of the training program (``semiseg.types.Task``) without labelled images; ``final``
    gives the initial weights of a run.

    Whatever the run's own optimiser is, this one is AdamW with the defaults of ``semiseg train``.

    Attributes:
      lr: peak learning rate.
    """

    lr: float = number(0.003, at_least=0)

    paper: ClassVar[str] = ""
    passes: ClassVar[str] = "U"

    def labelled(self, batch: int) -> int:
        """How many images of a batch come from the labelled pool: none."""
        return 0

    def head(
        self,
        model: Model,
        key: jax.Array,
    ) -> Params:
        """Fresh variables of what reads ``aux["features"]``."""
        raise NotImplementedError

    def init(
        self,
        model: Model,
        key: jax.Array,
    ) -> tuple[dict[str, Params], dict[str, Any]]:
        head = self.head(model, jax.random.fold_in(key, 1))
        return {"net": model.init(key), "head": head}, {}

    def loss(
        self,
        model: Model,
        params: dict[str, Params],
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        """The scalar to descend on, of ``batch.weak``, ``strong``, ``valid`` and ``coordinates``
        alone.
        """
        raise NotImplementedError

    def update(
        self,
        params: dict[str, Params],
        memory: PyTree,
    ) -> tuple[dict[str, Params], PyTree]:
        return params, memory

    def final(
        self,
        params: dict[str, Params],
        memory: PyTree,
    ) -> Params:
        return params["net"]
