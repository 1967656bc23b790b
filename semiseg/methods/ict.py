"""ICT: the prediction of a mixed image is the mix of the predictions."""

from __future__ import annotations

from typing import ClassVar

import jax

from semiseg.augment.mix import partner
from semiseg.fields import number
from semiseg.losses import softmax_mse
from semiseg.methods.base import Taught, with_consistency
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class ICT(Taught):
    """Interpolation consistency training, Verma et al., IJCAI 2019 (equation 1).

    With λ ~ Beta(alpha, alpha) and the next image of the batch as the second one: adds w(t) ·
    ||softmax(f(λ u1 + (1 - λ) u2)) - (λ g(u1) + (1 - λ) g(u2))||², g the averaged teacher's
    probabilities.

    Attributes:
      alpha: of the Beta distribution; where it is small, λ is nearly always close to 0 or to 1.
    """

    weight: float = number(4.0, at_least=0)
    alpha: float = number(0.2, above=0)

    title: ClassVar[str] = "ICT"
    paper: ClassVar[str] = "Verma et al., IJCAI 2019"
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
        k_student, k_mix, k_teacher = (jax.random.fold_in(key, i) for i in (1, 2, 3))
        output, supervised = self.supervise(model, params, batch, key)
        target = self.target(model, self.teacher(memory), batch.weak, k_teacher)
        share = jax.random.beta(k_mix, self.alpha, self.alpha, (len(batch.weak),))
        share = share.reshape(-1, *(1,) * (batch.weak.ndim - 1))
        taught = model.apply(params, mix(batch.weak, share), train=True, key=k_student)
        p = jax.nn.softmax(taught.logits)
        both_valid = batch.valid & partner(batch.valid)
        consistency = softmax_mse(p, mix(target, share), both_valid)
        w = self.ramped(progress)
        pseudo = Pseudo(
            probability=target,
            accepted=batch.valid,
        )
        return with_consistency(
            supervised,
            consistency,
            w,
            state=self.new_state(output, taught),
            pseudo=pseudo,
        )


def mix(x: jax.Array, share: jax.Array) -> jax.Array:
    """``share`` of each entry of a batch, and the rest of the next one.

    >>> mix(jax.numpy.array([1.0, 2.0]), 0.75).tolist()
    [1.25, 1.75]
    """
    return share * x + (1 - share) * partner(x)
