"""Folders that commit 53dd379 wrote still load, report, predict, sample and resume.

Bits are compared where versions and CPU type equal those in made.json; elsewhere weights are
compared within a tolerance and pictures by the share of pixels that agree.
"""

import csv
import json
import operator
import shutil

import guard_tools as tools
import numpy as np
import pytest
from PIL import Image

from semiseg.data.provenance import PREDICTED

pytestmark = pytest.mark.slow

MADE_ON = tools.read_json(tools.MADE / "made.json")
EXACT = MADE_ON == tools.machine()


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_pictures(new, recorded, least_equal):
    """Equal pictures on the machine type that made them; else this share of equal pixels."""
    names = sorted(p.name for p in recorded.iterdir())
    assert {p.name for p in new.iterdir()} - {PREDICTED} == set(names)
    assert names
    for name in names:
        one = np.asarray(Image.open(new / name)).astype(int)
        other = np.asarray(Image.open(recorded / name)).astype(int)
        assert one.shape == other.shape
        if EXACT:
            np.testing.assert_array_equal(one, other, err_msg=name)
        else:
            assert np.mean(abs(one - other) <= 1) >= least_equal, name


def without_seconds(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line.pop("seconds", None)
    return lines


@pytest.mark.parametrize(
    "command",
    [
        "import anew",
        "check",
        "import",
        "status",
        "report",
        "evaluate",
        "predict supervised",
        "predict mean_teacher",
        "predict exported",
        "read",
        "resume",
        "sweep",
        "export",
        "sample",
        "resume generator",
    ],
)
def test_command_succeeds(command, old):
    code, _, err = old.results[command]
    assert code == 0, err


def test_a_store_of_slices_is_refused_in_one_line(old):
    """Catches a store of layout 1 that is read as one of scans; all other commands work on the same
    pictures imported anew.
    """
    code, _, err = old.results["layout 1"]
    assert code == 2
    (line,) = err.splitlines()
    assert "layout 1" in line
    assert "import it again from discs_source with --overwrite" in line


def test_card_reads_the_old_set(old):
    """1 is a rejected set, which this tiny one may be; 2 would be an unreadable one."""
    code, _, err = old.results["card"]
    assert code in (0, 1), err
    assert tools.read_json(old.folder / "card.json")["counts"]["samples"] == 4


def test_load_runs(tmp_path):
    """Catches a reader that needs a field, a file or a folder that old runs lack."""
    import semiseg

    for part in ("finished", "sweep"):
        shutil.copytree(tools.MADE / part, tmp_path / part)
    frame = semiseg.load_runs([tmp_path / "finished", tmp_path / "sweep"]).to_pandas()
    assert sorted(set(frame.run)) == [
        "mean_teacher",
        "mean_teacher-subset0",
        "supervised",
        "supervised-subset0",
        "supervised-subset1",
    ]
    assert set(frame.labels) == {4}
    assert set(frame.method) == {"supervised", "mean_teacher"}
    summary = tools.read_json(tools.MADE / "finished/supervised/summary.json")
    chosen = frame[
        (frame.run == "supervised")
        & (frame.metric == "dice")
        & (frame["class"] == "mean")
        & (frame.checkpoint == "last")
    ]
    assert chosen["mean"].item() == pytest.approx(
        summary["last"]["val"]["dice"],
        abs=1e-5,
    )


def test_report_has_the_same_table(old):
    """results.csv holds only numbers from the runs' files, so it does not depend on the machine."""
    assert read_rows(old.folder / "report/results.csv") == read_rows(tools.MADE / "results.csv")
    page = (old.folder / "report/report.html").read_text()
    assert "mean teacher" in page.lower() or "mean_teacher" in page


def test_evaluation_gives_the_same_scores(old):
    """Of every metric that the old program scored; no truth of this set is empty."""
    new = read_rows(old.folder / "finished/mean_teacher/per_subject.csv")
    recorded = read_rows(tools.MADE / "finished/mean_teacher/per_subject.csv")
    entry = operator.itemgetter("run", "split", "checkpoint", "subject", "class", "metric")
    scores = {entry(row): row["value"] for row in new}
    assert scores.keys() >= {entry(row) for row in recorded}  # metrics may be added
    for row in recorded:
        value = scores[entry(row)]
        if EXACT:
            assert value == row["value"]
        elif row["metric"] == "dice" and row["value"]:
            assert float(value) == pytest.approx(float(row["value"]), abs=0.02)


@pytest.mark.parametrize("method", ["supervised", "mean_teacher"])
def test_prediction_gives_the_same_masks(method, old):
    assert_same_pictures(
        old.folder / "new" / method,
        tools.MADE / "masks" / method,
        0.99,
    )


def test_an_exported_run_predicts_the_same_masks(old):
    assert_same_pictures(old.folder / "new/exported", tools.MADE / "masks/supervised", 0.99)


def test_masks_have_both_classes():
    """Otherwise the comparison of masks would catch little."""
    for method in ("supervised", "mean_teacher"):
        masks = [np.asarray(Image.open(p)) for p in (tools.MADE / "masks" / method).iterdir()]
        assert set(np.unique(masks)) == {0, 1}


def test_a_finished_run_is_read_and_not_trained(old):
    """The same command on a finished run leaves its files as they are."""
    for name in ("weights.safetensors", "summary.json", "metrics.jsonl", "config.yaml"):
        new = (old.folder / "finished/supervised" / name).read_bytes()
        assert new == (tools.MADE / "finished/supervised" / name).read_bytes(), name


def test_an_interrupted_run_ends_with_the_weights_of_its_twin(old):
    """Catches leaves of the state in another order, and draws that depend on where a run began."""
    assert not (tools.MADE / "interrupted/summary.json").exists()
    weights = old.folder / "interrupted/weights.safetensors"
    tools.assert_same_weights(weights, tools.MADE / "twin.safetensors", MADE_ON)
    lines = without_seconds(old.folder / "interrupted/metrics.jsonl")
    twin = without_seconds(tools.MADE / "finished/mean_teacher/metrics.jsonl")
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert lines[:2] == twin[:2], "the first half is what 53dd379 logged"
    # pixels are gathered in another order now
    for line, known in zip(lines[2:], twin[2:], strict=True):
        assert line == {key: pytest.approx(value, rel=1e-4) for key, value in known.items()}


def test_a_sweep_goes_on_with_its_unfinished_trial(old):
    """Catches trials of another name (finished ones would be run again) and a restart."""
    states = {row["name"]: row["state"] for row in tools.read_json(old.folder / "status.json")}
    assert sorted(states.values()) == ["done", "done", "done", "unfinished"]
    swept = {row["name"]: row["state"] for row in tools.read_json(old.folder / "swept.json")}
    assert swept == dict.fromkeys(states, "done")
    for name, state in states.items():
        if state == "done":
            new = (old.folder / "sweep" / name / "weights.safetensors").read_bytes()
            assert new == (tools.MADE / "sweep" / name / "weights.safetensors").read_bytes()
    weights = old.folder / "sweep/mean_teacher-subset1/weights.safetensors"
    lines = without_seconds(weights.parent / "metrics.jsonl")
    recorded = without_seconds(tools.MADE / "sweep/mean_teacher-subset1/metrics.jsonl")
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert lines[:2] == recorded[:2]


def test_an_old_run_exports_what_53dd379_exported(old):
    new = tools.weights(old.folder / "new/exported_again/weights.safetensors")
    assert sorted(new) == sorted(tools.weights(tools.MADE / "twin.safetensors"))
    names = {p.name for p in (tools.MADE / "exported").iterdir()}
    assert {p.name for p in (old.folder / "new/exported_again").iterdir()} == names


def test_the_same_pictures_make_the_same_store(old):
    """Catches another split, another order or other pixels: the fingerprint is of all of them."""
    recorded = tools.read_json(tools.MADE / "stores/discs/semiseg.json")
    new = tools.read_json(old.folder / "stores/anew/semiseg.json")
    for key in ("fingerprint", "classes", "channels", "unit"):
        assert new[key] == recorded[key], key
    for split, counts in recorded["counts"].items():
        assert new["counts"][split].items() >= counts.items()  # counts may be added


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_an_old_generator_samples_the_same_set(kind, old):
    assert_same_pictures(
        old.folder / "new/generated" / kind,
        tools.MADE / "generated" / kind,
        0.97,
    )


def test_the_sampled_set_has_the_same_record(old):
    """Provenance of every sample, and the generator's hash."""
    for name in ("provenance.csv", "subjects.csv"):
        new = read_rows(old.folder / "new/generated" / name)
        recorded = read_rows(tools.MADE / "generated" / name)
        assert len(new) == len(recorded) == 4
        assert list(new[0]) == list(recorded[0])
        if EXACT:
            assert new == recorded
    new = tools.read_json(old.folder / "new/generated/generator.json")
    assert new == tools.read_json(tools.MADE / "generated/generator.json")


def test_an_interrupted_fit_ends_with_the_weights_of_its_twin(old):
    weights = old.folder / "generator_interrupted/weights.safetensors"
    tools.assert_same_weights(weights, tools.MADE / "generator/weights.safetensors", MADE_ON)
