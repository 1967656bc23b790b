"""Synthetic images in a batch: how many and when, what they are taken for, and what their masks
weigh.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from semiseg import config, methods
from semiseg.augment import none
from semiseg.config import Trial, override
from semiseg.data.pools import choice, of_arrays
from semiseg.errors import UserError
from semiseg.nets import UNet
from semiseg.runner.build import knobs_of, program_of
from semiseg.train import diagnostics, program
from semiseg.train import segmenter as fit
from semiseg.train.draw import ROLES, SCHEDULES, Windows, draw, share
from semiseg.train.loop import Plan
from semiseg.types import IGNORE, Batch, Model, Output, Params, Pools

N = 6
M = 4
of = jax.ShapeDtypeStruct


def pools(*space: int) -> Pools:
    """Real images of zeros and ones, of which 0 and 1 are labelled with their own value; synthetic
    ones of 200, labelled 2.
    """

    of_pixel = np.arange(N).reshape(-1, *(1,) * len(space))
    image = np.broadcast_to(of_pixel % 2, (N, *space)).astype(np.uint8)
    label = np.where(of_pixel < 2, image, np.uint8(IGNORE))
    fake = np.full((M, *space), 200, np.uint8)
    everything = np.concatenate([image, fake])[..., None]
    truth = np.concatenate([image, np.full_like(fake, IGNORE)])
    known = np.concatenate([label, np.full_like(fake, 2)])
    made = of_arrays(everything, known, np.arange(N + M) < N, truth)
    return made._replace(
        labelled=choice(np.arange(N) < 2),
        unlabelled=choice(np.arange(N) >= 2),
        synthetic_count=jnp.int32(M),
    )


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0, 4.0])
def test_schedules_differ_in_when_and_not_in_how_many(ratio):
    """Catches arms of one ratio that see more synthetic images than others, a constant share that
    is not the plain one, and an end that is not real.
    """
    steps = 250
    p = np.float32(ratio) / np.float32(1 + ratio)
    shares = {
        name: np.asarray(share(i, jnp.float32(ratio), jnp.arange(steps), jnp.float32(steps)))
        for i, name in enumerate(SCHEDULES)
    }
    for s in shares.values():
        np.testing.assert_allclose(
            np.broadcast_to(s, steps).mean(),
            p,
            atol=1e-4,
        )
    first = int(p * steps)
    assert np.all(shares["constant"] == p)
    assert np.all(shares["pretrain"][:first] == 1)
    assert np.all(shares["pretrain"][first + 1 :] == 0)
    assert np.all(np.diff(shares["decay"]) <= 0)
    assert shares["decay"][-1] < 0.02
    assert shares["decay"].max() <= 1


@pytest.mark.parametrize("role", ["labelled", "unlabelled"])
def test_synthetic_images_take_the_places_of_their_role_alone(role):
    """Shares 0, ½ and 1. Catches masks that teach in the unlabelled role, a real image called
    synthetic, and a hidden label read for a synthetic one.
    """
    one = pools(8, 8)
    made = jax.jit(
        lambda p: draw(
            one,
            jax.random.key(3),
            none(),
            p,
            labelled=16,
            unlabelled=16,
            windows=Windows(8),
            role=role,
        )
    )
    known_of = jax.jit(lambda batch: diagnostics.hidden_labels(one.hidden, batch, N))
    for p in (0.0, 0.5, 1.0):
        batch, synthetic = made(p)
        beyond = np.asarray(batch.place) >= N
        here, other = (
            (beyond, np.asarray(synthetic))
            if role == "unlabelled"
            else (np.asarray(synthetic), beyond)
        )
        assert not other.any()
        assert (here.any(), here.all()) == (p > 0, p == 1)
        assert np.array_equal(
            np.all(np.asarray(batch.label) == 2, (1, 2)),
            synthetic,
        )
        assert batch.place.max() < N + M
        known = np.asarray(known_of(batch))
        assert np.array_equal(np.all(known == IGNORE, (1, 2)), beyond)
        assert np.array_equal(known[~beyond, 4, 4], batch.place[~beyond] % 2)


def test_soft_target_by_hand():
    """Two images of two classes at even odds, weights 0 and ½, half of the pixels labelled: ½ · ¼ ·
    2 ln 2. Catches a target with a gradient, a mean over other pixels, an image that is real.
    """

    class Net:
        def apply(self, params, x, *, train, key=None):
            return Output(params.weights * x, {}, {})

    model = Model(Net(), of((1, 2, 1, 2), jnp.float32), 2)  # type: ignore[arg-type]
    label = jnp.array([[[0], [IGNORE]], [[1], [IGNORE]]])
    batch = Batch(
        jnp.ones((2, 2, 1, 2)),
        label,
        *[None] * 5,
    )  # type: ignore[arg-type]

    def loss(student, teacher):
        return program.soft_loss(
            model,
            Params(student, {}),
            Params(teacher, {}),
            batch,
            jnp.array([0.0, 0.5]),
            jax.random.key(0),
        )

    student = jnp.zeros(2)
    teacher = jnp.array([0.0, jnp.log(3.0)])
    value, (g, of_teacher) = jax.jit(jax.value_and_grad(loss, (0, 1)))(student, teacher)
    np.testing.assert_allclose(
        value,
        0.25 * np.log(2),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        g, [0.25 * 0.25, -0.25 * 0.25], rtol=1e-5
    )  # ¼ · (softmax of the student - (¼, ¾))
    assert np.all(of_teacher == 0)


@pytest.mark.parametrize(
    ("method", "role", "space"),
    [
        (methods.Supervised(), "soft", (8, 8)),
        (methods.TemporalEnsembling(), "unlabelled", (4, 8, 8)),
    ],
)
def test_every_role_fits_the_trainer(method, role, space):
    """Traced, not run: a baseline, and volumes with a memory of every image. Catches a state that
    changes its shape, and a role that only images know.
    """
    net = UNet(widths=(2, 4), dims=len(space))
    model = Model(
        net,
        of((1, *space, 1), np.float32),
        3,
        of((N + M, *space, 1), np.uint8),
    )
    p = program.Program(
        model,
        space if len(space) == 3 else 8,
        4,
        "adamw",
        "poly",
        role,
    )
    knobs = jax.tree.map(
        jnp.float32,
        knobs_of(config.Trial(method=method)),
    )
    state = jax.eval_shape(
        functools.partial(program.start, p),
        knobs,
        jnp.uint32(0),
    )
    after, metrics = jax.eval_shape(
        functools.partial(program.chunk, p),
        knobs,
        jnp.uint32(0),
        jax.eval_shape(lambda: pools(*space)),
        state,
        jnp.int32(3),
    )
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert ("soft" in metrics) == (role == "soft")


def test_a_grid_of_mixes_compiles_once_for_each_role():
    """Catches a schedule, weight or softness that became static, and a role that is not."""
    model = Model(UNet(), of((1, 8, 8, 1), np.float32), 2)
    trials = [
        override(
            Trial(synthetic="s"),
            {"synthetic_schedule": s, "synthetic_weight": w, "synthetic_softness": w},
        )
        for s, w in itertools.product(SCHEDULES, (0.5, 1))
    ]
    assert len({(program_of(t, model), jax.tree.structure(knobs_of(t))) for t in trials}) == 1
    assert len({tuple(jax.tree.leaves(knobs_of(t))) for t in trials}) == len(trials)
    assert len(
        {program_of(override(trials[0], {"synthetic_as": role}), model) for role in ROLES}
    ) == len(ROLES)


def test_pool_of_a_memory_holds_the_synthetic_images(monkeypatch):
    """Catches a memory of the real images' voxels alone, where places reach the synthetic ones."""
    seen = {}

    def start(program, *rest):
        seen[program.synthetic_as] = program.model.pool.shape
        raise KeyboardInterrupt

    monkeypatch.setattr(fit.programs, "start", start)
    for role in ROLES:
        p = program.Program(
            Model(UNet(), of((1, 8, 8, 1), np.float32), 3), 8, 4, "adamw", "poly", role
        )
        with pytest.raises(KeyboardInterrupt):
            fit.fit(
                p,
                knobs_of(config.Trial(method=methods.MeanTeacher(), augment=none())),
                0,
                pools(8, 8),
                Plan(1, 1, 1, 1.0),
                None,
                None,
            )
    assert seen == dict.fromkeys(ROLES, (1, (N + M) * 8 * 8, 1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"synthetic_schedule": "later"}, "choose one of constant, pretrain, decay"),
        ({"synthetic_as": "real"}, "choose one of labelled, soft, unlabelled"),
        ({"synthetic_softness": 1.5}, "synthetic_softness is 1.5: it must be at most 1"),
        ({"synthetic_weight": -1}, "synthetic_weight is -1.0: it must be at least 0"),
        (
            {"synthetic_weight": 0.5, "ratio": 1},
            "synthetic_weight is 0.5, but there is no synthetic set",
        ),
        ({"synthetic_as": "unlabelled", "synthetic": "s"}, "supervised uses no unlabelled images"),
    ],
)
def test_a_wrong_mix_is_one_line(changes, words):
    """Catches a field that is silently without effect."""
    with pytest.raises(UserError, match=words) as said:
        config.check_synthetic(override(Trial(), changes))
    assert "\n" not in str(said.value)


def test_folders_of_earlier_versions_are_found_again():
    """Catches a run folder without these fields that is taken for another trial, and a pre-training
    that is done again for them.
    """
    from semiseg.runner.start import content

    trial = Trial(synthetic="s", ratio=1.0)
    old = {k: v for k, v in config.to_dict(trial).items() if not k.startswith("synthetic_")}
    assert len(old) == len(config.to_dict(trial)) - 4
    assert config.from_dict(yaml.safe_load(yaml.safe_dump(old))) == trial
    assert content(trial, "data") == content(
        dataclasses.replace(trial, synthetic_schedule="decay", synthetic_as="soft"), "data"
    )
