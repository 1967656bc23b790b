"""The one compiled program that trains a generator: a chunk of steps with both optimisers, so that
a fit is a few calls of one executable.

A step paints one batch of fakes and uses it twice, first to step the discriminators, then, through
the stepped ones, for the generator's gradient. Half of the batch is painted with the style of its
own image (and should look like it), half with other styles, two for each mask (which should differ
from each other).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from semiseg import devices
from semiseg.generators import diffaug, losses
from semiseg.generators.blocks import one_hot
from semiseg.types import Params, PyTree, hyper


@dataclasses.dataclass(frozen=True)
class Program:
    """What is compiled in.

    ``unconditional`` is whether there is a discriminator of all real images beside that of the
    pairs; ``r1_every`` the steps between two penalties.
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
        """The devices a batch is cut over, in parts that are multiples of 4: halves that
        reconstruct, and pairs in the other halves.
        """
        return devices.mesh(self.batch // 4)


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

    lr_g: float = 3e-4
    lr_d: float = 6e-4
    b1: float = 0.0
    b2: float = 0.9
    feature: float = 10.0
    l1: float = 10.0
    kl: float = 0.02
    latent: float = 0.5
    diversity: float = 2.0
    spread: float = 0.5
    unconditional: float = 0.5
    pair_gradient: float = 1.0
    r1: float = 1.0
    ema: float = 0.999
    move: float = 1.0
    grey: float = 1.0
    flip: float = 0.5
    turn: float = 0.5
    pseudo: float = 0.0
    steps: float = 1.0


class Data(NamedTuple):
    """What a generator may see. ``label_NHW`` holds IGNORE for every image outside the label budget
    that has no teacher's mask.
    """

    image_NHWC: jax.Array  # uint8
    label_NHW: jax.Array  # uint8
    labelled_N: jax.Array  # int32, padded by repetition
    labelled_count: jax.Array
    pseudo_N: jax.Array  # images with a teacher's mask, padded
    pseudo_count: jax.Array
    weight_N: jax.Array  # float32: how much each pair counts; 1 for the budget's own


class State(NamedTuple):
    """Everything a fit needs to go on."""

    g: PyTree
    ema: PyTree
    d: Params
    u: Params
    opt_g: PyTree
    opt_d: PyTree
    step: jax.Array


def unit(image: jax.Array) -> jax.Array:
    """uint8 → [-1, 1]."""
    return image.astype(jnp.float32) * (1 / 127.5) - 1.0


@functools.partial(jax.jit, static_argnums=0)
def start(program: Program, seed: jax.Array) -> State:
    """Fresh state."""
    k_g, k_d, k_u = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0), 3)
    g = program.generator.init(k_g, program.channels, program.classes, program.image_size)
    d = program.discriminator.init(k_d, program.channels, program.classes)
    u = (
        program.discriminator.init(k_u, program.channels, 0)
        if program.unconditional
        else Params({}, {})
    )
    adam = optax.scale_by_adam()
    return State(g, g, d, u, adam.init(g), adam.init((d.weights, u.weights)), jnp.int32(0))


class Drawn(NamedTuple):
    """A step's real images."""

    image: jax.Array  # (B, H, W, C) of the pairs, in [-1, 1]
    mask: jax.Array  # (B, H, W, K) one-hot
    weight: jax.Array  # (B,)
    other: jax.Array  # (B, H, W, C) any real image


