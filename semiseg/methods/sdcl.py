"""SDCL: two networks of different architectures learn from copy-pasted pictures; where they decide
differently, both are drawn to the label, and the one that is wrong is made unsure.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from semiseg.augment.mix import box, paste
from semiseg.fields import number, static
from semiseg.methods.bcp import BCP, Mix, Pairs, pair
from semiseg.nets import ResidualUNet
from semiseg.types import IGNORE, Aux, Batch, Model, Net, Params, Pseudo, PyTree, hyper


class Taught(NamedTuple):
    """What the pictures of a mix are taught as.

    Attributes:
      label: ``(m, *space)``, true where the picture is labelled, guessed elsewhere; IGNORE where
        the image weighs nothing.
      weight: ``(m, *space)``, of each pixel.
    """

    label: jax.Array
    weight: jax.Array


@hyper
class SDCL(BCP):
    """Students discrepancy-informed correction learning, Song & Wang, MICCAI 2024, on BCP.

    Both students take the mixes of BCP, with the pseudo-labels of one teacher, the average of the
    first. D are the pixels of a mix in which their decisions differ. To the loss of BCP for each
    student, ``correct`` · mean over D of |p - y|² / K and ``unsure`` · mean over the pixels of D
    that it decides wrongly of KL(uniform || p) are added, y being the label, true or guessed;
    pixels with a guessed label weigh ``weight``. Neither is added in the pre-training. The average
    of the first student is evaluated.

    Differences from the published code: as for BCP; and there the mean of both students' last
    iterates predicts. Its divergence lacks the constant -log K, which has no gradient. Pixels from
    outside the frame teach nothing.

    Attributes:
      other: the second network; trained beside the first, and not part of the result.
      correct: weight of the squared error where the students differ.
      unsure: weight of the divergence from a uniform distribution where a student is wrong as well.
    """

    other: Net = static(default=ResidualUNet())
    correct: float = number(0.5, at_least=0)
    unsure: float = number(0.05, at_least=0)

    title: ClassVar[str] = "SDCL"
    paper: ClassVar[str] = "Song & Wang, MICCAI 2024"
    holds: ClassVar[str] = "2 | 1"
    passes: ClassVar[str] = "2 L + 2 L | L"

    def architectures(self, net: Net) -> tuple[Net, ...]:
        """The networks that it trains: the run's, and the other one."""
        return (net, self.other)

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        other = model._replace(net=self.other)
        return {"net": model.init(key), "other": other.init(jax.random.fold_in(key, 1))}

    def loss(
        self,
        model: Model,
        params: PyTree,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        k_box, k_teacher, k_net, k_other = jax.random.split(key, 4)
        n = min(len(batch.image), len(batch.weak))
        unlabelled, valid = batch.weak[:n], batch.valid[:n]
        probability = self.target(model, self.teacher(memory), unlabelled, k_teacher)
        decided, taught = self.guess(probability)
        first = progress < self.pretrain
        weight = jnp.ones(n) if batch.weight is None else batch.weight[:n]
        guess = jnp.where(valid, decided, IGNORE)
        pairs = pair(first, batch.image[:n], batch.label[:n], weight, unlabelled, guess)
        w = jnp.where(first, 1.0, self.weight)
        inside = box(k_box, guess.shape[1:], 1, (self.side,) * (guess.ndim - 1))

        students = {"net": (model, k_net), "other": (model._replace(net=self.other), k_other)}
        mixes: dict[str, tuple[Mix, Mix]] = {}
        for name, (student, k_student) in students.items():
            k_out, k_in = jax.random.split(k_student)
            mixes[name] = self.paste_both_ways(
                student, params[name], pairs, inside, w, (k_out, k_in)
            )
        copy_paste = jnp.float32(0)
        for outward, inward in mixes.values():
            copy_paste += 0.5 * outward.loss + 0.5 * inward.loss
        correct, unsure = self.corrections(mixes, pairs, inside, w)
        added = jnp.where(first, 0.0, 0.5 * (self.correct * correct + self.unsure * unsure))
        total = copy_paste + added
        if self.total == "sum":
            total *= jnp.where(first, 1.0, 2.0)

        outward, inward = mixes["net"]
        seen = None
        if len(outward.logits) == n:
            p_outward, p_inward = (jax.nn.softmax(mix.logits) for mix in (outward, inward))
            seen = jnp.where(first, taught, paste(inside, p_inward, p_outward))
        metrics = {
            "copy_paste": copy_paste,
            "correct": correct,
            "unsure": unsure,
            "differing": _share_differing(mixes),
            "unsupervised_weight": w,
        }
        return total, Aux(
            metrics=metrics,
            state={name: both[-1].state for name, both in mixes.items()},
            pseudo=Pseudo(probability=taught, accepted=valid & ~first, student=seen),
        )

    def corrections(
        self,
        mixes: dict[str, tuple[Mix, Mix]],
        pairs: Pairs,
        inside: jax.Array,
        w: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """The squared error and the divergence of both students on both mixes, summed."""
        correct = jnp.float32(0)
        unsure = jnp.float32(0)
        for of_net, of_other, taught in zip(
            mixes["net"], mixes["other"], self.taught_as(mixes, pairs, inside, w), strict=True
        ):
            differ = differing(of_net, of_other) & (taught.label != IGNORE)
            for logits in (of_net.logits, of_other.logits):
                correct += squared_error(logits, taught, differ)
                unsure += divergence_from_uniform(logits, taught, differ)
        return correct, unsure

    def taught_as(
        self,
        mixes: dict[str, tuple[Mix, Mix]],
        pairs: Pairs,
        inside: jax.Array,
        w: jax.Array,
    ) -> tuple[Taught, Taught]:
        """Of the outward mix, and of the inward one, which has the last pairs."""
        n = len(pairs.image_l)
        m = len(mixes["net"][0].logits)
        parts = ((pairs.cut(0, m), inside), (pairs.cut(n - m, n), ~inside))
        outward, inward = (_taught(part, labelled, w) for part, labelled in parts)
        return outward, inward


def _taught(pairs: Pairs, labelled: jax.Array, w: jax.Array) -> Taught:
    per_image = (-1, *(1,) * (pairs.label_l.ndim - 1))
    of_image = jnp.where(
        labelled, pairs.weight_l.reshape(per_image), pairs.weight_u.reshape(per_image)
    )
    label = jnp.where(labelled, pairs.label_l, pairs.label_u)
    return Taught(
        label=jnp.where(of_image > 0, label, IGNORE),
        weight=of_image * jnp.where(labelled, 1.0, w),
    )


def differing(one: Mix, other: Mix) -> jax.Array:
    """Known pixels ``(m, *space)`` of a mix that two networks decide differently."""
    return (one.logits.argmax(-1) != other.logits.argmax(-1)) & one.known


def squared_error(logits: jax.Array, taught: Taught, where: jax.Array) -> jax.Array:
    """Weighed mean of |p - y|² / K over the pixels ``where (m, *space)``; 0 where there is none.

    >>> taught = Taught(label=jnp.array([[0, 1]]), weight=jnp.array([[1.0, 0.5]]))
    >>> float(squared_error(jnp.zeros((1, 2, 2)), taught, jnp.array([[True, True]])))
    0.1875
    """
    p = jax.nn.softmax(logits)
    y = jax.nn.one_hot(taught.label, logits.shape[-1])
    error = jnp.mean((p - y) ** 2, -1) * taught.weight
    return _mean(error, where)


def divergence_from_uniform(logits: jax.Array, taught: Taught, where: jax.Array) -> jax.Array:
    """Weighed mean of KL(uniform || p) = -log K - Σ log p / K over the pixels ``where`` that are
    decided wrongly; 0 where there is none.

    >>> taught = Taught(label=jnp.array([[1]]), weight=jnp.array([[1.0]]))
    >>> logits = jnp.log(jnp.array([[[0.8, 0.2]]]))
    >>> round(float(divergence_from_uniform(logits, taught, jnp.array([[True]]))), 3)
    0.223
    """
    wrong = where & (logits.argmax(-1) != taught.label)
    log_p = jax.nn.log_softmax(logits)
    divergence = -jnp.log(logits.shape[-1]) - log_p.mean(-1)
    return _mean(divergence * taught.weight, wrong)


def _mean(x: jax.Array, where: jax.Array) -> jax.Array:
    return jnp.where(where, x, 0.0).sum() / jnp.maximum(where.sum(), 1)


def _share_differing(mixes: dict[str, tuple[Mix, Mix]]) -> jax.Array:
    """Share of the known pixels of all mixes that the networks decide differently."""
    differ = jnp.float32(0)
    known = jnp.float32(0)
    for one, other in zip(mixes["net"], mixes["other"], strict=True):
        differ += differing(one, other).sum()
        known += one.known.sum()
    return differ / jnp.maximum(known, 1)
