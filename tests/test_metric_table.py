"""One line in the table of metrics is all that a metric needs; a signed error has a direction."""

import csv
import json

import numpy as np
import pytest

import semiseg
from semiseg.analysis import scores_csv, spread
from semiseg.analysis.load import load_runs
from semiseg.analysis.study import study
from semiseg.errors import UserError
from semiseg.evaluate.metrics import METRICS, Masks, Metric, mask_metrics
from semiseg.report import facts, summary
from semiseg.report.page import write_report
from semiseg.sweeps.spec import read
from semiseg.track import weights_and_biases

HEADER = ["run", "split", "checkpoint", "subject", "class", "metric", "value", "unit"]
ERRORS = {
    "supervised": {"a": 0.1, "b": -0.1},
    "mean_teacher": {"a": 0.3, "b": -0.3},
}
"""Of each class: mean teacher is wrong by three times as much, and both are right on average."""


def missed_share(masks: Masks) -> float:
    """Share of the image that is annotated and not predicted."""
    return (masks.true - masks.both) / masks.truth.size


def write_folder(folder, method, subset, seed, rows):
    """A finished run with these scores: ``(subject, class, metric, value)``."""
    name = f"{method}-j{subset}-s{seed}"
    run = folder / name
    run.mkdir(parents=True)
    config = {
        "data": "hearts",
        "method": {"name": method},
        "net": {"name": "unet"},
    }
    numbers = {"labels": 4, "label_subset": subset, "seed": seed, "steps": 100, "ratio": 0.0}
    (run / "config.yaml").write_text(json.dumps(config | numbers))  # JSON is YAML
    (run / "summary.json").write_text(json.dumps({"run": name, "status": "finished"}))
    with (run / "per_subject.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for subject, class_, metric, value in rows:
            writer.writerow(
                [
                    name,
                    "val",
                    "last",
                    subject,
                    class_,
                    metric,
                    f"{value:.6g}",
                    "",
                ]
            )


def write_volumes(folder, errors=ERRORS):
    """Runs of two methods with these volume errors, and a Dice that is the same for all."""
    rng = np.random.default_rng(0)
    for method, by_class in errors.items():
        for subset in range(3):
            for seed in range(2):
                rows = []
                for subject in (f"p{i}" for i in range(8)):
                    for class_, value in by_class.items():
                        moved = value + rng.normal(0, 0.01)
                        rows.append((subject, class_, "volume_error", moved))
                        rows.append((subject, class_, "dice", 0.8 + rng.normal(0, 0.01)))
                write_folder(folder, method, subset, seed, rows)
    return load_runs(folder)


def sweep(metric, goal):
    return {
        "method": "bayes",
        "run_cap": 2,
        "metric": {"name": metric, "goal": goal},
        "parameters": {"lr": {"values": [0.1, 0.01]}},
    }


@pytest.mark.slow
def test_one_line_in_the_table_reaches_everything(tiny, tmp_path, monkeypatch):
    """Evaluation, per_subject.csv, summary.json, report.html, a sweep and W&B. Catches a second
    list of metrics, anywhere, and a default that was taken from the table at import.
    """
    line = Metric("missed", "Missed share", "lower", missed_share)
    monkeypatch.setitem(METRICS, "missed", line)

    result = semiseg.run(
        tiny,
        tmp_path / "runs" / "one",
        progress=False,
    )
    with (tmp_path / "runs" / "one" / "per_subject.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "missed"]
    assert rows
    assert all(0 <= float(row["value"]) <= 1 and row["unit"] == "" for row in rows)
    summary = json.loads((tmp_path / "runs" / "one" / "summary.json").read_text())
    assert 0 <= summary["last"]["val"]["missed"] == result.summary["last"]["val"]["missed"] <= 1

    runs = load_runs(tmp_path / "runs")
    write_report(runs, tmp_path / "beside")
    page = (tmp_path / "beside" / "report.html").read_text(encoding="utf-8")
    assert "Missed share (lower is better)" in page
    said = write_report(runs, tmp_path / "primary", metric="missed")
    assert "Missed share" in said["answers"][0]

    spec = read(sweep("val_missed", "minimize"))
    assert (spec.metric, spec.maximise) == ("missed", False)
    with pytest.raises(UserError, match="metric.goal is maximize.* makes val_missed worse"):
        read(sweep("val_missed", "maximize"))

    assert weights_and_biases.summaries()["missed"] == "min,last"


def test_a_metric_of_the_table_follows_the_empty_policy(monkeypatch):
    """Catches a metric that is computed, and divides by zero, where neither mask has a voxel."""
    line = Metric(
        "ratio",
        "Ratio",
        "higher",
        lambda m: m.predicted / (m.predicted + m.true),
    )
    monkeypatch.setitem(METRICS, "ratio", line)
    empty = np.zeros((3, 3), bool)
    full = ~empty
    assert np.isnan(mask_metrics(empty, empty, (1.0, 1.0), ("ratio",))["ratio"])
    assert mask_metrics(full, full, (1.0, 1.0), ("ratio",)) == {"ratio": 0.5}


def test_a_metric_without_a_direction_is_refused():
    """Catches a misspelt direction, which would be taken for one of the others."""
    with pytest.raises(UserError, match="better='bigger' does not exist; choose higher, lower"):
        Metric("x", "X", "bigger", missed_share)
    with pytest.raises(UserError, match="unit='mm' is neither"):
        Metric("x", "X", "lower", missed_share, unit="mm")


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_a_sweep_cannot_optimise_a_signed_error(goal):
    """Catches ``val_volume_error, goal: minimize``, whose best network predicts nothing at all."""
    with pytest.raises(UserError, match=f"best at 0, so {goal} .*choose one of val_dice, val_iou"):
        read(sweep("val_volume_error", goal))


def test_an_over_segmenting_method_does_not_beat_supervised(tmp_path):
    """Errors of +30 % against +10 %. Catches a signed error whose larger value wins."""
    runs = write_volumes(
        tmp_path / "runs",
        {
            "supervised": {"a": 0.1, "b": 0.1},
            "mean_teacher": {"a": 0.3, "b": 0.3},
        },
    )
    s = study(runs, "volume_error")
    (comparison,) = s.comparisons
    assert s.verdict(comparison) == -1
    assert comparison.difference.mean == pytest.approx(0.2, abs=0.01)
    said = write_report(runs, tmp_path / "out", metric="volume_error")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Absolute volume error" in page
    assert "beats" not in " ".join(said["answers"])
    assert [row["mean"] for row in said["cells"]] == pytest.approx([0.1, 0.3], abs=0.01)


def test_errors_of_opposite_sign_do_not_cancel(tmp_path):
    """-30 % in one class and +30 % in another is no 0 %. Catches the absolute value of a mean, and
    one that a figure or a table takes and the comparison does not.
    """
    runs = write_volumes(tmp_path / "runs")
    s = study(runs, "volume_error")
    means = {arm: cell.interval.mean for (arm, _), cell in s.cells.items()}
    assert means["supervised"] == pytest.approx(0.1, abs=0.01)
    assert means["mean teacher"] == pytest.approx(0.3, abs=0.01)
    assert s.verdict(s.comparisons[0]) == -1
    scores = spread.subject_scores(s)
    assert all(score > 0.25 for score in scores["mean teacher"])
    assert spread.ranking(s, 4).first[0] == 1
    assert abs(runs.matrix("volume_error")[1].mean()) < 0.02  # the table of scores stays signed


def test_an_unknown_metric_is_named(tmp_path):
    """Catches a metric without a direction taken for one whose larger values are better."""
    runs = write_volumes(tmp_path)
    with pytest.raises(UserError, match="metric 'speed' does not exist; choose among dice"):
        study(runs, "speed")


def test_a_table_says_what_it_holds(tmp_path):
    """With NAME_subjects.csv beside it nothing is missing; without, the report says so. Catches the
    warning where the subjects were used, and none for a metric that the file beside does not have.
    """
    runs = write_volumes(tmp_path / "runs")
    results = runs.write_csv(tmp_path / "results.csv")
    missing = "without their subjects' scores"

    bare = summary.cautions(study(load_runs(results)))

    scores_csv.write(runs, results, ("dice",), "val")
    table = load_runs(results)
    s = study(table)
    assert not any("results.csv" in caution for caution in summary.cautions(s))
    assert all(cell.interval.n_subjects == 8 for cell in s.cells.values())
    assert any(missing in caution for caution in bare)
    other = summary.cautions(study(table, "volume_error"))
    assert any(missing in caution for caution in other)
    assert any("errors of opposite sign cancel" in caution for caution in other)


def test_a_table_does_not_call_images_subjects(tmp_path):
    """A results.csv does not say what one annotation is of; of the built-in set it is known.
    Catches "annotated subjects" for single images, in sentences, captions and on the page.
    """
    runs = write_volumes(tmp_path / "runs")
    table = load_runs(runs.write_csv(tmp_path / "results.csv"))
    assert facts.unit_of_annotation(runs) == "subjects"
    assert facts.unit_of_annotation(table) == "cases"
    write_report(table, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "annotated cases" in page
    assert "annotated subjects" not in page
    caption = (tmp_path / "out" / "tables" / "label_efficiency.md").read_text()
    assert "number of annotated cases" in caption

    file = tmp_path / "nuclei.csv"
    file.write_text((tmp_path / "results.csv").read_text().replace(",hearts,", ",nuclei,"))
    assert facts.unit_of_annotation(load_runs(file)) == "images"


def test_wandb_keeps_the_best_by_direction():
    """Catches the smallest signed error kept as the best one."""
    best = weights_and_biases.summaries()
    assert best["dice"] == "max,last"
    assert best["hd95"] == best["loss"] == "min,last"
    assert best["volume_error"] == "last"
    assert "hd" not in best
