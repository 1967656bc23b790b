"""What the runs cost: steps, time, parameters and devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from semiseg.analysis.runs import Run
from semiseg.analysis.study import Study
from semiseg.report.format import MISSING, duration


def cost_rows(s: Study, mixes: bool = False) -> list[dict[str, str]]:
    """A row for each compared setting; ``mixes`` asks for those with synthetic images alone."""
    return [_row(arm, list(runs)) for arm, runs in s.arms.items() if runs[0].ratio or not mixes]


def _row(arm: str, runs: Sequence[Run]) -> dict[str, str]:
    seconds = _numbers(runs, "seconds_train")
    before = list(_pre_training(runs).values())
    steps = sorted({run.total_steps for run in runs})
    sizes = sorted({int(value) for value in _numbers(runs, "parameters")})
    devices = sorted({str(run.env["device"]) for run in runs if run.env.get("device")})
    row = {
        "arm": arm,
        "seconds": MISSING,
        "total": MISSING,
        "before": MISSING,
        "steps": " / ".join(f"{n:,}" for n in steps),
        "parameters": " / ".join(f"{n:,}" for n in sizes) or MISSING,
        "device": ", ".join(devices) or MISSING,
    }
    if seconds:
        row["seconds"] = duration(float(np.median(seconds)))
        row["total"] = duration(sum(seconds) + sum(before))
    if any(before):
        row["before"] = duration(float(np.median(before)))
    return row


def _numbers(runs: Sequence[Run], key: str) -> list[float]:
    values = [run.summary.get(key) for run in runs]
    return [float(value) for value in values if isinstance(value, int | float)]


def _pre_training(runs: Sequence[Run]) -> dict[tuple[Any, ...], float]:
    """Seconds of each pre-training; runs of one folder that begin alike share one."""
    return {
        (run.path.parent, run.init, run.seed, run.total_steps, run.seconds_init): run.seconds_init
        for run in runs
    }
