"""MC-Net+: several decoders, each taught with the sharpened prediction of the others."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.heads import added, head
from semiseg.methods.parts.terms import sharpen, weighed
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class MCNet(SemiSupervised):
    """Mutual consistency network, Wu et al., Medical Image Analysis 2022 (equations 3-5).

    p_1 … p_3 are three predictions of one network. Loss = Σ_i criterion(p_i, y) + w(t) · mean over
    i ≠ j of ||p_i - sharpen(p_j)||² on labelled and unlabelled pixels; a sharpened prediction is a
    target and has no gradient. Differences: the second and third decoder are heads of another
    kernel size on the last features, which add to the network's logits; there they are decoders
    that upsample in another way. There each class is sharpened against the rest, p^(1/T) / (p^(1/T)
    + (1 - p)^(1/T)), and the target has a gradient.

    Attributes:
      weight: the published .1 of the sum over six pairs and of a mean over both kinds of images,
        beside half of the supervised sum, is .3 here.
      temperature: of the sharpening p^(1/T) / Σ p^(1/T).
    """

    weight: float = 0.3
    temperature: float = 0.1

    paper: ClassVar[str] = "Wu et al., MedIA 2022"
    holds: ClassVar[str] = "1 + 2 heads | 1"
    passes: ClassVar[str] = "L + U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        heads = {
            f"head{i}": head(model, jax.random.fold_in(key, i), model.classes, size)
            for i, size in ((1, 3), (2, 5))
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
        output, supervised = self.supervise(model, params["net"], batch, key)
        unlabelled = model.apply(
            params["net"], batch.weak, train=True, key=jax.random.fold_in(key, 1)
        )
        every = lambda out: [
            out.logits,
            *(added(params[name], out.logits, out.aux["features"]) for name in ("head1", "head2")),
        ]
        known, free = every(output), every(unlabelled)
        others = sum(
            (self.criterion(weighed(y, batch.weight), batch.label) for y in known[1:]),
            jnp.float32(0),
        )
        q = [jax.nn.softmax(y) for y in free]
        mutual = self.mutual(
            [jax.nn.softmax(y) for y in known], batch.label != IGNORE
        ) + self.mutual(q, batch.valid)
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "supervised_heads": others,
            "mutual": mutual,
            "mutual_weight": w,
        }
        state = {name: p.state for name, p in params.items()} | {"net": output.new_state}
        pseudo = Pseudo((q[1] + q[2]) / 2, batch.valid, q[0])
        return supervised + others + w * mutual, Aux(metrics, state, None, pseudo)

    def mutual(self, p: list[jax.Array], valid: jax.Array) -> jax.Array:
        """Mean over ordered pairs of the distance to the other's sharpened prediction."""
        target = [sharpen(jax.lax.stop_gradient(x), self.temperature) for x in p]
        pairs = [
            softmax_mse(a, b, valid)
            for i, a in enumerate(p)
            for j, b in enumerate(target)
            if i != j
        ]
        return jnp.stack(pairs).mean()
