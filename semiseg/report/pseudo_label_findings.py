"""What may be said of the pseudo-labels: facts, at the smallest budget."""

from __future__ import annotations

import dataclasses

from semiseg.analysis.pseudo_labels import (
    Bias,
    class_names,
    confirmation_bias,
    curves,
    last_known,
    last_line,
)
from semiseg.analysis.study import Study
from semiseg.report.facts import unit_of_annotation

LITTLE = 0.1
"""Share of the foreground below which a method accepts next to nothing."""
LOST = 0.1
"""Recall below which a class is all but lost."""


@dataclasses.dataclass(frozen=True)
class PseudoLabelFindings:
    """What the logs of the smallest budget say.

    Attributes:
      judged: methods whose logs are long enough to tell.
      all_judged: whether that is every method that accepts pseudo-labels.
      most_biased: the method with most confirmation bias; None where none shows any.
      idle: methods that accept next to nothing.
      lost: classes that are all but lost, with the methods that lost them.
    """

    labels: int
    unit: str
    judged: tuple[str, ...]
    all_judged: bool
    most_biased: tuple[str, Bias] | None
    idle: tuple[str, ...]
    lost: dict[str, tuple[str, ...]]


def pseudo_label_findings(s: Study) -> PseudoLabelFindings | None:
    """None where no run logged pseudo-labels."""
    by_cell = curves(s)
    if not by_cell:
        return None
    n = min(labels for _, labels in by_cell)
    by_arm = {arm: c for (arm, labels), c in by_cell.items() if labels == n}
    idle = [arm for arm, c in by_arm.items() if not last_known(c.trend("accepted")) >= LITTLE]
    biases: dict[str, Bias] = {}
    lost: dict[str, tuple[str, ...]] = {}
    for arm, c in by_arm.items():
        if arm in idle:
            continue
        bias = confirmation_bias(c)
        if bias is not None:
            biases[arm] = bias
        for k, name in enumerate(class_names(s, c.classes)):
            if last_line(c, f"recall_{k}") < LOST:
                lost[name] = (*lost.get(name, ()), arm)
    return PseudoLabelFindings(
        n,
        unit_of_annotation(s.runs),
        tuple(biases),
        len(biases) + len(idle) == len(by_arm),
        _most_biased(biases),
        tuple(idle),
        lost,
    )


def _most_biased(biases: dict[str, Bias]) -> tuple[str, Bias] | None:
    if not biases:
        return None
    arm = max(biases, key=lambda arm: biases[arm].size)
    if not biases[arm].size:
        return None
    return arm, biases[arm]
