"""Sets made for a trial's budget: from that budget alone, once, under a name that changes with
whatever they are made from.
"""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import gan_cases
import numpy as np
import pytest
import yaml

from semiseg import sweeps
from semiseg.analysis import load
from semiseg.cli import demo
from semiseg.cli import sweep as sweep_command
from semiseg.data import importing, pools, provenance, store
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.generators import code_version, fit, ratio, settings
from semiseg.generators.budget import Budget, read_budget
from semiseg.generators.controls import control
from semiseg.generators.settings import Settings
from semiseg.sweeps.status import status, table
from semiseg.synthetic_sources import CONTROLS


@pytest.fixture
def given(root, monkeypatch) -> Settings:
    monkeypatch.setattr(fit.programs, "chunk", gan_cases.chunk)
    changes = {
        **gan_cases.TINY,
        "data": "discs",
        "root": root,
        "labels": 4,
        "steps": 2,
        "log_every": 2,
    }
    return settings.override(Settings(), changes)


@pytest.fixture
def unmakeable(monkeypatch):
    """A function after which no set can be made."""

    def forbid() -> None:
        monkeypatch.setattr(importing, "import_set", lambda *a, **k: pytest.fail("made again"))

    return forbid


# ------------------------------------------------------------------ controls
def made_pairs(kind: str, budget: Budget, seed: int = 0) -> list[tuple[bytes, bytes]]:
    pairs = control(kind, budget, 12, seed)
    return [(image.tobytes(), label.tobytes()) for image, label in pairs]


@pytest.mark.parametrize("kind", CONTROLS)
def test_controls_are_made_from_the_budget_alone(given, kind):
    """Catches a control that reads a held-back pair: with every pair outside the budget replaced it
    makes the same set, and another seed another one.
    """
    budget = read_budget(given)
    held_back = np.setdiff1d(np.arange(len(budget.images)), budget.labelled)
    assert len(held_back) == 4
    images = budget.images.copy()
    labels = budget.labels.copy()
    images[held_back] = 7
    labels[held_back] = 1
    poisoned = dataclasses.replace(budget, images=images, labels=labels)
    pairs = made_pairs(kind, budget)
    assert pairs == made_pairs(kind, poisoned)
    real_pairs = zip(budget.labelled_images, budget.labelled_masks, strict=True)
    real = {(image.tobytes(), label.tobytes()) for image, label in real_pairs}
    if kind == "duplicated":
        assert set(pairs) == real
        assert pairs[:4] == pairs[4:8]
    else:
        assert len(set(pairs) - real) >= 4
        assert made_pairs(kind, budget, seed=1) != pairs


# ------------------------------------------------------------------ names
def test_a_set_is_made_once(given, unmakeable):
    """Catches a set that is made again for the same, or for another fit that a control has not."""
    name = ratio.resolve("make:augmented", given, samples=6)
    assert store.info(name, given.root).counts["train"]["records"] == 5
    unmakeable()
    assert ratio.resolve("make:augmented", given, samples=6) == name
    other_fit = dataclasses.replace(given, log_every=1, steps=9)
    assert ratio.resolve("make:augmented", other_fit, samples=6) == name


def test_what_a_kill_left_of_a_set_is_completed(given, monkeypatch):
    """Catches a set that has no record for ever, and pairs that stay beside it, where a kill came
    between its import and its last file.
    """

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ratio._Set, "_record", killed)
        ratio.resolve("make:augmented", given, samples=7)
    name = ratio.resolve("make:augmented", given, samples=7)
    record = json.loads(Path(given.root, name, "made.json").read_text())
    assert record["samples"] == 7
    left = Path(given.root, ".made", name)
    assert not left.exists()
    (left / "images").mkdir(parents=True)  # by a kill after the last file
    assert ratio.resolve("make:augmented", given, samples=7) == name
    assert not left.exists()


