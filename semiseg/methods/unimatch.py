"""UniMatch: one weak view teaches two strong views and a pass with perturbed features."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.augment.mix import cutmix_box, partner, paste
from semiseg.fields import number
from semiseg.methods.base import SemiSupervised, seen
from semiseg.methods.parts.heads import drop_channels, last_layer
from semiseg.methods.parts.strong_views import Kind, two_views
from semiseg.methods.parts.terms import dice_of_accepted, hard_cross_entropy, share_of_valid
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
    another batch, and so is its label, made in the one pass that labels the weak view; there an
    evaluating network labels the images that boxes come from.

    Attributes:
      threshold: least confidence of an accepted pixel.
      strong_weight: of each strong view.
      feature_weight: of the perturbed features.
      drop: probability that a channel of the features is dropped.
      jitter: probability of other contrast and brightness in the second strong view.
      blur: probability of a blur in it.
      cutmix: probability of a box.
      pixel_loss: "ce", or "dice" (the medical code): Dice over confident pixels.
      least: pixels of a class that a batch must have accepted for its Dice to teach; published is
        0, by which a single pixel has the gradient of hundreds.
      student_view: "strong"; "jitter": both views are drawn as s2 is (the published code); "weak":
        both are the weak view (with CutMix).
    """

    threshold: float = number(0.95, within=(0, 1))
    strong_weight: float = number(0.25, at_least=0)
    feature_weight: float = number(0.5, at_least=0)
    drop: float = number(0.5, at_least=0, below=1)
    jitter: float = number(0.8, within=(0, 1))
    blur: float = number(0.5, within=(0, 1))
    cutmix: float = number(0.5, within=(0, 1))
    pixel_loss: Literal["ce", "dice"] = "ce"
    least: float = number(50.0, at_least=0)
    student_view: Kind = "strong"

    title: ClassVar[str] = "UniMatch"
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
        k_weak, k_jitter, k_drop, *k_views = (jax.random.fold_in(key, i) for i in range(1, 9))
        output, supervised = self.supervise(model, params, batch, key)
        weak = model.apply(params, batch.weak, train=True, key=k_weak)
        q = jax.nn.softmax(jax.lax.stop_gradient(weak.logits))
        accepted = confident(q, self.threshold, batch.valid)
        label = jnp.where(accepted, q.argmax(-1), IGNORE)

        dropped = last_layer(model, params, drop_channels(k_drop, weak.aux["features"], self.drop))
        features = self.pixels(dropped, label, batch.valid)
        k_box_1, k_box_2, k_net_1, k_net_2, k_first = k_views
        first, second = two_views(
            batch, self.student_view, k_first, k_jitter, self.jitter, self.blur
        )
        # the second view has no cut-outs
        shown = seen(batch, "strong" if self.student_view == "strong" else "weak")
        strong = jnp.float32(0)
        passes = [weak]
        for image, valid, k_box, k_net in (
            (first, shown, k_box_1, k_net_1),
            (second, batch.valid, k_box_2, k_net_2),
        ):
            mask = cutmix_box(k_box, label.shape[1:], len(label), self.cutmix)
            mixed = paste(mask, image, partner(image))
            passes.append(model.apply(params, mixed, train=True, key=k_net))
            known = jnp.where(valid, label, IGNORE)
            mixed_label = paste(mask, known, partner(known))
            mixed_valid = paste(mask, valid, partner(valid))
            strong += self.pixels(passes[-1].logits, mixed_label, mixed_valid)
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "strong": strong,
            "features": features,
            "accepted": share_of_valid(accepted, batch.valid),
            "unsupervised_weight": w,
        }
        if self.pixel_loss == "dice":
            metrics["skipped_classes"] = dice_of_accepted(dropped, label, self.least)[1]
        total = supervised + w * (self.strong_weight * strong + self.feature_weight * features)
        pseudo = Pseudo(
            probability=q,
            accepted=accepted,
            student=jax.nn.softmax(dropped),
        )
        return total, Aux(
            metrics=metrics,
            state=self.new_state(output, *passes),
            pseudo=pseudo,
        )

    def pixels(
        self,
        logits: jax.Array,
        label: jax.Array,
        valid: jax.Array,
    ) -> jax.Array:
        """H of the equations: the loss on confident pixels; 0, and no gradient, where there is
        none.
        """
        if self.pixel_loss == "dice":
            return dice_of_accepted(logits, label, self.least)[0]
        return hard_cross_entropy(logits, label, label != IGNORE, valid)
