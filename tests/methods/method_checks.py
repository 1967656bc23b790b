"""The checks of the contract that every method is held to; each is a function of a row.

A check must hold on every row that claims it (``test_methods``), and fail on its mutant, a method
broken in one line (``test_mutants``).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from method_cases import (
    IMAGES,
    LATE,
    ROWS,
    VARIANTS,
    begin,
    close,
    equal,
    first,
    make_batch,
    net,
    probe,
    two_steps,
)
from method_references import See

from semiseg import methods as m
from semiseg.losses import CEDice

BATCH = make_batch(7)
OTHER = make_batch(8)
CASES = ROWS | VARIANTS


def check_gradient(row):
    """Every weight learns, the memory never does, and all is finite."""
    p = two_steps(row, BATCH)
    assert all(
        np.isfinite(x).all() for x in jax.tree.leaves((p.value, p.metrics, p.gradient, p.params))
    )
    assert np.all(p.memory_gradient == 0), "gradient reaches the memory"
    idle = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree.leaves_with_path(p.gradient)
        if not np.abs(g[0]).max() > 0
    ]
    assert not idle, "weights that never learn"


def check_nothing_accepted_is_finite(row):
    """No valid pixel at all: means over nothing are 0, not NaN."""
    p = two_steps(row, BATCH._replace(valid=jnp.zeros_like(BATCH.valid)))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((p.value, p.metrics, p.gradient)))


def check_passes(row):
    """Which passes the loss teaches, by their logits or by their features through a head; a pass
    that makes a target is taught nothing.
    """
    p = first(two_steps(row, BATCH).passes)
    by = np.array([[bool(x.any()) for x in g] for g in (p.d_logits, p.d_features)])
    assert "".join("-LFB"[logits + 2 * features] for logits, features in by.T) == row.passes


def check_weight_zero(row):
    """Without its own terms a method is supervised training, bit for bit: loss, gradient,
    statistics. Where heads of its own go on learning from the labels, the labelled pass's logits
    have the gradient of those criteria alone; no other pass has any.
    """
    p = two_steps(row, BATCH, **row.off)
    reference = two_steps(ROWS["supervised"], BATCH)
    at = first(p.passes)
    alone = first(reference.passes)
    labelled = [equal(image, BATCH.image) for image in at.image]
    if row.zero == "heads":
        check_reference(
            row._replace(reference=row.reference._replace(fields=row.reference.fields | row.off))
        )
    else:
        same = functools.partial(close, rtol=1e-5) if row.zero == "pass" else equal
        assert same(
            at.d_logits[labelled.index(True)],
            row.share * alone.d_logits[0],
        )
    free = ~np.array(labelled)
    assert not at.d_logits[free].any()
    assert not at.d_features[free].any()
    if row.zero in ("pass", "heads"):
        return
    same = equal if row.zero == "equal" else functools.partial(close, rtol=1e-5)
    assert not at.d_features.any()
    assert same(p.metrics["supervised"], reference.metrics["supervised"])
    assert same(net(p.gradient), reference.gradient)
    assert same(net(p.params), reference.params)


def check_reference(row):
    """The loss, and its gradient with respect to every pass's logits and features, are those of the
    formula written a second time. The gradient shows what the value does not: a target through
    which it flows.
    """
    how = row.reference
    fields = {"threshold": 0.0} | dataclasses.asdict(row.method) | how.fields
    batch = BATCH._replace(strong=BATCH.weak) if how.one_view else BATCH
    steps = two_steps(row, batch, how.progress, how.sharp, **how.fields)
    p = jax.tree.map(lambda x: x[how.step], steps)
    before = begin(row, how.sharp) if how.step == 0 else first((steps.params, steps.memory))
    t = min(how.progress[how.step] / fields["ramp"], 1.0)
    see = See(
        p.passes.image,
        p.passes.logits,
        p.passes.features,
        *before,
        batch,
        fields["weight"],
        fields["threshold"],
        t,
        how.progress[how.step],
    )
    value, gradient = differentiated(how.formula)(see.x, see.z, see)
    np.testing.assert_allclose(p.value, value, rtol=how.rtol)
    for ours, theirs in zip(
        (p.passes.d_logits, p.passes.d_features),
        gradient,
        strict=True,
    ):
        for a, b in zip(ours, theirs, strict=True):
            assert np.abs(a - b).max() <= 10 * how.rtol * np.abs(b).max()


@functools.cache
def differentiated(formula):
    return jax.jit(jax.value_and_grad(formula, (0, 1)))


def check_views(row):
    """The loss follows the strong view where the method has one, and only there; the unlabelled
    images always matter.
    """
    strong = two_steps(row, BATCH._replace(strong=OTHER.strong))
    assert equal(strong.value, two_steps(row, BATCH).value) != row.strong
    if row.method.__class__ is not m.Supervised:
        assert not equal(
            two_steps(row, BATCH._replace(weak=OTHER.weak, strong=OTHER.strong)).value,
            two_steps(row, BATCH).value,
        )


def check_teacher(row):
    """The pseudo-labels do not follow the strong view: it is what they are learnt on."""
    a, b = (first(two_steps(row, x).pseudo) for x in (BATCH, BATCH._replace(strong=OTHER.strong)))
    assert equal(a[:2], b[:2])


def check_outside(row):
    """Pixels that augmentation moved in from outside the frame teach the network nothing."""
    nothing = BATCH._replace(valid=jnp.zeros_like(BATCH.valid))
    changed = nothing._replace(weak=OTHER.weak, strong=OTHER.strong)
    a, b = (two_steps(row, x) for x in (nothing, changed))
    assert close(
        first(net(a.gradient)),
        first(net(b.gradient)),
    )


def check_rejected(row):
    """With no pixel accepted, the gradient is that of supervised training."""
    p = two_steps(row, BATCH, threshold=1.1)
    off = two_steps(row, BATCH, **row.off)
    assert close(net(p.gradient), net(off.gradient), 1e-5)


def check_partly_rejected(row):
    """At the median confidence: no pass has a gradient at the logits or features of a rejected
    pixel, and those that are taught have one at nearly every accepted pixel.
    """
    confidence = first(two_steps(row, BATCH, **row.still).pseudo).probability.max(-1)
    p = first(
        two_steps(
            row,
            BATCH,
            threshold=float(np.median(confidence[BATCH.valid])),
            **row.still,
        )
    )
    accepted = p.pseudo.accepted
    assert 0.1 < accepted[BATCH.valid].mean() < 0.9
    reached = np.any(p.passes.d_logits != 0, -1) | np.any(p.passes.d_features != 0, -1)
    taught = [
        there
        for there, image in zip(reached, p.passes.image, strict=True)
        if there.any() and not equal(image, BATCH.image)
    ]
    assert taught
    assert all(not there[~accepted].any() and there[accepted].mean() > 0.9 for there in taught)


def check_hidden(row):
    """Pixels under a cut-out of the strong view teach nothing: no pass that sees that view has a
    gradient there, and it has one elsewhere.
    """
    hidden = jnp.zeros_like(BATCH.valid).at[:, 6:12, 3:9].set(True)
    p = first(two_steps(row, BATCH._replace(hidden=hidden), **row.still))
    reached = np.any(p.passes.d_logits != 0, -1) | np.any(p.passes.d_features != 0, -1)
    strong = [
        there
        for there, image in zip(reached, p.passes.image, strict=True)
        if equal(image, BATCH.strong)
    ]
    assert strong, "no pass sees the strong view"
    for there in strong:
        assert not there[hidden].any()
        assert there[BATCH.valid & ~hidden].mean() > 0.2
    if not isinstance(row.method, m.UniMatch | m.UniMatchV2):  # their second view hides nothing
        assert not (p.pseudo.accepted & hidden).any()


def check_permutation(row):
    """The order of the unlabelled images changes nothing: each is taught with its own prediction,
    not with a neighbour's.
    """
    turned = BATCH._replace(
        **{f: getattr(BATCH, f)[::-1] for f in ("weak", "strong", "valid", "place", "coordinates")},
        layout=IMAGES.take(BATCH.place[::-1]),
    )
    a, b = (two_steps(row, x, **row.still) for x in (BATCH, turned))
    assert close(a.value, b.value)
    assert close(net(a.gradient), net(b.gradient), 1e-2)


def check_average(row):
    """The evaluated average after two steps: the first copies, the second keeps min(1/2, decay =
    .3) of that; weights AND statistics.
    """
    p = two_steps(row, BATCH)
    average = p.memory["average" if "average" in p.memory else "teacher"]
    mean = jax.tree.map(
        lambda x: jnp.stack([x[0], 0.3 * x[0] + 0.7 * x[1]]),
        net(p.params),
    )
    assert jax.tree.leaves(mean.state)
    assert close(average.state, mean.state, 1e-5)
    assert close(average.weights, mean.weights, 1e-5)
    final = row.method.final(
        jax.tree.map(lambda x: x[1], p.params), jax.tree.map(lambda x: x[1], p.memory)
    )
    assert equal(
        final,
        jax.tree.map(lambda x: x[1], average),
    ), "another network is evaluated"


def check_two_teachers(row):
    """In turn, each keeps .3 of itself and takes .7 of the student of its step; out of turn it
    stays.
    """
    p, (_, memory) = two_steps(row, BATCH), begin(row)
    for turn, name in enumerate(("first", "second")):
        old = memory[name]
        for step in (0, 1):
            new, student = (
                jax.tree.map(lambda x, i=step: x[i], tree) for tree in (p.memory[name], p.params)
            )
            wanted = (
                jax.tree.map(
                    lambda a, b: 0.3 * a + 0.7 * b,
                    old,
                    student,
                )
                if step == turn
                else old
            )
            assert jax.tree.leaves(new.state)
            assert close(new.state, wanted.state, 1e-5)
            assert close(new.weights, wanted.weights, 1e-5)
            old = new


def check_critic(row):
    """The critic learns from its own loss alone, and all else from the rest alone."""
    full, no_weight, no_critic = (
        first(two_steps(row, BATCH, **f).gradient)
        for f in ({}, {"weight": 0.0}, {"critic_weight": 0.0})
    )
    assert close(full["critic"], no_weight["critic"], 1e-5)
    assert not any(x.any() for x in jax.tree.leaves(no_critic["critic"]))

    def rest(g):
        return {k: v for k, v in g.items() if k != "critic"}

    assert close(rest(full), rest(no_critic), 1e-5)


def check_ramp(row):
    """What the loss adds, and the weight that is logged, rise as exp(-5 (1 - t)²) to their full
    value at the ramp's end; twice the ``weight`` adds twice as much. Without a ramp it is all there
    at once. Over pixels that teach from the start, as UA-MT's limit on their entropy rises too.
    """
    ramp, start = ({"ramp": 0.4}, 0.0) if row.ramps else ({}, LATE[0])
    batch = BATCH._replace(
        valid=first(two_steps(row, BATCH, (start, start), **ramp)).pseudo.accepted
    )

    def look(t, weight):
        return first(
            two_steps(
                row,
                batch,
                (t, t),
                weight=weight,
                **ramp,
            )
        )

    none, half, full = (look(LATE[0], weight).value for weight in (0.0, 50.0, 100.0))
    assert full != none, "nothing is added"
    np.testing.assert_allclose(
        2 * (half - none),
        full - none,
        rtol=1e-3,
    )
    for t, share in ((0.0, np.exp(-5.0)), (0.2, np.exp(-1.25))) if row.ramps else ():
        p = look(t, 100.0)
        np.testing.assert_allclose(
            p.value - none,
            share * (full - none),
            rtol=1e-3,
        )
        np.testing.assert_allclose(
            next(v for k, v in p.metrics.items() if k.endswith("_weight")), 100 * share, rtol=1e-5
        )


def check_compiles_once(row):
    """Other values of float fields, weights and batches run through the program there is."""
    two_steps(row, BATCH)
    before = probe._cache_size()
    fields = {f.name for f in dataclasses.fields(row.method)}
    two_steps(
        row,
        OTHER,
        progress=(0.1, 0.2),
        **{k: v for k, v in {"weight": 0.3, "ramp": 0.7, "decay": 0.5}.items() if k in fields},
    )
    assert probe._cache_size() == before


def check_image_weight(row):
    """The mask of an image of weight 0 teaches nothing, early (in a pre-training) and late: neither
    gradient nor memory follow it. By cross-entropy alone, since a Dice over the batch has every
    mask in its sums.
    """
    off = BATCH._replace(weight=jnp.array([0.0, 1.0]))
    batches = off, off._replace(label=off.label.at[0].set(OTHER.label[0])), BATCH
    a, b, on = (two_steps(row, x, (0.1, 0.6), criterion=CEDice(dice_weight=0.0)) for x in batches)
    assert close(a.gradient, b.gradient, 1e-6)
    assert close(a.memory, b.memory, 1e-6)
    assert not close(a.gradient, on.gradient)
