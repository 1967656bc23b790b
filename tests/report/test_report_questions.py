"""The questions on the page: which are answered, what each says, and where its rates come from.

questions.golden.md is for reading: a change of words is seen whole. ``SEMISEG_REWRITE_GOLDEN=1``
writes it anew.
"""

import ast
import csv
import dataclasses
import inspect
import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from analysis.fake import write_grid, write_run

from semiseg.analysis import questions as ask
from semiseg.analysis.areas import Interaction, Trend
from semiseg.analysis.curves import Equivalence
from semiseg.analysis.data_sets import Combined
from semiseg.analysis.labels_needed import Needed
from semiseg.analysis.load import load_runs
from semiseg.analysis.prediction import Probabilities
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Comparison, study
from semiseg.analysis.subgroups import Subgroup
from semiseg.analysis.surface import Cheapest
from semiseg.analysis.worth import Worth
from semiseg.report import data_sets_together, question_sentences, summary
from semiseg.report import question_facts as facts
from semiseg.report.compute_facts import Compute
from semiseg.report.data_sets_together import Together, together
from semiseg.report.page import write_report
from semiseg.report.simulated import RATES, STATISTICS, of_probability, said
from semiseg.report.synthetic_facts import Dose, SetLabels
from semiseg.report.tail_facts import Healthy, Lesions, OfSetting, Worst

GOLDEN = Path(__file__).parent / "questions.golden.md"
REWRITE = "SEMISEG_REWRITE_GOLDEN"
RESULTS = Path(__file__).parents[2] / "experiments" / "results"
MT = "mean teacher"
PAIR = (MT, "supervised")
SCORE = Interval(0.81, 0.78, 0.84, 9, 3, 20)
GAIN = Interval(0.02, 0.01, 0.03, 9, 3, 20)
OPEN_GAIN = Interval(0.02, -0.01, 0.05, 9, 3, 20)
LOSS = Interval(-0.02, -0.03, -0.01, 9, 3, 20)
IMAGES = facts.Budget(4, "images")


def all_facts():
    def needs(*values):
        return Needed(*values, 4.0, 64.0, 256.0)

    some = needs(12.2, 7.1, 60.4)
    for needed in (
        (("supervised", some), (MT, needs(9.06, 0.0, 30.0))),
        (("supervised", needs(np.inf, 40.0, np.inf)), (MT, needs(0.0, 0.0, 9.0))),
        (("supervised", needs(16.0, 0.0, np.inf)),),
        (("supervised", needs(16.0, 0.0, np.inf)), (MT, needs(9.0, 0.0, np.inf))),
    ):
        yield facts.LabelsFor(
            0.8,
            needed,
            facts.NewStudy(20),
            "dice",
            "1",
            "images",
        )
    new_study = facts.NewStudy(60, grouped=True)
    yield facts.LabelsFor(12.5, (("supervised", some),), new_study, "hd95", "mm", "subjects")
    areas = (("mean teacher", SCORE), ("supervised", SCORE))
    for difference, p in ((GAIN, 0.004), (LOSS, 0.004), (OPEN_GAIN, 0.3)):
        yield facts.AllBudgets(
            areas,
            difference,
            p,
            4,
            (4, 64),
            "dice",
            "1",
            "images",
        )
    yield facts.AllBudgets(
        areas,
        GAIN,
        0.004,
        1,
        (4, 64),
        "hd95",
        "mm",
        "images",
    )
    for slope, p_slope, p in ((OPEN_GAIN, 0.3, 0.4), (LOSS, 0.01, 0.2), (OPEN_GAIN, 0.3, 0.02)):
        yield facts.ByBudget(PAIR, Interaction(slope, p_slope, p), 4, "dice")
    for better in (0.66, 0.85, 0.99):
        new = Probabilities(better, 0.005, 0.005)
        mean = Probabilities(0.97, 0.02, 0.01)
        yield facts.Probable(
            PAIR,
            0.01,
            mean,
            new,
            facts.NewStudy(20),
            IMAGES,
            "dice",
        )
    worth = Worth("supervised (ratio 0.5)", 4, Equivalence(9.0, 5.5, 14.0, 4, 16), "", 1)
    yield SetLabels(worth, "supervised", GAIN, "dice", "images")
    lost = dataclasses.replace(
        worth,
        equivalence=Equivalence(0.0, 0.0, 3.0, 4, 16),
        tested=-1,
    )
    yield SetLabels(lost, "supervised", LOSS, "dice", "images")
    yield SetLabels(dataclasses.replace(worth, tested=0), "supervised", OPEN_GAIN, "dice", "images")
    yield Dose("SPADE images", Trend(GAIN, 0.01), 1, IMAGES, "dice")
    yield Dose("SPADE images", Trend(OPEN_GAIN, 0.3), 6, IMAGES, "dice")
    for cheapest in (
        Cheapest(8.2, 600.0, 2.34, 1.9, 3.1, 0.99),
        Cheapest(8.2, 600.0, 2.34, 1.9, np.inf, 0.9),
        Cheapest(np.nan, np.nan, np.inf, 1.9, np.inf, 0.3),
    ):
        yield Compute(
            MT,
            0.8,
            cheapest,
            10.0,
            (300, 1200),
            "dice",
            "1",
            "images",
        )
    share = Interval(0.1, 0.02, 0.3, 9, 3, 20)
    settings = tuple(OfSetting(arm, SCORE, share) for arm in PAIR)
    yield Worst(settings, 0.5, IMAGES, "dice", "1")
    yield Worst(
        (OfSetting(MT, Interval(40.1, 30, 50, 9, 3, 20)),),
        0.5,
        IMAGES,
        "hd95",
        "mm",
    )
    yield Lesions(settings, IMAGES)
    yield Healthy(tuple(OfSetting(arm, share) for arm in PAIR), IMAGES)
    groups = (Subgroup("site A", GAIN), Subgroup("site B", OPEN_GAIN))
    yield facts.Gains(PAIR, "scanner_vendor", groups, IMAGES, "dice")


