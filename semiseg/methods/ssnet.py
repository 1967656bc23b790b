"""SS-Net: predictions that no small change of the image moves, and classes whose features lie apart."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.losses import masked_mean
from semiseg.methods.base import SemiSupervised
from semiseg.methods.blocks import divergence, frozen
from semiseg.methods.heads import channels_of
from semiseg.methods.thresholds import confident
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper


@hyper
class SSNet(SemiSupervised):
    """Wu et al., MICCAI 2022 (equations 1-5): adversarial smoothness of pixels, and separation of classes by prototypes.

    Adds w(t) · (smooth + separation_weight · separation).
    smooth = mean KL(p(u) || p(u + r)), r = radius · g / ||g||, g the gradient of the divergence at a small random step: one power iteration
    (Miyato et al. 2018), the norm over the image. separation = -log softmax over classes of cos(z, c) / temperature at the predicted class
    of an unlabelled pixel that is confident: c_k is the moving mean of the features of correctly predicted labelled pixels of class k.
    Differences from the published code: there the smoothness is a Dice between the two predictions, of the labelled images too, and its change
    has a norm of 6 whatever the size of the image; background has no prototype; labels teach by Dice alone; the separation is the cosine distance
    to the same class alone, on labelled pixels too, through a projection and a prediction head; and a class keeps some features, which learnt
    attention weighs, where it has its one mean here.

    Attributes:
      radius: of the adversarial change: its root mean square over the pixels of a standardised image.
      probe: root mean square of the random step.
      separation_weight: of the second term.
      temperature: of the cosine similarities.
      threshold: least confidence of a pixel that is pulled to its class.
      keep: of the moving mean of the prototypes.
    """

    weight: float = 0.5
    radius: float = 0.1
    probe: float = 0.05
    separation_weight: float = 0.1
    temperature: float = 0.1
    threshold: float = 0.8
    keep: float = 0.99

    paper: ClassVar[str] = "Wu et al., MICCAI 2022"
    passes: ClassVar[str] = "L + 2 U | U"

    def remember(self, model: Model, params: Params, key: jax.Array) -> dict[str, PyTree]:
        return {"prototype": jnp.zeros((model.classes, channels_of(model)))}

    def loss(self, model: Model, params: Params, memory: PyTree, batch: Batch, key: jax.Array, progress: jax.Array) -> tuple[jax.Array, Aux]:
        output, supervised = self.supervise(model, params, batch, key)
        clean = model.apply(params, batch.weak, train=True)
        q = jax.nn.softmax(jax.lax.stop_gradient(clean.logits))
        r = self.adversary(model, frozen(params), batch, q, jax.random.fold_in(key, 1))
        moved = jax.nn.softmax(model.apply(params, batch.weak + r, train=True).logits)
        smooth = masked_mean(divergence(q, moved), batch.valid)

        prototype = self.seen(jax.lax.stop_gradient(memory["prototype"]), output.aux["features"], output.logits, batch.label, batch.weight)
        known = jnp.square(prototype).sum(-1) > 0
        cosine = _unit(clean.aux["features"].astype(jnp.float32)) @ _unit(prototype).T / self.temperature
        log_p = jax.nn.log_softmax(jnp.where(known, cosine, -1e9))
        label = q.argmax(-1)
        sure = confident(q, self.threshold, batch.valid) & known[label]
        apart = masked_mean(-jnp.take_along_axis(log_p, label[..., None], -1)[..., 0], sure)
        w = self.ramped(progress)
        metrics = {"supervised": supervised, "smooth": smooth, "separation": apart, "unsupervised_weight": w}
        total = supervised + w * (smooth + self.separation_weight * apart)
        return total, Aux(metrics, output.new_state, {**memory, "prototype": prototype}, Pseudo(q, sure, moved))

    def adversary(self, model: Model, params: Params, batch: Batch, q: jax.Array, key: jax.Array) -> jax.Array:
        """The change of each image that moves its prediction most, found by one gradient; a constant for the loss."""
        space = tuple(range(1, batch.weak.ndim))
        unit = lambda x: x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(space, keepdims=True), 1e-24))
        scale = batch.weak[0].size ** 0.5
        step = self.probe * scale * unit(jax.random.normal(key, batch.weak.shape))

        def moved(step: jax.Array) -> jax.Array:
            p = jax.nn.softmax(model.apply(params, batch.weak + step, train=True).logits)
            return jnp.where(batch.valid, divergence(q, p), 0.0).sum()

        return jax.lax.stop_gradient(self.radius * scale * unit(jax.grad(moved)(step)))

    def seen(self, old: jax.Array, features: jax.Array, logits: jax.Array, label: jax.Array, weight: jax.Array | None) -> jax.Array:
        """Prototypes ``(K, C)`` with the correctly predicted pixels of a labelled batch in them; the first ones of a class are its start."""
        right = (logits.argmax(-1) == label) & (label != IGNORE)
        member = jax.nn.one_hot(jnp.where(right, label, -1), old.shape[0])
        member = member if weight is None else member * weight.reshape(-1, *(1,) * (member.ndim - 1))
        z = _unit(jax.lax.stop_gradient(features).astype(jnp.float32))
        count = member.sum(tuple(range(member.ndim - 1)))[:, None]
        mean = jnp.einsum("...k,...c->kc", member, z) / jnp.maximum(count, 1)
        empty = jnp.square(old).sum(-1, keepdims=True) == 0
        return jnp.where(count > 0, jnp.where(empty, mean, self.keep * old + (1 - self.keep) * mean), old)


def _unit(x: jax.Array) -> jax.Array:
    """Vectors of length 1 along the last axis; a zero vector stays zero, with a finite gradient."""
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)
