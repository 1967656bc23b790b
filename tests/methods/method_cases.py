"""One row a method: how it is set up so that every term acts, and what each check may expect of it. A new method adds its row here."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import methods as m
from semiseg.nets import UNet
from semiseg.types import Batch, Model, Params, Pseudo, get_weights, with_state, with_weights

KEY = jax.random.key(0)
SIDE, POOL = 16, 18
NET = UNet(widths=(4, 8), convs=1, norm="batch")
"""Batch norm: the one kind with statistics, which an average must follow and unlabelled images must not reach."""
MODEL = Model(NET, jax.ShapeDtypeStruct((1, SIDE, SIDE, 1), np.float32), 3, jax.ShapeDtypeStruct((4, POOL, POOL, 1), np.uint8))
LATE = (0.5, 0.6)
"""Progress of the two steps of a probe: after every ramp's end (ramp=1e-6), in the second round, after pre-training."""


def _nothing(memory: Any) -> Any:
    return memory


class Row(NamedTuple):
    """Attributes:

    method: with its unlabelled terms acting from the start.
    off: fields that make it supervised training, None where its form has no such setting.
    exact: whether it then is so bit for bit; a second head on the labelled features, though weighted 0, makes XLA round otherwise.
    strong: whether the strong view is used.
    still: fields without which images depend on their place in the batch (mixing, noise); None where none make them independent.
    outside: whether unlabelled pixels from outside the frame reach no loss (a pasted picture has them as context).
    rejects: whether ``threshold=1.1`` leaves nothing of the unlabelled term.
    ready: a memory in which the unlabelled term acts.
    """

    method: Any
    off: dict[str, float] | None = {"weight": 0.0}
    exact: bool = True
    strong: bool = True
    still: dict[str, float] | None = {}
    outside: bool = True
    rejects: bool = False
    ready: Callable[[Any], Any] = _nothing


def _round_one(memory: Any) -> Any:
    return {**memory, "round": jnp.int32(1), "next": jnp.int32(1)}


def _ensemble(memory: Any) -> Any:
    random = jax.nn.softmax(jax.random.normal(jax.random.key(5), memory["ensemble"].shape))
    return {**memory, "ensemble": random.astype(jnp.float16)}


def _two_teachers(memory: Any) -> Any:
    return {**memory, "count": jnp.array([3, 3], jnp.int32)}


NOW: dict[str, Any] = {"weight": 2.0, "ramp": 1e-6}
LOW: dict[str, Any] = {**NOW, "threshold": 0.4}
ROWS = {
    "supervised": Row(m.Supervised(), off={}, strong=False),
    "entropy_minimisation": Row(m.EntropyMinimisation(**NOW), strong=False),
    "pseudo_label": Row(m.PseudoLabel(**LOW), rejects=True),
    "self_training": Row(m.SelfTraining(**LOW), rejects=True, ready=_round_one),
    "pi_model": Row(m.PiModel(**NOW)),
    "temporal_ensembling": Row(m.TemporalEnsembling(**NOW), ready=_ensemble),
    "mean_teacher": Row(m.MeanTeacher(**NOW)),
    "uamt": Row(m.UAMT(**NOW, looks=2), still={"noise": 0.0}),
    "ict": Row(m.ICT(**NOW), strong=False, still=None),
    "r_drop": Row(m.RDrop(**NOW), still={"drop": 0.0}),
    "cct": Row(m.CCT(**NOW), strong=False, still={"drop": 0.0}),
    "cps": Row(m.CPS(**NOW), strong=False),
    "cross_teaching": Row(m.CrossTeaching(**NOW, other=UNet(widths=(4, 6), convs=1, norm="instance")), strong=False),
    "urpc": Row(m.URPC(**NOW, scales=3), off=None, strong=False),
    "mcnet": Row(m.MCNet(**NOW), off=None, strong=False),
    "dtc": Row(m.DTC(**NOW, steepness=5.0), off={"weight": 0.0, "distance_weight": 0.0}, exact=False, strong=False),
    "sassnet": Row(m.SASSNet(**NOW), off={"weight": 0.0, "distance_weight": 0.0}, strong=False),
    "dan": Row(m.DAN(**NOW), strong=False),
    "ssnet": Row(m.SSNet(**LOW), strong=False, still={"radius": 0.0}),
    "fixmatch": Row(m.FixMatch(**LOW), rejects=True),
    "unimatch": Row(m.UniMatch(**LOW), still={"cutmix": 0.0, "jitter": 0.0, "blur": 0.0, "drop": 0.0}, rejects=True),
    "bcp": Row(m.BCP(), off=None, strong=False, still=None, outside=False),
    "ad_mt": Row(m.ADMT(**LOW), still={"cutmix": 0.0}, rejects=True, ready=_two_teachers),
}


