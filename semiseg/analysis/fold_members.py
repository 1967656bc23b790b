"""The runs of a folder that are the folds of one setting: those that one ensemble is made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semiseg.analysis.arms import find_arms
from semiseg.analysis.fold_design import check_folds, fold_design
from semiseg.analysis.load import load_runs
from semiseg.analysis.runs import Run, Runs
from semiseg.data.info import numbered
from semiseg.errors import UserError, nearest

ATTRIBUTES = ("data", "method", "net", "labels", "label_subset", "seed", "ratio", "steps", "init")
"""What a run is asked for by its short name; other settings have dotted names."""
NAMED = 4
"""Settings that a message names."""


def fold_members(
    folder: str | Path, where: Mapping[str, str] | None = None, *, missing_folds: bool = False
) -> Runs:
    """The runs of the folds of the one setting in a folder, with all their seeds.

    Args:
      folder: of runs, however deep.
      where: setting → value that the runs must have, as typed.
      missing_folds: take the folds that are there where others are missing.

    Raises:
      UserError: no run is a fold, several settings are there, or a fold is missing.
    """
    runs = chosen(load_runs(folder), where or {}, Path(folder))
    if not any(run.folds for run in runs):
        raise UserError(
            f"holds {numbered(len(runs), 'finished run')}, and none is a fold of a "
            f"cross-validation",
            where=folder,
            remedy="name the runs that are averaged, one after the other",
        )
    settings = settings_of(runs)
    if len(settings) > 1:
        named = "; ".join(list(settings)[:NAMED])
        if len(settings) > NAMED:
            named += f"; and {len(settings) - NAMED} more"
        raise UserError(
            f"holds {len(settings)} settings: {named}",
            where=folder,
            remedy="choose one with --where, as in --where method=supervised,labels=8, or name "
            "its runs",
        )
    check_folds(runs)
    missing = fold_design(runs).missing
    if missing and not missing_folds:
        raise UserError(
            f"fold {', '.join(map(str, missing))} of {runs[0].folds} has no finished run here",
            where=folder,
            remedy="train it, or pass --missing-folds to take those that are there",
        )
    return runs


def settings_of(runs: Runs) -> dict[str, Runs]:
    """The runs of each compared setting and label budget, by a name that tells them apart."""
    result: dict[str, Runs] = {}
    for data in sorted({run.data for run in runs}):
        for arm, members in find_arms(runs.where(data=data)).items():
            for kind in sorted({(run.labels, run.folds) for run in members}):
                labels, folds = kind
                name = f"{arm} with {labels} labels on {data}"
                name += f", {folds} folds" if folds else ", no folds"
                result[name] = members.where(labels=labels, folds=folds)
    return result


def chosen(runs: Runs, where: Mapping[str, str], folder: Path) -> Runs:
    """The runs that have these settings.

    Raises:
      UserError: no run has such a setting, or the value.
    """
    for key, text in where.items():
        values = [_setting(run, key, folder) for run in runs]
        pairs = zip(runs, values, strict=True)
        fitting = [run for run, of_run in pairs if any(_is(value, text) for value in of_run)]
        if not fitting:
            there = ", ".join(sorted({str(of_run[0]) for of_run in values}))
            raise UserError(
                f"no run has {key} {text!r}; they have {there}",
                where=folder,
                remedy="correct --where",
            )
        runs = Runs(fitting, runs.problems)
    return runs


def _setting(run: Run, key: str, folder: Path) -> list[Any]:
    """The values that a setting of a run goes by: an attribute, and what has this dotted name or
    ends with it (``labels`` are 0 where all were asked for).
    """
    values = [getattr(run, key)] if key in ATTRIBUTES else []
    names = [name for name in run.settings if name == key or name.endswith(f".{key}")]
    if names:
        values.append(run.settings[min(names, key=len)])
    if not values:
        raise UserError(
            f"no run has a setting {key!r}{nearest(key, list(run.settings))}",
            where=folder,
            remedy="name one of its config.yaml in --where",
        )
    return values


def _is(value: Any, text: str) -> bool:
    """Whether a setting has a value that was typed.

    >>> _is(0.01, "1e-2"), _is("bcp", "bcp"), _is(8, "16")
    (True, True, False)
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(text) == float(value)
        except ValueError:
            return False
    return str(value).lower() == text.lower()
