"""AD-MT: two teachers that are updated in turn, and what to believe where they contradict each other."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.augment.mix import cutmix_box, partner, paste
from semiseg.losses import Dice
from semiseg.methods.base import SemiSupervised, predict
from semiseg.methods.blocks import ema_params, entropy, hard_cross_entropy
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class ADMT(SemiSupervised):
    """Alternate diverse teaching, Zhao et al., ECCV 2024 (random periodic alternation, and the conflict-combating module).

    Two teachers, each a moving average of the student; in a period of steps only one of them, drawn at random, is averaged into. In the
    periods of the first the student sees the strong view (other grey values), in those of the second the weak view with a CutMix box of the
    next image. Pseudo-label: where the teachers agree, the argmax of their mean; where they contradict each other, that of the one with the
    lower entropy. Adds w(t) · ½ (CE + Dice) of the student, over pixels whose mean confidence (or, in conflict, the chosen one's) is at
    least ``threshold``. A third average, of every step, is what is evaluated (there: the student).

    Attributes:
      period: steps of a period; the published one is drawn anew each time, this one is fixed.
      threshold: least confidence of a pixel that teaches.
      cutmix: probability of a box in the second teacher's periods.
    """

    weight: float = 1.0
    period: int = 20
    threshold: float = 0.8
    cutmix: float = 1.0

    paper: ClassVar[str] = "Zhao et al., ECCV 2024"
    holds: ClassVar[str] = "1 | 3"
    passes: ClassVar[str] = "L + U | 2 U"

    def remember(self, model: Model, params: Params, key: jax.Array) -> dict[str, PyTree]:
        return {"first": params, "second": model.init(jax.random.fold_in(key, 1)), "count": jnp.zeros(2, jnp.int32), "draw": jax.random.key_data(key)}

    def turn(self, memory: PyTree) -> jax.Array:
        """Whose period it is: True for the first teacher's. The first period is his, the second the other's, so that both begin with a student."""
        period = memory["step"] // self.period
        drawn = jax.random.bernoulli(jax.random.fold_in(jax.random.wrap_key_data(memory["draw"]), period))
        return jnp.where(period < 2, period == 0, drawn)

    def loss(self, model: Model, params: Params, memory: PyTree, batch: Batch, key: jax.Array, progress: jax.Array) -> tuple[jax.Array, Aux]:
        k_student, k_box = (jax.random.fold_in(key, i) for i in (1, 2))
        output, supervised = self.supervise(model, params, batch, key)
        a = predict(model, memory["first"], batch.weak)
        b = predict(model, memory["second"], batch.weak)
        b = jnp.where(memory["count"][1] > 0, b, a)  # until it has seen a student, the second teacher has nothing to say
        conflict = a.argmax(-1) != b.argmax(-1)
        surer = jnp.where((entropy(a) <= entropy(b))[..., None], a, b)
        q = jnp.where(conflict[..., None], surer, 0.5 * (a + b))
        accepted = batch.valid & (q.max(-1) >= self.threshold)
        label = jnp.where(accepted, q.argmax(-1), IGNORE)

        mask = cutmix_box(k_box, label.shape[1:], len(label), self.cutmix) & ~self.turn(memory)
        view = jnp.where(self.turn(memory), batch.strong, batch.weak)
        picture, taught, seen = (paste(mask, x, partner(x)) for x in (view, label, batch.valid))
        logits = model.apply(params, picture, train=True, key=k_student).logits
        ce = hard_cross_entropy(logits, taught, taught != IGNORE, seen)
        unsupervised = 0.5 * (ce + Dice(background=True)(logits, taught))
        w = self.ramped(progress)
        of = jnp.maximum(batch.valid.sum(), 1)
        metrics = {"supervised": supervised, "unsupervised": unsupervised, "unsupervised_weight": w, "accepted": accepted.sum() / of,
                   "conflict": (conflict & batch.valid).sum() / of}  # fmt: skip
        return supervised + w * unsupervised, Aux(metrics, output.new_state, None, Pseudo(q, accepted))

    def update(self, params: Params, memory: PyTree) -> tuple[Params, PyTree]:
        mine = jnp.stack([self.turn(memory), ~self.turn(memory)])
        params, new = super().update(params, memory)
        for i, name in enumerate(("first", "second")):
            averaged = ema_params(memory[name], params, self.decay, memory["count"][i])
            new[name] = jax.tree.map(lambda a, b, m=mine[i]: jnp.where(m, a, b), averaged, memory[name])
        return params, {**new, "count": memory["count"] + mine}
