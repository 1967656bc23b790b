"""BCP: labelled and unlabelled images are pasted into each other, both ways, so that both are learnt from in one picture."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.augment.mix import box, partner, paste
from semiseg.methods.base import SemiSupervised, predict
from semiseg.methods.blocks import weighed
from semiseg.methods.components import largest
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class BCP(SemiSupervised):
    """Bidirectional copy-paste, Bai et al., CVPR 2023 (equations 1-9).

    A box of ``side`` of each axis is True in M. Into the unlabelled image goes the box of the labelled one, and the other way round:
    x_in = x_l ⊙ M + u ⊙ (1 - M), x_out = u ⊙ M + x_l ⊙ (1 - M), and so their labels, from the teacher's argmax for u. Loss of each:
    criterion on the labelled pixels + weight · criterion on the pseudo-labelled ones; their mean. In the first ``pretrain`` of the steps
    a second labelled image, with its true label and weight 1, stands for the unlabelled one (the paper's pre-training).

    Differences from the published code: pre-training is not followed by a fresh optimiser and learning rate, and the teacher is averaged
    throughout instead of starting from the pre-trained network; each pair is pasted both ways (see ``pairs``).

    Attributes:
      weight: of the pseudo-labelled pixels, from the end of the pre-training on.
      ramp: unused: the weight does not ramp.
      pretrain: share of the steps that copy and paste among labelled images.
      side: of the box, share of each axis.
      largest_component: keep only the largest component of each class of a pseudo-label.
      pairs: "both": every pair gives two pictures, as many as the batch has images. "halves", as published: one half of the pairs is pasted
        one way, the other half the other way.
    """

    weight: float = 0.5
    pretrain: float = 0.25
    side: float = 2 / 3
    largest_component: bool = True
    pairs: str = "both"

    paper: ClassVar[str] = "Bai et al., CVPR 2023"
    passes: ClassVar[str] = "L + L | L"

    def __post_init__(self) -> None:
        if self.pairs not in ("both", "halves"):
            raise ValueError(f"pairs is {self.pairs!r}: choose both or halves")

    def loss(self, model: Model, params: Params, memory: PyTree, batch: Batch, key: jax.Array, progress: jax.Array) -> tuple[jax.Array, Aux]:
        k_box, k_in, k_out = jax.random.split(key, 3)
        n = min(len(batch.image), len(batch.weak))
        image, label, u, valid = batch.image[:n], batch.label[:n], batch.weak[:n], batch.valid[:n]
        probability = predict(model, memory["teacher"], u)
        guess = probability.argmax(-1)
        guess = jnp.where(valid, largest(guess, model.classes) if self.largest_component else guess, IGNORE)
        first = progress < self.pretrain
        u, other = jnp.where(first, partner(image), u), jnp.where(first, partner(label), guess)
        w = jnp.where(first, 1.0, self.weight)
        mine = jnp.ones(n) if batch.weight is None else batch.weight[:n]
        theirs = jnp.where(first, partner(mine), 1.0)
        mask = box(k_box, label.shape[1:], 1, (self.side,) * (label.ndim - 1))

        half = n // 2 if self.pairs == "halves" and n > 1 else n
        inward = slice(0, half), mask
        outward = slice(n - half, n), ~mask
        total, state = jnp.float32(0), params.state
        for (some, labelled), k in ((inward, k_in), (outward, k_out)):
            picture = paste(labelled, u[some], image[some])
            output = model.apply(params._replace(state=state), picture, train=True, key=k)
            state = output.new_state
            known = self.criterion(weighed(output.logits, mine[some]), jnp.where(labelled, label[some], IGNORE))
            guessed = self.criterion(weighed(output.logits, theirs[some]), jnp.where(labelled, IGNORE, other[some]))
            total += 0.5 * (known + w * guessed)
        accepted = valid & (guess == probability.argmax(-1))
        return total, Aux({"copy_paste": total, "unsupervised_weight": w}, state, None, Pseudo(probability, accepted))
