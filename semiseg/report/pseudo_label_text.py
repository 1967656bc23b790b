"""TODO."""

from __future__ import annotations

import numpy as np

from semiseg.analysis.pseudo_labels import (
    SMALLEST_FALL,
    Bias,
    class_names,
    confirmation_bias,
    curves,
    largest,
    last_known,
    last_line,
)
from semiseg.analysis.study import Study
from semiseg.report.pseudo_label_figures import CLASSES
from semiseg.report.sentences import capitalise, number, unit_of_annotation

LITTLE = 0.1
"""Share of the foreground below which a method accepts next to nothing."""


def trend_table(s: Study) -> list[list[str]]:
    """What :func:`trends` draws at the last step, beside the best accuracy and the lowest ECE of
    what was taught, and both over all pixels; header first.
    """
    rows = []
    for (arm, n), c in curves(s).items():
        accuracy, ece = c.taught("accuracy"), c.taught("ece")
        whole = [
            last_known(c.value_T[key]) if key in c.value_T else np.nan
            for key in ("accuracy", "ece")
        ]
        told = [
            last_known(c.trend("accepted")),
            largest(accuracy),
            last_known(accuracy),
            -largest(-ece),
            last_known(ece),
            last_known(c.trend("gap")),
        ]
        cells = [
            *map(number, told),
            number(last_known(c.trend("lead")), signed=True),
            *map(number, whole),
        ]
        rows.append([arm, str(n), *cells, str(c.runs)])
    head = [
        "Accepted",
        "Accuracy, best",
        "Accuracy, last",
        "ECE, lowest",
        "ECE, last",
        "Gap",
        "Lead",
        "Accuracy, all pixels",
        "ECE, all pixels",
        "Runs",
    ]
    return [["Method", "Annotated", *head], *rows]


def class_table(s: Study) -> list[list[str]]:
    """What :func:`by_class` draws, at every budget, header first; – where a class was given to no
    (accepted) pixel.
    """
    found = {key: c for key, c in curves(s).items() if c.classes}
    names = class_names(s, max(c.classes for c in found.values()))
    head = [f"{capitalise(m)}, {name}" for m in CLASSES for name in names]
    return [["Method", "Annotated", *head]] + [
        [
            arm,
            str(n),
            *(number(last_line(c, f"{m}_{k}")) for m in CLASSES for k in range(len(names))),
        ]
        for (arm, n), c in found.items()
    ]


def sentences(s: Study) -> list[str]:
    """At the smallest budget: where confirmation bias shows most, or that it does not; who accepts
    next to nothing; classes all but lost.
    """
    found = curves(s)
    if not found:
        return []
    n = min(labels for _, labels in found)
    here = {arm: c for (arm, labels), c in found.items() if labels == n}
    start = f"With {n} annotated {unit_of_annotation(s.runs)} "
    idle = [arm for arm, c in here.items() if not last_known(c.trend("accepted")) >= LITTLE]
    judged = {
        arm: bias for arm, c in here.items() if arm not in idle and (bias := confirmation_bias(c))
    }
    told = []
    if judged:
        arm = max(judged, key=lambda a: judged[a].size)
        no = (
            "no method shows"
            if len(judged) + len(idle) == len(here)
            else f"none of {', '.join(judged)} shows"
        )
        less = (
            f"{start}{no} confirmation bias: none lost more than {number(SMALLEST_FALL)} of its "
            f"accuracy while its ECE rose."
        )
        told.append(
            f"{start}confirmation bias shows most in {arm}: {bias_text(judged[arm])}"
            if judged[arm].size
            else less
        )
    if idle:
        told.append(
            f"{start}{', '.join(idle)} accepted less than {number(LITTLE)} of the foreground at "
            f"the end: next to nothing was taught."
        )
    lost: dict[str, list[str]] = {}
    for arm, c in here.items():
        for k, name in enumerate(class_names(s, c.classes)):
            if arm not in idle and last_line(c, f"recall_{k}") < 0.1:
                lost.setdefault(name, []).append(arm)
    return told + [
        f"Class {name} is all but lost (recall below .1) with {', '.join(arms)}."
        for name, arms in lost.items()
    ]


def bias_text(b: Bias) -> str:
    return (
        f"from step {b.step:.0f} on, the accuracy of accepted pixels went from "
        f"{number(b.accuracy[0])} to {number(b.accuracy[1])} while "
        f"their share went from {number(b.accepted[0])} to {number(b.accepted[1])} and the ECE "
        f"from {number(b.ece[0])} to {number(b.ece[1])}."
    )
