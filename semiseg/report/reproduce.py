"""Commands that train the runs again, and what to cite."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import semiseg
from semiseg.analysis.arms import title
from semiseg.analysis.runs import Run, Runs
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.method_docs import describe_method
from semiseg.report import synthetic_sets
from semiseg.run_folder import RunFolder

FACTORS = {"labels": "n", "label_subset": "j", "seed": "s", "fold": "f"}
"""Factors that a loop runs over, and the letter of its variable."""


def commands(s: Study, mixes: bool = False) -> list[str]:
    """A shell loop for each compared setting, over its budgets, label subsets and seeds.

    Everything else is in the configuration it starts from. A generated set belongs to one budget
    and subset: its source is named instead, and each run generates its own. ``mixes`` asks for the
    settings with synthetic images alone.
    """
    lines: list[str] = []
    for runs in s.arms.values():
        if runs[0].is_external and not mixes:
            lines += [_score(run, s.split) for run in runs]
        elif runs[0].ratio or not mixes:
            lines.append(_loop(runs, _name(s, runs, len(lines), mixes)))
    return lines


def _name(s: Study, runs: Runs, number: int, mixes: bool) -> str:
    """A folder's name for the runs of a setting."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", runs[0].method)
    if len({run.method for run in s.runs}) < len(s.arms):
        name += f"-{number}"
    if not mixes:
        return name
    source = runs[0].source.replace("_", "-") or "synthetic"
    return f"{name}-{source}"


def _loop(runs: Runs, name: str) -> str:
    values = {key: _values(runs, key) for key in FACTORS}
    looped = {key: letter for key, letter in FACTORS.items() if len(values[key]) > 1}
    loops = []
    flags = []
    folder = f"again/{name}"
    for key, letter in looped.items():
        loops.append(f"for {letter} in {' '.join(map(shlex.quote, values[key]))}; do")
        flags.append(f"--{key.replace('_', '-')} ${letter}")
        folder += f"-{letter}${letter}"
    if runs[0].source:
        flags += synthetic_sets.flags(runs[0])
    config = shlex.quote(RunFolder(runs[0].path).config.as_posix())
    command = f"semiseg train --config {config} \\\n    {' '.join([*flags, f'--out {folder}'])}"
    if not loops:
        return command
    return "\n".join([" ".join(loops), f"  {command}", "; ".join(["done"] * len(loops))])


def _score(run: Run, split: str) -> str:
    """The command that scores another program's masks again."""
    masks = run.summary.get("external", {}).get(split, {}).get("predictions", "MASKS")
    words = {
        "data": run.data,
        "predictions": masks,
        "split": split,
        "method": run.method,
        "labels": run.labels,
        "label-subset": run.label_subset,
        "seed": run.seed,
        "out": f"again/{run.name}",
    }
    flags = [f"--{flag} {shlex.quote(str(value))}" for flag, value in words.items()]
    return f"semiseg score {' '.join(flags)}"


def _values(runs: Sequence[Run], factor: str) -> list[str]:
    return list(dict.fromkeys(str(getattr(run, factor)) for run in runs))


def citations(s: Study) -> str:
    """BibTeX of semiseg, and what else the numbers rest on, as comments with their sources."""
    lines = [
        "@software{semiseg,",
        "  title   = {semiseg: label-efficient medical image segmentation on JAX},",
        "  author  = {{The semiseg authors}},",
        f"  version = {{{semiseg.__version__}}},",
        "  license = {Apache-2.0}",
        "}",
        f"% data set {s.data}: {_data_citation(s)}",
    ]
    for method in dict.fromkeys(run.method for run in s.runs):
        source = describe_method(method, title(method)).source
        if source:
            lines.append(f"% {method}: {source}")
    return "\n".join(lines)


def _data_citation(s: Study) -> str:
    from semiseg.data import store

    try:
        return store.info(s.data, s.runs[0].config.get("root")).citation
    except UserError:  # the set is not on this machine
        return "see its own page"
