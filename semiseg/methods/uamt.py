"""UA-MT: a mean teacher that is believed only where many noisy looks agree."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.losses import softmax_mse
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.terms import entropy, gaussian_ramp
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class UAMT(SemiSupervised):
    """Yu et al., MICCAI 2019 (equations 1-4).

    The teacher looks ``looks`` times, each with its own input noise and, if the network has any,
    dropout; the entropy of the mean prediction is the uncertainty u. One more look, with noise of
    its own, is the target. Adds w(t) · the mean over pixels with u < H(t) of
    ||softmax(student) - target||², H(t) = (3/4 + 1/4 · ramp(t)) · ln K.

    Published code divides the sum over K classes by twice the pixels: a weight of .1 there is .1 ·
    K/2 here.

    Attributes:
      looks: passes of the teacher for the uncertainty.
      noise: standard deviation of the noise on its standardised input, clipped at twice that.
      largest_entropy: "classes": ln K, what a uniform prediction has. "binary": ln 2 whatever the
        number of classes, a quirk of published code (for K > 2 it rejects more).
      student_view: "strong", or "weak" as in the paper.
    """

    weight: float = 1.0
    looks: int = 8
    noise: float = 0.1
    largest_entropy: Literal["classes", "binary"] = "classes"
    student_view: Literal["strong", "weak"] = "strong"

    paper: ClassVar[str] = "Yu et al., MICCAI 2019"
    passes: ClassVar[str] = "L + U | 9 U"

    def loss(
        self,
        model: Model,
        params: Params,
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        output, supervised = self.supervise(model, params, batch, key)
        teacher = jax.lax.stop_gradient(memory["teacher"])

        def noisy(k: jax.Array) -> jax.Array:
            return batch.weak + jnp.clip(
                self.noise * jax.random.normal(k, batch.weak.shape), -2 * self.noise, 2 * self.noise
            )

        def look(total: jax.Array, k: jax.Array) -> tuple[jax.Array, None]:
            k_noise, k_net = jax.random.split(k)
            return total + jax.nn.softmax(
                model.apply(teacher, noisy(k_noise), train=True, key=k_net).logits
            ), None

        k_noise, k_teacher = jax.random.split(jax.random.fold_in(key, 3))
        target = self.target(model, teacher, noisy(k_noise), k_teacher)
        mean = (
            jax.lax.scan(
                look,
                jnp.zeros_like(target),
                jax.random.split(jax.random.fold_in(key, 2), self.looks),
            )[0]
            / self.looks
        )
        most = math.log(2 if self.largest_entropy == "binary" else model.classes)
        limit = (0.75 + 0.25 * gaussian_ramp(progress, self.ramp)) * most
        certain = batch.valid & (entropy(jax.lax.stop_gradient(mean)) < limit)

        view = batch.strong if self.student_view == "strong" else batch.weak
        student = jax.nn.softmax(
            model.apply(params, view, train=True, key=jax.random.fold_in(key, 1)).logits
        )
        consistency = softmax_mse(student, target, certain)
        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "consistency": consistency,
            "consistency_weight": w,
            "certain": certain.sum() / jnp.maximum(batch.valid.sum(), 1),
        }
        return supervised + w * consistency, Aux(
            metrics, output.new_state, None, Pseudo(target, certain, student)
        )
