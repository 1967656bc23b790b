import json
import logging
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import yaml

from semiseg.analysis.load import load_runs, once
from semiseg.analysis.results_csv import COLUMNS
from semiseg.analysis.runs import Runs
from semiseg.errors import UserError

from .fake import write_rows, write_run


def row(subject, class_, metric, value, split="val", checkpoint="last"):
    return ["r", split, checkpoint, subject, class_, metric, value, "1"]


@pytest.fixture
def hand(tmp_path):
    """Two subjects, two classes, one score undefined: p1 (.8, .6), p2 (.4, undefined)."""
    run = write_run(tmp_path, examples=False)
    write_rows(
        run,
        [
            row("p1", "a", "dice", "0.8"),
            row("p1", "b", "dice", "0.6"),
            row("p2", "a", "dice", "0.4"),
            row("p2", "b", "dice", ""),
            row("p1", "0", "dice", "0.99"),
            row("007", "a", "dice", "0.5", split="test"),
        ],
    )
    return load_runs(tmp_path)


def test_a_run_shown_in_a_notebook_is_one_line(hand):
    """Catches pages of subjects and settings, and a mean of the wrong split or checkpoint."""
    (run,) = hand
    assert (
        repr(run).endswith("labels, subset 0, seed 0, 300 steps, val Dice 0.550, test Dice 0.500)")
        and len(repr(run)) < 160
    )
    assert repr(run.scores).endswith("× 3 subjects)") and len(repr(run.scores)) < 160


def test_mean_is_over_classes_then_subjects(hand):
    """Catches pooling over subjects × classes (.6 instead of .55), counting an undefined score as
    0, and averaging the background in.
    """
    table = hand.to_pandas().query("split == 'val'").set_index("class")
    assert table.loc["mean", "mean"] == pytest.approx((0.7 + 0.4) / 2)
    assert table["n_subjects"].to_dict() == {"mean": 2, "a": 2, "b": 1}
    assert table.loc["b", "mean"] == pytest.approx(0.6)


def test_splits_are_not_mixed_and_subject_names_stay_text(hand):
    """Catches test subjects averaged into validation, and a subject 007 read as the number 7."""
    assert hand.matrix("dice", "val")[0] == ["p1", "p2"]
    assert hand.matrix("dice", "test")[0] == ["007"]
    assert hand[0].per_subject()["subject"].tolist()[-1] == "007"


def test_matrix_aligns_subjects_across_runs(tmp_path):
    """Catches rows put side by side in file order instead of by subject."""
    for seed, order in ((0, "xyz"), (1, "zx")):
        write_rows(
            write_run(tmp_path, seed=seed, examples=False),
            [row(s, "a", "dice", str(0.1 * (ord(s) - ord("w")) + seed / 2)) for s in order],
        )
    subjects, values_RS = load_runs(tmp_path).matrix()
    assert subjects == ["x", "y", "z"]
    np.testing.assert_allclose(values_RS, [[0.1, 0.2, 0.3], [0.6, np.nan, 0.8]])


def test_results_csv_has_the_contract_and_the_same_bytes_in_any_order(runs, tmp_path):
    """Catches a renamed or reordered column, and rows in the order in which folders were found."""
    first = runs.write_csv(tmp_path / "a" / "results.csv").read_bytes()
    shuffled = list(runs)
    random.Random(3).shuffle(shuffled)
    assert Runs(shuffled).write_csv(tmp_path / "b.csv").read_bytes() == first
    assert first.split(b"\n")[0].decode() == (
        "run,data,method,net,labels,label_subset,seed,ratio,steps,"
        "split,checkpoint,class,metric,mean,n_subjects"
    )
    assert list(runs.to_pandas().columns) == list(COLUMNS)
    assert (
        len(runs.to_pandas()) == first.count(b"\n") - 1 == 24 * 2 * 3 * 8
    )  # runs × checkpoints × (mean and two classes) × metrics


def test_undefined_mean_is_empty_in_results_csv(tmp_path):
    """Catches 'nan' text, and a silent 0, where no subject has a defined score."""
    write_rows(
        write_run(tmp_path / "in", examples=False),
        [row("p1", "a", "hd95", ""), row("p1", "a", "dice", "0")],
    )
    lines = load_runs(tmp_path / "in").write_csv(tmp_path / "results.csv").read_text().splitlines()
    assert [line.split(",")[-3:] for line in lines[1:] if ",a," in line] == [
        ["hd95", "", "0"],
        ["dice", "0", "1"],
    ]


BREAKAGE = {
    "config.yaml": "labels: [1\n",
    "summary.json": "{",
    "per_subject.csv": "run,split\n",
    "env.json": "[1]",
}


