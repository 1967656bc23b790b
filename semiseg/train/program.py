"""The one compiled training program: a chunk of steps, shared by every trial that has the same
static part.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from semiseg import devices
from semiseg.methods.base import predict
from semiseg.train import diagnostics, given, late, optimiser
from semiseg.train.begin import begun
from semiseg.train.draw import Windows, draw, share
from semiseg.types import (
    IGNORE,
    Aux,
    Batch,
    Method,
    Model,
    Params,
    Pools,
    Pseudo,
    PyTree,
    get_weights,
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
    draw: str = "subjects"  # one of draw.DRAWS
    anywhere: bool = True  # windows lie anywhere in a larger image, or in its centre
    given: int = 0  # images with a mask from elsewhere in a step
    averages: bool = False  # the last iterates, at the end

    @property
    def windows(self) -> Windows:
        """How images and windows are drawn."""
        return Windows(self.image_size, self.draw, self.anywhere)

    def mesh(self, method: Method) -> jax.sharding.Mesh:
        """The devices a batch of this method is cut over."""
        labelled = method.labelled(self.batch)
        return devices.mesh_of_all(labelled, self.batch - labelled)

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
            self.draw,
            self.anywhere,
            self.given,
            self.averages,
        )
        return hash(what)


@jax.tree_util.register_pytree_with_keys_class
class Knobs:
    """What is traced: every field that the trial declares traced, by its name.

    ``knobs.lr``, ``knobs.steps`` … are scalars, a choice is the index of its option, ``method`` and
    ``augment`` are trees of their own. :func:`semiseg.runner.build.knobs_of` makes it of a trial.

    >>> Knobs(lr=0.1, steps=7.0).replace(lr=0.2)
    Knobs(lr=0.2, steps=7.0)
    """

    method: Any
    augment: Any

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no traced field of a trial is named {name!r}")

    def __repr__(self) -> str:
        return f"Knobs({', '.join(f'{name}={value}' for name, value in vars(self).items())})"

    def replace(self, **changes: Any) -> Knobs:
        """The same with some values changed."""
        return Knobs(**{**vars(self), **changes})

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
        """For JAX: the values with their names, and the names."""
        names = tuple(sorted(vars(self)))
        return [(jax.tree_util.GetAttrKey(name), vars(self)[name]) for name in names], names

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], values: Iterable[Any]) -> Knobs:
        """For JAX: the reverse."""
        return cls(**dict(zip(names, values, strict=True)))


class State(NamedTuple):
    """Everything a run needs to go on. Keys are derived from the seed and the step, so there is no
    generator state to lose.
    """

    params: PyTree
    memory: PyTree
    optimiser: PyTree
    step: jax.Array  # int32: steps done
    late: late.Late | None = None  # where the last iterates are averaged


Metrics = dict[str, jax.Array]
"""Scalars of a step by their name in metrics.jsonl."""


def _transformation(program: Program, knobs: Knobs, params: PyTree) -> optax.GradientTransformation:
    tx = optimiser.optimiser(
        program.optimiser,
        momentum=knobs.momentum,
        weight_decay=knobs.weight_decay,
        clip=knobs.clip,
        by_network=isinstance(params, dict),
    )
    critics = tuple(_critics(knobs))
    return optimiser.with_critics(tx, critics, clip=knobs.clip) if critics else tx


def _critics(knobs: Knobs) -> dict[str, jax.Array]:
    """Networks with an optimiser of their own, by name, with its rate; a task may know of none."""
    names: Sequence[str] = getattr(knobs.method, "critics", ())
    return dict.fromkeys(names, knobs.method.critic_lr) if names else {}


@functools.partial(jax.jit, static_argnums=0)
def start(program: Program, knobs: Knobs, seed: jax.Array, initial: Params | None = None) -> State:
    """Fresh state of a run.

    Its networks begin with ``initial`` where that is given, see
    :class:`semiseg.train.begin.Begun`.
    """
    method: Method = knobs.method
    key = jax.random.fold_in(jax.random.key(seed), 0)
    model = program.model._replace(steps=knobs.steps)
    params, memory = method.init(begun(model, initial), key)
    optimiser_state = _transformation(program, knobs, params).init(get_weights(params))
    average = late.nothing(method.main(params)) if program.averages else None
    return State(params, memory, optimiser_state, jnp.int32(0), average)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def chunk(
    program: Program, knobs: Knobs, seed: jax.Array, pools: Pools, state: State, until: jax.Array
) -> tuple[State, dict[str, jax.Array]]:
    """Train up to step ``until``.

    The trip count is traced, so that a last, shorter chunk needs no program of its own and sweeps
    over the number of steps share theirs.

    Returns:
      The state, and the metrics' means over the steps taken, with what became of the pseudo-labels
      in them.
    """
    base = jax.random.fold_in(jax.random.key(seed), 1)
    total = _zeros(program, knobs, base, pools, state)
    count = until - state.step
    state, total = _steps(program, knobs, base, pools, state, total, count)
    return state, _means(total, count)


Total = tuple[Metrics, diagnostics.Counts]
"""Sums over steps."""


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(4, 5))
def part(
    program: Program,
    knobs: Knobs,
    seed: jax.Array,
    pools: Pools,
    state: State,
    total: Total,
    until: jax.Array,
) -> tuple[State, Total]:
    """A part of a :func:`chunk`, between two changes of the pools: the state at step ``until``, and
    the ``total`` of the parts before with what its steps add.
    """
    base = jax.random.fold_in(jax.random.key(seed), 1)
    return _steps(program, knobs, base, pools, state, total, until - state.step)


def nothing(program: Program, knobs: Knobs, pools: Pools, state: State) -> PyTree:
    """Shapes and types of the total before the first part, which is zero."""
    base = jax.random.key(0)
    return jax.eval_shape(lambda: _zeros(program, knobs, base, pools, state))


@jax.jit
def means(total: Total, count: jax.Array) -> Metrics:
    """The metrics of a chunk whose parts have this total."""
    return _means(total, count)


def _zeros(program: Program, knobs: Knobs, base: jax.Array, pools: Pools, state: State) -> Total:
    shapes = jax.eval_shape(lambda: one_step(program, knobs, base, pools, state)[1:])
    return jax.tree.map(lambda m: jnp.zeros(m.shape, jnp.float32), shapes)


def _steps(
    program: Program,
    knobs: Knobs,
    base: jax.Array,
    pools: Pools,
    state: State,
    total: Total,
    count: jax.Array,
) -> tuple[State, Total]:
    def body(_: jax.Array, carry: tuple[State, PyTree]) -> tuple[State, PyTree]:
        state, total = carry
        state, *new = one_step(program, knobs, base, pools, state)
        return state, jax.tree.map(lambda t, m: t + m, total, tuple(new))

    return jax.lax.fori_loop(0, count, body, (state, total))


def _means(total: Total, count: jax.Array) -> Metrics:
    metrics, counts = total
    means = jax.tree.map(lambda t: t / count, metrics)
    if counts:
        means |= diagnostics.summary(counts)
    return means


def one_step(
    program: Program, knobs: Knobs, base: jax.Array, pools: Pools, state: State
) -> tuple[State, Metrics, diagnostics.Counts]:
    """Draw a batch, take the gradient of the method's loss, step, and let the method update.

    Args:
      program: what is compiled in.
      knobs: what is traced.
      base: key of the run, into which the step is folded.
      pools: what is drawn from.
      state: before the step.

    Returns:
      The state after the step, metrics, and counts of the pseudo-labels (empty where the true
      labels are unknown, or there are no pseudo-labels).
    """
    method: Method = knobs.method
    mesh = program.mesh(method)
    windows = program.windows
    k_draw, k_loss = jax.random.split(jax.random.fold_in(base, state.step))
    batch, synthetic = _batch(program, knobs, pools, k_draw, state.step)
    batch = devices.cut(batch, mesh)
    progress = state.step / knobs.steps
    model = program.model._replace(steps=knobs.steps)

    def loss(weights: PyTree) -> tuple[jax.Array, Aux]:
        params = with_weights(state.params, weights)
        value, aux = method.loss(model, params, state.memory, batch, k_loss, progress)
        if program.given:
            key = jax.random.fold_in(jax.random.fold_in(base, state.step), 2)
            main = method.main(params)
            masks = given.loss(program.model, knobs, main, pools, key, program.given, windows)
            value, aux = given.added(value, aux, masks, knobs, progress)
        if program.synthetic_as != "soft":
            return value, aux
        weight = jnp.where(synthetic, knobs.synthetic_weight * knobs.synthetic_softness, 0.0)
        student = method.main(params)
        teacher = method.average(state.memory)
        soft = soft_loss(program.model, student, teacher, batch, weight, k_loss)
        return value + soft, aux._replace(metrics={**aux.metrics, "soft": soft})

    weights = get_weights(state.params)
    (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
    tx = _transformation(program, knobs, state.params)
    direction, optimiser_state = tx.update(gradient, state.optimiser, weights)
    at = method.rate_progress(progress) if hasattr(method, "rate_progress") else progress
    lr = knobs.lr * optimiser.rate(program.schedule, at, knobs.warmup)
    weights = _stepped(weights, direction, lr, _critics(knobs))
    params = with_state(with_weights(state.params, weights), aux.state)
    memory = state.memory if aux.memory is None else aux.memory
    params, memory = method.update(params, memory)
    anew = method.begins_anew(state.memory, memory) if hasattr(method, "begins_anew") else None
    if anew is not None:
        optimiser_state = _forgotten(tx, params, anew, optimiser_state)
    metrics = {"loss": value, **aux.metrics, "lr": lr, "gradient_norm": optax.tree.norm(gradient)}
    counts = _counts(pools, batch, aux.pseudo)
    average = state.late
    if average is not None:
        done = (state.step + 1) / knobs.steps
        average = late.grown(average, method.main(params), done, knobs.average_last, anew)
    new = State(params, memory, optimiser_state, state.step + 1, average)
    return devices.copy((new, metrics, counts), mesh)


def _forgotten(
    tx: optax.GradientTransformation, params: PyTree, anew: jax.Array, optimiser_state: PyTree
) -> PyTree:
    """The optimiser's state, or a fresh one where ``params`` are of a fresh network."""
    fresh = tx.init(get_weights(params))
    return jax.tree.map(lambda new, old: jnp.where(anew, new, old), fresh, optimiser_state)


