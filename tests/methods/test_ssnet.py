"""What the formula of SS-Net's loss takes as given: its adversarial changes, and what it remembers
from one batch to the next.
"""

import jax
import jax.numpy as jnp
import numpy as np
from method_cases import KEY, MODEL, NET, ROWS, make_batch

from semiseg.methods import ssnet

METHOD = ROWS["ssnet"].method
BATCH = make_batch(7)


def test_a_change_has_its_length_and_moves_more_than_chance():
    """Catches a random change, one against the gradient, and one norm for the whole batch."""
    net = METHOD.init(MODEL, KEY)[0]["net"]
    images = (BATCH.image, BATCH.weak)
    inside = (BATCH.label >= 0, BATCH.valid)
    look = jax.jit(
        lambda changes: [
            jax.nn.softmax(NET.apply(net, x + r, train=True).logits)
            for x, r in zip(images, changes, strict=True)
        ]
    )
    q = look([jnp.zeros_like(x) for x in images])
    changes = jax.jit(
        lambda: METHOD.adversary(MODEL._replace(net=NET), net, images, q, inside, KEY)
    )()
    length = np.array([np.sqrt(np.mean(np.square(r), (1, 2, 3))) for r in changes])
    np.testing.assert_allclose(length, METHOD.radius, rtol=1e-5)

    def moved(changes):
        return float(ssnet.distance(look(changes), q, inside))

    for seed in range(5):
        chance = [
            np.random.default_rng((seed, i)).normal(0, METHOD.radius, r.shape)
            for i, r in enumerate(changes)
        ]
        assert moved(changes) > 1.5 * moved(chance) > 0


def test_a_class_that_a_batch_does_not_show_is_remembered():
    """Catches a memory that is emptied, one that is never renewed, and places without a vector that
    hold one.
    """
    params, memory = METHOD.init(MODEL, KEY)
    old = {**memory, "vectors": jnp.ones_like(memory["vectors"])}
    features = jax.random.normal(KEY, (2, 4, 4, 4))
    right = (
        jnp.zeros((2, 4, 4, 2)).at[0, 1, :3, 0].set(1)
    )  # three pixels of class 1, fewer than are kept
    vectors = METHOD.remembered(params, old, features, right)
    here = ssnet.run(params["projection"], features)[0, 1, :3]
    assert {tuple(v) for v in np.asarray(vectors[0, :3])} == {tuple(v) for v in np.asarray(here)}
    assert not vectors[0, 3:].any()
    assert np.all(vectors[1] == 1)
    few = METHOD.remembered(
        params, old, features[:1, :2, :2], right[:1, :2, :2]
    )  # four pixels, eight places
    assert few.shape == vectors.shape
    assert few[0, :2].any(1).all()
    assert not few[0, 2:].any()


def test_weights_that_all_but_vanish_have_a_gradient():
    """A selector may learn to trust no pixel of a class. Catches a division by a sum of sigmoids
    that float32 rounds to 0: a loss that is NaN.
    """
    params = METHOD.init(MODEL, KEY)[0]
    features, member, vectors = (
        jax.random.normal(jax.random.fold_in(KEY, i), (2, 4, 4, n))
        for i, n in enumerate((4, 2, 32))
    )
    member = (member > 0).astype(float)
    last = params["selector"].weights["conv1"]

    def loss(bias, features):
        params["selector"].weights["conv1"] = {**last, "bias": bias}
        return METHOD.separation(
            params,
            features,
            member,
            vectors[:, 0],
        )

    look = jax.jit(jax.value_and_grad(loss, (0, 1)))
    value, _ = look(jnp.full(2, -20.0), features)
    for bias in (-60.0, -200.0):
        again, gradient = look(jnp.full(2, bias), features)
        assert np.isclose(again, value, rtol=1e-4)
        assert all(np.isfinite(g).all() for g in gradient)
        assert gradient[1].any()
