"""Scores by subgroup, tails and failures: arithmetic by hand, and the way of a column from
subjects.csv to the page.
"""

import csv
import dataclasses
import shutil

import numpy as np
import pytest
from scipy import stats

import semiseg
from semiseg.analysis import subgroups, tails
from semiseg.analysis.design import Design
from semiseg.analysis.load import load_runs
from semiseg.analysis.statistics import mean_interval
from semiseg.analysis.study import study
from semiseg.data import importing, store, subjects_csv
from semiseg.evaluate.subject_scores import truth_sizes
from semiseg.report.page import write_report
from semiseg.run_folder import RunFolder
from semiseg.runner.rescore import evaluate
from semiseg.types import IGNORE, Case

from .fake import write_rows, write_run

SCORES = {"p1": 0.9, "p2": 0.8, "p3": 0.4, "p4": 0.2, "p5": 0.6}
SITES = {"p1": "A", "p2": "A", "p3": "B", "p4": "B", "p5": ""}


@pytest.fixture
def runs(tmp_path):
    """Three label subsets whose scores differ by 0.01; sites of four of the five subjects."""
    for subset in range(3):
        run = write_run(tmp_path, subset=subset, labels=4, data="hearts", examples=False)
        rows = []
        for subject, score in SCORES.items():
            rows.append([run.name, "val", "last", subject, "a", "dice", score + 0.01 * subset, ""])
        write_rows(run, rows)
        columns = {subject: {"site": site, "age": "40"} for subject, site in SITES.items()}
        RunFolder(run).write_subjects("val", columns)
    return load_runs(tmp_path)


def test_subgroups_by_hand(runs):
    """Catches subjects in the wrong group, one without a value in any, and an interval over all
    subjects.
    """
    s = study(runs)
    columns = subgroups.columns_of(s.runs, "val")
    groups = subgroups.groups_of_column(columns["site"])
    assert groups == {"A": ["p1", "p2"], "B": ["p3", "p4"]}
    parts = subgroups.subgroup_scores(s, s.cells["supervised", 4], groups)
    assert [part.value for part in parts] == ["A", "B"]
    assert [part.interval.mean for part in parts] == pytest.approx([0.86, 0.31])
    assert [part.interval.n_subjects for part in parts] == [2, 2]
    table = np.array(
        [
            [0.9, 0.8],
            [0.91, 0.81],
            [0.92, 0.82],
        ]
    )
    by_hand = mean_interval(table, ["0", "1", "2"], bounds=(0.0, 1.0))
    assert parts[0].interval.low == pytest.approx(by_hand.low)
    assert subgroups.groups_of_column(columns["age"]) == {}  # all are 40
    assert subgroups.columns_of(s.runs, "test") == {}


def test_any_groups_can_be_given(runs):
    """Of a table without columns. Catches a subgroup of one subject that has an interval."""
    s = study(runs)
    groups = {"hard": ["p3", "p4"], "one": ["p1"], "nobody": []}
    parts = subgroups.subgroup_scores(s, s.cells["supervised", 4], groups)
    assert [part.value for part in parts] == ["hard"]


