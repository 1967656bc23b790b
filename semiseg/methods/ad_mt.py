"""AD-MT: two teachers that are updated in turn, and what to believe where they contradict each
other.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.augment.mix import cutmix_box, partner, paste
from semiseg.losses import Dice
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.terms import ema_params, entropy
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

    weight: float = 2.0
    period: int = 50
    threshold: float = 0.95
    cutmix: float = 1.0

    paper: ClassVar[str] = "Zhao et al., ECCV 2024"
    holds: ClassVar[str] = "1 | 3"
    passes: ClassVar[str] = "L + U | 3 U"

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period is {self.period}: it must be at least 1")

    def remember(self, model: Model, params: Params, key: jax.Array) -> dict[str, PyTree]:
        draw = jax.random.key_data(key)
        second = model.init(jax.random.fold_in(key, 1))
        return {
            "first": params,
            "second": second,
            "count": jnp.zeros(2, jnp.int32),
            "draw": draw,
            "turn": jnp.int32(0),
            "left": self.drawn(draw, 0),
        }

    def drawn(self, draw: jax.Array, step: jax.Array | int) -> jax.Array:
        """Steps of the period that begins at ``step``."""
        return jax.random.randint(
            jax.random.fold_in(jax.random.wrap_key_data(draw), step), (), 1, self.period + 1
        )

    def loss(
        self,
        model: Model,
        params: Params,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        k_student, k_box, k_first, k_second, k_weak = (
            jax.random.fold_in(key, i) for i in range(1, 6)
        )
        output, supervised = self.supervise(model, params, batch, key)
        a = self.target(model, memory["first"], batch.weak, k_first)
        b = self.target(model, memory["second"], batch.weak, k_second)
        b = jnp.where(
            memory["count"][1] > 0, b, a
        )  # until it has seen a student, the second teacher has nothing to say
        conflict = a.argmax(-1) != b.argmax(-1)
        weight_a, weight_b = (jnp.exp(-entropy(p))[..., None] for p in (a, b))
        q = (weight_a * a + weight_b * b) / (weight_a + weight_b)
        own = jax.nn.softmax(
            jax.lax.stop_gradient(model.apply(params, batch.weak, train=True, key=k_weak).logits)
        )
        surer = conflict & (own.argmax(-1) != q.argmax(-1)) & (own.max(-1) > q.max(-1))
        q = jnp.where(surer[..., None], own, q)
        accepted = confident(q, self.threshold, batch.valid)
        label = jnp.where(accepted, q.argmax(-1), IGNORE)

        mask = cutmix_box(k_box, label.shape[1:], len(label), self.cutmix) & (memory["turn"] == 1)
        view = jnp.where(memory["turn"] == 0, batch.strong, batch.weak)
        picture, taught = (paste(mask, x, partner(x)) for x in (view, label))
        logits = model.apply(params, picture, train=True, key=k_student).logits
        unsupervised = Dice(squared=True, background=True)(logits, taught)
        w = self.ramped(progress)
        of = jnp.maximum(batch.valid.sum(), 1)
        metrics = {"supervised": supervised, "unsupervised": unsupervised, "unsupervised_weight": w, "accepted": accepted.sum() / of,
                   "conflict": (conflict & batch.valid).sum() / of}  # fmt: skip
        return supervised + w * unsupervised, Aux(
            metrics, output.new_state, None, Pseudo(q, accepted, own)
        )

    def update(self, params: Params, memory: PyTree) -> tuple[Params, PyTree]:
        mine = jnp.arange(2) == memory["turn"]
        params, new = super().update(params, memory)
        for i, name in enumerate(("first", "second")):
            averaged = ema_params(
                memory[name], params, self.decay, memory["count"][i], state=self.average_state
            )
            new[name] = jax.tree.map(
                lambda a, b, m=mine[i]: jnp.where(m, a, b), averaged, memory[name]
            )
        over = memory["left"] <= 1
        new["turn"] = jnp.where(over, 1 - memory["turn"], memory["turn"])
        new["left"] = jnp.where(over, self.drawn(memory["draw"], new["step"]), memory["left"] - 1)
        return params, {**new, "count": memory["count"] + mine}
