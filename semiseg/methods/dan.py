"""DAN: unlabelled images must be segmented so that a critic takes them for labelled ones."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.heads import discriminator, judge
from semiseg.methods.parts.terms import binary_cross_entropy, frozen
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class DAN(SemiSupervised):
    """Deep adversarial network, Zhang et al., MICCAI 2017 (equations 1-3).

    A critic E(image, softmax(f)) learns to tell labelled (1) from unlabelled (0) images; the
    segmenter adds w(t) · -log E(u, softmax(f(u))). One optimiser steps both: the critic's term has
    the segmenter's predictions, the segmenter's term the critic's weights as constants.

    Attributes:
      critic_weight: of the critic's own loss; where the optimiser normalises gradients, as Adam
        does, it acts through the clipping alone, whose norm goes over both networks.
    """

    weight: float = 0.05
    critic_weight: float = 1.0

    paper: ClassVar[str] = "Zhang et al., MICCAI 2017"
    holds: ClassVar[str] = "1 + 1 critic | 1"
    passes: ClassVar[str] = "L + U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        critic = discriminator(
            model, jax.random.fold_in(key, 1), model.sample.shape[-1] + model.classes
        )
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
        unlabelled = model.apply(
            params["net"], batch.weak, train=True, key=jax.random.fold_in(key, 1)
        )
        p, q = jax.nn.softmax(output.logits), jax.nn.softmax(unlabelled.logits)
        q = jnp.where(
            batch.valid[..., None], q, jax.lax.stop_gradient(q)
        )  # what lies outside the frame teaches nothing
        seen = lambda critic, image, p: judge(critic, jnp.concatenate([image, p], -1))
        fool = binary_cross_entropy(seen(frozen(params["critic"]), batch.weak, q), 1)
        known, free = (
            seen(params["critic"], x, jax.lax.stop_gradient(y))
            for x, y in ((batch.image, p), (batch.weak, q))
        )
        tell = binary_cross_entropy(known, 1) + binary_cross_entropy(free, 0)
        w = self.ramped(progress)
        metrics = {"supervised": supervised, "fool": fool, "tell": tell, "adversarial_weight": w}
        state = {"net": output.new_state, "critic": params["critic"].state}
        return supervised + w * fool + self.critic_weight * tell, Aux(
            metrics, state, None, Pseudo(q, batch.valid)
        )
