"""SS-Net: predictions that no small change of the image moves, and classes whose features lie
apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts.heads import channels_of, run, stack
from semiseg.methods.parts.terms import frozen
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper, static

Arrays = Sequence[jax.Array]
"""One of the labelled images, one of the unlabelled ones."""
WIDTH = 32
"""Of the vectors that are compared."""


@hyper
class SSNet(SemiSupervised):
    """Smoothness and separation, Wu et al., MICCAI 2022 (equations 1-5); the separation is that of
    Alonso et al., ICCV 2021.

    Adds w(t) · (smooth + separation_weight · (separation of labelled + of unlabelled pixels)).
    smooth = Dice distance between p(x) and p(x + r) over all images, r = radius · g / ||g|| for
    each image, g the gradient of that distance at a random step of ``probe``: one power iteration
    (Miyato et al. 2018). separation = 1/K Σ over foreground classes c of the mean over pixels i of
    class c (annotated, or predicted) and over remembered vectors j of a_i b_j (1 - cos(h(g(z_i)),
    m_j)), with learnt weights a, b of mean 1. Remembered are the ``elements`` vectors g(z) of
    correctly predicted labelled pixels of c that weigh most, of the last batch that shows c.

    Differences from the published code: its memory keeps the vectors that weigh least, and its b is
    always 1, by a slip in its axes; heads here have no normalisation, and the weights of all
    classes one hidden layer; its random step is uniform; labelled and unlabelled images pass the
    network apart, as in every method here, and pixels outside a frame count in nothing; labels
    teach by ``criterion`` instead of Dice alone.

    Attributes:
      radius: of the adversarial change, its root mean square over the pixels of a standardised
        image. Published is a norm of 6 (10 for the probe) on 256² pixels in [0, 1], whose standard
        deviation is about .2.
      probe: root mean square of the random step.
      separation_weight: of both separations.
      elements: vectors remembered for each class.
    """

    weight: float = 0.1
    radius: float = 0.1
    probe: float = 0.17
    separation_weight: float = 0.1
    elements: int = static(default=32)

    paper: ClassVar[str] = "Wu et al., MICCAI 2022"
    holds: ClassVar[str] = "1 + 4 heads | 1"
    passes: ClassVar[str] = "3 L + 3 U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        first = {
            "projection": channels_of(model),
            "prediction": WIDTH,
            "selector": WIDTH,
            "memory_selector": WIDTH,
        }
        last = {
            "projection": WIDTH,
            "prediction": WIDTH,
            "selector": model.classes - 1,
            "memory_selector": model.classes - 1,
        }
        keys = {name: jax.random.fold_in(key, i) for i, name in enumerate(first, 1)}
        heads = {
            name: stack(
                keys[name], (first[name], WIDTH, last[name]), (1, 1), len(model.sample.shape) - 2
            )
            for name in first
        }
        return {"net": model.init(key), **heads}

    def remember(self, model: Model, params: PyTree, key: jax.Array) -> dict[str, PyTree]:
        return {"vectors": jnp.zeros((model.classes - 1, self.elements, WIDTH))}

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
        clean = model.apply(params["net"], batch.weak, train=True)

        images, q = (
            (batch.image, batch.weak),
            [jax.nn.softmax(jax.lax.stop_gradient(out.logits)) for out in (output, clean)],
        )
        inside = (batch.label != IGNORE, batch.valid)
        changes = self.adversary(
            model, frozen(params["net"]), images, q, inside, jax.random.fold_in(key, 1)
        )
        moved = [
            jax.nn.softmax(model.apply(params["net"], x + r, train=True).logits)
            for x, r in zip(images, changes)
        ]
        smooth = distance(moved, q, inside)

        weight = jnp.ones(len(batch.image)) if batch.weight is None else batch.weight
        annotated = _member(batch.label, model.classes) * weight.reshape(
            -1, *(1,) * batch.label.ndim
        )
        predicted = _member(jnp.where(batch.valid, q[1].argmax(-1), IGNORE), model.classes)
        right = annotated * (q[0].argmax(-1) == batch.label)[..., None]
        vectors = self.kept(
            frozen(params), memory, jax.lax.stop_gradient(output.aux["features"]), right
        )
        apart = self.separation(params, output.aux["features"], annotated, vectors)
        apart += self.separation(params, clean.aux["features"], predicted, vectors)

        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "smooth": smooth,
            "separation": apart,
            "unsupervised_weight": w,
        }
        state = {name: p.state for name, p in params.items()} | {"net": output.new_state}
        total = supervised + w * (smooth + self.separation_weight * apart)
        return total, Aux(
            metrics, state, {**memory, "vectors": vectors}, Pseudo(q[1], batch.valid, moved[1])
        )

    def adversary(
        self, model: Model, net: Params, images: Arrays, q: Arrays, inside: Arrays, key: jax.Array
    ) -> list[jax.Array]:
        """The change of each image that moves the predictions most, found by one gradient; a
        constant for the loss.
        """
        scale = images[0][0].size ** 0.5
        length = lambda x: jnp.sqrt(
            jnp.maximum(jnp.square(x).sum(tuple(range(1, x.ndim)), keepdims=True), 1e-24)
        )
        steps = [
            jax.random.normal(jax.random.fold_in(key, i), x.shape) for i, x in enumerate(images)
        ]

        def far(steps: list[jax.Array]) -> jax.Array:
            return distance(
                [
                    jax.nn.softmax(model.apply(net, x + d, train=True).logits)
                    for x, d in zip(images, steps)
                ],
                q,
                inside,
            )

        gradient = jax.grad(far)([self.probe * scale * d / length(d) for d in steps])
        return [jax.lax.stop_gradient(self.radius * scale * g / length(g)) for g in gradient]

    def kept(
        self, params: dict[str, Params], memory: PyTree, features: jax.Array, right: jax.Array
    ) -> jax.Array:
        """Vectors ``(K - 1, elements, WIDTH)`` with those of a batch, 0 where there are fewer; a
        class that it does not show keeps its own.
        """
        vector = run(params["projection"], features)
        score = jnp.where(right > 0, run(params["selector"], vector), -jnp.inf).reshape(
            -1, right.shape[-1]
        )
        best, where = jax.lax.top_k(score.T, min(self.elements, len(score)))
        new = jnp.where(best[..., None] > -jnp.inf, vector.reshape(-1, WIDTH)[where], 0.0)
        new = jnp.pad(new, ((0, 0), (0, self.elements - new.shape[1]), (0, 0)))
        return jnp.where(
            new.any((1, 2), keepdims=True), new, jax.lax.stop_gradient(memory["vectors"])
        )

    def separation(
        self, params: dict[str, Params], features: jax.Array, member: jax.Array, vectors: jax.Array
    ) -> jax.Array:
        """How far pixels are from the remembered vectors of their class; ``member (B, *space, K -
        1)`` is their share in each foreground class.

        A mean over pairs of a_i b_j (1 - u_i · m_j) is 1 - (mean of a_i u_i) · (mean of b_j m_j):
        no pair is ever formed.
        """
        u = run(params["prediction"], run(params["projection"], features))
        score = run(params["selector"], jax.lax.stop_gradient(u)).reshape(-1, member.shape[-1])
        a = _shares(score, member.reshape(score.shape), 0)
        m = _unit(vectors)
        row = m.reshape(*m.shape[:2], *(1,) * (features.ndim - 3), WIDTH)
        b = _shares(
            jnp.einsum("knk->kn", run(params["memory_selector"], row).reshape(*m.shape[:2], -1)),
            vectors.any(-1),
            1,
        )
        closeness = jnp.einsum("pk,pd,kn,knd->k", a, _unit(u).reshape(-1, WIDTH), b, m)
        both = (member.sum(tuple(range(member.ndim - 1))) > 0) & vectors.any((1, 2))
        return jnp.where(both, 1 - closeness, 0.0).sum() / (len(m) + 1)


def distance(p: Arrays, q: Arrays, inside: Arrays) -> jax.Array:
    """1 - 2 Σ pq / (Σ p² + Σ q²), the mean over classes; sums are over the pixels ``inside`` of all
    images; 0 where there is none.
    """
    total = lambda parts: jnp.stack(
        [jnp.where(m[..., None], x, 0.0).sum(tuple(range(m.ndim))) for x, m in zip(parts, inside)]
    ).sum(0)
    both, squares = (
        total([a * b for a, b in zip(p, q)]),
        total([a * a + b * b for a, b in zip(p, q)]),
    )
    return jnp.mean(1 - (2 * both + 1e-10) / (squares + 1e-10))


def _member(label: jax.Array, classes: int) -> jax.Array:
    """1 in the channel of a pixel's foreground class."""
    return jax.nn.one_hot(jnp.where(label == IGNORE, -1, label), classes)[..., 1:]


def _shares(score: jax.Array, member: jax.Array, axis: int) -> jax.Array:
    """member · sigmoid(score) / its sum along ``axis``, by logarithms: scores of -60 and less,
    where a float32 sigmoid squared is 0, have a gradient.
    """
    log = jax.nn.log_sigmoid(score) + jnp.log(jnp.where(member > 0, member, 1.0))
    return jax.nn.softmax(log, axis, where=member > 0)


def _unit(x: jax.Array) -> jax.Array:
    """Vectors of length 1 along the last axis; a zero vector stays zero, with a finite gradient."""
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)
