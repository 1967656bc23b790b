"""Configuration: YAML and back, dotted names, presets."""

import csv
import importlib.util
import itertools
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import semiseg
from semiseg import config
from semiseg.config import Trial, from_dict, override, to_dict, to_yaml
from semiseg.errors import UserError
from semiseg.losses import LOSSES
from semiseg.methods import METHODS
from semiseg.train.loop import Interrupted
from semiseg.types import hyper, static


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("criterion", list(LOSSES))
def test_yaml_round_trip_is_exact(method, criterion):
    """Catches a field that is not written, or read back as another type."""
    changes = {
        "method": method,
        "method.criterion": criterion,
        "net.widths": "8,16",
        "lr": "3e-4",
        "labels": "7",
    }
    trial = override(Trial(), changes)
    read = from_dict(yaml.safe_load(to_yaml(trial)))
    assert read == trial
    assert hash(read.net) == hash(trial.net)
    assert trial.net.widths == (8, 16)
    assert trial.lr == 3e-4
    assert trial.labels == 7


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The script of the published recipes with a training that takes no time: a function that calls
    it with options, and the trials that it trained by their names.
    """
    file = Path(semiseg.__file__).parents[1] / "experiments" / "acdc_published.py"
    spec = importlib.util.spec_from_file_location("acdc_published", file)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    trials = {}
    scores = {
        "last": {"val": {"dice": 0.8, "hd95": 2.0, "assd": 1.0}},
        "seconds_train": 60.0,
    }

    def train(trial, out):
        trials[out.name] = trial
        if "bcp" in out.name and trial.labels == 3:
            raise ValueError("out of memory\nand more")
        if trial.seed == 1:
            raise Interrupted("stopped at step 3")
        return SimpleNamespace(summary=scores)

    def call(*options):
        table = tmp_path / "found.csv"
        argv = [
            "acdc_published",
            "--out",
            str(tmp_path),
            "--csv",
            str(table),
            *options,
        ]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as ended:
            script.main()
        with table.open() as lines:
            return ended.value.code, {row["run"]: row for row in csv.DictReader(lines)}

    monkeypatch.setattr(semiseg, "run", train)
    return call, trials


def test_the_published_recipes_run_unattended(published):
    """Catches a recipe that is cut short by default, a failure that ends the night or leaves no
    trace, rows lost by a second call, and a stop that is taken for a failure.
    """
    call, trials = published
    code, rows = call()
    assert code == 1
    assert len(rows) == 2 * 2 * 4
    assert {row["error"] for row in rows.values()} == {"", "out of memory"}
    for dtype in ("bfloat16", "float32"):
        assert (256, 24, dtype) in {(t.image_size, t.batch, t.net.dtype) for t in trials.values()}
    assert len({(t.image_size, t.batch, t.net.dtype) for t in trials.values()}) == 2
    assert {name.split("-")[0]: trial.steps for name, trial in trials.items()} == {
        "supervised": 30_000,
        "mean_teacher": 30_000,
        "bcp": 40_000,
        "unimatch": 30_900,
    }
    code, rows = call("--methods", "unimatch", "--seeds", "2")
    assert "stopped at step 3" in code
    assert len(rows) == 16
    assert rows["bcp-labels7-float32-seed0"]["dice"] == "0.8"


def test_presets_hold_the_published_figures():
    """Catches a preset that drifts from the recipe."""
    trial = config.preset("ssl4mis", "mean_teacher")
    assert (trial.batch, trial.steps, trial.lr, trial.optimiser) == (24, 30_000, 0.01, "sgd")
    assert trial.net.dropout == (0.05, 0.1, 0.2, 0.3, 0.5)
    assert trial.method.weight == 0.1
    assert trial.method.evaluate == "student"
    assert not trial.method.average_state
    assert trial.method.labelled(trial.batch) == 12
    assert trial.method.criterion.dice.squared
    assert from_dict(to_dict(trial)) == trial


@pytest.mark.parametrize(
    "change, words",
    [
        ({"steps": 0}, "steps is 0: it must be at least 1"),
        ({"optimiser": "lion"}, "choose one of sgd"),
        ({"method": "x"}, "no method called 'x'"),
        ({"method.decya": 1}, "did you mean 'method.decay'"),
        (
            {"net": "vnet", "net.widths": 8},
            "'net.widths' (net is vnet): did you mean 'net.width'",
        ),
        ({"method": "fixmatch", "treshold": 0.9}, "did you mean 'method.threshold'"),
        ({"init.share": 0.5}, "(init is none): choose --init masked_image first"),
        ({"lr": "fast"}, "not 'fast'"),
        ({"net.dropout": [0.1]}, "1 rates for 5 levels"),
        (
            {"method": "fixmatch", "method.threshold": 95},
            "method.threshold is 95.0: it must be between 0 and 1",
        ),
        (
            {"method": "mean_teacher", "method.weight": "inf"},
            "method.weight is inf: it must be at least 0",
        ),
        (
            {"method": "mean_teacher", "method.weight": -1},
            "method.weight is -1.0: it must be at least 0",
        ),
        ({"method": "r_drop", "method.drop": 1}, "it must be from 0 to below 1"),
        ({"method": "ict", "method.alpha": 0}, "it must be above 0"),
        (
            {"init": "masked_image", "init.share": 1.5},
            "init.share is 1.5: it must be between 0 and 1",
        ),
        ({"augment.geometry": 3}, "is a group"),
        ({"augment": 3}, "there is no augment called '3'"),
        ({"lr.x": 1}, "has no fields"),
        ({"method": "mean_teacher", "batch": 1}, "at least one labelled"),
    ],
)
def test_a_wrong_field_is_one_line(change, words):
    """Catches tracebacks and silently ignored typos."""
    with pytest.raises(UserError, match=re.escape(words)):
        override(Trial(), change)


def test_hyper_traces_floats_and_nothing_else():
    """Catches a static field that became a leaf (recompiles nothing, breaks shapes) or a float that
    became static (recompiles sweeps).
    """
    import jax

    @hyper
    class Inner:
        """Inner."""

        weight: float = 2.0
        size: int = 3

    @hyper
    class Outer:
        """Outer."""

        inner: Inner = Inner()
        share: float = static(default=0.5)
        rate: float = 1.0

    assert jax.tree.leaves(Outer()) == [2.0, 1.0]
    assert jax.tree.structure(Outer(rate=9.0)) == jax.tree.structure(Outer())
    assert jax.tree.structure(Outer(share=0.25)) != jax.tree.structure(Outer())


def test_two_methods_never_share_a_program():
    """Catches a tree definition that does not know its class: a collision of hashes would train one
    method with another's program.
    """
    import jax

    @hyper
    class Twin:
        """As many fields as its brother."""

        weight: float = 2.0
        size: int = 3

    @hyper
    class Brother:
        """As many fields as its twin."""

        share: float = 2.0
        count: int = 3

    assert jax.tree.structure(Twin()) != jax.tree.structure(Brother())
    trees = [jax.tree.structure(method()) for method in METHODS.values()]
    for first, second in itertools.combinations(trees, 2):
        assert first != second
    assert jax.tree.unflatten(jax.tree.structure(Twin()), [object()]).size == 3
