"""One row a method: how it is set up so that every term acts, and what each check may expect of it.
A new method adds its row here.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import method_references as r
import numpy as np
from jax.extend.core import get_opaque_trace_state

from semiseg import methods as m
from semiseg.nets import UNet
from semiseg.ragged import of_dense
from semiseg.types import (
    Batch,
    Model,
    Output,
    Params,
    Pseudo,
    get_weights,
    with_state,
    with_weights,
)

KEY = r.KEY
SIDE = 16
POOL = 18
NET = UNet(widths=(4, 8), convs=1, norm="batch")
"""Batch norm: the one kind with statistics, which an average must follow and unlabelled images must
not reach.
"""
MODEL = Model(
    NET,
    jax.ShapeDtypeStruct((1, SIDE, SIDE, 1), np.float32),
    3,
    jax.ShapeDtypeStruct((1, 4 * POOL * POOL, 1), np.uint8),
)
IMAGES = of_dense(np.zeros((4, POOL, POOL, 1), np.uint8))
"""The pool that the unlabelled images are of."""
LATE = (0.5, 0.6)
"""Progress of the two steps of a probe: after every ramp's end (ramp=1e-6), in the second round,
after pre-training.
"""


def _nothing(memory: Any) -> Any:
    return memory


class Row(NamedTuple):
    """Attributes:

    method: with its unlabelled terms acting from the start. passes: what each pass of the trained
    architecture through :class:`Tape` is taught by, a letter each in the order of the code: L, its
    logits;
      F, its features through a head; B, both; "-", nothing: it makes a target.
    off: fields that make it supervised training. zero: what ``off`` leaves. "equal": supervised
    training, bit for bit. "close": the same rounded otherwise, as a second head on the labelled
      features, though weighted 0, makes XLA do. "pass": of the labelled pass's logits the same
      gradient times ``share``; statistics follow mixed pictures. "heads": heads that add to the
      logits go on learning from the labels; of every pass the gradient of ``reference`` without the
      terms that are off.
    share: weight of the supervised loss on the evaluated network's logits in the whole loss.
    strong: whether the strong view is used. teacher: whether the target is made without the strong
    view; R-Drop's two looks are at one view. ramps: whether the weight ramps. still: fields without
    which images depend on their place in the batch (mixing, noise); None where none make them
    independent. outside: whether unlabelled pixels from outside the frame reach no loss (a pasted
    picture has them as context). rejects: whether ``threshold=1.1`` leaves nothing of the
    unlabelled term. ready: a memory in which the unlabelled term acts. reference: its loss written
    a second time.
    """

    method: Any
    passes: str
    off: dict[str, float] = {"weight": 0.0}
    zero: Literal["equal", "close", "pass", "heads"] = "equal"
    share: float = 1.0
    strong: bool = True
    teacher: bool = True
    ramps: bool = True
    still: dict[str, float] | None = {}
    outside: bool = True
    rejects: bool = False
    ready: Callable[[Any], Any] = _nothing
    reference: r.Reference | None = None


def _round_one(memory: Any) -> Any:
    return {**memory, "round": jnp.int32(1), "next": jnp.int32(1)}


def _ensemble(memory: Any) -> Any:
    """Pool images 0, 1 … were seen 0, 1, 2 … times: their Z sum to 1 - keepᵗ."""
    random = jax.nn.softmax(
        jax.random.normal(
            jax.random.key(5),
            memory["ensemble"].shape,
        )
    )
    seen = 1 - 0.6 ** jnp.repeat(jnp.arange(4), POOL * POOL).reshape(1, -1, 1)
    return {**memory, "ensemble": (seen * random).astype(jnp.float16)}


def _two_teachers(memory: Any) -> Any:
    return {**memory, "count": jnp.array([3, 3], jnp.int32)}


def _learnt(memory: Any) -> Any:
    """Thresholds of classes that were learnt unevenly."""
    return {
        **memory,
        "thresholds": {
            **memory["thresholds"],
            "share": jnp.array([0.5, 0.25, 0.25]),
            "confidence": jnp.float32(0.5),
            "learnt": jnp.array([0.5, 0.2, 0.3]),
        },
    }


NOW: dict[str, Any] = {"weight": 2.0, "ramp": 1e-6, "decay": 0.3}
LOW: dict[str, Any] = {**NOW, "threshold": 0.4}
MIX = {"cutmix": 1.0, "jitter": 0.0, "blur": 0.0, "drop": 0.0}
ROWS = {
    "supervised": Row(m.Supervised(decay=0.3), "L", off={}, strong=False),
    "entropy_minimisation": Row(
        m.EntropyMinimisation(**NOW),
        "LL",
        strong=False,
        reference=r.Reference(r.entropy_minimisation),
    ),
    "pseudo_label": Row(
        m.PseudoLabel(**LOW), "L-L", rejects=True, reference=r.Reference(r.fixmatch)
    ),
    "self_training": Row(
        m.SelfTraining(**LOW),
        "L-L",
        ramps=False,
        rejects=True,
        ready=_round_one,
        reference=r.Reference(r.fixmatch),
    ),
    "pi_model": Row(
        m.PiModel(**NOW),
        "LLL",
        reference=r.Reference(r.pi_model),
    ),
    "temporal_ensembling": Row(
        m.TemporalEnsembling(**NOW),
        "LL",
        strong=False,
        ready=_ensemble,
        reference=r.Reference(r.temporal_ensembling, rtol=3e-3),
    ),
    "mean_teacher": Row(
        m.MeanTeacher(**NOW),
        "L-L",
        reference=r.Reference(r.mean_teacher),
    ),
    "uamt": Row(
        m.UAMT(**NOW, looks=2, largest_entropy="classes"),
        "L-L",
        still={"noise": 0.0},
        reference=r.Reference(
            r.uamt, {"noise": 0.0, "ramp": 0.4}, (0.1, 0.1), sharp=2.0, one_view=True
        ),
    ),
    "ict": Row(
        m.ICT(**NOW),
        "L-L",
        strong=False,
        still=None,
        reference=r.Reference(r.ict),
    ),
    "r_drop": Row(
        m.RDrop(**NOW),
        "LFF",
        strong=False,
        teacher=False,
        still={"drop": 0.0},
        reference=r.Reference(r.r_drop, {"drop": 0.5}),
    ),
    "cct": Row(
        m.CCT(**NOW),
        "LF",
        strong=False,
        still={"drop": 0.0},
        reference=r.Reference(
            r.cct, {"noise": 0.0, "drop": 0.0, "active_low": 2.0, "active_high": 2.0}
        ),
    ),
    "cps": Row(
        m.CPS(**NOW),
        "LLLL",
        strong=False,
        reference=r.Reference(r.cps),
    ),
    "cross_teaching": Row(
        m.CrossTeaching(**NOW, other=r.OTHER),
        "LL",
        strong=False,
        reference=r.Reference(r.cross_teaching),
    ),
    "urpc": Row(
        m.URPC(**NOW, scales=3), "BB", zero="heads", strong=False, reference=r.Reference(r.urpc)
    ),
    "mcnet": Row(
        m.MCNet(**NOW),
        "BB",
        zero="heads",
        strong=False,
        reference=r.Reference(r.mcnet),
    ),
    "dtc": Row(
        m.DTC(**NOW, steepness=5.0),
        "BB",
        off={"weight": 0.0, "distance_weight": 0.0},
        zero="close",
        strong=False,
        reference=r.Reference(r.dtc),
    ),
    "sassnet": Row(
        m.SASSNet(**NOW, critic_dropout=0.0, critic_width=4),
        "BF",
        off={"weight": 0.0, "distance_weight": 0.0},
        strong=False,
        reference=r.Reference(r.sassnet),
    ),
    "dan": Row(
        m.DAN(**NOW, critic_dropout=0.0, critic_width=4),
        "LL",
        strong=False,
        reference=r.Reference(r.dan),
    ),
    "ssnet": Row(
        m.SSNet(**NOW, elements=8),
        "BFLL",
        zero="close",
        strong=False,
        still={"radius": 0.0},
        reference=r.Reference(r.ssnet),
    ),
    "fixmatch": Row(
        m.FixMatch(**LOW),
        "L-L",
        rejects=True,
        reference=r.Reference(r.fixmatch),
    ),
    "unimatch": Row(
        m.UniMatch(**LOW),
        "LFLL",
        still={"cutmix": 0.0, "jitter": 0.0, "blur": 0.0, "drop": 0.0},
        rejects=True,
        reference=r.Reference(r.unimatch, MIX),
    ),
    "unimatch_v2": Row(
        m.UniMatchV2(**LOW),
        "L-FF",
        still={"cutmix": 0.0, "jitter": 0.0, "blur": 0.0, "complementary": 0.0},
        rejects=True,
        reference=r.Reference(
            r.unimatch_v2, {"cutmix": 1.0, "jitter": 0.0, "blur": 0.0, "complementary": 1.0}
        ),
    ),
    "bcp": Row(
        m.BCP(decay=0.3),
        "-LL",
        off={"weight": 0.0, "side": 1.0, "pretrain": 0.0},
        zero="pass",
        share=0.5,
        strong=False,
        ramps=False,
        still=None,
        outside=False,
        reference=r.Reference(r.bcp),
    ),
    "ad_mt": Row(
        m.ADMT(**LOW, period=1, start=0.0, quantile=1.0, least=0.0),
        "L---L",
        strong=False,
        still={"cutmix": 0.0, "jitter": 0.0, "blur": 0.0},
        rejects=True,
        ready=_two_teachers,
        reference=r.Reference(r.ad_mt, {"cutmix": 1.0}, step=1),
    ),
    "abd": Row(
        m.ABD(decay=0.3, pairs="both"),
        "-LL-LL" + "LLLL" + "LLLL",
        off={"weight": 0.0, "side": 1.0, "pretrain": 0.0, "cross": 0.0, "jitter": 0.0},
        zero="pass",
        share=0.5,
        ramps=False,
        still=None,
        outside=False,
        reference=r.Reference(r.abd, {"least": 0.0, "jitter": 0.0}),
    ),
    "sdcl": Row(
        m.SDCL(decay=0.3, other=r.OTHER),
        "-LL",
        off={"weight": 0.0, "side": 1.0, "pretrain": 0.0, "correct": 0.0, "unsure": 0.0},
        zero="pass",
        share=0.5,
        strong=False,
        ramps=False,
        still=None,
        outside=False,
        reference=r.Reference(r.sdcl, {"correct": 0.5, "unsure": 0.5}),
    ),
    "tracoco": Row(
        m.TraCoCo(**LOW, negative_threshold=0.3, translation=0.5, entropy=0.2, least=0.0),
        "LLLLLLLL",
        off={"weight": 0.0, "noise": 0.0},
        strong=False,
        still={"cutmix": 0.0, "noise": 0.0, "shift": 0.0},
        reference=r.Reference(r.tracoco, {"noise": 0.0, "threshold": 0.4}, sharp=2.0),
    ),
    "beta_fft": Row(
        m.BetaFFT(decay=0.3, pairs="both", alpha=1.0),
        "-LL-LL" + "LLLL" + "LLLL" + "LLLL",
        off={
            "weight": 0.0,
            "side": 1.0,
            "pretrain": 0.0,
            "cross": 0.0,
            "jitter": 0.0,
            "extra": 0.0,
            "interpolation": 0.0,
        },
        zero="pass",
        share=0.5,
        ramps=False,
        still=None,
        outside=False,
        reference=r.Reference(
            r.beta_fft, {"least": 0.0, "jitter": 0.0, "share": 0.2, "extra": 0.7}
        ),
    ),
}
VARIANTS = {
    "fixmatch_dice": ROWS["fixmatch"]._replace(
        method=m.FixMatch(**LOW, pixel_loss="ce_dice", least=0.0),
        reference=r.Reference(r.fixmatch_dice),
    ),
    "unimatch_dice": ROWS["unimatch"]._replace(
        method=m.UniMatch(**LOW, pixel_loss="dice", least=0.0),
        reference=r.Reference(r.unimatch_dice, MIX),
    ),
    "flexmatch": ROWS["fixmatch"]._replace(
        method=m.FixMatch(**LOW, rule="flexmatch"), rejects=False, ready=_learnt, reference=None
    ),
    "entropy_filter": ROWS["fixmatch"]._replace(
        method=m.FixMatch(**LOW, rule="entropy", entropy_drop=0.6),
        rejects=False,
        ramps=False,  # the images that it leaves out change with the progress
        reference=None,
    ),
    "freematch": ROWS["fixmatch"]._replace(
        method=m.FixMatch(**LOW, rule="freematch"), rejects=False, ready=_learnt, reference=None
    ),
}
"""Other programs of the same methods; they pass every check that their methods do. An adaptive rule
accepts at any ``threshold``.
"""


def make_batch(seed: int = 7) -> Batch:
    """Two labelled and two unlabelled images; the views show the pool from its pixel (1, 1) on."""
    k = jax.random.split(jax.random.key(seed), 4)
    shape = (2, SIDE, SIDE, 1)
    weak = jax.random.normal(k[1], shape)
    grid = jnp.stack(
        jnp.meshgrid(
            jnp.arange(SIDE) + 1.0,
            jnp.arange(SIDE) + 1.0,
            indexing="ij",
        )
    )
    valid = jnp.ones(shape[:-1], bool).at[:, :2].set(False)
    strong = weak + 0.5 * jax.random.normal(k[3], shape)
    label = jax.random.randint(k[2], shape[:-1], 0, 3)
    place = jnp.array([2, 0])
    return Batch(
        jax.random.normal(k[0], shape),
        label,
        weak,
        strong,
        valid,
        place,
        jnp.stack([grid, grid]),
        jnp.ones(2),
        IMAGES.take(place),
    )


class Passes(NamedTuple):
    """Every pass through the network, in the order of the code: axes ``(2 steps, pass, …)``, and
    the loss's gradient with respect to two of them.
    """

    image: jax.Array
    logits: jax.Array
    features: jax.Array
    d_logits: jax.Array
    d_features: jax.Array


class Probe(NamedTuple):
    """What each of two training steps gave; every array has a leading axis of 2."""

    value: jax.Array
    metrics: dict[str, jax.Array]
    pseudo: Pseudo | None
    gradient: Any
    memory_gradient: jax.Array
    params: Any
    memory: Any
    passes: Passes


@dataclasses.dataclass(frozen=True, eq=False)
class Tape:
    """A network that notes its passes, and adds to each one's logits and features a zero of its
    own, with respect to which the loss is differentiated.

    ``model.apply`` is a method's only door to the network, so this holds for any of them. A second
    architecture, and a pass inside a loop or an inner gradient (which is no variable of the loss),
    go unnoticed.
    """

    net: Any
    zero_logits: jax.Array
    zero_features: jax.Array
    passes: list[tuple[jax.Array, jax.Array, jax.Array]] = dataclasses.field(default_factory=list)
    level: Any = dataclasses.field(default_factory=lambda: get_opaque_trace_state(convention="nnx"))
    linear_head = True

    def apply(
        self, params: Params, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> Output:
        output = self.net.apply(params, x, train=train, key=key)
        if get_opaque_trace_state(convention="nnx") != self.level:
            return output
        i = len(self.passes)
        self.passes.append((x, output.logits, output.aux["features"]))
        aux = {
            **output.aux,
            "features": output.aux["features"] + self.zero_features[i],
        }
        return output._replace(
            logits=output.logits + self.zero_logits[i],
            aux=aux,
        )


MOST = 18
"""Passes a method may make."""


@jax.jit
def probe(method: Any, params: Any, memory: Any, batch: Batch, progress: jax.Array) -> Probe:
    """Two steps of descent in one compiled scan, as training has them. One program a method serves
    every check.
    """
    zeros = [
        jnp.zeros((MOST, *batch.weak.shape[:-1], channels))
        for channels in (MODEL.classes, NET.widths[0])
    ]

    def step(carry: Any, progress: jax.Array) -> Any:
        params, memory = carry

        def loss(weights: Any, memory: Any, zeros: Any) -> Any:
            tape = Tape(NET, *zeros)
            value, aux = method.loss(
                MODEL._replace(net=tape),
                with_weights(params, weights),
                memory,
                batch,
                KEY,
                progress,
            )
            return value, (
                aux,
                [jnp.stack(x) for x in zip(*tape.passes, strict=True)],
            )

        of = jax.value_and_grad(loss, (0, 1, 2), has_aux=True, allow_int=True)
        (value, (aux, passes)), (g, g_memory, g_zeros) = of(get_weights(params), memory, zeros)
        leak = sum(
            (
                jnp.abs(x).sum()
                for x in jax.tree.leaves(g_memory)
                if jnp.issubdtype(x.dtype, jnp.floating)
            ),
            jnp.float32(0),
        )
        new = with_state(
            with_weights(
                params,
                jax.tree.map(
                    lambda w, d: w - 0.05 * d,
                    get_weights(params),
                    g,
                ),
            ),
            aux.state,
        )
        new, memory = method.update(
            new,
            memory if aux.memory is None else aux.memory,
        )
        return (new, memory), Probe(
            value,
            aux.metrics,
            aux.pseudo,
            g,
            leak,
            new,
            memory,
            Passes(*passes, *(x[: len(passes[0])] for x in g_zeros)),
        )

    return jax.lax.scan(step, (params, memory), progress)[1]


_begun: dict[Any, Any] = {}


def begin(row: Row, sharp: float = 1.0) -> Any:
    """Params and memory of a row's method, which follow its static fields alone; the networks' last
    layers times ``sharp``.
    """
    kind = jax.tree.structure(row.method)
    if kind not in _begun:
        _begun[kind] = row.method.init(MODEL, KEY)
    last = jax.tree_util.DictKey("head"), jax.tree_util.DictKey("kernel")
    params, memory = jax.tree.map_with_path(
        lambda path, x: sharp * x if path[-2:] == last else x, _begun[kind]
    )
    return params, row.ready(memory)


def two_steps(
    row: Row, batch: Batch, progress: tuple[float, float] = LATE, sharp: float = 1.0, **fields: Any
) -> Probe:
    """The probe of a row's method with some fields changed."""
    return probe(
        dataclasses.replace(row.method, **fields),
        *begin(row, sharp),
        batch,
        jnp.asarray(progress, jnp.float32),
    )


def first(tree: Any) -> Any:
    """What the first step gave."""
    return jax.tree.map(lambda x: x[0], tree)


def net(tree: Any) -> Any:
    """The evaluated network's part of a params tree, or of its gradient."""
    return tree["net"] if isinstance(tree, dict) and "net" in tree else tree


def equal(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def close(a: Any, b: Any, rtol: float = 1e-4) -> bool:
    """Whether two trees differ by rounding only, relative to the largest entry of each array."""
    far = [
        np.abs(np.asarray(x) - np.asarray(y)).max() / max(np.abs(np.asarray(y)).max(), 1e-3)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    ]
    return max(far) < rtol


def is_params(x: Any) -> bool:
    return isinstance(x, Params)
