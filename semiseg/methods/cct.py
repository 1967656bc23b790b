"""CCT: auxiliary heads that see perturbed features agree with the main one."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.heads import drop_channels, head, run
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class CCT(SemiSupervised):
    """Cross-consistency training, Ouali et al., CVPR 2020 (equation 2 and section 3.2), with three
    of its perturbations.

    Adds w(t) · 1/3 Σ_k ||softmax(h_k(perturb_k(z))) - softmax(f(u))||²: z are features of the
    unlabelled image, the main prediction has no gradient. Perturbations: noise (z ⊙ (1 + n), n
    uniform), channels dropped, and the most active positions dropped (equation 6). Difference: the
    auxiliary decoders are heads on the last features instead of decoders on the encoder's.

    Attributes:
      noise: largest relative noise.
      drop: probability of dropping a channel.
      active_low: least share of the largest activation above which a position is dropped; drawn up
        to ``active_high``.
      active_high: see there.
    """

    weight: float = 4.0
    noise: float = 0.3
    drop: float = 0.5
    active_low: float = 0.7
    active_high: float = 0.9

    paper: ClassVar[str] = "Ouali et al., CVPR 2020"
    holds: ClassVar[str] = "1 + 3 heads | 1"
    passes: ClassVar[str] = "L + U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        heads = {
            f"head{i}": head(model, jax.random.fold_in(key, i), model.classes) for i in (1, 2, 3)
        }
        return {"net": model.init(key), **heads}

    def loss(
        self,
        model: Model,
        params: dict[str, Params],
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        k_net, *k_perturb = (jax.random.fold_in(key, i) for i in range(1, 5))
        output, supervised = self.supervise(model, params["net"], batch, key)
        main = model.apply(params["net"], batch.weak, train=True, key=k_net)
        target, z = jax.nn.softmax(jax.lax.stop_gradient(main.logits)), main.aux["features"]
        perturbed = [
            self.noisy(k_perturb[0], z),
            drop_channels(k_perturb[1], z, self.drop),
            self.inactive(k_perturb[2], z),
        ]
        pupils = [jax.nn.softmax(run(params[f"head{i}"], x)) for i, x in enumerate(perturbed, 1)]
        consistency = jnp.stack([softmax_mse(p, target, batch.valid) for p in pupils]).mean()
        w = self.ramped(progress)
        metrics = {"supervised": supervised, "consistency": consistency, "consistency_weight": w}
        state = {name: p.state for name, p in params.items()} | {"net": output.new_state}
        return supervised + w * consistency, Aux(
            metrics, state, None, Pseudo(target, batch.valid, jnp.stack(pupils).mean(0))
        )

    def noisy(self, key: jax.Array, z: jax.Array) -> jax.Array:
        """F-Noise: one noise for the whole batch, as in the paper."""
        n = jax.random.uniform(key, z.shape[1:], minval=-1.0, maxval=1.0)
        return z * (1 + self.noise * n)

    def inactive(self, key: jax.Array, z: jax.Array) -> jax.Array:
        """F-Drop: positions whose mean activation is above a random share of the image's largest
        are set to zero.
        """
        share = self.active_low + (self.active_high - self.active_low) * jax.random.uniform(key)
        activity = jax.lax.stop_gradient(z.mean(-1, keepdims=True))
        space = tuple(range(1, z.ndim - 1))
        return jnp.where(activity < share * activity.max(space, keepdims=True), z, 0.0)
