"""The one compiled training program: a chunk of steps, shared by every trial that has the same
static part.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from semiseg import devices
from semiseg.augment import Augmentation
from semiseg.methods.base import averaged, evaluated, predict
from semiseg.train import diagnostics, optimiser
from semiseg.train.begin import begun
from semiseg.train.draw import draw, share
from semiseg.types import (
    IGNORE,
    Batch,
    Method,
    Model,
    Params,
    Pools,
    PyTree,
    get_weights,
    hyper,
    subtree,
    with_state,
    with_weights,
)


@dataclasses.dataclass(frozen=True)
class Program:
    """What is compiled in. Two trials with equal programs, and methods of equal static fields, run
    through one executable.
    """

    model: Model
    image_size: int | tuple[int, ...]
    batch: int
    optimiser: str
    schedule: str
    synthetic_as: str = "labelled"  # one of draw.ROLES

    def mesh(self, method: Method) -> jax.sharding.Mesh:
        """The devices a batch of this method is cut over."""
        labelled = method.labelled(self.batch)
        return devices.mesh(labelled, self.batch - labelled)

    def __hash__(self) -> int:
        sample = self.model.sample
        what = (
            self.model.net,
            sample.shape,
            self.model.classes,
            self.image_size,
            self.batch,
            self.optimiser,
            self.schedule,
            self.synthetic_as,
        )
        return hash(what)


@hyper
class Knobs:
    """What is traced: plain numbers, and the float fields of the method and the augmentation."""

    method: Any = subtree()
    augment: Any = subtree()
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: float = 0.0
    clip: float = 0.0
    ratio: float = 0.0
    synthetic_schedule: float = 0.0  # index in draw.SCHEDULES
    synthetic_weight: float = 1.0
    synthetic_softness: float = 0.5
    steps: float = 1.0


class State(NamedTuple):
    """Everything a run needs to go on. Keys are derived from the seed and the step, so there is no
    generator state to lose.
    """

    params: PyTree
    memory: PyTree
    optimiser: PyTree
    step: jax.Array  # int32: steps done


def _transformation(program: Program, knobs: Knobs) -> optax.GradientTransformation:
    return optimiser.optimiser(
        program.optimiser, momentum=knobs.momentum, weight_decay=knobs.weight_decay, clip=knobs.clip
    )


@functools.partial(jax.jit, static_argnums=0)
def start(program: Program, knobs: Knobs, seed: jax.Array, initial: Params | None = None) -> State:
    """Fresh state of a run; its networks begin with ``initial`` where that is given, see
    :class:`semiseg.train.begin.Begun`.
    """
    method: Method = knobs.method
    params, memory = method.init(
        begun(program.model, initial), jax.random.fold_in(jax.random.key(seed), 0)
    )
    return State(
        params, memory, _transformation(program, knobs).init(get_weights(params)), jnp.int32(0)
    )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def chunk(
    program: Program, knobs: Knobs, seed: jax.Array, pools: Pools, state: State, until: jax.Array
) -> tuple[State, dict[str, jax.Array]]:
    """Train up to step ``until``; returns the metrics' means over the steps taken, and what became
    of the pseudo-labels in them.

    The trip count is traced, so that a last, shorter chunk needs no program of its own and sweeps
    over the number of steps share theirs.
    """
    method: Method = knobs.method
    augment: Augmentation = knobs.augment
    tx = _transformation(program, knobs)
    labelled = method.labelled(program.batch)
    unlabelled = program.batch - labelled
    mesh = program.mesh(method)
    base = jax.random.fold_in(jax.random.key(seed), 1)

    def step(state: State) -> tuple[State, dict[str, jax.Array], diagnostics.Counts]:
        k_draw, k_loss = jax.random.split(jax.random.fold_in(base, state.step))
        mixed = share(knobs.synthetic_schedule, knobs.ratio, state.step, knobs.steps)
        size, role = program.image_size, program.synthetic_as
        batch, synthetic = draw(
            pools,
            k_draw,
            augment,
            mixed,
            labelled=labelled,
            unlabelled=unlabelled,
            size=size,
            role=role,
        )
        softness = knobs.synthetic_softness if role == "soft" else 0.0
        batch = batch._replace(
            weight=jnp.where(synthetic, knobs.synthetic_weight * (1.0 - softness), 1.0)
        )
        batch = devices.cut(batch, mesh)
        progress = state.step / knobs.steps

        def loss(weights: PyTree):
            params = with_weights(state.params, weights)
            value, aux = method.loss(program.model, params, state.memory, batch, k_loss, progress)
            if role == "soft":
                of = jnp.where(synthetic, knobs.synthetic_weight * softness, 0.0)
                soft = soft_loss(
                    program.model, evaluated(params), averaged(state.memory), batch, of, k_loss
                )
                value, aux = value + soft, aux._replace(metrics={**aux.metrics, "soft": soft})
            return value, aux

        weights = get_weights(state.params)
        (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
        direction, opt = tx.update(gradient, state.optimiser, weights)
        lr = knobs.lr * optimiser.rate(program.schedule, progress, knobs.warmup)
        weights = jax.tree.map(lambda w, d: w - lr * d, weights, direction)
        params = with_state(with_weights(state.params, weights), aux.state)
        params, memory = method.update(params, state.memory if aux.memory is None else aux.memory)
        metrics = {
            "loss": value,
            **aux.metrics,
            "lr": lr,
            "gradient_norm": optax.tree.norm(gradient),
        }
        counts: diagnostics.Counts = {}
        if pools.hidden_NHW is not None and aux.pseudo is not None:
            pseudo, truth = jax.lax.optimization_barrier(
                (aux.pseudo, diagnostics.hidden_labels(pools.hidden_NHW, batch))
            )
            counts = diagnostics.count(pseudo, truth)
        return devices.copy((State(params, memory, opt, state.step + 1), metrics, counts), mesh)

    nothing = jax.tree.map(
        lambda m: jnp.zeros(m.shape, jnp.float32), jax.eval_shape(step, state)[1:]
    )

    def body(_, carry):
        state, total = carry
        state, *new = step(state)
        return state, jax.tree.map(lambda t, m: t + m, total, tuple(new))

    n = until - state.step
    state, (total, counts) = jax.lax.fori_loop(0, n, body, (state, nothing))
    means = jax.tree.map(lambda t: t / n, total)
    return state, {**means, **(diagnostics.summary(counts) if counts else {})}


def soft_loss(
    model: Model,
    student: Params,
    teacher: Params,
    batch: Batch,
    weight_B: jax.Array,
    key: jax.Array,
) -> jax.Array:
    """``weight_B`` · cross-entropy of the labelled images against the teacher's probabilities,
    which have no gradient; a mean over labelled pixels.

    Two passes, the teacher's and the student's; of several networks that are trained, the evaluated
    one alone is taught so. The student's dropout is that of the methods' own labelled pass, so that
    mask and prediction correct the same output.
    """
    q = predict(model, teacher, batch.image)
    log_p = jax.nn.log_softmax(
        model.apply(student, batch.image, train=True, key=jax.random.fold_in(key, 0)).logits
    )
    known = batch.label != IGNORE
    ce = -jnp.sum(q * log_p, -1) * weight_B.reshape(-1, *(1,) * (known.ndim - 1))
    return jnp.where(known, ce, 0.0).sum() / jnp.maximum(known.sum(), 1)


@functools.partial(jax.jit, static_argnums=0)
def final(program: Program, knobs: Knobs, state: State) -> Params:
    """The variables that are evaluated and exported."""
    return knobs.method.final(state.params, state.memory)