@pytest.mark.parametrize("file", BREAKAGE)
def test_a_broken_run_is_one_warning_line_and_left_out(tmp_path, caplog, file):
    """Catches a broken run that stops the whole report, or that vanishes without a word."""
    write_run(tmp_path, seed=0)
    broken = write_run(tmp_path, seed=1)
    (broken / file).write_text(BREAKAGE[file])
    with caplog.at_level(logging.WARNING, "semiseg"):
        runs = load_runs(tmp_path)
    assert [run.seed for run in runs] == [0]
    assert (
        len(caplog.messages) == 1
        and str(broken / file) in caplog.messages[0]
        and "\n" not in caplog.messages[0]
    )
    assert runs.problems == [caplog.messages[0].removeprefix("left out: ")]


@pytest.mark.parametrize("field", ["labels", "seed", "steps", "method"])
def test_a_run_that_lacks_what_it_is_compared_by_is_left_out(tmp_path, field):
    """Catches a default in place of a line that damage has taken."""
    run = write_run(tmp_path, examples=False)
    tree = yaml.safe_load((run / "config.yaml").read_text())
    del tree[field]
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError, match=f"config.yaml: does not say {field}"):
        load_runs(tmp_path)


@pytest.mark.parametrize(
    "value", ["abc", "0.5,extra,more", "0.5\nRUN,val,last,q,nucleus,dice,1,0.5"]
)
def test_a_bad_score_is_named_with_its_line(tmp_path, value):
    """Catches a score that is no number being read as NaN, the wrong line number, and a short and a
    long row that the quick reader takes for two.
    """
    run = write_run(tmp_path, examples=False)
    file = run / "per_subject.csv"
    file.write_text(
        "\n".join(
            [
                *file.read_text().splitlines()[:4],
                f"{run.name},val,last,p,nucleus,dice,{value},1".replace("RUN", run.name),
            ]
        )
        + "\n"
    )
    with pytest.raises(UserError, match=r"per_subject\.csv: line 5 "):
        load_runs(tmp_path)


def test_unfinished_runs_are_left_out(tmp_path):
    """Catches an interrupted run's half-trained scores being averaged in."""
    write_run(tmp_path, seed=0)
    file = write_run(tmp_path, seed=1) / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "interrupted"}))
    runs = load_runs(tmp_path)
    assert len(runs) == 1 and "interrupted" in runs.problems[0]


