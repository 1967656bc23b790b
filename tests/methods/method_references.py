"""Losses of methods written a second time, from what their passes gave: another's few lines for
each published formula. Shared with the code are what has tests of its own: the criterion, largest
components, the critic, and how a head is run.

A reference is ``formula(x, z, see) -> loss``: ``x`` are the logits and ``z`` the features of each
pass, in the order of ``Row.passes``; through them goes the gradient. ``see`` holds the same as
constants, of which targets are made, and the pictures, from which a mix is read off.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from semiseg.losses import CEDice
from semiseg.methods.parts.components import largest
from semiseg.methods.parts.critic import judge
from semiseg.methods.parts.heads import run
from semiseg.nets import UNet
from semiseg.types import Batch

KEY = jax.random.key(0)
T = 0.1
"""Temperature of MC-Net."""
OTHER = UNet(widths=(4, 6), convs=1, norm="instance")
"""The second network of cross-teaching and SDCL."""


class See(NamedTuple):
    """Of a step: its pictures ``(pass, U, H, W, C)``, logits and features as constants, what it
    began with, and two of the method's fields; ``t`` is the share of the ramp, ``progress`` that of
    the training.
    """

    image: jax.Array
    x: jax.Array
    z: jax.Array
    params: Any
    memory: Any
    batch: Batch
    weight: float
    threshold: float
    t: float
    progress: float


class Reference(NamedTuple):
    """A formula, and under what it is compared: fields, progress, ``sharp`` as of ``two_steps``,
    one view for both, the first step or the second.
    """

    formula: Callable[[Any, Any, See], jax.Array]
    fields: dict[str, float] = {}
    progress: tuple[float, float] = (0.5, 0.6)
    sharp: float = 1.0
    one_view: bool = False
    step: int = 0
    rtol: float = 1e-4


soft = jax.nn.softmax
taught = CEDice()


def w(see):
    return see.weight * jnp.exp(-5 * (1 - see.t) ** 2)


def mse(p, q, mask):
    return jnp.sum((p - q) ** 2 * mask[..., None]) / (mask.sum() * p.shape[-1])


def ce(x, label, mask, of):
    """Over the pixels of ``mask``, divided by those of ``of``."""
    log_p = x - jax.nn.logsumexp(x, axis=-1, keepdims=True)
    of_label = jax.nn.one_hot(label, 3) * log_p
    inside = jnp.where(mask[..., None], of_label, 0)
    return -inside.sum() / of.sum()


def dice(x, label, mask, squared=True):
    p = soft(x) * mask[..., None]
    y = jax.nn.one_hot(label, 3) * mask[..., None]

    def total(a):
        return a.sum((0, 1, 2))

    return jnp.mean(
        1 - (2 * total(p * y) + 1e-5) / (total(p * p if squared else p) + total(y) + 1e-5)
    )


def mean(value, mask):
    return jnp.sum(value * mask) / mask.sum()


def kl(p, q):
    return jnp.sum(p * jnp.log(p / q), -1)


def entropy_minimisation(x, z, see):
    p = soft(x[1])
    return taught(x[0], see.batch.label) + w(see) * mean(
        -jnp.sum(p * jnp.log(p), -1), see.batch.valid
    ) / jnp.log(3)


def pi_model(x, z, see):
    return taught(x[0], see.batch.label) + w(see) * mse(
        soft(x[1]),
        soft(x[2]),
        see.batch.valid,
    )


def r_drop(x, z, see):
    """Half of the channels of each image; which ones, the key says."""
    head = see.params.weights["head"]
    keep = [
        jax.random.uniform(jax.random.split(jax.random.fold_in(KEY, i))[1], (2, 1, 1, 4)) >= 0.5
        for i in (1, 2)
    ]
    p, q = (
        soft(2 * k * y @ head["kernel"][0, 0] + head["bias"])
        for k, y in zip(keep, z[1:], strict=True)
    )
    return taught(x[0], see.batch.label) + w(see) * mean(
        (kl(p, q) + kl(q, p)) / 2,
        see.batch.valid,
    )


def ict(x, z, see):
    """How much each image has of itself is read off its mixed picture."""
    u = see.batch.weak

    def next_(a):
        return jnp.roll(a, 1, 0)

    def of(a):
        return a.sum((1, 2, 3), keepdims=True)

    share = of((see.image[2] - next_(u)) * (u - next_(u))) / of((u - next_(u)) ** 2)
    q = soft(see.x[1])
    return taught(x[0], see.batch.label) + w(see) * mse(
        soft(x[2]), share * q + (1 - share) * next_(q), see.batch.valid & next_(see.batch.valid)
    )


def cct(x, z, see):
    """Of undisturbed features."""
    pupils = [soft(run(see.params[f"head{i}"], z[1])) for i in (1, 2, 3)]
    return (
        taught(x[0], see.batch.label)
        + w(see) * sum(mse(p, soft(see.x[1]), see.batch.valid) for p in pupils) / 3
    )


def cross_teaching(x, z, see):
    """The tape does not see the other network: it is applied again."""
    known, free = (
        OTHER.apply(see.params["other"], u, train=True).logits
        for u in (see.batch.image, see.batch.weak)
    )
    cross = sum(
        dice(a, b.argmax(-1), see.batch.valid, squared=False)
        for a, b in ((x[1], free), (free, see.x[1]))
    )
    return taught(x[0], see.batch.label) + taught(known, see.batch.label) + w(see) * cross


def distances(label):
    """Every pixel against every other; all classes are shown."""
    n = label.shape[1]
    at = jnp.stack(
        jnp.meshgrid(jnp.arange(n), jnp.arange(n), indexing="ij"),
        -1,
    ).reshape(-1, 2)
    far = jnp.sqrt(jnp.sum((at[:, None] - at) ** 2.0, -1))

    def one(mask):
        def to(there):
            return jnp.where(there, far, jnp.inf).min(1)

        d = jnp.where(mask, -to(~mask), to(mask))
        return jnp.where(
            mask,
            d / -d.min(),
            d / d.max(),
        )

    return jnp.stack(
        [jax.vmap(one)((label == k).reshape(len(label), -1)) for k in (1, 2)], -1
    ).reshape(*label.shape, 2)


def dtc(x, z, see):
    label = see.batch.label
    valid = see.batch.valid
    d = [jnp.tanh(run(see.params["distance"], y)) for y in z]
    known = jnp.ones_like(valid)
    agree = sum(
        mse(soft(y)[..., 1:], 1 / (1 + jnp.exp(5 * a)), mask)
        for y, a, mask in zip(x, d, (known, valid), strict=True)
    )
    return taught(x[0], label) + 0.3 * mse(d[0], distances(label), known) + w(see) * agree / 2


def critics(see, known, free):
    """What the critic takes for labelled: the labelled map (which teaches it alone), the unlabelled
    one, and again that one as a constant.
    """

    def inside(y, constant):
        return jnp.where(see.batch.valid[..., None], y, constant)

    def score(image, y):
        return judge(
            see.params["critic"],
            jnp.concatenate([image, y], -1),
        )

    return (
        score(see.batch.image, known[1]),
        score(see.batch.weak, inside(*free)),
        score(see.batch.weak, free[1]),
    )


def adversarial(see, known, free):
    right, fool, wrong = critics(see, known, free)

    def away(s):
        return jnp.mean(jnp.log1p(jnp.exp(s)))

    return w(see) * away(-fool) + away(-right) + away(wrong)


def dan(x, z, see):
    maps = [(soft(y), soft(constant)) for y, constant in zip(x, see.x, strict=True)]
    return taught(x[0], see.batch.label) + adversarial(see, *maps)


def sassnet(x, z, see):
    maps = [
        tuple(jnp.tanh(run(see.params["distance"], y)) for y in (mine, constant))
        for mine, constant in zip(z, see.z, strict=True)
    ]
    distance = mse(
        maps[0][0],
        distances(see.batch.label),
        jnp.ones_like(see.batch.valid),
    )
    return taught(x[0], see.batch.label) + 0.3 * distance + adversarial(see, *maps)


def ssnet(x, z, see):
    """The first step, in which the vectors are the batch's own; pair by pair. Two pictures of each
    kind were moved.
    """
    label = see.batch.label
    valid = see.batch.valid
    n = 8
    inside = jnp.stack([jnp.ones_like(valid), valid])[..., None]
    p = soft(x[2:]) * inside
    q = soft(see.x[:2]) * inside

    def total(a):
        return a.sum((0, 1, 2, 3))

    smooth = jnp.mean(1 - 2 * total(p * q) / (total(p * p) + total(q * q)))

    def unit(a):
        return a / jnp.linalg.norm(a, axis=-1, keepdims=True)

    def heads(*names):
        return lambda a: functools.reduce(lambda a, name: run(see.params[name], a), names, a)

    vector = heads("projection")(see.z[0])
    score = heads("projection", "selector")(see.z[0])

    def sigmoid(a):
        return 1 / (1 + jnp.exp(-a))

    apart = 0
    for c in (1, 2):
        right = (label == c) & (see.x[0].argmax(-1) == c)
        best = jnp.argsort(jnp.where(right, score[..., c - 1], -jnp.inf).ravel())[-n:]
        m = unit(vector.reshape(-1, 32)[best])
        b = sigmoid(run(see.params["memory_selector"], m.reshape(1, n, 1, 32))[0, :, 0, c - 1])
        for features, mask in ((z[0], label == c), (z[1], valid & (see.x[1].argmax(-1) == c))):
            u = heads("projection", "prediction")(features)
            a = sigmoid(run(see.params["selector"], jax.lax.stop_gradient(u))[..., c - 1])
            a = jnp.where(mask, a, 0).ravel()
            u = unit(u).reshape(-1, 32)
            apart += jnp.sum(a[:, None] * b * (1 - u @ m.T)) / (a.sum() * b.sum())
    return taught(x[0], label) + w(see) * (smooth + 0.1 * apart / 3)


def mean_teacher(x, z, see):
    return taught(x[0], see.batch.label) + w(see) * mse(
        soft(x[2]),
        soft(see.x[1]),
        see.batch.valid,
    )


def uamt(x, z, see):
    """Without noise the student at the teacher's weights looks as each of the teacher's noisy looks
    does, by the batch's statistics.
    """
    p = soft(see.x[2])
    certain = see.batch.valid & (
        -jnp.sum(p * jnp.log(p), -1)
        < (0.75 + 0.25 * jnp.exp(-5 * (1 - see.progress) ** 2)) * jnp.log(3)
    )
    return taught(x[0], see.batch.label) + w(see) * mse(
        soft(x[2]),
        soft(see.x[1]),
        certain,
    )


def temporal_ensembling(x, z, see):
    """The view looks at the pool from (1, 1) on; pool image n was seen n times."""
    place = see.batch.place
    target = see.memory["ensemble"].reshape(4, 18, 18, 3)[place, 1:17, 1:17].astype(jnp.float32) / (
        1 - 0.6 ** jnp.maximum(place, 1).reshape(-1, 1, 1, 1)
    )
    return taught(x[0], see.batch.label) + w(see) * mse(
        soft(x[1]), target, see.batch.valid & (place > 0).reshape(-1, 1, 1)
    )


def fixmatch(x, z, see):
    q = soft(see.x[1])
    valid = see.batch.valid
    return taught(x[0], see.batch.label) + w(see) * ce(
        x[2], q.argmax(-1), valid & (q.max(-1) >= see.threshold), valid
    )


def fixmatch_dice(x, z, see):
    """The Dice of the accepted pixels beside their cross-entropy."""
    q = soft(see.x[1])
    sure = see.batch.valid & (q.max(-1) >= see.threshold)
    return fixmatch(x, z, see) + w(see) * dice(x[2], q.argmax(-1), sure)


def unimatch(x, z, see, dice_=False):
    """Of undropped features; the second view is the weak one. A mix is where the picture is the
    next image's.
    """
    q = soft(see.x[1])
    batch = see.batch

    def next_(a):
        return jnp.roll(a, 1, 0)

    label = q.argmax(-1)
    sure = batch.valid & (q.max(-1) >= see.threshold)

    def h(y, mix):
        def pick(a):
            return jnp.where(mix, next_(a), a)

        return (
            dice(y, pick(label), pick(sure))
            if dice_
            else ce(y, pick(label), pick(sure), pick(batch.valid))
        )

    views = [
        h(x[i], jnp.all(see.image[i] == next_(view), -1))
        for i, view in ((2, batch.strong), (3, batch.weak))
    ]
    head = see.params.weights["head"]
    features = h(
        z[1] @ head["kernel"][0, 0] + head["bias"],
        jnp.bool_(False),
    )
    return taught(x[0], batch.label) + w(see) * (0.25 * sum(views) + 0.5 * features)


def unimatch_v2(x, z, see):
    """Every image's channels are divided between the views; how, the key says."""
    q = soft(see.x[1])
    batch = see.batch

    def next_(a):
        return jnp.roll(a, 1, 0)

    sure = batch.valid & (q.max(-1) >= see.threshold)
    k_channels = jax.random.split(jax.random.fold_in(KEY, 4))[0]
    one = jax.random.bernoulli(k_channels, 0.5, (2, 1, 1, 4))
    head = see.params.weights["head"]
    total = 0.0
    for i, view, has in ((2, batch.strong, one), (3, batch.weak, ~one)):
        mix = jnp.all(see.image[i] == next_(view), -1)
        label, taught_, of = (
            jnp.where(mix, next_(a), a) for a in (q.argmax(-1), sure, batch.valid)
        )
        y = jnp.where(has, 2 * z[i], 0) @ head["kernel"][0, 0] + head["bias"]
        total += ce(y, label, taught_, of)
    return taught(x[0], batch.label) + w(see) * total / 2


