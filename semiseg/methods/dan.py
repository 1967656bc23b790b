"""DAN: unlabelled images must be segmented so that a critic takes them for labelled ones."""

from __future__ import annotations

from typing import ClassVar

import jax

from semiseg.fields import count, number
from semiseg.methods.base import SemiSupervised, new_states
from semiseg.methods.parts.critic import Pair, adversarial_terms, discriminator, inside_frame
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class DAN(SemiSupervised):
    """Deep adversarial network, Zhang et al., MICCAI 2017 (equations 1-3).

    A critic E(image, softmax(f)) learns to tell labelled (1) from unlabelled (0) images; the
    segmenter adds w(t) · -log E(u, softmax(f(u))). Both step at once: the critic's term has the
    segmenter's predictions, the segmenter's term the critic's weights as constants. The paper and
    its code step them in turn.

    Attributes:
      critic_weight: of the critic's own loss; Adam takes its size out again, but for 0, by which
        the critic stays as it began.
      critic_lr: learning rate of the critic, constant; it has an Adam of its own, as published.
      critic_dropout: probability that a channel of the critic is dropped (published: 0.5).
      critic_width: channels of its first level, of four, each with twice as many (published: 64).
    """

    weight: float = number(0.05, at_least=0)
    critic_weight: float = number(1.0, at_least=0)
    critic_lr: float = number(1e-4, at_least=0)
    critic_dropout: float = number(0.5, at_least=0, below=1)
    critic_width: int = count(16, at_least=1)

    title: ClassVar[str] = "DAN"
    paper: ClassVar[str] = "Zhang et al., MICCAI 2017"
    holds: ClassVar[str] = "1 + 1 critic | 1"
    passes: ClassVar[str] = "L + U"
    critics: ClassVar[tuple[str, ...]] = ("critic",)

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        channels = model.sample.shape[-1] + model.classes
        critic = discriminator(model, jax.random.fold_in(key, 1), channels, self.critic_width)
        return {"net": model.init(key), "critic": critic}

    def loss(
        self,
        model: Model,
        params: dict[str, Params],
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        output, supervised = self.supervise(model, params["net"], batch, key)
        k_unlabelled = jax.random.fold_in(key, 1)
        unlabelled = model.apply(params["net"], batch.weak, train=True, key=k_unlabelled)
        p = jax.nn.softmax(output.logits)
        q = inside_frame(jax.nn.softmax(unlabelled.logits), batch.valid)
        fool, tell = adversarial_terms(
            params["critic"],
            Pair(batch.image, p),
            Pair(batch.weak, q),
            jax.random.fold_in(key, 2),
            self.critic_dropout,
        )
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "fool": fool,
            "tell": tell,
            "adversarial_weight": w,
        }
        total = supervised + w * fool + self.critic_weight * tell
        states = new_states(params, self.new_state(output, unlabelled))
        return total, Aux(
            metrics=metrics,
            state=states,
            pseudo=Pseudo(
                probability=q,
                accepted=batch.valid,
            ),
        )
