"""How a metric is called in a table or a figure."""

from __future__ import annotations

from semiseg.evaluate.metrics import METRICS


def metric_label(metric: str, unit: str = "") -> str:
    """The title of a metric with its unit.

    >>> metric_label("hd95", "mm"), metric_label("dice")
    ('HD95 (mm)', 'Dice')
    """
    name = metric.replace("_", " ")
    if metric in METRICS:
        name = METRICS[metric].title
    if unit in ("", "1"):
        return name
    return f"{name} ({unit})"
