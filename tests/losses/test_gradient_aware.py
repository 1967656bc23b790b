"""The gradient-aware losses against NumPy, and what they are for: a class that few images show."""

import functools

import jax
import numpy as np
import optax
import pytest

from semiseg.losses import CE, GA, GACE, SSL4MIS, GADice
from semiseg.types import IGNORE

K = 4


def example() -> tuple[np.ndarray, np.ndarray]:
    """Random logits; class 3 is in no image, and some pixels have no label."""
    rng = np.random.default_rng(3)
    label = rng.choice([0, 0, 0, 1, 2, IGNORE], (2, 8, 10))
    return rng.normal(size=(2, 8, 10, K)).astype(np.float32), label.astype(np.int32)


def softmax(logits: np.ndarray) -> np.ndarray:
    z = np.exp(logits.astype(np.float64))
    return z / z.sum(-1, keepdims=True)


def through_softmax(d_p: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The gradient of the logits from that of the probabilities."""
    return p * (d_p - (d_p * p).sum(-1, keepdims=True))


def labelled() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where the example has labels; there the logits' softmax and the one-hot label, ``(N, K)``."""
    logits, label = example()
    valid = label != IGNORE
    return (
        logits,
        valid,
        softmax(logits)[valid],
        np.eye(K)[label[valid]],
    )


@functools.partial(jax.jit, static_argnums=0)
def both(loss, logits, label):
    return jax.value_and_grad(loss)(logits, label)


def compare(loss, value: float, gradient: np.ndarray) -> None:
    logits, label = example()
    ours, d_logits = both(loss, logits, label)
    np.testing.assert_allclose(ours, value, rtol=1e-5)
    np.testing.assert_allclose(
        d_logits[label != IGNORE],
        gradient,
        rtol=1e-4,
        atol=1e-8,
    )


def test_ga_dice_is_its_formula():
    """Catches the gradient 2p/N of an absent class (b left in), N of another mask, denominators
    that are not squared, and a mean over the classes that are shown.
    """
    _, _, p, y = labelled()
    n = len(p)
    value = 0.0
    d_p = np.zeros_like(p)
    for k in range(K):
        if y[:, k].any():
            both_, either = (
                (p * y)[:, k].sum(),
                (p * p + y)[:, k].sum(),
            )
            value += 1 - 2 * both_ / either
            d_p[:, k] = -2 * y[:, k] / either + 4 * both_ * p[:, k] / either**2
        else:
            value += (p[:, k] ** 2).sum() / n
            d_p[:, k] = p[:, k] / n
    compare(GADice(), value / K, through_softmax(d_p / K, p))


@pytest.mark.parametrize(
    ("hardest", "gamma"),
    [(0.1, 0.5), (0.25, 0.3), (1.0, 0.5)],
)
def test_ga_ce_is_its_formula(hardest, gamma):
    """Catches the easiest pixels for the hardest, sizes of classes from all pixels, and an exponent
    on the wrong number.
    """
    _, _, p, y = labelled()
    ce = -np.log((p * y).sum(1))
    n = int(np.ceil(hardest * len(p)))
    chosen = np.argsort(ce)[-n:]
    size = y[chosen].sum(0)
    weight = np.zeros(len(p))
    weight[chosen] = 1 / (n**gamma * (y[chosen] @ size) ** (1 - gamma))
    compare(
        GACE(hardest=hardest, gamma=gamma),
        (weight * ce).sum(),
        weight[:, None] * (p - y),
    )


def test_ga_ce_lies_between_two_cross_entropies():
    """Of all pixels: gamma 1 is the mean over pixels, gamma 0 the sum of the classes' means."""
    logits, label = example()
    ce = {
        gamma: both(
            GACE(hardest=1.0, gamma=gamma),
            logits,
            label,
        )[0]
        for gamma in (0.0, 1.0)
    }
    np.testing.assert_allclose(ce[1.0], both(CE(), logits, label)[0], rtol=1e-5)
    of_classes = [
        both(
            CE(),
            logits,
            np.where(label == k, label, IGNORE),
        )[0]
        for k in np.unique(label)[:-1]
    ]
    np.testing.assert_allclose(ce[0.0], sum(of_classes), rtol=1e-5)


def test_terms_of_the_gradient_aware_loss():
    """Catches a weight applied to the other term."""
    logits, label = example()
    loss = GA(ce_weight=2.0, dice_weight=3.0)
    total, ce, dice = (both(part, logits, label)[0] for part in (loss, loss.ce, loss.dice))
    np.testing.assert_allclose(total, 2 * ce + 3 * dice, rtol=1e-6)


RARE = 5
"""The class that one image in eight shows, in four of its pixels."""


def organs(rng: np.random.Generator, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures ``(B, 16, 16, 1)`` of squares, each class with its own brightness; the rare one is
    the brightest and the smallest.
    """
    label = np.zeros((images, 16, 16), np.int32)
    for one in label:
        for k in rng.choice(np.arange(1, RARE), 2, replace=False):
            y, x = rng.integers(0, 10, 2)
            one[y : y + 5, x : x + 5] = k
        if rng.uniform() < 1 / 8:
            y, x = rng.integers(0, 14, 2)
            one[y : y + 2, x : x + 2] = RARE
    image = label / RARE + rng.normal(0, 0.02, label.shape)
    return image[..., None].astype(np.float32), label


def predict(weights, image):
    """Two layers that see one pixel: all that brightness needs."""
    hidden = jax.nn.gelu(image @ weights["first"] + weights["shift"])
    return hidden @ weights["last"] + weights["bias"]


@jax.jit
def train(loss, weights, image, label):
    """A step of Adam a batch; ``image (draws, steps, B, H, W, 1)``, each draw by itself."""
    adam = optax.adam(0.01)

    def step(carry, batch):
        weights, state = carry
        g = jax.grad(lambda w: loss(predict(w, batch[0]), batch[1]))(weights)
        change, state = adam.update(g, state)
        return (
            optax.apply_updates(weights, change),
            state,
        ), None

    def one(weights, image, label):
        return jax.lax.scan(
            step,
            (weights, adam.init(weights)),
            (image, label),
        )[0][0]

    return jax.vmap(one)(weights, image, label)


def draw(seed: int):
    """Weights to start from, and 300 batches of two images."""
    rng = np.random.default_rng(seed)
    image, label = organs(rng, 600)
    weights = {
        "first": rng.normal(0, 10, (1, 32)),
        "shift": rng.uniform(0, 10, 32) * rng.choice([-1, 1], 32),
        "last": rng.normal(0, 0.2, (32, RARE + 1)),
        "bias": np.zeros(RARE + 1),
    }
    batches = (
        image.reshape(300, 2, *image.shape[1:]),
        label.reshape(300, 2, *label.shape[1:]),
    )
    return jax.tree.map(np.float32, weights), *batches


def dice_of_each_class(loss, draws) -> np.ndarray:
    """``(draws, classes)`` on 64 other images."""
    weights, image, label = draws
    trained = train(loss, weights, image, label)
    image, truth = organs(np.random.default_rng(99), 64)
    found = np.asarray(jax.vmap(predict, (0, None))(trained, image).argmax(-1))
    pairs = [(found == k, (truth == k)[None]) for k in range(1, RARE + 1)]
    return np.stack(
        [2 * (a & b).sum((1, 2, 3)) / (a.sum((1, 2, 3)) + b.sum()) for a, b in pairs],
        1,
    )


def test_a_class_that_few_images_show_is_learnt():
    """Two losses that differ in the gradient of absent classes alone: the mean cross-entropy and
    the squared Dice, Dice's own or the gradient-aware one. Both find every class that each second
    image shows. Of eight draws, Dice leaves the rare class at exactly 0 in seven, the other in two.
    """
    aware = GA(ce=GACE(hardest=1.0, gamma=1.0))
    draws = jax.tree.map(
        lambda *x: np.stack(x),
        *[draw(seed) for seed in range(8)],
    )
    of_dice, of_aware = (dice_of_each_class(loss, draws) for loss in (SSL4MIS, aware))
    assert (
        min(
            of_dice[:, :-1].min(),
            of_aware[:, :-1].min(),
        )
        > 0.9
    )
    assert (of_dice[:, -1] == 0).sum() >= 6
    assert (of_aware[:, -1] == 0).sum() <= 3
    assert (of_aware[:, -1] > 0.9).sum() >= 4
