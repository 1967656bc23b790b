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


class Mix(NamedTuple):
    """Pictures of which a part is labelled, and what a network makes of them."""

    loss: jax.Array
    picture: jax.Array  # (m, *space, C)
    known: jax.Array  # (m, *space) bool: has a label, true or guessed
    logits: jax.Array  # (m, *space, K)
    state: PyTree


def pair(
    first: jax.Array,
    image: jax.Array,
    label: jax.Array,
    weight: jax.Array,
    unlabelled: jax.Array,
    guess: jax.Array,
) -> Pairs:
    """Labelled images beside as many ``unlabelled`` ones with their pseudo-labels ``guess``; in the
    pre-training, where ``first`` is True, beside each other.
    """
    return Pairs(
        image,
        label,
        weight,
        image_u=jnp.where(first, partner(image), unlabelled),
        label_u=jnp.where(first, partner(label), guess),
        weight_u=jnp.where(first, partner(weight), 1.0),
    )


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
        decided, taught = self.guess(probability)
        guess = jnp.where(valid, decided, IGNORE)
        first = progress < self.pretrain
        weight = jnp.ones(n) if batch.weight is None else batch.weight[:n]
        pairs = pair(first, image, label, weight, unlabelled, guess)
        w = jnp.where(first, 1.0, self.weight)
        inside = box(k_box, label.shape[1:], 1, (self.side,) * (label.ndim - 1))
        outward, inward = self.paste_both_ways(model, params, pairs, inside, w, (k_out, k_in))
        total = 0.5 * outward.loss + 0.5 * inward.loss
        if self.total == "sum":
            total *= jnp.where(first, 1.0, 2.0)

        seen = None
        if len(outward.logits) == n:
            # each unlabelled pixel was in one of the pair's pictures; in the pre-training, in none
            p_outward, p_inward = (jax.nn.softmax(mix.logits) for mix in (outward, inward))
            seen = jnp.where(first, taught, paste(inside, p_inward, p_outward))
        metrics = {"copy_paste": total, "unsupervised_weight": w}
        return total, Aux(
            metrics=metrics,
            state=inward.state,
            pseudo=Pseudo(
                probability=taught,
                accepted=valid & ~first,
                student=seen,
            ),
        )

    def guess(self, probability: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The decision ``(n, *space)`` that a teacher's ``probability`` is taught as, and the
        probability of what is taught.
        """
        decided = probability.argmax(-1)
        if not self.largest_component:
            return decided, probability
        classes = probability.shape[-1]
        cleaned = largest(decided, classes)
        # a pixel that the largest component leaves out teaches as background
        is_left = (cleaned == decided)[..., None]
        return cleaned, jnp.where(is_left, probability, jax.nn.one_hot(cleaned, classes))

    def paste_both_ways(
        self,
        model: Model,
        params: Params,
        pairs: Pairs,
        inside: jax.Array,
        w: jax.Array,
        keys: tuple[jax.Array, jax.Array],
    ) -> tuple[Mix, Mix]:
        """A labelled box ``inside (1, *space)`` goes out into the unlabelled images, then the other
        way round; ``w`` weighs what is not labelled.
        """
        n = len(pairs.image_l)
        half = n // 2 if self.pairs == "halves" and n > 1 else n
        outward = self.paste_one_way(model, params, pairs.cut(0, half), inside, w, keys[0])
        after = params._replace(state=outward.state)
        inward = self.paste_one_way(model, after, pairs.cut(n - half, n), ~inside, w, keys[1])
        return outward, inward

    def paste_one_way(
        self,
        model: Model,
        params: Params,
        pairs: Pairs,
        labelled: jax.Array,
        w: jax.Array,
        key: jax.Array,
    ) -> Mix:
        """Pictures that show the labelled image where ``labelled (1, *space)`` is True."""
        picture = paste(labelled, pairs.image_u, pairs.image_l)
        output = model.apply(params, picture, train=True, key=key)
        known_label = jnp.where(labelled, pairs.label_l, IGNORE)
        known = self.criterion(weighed(output.logits, pairs.weight_l), known_label)
        guessed_label = jnp.where(labelled, IGNORE, pairs.label_u)
        guessed = self.criterion(weighed(output.logits, pairs.weight_u), guessed_label)
        is_known = jnp.where(labelled, pairs.label_l, pairs.label_u) != IGNORE
        return Mix(known + w * guessed, picture, is_known, output.logits, output.new_state)