def test_the_name_follows_what_a_set_is_made_from(given):
    """Catches a set reused for another budget, subset or fit."""
    changes: list[dict] = [
        {},
        {"labels": 5},
        {"label_subset": 1},
        {"steps": 3},
        {"seed": 1},
    ]
    hashes = {
        ratio.content(
            "spade",
            dataclasses.replace(given, **c),
            6,
        )
        for c in changes
    }
    assert len(hashes) == 5
    assert (
        ratio.content(
            "spade",
            dataclasses.replace(given, log_every=1),
            6,
        )
        in hashes
    )


def test_the_name_follows_the_code(given, monkeypatch):
    """Catches a set of an earlier version that is used as if this version had made it."""
    name = ratio.content("augmented", given, 6)
    monkeypatch.setattr(ratio, "code_version", lambda: "another version")
    assert ratio.content("augmented", given, 6) != name


def test_every_module_is_painting_or_judging():
    """Catches a new module of generators that changes sets without changing their names."""
    judging = {
        "__init__",
        "boundaries",
        "code_version",
        "collapse",
        "copies",
        "judge",
        "measures",
        "settings",
        "variety",
    }
    names = {path.stem for path in code_version.HERE.glob("*.py")}
    others = names - judging - set(code_version.PAINTING)
    assert [name for name in others if not name.startswith(("quality_", "mask_offsets"))] == []
    assert names >= set(code_version.PAINTING)


@pytest.mark.parametrize("options, seeds", [({}, {0}), ({"seed": "run"}, {3, 4})])
def test_a_generators_seed_is_its_own_or_the_runs(tiny, monkeypatch, options, seeds):
    """Catches seeds that share a generator although each asks for its own."""
    monkeypatch.setattr(
        ratio,
        "resolve",
        lambda name, settings, **_: f"set-{settings.seed}",
    )
    names = set()
    mixed = dataclasses.replace(tiny, synthetic="make:spade", ratio=1.0, image_size=16)
    for seed in (3, 4):
        trial = dataclasses.replace(mixed, seed=seed)
        names.add(ratio.resolved(trial, options).synthetic)
    assert names == {f"set-{seed}" for seed in seeds}


def test_a_set_says_what_it_is_made_from(given):
    """Catches a set of a budget that hides whose labels are in it, and a control that claims to
    have seen more than its pairs.
    """
    name = ratio.resolve("make:augmented", given, samples=6)
    info = store.info("discs", given.root)
    recorded = provenance.of_set(store.info(name, given.root))
    assert recorded.subjects_of(info.fingerprint) == set(read_budget(given).labelled_subjects)
    assert len(recorded.images) == len(recorded.labelled) == 4
    assert not recorded.unknown


def test_a_control_is_turned_as_the_generators_masks_are(given):
    """Catches an augmented control that turns where left is not right."""
    upright = settings.override(given, {"train.turn": "0"})
    assert ratio.content("augmented", upright, 6) != ratio.content("augmented", given, 6)
    assert ratio.content("duplicated", upright, 6) == ratio.content("duplicated", given, 6)


def test_other_names_are_left_alone(given):
    """Catches an imported set that is taken for a source, and a source that there is not."""
    assert ratio.resolve("my-own-set", given) == "my-own-set"
    assert ratio.resolve(None, given) is None
    with pytest.raises(UserError, match="choose one of make:spade"):
        ratio.resolve("make:up", given)


# ------------------------------------------------------------------ sets of trials
def test_generated_set_fits_the_trials_frame(given):
    """Catches pairs that are stretched over the pool image: with a zoom they lie in its middle, and
    nothing around them is learnt from.
    """
    given = dataclasses.replace(given, zoom=1.5)
    name = ratio.resolve("make:spade_real_masks", given, samples=5)
    frame = Frame(16, 1.5, "centre")
    options = {"labels": 4, "label_subset": 0, "ratio": 1.0, "synthetic": name}
    pool, _, _ = pools.pools("discs", given.root, frame, **options)
    assert int(pool.synthetic_count) == 4
    everything = np.asarray(pool.label)[0]
    label = everything[-4 * 24 * 24 :].reshape(
        4,
        24,
        24,
    )
    assert (np.asarray(pool.image.shape)[-4:] == 24).all()
    assert (label[:, :4] == 255).all()
    assert (label[:, :, 20:] == 255).all()
    real = {mask.tobytes() for mask in read_budget(given).labelled_masks}
    assert {mask.tobytes() for mask in label[:, 4:20, 4:20]} <= real


