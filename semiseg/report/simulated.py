"""How often the answers to a study's questions hold in simulations, in words.

The rates are the lowest and the highest of the simulated designs (3 or 5 label subsets), as they
stand in experiments/results; tests/report/test_questions.py compares them.
"""

from __future__ import annotations

from typing import NamedTuple

QUESTIONS = "questions.csv"
TAILS = "tails.csv"
STATISTICS = "statistics.csv"


class Rate(NamedTuple):
    """A simulated rate.

    Attributes:
      file: in experiments/results.
      question, what: of its rows; ``what`` is how the text there begins.
      low, high: lowest and highest rate of the designs.
      sentence: with places for both and for the nominal rate.
    """

    file: str
    question: str
    what: str
    low: float
    high: float
    sentence: str


_COVERS = "In simulations, such an interval holds the truth in {} of 100 studies (95 expected)."
_ERRS = (
    "In simulations, it finds something where there is nothing in {} of 100 studies (5 expected)."
)
_WORST = "In simulations, the interval of the worst tenth covers {} of 100 (95 expected)."
_SHARE = (
    "In simulations, the interval of such a share covers {} of 100 (95 expected; least where label "
    "subsets decide)."
)
_RIGHT = "In simulations, a probability like that of the new study is right in {} of 100."

RATES: dict[str, Rate] = {
    "labels": Rate(QUESTIONS, "labels for a score", "interval covers", 0.973, 0.992, _COVERS),
    "area": Rate(QUESTIONS, "area under the curve", "interval covers", 0.944, 0.961, _COVERS),
    "interaction": Rate(QUESTIONS, "interaction", "", 0.029, 0.069, _ERRS),
    "probable": Rate(QUESTIONS, "P(A > B)", "next study: right when it says .5-.8",
                     0.67, 0.71, _RIGHT),
    "likely": Rate(QUESTIONS, "P(A > B)", "next study: right when it says .8-.95",
                   0.916, 0.942, _RIGHT),
    "sure": Rate(QUESTIONS, "P(A > B)", "next study: right when it says .95-1",
                 0.99, 0.992, _RIGHT),
    "dose": Rate(QUESTIONS, "dose-response", "", 0.032, 0.069, _ERRS),
    "compute": Rate(QUESTIONS, "labels against compute", "", 0.92, 0.96, _COVERS),
    "worth": Rate(STATISTICS, "labels a result is worth, covers", "", 0.942, 0.944, _COVERS),
    "worst": Rate(TAILS, "worst tenth", "interval covers", 0.886, 0.966, _WORST),
    "failures": Rate(TAILS, "failures", "interval covers", 0.633, 1.0, _SHARE),
    "subgroup": Rate(TAILS, "gain of a subgroup", "interval covers", 0.946, 0.969, _COVERS),
    "folds cover": Rate(QUESTIONS, "report of folds", "interval of", 0.975, 0.993, _COVERS),
    "folds err": Rate(QUESTIONS, "report of folds", "any false verdict", 0.012, 0.027, _ERRS),
    "data sets": Rate(QUESTIONS, "several data sets", "interval covers", 0.928, 1.0, _COVERS),
}  # fmt: skip


def said(name: str) -> str:
    """The simulated rate of an answer, as a sentence.

    >>> said("area")
    'In simulations, such an interval holds the truth in 94 to 96 of 100 studies (95 expected).'
    """
    rate = RATES[name]
    low = round(100 * rate.low)
    high = round(100 * rate.high)
    span = f"{low} to {high}"
    if low == high:
        span = f"{low}"
    return rate.sentence.format(span)


def of_probability(value: float) -> str:
    """How often a probability of about this size is right; of one below one half, its opposite."""
    value = max(value, 1 - value)
    if value < 0.8:
        return said("probable")
    if value < 0.95:
        return said("likely")
    return said("sure")
