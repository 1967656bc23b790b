"""What discriminators and generator minimise in a step, as sums of the terms of
:mod:`semiseg.generators.losses`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from semiseg.generators import diffaug, losses
from semiseg.generators.gan_batch import Conditions, Drawn, Knobs, Painted, Program
from semiseg.types import Params, PyTree

Terms = dict[str, jax.Array]
"""Scalars that metrics.jsonl shows, by name."""


class Judges(NamedTuple):
    """The discriminators.

    Attributes:
      pair: of masks with their images.
      image: of images alone; empty without one.
    """

    pair: Params
    image: Params


class Views(NamedTuple):
    """How DiffAugment changes what the discriminators see.

    Attributes:
      pair: of the pairs, real and painted.
      other: of the other real images.
    """

    pair: diffaug.Draw
    other: diffaug.Draw


def no_mask(image: jax.Array) -> jax.Array:
    """``(B, H, W, 0)``: the mask that the discriminator of images alone sees.

    >>> no_mask(jnp.zeros((2, 8, 8, 1))).shape
    (2, 8, 8, 0)
    """
    return jnp.zeros((*image.shape[:-1], 0))


def discriminator_loss(
    program: Program,
    judges: Judges,
    real: Drawn,
    fake: Painted,
    conditions: Conditions,
    views: Views,
) -> tuple[jax.Array, Terms]:
    """The discriminators' loss; ``fake`` is a constant."""
    kind = program.adversarial
    judge = program.discriminator
    b = len(fake.image)
    real_mask, real_image = diffaug.apply(views.pair, real.mask, real.image)
    fake_mask, fake_image = diffaug.apply(views.pair, fake.mask, fake.image)
    logits, _ = judge.apply(
        judges.pair,
        jnp.concatenate([real_mask, fake_mask]),
        jnp.concatenate([real_image, fake_image]),
    )
    real_logits = [y[:b] for y in logits]
    fake_logits = [y[b:] for y in logits]
    each = judge.discriminator_loss(kind, real_logits, fake_logits, real_mask, fake_mask)
    loss = losses.weighted(each, 0.5 * (real.weight + conditions.weight))
    terms = {
        "d_pair": loss,
        "d_real": judge.score(real_logits).mean(),
        "d_fake": judge.score(fake_logits).mean(),
    }
    if program.unconditional:
        empty, other = diffaug.apply(views.other, no_mask(real.other), real.other)
        logits, _ = judge.apply(
            judges.image,
            jnp.concatenate([empty, empty]),
            jnp.concatenate([other, fake_image]),
        )
        real_logits = [y[:b] for y in logits]
        fake_logits = [y[b:] for y in logits]
        each = judge.discriminator_loss(kind, real_logits, fake_logits, empty, empty)
        terms["d_image"] = each.mean()
        loss = loss + terms["d_image"]
    return loss, terms


def penalty(
    program: Program,
    weights: tuple[PyTree, PyTree],
    judges: Judges,
    real: Drawn,
) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
    """R1 of both discriminators, at real images as they are: its value, and its gradient in
    ``weights``, see :func:`semiseg.generators.losses.gradient_penalty`.
    """
    judge = program.discriminator

    def pair_score(w: PyTree, x: jax.Array) -> jax.Array:
        return judge.score(judge.apply(judges.pair._replace(weights=w), _tiled(real.mask, x), x)[0])

    def image_score(w: PyTree, x: jax.Array) -> jax.Array:
        empty = _tiled(no_mask(real.other), x)
        return judge.score(judge.apply(judges.image._replace(weights=w), empty, x)[0])

    value, slope = losses.gradient_penalty(pair_score, weights[0], real.image)
    if not program.unconditional:
        return value, (slope, weights[1])
    value_image, slope_image = losses.gradient_penalty(image_score, weights[1], real.other)
    return value + value_image, (slope, slope_image)


