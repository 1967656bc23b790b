"""The numbers of a study as rows for ``semiseg report --json``."""

from __future__ import annotations

from typing import Any

import numpy as np

from semiseg.analysis.study import Study
from semiseg.analysis.worth import worth
from semiseg.report import advice
from semiseg.report.sentences import equivalence_text

Row = dict[str, Any]


def cell_rows(s: Study) -> list[Row]:
    """One row per compared setting and budget."""
    order = list(s.arms)
    rows = []
    for arm, labels in sorted(s.cells, key=lambda key: (key[1], order.index(key[0]))):
        interval = s.cells[arm, labels].interval
        rows.append(
            {
                "data": s.data,
                "arm": arm,
                "labels": labels,
                "metric": s.metric,
                "split": s.split,
                "checkpoint": s.checkpoint,
                "mean": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "n_runs": interval.n_runs,
                "n_subsets": interval.n_subsets,
                "n_subjects": interval.n_subjects,
                "n_groups": interval.n_groups,
                "n_folds": interval.n_folds,
                "interval_covers": interval.covers,
            }
        )
    return rows


def comparison_rows(s: Study) -> list[Row]:
    """One row per paired comparison with the baseline."""
    return [
        {
            "data": s.data,
            "arm": c.arm,
            "baseline": c.baseline,
            "labels": c.labels,
            "metric": s.metric,
            "difference": c.difference.mean,
            "low": c.difference.low,
            "high": c.difference.high,
            "p": c.p,
            "p_holm": c.p_holm,
            "p_wilcoxon": c.p_wilcoxon,
            "effect_dz": c.effect.dz,
            "share_better": c.effect.better,
            "detectable": c.detectable,
            "significant": c.significant,
            "paired_by": c.paired_by,
            "n_subjects": c.difference.n_subjects,
            "n_groups": c.difference.n_groups,
        }
        for c in s.comparisons
    ]


def worth_rows(s: Study) -> list[Row]:
    """One row per compared setting and budget: how many annotations of the baseline it is worth.

    Null is open (beyond the baseline's budgets). No rows where the study is too small to advise:
    the intervals would be of nothing that varies.
    """
    if advice.needs(s) is not None:
        return []
    return [
        {
            "data": s.data,
            "arm": w.arm,
            "labels": w.labels,
            "baseline": s.baseline,
            "worth": _bounded(w.equivalence.labels),
            "low": _bounded(w.equivalence.low),
            "high": _bounded(w.equivalence.high),
            "text": equivalence_text(w),
            "saves": w.saves,
            "verdict": w.verdict,
        }
        for w in worth(s)
    ]


def _bounded(labels: float) -> float | None:
    if labels == 0 or np.isinf(labels):
        return None
    return float(labels)
