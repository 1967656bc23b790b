"""AD-MT: two teachers that are updated in turn, and a rule for pixels on which they disagree."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.augment.mix import cutmix_box, partner, paste
from semiseg.fields import count, number
from semiseg.losses import Dice
from semiseg.methods.base import SemiSupervised, choose
from semiseg.methods.parts.moving_average import ema_params
from semiseg.methods.parts.terms import entropy, share_of_valid
from semiseg.methods.parts.thresholds import confident
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class ADMT(SemiSupervised):
    """Alternate diverse teaching, Zhao et al., ECCV 2024 (random periodic alternation, and the
    conflict-combating module).

    Two teachers p_1, p_2, each a moving average of the student, are averaged into in turn, for a
    period of 1 to ``period`` steps that is drawn anew each time. In the first one's periods the
    student sees the strong view (other grey values), in the second one's the weak view with a
    CutMix box of the next image. The pseudo-label is the argmax of their mean, each weighed by
    e^(-entropy); where they contradict each other and the student (on the weak view) decides
    otherwise with more confidence, the student's own. Adds w(t) · Dice of the student over pixels
    with a confidence of at least ``threshold``. A third average, of every step, is what is
    evaluated (there: the student).

    Differences from the published code: there both teachers weigh the same, e^(-sum of their
    entropies), in bits; the conflicts are compared with the student's map after CutMix has moved
    them; a teacher counts every second step of all instead of its own, and is a copy of the student
    in the first hundred; and the teacher whose turn it is normalises by its batch.

    Attributes:
      period: longest period, in steps.
      threshold: least confidence of a pixel that teaches.
      cutmix: probability of a box in the second teacher's periods.
    """

    weight: float = number(2.0, at_least=0)
    period: int = count(50, at_least=1)
    threshold: float = number(0.95, within=(0, 1))
    cutmix: float = number(1.0, within=(0, 1))

    title: ClassVar[str] = "AD-MT"
    paper: ClassVar[str] = "Zhao et al., ECCV 2024"
    holds: ClassVar[str] = "1 | 3"
    passes: ClassVar[str] = "L + U | 3 U"

    def remember(
        self,
        model: Model,
        params: Params,
        key: jax.Array,
    ) -> dict[str, PyTree]:
        draw = jax.random.key_data(key)
        return {
            "first": params,
            "second": model.init(jax.random.fold_in(key, 1)),
            "count": jnp.zeros(2, jnp.int32),
            "draw": draw,
            "turn": jnp.int32(0),
            "left": self.draw_period(draw, 0),
        }

    def draw_period(self, draw: jax.Array, step: jax.Array | int) -> jax.Array:
        """Steps of the period that begins at ``step``."""
        key = jax.random.fold_in(jax.random.wrap_key_data(draw), step)
        return jax.random.randint(key, (), 1, self.period + 1)

    def loss(
        self,
        model: Model,
        params: Params,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        keys = [jax.random.fold_in(key, i) for i in range(1, 6)]
        k_student, k_box, k_first, k_second, k_weak = keys
        output, supervised = self.supervise(model, params, batch, key)
        a = self.target(model, memory["first"], batch.weak, k_first)
        b = self.target(model, memory["second"], batch.weak, k_second)
        # until it has averaged a student, the second teacher is left out
        b = jnp.where(memory["count"][1] > 0, b, a)
        conflict = a.argmax(-1) != b.argmax(-1)
        logits = model.apply(params, batch.weak, train=True, key=k_weak).logits
        p = jax.nn.softmax(jax.lax.stop_gradient(logits))
        q = combine(a, b, p, conflict)
        accepted = confident(q, self.threshold, batch.valid)
        label = jnp.where(accepted, q.argmax(-1), IGNORE)

        is_first = memory["turn"] == 0
        box = cutmix_box(k_box, label.shape[1:], len(label), self.cutmix)
        mask = box & (memory["turn"] == 1)
        image = jnp.where(is_first, batch.strong, batch.weak)
        mixed = paste(mask, image, partner(image))
        mixed_label = paste(mask, label, partner(label))
        logits = model.apply(params, mixed, train=True, key=k_student).logits
        unsupervised = Dice(squared=True, background=True)(logits, mixed_label)
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "unsupervised": unsupervised,
            "unsupervised_weight": w,
            "accepted": share_of_valid(accepted, batch.valid),
            "conflict": share_of_valid(conflict & batch.valid, batch.valid),
        }
        pseudo = Pseudo(
            probability=q,
            accepted=accepted,
            student=p,
        )
        return supervised + w * unsupervised, Aux(
            metrics=metrics,
            state=output.new_state,
            pseudo=pseudo,
        )

    def update(self, params: Params, memory: PyTree) -> tuple[Params, PyTree]:
        """Average the network into the teacher whose turn it is."""
        is_turn = jnp.arange(2) == memory["turn"]
        params, new = super().update(params, memory)
        for i, name in enumerate(("first", "second")):
            averaged = ema_params(
                memory[name], params, self.decay, memory["count"][i], state=self.average_state
            )
            new[name] = choose(is_turn[i], averaged, memory[name])
        over = memory["left"] <= 1
        period = self.draw_period(memory["draw"], new["step"])
        new["turn"] = jnp.where(over, 1 - memory["turn"], memory["turn"])
        new["left"] = jnp.where(over, period, memory["left"] - 1)
        return params, {**new, "count": memory["count"] + is_turn}


def combine(
    a: jax.Array,
    b: jax.Array,
    p: jax.Array,
    conflict: jax.Array,
) -> jax.Array:
    """Two teachers' probabilities ``(B, *space, K)``, each weighed by e^(-entropy); in a
    ``conflict`` those ``p`` of the student, where it decides otherwise and is more confident.
    """
    weight_a = jnp.exp(-entropy(a))[..., None]
    weight_b = jnp.exp(-entropy(b))[..., None]
    q = (weight_a * a + weight_b * b) / (weight_a + weight_b)
    surer = conflict & (p.argmax(-1) != q.argmax(-1)) & (p.max(-1) > q.max(-1))
    return jnp.where(surer[..., None], p, q)