def draw(program: Program, knobs: Knobs, data: Data, u: jax.Array) -> Drawn:
    """Pairs of the budget (or of the teacher), and other real images, labelled or not, from uniform
    numbers ``(B, 10)``.
    """
    pick = lambda x, count: jnp.minimum(
        jnp.floor(x * count).astype(jnp.int32), count - 1
    )  # x < 1, but its product may round up
    real = data.labelled_N[pick(u[:, 0], data.labelled_count)]
    taught = data.pseudo_N[pick(u[:, 1], jnp.maximum(data.pseudo_count, 1))]
    pair = jnp.where((u[:, 2] < knobs.pseudo) & (data.pseudo_count > 0), taught, real)
    chosen = jnp.concatenate([pair, pick(u[:, 3], len(data.image_NHWC))])
    image, label = data.image_NHWC[chosen], data.label_NHW[chosen][..., None]
    turns = jnp.concatenate([u[:, 4:7], u[:, 7:10]])
    for axis, chance in (
        (1, turns[:, 0] < knobs.flip),
        (2, turns[:, 1] < knobs.flip),
        (0, turns[:, 2] < knobs.turn),
    ):
        turned = lambda x, a=axis, c=chance: jnp.where(
            c[:, None, None, None], jnp.flip(x, a) if a else x.swapaxes(1, 2), x
        )
        image, label = turned(image), turned(label)
    b = len(u)
    return Drawn(
        unit(image[:b]),
        one_hot(label[:b, ..., 0], program.classes),
        data.weight_N[pair],
        unit(image[b:]),
    )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def chunk(
    program: Program, knobs: Knobs, seed: jax.Array, data: Data, state: State, until: jax.Array
) -> tuple[State, dict[str, jax.Array]]:
    """Train up to step ``until`` (traced); returns the metrics' means over the steps taken.

    Each device trains its part of the batch, drawn by itself, and gradients are averaged. That is
    written out (``shard_map``) because a step cuts, repeats and joins batches, which the automatic
    partitioner turns into exchanges of images.
    """
    mesh = program.mesh()
    copied = jax.sharding.PartitionSpec()

    def several(knobs: Knobs, seed: jax.Array, data: Data, state: State, until: jax.Array):
        base = jax.random.fold_in(
            jax.random.fold_in(jax.random.key(seed), 1), jax.lax.axis_index("data")
        )
        one = lambda state: step(
            program,
            knobs,
            data,
            state,
            jax.random.fold_in(base, state.step),
            program.batch // mesh.size,
        )
        zero = jax.tree.map(lambda m: jnp.zeros(m.shape), jax.eval_shape(one, state)[1])

        def body(_, carry):
            state, total = carry
            state, metrics = one(state)
            return state, jax.tree.map(jnp.add, total, metrics)

        n = until - state.step
        state, total = jax.lax.fori_loop(0, n, body, (state, zero))
        return state, jax.tree.map(lambda t: t / n, total)

    return jax.shard_map(several, mesh=mesh, in_specs=copied, out_specs=copied, check_vma=False)(
        knobs, seed, data, state, until
    )


