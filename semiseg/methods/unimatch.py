"""UniMatch: one weak view teaches two strong views and its own perturbed features."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.augment.mix import cutmix_box, jitter, partner, paste
from semiseg.losses import Dice
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.heads import drop_channels, last_layer
from semiseg.methods.parts.terms import hard_cross_entropy
from semiseg.methods.parts.thresholds import confident
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class UniMatch(SemiSupervised):
    """Yang et al., CVPR 2023 (equations 3-6), in the medical setting of its code.

    Adds w(t) · (strong_weight · (H(s1) + H(s2)) + feature_weight · H(fp)): H is the loss against
    argmax softmax(f(weak(u))) where that is confident; s1 and s2 are two strong views, each with a
    CutMix box of the next unlabelled image, in picture, label and confidence; fp is the weak view
    with channels of its features dropped. The published total is half of this: halve the learning
    rate for it.

    Differences: s1 is the trainer's strong view, s2 is drawn from the weak view by contrast,
    brightness and blur; features are dropped under the last layer (where every network has them)
    instead of in the encoder; a box comes from the next image of the batch instead of one of
    another batch.

    Attributes:
      threshold: least confidence of an accepted pixel.
      strong_weight: of each strong view.
      feature_weight: of the perturbed features.
      drop: probability that a channel of the features is dropped.
      jitter: probability of other contrast and brightness in the second strong view.
      blur: probability of a blur in it.
      cutmix: probability of a box.
      pixel_loss: "ce", or "dice" (the medical code): Dice over confident pixels.
      student_view: "strong"; "jitter": both views are drawn as s2 is (the published code); "weak":
        both are the weak view (with CutMix).
    """

    threshold: float = 0.95
    strong_weight: float = 0.25
    feature_weight: float = 0.5
    drop: float = 0.5
    jitter: float = 0.8
    blur: float = 0.5
    cutmix: float = 0.5
    pixel_loss: Literal["ce", "dice"] = "ce"
    student_view: Literal["strong", "jitter", "weak"] = "strong"

    paper: ClassVar[str] = "Yang et al., CVPR 2023"
    passes: ClassVar[str] = "L + 3 U"

    def loss(
        self,
        model: Model,
        params: Params,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        k_weak, k_jitter, k_drop, *k_views = (jax.random.fold_in(key, i) for i in range(1, 8))
        output, supervised = self.supervise(model, params, batch, key)
        weak = model.apply(params, batch.weak, train=True, key=k_weak)
        q = jax.nn.softmax(jax.lax.stop_gradient(weak.logits))
        accepted = confident(q, self.threshold, batch.valid)
        label = jnp.where(accepted, q.argmax(-1), IGNORE)

        dropped = last_layer(model, params, drop_channels(k_drop, weak.aux["features"], self.drop))
        features = self.pixels(dropped, label, batch.valid)
        second = jitter(k_jitter, batch.weak, self.jitter, self.blur)
        if self.student_view == "weak":
            views = batch.weak, batch.weak
        elif self.student_view == "jitter":
            views = jitter(jax.random.fold_in(key, 8), batch.weak, self.jitter, self.blur), second
        else:
            views = batch.strong, second
        strong = jnp.float32(0)
        for view, k_box, k_net in zip(views, k_views[:2], k_views[2:]):
            mask = cutmix_box(k_box, label.shape[1:], len(label), self.cutmix)
            logits = model.apply(
                params, paste(mask, view, partner(view)), train=True, key=k_net
            ).logits
            mixed, seen = (
                paste(mask, label, partner(label)),
                paste(mask, batch.valid, partner(batch.valid)),
            )
            strong += self.pixels(logits, mixed, seen)
        w = self.ramped(progress)
        metrics = {"supervised": supervised, "strong": strong, "features": features, "accepted": accepted.sum() / jnp.maximum(batch.valid.sum(), 1),
                   "unsupervised_weight": w}  # fmt: skip
        total = supervised + w * (self.strong_weight * strong + self.feature_weight * features)
        return total, Aux(
            metrics, output.new_state, None, Pseudo(q, accepted, jax.nn.softmax(dropped))
        )

    def pixels(self, logits: jax.Array, label: jax.Array, valid: jax.Array) -> jax.Array:
        """H of the equations: the loss on confident pixels; 0, and no gradient, where there is
        none.
        """
        if self.pixel_loss == "dice":
            return Dice(squared=True, background=True)(logits, label)
        return hard_cross_entropy(logits, label, label != IGNORE, valid)
