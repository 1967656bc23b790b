"""The building blocks of the methods against answers by hand, SciPy and NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_cases import KEY, MODEL, ROWS, VARIANTS, first, make_batch, two_steps
from scipy import ndimage

from semiseg import methods as m
from semiseg.augment import Augmentation
from semiseg.augment.mix import beta_box, box, cutmix_box, jitter, partner, paste
from semiseg.config import Trial, override
from semiseg.data.pools import of_arrays
from semiseg.errors import UserError
from semiseg.losses import Dice
from semiseg.methods.parts import thresholds
from semiseg.methods.parts.components import components, largest
from semiseg.methods.parts.distance_head import as_probability, distance_map
from semiseg.methods.parts.heads import last_layer
from semiseg.methods.parts.ramps import linear_ramp
from semiseg.methods.parts.terms import (
    dice_of_accepted,
    divergence,
    entropy,
    sharpen,
    supervised_loss,
    weighed,
)
from semiseg.methods.temporal_ensembling import look_up, write_back
from semiseg.nets import ENet, FCN8s
from semiseg.ragged import of_dense
from semiseg.runner.build import knobs_of
from semiseg.train import program

UNIFORM = jnp.full((1, 2, 2, 4), 0.25)
ALL = jnp.ones((1, 2, 2), bool)


def test_entropy_sharpening_and_divergence_by_hand():
    """Catches base-2 logarithms, NaN at p = 0, and a temperature applied the wrong way round."""
    sure = jnp.array([1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(
        entropy(UNIFORM),
        np.log(4),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        [entropy(sure), divergence(sure, sure)],
        0,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        divergence(sure, UNIFORM[0, 0, 0]),
        np.log(4),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        sharpen(jnp.array([0.8, 0.2]), 0.5), np.array([0.64, 0.04]) / 0.68, rtol=1e-5
    )
    np.testing.assert_allclose(
        sharpen(UNIFORM, 0.1),
        UNIFORM,
        rtol=1e-6,
    )
    assert np.isfinite(jax.grad(lambda p: entropy(p).sum())(sure)).all()
    np.testing.assert_allclose(
        [linear_ramp(jnp.float32(p), 0.4) for p in (0.0, 0.1, 0.4, 1.0)], [0, 0.25, 1, 1], rtol=1e-6
    )


def test_an_image_weighs_in_a_loss_of_the_whole_batch():
    """Half of one image's gradient of a Dice over the batch, all of the other's, and the value of
    weights 1. Catches a weight on the loss's value.
    """
    logits = jax.random.normal(
        jax.random.key(0),
        (2, 3, 3, 2),
    )
    label = jnp.eye(3, dtype=jnp.int32)[None].repeat(2, 0)

    def loss(x, w):
        return Dice(batch=True)(weighed(x, w), label)

    (value, g), (plain, h) = (
        jax.value_and_grad(loss)(logits, w) for w in (jnp.array([0.5, 1.0]), None)
    )
    assert value == plain
    assert np.array_equal(
        g,
        h * jnp.array([0.5, 1.0])[:, None, None, None],
    )


# ------------------------------------------------------------------ thresholds
def maps(*pixels):
    """A probability map ``(1, 1, n, K)``."""
    return jnp.array([[list(pixels)]], jnp.float32)


HALVES = jnp.array([[[0, 1]]])
"""A label in which two classes are equally frequent."""


def adapted(kind, threshold, memory, p, decay=1.0, label=HALVES):
    """Accepted pixels of a row, all valid, and the memory after it."""
    valid = jnp.ones(p.shape[:-1], bool)
    accepted, after = thresholds.accept(
        kind,
        threshold,
        memory,
        p,
        valid,
        label,
        decay,
    )
    return accepted[0, 0].tolist(), after


def test_fixed_threshold_includes_its_own_value():
    """Catches > for >=, and pixels from outside the frame."""
    p = maps(
        [0.95, 0.05],
        [0.949, 0.051],
        [0.99, 0.01],
    )
    valid = jnp.array([[[True, True, False]]])
    accepted, _ = thresholds.accept(
        "fixed", 0.95, thresholds.initial_thresholds(2), p, valid, HALVES, 0.9
    )
    np.testing.assert_array_equal(
        accepted[0, 0],
        [True, False, False],
    )


def test_the_entropy_filter_leaves_out_the_surest_images():
    """By the mean over valid pixels, whatever lies outside the frame. Catches the least sure images
    left out, a share of a batch instead of the average over batches, and one that is dropped at 0.
    """
    p = jnp.array([[[0.5, 0.5], [1.0, 0.0]], [[0.9, 0.1], [0.9, 0.1]], [[1.0, 0.0], [0.5, 0.5]]])
    valid = jnp.array([[True, False], [True, True], [True, False]])
    none = thresholds.initial_entropies()
    for drop, kept in ((0.0, [0, 1, 2]), (0.3, [0, 1, 2]), (0.4, [0, 1]), (0.7, [0])):
        taught, after = thresholds.unsure_images(none, p, valid, 0.9, drop)
        expected = [valid[i] if i in kept else [False, False] for i in range(3)]
        np.testing.assert_array_equal(taught, expected)
    assert float(after.sum()) == pytest.approx(0.3)
    unsure = jnp.full((3, 2, 2), 0.5)
    taught, _ = thresholds.unsure_images(after, unsure, valid, 0.9, 0.4)
    np.testing.assert_array_equal(taught, valid)


def test_flexmatch_lowers_the_threshold_of_a_class_that_is_learnt_less():
    """shares .4 and .1 of halves: .8 and .2 are found, .5 is not learnt: beta = 1 and 1/4, M = 1
    and 1/7. Catches shares of predictions instead of confident ones.
    """
    memory = thresholds.initial_thresholds(2) | {"learnt": jnp.array([0.4, 0.1])}
    p = maps([0.89, 0.11], [0.91, 0.09], [0.45, 0.55])
    accepted, after = adapted("flexmatch", 0.9, memory, p)
    assert accepted == [False, True, True]
    np.testing.assert_allclose(
        after["learnt"],
        memory["learnt"],
    )
    _, after = adapted("flexmatch", 0.9, memory, p, decay=0.5)
    np.testing.assert_allclose(
        after["learnt"],
        [0.5 * 0.4 + 0.5 / 3, 0.05],
        rtol=1e-5,
    )


def test_freematch_follows_the_mean_confidence():
    """Mean confidence .8, shares .5 and .25 of halves: thresholds .8 and .4. Catches an unscaled
    class and a start that accepts nothing.
    """
    memory = thresholds.initial_thresholds(2) | {
        "confidence": jnp.float32(0.8),
        "share": jnp.array([0.5, 0.25]),
    }
    p = maps([0.79, 0.21], [0.81, 0.19], [0.45, 0.55])
    assert adapted("freematch", 0.0, memory, p)[0] == [False, True, True]
    accepted, _ = adapted(
        "freematch",
        0.0,
        thresholds.initial_thresholds(4),
        UNIFORM,
    )
    assert all(accepted)


@pytest.mark.parametrize(
    "kind",
    ["flexmatch", "freematch"],
)
def test_a_rare_class_that_is_found_as_often_as_it_occurs_has_the_full_threshold(kind):
    """One pixel in twenty is foreground, in the labels and in confident predictions. Catches shares
    that are compared with the background's, under which any foreground pixel is accepted.
    """
    label = jnp.zeros((1, 1, 20), int).at[0, 0, 0].set(1)
    memory = thresholds.initial_thresholds(2) | {
        "confidence": jnp.float32(0.9),
        "share": jnp.array([0.95, 0.05]),
        "learnt": jnp.array([0.95, 0.05]),
    }
    p = maps(
        [0.15, 0.85],
        [0.05, 0.95],
        [0.85, 0.15],
        [0.95, 0.05],
    )
    accepted, after = adapted(kind, 0.9, memory, p, label=label)
    assert accepted == [False, True, False, True]
    np.testing.assert_allclose(
        after["prior"],
        [0.95, 0.05],
        rtol=1e-5,
    )


def test_the_prior_is_the_mean_of_all_labelled_batches():
    """Catches a prior that forgets, one in which IGNORE is a class, and one that an unlabelled
    batch changes.
    """
    memory = thresholds.initial_thresholds(2)
    for label in ([0, 0, 0, 1], [1, 1, 255, 255], [255] * 4):
        memory = thresholds.with_labels(
            memory,
            jnp.array([[label]]),
        )
    np.testing.assert_allclose(
        memory["prior"],
        [0.375, 0.625],
    )
    assert memory["batches"] == 2


def test_adaptive_thresholds_follow_a_training_of_any_length():
    """A thousandth of it leaves ``rule_decay`` of an average, be it one step or ten. Catches a
    decay in steps.
    """
    row = VARIANTS["freematch"]
    start = row.ready(row.method.init(MODEL, KEY)[1])["thresholds"]["share"]
    after = {}
    for steps in (1000.0, 10_000.0):
        model = MODEL._replace(steps=jnp.float32(steps))
        params, memory = row.method.init(model, KEY)
        _, aux = row.method.loss(
            model, params, row.ready(memory), make_batch(), KEY, jnp.float32(0.5)
        )
        after[steps] = aux.memory["thresholds"]["share"] - start
    short, long = (jnp.abs(x).max() for x in after.values())
    np.testing.assert_allclose(
        long / short,
        (1 - 0.9**0.1) / 0.1,
        rtol=1e-3,
    )


# ------------------------------------------------------------------ mixing
def test_boxes_have_their_side_anywhere_they_fit():
    """Catches a box that leaves the image, touches only the corner, or has the side of the
    complement.
    """
    masks = np.asarray(
        box(
            jax.random.key(0),
            (12, 9),
            200,
            (2 / 3, 2 / 3),
        )
    )
    assert set(masks.sum((1, 2))) == {8 * 6}
    first = np.argwhere(masks)[:, 1:].reshape(200, -1, 2).min(1)
    assert {tuple(f) for f in first} == set(itertools.product(range(5), range(4)))


def test_cutmix_boxes_have_the_published_area():
    """2 to 40 % of the image in half of the draws. Catches a side used as an area."""
    masks = np.asarray(cutmix_box(jax.random.key(0), (64, 64), 400))
    share = masks.mean((1, 2))
    assert abs((share > 0).mean() - 0.5) < 0.08
    assert share[share > 0].min() > 0.01
    assert share.max() < 0.41
    assert share.max() > 0.3


def test_beta_boxes_cover_a_third_of_the_picture():
    """Sides of sqrt(Beta(4, 4)) around a centre that is not in the first eighth. Catches a side
    used as an area, UniMatch's area (0.21), and one box for a batch.
    """
    masks = np.asarray(beta_box(jax.random.key(0), (64, 64), 1000))
    share = masks.mean((1, 2))
    assert abs(share.mean() - 0.36) < 0.02
    assert len(np.unique(share)) > 100
    assert not masks[:, :, 0].all()
    rng = np.random.default_rng(0)
    side = np.sqrt(rng.beta(4, 4, 4000))
    centre = rng.uniform(1 / 8, 1, (2, 4000))
    covered = np.minimum(centre + side / 2, 1) - np.maximum(centre - side / 2, 0)
    wanted = np.quantile(covered.prod(0), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(
        np.quantile(share, [0.1, 0.5, 0.9]),
        wanted,
        atol=0.03,
    )
    drawn = np.asarray(
        beta_box(
            jax.random.key(0),
            (4, 16, 16),
            400,
            0.25,
        )
    ).any((1, 2, 3))
    assert abs(drawn.mean() - 0.25) < 0.08


def test_a_class_with_few_accepted_pixels_has_no_dice():
    """Forty pixels of class 1, two of class 2. Catches one pixel that weighs as much as a class,
    and a class that is skipped for being absent alone.
    """
    logits = jax.random.normal(
        jax.random.key(0),
        (1, 8, 8, 3),
    )
    label = (
        jnp.zeros((1, 64), int)
        .at[0, :40]
        .set(1)
        .at[0, 62:]
        .set(2)
        .reshape(
            1,
            8,
            8,
        )
    )
    of = jax.value_and_grad(lambda x, n: dice_of_accepted(x, label, n)[0])
    (every, g_every), (most, g_most) = of(logits, 0), of(logits, 3)
    whole = Dice(squared=True, background=True)(
        logits,
        label,
    )
    np.testing.assert_allclose(
        every,
        whole,
        rtol=1e-5,
    )
    assert most < every
    of_two = np.abs(g_every - g_most).max(-1)[label == 2].mean()
    assert of_two > 0.5 * np.abs(g_every).max(-1)[label == 2].mean()
    assert [float(dice_of_accepted(logits, label, n)[1]) for n in (0, 3, 40)] == [0, 1, 2]
    nothing, skipped = dice_of_accepted(
        logits,
        jnp.full_like(label, 255),
        0,
    )
    assert nothing == 0
    assert skipped == 3


def test_a_quantile_of_confidence_rises_to_the_threshold():
    """Class 0 with confidences from 0.6 to 0.7, class 1 never seen. Catches a threshold of one
    class for all, and one above the fixed one.
    """
    unsure = jnp.linspace(0.6, 0.7, 101)
    p = maps(*[[float(x), 1 - float(x)] for x in unsure])
    valid = jnp.ones(p.shape[:-1], bool)
    histogram = thresholds.initial_histogram(2)
    histogram = thresholds.with_confidences(
        histogram,
        p,
        valid,
        0.5,
    )
    limits = thresholds.of_quantile(histogram, 0.8, 0.95)
    np.testing.assert_allclose(
        limits,
        [0.68, 0.95],
        atol=0.011,
    )
    np.testing.assert_allclose(
        thresholds.of_quantile(histogram, 1.0, 0.95),
        [0.95, 0.95],
    )
    np.testing.assert_allclose(
        thresholds.of_quantile(histogram, 0.8, 0.65),
        [0.65, 0.65],
    )
    sure = jnp.broadcast_to(
        jnp.array([0.99, 0.01]),
        p.shape,
    )
    for _ in range(20):
        histogram = thresholds.with_confidences(
            histogram,
            sure,
            valid,
            0.5,
        )
    np.testing.assert_allclose(
        thresholds.of_quantile(histogram, 0.8, 0.95),
        [0.95, 0.95],
    )


def test_paste_and_partner():
    """Catches image and label pasted the other way round."""
    x = jnp.arange(3.0)[:, None, None, None] * jnp.ones((3, 4, 4, 1))
    mask = jnp.zeros((3, 4, 4), bool).at[:, 0].set(True)
    mixed = paste(mask, x, partner(x))
    np.testing.assert_array_equal(
        mixed[:, 0, 0, 0],
        [2, 0, 1],
    )
    np.testing.assert_array_equal(
        mixed[:, 1, 0, 0],
        [0, 1, 2],
    )
    np.testing.assert_array_equal(
        paste(mask, x[..., 0], partner(x)[..., 0]),
        mixed[..., 0],
    )


def test_jitter_is_drawn_for_each_image():
    """Catches one draw for the whole batch, and a view that changes at both probabilities 0."""
    x = jax.random.normal(
        jax.random.key(0),
        (3, 8, 8, 1),
    )
    np.testing.assert_array_equal(
        jitter(jax.random.key(1), x, 0.0, 0.0),
        x,
    )
    gain = np.asarray(jitter(jax.random.key(1), x, 1.0, 0.0)).std((1, 2, 3)) / np.asarray(x).std(
        (1, 2, 3)
    )
    assert len(np.unique(gain.round(4))) == 3
    assert gain.min() >= 1 / 1.51
    assert gain.max() <= 1.51


# ------------------------------------------------------------------ components, distances
def test_the_largest_component_is_scipys():
    """Random blobs of three classes, and a spiral: catches 4-connectivity, a component cut in two,
    and classes that join.
    """
    rng = np.random.default_rng(0)
    label = (
        (
            ndimage.gaussian_filter(
                rng.normal(size=(3, 24, 20)),
                (0, 1.2, 1.2),
            )
            * 9
            + 1
        )
        .astype(int)
        .clip(0, 3)
    )
    spiral = np.zeros((24, 20), int)
    for i in range(0, 10, 2):
        spiral[i, i : 20 - i] = 1
        spiral[i : 24 - i, 19 - i] = 1
        spiral[23 - i, i : 20 - i] = 1
        spiral[i + 2 : 24 - i, i] = 1
    label = np.concatenate(
        [
            label,
            spiral[None],
            np.eye(24, 20, dtype=int)[None],
        ]
    )
    found, numbers = jax.jit(lambda x: (largest(x, 4), components(x)))(label)
    for got, number, truth in zip(
        np.asarray(found),
        np.asarray(numbers),
        label,
        strict=True,
    ):
        wanted = np.zeros_like(truth)
        for k in (1, 2, 3):
            parts, n = ndimage.label(truth == k, np.ones((3, 3)))
            assert len(np.unique(number[truth == k])) == n
            sizes = np.bincount(parts.ravel(), minlength=n + 1)[1:]
            wanted[
                np.isin(
                    parts,
                    1 + np.flatnonzero(sizes == sizes.max(initial=-1)),
                )
            ] = k if n else 0
        np.testing.assert_array_equal(
            got,
            np.where(truth > 0, wanted, 0),
        )


def test_distance_maps_are_bounded_and_negative_inside():
    """Catches the sign, one scale for both sides, and an absent class that is read as likely as
    not.
    """
    label = np.zeros((1, 9, 9), int)
    label[0, 3:6, 3:6] = 1
    d = np.asarray(distance_map(jnp.asarray(label), 3))
    assert d.shape == (1, 9, 9, 2)
    assert np.all(d[..., 1] == 1)
    full = np.asarray(
        distance_map(
            jnp.full((1, 4, 4), 2).at[0, 0, 0].set(255),
            3,
        )
    )
    assert np.all(full[0, 1:] == (1, -1))
    assert np.all(full[0, 0, 0] == 0)
    np.testing.assert_allclose(
        [d[0, 4, 4, 0], d[0, 0, 0, 0], d[0, 3, 3, 0]], [-1, 1, -0.5], rtol=1e-6
    )
    np.testing.assert_array_equal(
        np.asarray(as_probability(d[..., :1], 1500.0))[..., 0] > 0.5, label == 1
    )


# ------------------------------------------------------------------ the ensemble of the pool
def test_an_ensemble_is_the_bias_corrected_mean_of_its_updates():
    """Two updates of one image at a shifted view. Catches a wrong place, rows for columns, and Z
    not divided by 1 - keepᵗ.
    """
    z = jnp.zeros((1, 3 * 64, 2), jnp.float16)
    images = of_dense(jnp.zeros((3, 8, 8, 1))).take(jnp.array([2]))
    shape = (1, 4, 4)
    grid = jnp.stack(
        jnp.meshgrid(
            jnp.arange(4.0) + 1,
            jnp.arange(4.0) + 3,
            indexing="ij",
        )
    )[None]
    valid = jnp.ones(shape, bool).at[0, 0, 0].set(False)
    p = jax.nn.softmax(
        jax.random.normal(
            jax.random.key(0),
            (2, *shape, 2),
        )
        * 2
    )
    for step in range(2):
        z = write_back(
            z,
            images,
            grid,
            valid,
            p[step],
            0.6,
        )
    seen = look_up(z, images, grid)
    z = z.reshape(3, 8, 8, 2)
    mean = (0.6 * 0.4 * p[0] + 0.4 * p[1]) / (1 - 0.6**2)
    np.testing.assert_allclose(
        (seen / seen.sum(-1, keepdims=True))[0, 1:],
        mean[0, 1:],
        rtol=5e-3,
    )
    assert float(seen[0, 0, 0].sum()) == 0
    assert float(jnp.abs(z[:2]).sum()) == 0
    assert float((z[2].sum(-1) > 0).sum()) == 15


def test_an_ensemble_keeps_what_a_float16_can_hold():
    """Catches a memory that stops to move: at the largest ``keep``, a prediction that differs by a
    tenth moves it.
    """
    images = of_dense(jnp.zeros((1, 1, 1, 1))).take(jnp.array([0]))
    point = jnp.zeros((1, 2, 1, 1))
    z = jnp.full((1, 1, 2), 0.5, jnp.float16)
    p = jnp.array([0.6, 0.4]).reshape(1, 1, 1, 2)
    valid = jnp.ones((1, 1, 1), bool)
    assert not np.array_equal(
        write_back(z, images, point, valid, p, 0.99),
        z,
    )
    assert np.array_equal(
        write_back(z, images, point, valid, p, 0.999),
        z,
    ), "then allow more"
    with pytest.raises(UserError, match=r"0\.99"):
        override(
            Trial(),
            {"method": "temporal_ensembling", "method.keep": 0.999},
        )


def test_an_image_drawn_twice_is_remembered_once():
    """The second of two equal views is written. Catches writes of one pixel in an order that a
    device may choose, and of an invalid one.
    """
    grid = jnp.stack(
        jnp.meshgrid(
            jnp.arange(4.0),
            jnp.arange(4.0),
            indexing="ij",
        )
    )
    p = jax.nn.softmax(
        jax.random.normal(
            jax.random.key(0),
            (2, 4, 4, 2),
        )
    )
    z = write_back(
        jnp.zeros((1, 3 * 64, 2)),
        of_dense(jnp.zeros((3, 8, 8, 1))).take(jnp.array([1, 1])),
        jnp.stack([grid, grid]),
        jnp.ones((2, 4, 4), bool).at[1, 0].set(False),
        p,
        0.6,
    )
    np.testing.assert_allclose(
        z.reshape(3, 8, 8, 2)[1, :4, :4],
        0.4 * p[1].at[0].set(p[0, 0]),
        rtol=1e-6,
    )


# ------------------------------------------------------------------ phases and turns
def test_bcp_pretrains_without_unlabelled_images():
    """Catches a phase that never ends, or looks at unlabelled images; the weight of the
    pseudo-labels is its own after it.
    """
    batch = make_batch(7)
    other = make_batch(8)
    changed = batch._replace(weak=other.weak)
    first = (0.0, 0.1)
    later = (0.3, 0.4)
    assert np.array_equal(
        two_steps(ROWS["bcp"], batch, first).value, two_steps(ROWS["bcp"], changed, first).value
    )
    assert not np.array_equal(
        two_steps(ROWS["bcp"], batch, later).value, two_steps(ROWS["bcp"], changed, later).value
    )
    assert [
        float(two_steps(ROWS["bcp"], batch, p).metrics["unsupervised_weight"][0])
        for p in (first, later)
    ] == [1.0, 0.5]


def test_mixed_pictures_are_what_the_papers_say():
    """BCP: the box of 2/3 of each side in one picture, all but it in the other. UniMatch: boxes of
    the next image in the strong and the weak view. Catches one way pasted twice, a picture without
    a box, and a box that does not cover what its complement leaves.
    """
    batch = make_batch()
    out, into = (
        np.all(x == batch.image, -1) for x in first(two_steps(ROWS["bcp"], batch)).passes.image[1:]
    )
    assert np.array_equal(out, ~into)
    assert sorted([out.sum(), into.sum()]) == [
        2 * 10 * 10,
        2 * (16 * 16 - 10 * 10),
    ]
    for x, mine in zip(
        first(two_steps(ROWS["bcp"], batch)).passes.image[1:], (out, into), strict=True
    ):
        assert np.array_equal(
            x,
            np.where(
                mine[..., None],
                batch.image,
                batch.weak,
            ),
        )
    how = ROWS["unimatch"].reference
    for x, view in zip(
        first(
            two_steps(
                ROWS["unimatch"],
                batch,
                **how.fields,
            )
        ).passes.image[2:],
        (batch.strong, batch.weak),
        strict=True,
    ):
        mixed = np.all(x == np.roll(view, 1, 0), -1)
        assert 0 < mixed.mean() < 0.5
        assert np.array_equal(
            x,
            np.where(
                mixed[..., None],
                np.roll(view, 1, 0),
                view,
            ),
        )


def test_self_training_begins_again_with_a_fresh_student():
    """Round 1 begins at progress 1/2: then the labeller is the average so far, and student and
    average are the initial ones.
    """
    row = ROWS["self_training"]._replace(ready=lambda memory: memory)
    p = two_steps(
        row,
        make_batch(),
        progress=(0.49, 0.5),
    )

    def same(a, b):
        return all(
            np.allclose(x, y)
            for x, y in zip(
                jax.tree.leaves(a),
                jax.tree.leaves(b),
                strict=True,
            )
        )

    def at(tree, i):
        return jax.tree.map(lambda x: x[i], tree)

    fresh = at(p.memory["fresh"], 0)
    assert not same(at(p.params, 0), fresh)
    assert same(at(p.params, 1), fresh)
    assert same(at(p.memory["teacher"], 1), fresh)
    assert not same(at(p.memory["labeller"], 1), fresh)
    assert p.metrics["unsupervised"][0] == 0
    assert list(p.memory["round"]) == [0, 1]


def test_self_training_begins_again_with_its_rate_and_moments():
    """Two rounds of four steps. Catches a poly schedule that has ended when the second student
    begins, and Adam's moments of the first.
    """
    method = ROWS["self_training"].method
    at = [float(method.rate_progress(jnp.float32(t / 8))) for t in range(8)]
    np.testing.assert_allclose(
        at,
        [0, 0.25, 0.5, 0.75] * 2,
        atol=1e-5,
    )
    compiled_in, knobs, pools = small_training(method, steps=8)
    state = program.start(
        compiled_in,
        knobs,
        jnp.uint32(0),
    )
    begun = jax.tree.map(np.asarray, state.params)
    moments = []
    for until in (3, 4, 5):
        state, _ = program.chunk(
            compiled_in,
            knobs,
            jnp.uint32(0),
            pools,
            state,
            jnp.int32(until),
        )
        moments.append(max(float(jnp.abs(x).max()) for x in jax.tree.leaves(state.optimiser)))
        if until == 4:
            leaves = zip(
                jax.tree.leaves(begun),
                jax.tree.leaves(state.params),
                strict=True,
            )
            assert all(np.array_equal(a, b) for a, b in leaves)
            assert int(state.memory["round"]) == 1
    assert moments[0] > 0
    assert moments[1] == 0
    assert moments[2] > 0


def small_training(method, steps):
    """Program, knobs and pools of a training on six random images, two of them labelled."""
    rng = np.random.default_rng(0)
    side = MODEL.sample.shape[1]
    image = rng.integers(0, 256, (6, side, side, 1)).astype(np.uint8)
    shown = np.arange(6) < 2
    label = np.where(
        shown[:, None, None],
        image[..., 0] // 86,
        255,
    ).astype(np.uint8)
    trial = Trial(
        method=method,
        augment=Augmentation(),
        steps=steps,
    )
    knobs = jax.tree.map(jnp.float32, knobs_of(trial))
    pools = of_arrays(image, label, shown)
    return (
        program.Program(
            MODEL,
            side,
            4,
            "adamw",
            "poly",
        ),
        knobs,
        pools,
    )


def test_ad_mt_updates_one_teacher_at_a_time():
    """Period of one step: the first teacher in step 0, the second in step 1. Catches both averaged
    always.
    """
    p = two_steps(
        ROWS["ad_mt"]._replace(
            ready=lambda m: m,
            method=m.ADMT(period=1, start=0.0, quantile=1.0),
        ),
        make_batch(),
    )
    assert p.memory["count"].tolist() == [[1, 0], [1, 1]]
    kept = [
        jax.tree.leaves(
            jax.tree.map(
                lambda x: np.array_equal(x[0], x[1]),
                p.memory[k].weights,
            )
        )
        for k in ("first", "second")
    ]
    assert all(kept[0])
    assert not any(kept[1][:1])


@pytest.mark.parametrize("steps", [500, 30_000])
def test_ad_mt_counts_in_shares_of_the_training(steps):
    """The published constants at 30,000 steps; teachers of 10 own steps and turns of one at 500.
    Catches a horizon or a period in steps.
    """
    method = m.ADMT()
    _, memory = method.init(
        MODEL._replace(steps=jnp.float32(steps)),
        KEY,
    )
    drawn = {
        int(
            method.draw_period(
                memory["draw"],
                i,
                memory["steps"],
            )
        )
        for i in range(300)
    }
    decay = float(method.teachers_decay(memory["steps"]))
    if steps == 500:
        assert drawn == {1}
        np.testing.assert_allclose(
            decay,
            0.9,
            rtol=1e-6,
        )
    else:
        assert min(drawn) == 1
        assert max(drawn) == 50
        np.testing.assert_allclose(
            decay,
            0.99,
            rtol=1e-6,
        )


def test_ad_mt_begins_supervised_and_takes_no_cut_outs():
    """Catches an unlabelled term from the first step on, and the trainer's strong view, which has
    cut-outs.
    """
    row = ROWS["ad_mt"]
    batch = make_batch()
    early = two_steps(row, batch, (0.05, 0.15), start=0.1)
    assert early.value[0] == early.metrics["supervised"][0]
    assert early.value[1] != early.metrics["supervised"][1]
    changed = batch._replace(strong=jnp.zeros_like(batch.strong))
    assert np.array_equal(
        two_steps(row, changed).value,
        two_steps(row, batch).value,
    )


@pytest.mark.parametrize(
    "kind",
    ["flexmatch", "freematch"],
)
def test_adaptive_thresholds_remember(kind):
    """Catches a memory that is not handed on from step to step."""
    memory = thresholds.initial_thresholds(3)
    p = jax.nn.softmax(
        3
        * jax.random.normal(
            jax.random.key(0),
            (2, 4, 4, 3),
        )
    )
    _, once = adapted(kind, 0.5, memory, p, decay=0.9)
    _, twice = adapted(kind, 0.5, once, p, decay=0.9)

    def moved(a, b):
        return any(
            not np.allclose(x, y)
            for x, y in zip(
                jax.tree.leaves(a),
                jax.tree.leaves(b),
                strict=True,
            )
        )

    assert moved(memory, once)
    assert moved(once, twice)


def test_coarse_labels_lie_where_their_pixels_are():
    """Odd sizes: the 1/16 output of 97 pixels has 7, of pixels 0, 16 … 96. Catches a stride rounded
    from the two sizes, and a lost term of a branch.
    """
    from semiseg.types import Output

    seen = []

    def criterion(logits, label):
        seen.append(label)
        return jnp.float32(1.0)

    label = jnp.arange(97)[None, :, None] * jnp.ones((1, 1, 97), jnp.int32)
    deep = [jnp.zeros((1, n, n, 2)) for n in (49, 25, 13, 7)]
    output = Output(
        jnp.zeros((1, 97, 97, 2)),
        {
            "deep": deep,
            "losses": {"vae": jnp.float32(0.5)},
        },
        {},
    )
    assert float(supervised_loss(criterion, output, label)) == 1.5
    for i, got in enumerate(seen):
        assert got[0, :, 0].tolist() == list(range(0, 97, 2**i))


def test_feature_dropout_refuses_a_network_without_one_last_layer():
    """FCN-8s adds three scores: catches feature dropout that trains another function than the
    network, silently.
    """
    for net in (FCN8s(), ENet()):
        assert not net.linear_head
        with pytest.raises(
            UserError,
            match="choose another net or method",
        ):
            last_layer(
                MODEL._replace(net=net), MODEL.init(jax.random.key(0)), jnp.zeros((1, 4, 4, 2))
            )