def ad_mt(x, z, see):
    """In a period of the second teacher: a box of the next image in the weak view."""
    a, b, own = (soft(see.x[i]) for i in (1, 2, 3))
    sure_a, sure_b = (jnp.exp(jnp.sum(p * jnp.log(p), -1, keepdims=True)) for p in (a, b))
    both = (sure_a * a + sure_b * b) / (sure_a + sure_b)
    against = (
        (a.argmax(-1) != b.argmax(-1))
        & (own.argmax(-1) != both.argmax(-1))
        & (own.max(-1) > both.max(-1))
    )
    q = jnp.where(against[..., None], own, both)

    def next_(a):
        return jnp.roll(a, 1, 0)

    def pick(a):
        return jnp.where(
            jnp.all(see.image[4] == next_(see.batch.weak), -1),
            next_(a),
            a,
        )

    accepted = pick(see.batch.valid & (q.max(-1) >= see.threshold))
    return taught(x[0], see.batch.label) + w(see) * dice(x[4], pick(q.argmax(-1)), accepted)


def bcp(x, z, see):
    batch = see.batch
    guess = jnp.where(
        see.batch.valid,
        largest(see.x[0].argmax(-1), 3),
        255,
    )
    total = 0.0
    for y, picture in zip(x[1:], see.image[1:], strict=True):
        mine = jnp.all(picture == batch.image, -1)
        total += 0.5 * taught(y, jnp.where(mine, batch.label, 255)) + 0.5 * see.weight * taught(
            y, jnp.where(mine, 255, guess)
        )
    return total


