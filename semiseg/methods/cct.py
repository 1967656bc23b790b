"""CCT lite: heads, in place of decoders, that see perturbed features agree with the main one."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import number
from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised, new_states, with_consistency
from semiseg.methods.parts.heads import drop_channels, head, run
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class CCT(SemiSupervised):
    """Cross-consistency training, Ouali et al., CVPR 2020 (equation 2 and section 3.2), with three
    of its perturbations.

    Adds w(t) · 1/3 Σ_k ||softmax(h_k(perturb_k(z))) - softmax(f(u))||²: z are features of the
    unlabelled image, the main prediction has no gradient. Perturbations: noise (z ⊙ (1 + n), n
    uniform), channels dropped, and the most active positions dropped (equation 6).

    Difference: this is a lite form. The auxiliary decoders are heads on the last features, which
    the main decoder has made and all share; there they are decoders on the encoder's features.

    Attributes:
      noise: largest relative noise.
      drop: probability of dropping a channel.
      active_low: least share of the largest activation above which a position is dropped; drawn up
        to ``active_high``.
      active_high: see there.
    """

    weight: float = number(4.0, at_least=0)
    noise: float = number(0.3, at_least=0)
    drop: float = number(0.5, at_least=0, below=1)
    active_low: float = number(0.7, within=(0, 1))
    active_high: float = number(0.9, within=(0, 1))

    title: ClassVar[str] = "CCT lite"
    paper: ClassVar[str] = "Ouali et al., CVPR 2020"
    holds: ClassVar[str] = "1 + 3 heads | 1"
    passes: ClassVar[str] = "L + U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        params = {"net": model.init(key)}
        for i in (1, 2, 3):
            params[f"head{i}"] = head(model, jax.random.fold_in(key, i), model.classes)
        return params

    def loss(
        self,
        model: Model,
        params: dict[str, Params],
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        k_net, k_noise, k_drop, k_active = (jax.random.fold_in(key, i) for i in range(1, 5))
        output, supervised = self.supervise(model, params["net"], batch, key)
        main = model.apply(params["net"], batch.weak, train=True, key=k_net)
        target = jax.nn.softmax(jax.lax.stop_gradient(main.logits))
        z = main.aux["features"]
        perturbed = {
            "head1": self.noisy(k_noise, z),
            "head2": drop_channels(k_drop, z, self.drop),
            "head3": self.inactive(k_active, z),
        }
        pupils = [jax.nn.softmax(run(params[name], x)) for name, x in perturbed.items()]
        consistency = jnp.stack([softmax_mse(p, target, batch.valid) for p in pupils]).mean()
        w = self.ramped(progress)
        states = new_states(params, self.new_state(output, main))
        pseudo = Pseudo(
            probability=target,
            accepted=batch.valid,
            student=jnp.stack(pupils).mean(0),
        )
        return with_consistency(
            supervised,
            consistency,
            w,
            state=states,
            pseudo=pseudo,
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