def test_thirds_hold_every_subject_once():
    """Catches equal values in two thirds, and words that are taken for numbers."""
    values = {f"p{i}": str(i // 2) for i in range(18)}
    groups = subgroups.groups_of_column(values)
    assert [len(subjects) for subjects in groups.values()] == [6, 6, 6]
    assert list(groups) == ["0 to 2", "3 to 5", "6 to 8"]
    assert sorted(sum(groups.values(), [])) == sorted(values)
    assert subgroups.groups_of_column({f"p{i}": f"scanner {i}" for i in range(18)}) == {}


def test_worst_decile_and_failures_by_hand():
    """Catches the best tenth, that of all runs together, and a lower distance taken for worse."""
    table = np.array([np.linspace(0.05, 1, 20), np.linspace(0.06, 1.01, 20)])
    worst = tails.worst_decile(table, ["a", "b"])
    assert worst.mean == pytest.approx(np.mean([0.05, 0.10, 0.06, 0.11]))
    assert worst.low <= worst.mean <= worst.high
    far = tails.worst_decile(table, ["a", "b"], sign=-1)
    assert far.mean == pytest.approx(np.mean([1, 0.95, 1.01, 0.96]))
    rate = tails.failure_rate(table, ["a", "b"], below=0.3)
    assert rate.mean == pytest.approx(np.mean([5 / 20, 5 / 20]))
    assert tails.failure_rate(
        table,
        ["a", "b"],
        below=0.3,
        sign=-1,
    ).mean == pytest.approx(29 / 40)


def test_the_interval_of_one_run_is_wilsons():
    """Catches an interval of no width for nothing of ten, and one that counts runs as trials."""
    for events in (0, 3, 10):
        event_S = (np.arange(10) < events)[None].astype(float)
        expected = stats.binomtest(events, 10).proportion_ci(method="wilson")
        interval = tails.proportion_interval(event_S, ["a"])
        assert interval[1:3] == pytest.approx((expected.low, expected.high), abs=1e-9)
        often = tails.proportion_interval(np.repeat(event_S, 9, 0), list("aaabbbccc"))
        assert often.high - often.low >= 0.99 * (expected.high - expected.low)


def test_runs_that_disagree_widen_the_share():
    """One label subset of three fails everywhere. Catches 60 independent trials."""
    event_RS = np.zeros((3, 20))
    event_RS[0] = 1
    interval = tails.proportion_interval(event_RS, ["a", "b", "c"])
    assert interval.mean == pytest.approx(1 / 3)
    assert interval.low < 0.05 and interval.high > 0.8


def test_look_alikes_are_one_trial():
    """Catches an interval over 20 images of 5 groups that is as narrow as over 20 patients."""
    design = Design(["a"], tuple(f"g{i // 4}" for i in range(20)))
    alone = tails.proportion_interval(np.zeros((1, 20)), ["a"])
    grouped = tails.proportion_interval(np.zeros((1, 20)), design)
    assert grouped.high > 2 * alone.high


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_coverage_of_the_share(share):
    """Of 3 label subsets × 20 subjects who differ. Catches an interval without the spread between
    label subsets.
    """
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        chance_RS = rng.normal(0, 0.3, (3, 1)) + rng.normal(0, 1, 20)
        limit = stats.norm.ppf(share) * np.hypot(np.hypot(0.3, 1), 1)
        event_RS = (chance_RS + rng.normal(0, 1, (3, 20)) < limit).astype(float)
        interval = tails.proportion_interval(event_RS, ["a", "b", "c"])
        held += interval.low <= share <= interval.high
    assert held / 300 > 0.93


def test_size_of_the_truth_is_in_units_of_the_spacing():
    """Two volumes of a subject are averaged. Catches ignored pixels, and voxels for mm³."""
    label = np.zeros((4, 4), np.uint8)
    label[:2, :2] = 1
    label[3] = IGNORE
    image = np.zeros((4, 4, 1), np.uint8)
    cases = []
    for volume in ("ed", "es"):
        for z in range(2):
            full = label * (volume == "ed" or z == 0)
            cases.append(Case("p1", f"{volume}{z}", image, full, (2.0, 0.5, 0.5), volume, z))
    assert truth_sizes(cases) == {"p1": pytest.approx((8 * 0.5 + 4 * 0.5) / 2)}


@pytest.mark.slow
def test_a_column_of_subjects_csv_reaches_the_page(tiny, tiny_folder, tmp_path):
    """Site and age of each subject, from the user's table into the store, the run and the report.
    Catches columns that are dropped on the way, and a subgroup of the training subjects.
    """
    place = tmp_path / "source"
    shutil.copytree(tiny_folder, place)
    names = sorted(path.stem for path in place.glob("*/images/*.png"))
    with (place / "subjects.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "subject", "site", "age"])
        for i, name in enumerate(names):
            writer.writerow([name, name, "AB"[i % 2], ""])
    root = tmp_path / "stores"
    importing.import_set("folder", place, "sites", root=root, progress=False)
    info = store.info("sites", root)
    assert subjects_csv.read_columns(info.folder)[names[0]] == {"site": "A"}

    trial = dataclasses.replace(tiny, data="sites", root=str(root))
    semiseg.run(trial, tmp_path / "runs" / "one", progress=False)
    evaluate(tmp_path / "runs" / "one", "test")
    with (tmp_path / "runs" / "one" / "subjects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"val", "test"}
    assert all(float(row["truth_size"]) > 0 and row["site"] in "AB" for row in rows)
    assert len(rows) == 6 == len({row["subject"] for row in rows})

    runs = load_runs(tmp_path / "runs")
    write_report(runs, tmp_path / "out", split="val")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "by site of the subjects" in page
    assert "Exploratory: nothing corrects for the number of subgroups" in page
