"""URPC lite: predictions at several scales agree; pixels on which they differ most count least.

Lite: heads on the last features stand for the levels of a decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import count, number
from semiseg.losses import masked_mean
from semiseg.losses.common import weighted_mean
from semiseg.methods.base import SemiSupervised, new_states, with_consistency
from semiseg.methods.parts.heads import added, head
from semiseg.methods.parts.terms import divergence, weighed
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class URPC(SemiSupervised):
    """Uncertainty rectified pyramid consistency, Luo et al., MICCAI 2021 (equations 1-6).

    p_s are predictions at 1, 1/2, 1/4 … of the resolution, p their mean, D_s = KL(p_s || p). Loss =
    mean over scales of the criterion + w(t) · mean over scales of [Σ (p_s - p)² e^(-D_s) / Σ
    e^(-D_s) + mean D_s].

    Difference: this is a lite form. Coarse predictions come from heads on the resized last
    features, which all scales share, and add to the resized logits; there they come from the
    decoder's own levels, which not every network has.

    Attributes:
      weight: as published.
      scales: predictions, the full one included.
    """

    weight: float = number(0.1, at_least=0)
    scales: int = count(4, at_least=1)

    title: ClassVar[str] = "URPC lite"
    paper: ClassVar[str] = "Luo et al., MICCAI 2021"
    holds: ClassVar[str] = "1 + 3 heads | 1"
    passes: ClassVar[str] = "L + U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        params = {"net": model.init(key)}
        for s in range(1, self.scales):
            params[f"head{s}"] = head(model, jax.random.fold_in(key, s), model.classes)
        return params

    def pyramid(
        self,
        params: dict[str, Params],
        logits: jax.Array,
        features: jax.Array,
    ) -> list[jax.Array]:
        """Logits of every scale at the full resolution."""
        levels = [logits]
        for s in range(1, self.scales):
            size = [max(1, n // 2**s) for n in features.shape[1:-1]]
            smaller = added(params[f"head{s}"], _resize(logits, size), _resize(features, size))
            levels.append(_resize(smaller, logits.shape[1:-1]))
        return levels

    def loss(
        self,
        model: Model,
        params: dict[str, Params],
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        output, first = self.supervise(model, params["net"], batch, key)
        labelled = self.pyramid(params, output.logits, output.aux["features"])
        coarser = [self.criterion(weighed(y, batch.weight), batch.label) for y in labelled[1:]]
        supervised = (first + sum(coarser)) / self.scales

        k_unlabelled = jax.random.fold_in(key, 1)
        unlabelled = model.apply(params["net"], batch.weak, train=True, key=k_unlabelled)
        levels = self.pyramid(params, unlabelled.logits, unlabelled.aux["features"])
        p = [jax.nn.softmax(y) for y in levels]
        mean = sum(p[1:], p[0]) / self.scales
        consistency = jnp.stack([rectified(p_s, mean, batch.valid) for p_s in p]).mean()
        w = self.ramped(progress)
        states = new_states(params, self.new_state(output, unlabelled))
        pseudo = Pseudo(
            probability=mean,
            accepted=batch.valid,
            student=p[0],
        )
        return with_consistency(
            supervised,
            consistency,
            w,
            state=states,
            pseudo=pseudo,
        )


def rectified(
    p: jax.Array,
    mean: jax.Array,
    valid: jax.Array,
) -> jax.Array:
    """Σ (p - mean)² e^(-D) / Σ e^(-D) + mean D over valid pixels, D = KL(p || mean) (equations 4
    and 5).
    """
    d = divergence(p, mean)
    trust = jnp.where(valid, jnp.exp(-d), 0.0)
    return weighted_mean(jnp.square(p - mean).mean(-1), trust) + masked_mean(d, valid)


def _resize(x: jax.Array, size: Sequence[int]) -> jax.Array:
    return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "linear")
