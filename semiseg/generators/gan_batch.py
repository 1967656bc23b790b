"""What a step of a fit is made of: what is compiled in, what is traced, and a batch of real and of
painted pairs.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from semiseg import devices
from semiseg.fields import number
from semiseg.generators.blocks import one_hot
from semiseg.types import PyTree, hyper

GROUP = 4
"""A batch is a multiple of this: half of it reconstructs, the rest are pairs of one mask."""
DRAWN = 10
"""Uniform numbers that an image of :func:`draw` takes."""


@dataclasses.dataclass(frozen=True)
class Program:
    """What is compiled in.

    Attributes:
      generator: see :data:`semiseg.generators.GENERATORS`.
      discriminator: see :data:`semiseg.generators.discriminators.DISCRIMINATORS`.
      image_size: side of the images, pixels.
      channels: of the images.
      classes: of the masks, with the regions of the background.
      batch: images a step takes a gradient on.
      adversarial: the adversarial loss, hinge or bce.
      unconditional: whether there is a discriminator of all real images beside that of the pairs.
      r1_every: steps between two gradient penalties.
    """

    generator: Any
    discriminator: Any
    image_size: int
    channels: int
    classes: int
    batch: int
    adversarial: str = "hinge"
    unconditional: bool = True
    r1_every: int = 16

    def mesh(self) -> jax.sharding.Mesh:
        """The devices that a batch is cut over, in parts that are multiples of :data:`GROUP`."""
        return devices.mesh(self.batch // GROUP)


@hyper
class Knobs:
    """What is traced: a sweep over these shares one program.

    Attributes:
      lr_g: learning rate of the generator; constant for the first half of the steps, then falling
        to 0.
      lr_d: learning rate of the discriminators.
      b1: Adam's first decay rate.
      b2: Adam's second decay rate.
      feature: weight of feature matching, on images painted with their own style.
      l1: weight of their mean absolute error, classes balanced.
      kl: weight of the style code's KL from N(0, 1).
      latent: weight of recovering the style from the painted image (Zhu et al., NeurIPS 2017).
      diversity: weight of the mode-seeking term.
      spread: how much two styles of one mask should differ, as a share of how much real images do.
      unconditional: weight of fooling the discriminator of all real images.
      pair_gradient: share of the pair discriminator's gradient that reaches the image; at 0 only
        its mask learns (joint generator: always 0).
      r1: weight of the gradient penalty.
      ema: decay of the average of the generator's weights, which is what samples.
      move: strength of DiffAugment's geometry.
      grey: strength of its grey values.
      flip: probability of mirroring a pair along each axis; 0 where left is not right.
      turn: probability of exchanging its axes.
      pseudo: share of pairs whose masks come from a teacher, where there are such.
      steps: of the whole fit, for the fall of the learning rates.
    """

    lr_g: float = number(3e-4, at_least=0)
    lr_d: float = number(6e-4, at_least=0)
    b1: float = number(0.0, within=(0, 1))
    b2: float = number(0.9, within=(0, 1))
    feature: float = number(10.0, at_least=0)
    l1: float = number(10.0, at_least=0)
    kl: float = number(0.02, at_least=0)
    latent: float = number(0.5, at_least=0)
    diversity: float = number(2.0, at_least=0)
    spread: float = number(0.5, at_least=0)
    unconditional: float = number(0.5, at_least=0)
    pair_gradient: float = number(1.0, within=(0, 1))
    r1: float = number(1.0, at_least=0)
    ema: float = number(0.999, within=(0, 1))
    move: float = number(1.0, at_least=0)
    grey: float = number(1.0, at_least=0)
    flip: float = number(0.5, within=(0, 1))
    turn: float = number(0.5, within=(0, 1))
    pseudo: float = number(0.0, within=(0, 1))
    steps: float = number(1.0, above=0)


class Data(NamedTuple):
    """What a generator may see.

    Attributes:
      image_NHWC: uint8.
      label_NHW: uint8; IGNORE for every image outside the label budget that has no teacher's mask.
      labelled_N: int32 indices of the budget's pairs, padded by repetition.
      labelled_count: how many these are.
      pseudo_N: int32 indices of images with a teacher's mask, padded.
      pseudo_count: how many these are.
      weight_N: float32: how much each pair counts; 1 for the budget's own.
    """

    image_NHWC: jax.Array
    label_NHW: jax.Array
    labelled_N: jax.Array
    labelled_count: jax.Array
    pseudo_N: jax.Array
    pseudo_count: jax.Array
    weight_N: jax.Array


class Drawn(NamedTuple):
    """A step's real images.

    Attributes:
      image: ``(B, H, W, C)`` of the pairs, in [-1, 1].
      mask: ``(B, H, W, K)`` one-hot.
      weight: ``(B,)``: how much each pair counts.
      other: ``(B, H, W, C)``, any real images, in [-1, 1].
    """

    image: jax.Array
    mask: jax.Array
    weight: jax.Array
    other: jax.Array


class Painted(NamedTuple):
    """What a generator makes of a batch; its gradient goes through all of it.

    Attributes:
      image: ``(B, H, W, C)`` in [-1, 1]. The first half has the style of its own real image; of
        the second half every two follow one mask.
      mask: ``(B, H, W, K)`` one-hot.
      mean: ``(B / 2, Z)``, mean of the style of the first half.
      logvar: ``(B / 2, Z)``, its log-variance.
    """

    image: jax.Array
    mask: jax.Array
    mean: jax.Array
    logvar: jax.Array


class Conditions(NamedTuple):
    """What a batch was painted from; no gradient goes through it.

    Attributes:
      code: ``(B, Z)``, the styles.
      weight: ``(B,)``: how much each mask counts.
    """

    code: jax.Array
    weight: jax.Array


def unit(image: jax.Array) -> jax.Array:
    """uint8 → [-1, 1].

    >>> unit(jnp.uint8([0, 255])).tolist()
    [-1.0, 1.0]
    """
    return image.astype(jnp.float32) * (1 / 127.5) - 1.0


def pick(u: jax.Array, count: jax.Array | int) -> jax.Array:
    """Indices below ``count`` for uniform numbers in [0, 1); their product with the count may round
    up to it.

    >>> pick(jnp.array([0.0, 0.5, 0.99]), 4).tolist()
    [0, 2, 3]
    """
    return jnp.minimum(jnp.floor(u * count).astype(jnp.int32), count - 1)


def draw(
    program: Program,
    knobs: Knobs,
    data: Data,
    u: jax.Array,
) -> Drawn:
    """Pairs of the budget (or of the teacher), and other real images, labelled or not.

    Args:
      program: what is compiled in.
      knobs: what is traced.
      data: images, masks and which of them may be paired.
      u: ``(B, DRAWN)``, uniform in [0, 1).
    """
    of_labelled = pick(u[:, 0], data.labelled_count)
    real = data.labelled_N[of_labelled]
    of_taught = pick(u[:, 1], jnp.maximum(data.pseudo_count, 1))
    taught = data.pseudo_N[of_taught]
    is_taught = (u[:, 2] < knobs.pseudo) & (data.pseudo_count > 0)
    pair = jnp.where(is_taught, taught, real)
    other = pick(u[:, 3], len(data.image_NHWC))
    chosen = jnp.concatenate([pair, other])
    image = data.image_NHWC[chosen]
    label = data.label_NHW[chosen][..., None]
    turns = jnp.concatenate([u[:, 4:7], u[:, 7:10]])
    changes = (
        (1, 0, knobs.flip),
        (2, 1, knobs.flip),
        (0, 2, knobs.turn),
    )
    for axis, column, chance in changes:
        changed = turns[:, column] < chance
        image = _mirrored(image, axis, changed)
        label = _mirrored(label, axis, changed)
    b = len(u)
    return Drawn(
        unit(image[:b]),
        one_hot(label[:b, ..., 0], program.classes),
        data.weight_N[pair],
        unit(image[b:]),
    )


def _mirrored(x: jax.Array, axis: int, changed: jax.Array) -> jax.Array:
    """``(B, H, W, C)`` with the ``changed`` ones mirrored along ``axis``; 0 exchanges the axes."""
    mirrored = jnp.flip(x, axis) if axis else x.swapaxes(1, 2)
    return jnp.where(changed[:, None, None, None], mirrored, x)


def paint(
    program: Program,
    weights: PyTree,
    real: Drawn,
    normal: jax.Array,
) -> tuple[Painted, Conditions]:
    """A batch of fakes.

    The first half reconstructs: a style is drawn as the sum of its mean and deviation times a
    normal number (Kingma & Welling 2014). In the second half a mask has two styles each, a random
    one and one of another image. The two share their noise, so that what is asked to differ is the
    style, and noise stays what fine texture is made of.

    Args:
      program: what is compiled in.
      weights: of the generator.
      real: the batch of real pairs.
      normal: ``(B, 2 Z + noises)``, normal numbers.
    """
    generator = program.generator
    half = len(real.image) // 2
    free = half // 2
    z = generator.style

    def twice(x: jax.Array) -> jax.Array:
        return jnp.concatenate([x[:half], jnp.repeat(x[half : half + free], 2, 0)])

    image = real.image[:half]
    mean, logvar = generator.encode(weights, image, real.mask[:half])
    prior = normal[:, z : 2 * z]
    noise = normal[:, 2 * z :]
    code = mean + jnp.exp(0.5 * logvar) * normal[:half, :z]
    if generator.joint:
        code = prior
    else:
        other_style = jax.lax.stop_gradient(code[:free])
        styles = jnp.stack([prior[:free], other_style], 1).reshape(half, z)
        noise = twice(noise)
        code = jnp.concatenate([code, styles])
    image, mask = generator.apply(weights, twice(real.mask), code, noise)
    conditions = Conditions(jax.lax.stop_gradient(code), twice(real.weight))
    return Painted(image, mask, mean, logvar), conditions
