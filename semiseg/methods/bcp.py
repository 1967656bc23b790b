"""BCP: labelled and unlabelled images are pasted into each other, both ways, so that one picture
teaches both.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from semiseg.augment.mix import box, partner, paste
from semiseg.fields import number
from semiseg.methods.base import Taught
from semiseg.methods.parts.components import largest
from semiseg.methods.parts.terms import weighed
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


class Pairs(NamedTuple):
    """Labelled images ``l``, and the images ``u`` that they are mixed with; in the pre-training
    those are labelled, too.
    """

    image_l: jax.Array
    label_l: jax.Array
    weight_l: jax.Array  # (n,)
    image_u: jax.Array
    label_u: jax.Array
    weight_u: jax.Array  # (n,)

    def cut(self, start: int, stop: int) -> Pairs:
        """The pairs from ``start`` to ``stop``."""
        return Pairs(*(x[start:stop] for x in self))


@hyper
class BCP(Taught):
    """Bidirectional copy-paste, Bai et al., CVPR 2023 (equations 1-9).

    M is 0 in a box of ``side`` of each axis and 1 around it. Into the labelled image goes the box
    of the unlabelled one, and the other way round: x_in = x_l ⊙ M + u ⊙ (1 - M), x_out = u ⊙ M +
    x_l ⊙ (1 - M), and so their labels, from the teacher's argmax for u. Loss of each: criterion on
    the labelled pixels + weight · criterion on the pseudo-labelled ones; their mean. In the first
    ``pretrain`` of the steps a second labelled image, with its true label and weight 1, stands for
    the unlabelled one (the paper's pre-training).

    Differences from the published code: it goes on from the pre-trained network that was best on
    validation, for student and teacher; here training goes on from the last one, and the teacher is
    averaged throughout. Each pair is pasted both ways (see ``pairs``). In the pre-training there,
    half of the labelled images are pasted into the other half, half as many pictures as here.

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

    weight: float = number(0.5, at_least=0)
    pretrain: float = number(0.25, within=(0, 1))
    side: float = number(2 / 3, within=(0, 1))
    largest_component: bool = True
    pairs: Literal["both", "halves"] = "both"
    total: Literal["mean", "sum"] = "mean"

    title: ClassVar[str] = "BCP"
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
        image, label = batch.image[:n], batch.label[:n]
        unlabelled, valid = batch.weak[:n], batch.valid[:n]
        k_teacher = jax.random.fold_in(key, 3)
        probability = self.target(model, self.teacher(memory), unlabelled, k_teacher)
        decided = probability.argmax(-1)
        cleaned = largest(decided, model.classes) if self.largest_component else decided
        guess = jnp.where(valid, cleaned, IGNORE)
        first = progress < self.pretrain
        weight_l = jnp.ones(n) if batch.weight is None else batch.weight[:n]
        pairs = Pairs(
            image,
            label,
            weight_l,
            image_u=jnp.where(first, partner(image), unlabelled),
            label_u=jnp.where(first, partner(label), guess),
            weight_u=jnp.where(first, partner(weight_l), 1.0),
        )
        w = jnp.where(first, 1.0, self.weight)
        inside = box(k_box, label.shape[1:], 1, (self.side,) * (label.ndim - 1))

        half = n // 2 if self.pairs == "halves" and n > 1 else n
        # first a labelled box goes out into an unlabelled image, then the other way round
        outward, p_outward, state = self.paste_one_way(
            model, params, pairs.cut(0, half), inside, w, k_out
        )
        inward, p_inward, state = self.paste_one_way(
            model, params._replace(state=state), pairs.cut(n - half, n), ~inside, w, k_in
        )
        total = 0.5 * outward + 0.5 * inward
        if self.total == "sum":
            total *= jnp.where(first, 1.0, 2.0)

        # a pixel that the largest component leaves out teaches as background
        is_left = (cleaned == decided)[..., None]
        taught = jnp.where(is_left, probability, jax.nn.one_hot(cleaned, model.classes))
        seen = None
        if half == n:
            # each unlabelled pixel was in one of the pair's pictures; in the pre-training, in none
            seen = jnp.where(first, taught, paste(inside, p_inward, p_outward))
        metrics = {"copy_paste": total, "unsupervised_weight": w}
        return total, Aux(
            metrics=metrics,
            state=state,
            pseudo=Pseudo(
                probability=taught,
                accepted=valid & ~first,
                student=seen,
            ),
        )

    def paste_one_way(
        self,
        model: Model,
        params: Params,
        pairs: Pairs,
        labelled: jax.Array,
        w: jax.Array,
        key: jax.Array,
    ) -> tuple[jax.Array, jax.Array, PyTree]:
        """Pictures that show the labelled image where ``labelled (1, *space)`` is True.

        Returns their loss, the probabilities ``(n, *space, K)`` and new normalisation statistics.
        """
        picture = paste(labelled, pairs.image_u, pairs.image_l)
        output = model.apply(params, picture, train=True, key=key)
        known_label = jnp.where(labelled, pairs.label_l, IGNORE)
        known = self.criterion(weighed(output.logits, pairs.weight_l), known_label)
        guessed_label = jnp.where(labelled, IGNORE, pairs.label_u)
        guessed = self.criterion(weighed(output.logits, pairs.weight_u), guessed_label)
        return known + w * guessed, jax.nn.softmax(output.logits), output.new_state
