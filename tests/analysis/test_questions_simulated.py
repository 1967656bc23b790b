"""The committed simulation of the questions: rates stay near their nominal values, the page says
them, and the script still runs.
"""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "questions.md"
with (ROOT / "experiments" / "results" / "questions.csv").open() as file:
    ROWS = list(csv.DictReader(file))


def rates(question: str, what: str) -> list[float]:
    """The rates of some rows; there are some."""
    result = [
        float(row["rate"]) for row in ROWS if row["question"] == question and what in row["what"]
    ]
    assert result
    return result


@pytest.mark.parametrize(
    "question, what, low, high",
    [
        ("non-inferiority", "claimed at a loss", 0.0, 0.06),
        ("equivalence", "claimed at a loss", 0.0, 0.06),
        ("next study", "interval covers", 0.93, 1.0),
        ("P(A > B)", "says .8-.95", 0.88, 1.0),
        ("labels for a score", "interval covers", 0.95, 1.0),
        ("area under the curve", "interval covers", 0.94, 1.0),
        ("interaction", "false positives", 0.0, 0.07),
        ("dose-response", "false positives", 0.0, 0.07),
        ("labels against compute", "covers", 0.92, 1.0),
    ],
)
def test_answers_hold_where_they_are_simulated(question, what, low, high):
    values = rates(question, what)
    assert low <= min(values)
    assert max(values) <= high


def test_planned_power_is_simulated_power():
    for row in ROWS:
        if row["question"] == "planning":
            assert float(row["rate"]) == pytest.approx(float(row["nominal"]), abs=0.05)


def test_the_page_says_what_was_simulated():
    """Catches a table of the page that an older simulation filled."""
    page = PAGE.read_text()
    for question, what in (
        ("non-inferiority", "claimed at a loss"),
        ("next study", "interval covers"),
        ("labels for a score", "covers, inside"),
        ("interaction", "any pattern"),
        ("labels against compute", "covers"),
    ):
        values = rates(question, what)
        assert f"{min(values):.3f} to {max(values):.3f}" in page


def test_the_simulation_runs():
    path = ROOT / "experiments" / "simulate_questions.py"
    spec = importlib.util.spec_from_file_location("simulate_questions", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("sets", "folds", "planning"):
        rows = list(module.QUESTIONS[name](np.random.default_rng(0), 8))
        questions = {row["question"] for row in ROWS}
        assert {row.question for row in rows} <= questions
        assert all(0 <= row.rate <= 1 for row in rows)
