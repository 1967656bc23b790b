"""ICT: the prediction of a mixed image is the mix of the predictions."""

from __future__ import annotations

from typing import ClassVar

import jax

from semiseg.augment.mix import partner
from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class ICT(SemiSupervised):
    """Interpolation consistency training, Verma et al., IJCAI 2019 (equation 1).

    With λ ~ Beta(alpha, alpha) and the next image of the batch as the second one: adds w(t) ·
    ||softmax(f(λ u1 + (1 - λ) u2)) - (λ g(u1) + (1 - λ) g(u2))||², g the averaged teacher's
    probabilities.

    Attributes:
      alpha: of the Beta distribution; small: nearly always one of the two images.
    """

    weight: float = 4.0
    alpha: float = 0.2

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
        teacher = self.target(model, memory["teacher"], batch.weak, k_teacher)
        share = jax.random.beta(k_mix, self.alpha, self.alpha, (len(batch.weak),))
        share = share.reshape(-1, *(1,) * (batch.weak.ndim - 1))
        mix = lambda x: share * x + (1 - share) * partner(x)
        student = jax.nn.softmax(
            model.apply(params, mix(batch.weak), train=True, key=k_student).logits
        )
        consistency = softmax_mse(student, mix(teacher), batch.valid & partner(batch.valid))
        w = self.ramped(progress)
        metrics = {"supervised": supervised, "consistency": consistency, "consistency_weight": w}
        return supervised + w * consistency, Aux(
            metrics, output.new_state, None, Pseudo(teacher, batch.valid)
        )