def _stepped(
    weights: PyTree, direction: PyTree, lr: jax.Array, rates: Mapping[str, jax.Array]
) -> PyTree:
    """``weights`` less the rate times ``direction``: ``lr``, or that of a network by its name."""
    new = jax.tree.map(lambda w, d: w - lr * d, weights, direction)
    for name, rate in rates.items():
        new[name] = jax.tree.map(lambda w, d, r=rate: w - r * d, weights[name], direction[name])
    return new


def _batch(
    program: Program, knobs: Knobs, pools: Pools, key: jax.Array, step: jax.Array
) -> tuple[Batch, jax.Array]:
    """A batch with the weights of its images, and which of its labelled images are synthetic."""
    labelled = knobs.method.labelled(program.batch)
    batch, synthetic = draw(
        pools,
        key,
        knobs.augment,
        share(knobs.synthetic_schedule, knobs.ratio, step, knobs.steps),
        labelled=labelled,
        unlabelled=program.batch - labelled,
        windows=program.windows,
        foreground=knobs.foreground,
        role=program.synthetic_as,
    )
    softness = knobs.synthetic_softness if program.synthetic_as == "soft" else 0.0
    weight = jnp.where(synthetic, knobs.synthetic_weight * (1.0 - softness), 1.0)
    return batch._replace(weight=weight), synthetic


def _counts(pools: Pools, batch: Batch, pseudo: Pseudo | None) -> diagnostics.Counts:
    """The pseudo-labels against the true labels; empty where either is missing."""
    if pools.hidden is None or pseudo is None:
        return {}
    truth = diagnostics.hidden_labels(pools.hidden, batch, pools.real)
    # the barrier keeps the compiler from merging this into the step, whose bits it would change
    pseudo, truth = jax.lax.optimization_barrier((pseudo, truth))
    return diagnostics.count(pseudo, truth)


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
    k_dropout = jax.random.fold_in(key, 0)
    log_p = jax.nn.log_softmax(model.apply(student, batch.image, train=True, key=k_dropout).logits)
    known = batch.label != IGNORE
    ce = -jnp.sum(q * log_p, -1) * weight_B.reshape(-1, *(1,) * (known.ndim - 1))
    return jnp.where(known, ce, 0.0).sum() / jnp.maximum(known.sum(), 1)


@functools.partial(jax.jit, static_argnums=0)
def final(program: Program, knobs: Knobs, state: State) -> Params:
    """The variables that are evaluated and exported."""
    params = knobs.method.final(state.params, state.memory)
    return params if state.late is None else late.chosen(state.late, params)