SOURCES = ("make:duplicated", "make:spade")


@pytest.fixture
def trials(monkeypatch) -> list:
    """The trials that a sweep runs; each is finished at once."""
    asked = []
    last = {"val": {"dice": 0.5}}

    def run(trial, folder, **_):
        asked.append(trial)
        folder.mkdir(parents=True, exist_ok=True)
        summary = {"status": "finished", "last": last}
        (folder / "summary.json").write_text(json.dumps(summary))
        return SimpleNamespace(summary=summary)

    monkeypatch.setattr("semiseg.runner.run", run)
    return asked


@pytest.fixture
def spec(given) -> dict:
    """A sweep over two budgets, two sources and two ratios."""
    values = {
        "data": "discs",
        "root": given.root,
        "image_size": 16,
        "gan.samples": 6,
        "gan.card": 5,
        "gan.steps": 2,
    }
    tiny = {name: value for name, value in gan_cases.TINY.items() if name != "image_size"}
    values |= {f"gan.{name}": value for name, value in tiny.items()}
    varied = {
        "labels": [4, 5],
        "synthetic": list(SOURCES),
        "ratio": [0.0, 1.0],
    }
    parameters = {name: {"value": value} for name, value in values.items()}
    parameters |= {name: {"values": options} for name, options in varied.items()}
    return {"parameters": parameters}


def test_a_sweep_makes_the_set_of_each_trials_own_budget(
    given, spec, trials, tmp_path, monkeypatch
):
    """Catches a set of one budget that another learns from, ratio 0 run once for every source,
    options of the fit that are not passed on, a control with a quality report, and a second start
    that makes sets again.
    """

    def report_on(folder, data, root, *, steps):
        return {"passed": False, "steps": steps}

    monkeypatch.setattr(ratio.quality_report, "report_on", report_on)
    assert len(sweeps.sweep(spec, tmp_path, say=print)) == 6
    budgets = [(trial.labels, trial.ratio) for trial in trials]
    assert budgets == [
        (4, 0.0),
        (4, 1.0),
        (4, 1.0),
        (5, 0.0),
        (5, 1.0),
        (5, 1.0),
    ]
    names = []
    for labels in (4, 5):
        of_budget = dataclasses.replace(given, labels=labels)
        control_set, generated = (ratio.resolve(s, of_budget, samples=6) for s in SOURCES)
        names += [control_set, control_set, generated]
    assert [trial.synthetic for trial in trials] == names
    assert len(set(names)) == 4
    reports = {name: store.info(name, given.root).folder / "card.json" for name in names}
    assert all(path.exists() == ("spade" in name) for name, path in reports.items())
    report = json.loads(reports[names[2]].read_text())
    assert report == {"passed": False, "steps": 5, "set": names[2]}
    monkeypatch.setattr(
        ratio.sample,
        "sample_set",
        lambda *a, **k: pytest.fail("made again"),
    )
    assert len(sweeps.sweep(spec, tmp_path, say=print)) == 6
    assert len(trials) == 6


@pytest.fixture
def rejecting(spec, monkeypatch):
    """Quality reports that reject every generated set; no other test makes these sets."""
    spec["parameters"]["gan.steps"] = {"value": 3}

    def report_on(folder, data, root, *, steps):
        return {"passed": False, "checks": [{"check": "kinds", "passed": False}]}

    monkeypatch.setattr(ratio.quality_report, "report_on", report_on)


