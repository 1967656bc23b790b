"""BCP: labelled and unlabelled images are pasted into each other, both ways, so that both are
learnt from in one picture.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.augment.mix import box, partner, paste
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.components import largest
from semiseg.methods.parts.terms import weighed
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class BCP(SemiSupervised):
    """Bidirectional copy-paste, Bai et al., CVPR 2023 (equations 1-9).

    M is 0 in a box of ``side`` of each axis and 1 around it. Into the labelled image goes the box
    of the unlabelled one, and the other way round: x_in = x_l ⊙ M + u ⊙ (1 - M), x_out = u ⊙ M +
    x_l ⊙ (1 - M), and so their labels, from the teacher's argmax for u. Loss of each: criterion on
    the labelled pixels + weight · criterion on the pseudo-labelled ones; their mean. In the first
    ``pretrain`` of the steps a second labelled image, with its true label and weight 1, stands for
    the unlabelled one (the paper's pre-training).

    Differences from the published code: it goes on from the pre-trained network that was best on
    validation, for student and teacher; here training goes on from the last one, and the teacher is
    averaged throughout. Each pair is pasted both ways (see ``pairs``).

    Attributes:
      weight: of the pseudo-labelled pixels, from the end of the pre-training on.
      ramp: unused: the weight does not ramp.
      pretrain: share of the steps that copy and paste among labelled images.
      side: of the box, share of each axis.
      largest_component: keep only the largest component of each class of a pseudo-label.
      pairs: "both": every pair gives two pictures, as many as the batch has images. "halves", as
        published: one half of the pairs is pasted one way, the other half the other way.
      total: "mean" of the two losses; "sum", as published, after the pre-training: with SGD, twice
        the learning rate from there on.
    """

    weight: float = 0.5
    pretrain: float = 0.25
    side: float = 2 / 3
    largest_component: bool = True
    pairs: Literal["both", "halves"] = "both"
    total: Literal["mean", "sum"] = "mean"

    paper: ClassVar[str] = "Bai et al., CVPR 2023"
    passes: ClassVar[str] = "L + L | L"

    def loss(
        self,
        model: Model,
        params: Params,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        k_box, k_out, k_in = jax.random.split(key, 3)
        n = min(len(batch.image), len(batch.weak))
        image, label, u, valid = batch.image[:n], batch.label[:n], batch.weak[:n], batch.valid[:n]
        probability = self.target(model, memory["teacher"], u, jax.random.fold_in(key, 3))
        decided = probability.argmax(-1)
        kept = largest(decided, model.classes) if self.largest_component else decided
        guess = jnp.where(valid, kept, IGNORE)
        first = progress < self.pretrain
        u, other = jnp.where(first, partner(image), u), jnp.where(first, partner(label), guess)
        w = jnp.where(first, 1.0, self.weight)
        mine = jnp.ones(n) if batch.weight is None else batch.weight[:n]
        theirs = jnp.where(first, partner(mine), 1.0)
        inside = box(k_box, label.shape[1:], 1, (self.side,) * (label.ndim - 1))

        half = n // 2 if self.pairs == "halves" and n > 1 else n
        outward = slice(0, half), inside  # a labelled box goes out into an unlabelled image
        inward = slice(n - half, n), ~inside
        total, state, student = jnp.float32(0), params.state, []
        for (some, labelled), k in ((outward, k_out), (inward, k_in)):
            picture = paste(labelled, u[some], image[some])
            output = model.apply(params._replace(state=state), picture, train=True, key=k)
            state = output.new_state
            known = self.criterion(
                weighed(output.logits, mine[some]), jnp.where(labelled, label[some], IGNORE)
            )
            guessed = self.criterion(
                weighed(output.logits, theirs[some]), jnp.where(labelled, IGNORE, other[some])
            )
            total += 0.5 * (known + w * guessed)
            student.append(jax.nn.softmax(output.logits))
        if self.total == "sum":
            total *= jnp.where(first, 1.0, 2.0)
        # a pixel that the largest component leaves out teaches as background
        taught = jnp.where(
            (kept == decided)[..., None], probability, jax.nn.one_hot(kept, model.classes)
        )
        # each unlabelled pixel was seen in one of the pair's pictures; in the pre-training, in
        # neither
        saw = jnp.where(first, taught, paste(inside, student[1], student[0])) if half == n else None
        return total, Aux(
            {"copy_paste": total, "unsupervised_weight": w},
            state,
            None,
            Pseudo(taught, valid & ~first, saw),
        )
