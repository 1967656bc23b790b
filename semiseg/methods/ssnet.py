"""SS-Net: predictions that no small change of the image alters, and features apart by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import count, number
from semiseg.methods.base import SemiSupervised, new_states
from semiseg.methods.parts.heads import channels_of, dims_of, run, stack
from semiseg.methods.parts.terms import frozen
from semiseg.types import IGNORE, Aux, Batch, Model, Params, Pseudo, PyTree, hyper

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
        deviation is 0.146 on ACDC.
      probe: root mean square of the random step.
      separation_weight: of both separations.
      elements: vectors remembered for each class.
    """

    weight: float = number(0.1, at_least=0)
    radius: float = number(0.16, at_least=0)
    probe: float = number(0.27, at_least=0)
    separation_weight: float = number(0.1, at_least=0)
    elements: int = count(32, at_least=1)

    title: ClassVar[str] = "SS-Net"
    paper: ClassVar[str] = "Wu et al., MICCAI 2022"
    holds: ClassVar[str] = "1 + 4 heads | 1"
    passes: ClassVar[str] = "3 L + 3 U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        foreground = model.classes - 1
        widths = {
            "projection": (channels_of(model), WIDTH, WIDTH),
            "prediction": (WIDTH, WIDTH, WIDTH),
            "selector": (WIDTH, WIDTH, foreground),
            "memory_selector": (WIDTH, WIDTH, foreground),
        }
        params = {"net": model.init(key)}
        for i, (name, head) in enumerate(widths.items(), 1):
            params[name] = stack(jax.random.fold_in(key, i), head, (1, 1), dims_of(model))
        return params

    def remember(
        self,
        model: Model,
        params: PyTree,
        key: jax.Array,
    ) -> dict[str, PyTree]:
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
        net = params["net"]
        output, supervised = self.supervise(model, net, batch, key)
        clean = model.apply(net, batch.weak, train=True)

        images = (batch.image, batch.weak)
        outputs = (output, clean)
        q = [jax.nn.softmax(jax.lax.stop_gradient(out.logits)) for out in outputs]
        inside = (batch.label != IGNORE, batch.valid)
        k_probe = jax.random.fold_in(key, 1)
        changes = self.adversary(model, frozen(net), images, q, inside, k_probe)
        moved = _moved(model, net, images, changes)
        smooth = distance(moved, q, inside)

        weight = jnp.ones(len(batch.image)) if batch.weight is None else batch.weight
        weight = weight.reshape(-1, *(1,) * batch.label.ndim)
        annotated = _member(batch.label, model.classes) * weight
        predicted = _member(jnp.where(batch.valid, q[1].argmax(-1), IGNORE), model.classes)
        right = annotated * (q[0].argmax(-1) == batch.label)[..., None]
        features = output.aux["features"]
        vectors = self.remembered(frozen(params), memory, jax.lax.stop_gradient(features), right)
        apart = self.separation(params, features, annotated, vectors)
        apart += self.separation(params, clean.aux["features"], predicted, vectors)

        w = self.ramped(progress)
        metrics = {
            "supervised": supervised,
            "smooth": smooth,
            "separation": apart,
            "unsupervised_weight": w,
        }
        total = supervised + w * (smooth + self.separation_weight * apart)
        states = new_states(params, self.new_state(output, clean))
        memory = {**memory, "vectors": vectors}
        return total, Aux(
            metrics=metrics,
            state=states,
            memory=memory,
            pseudo=Pseudo(
                probability=q[1],
                accepted=batch.valid,
                student=moved[1],
            ),
        )

    def adversary(
        self,
        model: Model,
        net: Params,
        images: Arrays,
        q: Arrays,
        inside: Arrays,
        key: jax.Array,
    ) -> list[jax.Array]:
        """The change of each image that moves the predictions most, found by one gradient; a
        constant for the loss.
        """
        scale = images[0][0].size ** 0.5
        steps = []
        for i, x in enumerate(images):
            step = jax.random.normal(jax.random.fold_in(key, i), x.shape)
            steps.append(self.probe * scale * step / _length(step))

        def moved_by(steps: list[jax.Array]) -> jax.Array:
            return distance(_moved(model, net, images, steps), q, inside)

        gradient = jax.grad(moved_by)(steps)
        return [jax.lax.stop_gradient(self.radius * scale * g / _length(g)) for g in gradient]

    def remembered(
        self,
        params: dict[str, Params],
        memory: PyTree,
        features: jax.Array,
        right: jax.Array,
    ) -> jax.Array:
        """Vectors ``(K - 1, elements, WIDTH)`` of the correctly predicted pixels of a batch that
        weigh most, 0 where there are fewer; a class that the batch does not show keeps its own.
        """
        vector = run(params["projection"], features)
        score = jnp.where(right > 0, run(params["selector"], vector), -jnp.inf)
        score = score.reshape(-1, right.shape[-1])
        best, where = jax.lax.top_k(score.T, min(self.elements, len(score)))
        new = jnp.where(best[..., None] > -jnp.inf, vector.reshape(-1, WIDTH)[where], 0.0)
        new = jnp.pad(new, ((0, 0), (0, self.elements - new.shape[1]), (0, 0)))
        is_shown = new.any((1, 2), keepdims=True)
        return jnp.where(is_shown, new, jax.lax.stop_gradient(memory["vectors"]))

    def separation(
        self,
        params: dict[str, Params],
        features: jax.Array,
        member: jax.Array,
        vectors: jax.Array,
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
        classes, elements = m.shape[:2]
        row = m.reshape(classes, elements, *(1,) * (features.ndim - 3), WIDTH)
        scores = run(params["memory_selector"], row).reshape(classes, elements, -1)
        b = _shares(jnp.einsum("knk->kn", scores), vectors.any(-1), 1)
        closeness = jnp.einsum("pk,pd,kn,knd->k", a, _unit(u).reshape(-1, WIDTH), b, m)
        shown = member.sum(tuple(range(member.ndim - 1))) > 0
        both = shown & vectors.any((1, 2))
        return jnp.where(both, 1 - closeness, 0.0).sum() / (classes + 1)


def distance(
    p: Arrays,
    q: Arrays,
    inside: Arrays,
) -> jax.Array:
    """1 - 2 Σ pq / (Σ p² + Σ q²), the mean over classes; sums are over the pixels ``inside`` of all
    images; 0 where there is none.

    >>> p, q = jnp.array([[[1.0, 0.0]]]), jnp.array([[[0.0, 1.0]]])
    >>> [float(distance([p], [other], [jnp.array([[True]])])) for other in (p, q)]
    [0.0, 1.0]
    """
    both = _total([a * b for a, b in zip(p, q, strict=True)], inside)
    squares = _total([a * a + b * b for a, b in zip(p, q, strict=True)], inside)
    return jnp.mean(1 - (2 * both + 1e-10) / (squares + 1e-10))


def _total(parts: Arrays, inside: Arrays) -> jax.Array:
    """Sum over the pixels ``inside`` of all images, by class ``(K,)``."""
    sums = []
    for x, mask in zip(parts, inside, strict=True):
        sums.append(jnp.where(mask[..., None], x, 0.0).sum(tuple(range(mask.ndim))))
    return jnp.stack(sums).sum(0)


def _moved(
    model: Model,
    net: Params,
    images: Arrays,
    changes: Arrays,
) -> list[jax.Array]:
    """Class probabilities of changed images."""
    pairs = zip(images, changes, strict=True)
    return [jax.nn.softmax(model.apply(net, x + r, train=True).logits) for x, r in pairs]


def _length(x: jax.Array) -> jax.Array:
    """Norm of each image ``(B, 1 …)``, at least 1e-12."""
    squares = jnp.square(x).sum(tuple(range(1, x.ndim)), keepdims=True)
    return jnp.sqrt(jnp.maximum(squares, 1e-24))


def _member(label: jax.Array, classes: int) -> jax.Array:
    """1 in the channel of a pixel's foreground class."""
    known = jnp.where(label == IGNORE, -1, label)
    return jax.nn.one_hot(known, classes)[..., 1:]


def _shares(
    score: jax.Array,
    member: jax.Array,
    axis: int,
) -> jax.Array:
    """member · sigmoid(score) / its sum along ``axis``, by logarithms: scores of -60 and less,
    where a float32 sigmoid squared is 0, have a gradient.
    """
    log = jax.nn.log_sigmoid(score) + jnp.log(jnp.where(member > 0, member, 1.0))
    return jax.nn.softmax(log, axis, where=member > 0)


def _unit(x: jax.Array) -> jax.Array:
    """Vectors of length 1 along the last axis; a zero vector stays zero, with a finite gradient."""
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)
