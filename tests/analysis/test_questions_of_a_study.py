"""Each question to a study, asked of run folders whose answer is known."""

import numpy as np
import pytest

from semiseg.analysis import questions as ask
from semiseg.analysis.load import load_runs
from semiseg.analysis.study import study
from semiseg.errors import UserError

from .fake import write_grid, write_run

MT = "mean teacher"


@pytest.fixture(scope="module")
def s(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    return study(load_runs(write_grid(folder, examples=False)))


def test_a_better_method_is_not_worse(s):
    """Catches a sign turned around: supervised is worse than mean teacher by more than 0.01."""
    assert ask.as_good_as(s, MT, "supervised", 8, margin=0.01).verdict == "not worse"
    assert ask.as_good_as(s, "supervised", MT, 8, margin=0.01).verdict == "worse"
    assert ask.as_good_as(s, "supervised", MT, 8, margin=0.1).verdict == "equivalent"


def test_a_distance_is_better_where_it_is_smaller(s):
    distance = study(s.runs, "hd95")
    assert ask.as_good_as(distance, MT, "supervised", 8, margin=0.2).verdict == "not worse"
    assert ask.area_difference(distance, MT, "supervised")[0].mean > 0
    assert ask.probability_better(distance, MT, "supervised", 8).better > 0.95


def test_probabilities_add_up_and_the_next_study_is_less_certain(s):
    mean = ask.probability_better(s, MT, "supervised", 8, by=0.02)
    new = ask.probability_better(s, MT, "supervised", 8, by=0.02, of="next study", subjects=1)
    assert sum(mean) == pytest.approx(1)
    assert 0.5 < new.better < mean.better


def test_labels_for_a_score_lie_between_the_budgets(s):
    means = [s.cells["supervised", n].interval.mean for n in (4, 8, 16)]
    needed = ask.labels_for(
        s,
        "supervised",
        (means[1] + means[2]) / 2,
    )
    assert 4 < needed.low < needed.labels < needed.high
    assert needed.labels == pytest.approx(8 * 2**0.5, rel=0.02)
    distance = study(s.runs, "hd95")
    score = 20 * (1 - (means[1] + means[2]) / 2)
    assert ask.labels_for(distance, "supervised", score).labels == pytest.approx(11.3, rel=0.02)


def test_areas_differ_by_the_gain(s):
    difference, p = ask.area_difference(s, MT, "supervised")
    assert difference.mean == pytest.approx(0.03, abs=0.01)
    assert p < 0.01
    areas = [ask.label_area(s, arm).mean for arm in (MT, "supervised")]
    assert areas[0] - areas[1] == pytest.approx(difference.mean)
    assert ask.interaction(s, MT, "supervised").p > 0.01


def test_gains_an_hour(s):
    rate = ask.per_annotation_hour(s, "supervised", 4, 8, minutes=30)
    assert rate.hours == 2
    assert rate.per_hour == pytest.approx(rate.gain.mean / 2)
    with pytest.raises(UserError, match="costs 0 hours more"):
        ask.per_gpu_hour(s, MT, "supervised", 8)


def test_a_cell_that_is_not_there_is_named(s):
    with pytest.raises(UserError, match="no runs of 'cps' at 8.*supervised at 4"):
        ask.as_good_as(s, "cps", "supervised", 8, margin=0.01)


def test_synthetic_images_are_worth_labels(tmp_path):
    """A set that gives what four labels more give, and one dose after the other."""
    for subset in range(3):
        for labels in (8, 16):
            write_run(tmp_path, labels=labels, subset=subset, examples=False)
        for ratio in (0.5, 1.0, 2.0):
            config = {"synthetic": "make:spade"}
            run = write_run(
                tmp_path, labels=8, subset=subset, ratio=ratio, config=config, examples=False
            )
            file = run / "per_subject.csv"
            more = 0.0325 + 0.01 * np.log2(ratio)
            file.write_text(raised(file.read_text(), more))
    s = study(load_runs(tmp_path))
    worth = ask.set_worth(s, "supervised (ratio 1.0)", "supervised", 8)
    assert worth.gain.mean == pytest.approx(0.0325, abs=1e-3)
    assert 1 < worth.labels < 6
    assert worth.low < worth.labels < worth.high
    arms = [f"supervised (ratio {ratio})" for ratio in (2.0, 0.5, 1.0)]
    trend = ask.dose_response(s, arms, 8)
    assert trend.slope.mean == pytest.approx(0.01, abs=1e-4)
    assert trend.p < 0.05


def raised(text: str, more: float) -> str:
    """A per_subject.csv with a better Dice."""
    lines = []
    for line in text.splitlines():
        fields = line.split(",")
        if fields[5] == "dice":
            fields[6] = str(float(fields[6]) + more)
        lines.append(",".join(fields))
    return "\n".join(lines) + "\n"


def test_several_data_sets(tmp_path):
    studies = []
    for data in ("a", "b", "c"):
        folder = tmp_path / data
        write_grid(folder, ("supervised", "mean_teacher"), (8,), data=data, examples=False)
        studies.append(study(load_runs(folder)))
    combined = ask.over_data_sets(studies, MT, "supervised", 8)
    assert combined.sets == 3
    assert combined.mean == pytest.approx(0.03, abs=0.01)
    with pytest.raises(UserError, match="1 data set has no spread"):
        ask.over_data_sets(studies[:1], MT, "supervised", 8)


def test_folds_hold_every_subject_out_once(tmp_path):
    for method in ("supervised", "mean_teacher"):
        for fold in range(4):
            run = write_run(tmp_path, method=method, subset=fold, subjects=5, examples=False)
            file = run / "per_subject.csv"
            file.write_text(file.read_text().replace("val0", f"fold{fold}-"))
    runs = load_runs(tmp_path)
    first = runs.where(method="mean_teacher")
    result = ask.cross_validated(first, runs.where(method="supervised"))
    assert result.folds == 4
    assert result.error == pytest.approx(result.naive * (1 + 4 / 3) ** 0.5)
    assert result.mean == pytest.approx(0.03, abs=0.01)
    mixed = load_runs(tmp_path).where(method="supervised")
    moved = mixed[0].path / "per_subject.csv"
    moved.write_text(moved.read_text().replace("fold0-00", "fold1-00", 1))
    with pytest.raises(UserError, match="held out by two folds"):
        ask.cross_validated(load_runs(tmp_path).where(method="supervised"))


def test_labels_against_steps(tmp_path):
    """More steps gain nothing in these runs, so the cheapest way has the fewest."""
    for steps in (100, 200):
        for labels in (4, 8, 16):
            for subset in range(3):
                write_run(
                    tmp_path,
                    labels=labels,
                    subset=subset,
                    steps=steps,
                    examples=False,
                    name=f"{steps}-{labels}-{subset}",
                )
    runs = load_runs(tmp_path)
    middle = study(runs).cells["supervised (steps 100)", 8].interval.mean
    best = ask.cheapest_to(runs, middle, minutes=30)
    assert best.steps == 100
    assert best.labels == pytest.approx(8, rel=0.1)
    assert best.low <= best.cost <= best.high
