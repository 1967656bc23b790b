"""How numbers are printed: scores, intervals, p values, counts and durations.

Everything that shows a number uses these functions: the page, its figures and tables, and the
tables of the documentation.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from semiseg import method_docs
from semiseg.analysis.arms import title
from semiseg.analysis.statistics import Interval
from semiseg.evaluate.metric_titles import metric_label
from semiseg.evaluate.metrics import METRICS

MISSING = "–"
"""Stands where there is no number."""


def score_label(metric: str, unit: str = "") -> str:
    """What a study compares: the metric, or its absolute value where it is best at zero.

    >>> score_label("hd95", "mm"), score_label("volume_error")
    ('HD95 (mm)', 'Absolute volume error')
    """
    label = metric_label(metric, unit)
    if not METRICS[metric].absolute:
        return label
    return f"Absolute {label[:1].lower()}{label[1:]}"


def number(value: float, metric: str = "dice", signed: bool = False) -> str:
    """A score; a (signed) difference has one decimal more, because it is smaller than a score.

    >>> number(0.814), number(5.26, "hd95"), number(-0.031, signed=True)
    ('0.81', '5.3', '−0.031')
    """
    if not np.isfinite(value):
        return MISSING
    places = METRICS[metric].places + int(signed)
    text = f"{abs(value):.{places}f}"
    return _sign(value, text, signed) + text


def _sign(value: float, text: str, signed: bool) -> str:
    if float(text) == 0:
        return ""
    if value < 0:
        return "−"
    if signed:
        return "+"
    return ""


def size(value: float, metric: str = "dice") -> str:
    """A standard deviation or another size of a difference: as precise as one, without a sign."""
    return number(value, metric, signed=True).lstrip("+")


def interval_text(interval: Interval, metric: str = "dice", signed: bool = False) -> str:
    """A mean with its interval; the mean alone where nothing varied.

    >>> interval_text(Interval(0.81, 0.78, 0.84, 9, 3, 20))
    '0.81 [0.78, 0.84]'
    """
    mean = number(interval.mean, metric, signed)
    if not interval.low < interval.high:
        return mean
    low = number(interval.low, metric, signed)
    high = number(interval.high, metric, signed)
    return f"{mean} [{low}, {high}]"


def p_text(p: float) -> str:
    """A p value in a sentence.

    >>> p_text(0.03), p_text(0.0004), p_text(1.0), p_text(float("nan"))
    ('p = 0.030', 'p < 0.001', 'p = 1', 'no test')
    """
    if np.isnan(p):
        return "no test"
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p_value(p)}"


def p_value(p: float) -> str:
    """A p value in a column of p values.

    >>> p_value(0.03), p_value(0.0004)
    ('0.030', '< 0.001')
    """
    if np.isnan(p):
        return "no test"
    if p < 0.001:
        return "< 0.001"
    if p >= 0.9995:
        return "1"
    return f"{p:.3f}"


def decimal(value: float, places: int = 2) -> str:
    """A number without a unit, with a real minus; – where it is not defined.

    >>> decimal(-0.5), decimal(-0.001), decimal(float("nan"))
    ('−0.50', '0.00', '–')
    """
    if np.isnan(value):
        return MISSING
    text = f"{abs(value):.{places}f}"
    return _sign(value, text, signed=False) + text


def count(n: float, noun: str, plural: str = "") -> str:
    """A number of things.

    >>> count(1, "run"), count(3, "run"), count(2, "mix", "mixes")
    ('1 run', '3 runs', '2 mixes')
    """
    if n == 1:
        return f"{n:g} {noun}"
    return f"{n:g} {plural or f'{noun}s'}"


def is_or_are(n: int) -> str:
    """The verb after a number of things.

    >>> is_or_are(1), is_or_are(0)
    ('is', 'are')
    """
    if n == 1:
        return "is"
    return "are"


def labels_text(labels: float) -> str:
    """A number of annotated images that was interpolated: one decimal below ten.

    >>> labels_text(9.06), labels_text(4.0), labels_text(16.2)
    ('9.1', '4', '16')
    """
    if labels < 10:
        return f"{labels:.1f}".removesuffix(".0")
    return f"{labels:.0f}"


def duration(seconds: float) -> str:
    """
    >>> duration(90), duration(600), duration(9000)
    ('90 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def share(value: float) -> str:
    """A share in per cent; – where it is not defined.

    >>> share(0.625), share(float("nan"))
    ('62%', '–')
    """
    if np.isnan(value):
        return MISSING
    return f"{value:.0%}"


def capitalise(text: str) -> str:
    """The text with a capital first letter; as it is where its first word has a capital inside.

    >>> capitalise("mean teacher"), capitalise("nnU-Net")
    ('Mean teacher', 'nnU-Net')
    """
    first_word = text.partition(" ")[0]
    if first_word[1:] != first_word[1:].lower():
        return text
    return text[:1].upper() + text[1:]


def capitalise_arm(arm: str) -> str:
    """The name of a compared setting at the start of a sentence.

    The name of a method that is not of this package was given by its user, and stays as it is.

    >>> capitalise_arm("mean teacher (lr 0.1)"), capitalise_arm("swinunet"), capitalise_arm("CPS")
    ('Mean teacher (lr 0.1)', 'swinunet', 'CPS')
    """
    if arm.partition(" (")[0] not in _titles():
        return arm
    return capitalise(arm)


@functools.cache
def _titles() -> frozenset[str]:
    """How the methods of this package are called."""
    folder = Path(method_docs.__file__).parent / "methods"
    return frozenset(title(file.stem) for file in folder.glob("*.py"))


def listed(parts: Iterable[object], word: str = "and") -> str:
    """A list in a sentence.

    >>> listed(["CPS", "BCP"]), listed([4, 8, 16], "or")
    ('CPS and BCP', '4, 8 or 16')
    """
    *texts, last = map(str, parts)
    if not texts:
        return last
    return f"{', '.join(texts)} {word} {last}"


def shortened(parts: list[str], most: int = 12) -> str:
    """A list in a sentence, cut after ``most`` members.

    >>> shortened(["a", "b", "c"], 2)
    'a, b … (3 in all)'
    """
    if len(parts) <= most:
        return ", ".join(parts)
    return f"{', '.join(parts[:most])} … ({len(parts)} in all)"
