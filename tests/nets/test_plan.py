"""plan(): nnU-Net's rules, from a fingerprint to a file that a trial takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from net_contract import count

from semiseg import config
from semiseg.cli.data import main
from semiseg.nets import NETS
from semiseg.nets.resenc_unet import ResEncUNet
from semiseg.nets.sizing import activations, memory, network, parameters, topology
from semiseg.plan import plan, to_yaml


def fingerprint(
    size=(216, 256),
    spacing="1.5 1.5",
    records=1300,
    presence=(1.0, 0.6, 0.95),
    volume=None,
):
    """Of slices of a ``size``, which are volumes where ``volume`` states size and spacing."""
    classes = ["back", "a", "b"]
    geometry = {"spacing_reason": "", "spacing": spacing, "size_median": list(size)}
    volumes = None
    if volume:
        volumes = {"spacing_reason": "", "size_median": volume[0], "spacing": volume[1]}
    train = {"class_presence": dict(zip(classes, presence, strict=True))}
    train["spacing_median"] = [1.0, 1.0]
    frame = {"2d": geometry, "3d": volumes, "intensity": "ct", "intensity_reason": "air"}
    return {
        "classes": classes,
        "channels": 1,
        "unit": "mm",
        "counts": {"train": {"images": records, "volumes": 60}},
        "splits": {"train": train},
        "frame": frame,
    }


@pytest.mark.parametrize(
    ("size", "spacing", "want"),
    [
        ((128, 128), (1, 1), (6, 0)),
        ((64, 100), (1, 1), (5, 0)),
        ((5, 8), (1, 1), (1, 0)),
        ((128, 128, 128), (1, 1, 1), (6, 0)),
        (
            (40, 128, 128),
            (5, 1.0, 1.0),
            (6, 2),
        ),  # 5 → 5, 5, 5, 10 against 1 → 2 → 4: alike from the third stage on
        ((8, 128, 128), (1, 1, 1), (6, 4)),  # eight slices can be halved once
    ],
)
def test_topology(size, spacing, want):
    """Catches a stage that leaves less than four pixels, and thick slices halved with the plane."""
    assert topology(size, spacing) == want


def test_parameters_and_activations_are_counted():
    """Catches an estimate that forgets the decoder or a projection: within 2 % of the network's own
    count, norms aside.
    """
    for net, dims in (
        (ResEncUNet((8, 16, 32), (1, 2, 2)), 2),
        (ResEncUNet((8, 16, 32), 2, 2, "plain"), 2),
        (
            ResEncUNet((8, 16, 32), (1, 2, 2), flat=1, dims=3),
            3,
        ),
    ):
        assert parameters(net, 1, 3) == pytest.approx(
            count(net, (16,) * dims, 1, 3),
            rel=0.02,
        )
    one = ResEncUNet((2,), 1, 1, "plain")
    assert activations(one, (8, 8)) == 2 * 64
    two = ResEncUNet((2, 4), (1, 1), 1)
    assert activations(two, (8, 8)) == 64 * 2 * (3 + 2) + 16 * 4 * 3


def test_memory_is_what_xla_reports():
    """Catches an estimate below what a step takes, or far above: between 1 and 2.5 times XLA's own
    account.
    """
    net = network((64, 64), (1, 1), width=4, encoder="plain")
    x = jax.ShapeDtypeStruct((4, 64, 64, 1), jnp.float32)
    params = jax.eval_shape(lambda key: net.init(key, x, 3), jax.random.key(0))
    step = jax.jit(jax.grad(lambda p, x: jnp.sin(net.apply(p, x, train=True).logits).sum()))
    used = step.lower(params, x).compile().memory_analysis().temp_size_in_bytes
    estimate = 1e9 * memory(net, (64, 64), 4, 1, 3) - 20 * parameters(net, 1, 3)
    assert used < estimate < 2.5 * used


def test_the_whole_image_is_taken_if_it_fits_and_a_window_if_not():
    """Catches a patch above the budget, and memory left unused while the patch is cut."""
    rich = plan(fingerprint(), 40.0)
    poor = plan(fingerprint(), 0.65, width=16)
    assert rich.patch == (224, 256)
    assert rich.memory <= 40
    assert poor.patch[0] < 216
    assert poor.pool == rich.pool == (216, 256)
    assert poor.memory <= 0.65
    assert poor.batch >= 2
    assert (
        memory(
            poor.net,
            tuple(round(n * 1.4) for n in poor.patch),
            2,
            1,
            3,
        )
        > 0.65
    )
    assert all(n % b == 0 for n, b in zip(poor.patch, (poor.net.block,) * 2, strict=True))
    assert plan(fingerprint(records=40), 40.0).batch == 2  # 5 % of 40 images


def test_class_statistics_decide_over_what_dice_is_taken():
    """Catches a Dice of single images, where a class that is absent says nothing."""
    assert plan(fingerprint(), 8.0, width=8).batch_dice
    assert not plan(
        fingerprint(presence=(1, 1, 0.95)),
        8.0,
        width=8,
    ).batch_dice


def test_images_are_not_mirrored_where_classes_lie_one_way(tmp_path):
    """Catches mirrors that show hearts as they never lie, or the lack of them where objects lie
    anyhow.
    """
    seen = fingerprint()
    seen["splits"]["train"]["one_way"] = {"a, b": {"r": 0.9, "subjects": 40}}
    for facts, chance, told in (
        (fingerprint(), 0.5, "mirrors and quarter turns: no two"),
        (seen, 0.0, "no mirrors and quarter turns: a and b lie one way"),
    ):
        made = plan(facts, 4.0, width=8)
        (tmp_path / "plan.yaml").write_text(to_yaml(made, "discs"))
        geometry = config.load(tmp_path / "plan.yaml").augment.geometry
        assert geometry.flip == geometry.rot90 == chance
        assert any(line.startswith(told) for line in made.reasons)


def test_volumes_with_thick_slices():
    """Catches a patch that is no multiple of the network's strides."""
    made = plan(
        fingerprint(volume=((20, 200, 180), "5 1 1")),
        4.0,
        width=16,
        dims=3,
    )
    assert made.net.dims == 3
    assert made.net.flat >= 2
    assert made.memory <= 4
    assert all(n % b == 0 for n, b in zip(made.patch, made.net.block, strict=True))
    assert made.patch[1] > made.patch[2]
    assert made.spacing == "5 1 1"


