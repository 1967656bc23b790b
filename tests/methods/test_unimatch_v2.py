"""What the formula of UniMatch V2's loss takes as given: complementary channels, and who labels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from method_cases import (
    KEY,
    MODEL,
    ROWS,
    equal,
    make_batch,
)

from semiseg.methods.parts.heads import (
    complementary_channels,
)

BATCH = make_batch(7)


def test_each_view_has_the_channels_that_the_other_lacks():
    """Catches views with the same channels, channels that are not doubled, one draw for a batch,
    and dropout in another share of the images than half.
    """
    first, second = (
        np.asarray(x)[:, 0, 0] for x in complementary_channels(KEY, (8, 5, 5, 64), 0.5)
    )
    whole = (first == 1).all(1)
    assert whole.sum() == 4
    assert (second[whole] == 1).all()
    assert np.isin(first[~whole], (0, 2)).all()
    assert (first + second == 2).all()
    assert 0.35 < first[~whole].mean() / 2 < 0.65
    assert len(np.unique(first[~whole], axis=0)) == 4
    for share, divided in (
        (0.0, 0),
        (1.0, 8),
        (0.3, 3),
    ):
        first, _ = complementary_channels(KEY, (8, 1, 1, 64), share)
        assert (np.asarray(first) != 1).any((1, 2, 3)).sum() == divided
    draws = [complementary_channels(jax.random.key(i), (8, 1, 1, 64), 0.5)[0] for i in range(4)]
    assert len({(np.asarray(x) == 1).all((1, 2, 3)).tobytes() for x in draws}) > 1


def test_the_average_labels():
    """Catches a student that labels for itself, and an average that the evaluated one is not."""
    method = ROWS["unimatch_v2"].method
    params, memory = method.init(MODEL, KEY)
    moved = jax.tree.map(lambda x: 1.5 * x + 0.1, params)

    @jax.jit
    def labels(method, params, memory):
        look = method.loss(
            MODEL,
            params,
            memory,
            BATCH,
            KEY,
            jnp.float32(0.5),
        )
        return look[1].pseudo.probability

    q = labels(method, params, memory)
    assert equal(labels(method, moved, memory), q)
    assert not equal(
        labels(method, params, {**memory, "teacher": moved}),
        q,
    )
    young = dataclasses.replace(method, teacher_decay=0.5)
    _, both = young.init(MODEL, KEY)
    assert equal(
        labels(young, params, {**both, "teacher": moved}),
        q,
    )
