"""AD-MT: two teachers that are updated in turn, and a rule for pixels on which they disagree."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.augment.mix import beta_box, jitter, partner, paste
from semiseg.fields import count, number
from semiseg.methods.base import SemiSupervised, choose, seen
from semiseg.methods.parts import thresholds
from semiseg.methods.parts.moving_average import ema_params
from semiseg.methods.parts.terms import dice_of_accepted, entropy, share_of_valid
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class ADMT(SemiSupervised):
    """Alternate diverse teaching, Zhao et al., ECCV 2024 (random periodic alternation, and the
    conflict-combating module).

    Two teachers p_1, p_2, each a moving average of the student, are averaged into in turn, for a
    period that is drawn anew each time, from one step to ``period_share`` of the training or
    ``period`` steps, whichever is shorter. In the first one's periods the student sees other
    contrast, brightness and blur, in the second one's the weak view with a CutMix box of the next
    image. The pseudo-label is the argmax of their mean, each weighed by e^(-entropy); where they
    contradict each other and the student (on the weak view) decides otherwise with more
    confidence, the student's own. Adds w(t) · Dice of the student over confident pixels. A third
    average, of every step, is what is evaluated (there: the student).

    Differences from the published code, which trains for 30,000 steps: what is counted in steps
    there is a share of the training here, so that teachers of a short one are not older, and worse,
    than the student. Until the network is as confident as ``threshold``, a class's own quantile of
    confidence decides. The unlabelled term is off in the first tenth. Classes with few accepted
    pixels are left out of the Dice. The preset ``admt-acdc`` has none of the last three.
    Entropies are in nats; there in bits. There the conflicts are compared with the student's map
    after CutMix has moved them; a teacher counts every second step of all instead of its own, and
    is a copy of the student in the first hundred; the teacher whose turn it is normalises by its
    batch; one box size and another order of the images serve a batch.

    Attributes:
      decay: of the evaluated average, and at most that of the teachers.
      horizon: share of the training that a teacher averages over, if ``decay`` leaves it so much.
      period: longest period, in steps.
      period_share: longest period, as a share of the training.
      start: share of the training before which the unlabelled term is off.
      threshold: least confidence of a pixel that teaches.
      quantile: share of the pixels of a class, less confident ones, that do not teach where
        ``threshold`` would reject more; 1 leaves ``threshold`` alone.
      cutmix: probability of a box in the second teacher's periods.
      jitter: probability of other contrast and brightness in the first teacher's periods.
      blur: probability of a blur in them.
      least: pixels of a class that a batch must have accepted for its Dice to teach.
      student_view: "jitter", as published; "strong": the trainer's strong view, in the first
        teacher's periods.
    """

    weight: float = number(2.0, at_least=0)
    ramp: float = number(0.25, at_least=0)
    horizon: float = number(0.04, above=0)
    period: int = count(50, at_least=1)
    period_share: float = number(1 / 600, above=0)
    start: float = number(0.1, within=(0, 1))
    threshold: float = number(0.95, within=(0, 1))
    quantile: float = number(0.5, within=(0, 1))
    cutmix: float = number(1.0, within=(0, 1))
    jitter: float = number(0.8, within=(0, 1))
    blur: float = number(0.2, within=(0, 1))
    least: float = number(50.0, at_least=0)
    student_view: Literal["jitter", "strong"] = "jitter"

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
            "steps": jnp.float32(model.steps),
            "left": self.draw_period(draw, 0, model.steps),
            "histogram": thresholds.initial_histogram(model.classes),
        }

    def draw_period(
        self, draw: jax.Array, step: jax.Array | int, steps: jax.Array | float
    ) -> jax.Array:
        """Steps of the period that begins at ``step`` of ``steps``."""
        key = jax.random.fold_in(jax.random.wrap_key_data(draw), step)
        # the small term keeps 600 · (1 / 600) from being less than 1
        longest = jnp.clip(jnp.floor(steps * self.period_share + 1e-4), 1, self.period)
        return jax.random.randint(key, (), 1, longest.astype(jnp.int32) + 1)

    def teachers_decay(self, steps: jax.Array | float) -> jax.Array:
        """Decay of a teacher, which has half of the ``steps``."""
        own = jnp.maximum(0.5 * self.horizon * steps, 1.0)
        return jnp.minimum(self.decay, 1.0 - 1.0 / own)

    def loss(
        self,
        model: Model,
        params: Params,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        keys = [jax.random.fold_in(key, i) for i in range(1, 7)]
        k_student, k_box, k_first, k_second, k_weak, k_jitter = keys
        output, supervised = self.supervise(model, params, batch, key)
        a = self.target(model, memory["first"], batch.weak, k_first)
        b = self.target(model, memory["second"], batch.weak, k_second)
        # until it has averaged a student, the second teacher is left out
        b = jnp.where(memory["count"][1] > 0, b, a)
        conflict = a.argmax(-1) != b.argmax(-1)
        weak = model.apply(params, batch.weak, train=True, key=k_weak)
        p = jax.nn.softmax(jax.lax.stop_gradient(weak.logits))
        q = combine(a, b, p, conflict)
        histogram = thresholds.with_confidences(
            memory["histogram"], q, batch.valid, self.teachers_decay(model.steps)
        )
        limit = thresholds.of_quantile(histogram, self.quantile, self.threshold)
        accepted = batch.valid & (q.max(-1) >= limit[q.argmax(-1)])
        label = jnp.where(accepted, q.argmax(-1), IGNORE)

        is_first = memory["turn"] == 0
        box = beta_box(k_box, label.shape[1:], len(label), self.cutmix)
        mask = box & ~is_first
        image = jnp.where(is_first, self.other_greys(batch, k_jitter), batch.weak)
        mixed = paste(mask, image, partner(image))
        shown = seen(batch, "strong" if self.student_view == "strong" else "weak")
        label = jnp.where(is_first & ~shown, IGNORE, label)
        mixed_label = paste(mask, label, partner(label))
        taught = model.apply(params, mixed, train=True, key=k_student)
        unsupervised, skipped = dice_of_accepted(taught.logits, mixed_label, self.least)
        w = self.ramped(progress) * (progress >= self.start)
        metrics = {
            "supervised": supervised,
            "unsupervised": unsupervised,
            "unsupervised_weight": w,
            "accepted": share_of_valid(accepted, batch.valid),
            "conflict": share_of_valid(conflict & batch.valid, batch.valid),
            "skipped_classes": skipped,
        }
        pseudo = Pseudo(
            probability=q,
            accepted=accepted,
            student=p,
        )
        return supervised + w * unsupervised, Aux(
            metrics=metrics,
            state=self.new_state(output, weak, taught),
            memory={**memory, "histogram": histogram},
            pseudo=pseudo,
        )

    def other_greys(self, batch: Batch, key: jax.Array) -> jax.Array:
        """The view of the first teacher's periods."""
        if self.student_view == "strong":
            return batch.strong
        return jitter(key, batch.weak, self.jitter, self.blur)

    def update(self, params: Params, memory: PyTree) -> tuple[Params, PyTree]:
        """Average the network into the teacher whose turn it is."""
        is_turn = jnp.arange(2) == memory["turn"]
        decay = self.teachers_decay(memory["steps"])
        params, new = super().update(params, memory)
        for i, name in enumerate(("first", "second")):
            averaged = ema_params(
                memory[name], params, decay, memory["count"][i], state=self.average_state
            )
            new[name] = choose(is_turn[i], averaged, memory[name])
        over = memory["left"] <= 1
        period = self.draw_period(memory["draw"], new["step"], memory["steps"])
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