def test_nothing_to_load_is_an_error(tmp_path):
    """Catches an empty report made without complaint."""
    with pytest.raises(UserError, match="no finished run"):
        load_runs(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        load_runs([tmp_path / "nowhere"])


def test_runs_of_one_name_are_told_apart_and_one_folder_is_counted_once(tmp_path):
    """Catches two runs merged in results.csv, and a run counted twice when its folder and its
    parent are both given.
    """
    for seed, part in enumerate(("one", "two")):
        write_run(tmp_path / part, seed=seed, name="same")
    runs = load_runs(
        [
            tmp_path,
            tmp_path / "one" / ".." / "one",
            tmp_path / "two" / "same",
        ]
    )
    assert [run.name for run in runs] == ["one/same", "two/same"]


def test_a_run_in_two_folders_is_counted_once(tmp_path):
    """Catches a copy pooled as a second run, the earlier one kept, and another seed, or a run of
    other settings, taken for a copy.
    """
    for i, (part, seed, lr) in enumerate(
        (("a", 0, 0.1), ("b", 0, 0.1), ("c", 1, 0.1), ("d", 0, 0.2))
    ):
        run = write_run(
            tmp_path / part, seed=seed, examples=False, config={"lr": lr, "log_every": i}
        )
        os.utime(run / "summary.json", (100 - i, 100 - i))
    runs = once(load_runs(tmp_path))
    assert sorted(run.path.parent.name for run in runs) == ["a", "c", "d"]
    assert len(runs.problems) == 1 and "1 run is there more than once" in runs.problems[0]
    assert (
        f"counts: {runs[0].path}, not {tmp_path / 'b' / 'supervised-n8-j0-s0'}" in runs.problems[0]
    )


def test_failed_trials_are_told_in_one_line(tmp_path, caplog):
    """Catches trials that a sweep lost without a word, one line for each, and a trial counted that
    succeeded later.
    """
    for i in range(3):
        folder = tmp_path / f"t{i}"
        if i == 2:
            folder = write_run(tmp_path, seed=i)
        folder.mkdir(exist_ok=True)
        (folder / "error.json").write_text(json.dumps({"error": f"boom {i}\nand more"}))
    with caplog.at_level(logging.WARNING, "semiseg"):
        runs = load_runs(tmp_path)
    assert len(runs) == 1 and len(runs.problems) == len(caplog.messages) == 1
    assert runs.problems[0].startswith(
        f"2 trials failed, the first in {tmp_path / 't0'}: boom 0 and more; "
    )


def test_log_and_examples_name_the_bad_file(tmp_path):
    """Catches a truncated metrics line or a corrupted archive ending in a traceback, and anything
    that unpickles.
    """
    run = write_run(tmp_path)
    (run / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    kept = dict(np.load(run / "examples.npz"))
    np.savez(run / "examples.npz", **kept | {"subject": np.array(["p", {}], dtype=object)})
    loaded = load_runs(tmp_path)[0]
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2"):
        loaded.metrics()
    with pytest.raises(UserError, match=r"examples\.npz"):
        loaded.examples()


def test_import_brings_nothing_heavy():
    """Catches an import of pandas, matplotlib or JAX at the top of the module."""
    code = (
        "import sys, semiseg.analysis.load; print({'pandas', 'matplotlib', 'jax'} "
        "& set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "set()"
    )


def test_results_csv_can_be_read_again(runs, tmp_path):
    """Catches a round trip that changes a row, classes averaged twice, and a broken file without
    its line.
    """
    from semiseg.analysis.study import study

    again = load_runs(runs.write_csv(tmp_path / "results.csv"))
    assert [run.name for run in again] == [run.name for run in runs]
    assert (
        again.write_csv(tmp_path / "second.csv").read_bytes()
        == (tmp_path / "results.csv").read_bytes()
    )
    cells = study(runs).cells
    for key, cell in study(again).cells.items():
        np.testing.assert_allclose(cell.mean_R, cells[key].mean_R, atol=1e-6)
        assert cell.interval.covers == "label subsets and seeds"
    (tmp_path / "bad.csv").write_text(
        (tmp_path / "results.csv").read_text().replace(",50,val", ",many,val", 1)
    )
    with pytest.raises(UserError, match="line 2 cannot be read"):
        load_runs(tmp_path / "bad.csv")


def test_quoted_and_plain_files_read_alike(tmp_path):
    """The quick reader and the csv module give one table. Catches a layout of one run used for
    another, whose rows are in another order or fewer.
    """
    rows = [
        row("p1", "a", "dice", "0.8"),
        row("p2", "a", "dice", "0.4"),
        row("p2", "a", "hd95", "3"),
    ]
    for seed, (given, quote) in enumerate(
        [(rows, False), (rows[::-1], False), (rows, True), (rows[:2], False)]
    ):
        run = write_run(tmp_path, seed=seed, examples=False)
        write_rows(run, given)
        if quote:
            (run / "per_subject.csv").write_text(
                (run / "per_subject.csv").read_text().replace("p1", '"p1"')
            )
    runs = load_runs(tmp_path)
    np.testing.assert_array_equal(runs.matrix("dice")[1], [[0.8, 0.4]] * 4)
    assert runs.matrix("hd95")[0] == ["p2"] and np.isnan(runs.matrix("hd95")[1][3]).all()


def test_results_csv_tells_how_weights_began(tmp_path):
    """Two starts and random ones, there and back. Catches arms pooled, lost steps and seconds, and
    new columns where no run has a start of its own.
    """
    from semiseg.analysis.arms import find_arms

    for init, steps, seconds in (
        ("none", 300, 0.0),
        ("masked_image", 900, 61.5),
        ("dense_contrastive", 900, 70.25),
    ):
        run = write_run(
            tmp_path / "runs",
            name=init,
            examples=False,
            subjects=2,
            config={"init": {"name": init}, "init_steps": 600 + seconds},
        )
        summary = json.loads((run / "summary.json").read_text()) | {
            "init": init,
            "total_steps": steps,
            "seconds_init": seconds,
        }
        (run / "summary.json").write_text(json.dumps(summary))
    runs = load_runs(tmp_path / "runs")
    again = load_runs(runs.write_csv(tmp_path / "results.csv"))
    header = (tmp_path / "results.csv").read_text().split("\n")[0].split(",")
    assert (
        header
        == [*COLUMNS, "init", "total_steps", "seconds_init"]
        == list(again.to_pandas().columns)
    )
    assert (
        again.write_csv(tmp_path / "second.csv").read_bytes()
        == (tmp_path / "results.csv").read_bytes()
    )
    assert {run.name: (run.init, run.total_steps, run.seconds_init) for run in again} == {
        "none": ("none", 300, 0.0),
        "masked_image": ("masked_image", 900, 61.5),
        "dense_contrastive": ("dense_contrastive", 900, 70.25),
    }
    assert (
        list(find_arms(again))
        == list(find_arms(runs))
        == [
            f"supervised ({init})"
            for init in ("from scratch", "init dense_contrastive", "init masked_image")
        ]
    )
    old = load_runs(
        Runs([run for run in again if run.init == "none"]).write_csv(tmp_path / "old.csv")
    )
    assert (tmp_path / "old.csv").read_text().split("\n")[0].split(",") == list(COLUMNS)
    assert (
        old[0].init,
        old[0].total_steps,
        old[0].seconds_init,
    ) == ("none", 300, 0.0)
    earlier = load_runs(
        write_run(tmp_path / "earlier", examples=False, subjects=2, seed=1)
    )  # its configuration knows no init
    assert list(find_arms(Runs([*earlier, *(run for run in runs if run.init == "none")]))) == [
        "supervised"
    ]