def two_mixes(x, see):
    """What the mixes of the weak views and of the strong ones are taught as, and which of their
    pixels are known; of each the teacher has a pass and the mixes two.
    """
    batch = see.batch
    total = 0.0
    known = {}
    for teacher, passes in ((0, (1, 2)), (3, (4, 5))):
        guess = jnp.where(batch.valid, largest(see.x[teacher].argmax(-1), 3), 255)
        for i in passes:
            mine = jnp.all(see.image[i] == batch.image, -1)
            label = jnp.where(mine, batch.label, guess)
            known[i] = label < 255
            total += 0.5 * taught(x[i], jnp.where(mine, label, 255))
            total += 0.5 * see.weight * taught(x[i], jnp.where(mine, 255, label))
    return total, known


def abd(x, z, see):
    """Passes: those of :func:`two_mixes`; then of each network the displaced mixes of the first and
    of the second. Where a displaced patch is from is read off the picture.
    """
    total, known = two_mixes(x, see)

    def cut(a):
        split = a.reshape(len(a), 4, 4, 4, 4, -1).transpose(0, 1, 3, 2, 4, 5)
        return split.reshape(len(a), 16, 16, -1)

    def after(i, own, other):
        patch = cut(see.image[i])
        stays = jnp.all(patch == cut(see.image[own]), (2, 3))
        of = jnp.all(patch[:, :, None] == cut(see.image[other])[:, None], (3, 4))
        moved = jnp.einsum("bpq,bqvc->bpvc", of, cut(known[other]))
        return jnp.where(stays[..., None, None], cut(known[own]), moved)[..., 0] > 0

    pairs = [(i, j, cut(known[i] & known[j])[..., 0] > 0) for i, j in ((1, 4), (2, 5))]
    displaced = [
        (6 + n, 10 + n, after(6 + n, own, other))
        for n, (own, other) in enumerate(((1, 4), (2, 5), (4, 1), (5, 2)))
    ]
    for group in (pairs, displaced):
        first, second, mask = (
            jnp.concatenate(a)
            for a in zip(
                *((cut(see.x[i]), cut(see.x[j]), inside) for i, j, inside in group), strict=True
            )
        )
        one, two = (jnp.concatenate([cut(x[p[side]]) for p in group]) for side in (0, 1))
        total += 0.5 * dice(one, second.argmax(-1), mask) + 0.5 * dice(two, first.argmax(-1), mask)
    return total