def _tiled(mask: jax.Array, x: jax.Array) -> jax.Array:
    """``mask`` repeated to as many as there are images in ``x``."""
    return jnp.tile(mask, (len(x) // len(mask), 1, 1, 1))


def generator_loss(
    program: Program,
    knobs: Knobs,
    weights: PyTree,
    judges: Judges,
    real: Drawn,
    fake: Painted,
    conditions: Conditions,
    view: diffaug.Draw,
) -> tuple[jax.Array, Terms]:
    """The generator's loss, in what it painted; the networks are constants."""
    kind = program.adversarial
    judge = program.discriminator
    half = len(fake.image) // 2
    still = jax.lax.stop_gradient
    real_difference = jnp.abs(real.image - jnp.roll(real.image, 1, 0)).mean() + 1e-6
    joint = program.generator.joint
    share = 0.0 if joint else knobs.pair_gradient
    mask, image = diffaug.apply(
        view, fake.mask, share * fake.image + (1 - share) * still(fake.image)
    )
    real_mask, real_image = diffaug.apply(view, real.mask, real.image)
    logits, features = judge.apply(
        judges.pair,
        jnp.concatenate([mask, real_mask[:half]]),
        jnp.concatenate([image, real_image[:half]]),
    )
    logits = [y[: 2 * half] for y in logits]
    fooled = judge.generator_loss(kind, logits, mask)
    terms = {"pair": losses.weighted(fooled, conditions.weight)}
    total = terms["pair"]
    if program.unconditional:
        empty, image = diffaug.apply(view, no_mask(fake.image), fake.image)
        logits, _ = judge.apply(judges.image, empty, image)
        terms["image"] = judge.generator_loss(kind, logits, empty).mean()
        total += knobs.unconditional * terms["image"]
    if not joint:
        terms |= _style_terms(
            program,
            knobs,
            weights,
            real,
            fake,
            conditions,
            features,
            real_difference,
        )
        total += (
            knobs.feature * terms["feature"]
            + knobs.l1 * terms["l1"]
            + knobs.kl * terms["kl"]
            + knobs.latent * terms["latent"]
        )
        total += knobs.diversity * terms["mode_seeking"]
    difference = jnp.abs(fake.image[half::2] - fake.image[half + 1 :: 2]).mean()
    terms["diversity"] = still(difference / real_difference)
    return total, {"loss": total, **terms}


def _style_terms(
    program: Program,
    knobs: Knobs,
    weights: PyTree,
    real: Drawn,
    fake: Painted,
    conditions: Conditions,
    features: list[jax.Array],
    real_difference: jax.Array,
) -> Terms:
    """Terms that a generator with given masks has: of reconstruction, and of the style code.

    Args:
      features: of the pair discriminator, ``(3 B / 2, h, w, F)`` each: of the painted images, then
        of the first half of the real ones.
      real_difference: mean absolute difference of two real images.
      program, knobs, weights, real, fake, conditions: as in :func:`generator_loss`.
    """
    half = len(fake.image) // 2
    weight = conditions.weight[:half]
    of_real = [f[2 * half :] for f in features]
    of_reconstructed = [f[:half] for f in features]
    matched = losses.feature_matching(of_real, of_reconstructed)
    difference = losses.l1(fake.image[:half], real.image[:half], real.mask[:half])
    constant = jax.lax.stop_gradient(weights)
    style, _ = program.generator.encode(constant, fake.image[half:], fake.mask[half:])
    foreground = fake.mask[half::2, ..., 1:].sum(-1, keepdims=True)
    one = fake.image[half::2]
    two = fake.image[half + 1 :: 2]
    alike = losses.mode_seeking(one, two, foreground, knobs.spread * real_difference)
    return {
        "feature": losses.weighted(matched, weight),
        "l1": losses.weighted(difference, weight),
        "kl": losses.weighted(losses.kl(fake.mean, fake.logvar), weight),
        "latent": jnp.abs(style - conditions.code[half:]).mean(),
        "mode_seeking": alike.mean(),
    }
