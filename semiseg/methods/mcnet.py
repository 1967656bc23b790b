"""MC-Net+ lite: heads in place of decoders, each taught with the sharpened others."""

from __future__ import annotations

import itertools
from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import number
from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised, new_states
from semiseg.methods.parts.heads import added, head
from semiseg.methods.parts.terms import sharpen, weighed
from semiseg.types import IGNORE, Aux, Batch, Model, Output, Params, Pseudo, PyTree, hyper


@hyper
class MCNet(SemiSupervised):
    """Mutual consistency network, Wu et al., Medical Image Analysis 2022 (equations 3-5).

    p_1 … p_3 are three predictions of one network. Loss = Σ_i criterion(p_i, y) + w(t) · mean over
    i ≠ j of ||p_i - sharpen(p_j)||² on labelled and unlabelled pixels; a sharpened prediction is a
    target and has no gradient.

    Differences: this is a lite form. The second and third decoder are heads of another kernel size
    on the last features of the first, which all three share, and add to its logits; there they are
    decoders of their own, that upsample in another way. There each class is sharpened against the
    rest, p^(1/T) / (p^(1/T) + (1 - p)^(1/T)), and the target has a gradient.

    Attributes:
      weight: the published 0.1 of the sum over six pairs and of a mean over both kinds of images,
        beside half of the supervised sum, is 0.3 here.
      temperature: of the sharpening p^(1/T) / Σ p^(1/T).
    """

    weight: float = number(0.3, at_least=0)
    temperature: float = number(0.1, above=0)

    title: ClassVar[str] = "MC-Net+ lite"
    paper: ClassVar[str] = "Wu et al., MedIA 2022"
    holds: ClassVar[str] = "1 + 2 heads | 1"
    passes: ClassVar[str] = "L + U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        return {
            "net": model.init(key),
            "head1": head(model, jax.random.fold_in(key, 1), model.classes, size=3),
            "head2": head(model, jax.random.fold_in(key, 2), model.classes, size=5),
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
        logits_labelled = self.decode(params, output)
        logits_unlabelled = self.decode(params, unlabelled)
        others = jnp.float32(0)
        for logits in logits_labelled[1:]:
            others += self.criterion(weighed(logits, batch.weight), batch.label)
        q = [jax.nn.softmax(y) for y in logits_unlabelled]
        p = [jax.nn.softmax(y) for y in logits_labelled]
        mutual = self.mutual(p, batch.label != IGNORE) + self.mutual(q, batch.valid)
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "supervised_heads": others,
            "mutual": mutual,
            "mutual_weight": w,
        }
        states = new_states(params, self.new_state(output, unlabelled))
        pseudo = Pseudo(
            probability=(q[1] + q[2]) / 2,
            accepted=batch.valid,
            student=q[0],
        )
        return supervised + others + w * mutual, Aux(
            metrics=metrics,
            state=states,
            pseudo=pseudo,
        )

    def decode(self, params: dict[str, Params], output: Output) -> list[jax.Array]:
        """Logits of the three predictions."""
        features = output.aux["features"]
        first = added(params["head1"], output.logits, features)
        second = added(params["head2"], output.logits, features)
        return [output.logits, first, second]

    def mutual(self, p: list[jax.Array], valid: jax.Array) -> jax.Array:
        """Mean over ordered pairs of the distance to the other's sharpened prediction."""
        target = [sharpen(jax.lax.stop_gradient(x), self.temperature) for x in p]
        pairs = itertools.permutations(range(len(p)), 2)
        return jnp.stack([softmax_mse(p[i], target[j], valid) for i, j in pairs]).mean()