@pytest.mark.parametrize(("slices", "gb"), [(20, 1.0), (18, 0.4), (5, 0.2)])
def test_slices_are_planned_as_volumes(slices, gb, tmp_path):
    """Catches a plan in 3D that training refuses (a window that does not divide), a window that is
    not the planned one, slices counted as volumes, and a depth that shrinks to nothing.
    """
    seen = fingerprint(volume=((slices, 150, 180), "5 1 1"))
    made = plan(seen, gb, width=8, dims=3)
    (tmp_path / "plan.yaml").write_text(to_yaml(made, "discs"))
    loaded = config.load(tmp_path / "plan.yaml")
    config.check_volumes(loaded)
    assert loaded.frame.window == made.patch
    assert loaded.net == made.net
    assert made.patch != made.pool
    assert (
        2
        <= made.batch
        <= max(
            2,
            0.05 * 60 * np.prod(made.pool) / np.prod(made.patch),
        )
    )
    assert not loaded.method.criterion.dice.batch
    with pytest.raises(ValueError, match="make no volumes"):
        plan(fingerprint(), gb, dims=3)


@pytest.mark.parametrize(
    ("size", "window", "pool"),
    [
        ((200, 100), (208, 112), (208, 104)),  # scaled up a little: a zoom is at least 1
        ((100, 200), (112, 208), (100, 200)),
        ((128, 128), (128, 128), (128, 128)),
    ],
)
def test_pictures_keep_their_aspect(size, window, pool, tmp_path):
    """Catches a square window for pictures that are none, a zoom that training refuses, and a
    scaling other than planned.
    """
    made = plan(fingerprint(size, "fit"), 40.0, width=8)
    assert (made.patch, made.pool) == (window, pool)
    (tmp_path / "plan.yaml").write_text(to_yaml(made, "discs"))
    frame = config.load(tmp_path / "plan.yaml").frame
    assert frame.window == window
    assert frame.shape_of(size, (1.0, 1.0)) == pool


def test_stretched_images_are_not_planned_for():
    """Catches a plan of a geometry that the set has not."""
    with pytest.raises(ValueError, match="--spacing"):
        plan(fingerprint(spacing="stretch"))


def test_a_budget_too_small_is_refused():
    """Catches a loop without an end."""
    with pytest.raises(ValueError, match="--memory"):
        plan(fingerprint(), 1e-4)


@pytest.mark.skipif("resenc_unet" not in NETS, reason="the network is not in the table")
def test_the_file_is_a_trial(root, tmp_path, capsys):
    """Catches a field that a trial does not know, and reasons that are not in the file."""
    made = plan(fingerprint(), 2.0, width=8)
    (tmp_path / "plan.yaml").write_text(to_yaml(made, "discs"))
    loaded = config.load(tmp_path / "plan.yaml")
    assert loaded.net == made.net
    assert loaded.frame.window == made.patch
    assert loaded.batch == made.batch
    assert (loaded.spacing, loaded.intensity) == ("1.5 1.5", "ct")
    assert loaded.method.criterion.dice.batch
    assert (
        main(
            [
                "describe",
                "discs",
                "--root",
                root,
                "--plan",
                str(tmp_path / "own.yaml"),
                "--memory=0.5",
                "--width=4",
            ]
        )
        == 0
    )
    assert "batch: 2; the smallest that trains (the memory holds " in capsys.readouterr().out
    text = (tmp_path / "own.yaml").read_text()
    assert (
        text.startswith("# Plan for discs")
        and yaml.safe_load(text)["image_size"]
        == config.load(tmp_path / "own.yaml").image_size
        == 40
    )