def test_trials_on_a_rejected_set_are_dropped_where_that_is_asked(
    spec, trials, rejecting, tmp_path, capsys
):
    """Catches a rejected set that is learnt from, a control or a trial without synthetic images
    that is dropped, a second start that takes dropped trials up, and a status, summary or report
    that hides them.
    """
    lines: list[str] = []
    done = sweeps.sweep(spec, tmp_path, say=lines.append, rejected="drop")
    assert [(o.trial.labels, o.trial.synthetic, o.trial.ratio) for o in done] == [
        (4, "make:duplicated", 0.0),
        (4, "make:duplicated", 1.0),
        (5, "make:duplicated", 0.0),
        (5, "make:duplicated", 1.0),
    ]
    assert len(trials) == 4
    dropped = [line for line in lines if "dropped" in line]
    assert len(dropped) == 2
    assert "the quality report rejects made-spade-" in dropped[0]
    rows = [row for row in status(tmp_path) if row["state"] == "rejected"]
    assert len(rows) == 2
    assert rows[0]["note"].endswith("(failed: kinds)")
    assert "4 of 6 done, 2 rejected" in table(status(tmp_path), tmp_path)
    _, problems = load._read_folders([tmp_path / row["name"] for row in rows])
    assert len(problems) == 1
    assert problems[0].startswith(f"2 trials were dropped in {tmp_path}")
    assert {tmp_path / row["name"] for row in rows} <= set(load._run_folders(tmp_path))

    lines.clear()
    sweeps.sweep(spec, tmp_path, say=lines.append, rejected="drop")
    assert not lines
    file = tmp_path / "mixes.yaml"
    file.write_text(yaml.safe_dump(spec))
    assert sweep_command.main([str(file), "--out", str(tmp_path), "--rejected", "drop"]) == 0
    assert "4 of 6 trials finished, 2 dropped with their rejected sets" in capsys.readouterr().out


def test_a_rejected_set_is_said(spec, trials, rejecting, tmp_path):
    """Catches a sweep that learns from a rejected set without a word, and trials that stay dropped
    although the sweep shall only say so.
    """
    sweeps.sweep(spec, tmp_path, say=print, rejected="drop")
    lines: list[str] = []
    sweeps.sweep(spec, tmp_path, say=lines.append)
    notes = [line for line in lines if "note: the quality report rejects made-spade-" in line]
    assert len(notes) == 2
    assert len(trials) == 6
    assert {row["state"] for row in status(tmp_path)} == {"done"}
    assert not list(tmp_path.glob("*/rejected.json"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"gan.card": {"value": 0}}, "set gan.card: {value: 300}"),
        ({"synthetic": {"value": "my-set"}}, "no trial of this sweep learns from a set"),
    ],
)
def test_nothing_can_be_dropped_without_a_quality_report(spec, tmp_path, changes, message):
    """Catches `--rejected drop` that drops nothing, and does not say why."""
    spec["parameters"] |= changes
    with pytest.raises(UserError, match=message):
        sweeps.sweep(spec, tmp_path, say=print, rejected="drop")
    with pytest.raises(UserError, match="choose one of say, drop"):
        sweeps.sweep(spec, tmp_path, say=print, rejected="keep")


def test_a_trial_decides_what_its_set_is_made_from(spec):
    """Catches a set of another budget than the trial's."""
    spec["parameters"]["gan.labels"] = {"value": 3}
    message = "sweep: gan.labels: a set is made for the trial's own labels"
    with pytest.raises(UserError, match=message):
        sweeps.trials(spec)


def test_the_demos_mixes_differ_from_its_grid_in_what_is_mixed_in_alone(tmp_path):
    """So that they are paired with the grid's supervised runs. Catches a setting changed for one of
    the two, and a subset that the grid has not.
    """
    runs, mixes = (sweeps.trials(spec).values() for spec in demo.plans(tmp_path, 160).values())
    without = {dataclasses.replace(trial, ratio=0.0, synthetic=None) for trial in mixes}
    assert without <= set(runs)
    mixed_in = {(trial.synthetic, trial.ratio) for trial in mixes}
    assert mixed_in == {(s, share) for s in SOURCES for share in (0.5, 1.0)}
    assert {trial.labels for trial in runs} == {4, 16, 64}
    assert len(runs) == 27
