"""The one compiled program that trains a generator: a chunk of steps with both optimisers, so that
a fit is a few calls of one executable.

A step paints one batch of fakes and uses it twice, first to step the discriminators, then, through
the stepped ones, for the generator's gradient. Half of the batch is painted with the style of its
own image (and should look like it), half with other styles, two for each mask (which should differ
from each other).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from semiseg.generators import diffaug, gan_losses, losses
from semiseg.generators.gan_batch import (
    DRAWN,
    Conditions,
    Data,
    Drawn,
    Knobs,
    Painted,
    Program,
    draw,
    paint,
)
from semiseg.generators.gan_losses import Judges, Terms, Views
from semiseg.types import Params, PyTree


class State(NamedTuple):
    """Everything that a fit needs to go on.

    Attributes:
      g: weights of the generator.
      ema: their exponential moving average, which is what samples.
      d: discriminator of pairs.
      u: discriminator of images alone.
      opt_g: Adam's state for the generator.
      opt_d: Adam's state for both discriminators.
      step: int32, steps done.
    """

    g: PyTree
    ema: PyTree
    d: Params
    u: Params
    opt_g: PyTree
    opt_d: PyTree
    step: jax.Array


@functools.partial(jax.jit, static_argnums=0)
def start(program: Program, seed: jax.Array) -> State:
    """The initial state."""
    key = jax.random.fold_in(jax.random.key(seed), 0)
    k_g, k_d, k_u = jax.random.split(key, 3)
    g = program.generator.init(k_g, program.channels, program.classes, program.image_size)
    d = program.discriminator.init(k_d, program.channels, program.classes)
    u = Params({}, {})
    if program.unconditional:
        u = program.discriminator.init(k_u, program.channels, 0)
    adam = optax.scale_by_adam()
    opt_g = adam.init(g)
    opt_judges = adam.init((d.weights, u.weights))
    return State(
        g,
        g,
        d,
        u,
        opt_g,
        opt_judges,
        jnp.int32(0),
    )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def chunk(
    program: Program,
    knobs: Knobs,
    seed: jax.Array,
    data: Data,
    state: State,
    until: jax.Array,
) -> tuple[State, Terms]:
    """Train up to step ``until`` (traced).

    Each device trains its part of the batch, drawn by itself, and gradients are averaged. That is
    written out (``shard_map``) because a step cuts, repeats and joins batches, which the automatic
    partitioner turns into exchanges of images.

    Args:
      program: what is compiled in.
      knobs: what is traced.
      seed: uint32 scalar.
      data: what the generator may see.
      state: the state before; its buffers are donated.
      until: int32 scalar, above the state's step.

    Returns:
      The state after, and the metrics' means over the steps taken.
    """
    mesh = program.mesh()
    copied = jax.sharding.PartitionSpec()
    b = program.batch // mesh.size

    def several(
        knobs: Knobs,
        seed: jax.Array,
        data: Data,
        state: State,
        until: jax.Array,
    ) -> tuple[State, Terms]:
        of_seed = jax.random.fold_in(jax.random.key(seed), 1)
        of_device = jax.random.fold_in(of_seed, jax.lax.axis_index("data"))

        def one(state: State) -> tuple[State, Terms]:
            key = jax.random.fold_in(of_device, state.step)
            return step(
                program,
                knobs,
                data,
                state,
                key,
                b,
            )

        def body(_: jax.Array, carry: tuple[State, Terms]) -> tuple[State, Terms]:
            state, total = carry
            state, metrics = one(state)
            return state, jax.tree.map(jnp.add, total, metrics)

        _, shapes = jax.eval_shape(one, state)
        zero = jax.tree.map(lambda m: jnp.zeros(m.shape), shapes)
        n = until - state.step
        state, total = jax.lax.fori_loop(0, n, body, (state, zero))
        return state, jax.tree.map(lambda t: t / n, total)

    sharded = jax.shard_map(several, mesh=mesh, in_specs=copied, out_specs=copied, check_vma=False)
    trained: tuple[State, Terms] = sharded(knobs, seed, data, state, until)
    return trained


class Batch(NamedTuple):
    """What a step draws.

    Attributes:
      real: images and pairs.
      normal: ``(B, 2 Z + noises)`` normal numbers, from which the fakes are painted.
      views: how the discriminators see all of it.
    """

    real: Drawn
    normal: jax.Array
    views: Views


class Stepped(NamedTuple):
    """What a step of one side leaves behind.

    Attributes:
      weights: after it.
      opt: Adam's state after it.
      gradient: the mean over devices.
      terms: of the loss.
    """

    weights: PyTree
    opt: PyTree
    gradient: PyTree
    terms: Terms


def step(
    program: Program,
    knobs: Knobs,
    data: Data,
    state: State,
    key: jax.Array,
    b: int,
) -> tuple[State, Terms]:
    """One step of the discriminators, then one of the generator, on ``b`` images of each device."""
    batch = _draw_batch(program, knobs, data, key, b)

    def fakes(g: PyTree) -> tuple[Painted, Conditions]:
        return paint(program, g, batch.real, batch.normal)

    fake, pull, conditions = jax.vjp(fakes, state.g, has_aux=True)
    power = program.discriminator.power
    judges = Judges(power(state.d), power(state.u))
    of_judges = _step_judges(
        program,
        knobs,
        state,
        judges,
        batch,
        fake,
        conditions,
    )
    judges = _with_weights(judges, of_judges.weights)

    def loss(fake: Painted) -> tuple[jax.Array, Terms]:
        return gan_losses.generator_loss(
            program,
            knobs,
            state.g,
            judges,
            batch.real,
            fake,
            conditions,
            batch.views.pair,
        )

    in_fakes, g_terms = jax.grad(loss, has_aux=True)(fake)
    (of_device,) = pull(in_fakes)
    gradient = _mean_over_devices(of_device)
    g, opt_g = _adam(
        knobs,
        knobs.lr_g,
        state.step,
        state.g,
        gradient,
        state.opt_g,
    )
    warm_up = (1.0 + state.step) / (10.0 + state.step)
    decay = jnp.minimum(knobs.ema, warm_up)

    def averaged(old: jax.Array, new: jax.Array) -> jax.Array:
        return decay * old + (1 - decay) * new

    ema = jax.tree.map(averaged, state.ema, g)
    metrics = _mean_over_devices({**of_judges.terms, **g_terms})
    metrics["gradient_g"] = losses.norm(gradient)
    metrics["gradient_d"] = losses.norm(of_judges.gradient)
    return State(
        g,
        ema,
        *judges,
        opt_g,
        of_judges.opt,
        state.step + 1,
    ), metrics


def _draw_batch(
    program: Program,
    knobs: Knobs,
    data: Data,
    key: jax.Array,
    b: int,
) -> Batch:
    """Few and large draws: each call of the generator of random numbers costs half a second of
    compiling.
    """
    size = program.image_size
    k_uniform, k_normal = jax.random.split(key)
    uniform = jax.random.uniform(k_uniform, (b, DRAWN + 2 * diffaug.NUMBERS))
    numbers = 2 * program.generator.style + program.generator.noises(size)
    normal = jax.random.normal(k_normal, (b, numbers))
    real = draw(program, knobs, data, uniform[:, :DRAWN])
    for_pairs, for_others = jnp.split(uniform[:, DRAWN:], 2, 1)
    views = Views(
        diffaug.draw(2 * for_pairs - 1, size, knobs.move, knobs.grey),
        diffaug.draw(2 * for_others - 1, size, knobs.move, knobs.grey),
    )
    return Batch(real, normal, views)


def _step_judges(
    program: Program,
    knobs: Knobs,
    state: State,
    judges: Judges,
    batch: Batch,
    fake: Painted,
    conditions: Conditions,
) -> Stepped:
    """A step of both discriminators; the fakes are constants."""
    weights = (judges.pair.weights, judges.image.weights)
    constant = jax.tree.map(jax.lax.stop_gradient, fake)

    def loss(weights: tuple[PyTree, PyTree]) -> tuple[jax.Array, Terms]:
        changed = _with_weights(judges, weights)
        return gan_losses.discriminator_loss(
            program,
            changed,
            batch.real,
            constant,
            conditions,
            batch.views,
        )

    gradient, terms = jax.grad(loss, has_aux=True)(weights)
    penalty, slope = _penalty(program, state.step, weights, judges, batch.real)
    gradient = _mean_over_devices(
        jax.tree.map(lambda a, e: a + knobs.r1 * program.r1_every * e, gradient, slope)
    )
    weights, opt = _adam(
        knobs,
        knobs.lr_d,
        state.step,
        weights,
        gradient,
        state.opt_d,
    )
    return Stepped(weights, opt, gradient, {**terms, "r1": penalty * program.r1_every})


def _adam(
    knobs: Knobs,
    lr: float,
    step: jax.Array,
    weights: PyTree,
    gradient: PyTree,
    opt: PyTree,
) -> tuple[PyTree, PyTree]:
    """Weights and state after a step of Adam (Kingma & Ba, ICLR 2015), whose rate falls to 0 in the
    second half of the steps.
    """
    fall = jnp.minimum(1.0, 2.0 * (1.0 - step / knobs.steps))
    direction, opt = optax.scale_by_adam(b1=knobs.b1, b2=knobs.b2).update(gradient, opt)
    return jax.tree.map(lambda w, s: w - lr * fall * s, weights, direction), opt


def _mean_over_devices(tree: PyTree) -> PyTree:
    return jax.lax.pmean(tree, "data")


def _with_weights(judges: Judges, weights: tuple[PyTree, PyTree]) -> Judges:
    pair, image = weights
    return Judges(judges.pair._replace(weights=pair), judges.image._replace(weights=image))


def _penalty(
    program: Program,
    step: jax.Array,
    weights: tuple[PyTree, PyTree],
    judges: Judges,
    real: Drawn,
) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
    """The gradient penalty where it is its turn, else zeros."""

    def compute(w: tuple[PyTree, PyTree]) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
        return gan_losses.penalty(program, w, judges, real)

    def skip(w: tuple[PyTree, PyTree]) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
        return jnp.float32(0), jax.tree.map(jnp.zeros_like, w)

    is_turn = step % program.r1_every == 0
    value, slope = jax.lax.cond(is_turn, compute, skip, weights)
    return value, slope
