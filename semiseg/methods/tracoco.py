"""TraCoCo: two networks teach each other with confident pixels of their pseudo-labels, and each is
to see the same in an image that is moved.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from semiseg.augment.mix import beta_box, partner, paste
from semiseg.fields import number
from semiseg.losses import masked_mean
from semiseg.methods.base import SemiSupervised
from semiseg.methods.parts import terms
from semiseg.methods.parts.components import largest
from semiseg.methods.parts.terms import dice_of_accepted, divergence, share_of_valid
from semiseg.types import IGNORE, Aux, Batch, Model, Output, Params, Pseudo, PyTree, hyper

LABELLER = {"net": "other", "other": "net"}
"""Whose pseudo-labels a network learns from."""


class Look(NamedTuple):
    """What one network makes of the labelled images and of two views of the unlabelled ones."""

    labelled: Output
    supervised: jax.Array
    plain: Output
    moved: Output


class Guess(NamedTuple):
    """What a network teaches the other one.

    Attributes:
      label: ``(U, *space)``, IGNORE outside the frame.
      probability: ``(U, *space, K)``.
      confidence: ``(U, *space)``, the probability of ``label``.
    """

    label: jax.Array
    probability: jax.Array
    confidence: jax.Array


@hyper
class TraCoCo(SemiSupervised):
    """Translation consistent co-training, Liu et al., IEEE TMI 2024, with the constants of its
    published code for ACDC.

    Loss = Σ over both networks of criterion(f(x_l), y) + w(t) · (½ (P + N + D) + translation ·
    KL(p' || p) - entropy · H). P, N and D are of the network's prediction for the unlabelled images
    with a CutMix box of the next one, against the other network's pseudo-label y with probability
    q, of which the largest component of each class is left, mixed alike: P is the mean of q(y) ·
    CE(y) over the pixels with q(y) ≥ threshold (the confident regional cross-entropy); N the mean
    of -log(1 - p_k) over the classes k ≠ y that q gives less than ``negative_threshold``; D the
    Dice over all pixels. p and p' are predictions of one pixel in an image and in the same image
    moved by whole pixels along each axis; H is their mean entropy, which is to be large. All
    pictures that teach, labelled ones too, have uniform noise of their own. The average of the
    first network is evaluated.

    Differences from the published code (Code/UnetACDC; the paper's equations were not compared):
    both crops of an image are its window, which moves over zeros, and the pseudo-label is read off
    the pass that has noise, where there each is a pass of its own. Labelled images take no part in
    the unlabelled terms. N weighs each class by 1, there by the smallest probability of the pixel,
    which is near 0, and takes in y through a bitwise complement. The confidence is that of q, where
    there a softmax follows after logits of all classes but y were set to 0. The divergence is the
    mean over the pixels that both views show, of probabilities over classes, where there it is
    summed over images and divided by the classes, of logits cut to [0, 1] whose softmax is along an
    axis of the image. Each image draws a size of its box.

    Attributes:
      threshold: least confidence of a pixel of P.
      negative_threshold: probability of the classes of N, below.
      translation: weight of KL.
      entropy: weight of H, which is subtracted.
      shift: largest displacement along each axis, share of the side.
      noise: half width of the uniform noise, in standard deviations of the image; published are
        0.05 of an image in [0, 1] with a deviation of about 0.146.
      cutmix: probability of a box.
      least: pixels of a class that the pseudo-labels of a batch must have for its Dice to teach;
        published is 0.
    """

    threshold: float = number(0.65, within=(0, 1))
    negative_threshold: float = number(0.1, within=(0, 1))
    translation: float = number(0.1, at_least=0)
    entropy: float = number(0.01, at_least=0)
    shift: float = number(0.25, within=(0, 0.5))
    noise: float = number(0.34, at_least=0)
    cutmix: float = number(1.0, within=(0, 1))
    least: float = number(50.0, at_least=0)

    title: ClassVar[str] = "TraCoCo"
    paper: ClassVar[str] = "Liu et al., TMI 2024"
    holds: ClassVar[str] = "2 | 1"
    passes: ClassVar[str] = "2 L + 6 U"

    def networks(self, model: Model, key: jax.Array) -> dict[str, Params]:
        return {"net": model.init(key), "other": model.init(jax.random.fold_in(key, 1))}

    def loss(
        self,
        model: Model,
        params: dict[str, Params],
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        shift = self.draw_shift(jax.random.fold_in(key, 2), batch.valid.shape)
        keys = {"net": key, "other": jax.random.fold_in(key, 1)}
        looks = {
            name: self.look(model, params[name], batch, shift, k_look)
            for name, k_look in keys.items()
        }
        guesses = {name: self.guess(look.plain.logits, batch.valid) for name, look in looks.items()}
        w = self.ramped(progress)
        metrics = {"unsupervised_weight": w}
        total = jnp.float32(0)
        states: dict[str, PyTree] = {}
        for name, look in looks.items():
            guess = guesses[LABELLER[name]]
            k_mix = jax.random.fold_in(keys[name], 3)
            mixed, cross = self.learn_from(model, params[name], batch, guess, k_mix)
            unsupervised = 0.5 * (cross["positive"] + cross["negative"] + cross["dice"])
            apart, unsure = self.translated(look, batch.valid, shift)
            unsupervised += self.translation * apart - self.entropy * unsure
            total += look.supervised + w * unsupervised
            states[name] = self.new_state(look.labelled, look.plain, look.moved, mixed)
            if name == "net":
                metrics |= {**cross, "translation": apart, "entropy": unsure}
        metrics["supervised"] = looks["net"].supervised
        metrics["supervised_other"] = looks["other"].supervised
        accepted = batch.valid & (guesses["other"].confidence >= self.threshold)
        metrics["accepted"] = share_of_valid(accepted, batch.valid)
        pseudo = Pseudo(
            probability=taught_probability(guesses["other"]),
            accepted=accepted,
            student=jax.nn.softmax(looks["net"].plain.logits),
        )
        return total, Aux(metrics=metrics, state=states, pseudo=pseudo)

    def draw_shift(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Whole pixels ``(U, axes)`` by which the images of ``shape (U, *space)`` are moved."""
        images, *space = shape
        reach = jnp.floor(self.shift * jnp.array([space]) + 1e-4)
        u = jax.random.uniform(key, (images, len(space)))
        return (jnp.floor(u * (2 * reach + 1)) - reach).astype(jnp.int32)

    def look(
        self,
        model: Model,
        params: Params,
        batch: Batch,
        shift: jax.Array,
        key: jax.Array,
    ) -> Look:
        """One network's passes that no other network takes part in."""
        # the first pass has the key of supervised training
        k_labelled, k_plain, k_moved, k_noise = (jax.random.fold_in(key, i) for i in (0, 4, 5, 6))
        k_image, k_weak, k_other = jax.random.split(k_noise, 3)
        image = self.with_noise(k_image, batch.image)
        labelled = model.apply(params, image, train=True, key=k_labelled)
        supervised = terms.supervised_loss(self.criterion, labelled, batch.label, batch.weight)
        weak = self.with_noise(k_weak, batch.weak)
        plain = model.apply(params, weak, train=True, key=k_plain)
        picture = self.with_noise(k_other, move(batch.weak, shift))
        moved = model.apply(params, picture, train=True, key=k_moved)
        return Look(labelled, supervised, plain, moved)

    def with_noise(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """``image`` with uniform noise."""
        return image + self.noise * jax.random.uniform(key, image.shape, minval=-1.0)

    def guess(self, logits: jax.Array, valid: jax.Array) -> Guess:
        """What a network with ``logits (U, *space, K)`` teaches the other one."""
        q = jax.nn.softmax(jax.lax.stop_gradient(logits))
        cleaned = largest(q.argmax(-1), q.shape[-1])
        confidence = jnp.take_along_axis(q, cleaned[..., None], -1)[..., 0]
        return Guess(jnp.where(valid, cleaned, IGNORE), q, confidence)

    def learn_from(
        self,
        model: Model,
        params: Params,
        batch: Batch,
        guess: Guess,
        key: jax.Array,
    ) -> tuple[Output, dict[str, jax.Array]]:
        """The pass of the mixed images, and its terms P, N and D."""
        k_box, k_noise, k_net = jax.random.split(key, 3)
        mask = beta_box(k_box, guess.label.shape[1:], len(guess.label), self.cutmix)
        picture = self.with_noise(k_noise, paste(mask, batch.weak, partner(batch.weak)))
        output = model.apply(params, picture, train=True, key=k_net)
        label, q, confidence = (paste(mask, x, partner(x)) for x in guess)
        accepted = (label != IGNORE) & (confidence >= self.threshold)
        is_label = jax.nn.one_hot(label, q.shape[-1], dtype=bool)
        unlikely = (q < self.negative_threshold) & ~is_label & (label != IGNORE)[..., None]
        dice, skipped = dice_of_accepted(output.logits, label, self.least)
        return output, {
            "positive": confident_cross_entropy(output.logits, label, confidence, accepted),
            "negative": negative_cross_entropy(output.logits, unlikely),
            "dice": dice,
            "skipped_classes": skipped,
        }

    def translated(
        self, look: Look, valid: jax.Array, shift: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Divergence of the moved view's prediction from that of the image, and the mean entropy of
        both, over the pixels that both show.
        """
        p = jax.nn.softmax(move(look.plain.logits, shift))
        p_moved = jax.nn.softmax(look.moved.logits)
        both = move(valid, shift)
        apart = masked_mean(divergence(p_moved, p), both)
        unsure = masked_mean(0.5 * terms.entropy(p) + 0.5 * terms.entropy(p_moved), both)
        return apart, unsure


def move(x: jax.Array, shift: jax.Array) -> jax.Array:
    """``x (B, *space, …)`` with each image moved by whole pixels ``shift (B, axes)``; what moves in
    from outside is 0.

    >>> move(jnp.array([[1, 2, 3], [4, 5, 6]]), jnp.array([[1], [-2]])).tolist()
    [[0, 1, 2], [6, 0, 0]]
    """
    return jax.vmap(_move_one)(x, shift)


def _move_one(x: jax.Array, shift: jax.Array) -> jax.Array:
    for axis in range(len(shift)):
        place = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis) - shift[axis]
        is_inside = (place >= 0) & (place < x.shape[axis])
        x = jnp.where(is_inside, jnp.roll(x, shift[axis], axis), jnp.zeros((), x.dtype))
    return x


def confident_cross_entropy(
    logits: jax.Array,
    label: jax.Array,
    confidence: jax.Array,
    accepted: jax.Array,
) -> jax.Array:
    """Mean of confidence · -log p(label) over the ``accepted (B, *space)`` pixels; 0 where there is
    none.

    >>> logits, label = jnp.zeros((1, 2, 2)), jnp.array([[0, 1]])
    >>> given = jnp.array([[0.5, 0.9]]), jnp.array([[True, False]])
    >>> value = confident_cross_entropy(logits, label, *given)
    >>> f"{value:.3f} = 0.5 ln 2"
    '0.347 = 0.5 ln 2'
    """
    known = jnp.where(accepted, label, 0)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), known[..., None], -1)[..., 0]
    return masked_mean(-confidence * log_p, accepted)


def negative_cross_entropy(logits: jax.Array, unlikely: jax.Array) -> jax.Array:
    """Mean of -log(1 - p_k) over the pixels and classes of ``unlikely (B, *space, K)`` bool; 0
    where there is none.

    >>> value = negative_cross_entropy(jnp.zeros((1, 1, 2)), jnp.array([[[False, True]]]))
    >>> f"{value:.3f} = ln 2"
    '0.693 = ln 2'
    """
    rest = jnp.maximum(1 - jax.nn.softmax(logits), 1e-6)
    return masked_mean(-jnp.log(rest), unlikely)


def taught_probability(guess: Guess) -> jax.Array:
    """The probability ``(U, *space, K)`` of a guess; a pixel that the largest component leaves out
    is background.
    """
    is_left = guess.label == guess.probability.argmax(-1)
    background = jax.nn.one_hot(jnp.zeros_like(guess.label), guess.probability.shape[-1])
    is_left |= guess.label == IGNORE
    return jnp.where(is_left[..., None], guess.probability, background)
