"""ABD: two networks learn from copy-pasted pictures and from each other, and once more from
pictures in which patches that one is unsure of are overwritten by patches that the other is sure
of.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.augment.mix import box, jitter
from semiseg.fields import count, number
from semiseg.methods.base import seen
from semiseg.methods.bcp import BCP, Mix, pair
from semiseg.methods.parts.displacement import displaced
from semiseg.methods.parts.terms import dice_of_accepted
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class ABD(BCP):
    """Adaptive bidirectional displacement, Chi et al., CVPR 2024, on BCP.

    The mixes of BCP are made twice, of the weak views for the first network and of strong ones for
    the second, with one box and the pseudo-labels of one teacher, the average of the first. To the
    loss of BCP for each network, cross · Dice against the argmax of the other is added twice: on
    the mixes; and, by both networks, on the displaced mixes. Those are each network's mixes in
    which the patch with the least confidence, the mean of max p, is overwritten by one of the other
    network's mix of the same images: its most confident patch, or with probability ``nearest`` that
    of the ``candidates`` most confident whose class distribution is nearest, by KL of the mean
    logits. In the pre-training there is no cross term. The first network is evaluated.

    Differences from the published code: as for BCP, and there one network is pre-trained and both
    begin as copies of it, while here each has a start of its own. The strong view of a labelled
    image is drawn by contrast and brightness; there it also has cut-outs, labelled as background.
    Pixels that a view does not show, outside its frame or under a cut-out, teach nothing. The
    displaced pictures pass in sets of the size of the mixes, there all at once. The paper's second
    displacement, of labelled images by inverse confidence, is not in its code on BCP, and not here.
    Where an axis is no multiple of ``patches`` it is cut into fewer.

    Attributes:
      cross: weight of the Dice against the other network, from the end of the pre-training on.
      patches: along each axis of a picture.
      candidates: the most confident patches, of which the nearest is taken.
      nearest: probability that an image takes the nearest instead of the most confident.
      jitter: probability of other contrast and brightness of a labelled image for the second
        network.
      least: pixels of a class that the other network must have decided for, for its Dice to teach;
        published is 0.
    """

    cross: float = number(1.0, at_least=0)
    patches: int = count(4, at_least=1)
    candidates: int = count(4, at_least=1)
    nearest: float = number(0.5, within=(0, 1))
    jitter: float = number(1.0, within=(0, 1))
    least: float = number(50.0, at_least=0)
    pairs: Literal["both", "halves"] = "halves"

    title: ClassVar[str] = "ABD"
    paper: ClassVar[str] = "Chi et al., CVPR 2024"
    holds: ClassVar[str] = "2 | 1"
    passes: ClassVar[str] = "3 L + 3 U | 2 U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        return {"net": model.init(key), "other": model.init(jax.random.fold_in(key, 1))}

    def loss(
        self,
        model: Model,
        params: PyTree,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        k_box, k_jitter, k_nearest, k_net, k_other = (jax.random.fold_in(key, i) for i in range(5))
        n = min(len(batch.image), len(batch.weak))
        image, label = batch.image[:n], batch.label[:n]
        first = progress < self.pretrain
        w = jnp.where(first, 1.0, self.weight)
        inside = box(k_box, label.shape[1:], 1, (self.side,) * (label.ndim - 1))
        views = {
            "net": (image, batch.weak[:n], batch.valid[:n], k_net),
            "other": (
                jitter(k_jitter, image, self.jitter, 0.0),
                batch.strong[:n],
                seen(batch, "strong")[:n],
                k_other,
            ),
        }
        weight = jnp.ones(n) if batch.weight is None else batch.weight[:n]
        mixes: dict[str, list[Mix]] = {}
        taught: dict[str, jax.Array] = {}
        copy_paste = jnp.float32(0)
        for name, (labelled, unlabelled, valid, k_view) in views.items():
            k_teacher, k_out, k_in = jax.random.split(k_view, 3)
            probability = self.target(model, self.teacher(memory), unlabelled, k_teacher)
            decided, taught[name] = self.guess(probability)
            guess = jnp.where(valid, decided, IGNORE)
            pairs = pair(first, labelled, label, weight, unlabelled, guess)
            both = self.paste_both_ways(model, params[name], pairs, inside, w, (k_out, k_in))
            copy_paste += 0.5 * both[0].loss + 0.5 * both[1].loss
            mixes[name] = [*both]
        on_mixes = self.teach_each_other(mixes)
        sets = self.displace(mixes, k_nearest)
        passes = {}
        for name, (*_, k_view) in views.items():
            after = params[name]._replace(state=mixes[name][-1].state)
            passes[name] = self.pass_through(model, after, sets, k_view)
        on_displaced = self.teach_each_other(passes)
        cross = jnp.where(first, 0.0, 0.5 * self.cross) * (on_mixes + on_displaced)
        total = copy_paste + cross
        if self.total == "sum":
            total *= jnp.where(first, 1.0, 2.0)
        metrics = {
            "copy_paste": copy_paste,
            "cross": on_mixes,
            "cross_displaced": on_displaced,
            "unsupervised_weight": w,
        }
        last = mixes if self.statistics == "labelled" else passes
        return total, Aux(
            metrics=metrics,
            state={name: made[-1].state for name, made in last.items()},
            pseudo=Pseudo(probability=taught["net"], accepted=batch.valid[:n] & ~first),
        )

    def displace(
        self, mixes: dict[str, list[Mix]], key: jax.Array
    ) -> list[tuple[jax.Array, jax.Array]]:
        """Pictures ``(m, *space, C)`` with displaced patches, and which of their pixels are known:
        those of the first network's mixes, then those of the second's.
        """
        nearest = jax.random.uniform(key, (2, len(mixes["net"][0].logits))) < self.nearest
        sets = []
        for name, other in (("net", "other"), ("other", "net")):
            for a, b, chosen in zip(mixes[name], mixes[other], nearest, strict=True):
                both = displaced(
                    _with_known(a),
                    _with_known(b),
                    a.logits,
                    b.logits,
                    chosen,
                    most=self.patches,
                    candidates=self.candidates,
                )
                sets.append((both[..., :-1], both[..., -1] > 0))
        return sets

    def pass_through(
        self,
        model: Model,
        params: Params,
        sets: list[tuple[jax.Array, jax.Array]],
        key: jax.Array,
    ) -> list[Mix]:
        """What a network makes of the ``sets`` of :meth:`displace`, one after the other."""
        passes = []
        for i, (picture, known) in enumerate(sets):
            output = model.apply(params, picture, train=True, key=jax.random.fold_in(key, 4 + i))
            params = params._replace(state=output.new_state)
            passes.append(Mix(jnp.float32(0), picture, known, output.logits, output.new_state))
        return passes

    def teach_each_other(self, seen_by: dict[str, list[Mix]]) -> jax.Array:
        """Dice of each network against the decisions of the other, over the pixels that both know;
        ``seen_by`` has the same pictures, or views of them, of both.
        """
        logits = {
            name: jnp.concatenate([mix.logits for mix in of_one])
            for name, of_one in seen_by.items()
        }
        known = [jnp.concatenate([mix.known for mix in of_one]) for of_one in seen_by.values()]
        total = jnp.float32(0)
        for pupil, other in (("net", "other"), ("other", "net")):
            label = jnp.where(known[0] & known[1], logits[other].argmax(-1), IGNORE)
            total += dice_of_accepted(logits[pupil], label, self.least)[0]
        return total


def _with_known(mix: Mix) -> jax.Array:
    """The pictures with their known pixels, 1 and 0, as a last channel: what moves together."""
    known = mix.known[..., None].astype(mix.picture.dtype)
    return jnp.concatenate([mix.picture, known], -1)