def step(
    program: Program, knobs: Knobs, data: Data, state: State, key: jax.Array, b: int
) -> tuple[State, dict[str, jax.Array]]:
    """One step of the discriminators, then one of the generator, on ``b`` images of each device."""
    together = lambda tree: jax.lax.pmean(tree, "data")
    size, style = program.image_size, program.generator.style
    # few and large draws: each call of the generator of random numbers costs half a second of
    # compiling
    k_uniform, k_normal = jax.random.split(key)
    uniform = jax.random.uniform(k_uniform, (b, 10 + 2 * diffaug.NUMBERS))
    normal = jax.random.normal(k_normal, (b, 2 * style + program.generator.noises(size)))
    real = draw(program, knobs, data, uniform[:, :10])
    how, how_other = (
        diffaug.draw(2 * v - 1, size, knobs.move, knobs.grey)
        for v in jnp.split(uniform[:, 10:], 2, 1)
    )
    (fake, made, mean, logvar), pull, (code, weight) = jax.vjp(
        lambda g: _paint(program, g, real, normal), state.g, has_aux=True
    )

    adam = optax.scale_by_adam(b1=knobs.b1, b2=knobs.b2)
    fall = jnp.minimum(1.0, 2.0 * (1.0 - state.step / knobs.steps))
    still = jax.lax.stop_gradient
    d, u = (program.discriminator.power(p) for p in (state.d, state.u))
    tell = lambda w: _told(
        program,
        d._replace(weights=w[0]),
        u._replace(weights=w[1]),
        real,
        still(fake),
        still(made),
        weight,
        how,
        how_other,
    )
    weights = (d.weights, u.weights)
    gradient, told = jax.grad(tell, has_aux=True)(weights)
    penalty, extra = jax.lax.cond(
        state.step % program.r1_every == 0,
        lambda w: _penalty(program, w, d, u, real),
        lambda w: (jnp.float32(0), jax.tree.map(jnp.zeros_like, w)),
        weights,
    )
    gradient = together(
        jax.tree.map(lambda a, e: a + knobs.r1 * program.r1_every * e, gradient, extra)
    )
    direction, opt_d = adam.update(gradient, state.opt_d)
    new_d, new_u = jax.tree.map(lambda w, s: w - knobs.lr_d * fall * s, weights, direction)
    d, u = d._replace(weights=new_d), u._replace(weights=new_u)

    def fool(fake: jax.Array, made: jax.Array, mean: jax.Array, logvar: jax.Array):
        return _fooled(
            program, knobs, state.g, d, u, real, fake, made, mean, logvar, code, weight, how
        )

    pushed, fooled = jax.grad(fool, (0, 1, 2, 3), has_aux=True)(fake, made, mean, logvar)
    gradient_g = together(pull(pushed)[0])
    direction, opt_g = adam.update(gradient_g, state.opt_g)
    g = jax.tree.map(lambda w, s: w - knobs.lr_g * fall * s, state.g, direction)
    decay = jnp.minimum(knobs.ema, (1.0 + state.step) / (10.0 + state.step))
    ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema, g)
    metrics = together({**told, **fooled, "r1": penalty * program.r1_every})
    metrics |= {"gradient_g": losses.norm(gradient_g), "gradient_d": losses.norm(gradient)}
    return State(g, ema, d, u, opt_g, opt_d, state.step + 1), metrics


def _paint(program: Program, g: PyTree, real: Drawn, normal: jax.Array):
    """Fakes of a batch: ``((image, mask, mean, logvar), (codes, weights of the pairs))``; the first
    half reconstructs.
    """
    own, z = len(real.image) // 2, program.generator.style
    mean, logvar = program.generator.encode(g, real.image[:own], real.mask[:own])
    prior, noise = normal[:, z : 2 * z], normal[:, 2 * z :]
    code = mean + jnp.exp(0.5 * logvar) * normal[:own, :z]  # Kingma & Welling 2014
    free = own // 2  # masks with two styles each: a random one, and one of another image
    pairs = jnp.stack([prior[:free], jax.lax.stop_gradient(code[:free])], 1).reshape(own, z)
    # noise is shared by the two, so that what is asked to differ is the style, and noise stays what
    # fine texture is made of
    noise = (
        jnp.concatenate([noise[:own], jnp.repeat(noise[own : own + free], 2, 0)])
        if not program.generator.joint
        else noise
    )
    twice = lambda x: jnp.concatenate([x[:own], jnp.repeat(x[own : own + free], 2, 0)])
    code = prior if program.generator.joint else jnp.concatenate([code, pairs])
    fake, made = program.generator.apply(g, twice(real.mask), code, noise)
    return (fake, made, mean, logvar), (jax.lax.stop_gradient(code), twice(real.weight))


def _nothing(image: jax.Array) -> jax.Array:
    return jnp.zeros((*image.shape[:-1], 0))


