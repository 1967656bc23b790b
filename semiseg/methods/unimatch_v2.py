"""UniMatch V2: an average teacher labels the weak view for two strong views, of which each has the
feature channels that the other lacks.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.augment.mix import cutmix_box, partner, paste
from semiseg.fields import number
from semiseg.methods.base import Taught, seen
from semiseg.methods.parts.heads import complementary_channels, last_layer
from semiseg.methods.parts.strong_views import Kind, two_views
from semiseg.methods.parts.terms import hard_cross_entropy, share_of_valid
from semiseg.methods.parts.thresholds import confident
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class UniMatchV2(Taught):
    """Yang et al., TPAMI 2025, without its DINOv2 encoder.

    Adds w(t) · ½ (H(s1) + H(s2)): H is the cross-entropy against argmax q where max q ≥ threshold,
    q the prediction of the teacher, a moving average, for the weak view; s1 and s2 are two strong
    views, each with a CutMix box of the next unlabelled image, in picture, label and confidence.
    Complementary dropout: the features of s1 have a random half of the channels, doubled, and those
    of s2 the other half, doubled; of half of the images both views have them all. The published
    total is half of this: halve the learning rate for it.

    Differences: the network is the run's, trained from its own start, where the paper's encoder is
    pre-trained on 142 million pictures; channels are dropped under the last layer (where every
    network has them) instead of behind the encoder; s1 is the trainer's strong view, s2 is drawn
    from the weak view by contrast, brightness and blur; a box comes from the next image of the
    batch instead of one of the batch in reverse; the weight ramps; the average is evaluated (their
    code scores it and the student).

    Attributes:
      decay: of the moving average, teacher and evaluated network.
      threshold: least confidence of an accepted pixel.
      complementary: share of the images whose channels are divided between the views.
      jitter: probability of other contrast and brightness in the second strong view.
      blur: probability of a blur in it.
      cutmix: probability of a box.
      student_view: "strong"; "jitter": both views are drawn as s2 is, as published; "weak": both
        are the weak view (with CutMix).
    """

    decay: float = number(0.996, within=(0, 1))
    threshold: float = number(0.95, within=(0, 1))
    complementary: float = number(0.5, within=(0, 1))
    jitter: float = number(0.8, within=(0, 1))
    blur: float = number(0.5, within=(0, 1))
    cutmix: float = number(0.5, within=(0, 1))
    student_view: Kind = "strong"

    title: ClassVar[str] = "UniMatch V2"
    paper: ClassVar[str] = "Yang et al., TPAMI 2025"
    passes: ClassVar[str] = "L + 2 U | U"

    def loss(
        self,
        model: Model,
        params: Params,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        keys = [jax.random.fold_in(key, i) for i in range(1, 9)]
        k_teacher, k_first, k_second, k_drop, *k_views = keys
        output, supervised = self.supervise(model, params, batch, key)
        q = self.target(model, self.teacher(memory), batch.weak, k_teacher)
        accepted = confident(q, self.threshold, batch.valid)
        label = jnp.where(accepted, q.argmax(-1), IGNORE)

        views = two_views(batch, self.student_view, k_first, k_second, self.jitter, self.blur)
        # the second view has no cut-outs
        shown = seen(batch, "strong" if self.student_view == "strong" else "weak")
        strong = jnp.float32(0)
        passes = []
        for i, (image, valid) in enumerate(zip(views, (shown, batch.valid), strict=True)):
            k_box, k_net = k_views[2 * i : 2 * i + 2]
            mask = cutmix_box(k_box, label.shape[1:], len(label), self.cutmix)
            mixed = paste(mask, image, partner(image))
            passes.append(model.apply(params, mixed, train=True, key=k_net))
            features = passes[-1].aux["features"]
            channels = complementary_channels(k_drop, features.shape, self.complementary)[i]
            logits = last_layer(model, params, features * channels.astype(features.dtype))
            known = jnp.where(valid, label, IGNORE)
            mixed_label = paste(mask, known, partner(known))
            mixed_valid = paste(mask, valid, partner(valid))
            strong += 0.5 * hard_cross_entropy(
                logits, mixed_label, mixed_label != IGNORE, mixed_valid
            )
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "strong": strong,
            "accepted": share_of_valid(accepted, batch.valid),
            "unsupervised_weight": w,
        }
        return supervised + w * strong, Aux(
            metrics=metrics,
            state=self.new_state(output, *passes),
            pseudo=Pseudo(probability=q, accepted=accepted),
        )