def together_facts():
    combined = Combined(
        0.03,
        0.01,
        0.05,
        0.004,
        -0.02,
        0.08,
        0.01,
        0.4,
        3,
    )
    yield Together(
        MT,
        "supervised",
        combined,
        0.012,
        3,
        ("a", "b", "c"),
        (8, 8, 8),
        "dice",
    )
    two = combined._replace(
        sets=2,
        mean=-0.03,
        low=-0.05,
        high=-0.01,
    )
    yield Together(
        MT,
        "supervised",
        two,
        0.3,
        1,
        ("a", "b"),
        (8, 3),
        "hd95",
    )
    yield Together(
        MT,
        "supervised",
        two,
        0.01,
        1,
        ("a", "b"),
        (8, 3),
        "dice",
    )


def abouts():
    c = Comparison(MT, "supervised", 4, GAIN, 0.01, 0.01, "")
    for choice in ("declared", "the only one", "validation", "same scores"):
        yield question_sentences.about(facts.Pair(c, choice))
    yield question_sentences.about(None)


def test_every_answer_is_in_the_golden_file():
    """Catches a changed word that nobody read."""
    lines = ["# Every question that the report can answer", ""]
    for q in [
        *map(question_sentences.asked, all_facts()),
        *data_sets_together.sentences(list(together_facts())),
    ]:
        lines.append(f"- **{q.question}** {q.answer} *{q.simulated} Source: {q.source}.*")
    lines += [
        "",
        "## What they are about",
        *(f"- {line}" for line in abouts()),
    ]
    text = "\n".join(lines) + "\n"
    if os.environ.get(REWRITE):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), f"read the change, then set {REWRITE}=1"


@pytest.mark.parametrize("module", [question_sentences, data_sets_together])
def test_golden_file_covers_every_branch(module):
    """Catches a new sentence without a fact here."""
    golden = GOLDEN.read_text(encoding="utf-8")
    tree = ast.parse(inspect.getsource(module))
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        docstring = ast.get_docstring(function, clean=False)
        for node in ast.walk(function):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = node.value.strip()
                if words != (docstring or "").strip() and len(words) > 12:
                    assert words in golden, f"{module.__name__}.{function.__name__}: {words!r}"


@pytest.mark.parametrize("name", sorted(RATES))
def test_rates_are_those_of_the_committed_simulations(name):
    """Catches a rate that an older simulation gave."""
    rate = RATES[name]
    with (RESULTS / rate.file).open() as file:
        rows = list(csv.DictReader(file))
    key = "what" if rate.file == STATISTICS else "question"
    values = [
        float(row["rate"])
        for row in rows
        if row[key] == rate.question and row["what"].startswith(rate.what)
    ]
    assert min(values) == pytest.approx(rate.low, abs=0.004)
    assert max(values) == pytest.approx(rate.high, abs=0.004)