def make_batch(seed: int = 7) -> Batch:
    """Two labelled and two unlabelled images; the views look at the pool from its pixel (1, 1) on."""
    k = jax.random.split(jax.random.key(seed), 4)
    shape = (2, SIDE, SIDE, 1)
    weak = jax.random.normal(k[1], shape)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(SIDE) + 1.0, jnp.arange(SIDE) + 1.0, indexing="ij"))
    valid = jnp.ones(shape[:-1], bool).at[:, :2].set(False)
    strong = weak + 0.5 * jax.random.normal(k[3], shape)
    label = jax.random.randint(k[2], shape[:-1], 0, 3)
    return Batch(jax.random.normal(k[0], shape), label, weak, strong, valid, jnp.array([2, 0]), jnp.stack([grid, grid]), jnp.ones(2))


class Probe(NamedTuple):
    """What each of two training steps gave; every array has a leading axis of 2."""

    value: jax.Array
    metrics: dict[str, jax.Array]
    pseudo: Pseudo | None
    gradient: Any
    memory_gradient: jax.Array
    params: Any
    memory: Any


@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # halves the compile time, most of these tests' time
def probe(method: Any, params: Any, memory: Any, batch: Batch, progress: jax.Array) -> Probe:
    """Two steps of descent in one compiled scan, as training has them. One program a method serves every check."""

    def step(carry: Any, progress: jax.Array) -> Any:
        params, memory = carry

        def loss(weights: Any, memory: Any) -> Any:
            return method.loss(MODEL, with_weights(params, weights), memory, batch, KEY, progress)

        (value, aux), (g, g_memory) = jax.value_and_grad(loss, (0, 1), has_aux=True, allow_int=True)(get_weights(params), memory)
        leak = sum((jnp.abs(x).sum() for x in jax.tree.leaves(g_memory) if jnp.issubdtype(x.dtype, jnp.floating)), jnp.float32(0))
        new = with_state(with_weights(params, jax.tree.map(lambda w, d: w - 0.05 * d, get_weights(params), g)), aux.state)
        new, memory = method.update(new, memory if aux.memory is None else aux.memory)
        return (new, memory), Probe(value, aux.metrics, aux.pseudo, g, leak, new, memory)

    return jax.lax.scan(step, (params, memory), progress)[1]


def two_steps(row: Row, batch: Batch, progress: tuple[float, float] = LATE, **fields: Any) -> Probe:
    """The probe of a row's method with some fields changed."""
    method = dataclasses.replace(row.method, **fields)
    params, memory = method.init(MODEL, KEY)
    return probe(method, params, row.ready(memory), batch, jnp.asarray(progress, jnp.float32))


def net(tree: Any) -> Any:
    """The evaluated network's part of a params tree, or of its gradient."""
    return tree["net"] if isinstance(tree, dict) and "net" in tree else tree


def equal(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def close(a: Any, b: Any, rtol: float = 1e-4) -> bool:
    """Whether two trees differ by rounding only, measured against the largest entry of each array."""
    far = [np.abs(np.asarray(x) - np.asarray(y)).max() / max(np.abs(np.asarray(y)).max(), 1e-3) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))]
    return max(far) < rtol


def is_params(x: Any) -> bool:
    return isinstance(x, Params)
