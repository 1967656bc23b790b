"""What the formula of ABD's loss takes as given: which patches are moved, and when."""

import dataclasses

import jax
import numpy as np
import pytest
from method_cases import ROWS, make_batch
from test_quirks import watch

from semiseg.methods.parts.displacement import (
    displaced,
    grid_of,
)

BATCH = make_batch(7)
OTHER = make_batch(8)


def softmax(x):
    z = np.exp(x - x.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def windows(size, n):
    """The pixels of each patch of a square image, row by row."""
    side = size // n
    return [
        (
            slice(i * side, (i + 1) * side),
            slice(j * side, (j + 1) * side),
        )
        for i in range(n)
        for j in range(n)
    ]


def by_hand(
    image,
    other,
    logits,
    other_logits,
    nearest,
    candidates,
):
    """One image after another, one patch after another."""
    made = image.copy()
    for b in range(len(image)):
        places = windows(image.shape[1], 4)
        sure, other_sure = (
            [softmax(x[b][at]).max(-1).mean() for at in places] for x in (logits, other_logits)
        )
        worst = places[int(np.argmin(sure))]
        best = [places[i] for i in np.argsort(other_sure)[::-1][:candidates]]
        chosen = best[0]
        if nearest[b]:
            p = softmax(logits[b][worst].mean((0, 1)))
            q = [softmax(other_logits[b][at].mean((0, 1))) for at in best]
            chosen = best[int(np.argmin([(p * np.log(p / each)).sum() for each in q]))]
        made[b][worst] = other[b][chosen]
    return made


@pytest.mark.parametrize(
    "nearest",
    [(False, True, True), (True, False, True)],
)
def test_the_patch_that_is_overwritten_and_the_one_that_overwrites(
    nearest,
):
    """Catches the surest patch overwritten, a patch of the network's own picture, another place of
    a patch, the least alike of the candidates, and a KL the other way round.
    """
    rng = np.random.default_rng(2)
    image, other = rng.normal(size=(2, 3, 16, 16, 2)).astype(np.float32)
    logits, other_logits = (2 * rng.normal(size=(2, 3, 16, 16, 3))).astype(np.float32)
    # patches that differ in their classes
    logits += np.repeat(
        np.repeat(rng.normal(size=(3, 4, 4, 3)), 4, 1),
        4,
        2,
    )
    other_logits += np.repeat(
        np.repeat(rng.normal(size=(3, 4, 4, 3)), 4, 1),
        4,
        2,
    )
    given = (
        image,
        other,
        logits,
        other_logits,
        np.array(nearest),
    )
    made = jax.jit(
        displaced,
        static_argnames=("most", "candidates"),
    )(*given, most=4, candidates=5)
    np.testing.assert_array_equal(made, by_hand(*given, 5))
    first = by_hand(*given[:-1], [False] * 3, 5)
    assert not np.array_equal(made, first), "the nearest is never another than the surest"


def test_an_axis_that_four_does_not_divide_has_fewer_patches():
    """Catches patches that overlap or leave a margin."""
    assert grid_of((16, 18, 7), 4) == (4, 3, 1)
    image = np.arange(18 * 12, dtype=np.float32).reshape(1, 18, 12, 1)
    logits = np.random.default_rng(0).normal(size=(1, 18, 12, 3)).astype(np.float32)
    made = displaced(
        image,
        -image,
        logits,
        logits,
        np.array([False]),
        most=4,
        candidates=4,
    )
    changed = np.asarray(made != image)[0, ..., 0]
    assert changed.sum() == 6 * 3
    assert changed.any(1).sum() == 6


def test_each_network_sees_both_kinds_of_displaced_mixes():
    """Four sets of pictures: the mixes of the weak views and those of the strong ones, each with
    one patch an image of the other kind. Catches networks that see their own alone.
    """
    _, _, pictures, flags = watch(ROWS["abd"].method)
    weak, strong = pictures[1:3], pictures[4:6]
    assert [train for train, _ in flags] == [i not in (0, 3) for i in range(14)]
    own, others = [*weak, *strong], [*strong, *weak]
    for of_one in (pictures[6:10], pictures[10:14]):
        for made, mine, other in zip(of_one, own, others, strict=True):
            changed = (made != mine).any(-1)
            assert (changed.sum((1, 2)) == 16).all()
            for b, new in enumerate(made):
                patch = new[
                    np.ix_(
                        changed[b].any(1),
                        changed[b].any(0),
                    )
                ]
                from_ = [np.array_equal(patch, other[b][at]) for at in windows(16, 4)]
                assert sum(from_) == 1


def test_the_pretraining_needs_no_unlabelled_image():
    """Catches a cross term, or a pseudo-label, before the pre-training ends."""
    changed = BATCH._replace(
        weak=OTHER.weak,
        strong=OTHER.strong,
        valid=OTHER.valid,
    )
    for progress, same in ((0.1, True), (0.5, False)):
        a, b = (watch(ROWS["abd"].method, progress, batch)[0] for batch in (BATCH, changed))
        assert (a == b) == same


def test_halves_are_half_as_many_pictures():
    """As published: one half of the pairs is pasted one way. Catches a set of another size."""
    method = dataclasses.replace(ROWS["abd"].method, pairs="halves")
    value, _, pictures, _ = watch(method)
    assert [len(p) for p in pictures] == [
        2,
        1,
        1,
        2,
    ] + [1] * 10
    assert np.isfinite(value)