def _told(
    program: Program, d: Params, u: Params, real: Drawn, fake, made, weight, how, how_other
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The discriminators' loss."""
    kind, judge, b = program.adversarial, program.discriminator, len(fake)
    both = lambda a, c: [jnp.concatenate(z) for z in zip(a, c)]
    real_mask, real_image = diffaug.apply(how, real.mask, real.image)
    fake_mask, fake_image = diffaug.apply(how, made, fake)
    logits, _ = judge.apply(d, *both((real_mask, real_image), (fake_mask, fake_image)))
    real_logits, fake_logits = [y[:b] for y in logits], [y[b:] for y in logits]
    loss = losses.weighted(
        judge.told(kind, real_logits, fake_logits, real_mask, fake_mask),
        0.5 * (real.weight + weight),
    )
    metrics = {
        "d_pair": loss,
        "d_real": judge.score(real_logits).mean(),
        "d_fake": judge.score(fake_logits).mean(),
    }
    if program.unconditional:
        empty, other = diffaug.apply(how_other, _nothing(real.other), real.other)
        logits, _ = judge.apply(u, *both((empty, other), (empty, fake_image)))
        loss_u = judge.told(
            kind, [y[:b] for y in logits], [y[b:] for y in logits], empty, empty
        ).mean()
        metrics["d_image"] = loss_u
        loss = loss + loss_u
    return loss, metrics


def _penalty(
    program: Program, weights: PyTree, d: Params, u: Params, real: Drawn
) -> tuple[jax.Array, PyTree]:
    """R1 of both discriminators, at real images as they are."""
    judge = program.discriminator
    often = lambda mask, x: jnp.tile(mask, (len(x) // len(mask), 1, 1, 1))
    score = lambda p, mask: (
        lambda w, x: judge.score(judge.apply(p._replace(weights=w), often(mask, x), x)[0])
    )
    value, slope = losses.gradient_penalty(score(d, real.mask), weights[0], real.image)
    if not program.unconditional:
        return value, (slope, weights[1])
    value_u, slope_u = losses.gradient_penalty(
        score(u, _nothing(real.other)), weights[1], real.other
    )
    return value + value_u, (slope, slope_u)


def _fooled(
    program: Program,
    knobs: Knobs,
    g,
    d: Params,
    u: Params,
    real: Drawn,
    fake,
    made,
    mean,
    logvar,
    code,
    weight,
    how,
):
    """The generator's loss, in what it painted; every network but the generator is a constant."""
    kind, judge, gen, own = (
        program.adversarial,
        program.discriminator,
        program.generator,
        len(fake) // 2,
    )
    still = jax.lax.stop_gradient
    apart = (
        jnp.abs(real.image - jnp.roll(real.image, 1, 0)).mean() + 1e-6
    )  # how much real images differ
    share = 0.0 if gen.joint else knobs.pair_gradient
    seen_mask, seen = diffaug.apply(how, made, share * fake + (1 - share) * still(fake))
    wanted = [x[:own] for x in diffaug.apply(how, real.mask, real.image)]
    logits, features = judge.apply(
        d, jnp.concatenate([seen_mask, wanted[0]]), jnp.concatenate([seen, wanted[1]])
    )
    logits = [y[: 2 * own] for y in logits]
    parts = {"pair": losses.weighted(judge.fooled(kind, logits, seen_mask), weight)}
    total = parts["pair"]
    if program.unconditional:
        empty, image = diffaug.apply(how, _nothing(fake), fake)
        parts["image"] = judge.fooled(kind, judge.apply(u, empty, image)[0], empty).mean()
        total += knobs.unconditional * parts["image"]
    if not gen.joint:
        matched = losses.feature_matching(
            [f[2 * own :] for f in features], [f[:own] for f in features]
        )
        parts["feature"] = losses.weighted(matched, weight[:own])
        parts["l1"] = losses.weighted(
            losses.l1(fake[:own], real.image[:own], real.mask[:own]), weight[:own]
        )
        parts["kl"] = losses.weighted(losses.kl(mean, logvar), weight[:own])
        parts["latent"] = jnp.abs(
            gen.encode(still(g), fake[own:], made[own:])[0] - code[own:]
        ).mean()
        total += (
            knobs.feature * parts["feature"]
            + knobs.l1 * parts["l1"]
            + knobs.kl * parts["kl"]
            + knobs.latent * parts["latent"]
        )
        foreground = made[own::2, ..., 1:].sum(-1, keepdims=True)
        parts["mode_seeking"] = losses.mode_seeking(
            fake[own::2], fake[own + 1 :: 2], foreground, knobs.spread * apart
        ).mean()
        total += knobs.diversity * parts["mode_seeking"]
    parts["diversity"] = still(jnp.abs(fake[own::2] - fake[own + 1 :: 2]).mean() / apart)
    return total, {"loss": total, **parts}
