"""What ABD and β-FFT are built on: BCP with two networks that teach each other, once on the mixes
and once on pictures that are made of the mixes of both.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from semiseg.augment.mix import box, jitter
from semiseg.fields import number
from semiseg.methods.base import seen
from semiseg.methods.bcp import BCP, Mix, pair
from semiseg.methods.parts.terms import dice_of_accepted
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper

Seen = dict[str, list[Mix]]
"""What each network makes of its pictures, by the network's name; the same pictures, or views of
them, in one order.
"""


class View(NamedTuple):
    """What one network is shown, and what the teacher makes of the unlabelled part of it."""

    labelled: jax.Array  # (n, *space, C)
    unlabelled: jax.Array  # (n, *space, C)
    valid: jax.Array  # (n, *space) bool, of the unlabelled images
    probability: jax.Array  # (n, *space, K), the teacher's
    guess: jax.Array  # (n, *space), its pseudo-label, IGNORE where the view shows nothing
    taught: jax.Array  # (n, *space, K), the probability of the pseudo-label


@hyper
class CoTraining(BCP):
    """BCP with two networks, of which the second learns from strong views.

    Attributes:
      cross: weight of the Dice against the other network, from the end of the pre-training on.
      jitter: probability of other contrast and brightness of a labelled image for the second
        network.
      least: pixels of a class that the other network must have decided for, for its Dice to teach;
        published is 0.
    """

    cross: float = number(1.0, at_least=0)
    jitter: float = number(1.0, within=(0, 1))
    least: float = number(50.0, at_least=0)
    pairs: Literal["both", "halves"] = "halves"

    holds: ClassVar[str] = "2 | 1"
    remade: ClassVar[str] = ""
    """What the log calls the pictures of :meth:`remake`."""

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
        k_box, k_jitter, k_remake, *k_views = (jax.random.fold_in(key, i) for i in range(5))
        n = min(len(batch.image), len(batch.weak))
        label = batch.label[:n]
        weight = jnp.ones(n) if batch.weight is None else batch.weight[:n]
        first = progress < self.pretrain
        w = jnp.where(first, 1.0, self.weight)
        inside = box(k_box, label.shape[1:], 1, (self.side,) * (label.ndim - 1))
        views: dict[str, View] = {}
        mixes: Seen = {}
        keys = dict(zip(("net", "other"), k_views, strict=True))
        copy_paste = jnp.float32(0)
        for name, k_view in keys.items():
            k_teacher, k_out, k_in = jax.random.split(k_view, 3)
            view = self.view(name, model, memory, batch, (k_jitter, k_teacher))
            pairs = pair(first, view.labelled, label, weight, view.unlabelled, view.guess)
            both = self.paste_both_ways(model, params[name], pairs, inside, w, (k_out, k_in))
            copy_paste += 0.5 * both[0].loss + 0.5 * both[1].loss
            views[name] = view
            mixes[name] = [*both]
        on_mixes = self.teach_each_other(mixes)
        sets = self.remake(mixes, k_remake)
        passes: Seen = {}
        for name, k_view in keys.items():
            after = params[name]._replace(state=mixes[name][-1].state)
            passes[name] = self.pass_through(model, after, sets, k_view)
        on_remade = self.teach_each_other(passes)
        cross = jnp.where(first, 0.0, 0.5 * self.cross) * (on_mixes + on_remade)
        first_net = params["net"]._replace(state=passes["net"][-1].state)
        k_more = jax.random.fold_in(key, 5)
        more, more_metrics, state = self.train_first(
            model, first_net, batch, views, k_more, progress
        )
        total = copy_paste + cross + jnp.where(first, 0.0, 0.5) * more
        if self.total == "sum":
            total *= jnp.where(first, 1.0, 2.0)
        metrics = {
            "copy_paste": copy_paste,
            "cross": on_mixes,
            f"cross_{self.remade}": on_remade,
            "unsupervised_weight": w,
        }
        states = {name: made[-1].state for name, made in mixes.items()}
        if self.statistics == "all":
            states = {"net": state, "other": passes["other"][-1].state}
        return total, Aux(
            metrics=metrics | more_metrics,
            state=states,
            pseudo=Pseudo(
                probability=views["net"].taught,
                accepted=batch.valid[:n] & ~first,
            ),
        )

    def view(
        self,
        name: str,
        model: Model,
        memory: PyTree,
        batch: Batch,
        keys: tuple[jax.Array, jax.Array],
    ) -> View:
        """The weak view of network "net", or the strong one of "other"."""
        k_jitter, k_teacher = keys
        n = min(len(batch.image), len(batch.weak))
        labelled, unlabelled, valid = batch.image[:n], batch.weak[:n], batch.valid[:n]
        if name == "other":
            labelled = jitter(k_jitter, labelled, self.jitter, 0.0)
            unlabelled, valid = batch.strong[:n], seen(batch, "strong")[:n]
        probability = self.target(model, self.teacher(memory), unlabelled, k_teacher)
        decided, taught = self.guess(probability)
        guess = jnp.where(valid, decided, IGNORE)
        return View(labelled, unlabelled, valid, probability, guess, taught)

    def remake(self, mixes: Seen, key: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """Pictures ``(m, *space, C)`` that are made of the mixes of both networks, and which of
        their pixels are known: those of the first network's mixes, then those of the second's.
        """
        raise NotImplementedError

    def train_first(
        self,
        model: Model,
        params: Params,
        batch: Batch,
        views: dict[str, View],
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, dict[str, jax.Array], PyTree]:
        """What the first network learns beside the second one, from the end of the pre-training on:
        a loss, its metrics, and the statistics after its passes; here nothing.
        """
        return jnp.float32(0), {}, params.state

    def pass_through(
        self,
        model: Model,
        params: Params,
        sets: list[tuple[jax.Array, jax.Array]],
        key: jax.Array,
    ) -> list[Mix]:
        """What a network makes of the ``sets`` of :meth:`remake`, one after the other."""
        passes = []
        for i, (picture, known) in enumerate(sets):
            output = model.apply(params, picture, train=True, key=jax.random.fold_in(key, 4 + i))
            params = params._replace(state=output.new_state)
            passes.append(Mix(jnp.float32(0), picture, known, output.logits, output.new_state))
        return passes

    def teach_each_other(self, seen_by: Seen) -> jax.Array:
        """Dice of each network against the decisions of the other, over the pixels that both
        know.
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