def test_a_probability_below_one_half_is_judged_by_its_opposite():
    assert of_probability(0.02) == said("sure") != of_probability(0.4)


# ------------------------------------------------------------------ which are answered
@pytest.fixture(scope="module")
def s(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    runs = write_grid(
        folder / "runs",
        ("supervised", "mean_teacher"),
        seeds=1,
        examples=False,
    )
    return study(load_runs(runs))


def answers(s, mixed=None):
    return {type(fact).__name__: fact for fact in facts.answerable(s, mixed)}


def test_answers_are_those_of_the_api(s):
    """Catches another pair, another budget and another order of the difference."""
    known = answers(s)
    assert list(known) == ["LabelsFor", "AllBudgets", "ByBudget", "Probable", "Worst"]
    assert known["LabelsFor"].score == 0.8
    assert known["LabelsFor"].needed[0] == (
        "supervised",
        ask.labels_for(s, "supervised", 0.8, subjects=12),
    )
    difference, p = ask.area_difference(s, MT, "supervised")
    assert known["AllBudgets"].difference == difference
    assert known["AllBudgets"].p == p  # of one compared setting
    assert known["Probable"].mean == ask.probability_better(s, MT, "supervised", 4, by=0.01)


def test_areas_are_corrected_for_all_settings(runs_of_three):
    """Catches the p of the setting that did best, as if it were the only one."""
    several = study(runs_of_three)
    fact = answers(several)["AllBudgets"]
    _, p = ask.area_difference(
        several,
        fact.areas[0][0],
        "supervised",
    )
    assert fact.settings == 2
    assert fact.p >= p


@pytest.fixture(scope="module")
def runs_of_three(tmp_path_factory):
    return load_runs(write_grid(tmp_path_factory.mktemp("three"), seeds=1, examples=False))


def test_two_label_subsets_answer_no_question_that_was_simulated_with_three(tmp_path):
    """Catches an interval whose coverage nobody knows."""
    runs = write_grid(tmp_path, ("supervised", "mean_teacher"), subsets=2, examples=False)
    assert list(answers(study(load_runs(runs)))) == ["Worst"]


def test_what_one_budget_answers(tmp_path):
    runs = write_grid(tmp_path, ("supervised", "mean_teacher"), (4,), seeds=1, examples=False)
    assert list(answers(study(load_runs(runs)))) == ["Probable", "Worst"]


def test_a_distance_is_wanted_between_its_ends(s):
    """Catches a multiple of 0.05 in millimetres, and a larger distance taken for a better one."""
    distance = study(s.runs, "hd95")
    wanted = facts.wanted_score(distance, "supervised")
    ends = [distance.cells["supervised", n].interval.mean for n in (4, 16)]
    assert ends[1] < wanted < ends[0]
    assert answers(distance)["LabelsFor"].needed[0][1].labels > 4


def test_gains_by_subgroup(tmp_path):
    """Half of the subjects gain 0.1 more. Catches groups that are mixed up."""
    for subset in range(3):
        for method in ("supervised", "mean_teacher"):
            run = write_run(tmp_path, method=method, labels=4, subset=subset, examples=False)
            with (run / "subjects.csv").open("w") as file:
                file.write("split,subject,site\n")
                file.writelines(f"val,val{i:03d},{'AB'[i % 2]}\n" for i in range(12))
            table = run / "per_subject.csv"
            if method == "mean_teacher":
                table.write_text(raised_at_odd(table.read_text()))
    s = study(load_runs(tmp_path))
    gains = answers(s)["Gains"]
    even, odd = (group.interval.mean for group in gains.groups)
    assert [group.value for group in gains.groups] == ["A", "B"]
    assert odd - even == pytest.approx(0.1, abs=0.03)
    out = tmp_path / "page"
    write_report(load_runs(tmp_path), out)
    table = (out / "tables" / "by_subgroup.md").read_text()
    assert "By site" in table and "| Method | Annotated | A | B |" in table
    assert "Select a heading" not in table
    assert (out / "tables" / "by_subgroup.tex").read_text().count(r"\begin{table}") == 1


def raised_at_odd(text):
    lines = []
    for line in text.splitlines():
        fields = line.split(",")
        if fields[5] == "dice" and fields[3][3:].isdigit() and int(fields[3][3:]) % 2:
            fields[6] = str(float(fields[6]) + 0.1)
        lines.append(",".join(fields))
    return "\n".join(lines) + "\n"


def test_synthetic_images_in_labels_and_doses(tmp_path):
    """Catches a worth on the curve of the mixes, which has one budget."""
    for subset in range(3):
        for labels in (4, 8, 16):
            write_run(tmp_path, labels=labels, subset=subset, examples=False)
        for ratio in (0.5, 1.0):
            config = {"synthetic": "make:spade"}
            write_run(tmp_path, labels=4, subset=subset, ratio=ratio, config=config, examples=False)
    summary_of_page = write_report(load_runs(tmp_path), tmp_path / "page")
    asked = {row["question"]: row["answer"] for row in summary_of_page["questions"]}
    worth = asked["How many real labels are the synthetic images worth?"]
    assert "with 4 annotated images performs like supervised with" in worth
    assert "each doubling of the ratio" in asked["Do more synthetic images help more?"]


def test_labels_against_compute(tmp_path):
    for steps in (300, 600):
        for labels in (4, 16):
            for subset in range(3):
                write_run(
                    tmp_path,
                    labels=labels,
                    subset=subset,
                    steps=steps,
                    examples=False,
                    name=f"{steps}-{labels}-{subset}",
                )
    compute = answers(study(load_runs(tmp_path)))["Compute"]
    assert compute.arm == "supervised"
    assert compute.steps == (300, 600)
    assert 4 <= compute.cheapest.labels <= 16


@pytest.mark.slow
def test_data_sets_are_one_statement(tmp_path):
    """Catches two data sets that are never looked at together, and unlike budgets as one."""
    for data, budgets in (("a", (4, 8)), ("b", (8, 16)), ("c", (8,))):
        write_grid(
            tmp_path / data,
            ("supervised", "mean_teacher"),
            budgets,
            seeds=1,
            data=data,
            examples=False,
        )
    runs = load_runs(tmp_path)
    studies = [study(runs.where(data=data)) for data in ("a", "b", "c")]
    (one,) = together(studies)
    assert one.labels == (8, 8, 8)
    assert one.combined == ask.over_data_sets(studies, MT, "supervised", 8)
    assert together(studies[:1]) == []
    said_of = write_report(runs, tmp_path / "page")["questions"]
    assert said_of[0]["data"] == ""
    assert "over 3 data sets (a, b and c) with 8 annotations" in said_of[0]["answer"]
    page = (tmp_path / "page" / "report.html").read_text()
    assert page.index("over all data sets?") < page.index("Which method?")


def test_questions_are_folded_below_the_first_screen(s, tmp_path):
    """Catches questions that crowd the first screen, and such without a rate or a source."""
    summary_of_page = write_report(s.runs, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.index("Before you rely on this") < page.index("questions asked of these runs")
    assert "<details><summary>5 questions asked of these runs</summary>" in page
    for row in summary_of_page["questions"]:
        assert row["data"] == "nuclei"
        assert row["simulated"].startswith("In simulations") and row["source"]
    assert summary.questions(s)[0].answer == summary_of_page["questions"][0]["answer"]


# ------------------------------------------------------------------ where runs learnt from
def test_images_like_those_of_the_test_set_are_on_the_page(tmp_path):
    """Catches a run that learnt from brightened test images and whose page is silent."""
    for subset in range(3):
        run = write_run(tmp_path, subset=subset, splits=("val", "test"), examples=False)
        file = run / "summary.json"
        content = json.loads(file.read_text())
        if subset:
            alike = {"set": "bright", "split": "test", "images": subset + 2}
            content["like_held_out"] = [alike]
        file.write_text(json.dumps(content))
        assert yaml.safe_load((run / "config.yaml").read_text())["label_subset"] == subset
    cautions = write_report(load_runs(tmp_path), tmp_path / "page")["cautions"]
    expected = (
        "4 test images look like images that 2 of 3 runs learnt from (bright): their test scores "
        "may be too high."
    )
    assert expected in cautions
    assert expected in (tmp_path / "page" / "report.html").read_text()
