"""Π-model: two random views of one image get the same prediction."""

from __future__ import annotations

from typing import ClassVar

import jax

from semiseg.fields import number
from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised, seen, with_consistency
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class PiModel(SemiSupervised):
    """Laine & Aila, ICLR 2017 (algorithm 1), on unlabelled images.

    Adds w(t) · ||softmax(f(weak(u))) - softmax(f(strong(u)))||², each with its own dropout, if the
    network has any; the gradient goes through both, as there.
    """

    weight: float = number(4.0, at_least=0)

    title: ClassVar[str] = "pi model"
    paper: ClassVar[str] = "Laine & Aila, ICLR 2017"
    passes: ClassVar[str] = "L + 2 U"

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
        k_weak, k_strong = jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)
        of_weak = model.apply(params, batch.weak, train=True, key=k_weak)
        of_strong = model.apply(params, batch.strong, train=True, key=k_strong)
        weak = jax.nn.softmax(of_weak.logits)
        strong = jax.nn.softmax(of_strong.logits)
        shown = seen(batch, "strong")
        consistency = softmax_mse(weak, strong, shown)
        w = self.ramped(progress)
        pseudo = Pseudo(
            probability=weak,
            accepted=shown,
            student=strong,
        )
        return with_consistency(
            supervised,
            consistency,
            w,
            state=self.new_state(output, of_weak, of_strong),
            pseudo=pseudo,
        )
