"""UA-MT: a mean teacher that teaches only where many of its noisy predictions agree."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.fields import count, number
from semiseg.losses import softmax_mse
from semiseg.methods.base import Taught, View, seen, student, view, with_consistency
from semiseg.methods.parts.ramps import gaussian_ramp
from semiseg.methods.parts.terms import clipped_noise, entropy, share_of_valid
from semiseg.types import Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class UAMT(Taught):
    """Yu et al., MICCAI 2019 (equations 1-4).

    The teacher predicts ``looks`` times, each time with its own input noise and, if the network has
    any, dropout. The entropy of the mean prediction is the uncertainty u. One more prediction, with
    noise of its own, is the target. Adds w(t) · the mean over pixels with u < H(t) of
    ||softmax(student) - target||², H(t) = (3/4 + 1/4 · exp(-5 (1 - t)²)) · ln 2; here t is the
    share of the whole training, as published, whatever ``ramp`` is.

    ln 2 is the entropy of a pixel torn between two classes. The paper has two classes; with more of
    them 3/4 ln K is above ln 2, so that no such pixel would ever be rejected.

    Published code divides the sum over K classes by twice the pixels: a weight of 0.1 there is
    0.1 · K/2 here.

    Attributes:
      looks: passes of the teacher for the uncertainty.
      noise: standard deviation of the noise on its standardised input, clipped at twice that.
      largest_entropy: "binary": ln 2 whatever the number of classes, as in published code.
        "classes": ln K, what a uniform prediction has.
      student_view: "strong", or "weak" as in the paper.
    """

    weight: float = number(1.0, at_least=0)
    looks: int = count(8, at_least=1)
    noise: float = number(0.1, at_least=0)
    largest_entropy: Literal["classes", "binary"] = "binary"
    student_view: View = "strong"

    title: ClassVar[str] = "UA-MT"
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
        teacher = jax.lax.stop_gradient(self.teacher(memory))
        k_noise, k_teacher = jax.random.split(jax.random.fold_in(key, 3))
        noisy = batch.weak + clipped_noise(k_noise, batch.weak.shape, self.noise)
        target = self.target(model, teacher, noisy, k_teacher)
        mean = self.mean_prediction(model, teacher, batch.weak, jax.random.fold_in(key, 2))
        limit = self.bound(model.classes, progress)
        shown = seen(batch, self.student_view)
        certain = shown & (entropy(jax.lax.stop_gradient(mean)) < limit)

        taught = model.apply(
            params, view(batch, self.student_view), train=True, key=jax.random.fold_in(key, 1)
        )
        p = jax.nn.softmax(taught.logits)
        consistency = softmax_mse(p, target, certain)
        w = self.ramped(progress)
        pseudo = Pseudo(
            probability=target,
            accepted=certain,
            student=p,
        )
        return with_consistency(
            supervised,
            consistency,
            w,
            state=self.new_state(output, taught),
            pseudo=pseudo,
            certain=share_of_valid(certain, shown),
        )

    def bound(self, classes: int, progress: jax.Array) -> jax.Array:
        """H(t), in nats: the entropy from which on a pixel does not teach."""
        most = math.log(2 if self.largest_entropy == "binary" else classes)
        return (0.75 + 0.25 * gaussian_ramp(progress, 1.0)) * most

    def mean_prediction(
        self,
        model: Model,
        teacher: Params,
        image: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        """Mean over ``looks`` noisy predictions of the teacher ``(B, *space, K)``."""

        def look(total: jax.Array, k: jax.Array) -> tuple[jax.Array, None]:
            k_noise, k_net = jax.random.split(k)
            noisy = image + clipped_noise(k_noise, image.shape, self.noise)
            return total + student(model, teacher, noisy, k_net), None

        nothing = jnp.zeros((*image.shape[:-1], model.classes))
        total, _ = jax.lax.scan(look, nothing, jax.random.split(key, self.looks))
        return total / self.looks
