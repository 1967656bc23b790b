"""R-Drop: two dropouts of one network agree."""

from __future__ import annotations

from typing import ClassVar

import jax

from semiseg.losses import masked_mean
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.heads import drop_channels, last_layer
from semiseg.methods.parts.terms import divergence
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class RDrop(SemiSupervised):
    """Liang et al., NeurIPS 2021 (equations 1-3), on unlabelled images.

    Adds w(t) · ½ (KL(p1 || p2) + KL(p2 || p1)): p1 and p2 are two passes at one image, each with
    its own dropout inside the network (if it has any) and with its own channels of the last
    features dropped. The paper has this on labelled samples.

    Attributes:
      drop: probability that a channel of the features under the last layer is dropped.
    """

    weight: float = 0.5
    drop: float = 0.2

    paper: ClassVar[str] = "Liang et al., NeurIPS 2021"
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
        looks = []
        for i in (1, 2):
            k_net, k_drop = jax.random.split(jax.random.fold_in(key, i))
            features = model.apply(params, batch.strong, train=True, key=k_net).aux["features"]
            looks.append(
                jax.nn.softmax(
                    last_layer(model, params, drop_channels(k_drop, features, self.drop))
                )
            )
        a, b = looks
        apart = masked_mean(0.5 * (divergence(a, b) + divergence(b, a)), batch.valid)
        w = self.ramped(progress)
        metrics = {"supervised": supervised, "divergence": apart, "divergence_weight": w}
        return supervised + w * apart, Aux(
            metrics, output.new_state, None, Pseudo(a, batch.valid, b)
        )
