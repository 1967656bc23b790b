"""SASSNet: distance maps of unlabelled images must look to a critic like those of labelled ones."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import count, number
from semiseg.methods.base import SemiSupervised, new_states
from semiseg.methods.parts.critic import Pair, adversarial_terms, discriminator, inside_frame
from semiseg.methods.parts.distance_head import decision, distance_loss
from semiseg.methods.parts.heads import head, run
from semiseg.methods.parts.terms import weighed
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class SASSNet(SemiSupervised):
    """Shape-aware semi-supervised segmentation, Li et al., MICCAI 2020 (equations 1-4).

    A second head predicts z, the signed distance of each foreground class. Loss = criterion +
    distance_weight · ||z - z(y)||² on labelled images + w(t) · -log D(u, z(u)); D learns to tell
    (x, z(x)) of labelled images (1) from unlabelled ones (0).

    Attributes:
      distance_weight: of the supervised distance term (published: 0.3).
      critic_weight: of the critic's own loss; Adam takes its size out again, but for 0, by which
        the critic stays as it began.
      critic_lr: learning rate of the critic, constant; it has an Adam of its own, as published.
      critic_dropout: probability that a channel of the critic is dropped (published: 0.5).
      critic_width: channels of its first level, of four, each with twice as many (published: 64).
    """

    weight: float = number(0.01, at_least=0)
    distance_weight: float = number(0.3, at_least=0)
    critic_weight: float = number(1.0, at_least=0)
    critic_lr: float = number(1e-4, at_least=0)
    critic_dropout: float = number(0.5, at_least=0, below=1)
    critic_width: int = count(16, at_least=1)

    title: ClassVar[str] = "SASSNet"
    paper: ClassVar[str] = "Li et al., MICCAI 2020"
    holds: ClassVar[str] = "1 + 1 head + 1 critic | 1"
    passes: ClassVar[str] = "L + U"
    critics: ClassVar[tuple[str, ...]] = ("critic",)

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        k_head, k_critic = (jax.random.fold_in(key, i) for i in (1, 2))
        channels = model.sample.shape[-1] + model.classes - 1
        return {
            "net": model.init(key),
            "distance": head(model, k_head, model.classes - 1),
            "critic": discriminator(model, k_critic, channels, self.critic_width),
        }

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
        z = jnp.tanh(run(params["distance"], output.aux["features"]))
        z_unlabelled = jnp.tanh(run(params["distance"], unlabelled.aux["features"]))
        z_unlabelled = inside_frame(z_unlabelled, batch.valid)
        distance = distance_loss(weighed(z, batch.weight), batch.label, model.classes)
        fool, tell = adversarial_terms(
            params["critic"],
            Pair(batch.image, z),
            Pair(batch.weak, z_unlabelled),
            jax.random.fold_in(key, 2),
            self.critic_dropout,
        )
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "distance": distance,
            "fool": fool,
            "tell": tell,
            "adversarial_weight": w,
        }
        total = supervised + self.distance_weight * distance + w * fool + self.critic_weight * tell
        states = new_states(params, self.new_state(output, unlabelled))
        q = jax.nn.softmax(unlabelled.logits)
        pseudo = Pseudo(
            probability=q,
            accepted=batch.valid,
            student=decision(z_unlabelled),
        )
        return total, Aux(
            metrics=metrics,
            state=states,
            pseudo=pseudo,
        )