def beta_fft(x, z, see):
    """Passes: those of :func:`two_mixes`; of each network the exchanged mixes; of the first one the
    labelled and the mixed unlabelled images of each view. How an image is mixed is read off it.
    """
    total, known = two_mixes(x, see)
    both = [known[i] & known[i + 3] for i in (1, 2)]

    def next_(a):
        return jnp.roll(a, 1, 0)

    def of(a):
        return a.sum((1, 2, 3), keepdims=True)

    for firsts, seconds in (
        ((1, 2), (4, 5)),
        (
            range(
                6,
                10,
            ),
            range(10, 14),
        ),
    ):
        mask = jnp.concatenate(both * (len(firsts) // 2))
        one, two = (jnp.concatenate([x[i] for i in group]) for group in (firsts, seconds))
        decided = [
            jnp.concatenate([see.x[i].argmax(-1) for i in group]) for group in (firsts, seconds)
        ]
        total += 0.5 * dice(
            one,
            decided[1],
            mask,
        ) + 0.5 * dice(two, decided[0], mask)
    t = (see.progress - 0.25) / 0.75
    for first, teacher, u in ((14, 0, see.batch.weak), (16, 3, see.batch.strong)):
        picture = see.image[first + 1]
        share = of((picture - next_(u)) * (u - next_(u))) / of((u - next_(u)) ** 2)
        q = soft(see.x[teacher])
        target = share * q + (1 - share) * next_(q)
        valid = see.batch.valid & next_(see.batch.valid)
        total += (
            0.5
            * 0.7
            * taught(
                x[first],
                see.batch.label,
            )
        )
        error = mse(
            soft(x[first + 1]),
            target,
            valid,
        )
        total += 0.5 * 0.5 * jnp.exp(-5 * (1 - t) ** 2) * error
    return total


def sdcl(x, z, see):
    """The tape does not see the other network: it is applied again, to the same pictures."""
    batch = see.batch
    guess = jnp.where(batch.valid, largest(see.x[0].argmax(-1), 3), 255)
    total = bcp(x, z, see)
    for i in (1, 2):
        mine = jnp.all(see.image[i] == batch.image, -1)
        label = jnp.where(mine, batch.label, guess)
        weight = jnp.where(mine, 1.0, see.weight)
        other = OTHER.apply(see.params["other"], see.image[i], train=True).logits
        total += 0.5 * taught(other, jnp.where(mine, label, 255))
        total += 0.5 * see.weight * taught(other, jnp.where(mine, 255, label))
        decisions = see.x[i].argmax(-1), jax.lax.stop_gradient(other).argmax(-1)
        apart = (decisions[0] != decisions[1]) & (label < 255)
        for logits, decided in zip((x[i], other), decisions, strict=True):
            p = soft(logits)
            distance = sum((p[..., k] - (label == k)) ** 2 for k in range(3)) / 3
            total += 0.25 * jnp.sum(apart * weight * distance) / jnp.maximum(apart.sum(), 1)
            wrong = apart & (decided != label)
            unlike = -jnp.log(3.0) - jnp.log(p).sum(-1) / 3
            total += 0.25 * jnp.sum(wrong * weight * unlike) / jnp.maximum(wrong.sum(), 1)
    return total


def tracoco(x, z, see):
    """Passes of each network: the labelled images, the weak view and the moved one; then of each
    the mix. How far an image was moved, and what a box shows, is read off the pictures.
    """
    batch = see.batch
    weak = batch.weak

    def next_(a):
        return jnp.roll(a, 1, 0)

    def moved(a, down, right):
        margin = ((0, 0), (4, 4), (4, 4)) + ((0, 0),) * (a.ndim - 3)
        return jnp.pad(
            a,
            margin,
        )[:, 4 - down : 20 - down, 4 - right : 20 - right]

    steps = list(
        itertools.product(
            range(-4, 5),
            repeat=2,
        )
    )
    equal = [
        jnp.all(
            moved(weak, *step) == see.image[2],
            (1, 2, 3),
        )
        for step in steps
    ]
    step_B = jnp.argmax(jnp.stack(equal), 0)

    def move(a):
        return jnp.stack(
            [
                moved(
                    a,
                    *step,
                )
                for step in steps
            ]
        )[step_B, jnp.arange(len(a))]

    total = 0.0
    for own, mix, other in ((0, 6, 4), (3, 7, 1)):
        q = soft(see.x[other])
        label = largest(q.argmax(-1), 3)
        chosen = jax.nn.one_hot(label, 3)
        box = jnp.all(
            see.image[mix] == next_(weak),
            -1,
        )
        known, q, chosen = (
            jnp.where(
                box[..., None] if a.ndim == 4 else box,
                next_(a),
                a,
            )
            for a in (batch.valid, q, chosen)
        )
        p = soft(x[mix])
        sure = jnp.sum(q * chosen, -1)
        taught_ = known & (sure >= see.threshold)
        positive = mean(
            -sure
            * jnp.sum(
                chosen * jnp.log(p),
                -1,
            ),
            taught_,
        )
        unlikely = (q < 0.3) & (chosen == 0) & known[..., None]
        negative = mean(
            -jnp.log(1 - p),
            unlikely,
        )
        terms = 0.5 * (
            positive
            + negative
            + dice(
                x[mix],
                chosen.argmax(-1),
                known,
            )
        )
        p, p_moved = soft(move(x[own + 1])), soft(x[own + 2])
        both = move(batch.valid)
        unsure = (
            -jnp.sum(
                p * jnp.log(p) + p_moved * jnp.log(p_moved),
                -1,
            )
            / 2
        )
        terms += 0.5 * mean(
            kl(p_moved, p),
            both,
        ) - 0.2 * mean(unsure, both)
        total += (
            taught(
                x[own],
                batch.label,
            )
            + w(see) * terms
        )
    return total


def cps(x, z, see):
    cross = ce(x[1], see.x[3].argmax(-1), see.batch.valid, see.batch.valid) + ce(
        x[3], see.x[1].argmax(-1), see.batch.valid, see.batch.valid
    )
    return taught(x[0], see.batch.label) + taught(x[2], see.batch.label) + w(see) * cross


def mcnet(x, z, see):
    def every(x, z):
        return [
            x,
            *(x + run(see.params[f"head{i}"], z) for i in (1, 2)),
        ]

    known, free = (every(x[i], z[i]) for i in (0, 1))

    def mutual(i, mask):
        power = [soft(y) ** (1 / T) for y in every(see.x[i], see.z[i])]
        p = [soft(y) for y in every(x[i], z[i])]
        target = [a / a.sum(-1, keepdims=True) for a in power]
        pairs = itertools.permutations(range(3), 2)
        return sum(mse(p[a], target[b], mask) for a, b in pairs) / 6

    return sum(taught(y, see.batch.label) for y in known) + w(see) * (
        mutual(0, see.batch.label < 255) + mutual(1, see.batch.valid)
    )


def urpc(x, z, see):
    def pyramid(i):
        def small(y, s):
            return jax.image.resize(
                y,
                (2, 16 // 2**s, 16 // 2**s, y.shape[-1]),
                "linear",
            )

        def coarse(s):
            return small(x[i], s) + run(
                see.params[f"head{s}"],
                small(z[i], s),
            )

        return [
            x[i],
            *(jax.image.resize(coarse(s), x[i].shape, "linear") for s in (1, 2)),
        ]

    p = [soft(y) for y in pyramid(1)]
    valid = see.batch.valid
    total = 0.0
    mean = (p[0] + p[1] + p[2]) / 3
    for q in p:
        d = jnp.sum(q * jnp.log(q / mean), -1)
        sure = jnp.exp(-d) * valid
        total += (
            jnp.sum(jnp.mean((q - mean) ** 2, -1) * sure) / sure.sum()
            + jnp.sum(d * valid) / valid.sum()
        )
    return sum(taught(y, see.batch.label) for y in pyramid(0)) / 3 + w(see) * total / 3


unimatch_dice = functools.partial(unimatch, dice_=True)
