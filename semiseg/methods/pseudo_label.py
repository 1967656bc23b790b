"""Pseudo-labelling: learn from your own confident predictions on unlabelled images."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.losses import CEDice
from semiseg.methods.blocks import ema_params, gaussian_ramp, supervised_loss
from semiseg.types import IGNORE, Batch, Loss, Model, Params, PyTree, hyper, static


@hyper
class PseudoLabel:
    """Lee, ICML workshop 2013, with the confidence threshold of Sohn et al. 2020 and an averaged model as the one that labels.

    Loss = criterion(f(x_l), y) + w(t) / |valid| · Σ over pixels with max softmax(g(u)) ≥ threshold of CE(f(u'), argmax g(u)).
    A rejected pixel has zero gradient: it is left out, never trained as background.

    Attributes:
      criterion: the segmentation loss on labelled images.
      threshold: least confidence of an accepted pixel.
      weight: of the pseudo-label term at the end of its ramp.
      ramp: share of the training after which the weight is at its full value.
      decay: of the average that labels and is evaluated; 0 labels with the network itself (Lee 2013).
      labelled_share: part of the batch that is labelled.
      student_view: "strong" or "weak": the view that is trained on the pseudo-labels, which come from the weak one.
    """

    criterion: Loss = CEDice()
    threshold: float = 0.9
    weight: float = 0.5
    ramp: float = 0.4
    decay: float = 0.99
    labelled_share: float = static(default=0.5)
    student_view: str = "strong"

    def labelled(self, batch: int) -> int:
        """How many images of a batch come from the labelled pool."""
        return min(max(1, round(batch * self.labelled_share)), batch - 1)

    def init(self, model: Model, key: jax.Array) -> tuple[Params, PyTree]:
        params = model.init(key)
        return params, {"teacher": params, "step": jnp.zeros((), jnp.int32)}

    def loss(self, model: Model, params: Params, memory: PyTree, batch: Batch, key: jax.Array, progress: jax.Array):
        k_labelled, k_student = (jax.random.fold_in(key, i) for i in range(2))
        output = model.apply(params, batch.image, train=True, key=k_labelled)
        supervised = supervised_loss(self.criterion, output, batch.label)

        probability = jax.nn.softmax(jax.lax.stop_gradient(model.apply(memory["teacher"], batch.weak, train=False).logits))
        accepted = batch.valid & (probability.max(-1) >= self.threshold)
        pseudo = jnp.where(accepted, probability.argmax(-1), IGNORE)
        view = batch.strong if self.student_view == "strong" else batch.weak
        log_p = jax.nn.log_softmax(model.apply(params, view, train=True, key=k_student).logits)
        ce = -jnp.take_along_axis(log_p, jnp.where(accepted, pseudo, 0)[..., None], -1)[..., 0]
        valid = jnp.maximum(batch.valid.sum(), 1)
        unsupervised = jnp.where(accepted, ce, 0.0).sum() / valid
        weight = self.weight * gaussian_ramp(progress, self.ramp)
        metrics = {"supervised": supervised, "pseudo_label": unsupervised, "accepted": accepted.sum() / valid, "pseudo_weight": weight}
        return supervised + weight * unsupervised, (metrics, output.new_state)

    def update(self, memory: PyTree, params: Params) -> PyTree:
        return {"teacher": ema_params(memory["teacher"], params, self.decay, memory["step"]), "step": memory["step"] + 1}

    def final(self, params: Params, memory: PyTree) -> Params:
        return memory["teacher"]
