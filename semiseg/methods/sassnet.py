"""SASSNet: distance maps of unlabelled images must have shapes that a critic takes for labelled
ones.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.distance_head import decision, distance_loss
from semiseg.methods.parts.heads import discriminator, head, judge, run
from semiseg.methods.parts.terms import binary_cross_entropy, frozen, weighed
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class SASSNet(SemiSupervised):
    """Shape-aware semi-supervised segmentation, Li et al., MICCAI 2020 (equations 1-4).

    A second head predicts z, the signed distance of each foreground class. Loss = criterion +
    distance_weight · ||z - z(y)||² on labelled images + w(t) · -log D(u, z(u)); D learns to tell
    (x, z(x)) of labelled images (1) from unlabelled ones (0).

    Attributes:
      distance_weight: of the supervised distance term (published: 0.3).
      critic_weight: of the critic's own loss; where the optimiser normalises gradients, as Adam
        does, it acts through the clipping alone, whose norm goes over all networks.
    """

    weight: float = 0.01
    distance_weight: float = 0.3
    critic_weight: float = 1.0

    paper: ClassVar[str] = "Li et al., MICCAI 2020"
    holds: ClassVar[str] = "1 + 1 head + 1 critic | 1"
    passes: ClassVar[str] = "L + U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        k_head, k_critic = (jax.random.fold_in(key, i) for i in (1, 2))
        critic = discriminator(model, k_critic, model.sample.shape[-1] + model.classes - 1)
        return {
            "net": model.init(key),
            "distance": head(model, k_head, model.classes - 1),
            "critic": critic,
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
        unlabelled = model.apply(
            params["net"], batch.weak, train=True, key=jax.random.fold_in(key, 1)
        )
        z, z_u = (
            jnp.tanh(run(params["distance"], out.aux["features"])) for out in (output, unlabelled)
        )
        z_u = jnp.where(
            batch.valid[..., None], z_u, jax.lax.stop_gradient(z_u)
        )  # what lies outside the frame teaches nothing
        distance = distance_loss(weighed(z, batch.weight), batch.label, model.classes)
        seen = lambda critic, image, z: judge(critic, jnp.concatenate([image, z], -1))
        fool = binary_cross_entropy(seen(frozen(params["critic"]), batch.weak, z_u), 1)
        known, free = (
            seen(params["critic"], x, jax.lax.stop_gradient(y))
            for x, y in ((batch.image, z), (batch.weak, z_u))
        )
        tell = binary_cross_entropy(known, 1) + binary_cross_entropy(free, 0)
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "distance": distance,
            "fool": fool,
            "tell": tell,
            "adversarial_weight": w,
        }
        state = {name: p.state for name, p in params.items()} | {"net": output.new_state}
        q = jax.nn.softmax(unlabelled.logits)
        total = supervised + self.distance_weight * distance + w * fool + self.critic_weight * tell
        return total, Aux(metrics, state, None, Pseudo(q, batch.valid, decision(z_u)))
