"""R-Drop: two passes of one network with different dropout agree."""

from __future__ import annotations

from typing import ClassVar

import jax

from semiseg.fields import number
from semiseg.losses import masked_mean
from semiseg.methods.base import SemiSupervised, View, seen, view
from semiseg.methods.parts.heads import drop_channels, last_layer
from semiseg.methods.parts.terms import divergence
from semiseg.types import Aux, Batch, Model, Output, Params, Pseudo, PyTree, hyper


@hyper
class RDrop(SemiSupervised):
    """Liang et al., NeurIPS 2021 (equations 1-3), on unlabelled images.

    Adds w(t) · ½ (KL(p1 || p2) + KL(p2 || p1)): p1 and p2 are two passes at one image, each with
    its own dropout inside the network (if it has any) and with its own channels of the last
    features dropped. The paper has this on labelled samples.

    Attributes:
      drop: probability that a channel of the features under the last layer is dropped.
      student_view: "weak", the image as it is; or "strong".
    """

    weight: float = number(0.5, at_least=0)
    drop: float = number(0.2, at_least=0, below=1)
    student_view: View = "weak"

    title: ClassVar[str] = "R-Drop"
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
        image = view(batch, self.student_view)
        shown = seen(batch, self.student_view)
        first, of_first = self.dropped(model, params, image, jax.random.fold_in(key, 1))
        second, of_second = self.dropped(model, params, image, jax.random.fold_in(key, 2))
        distance = 0.5 * (divergence(first, second) + divergence(second, first))
        apart = masked_mean(distance, shown)
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "divergence": apart,
            "divergence_weight": w,
        }
        pseudo = Pseudo(
            probability=first,
            accepted=shown,
            student=second,
        )
        return supervised + w * apart, Aux(
            metrics=metrics,
            state=self.new_state(output, of_first, of_second),
            pseudo=pseudo,
        )

    def dropped(
        self,
        model: Model,
        params: Params,
        image: jax.Array,
        key: jax.Array,
    ) -> tuple[jax.Array, Output]:
        """Class probabilities ``(B, *space, K)`` of a pass with dropout, and the pass."""
        k_net, k_drop = jax.random.split(key)
        output = model.apply(params, image, train=True, key=k_net)
        features = drop_channels(k_drop, output.aux["features"], self.drop)
        return jax.nn.softmax(last_layer(model, params, features)), output
