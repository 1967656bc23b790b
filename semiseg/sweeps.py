"""A sweep: every trial of a grid file, one after the other in one process, so that trials with one static part share one program."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from semiseg import config
from semiseg.config import Trial
from semiseg.errors import UserError
from semiseg.runner import Result, run

FILE_KEYS = {"method", "parameters", "name", "project", "entity", "program", "command", "metric", "description", "preset"}


def trials(sweep: str | Path | Mapping[str, Any]) -> dict[str, Trial]:
    """The trials of a grid in W&B's sweep schema, by the name of their run folder.

    ``parameters`` maps dotted names to ``{"value": v}``, ``{"values": [...]}`` or ``{"parameters": {...}}`` (nested).

    Raises:
      UserError: another method than ``grid``, an unknown key or field.
    """
    where = "sweep" if isinstance(sweep, Mapping) else str(sweep)
    spec = dict(sweep) if isinstance(sweep, Mapping) else config.load_yaml(sweep)
    unknown = [k for k in spec if k not in FILE_KEYS]
    if unknown:
        raise UserError(f"{where}: does not know {unknown[0]!r}; a sweep has {', '.join(sorted(FILE_KEYS))}")
    if spec.get("method", "grid") != "grid":
        raise UserError(f"{where}: method is {spec['method']!r}; here sweeps are grids (method: grid)")
    axes = _axes(spec.get("parameters") or {}, where)
    if not axes:
        raise UserError(f"{where}: has no parameters to vary")
    varied = [name for name, values in axes.items() if len(values) > 1]
    found: dict[str, Trial] = {}
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values))
        start = config.preset(spec["preset"], str(point.get("method", "supervised"))) if "preset" in spec else Trial()
        name = "-".join(_word(k, point[k]) for k in varied) or "run"
        found[name] = config.override(start, point, where)
    return found


def _axes(parameters: Mapping[str, Any], where: str, prefix: str = "") -> dict[str, list[Any]]:
    axes: dict[str, list[Any]] = {}
    for name, given in parameters.items():
        if not isinstance(given, Mapping) or not ({"value", "values", "parameters"} & set(given)):
            raise UserError(f"{where}: {prefix}{name} needs `value:`, `values:` or `parameters:`")
        if "parameters" in given:
            axes |= _axes(given["parameters"], where, f"{prefix}{name}.")
            continue
        values = [given["value"]] if "value" in given else given["values"]
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}: {prefix}{name} needs a list of values")
        axes[prefix + name] = values
    return axes


def _word(name: str, value: Any) -> str:
    short = {"method": "", "net": "", "label_subset": "subset"}.get(name, name.rpartition(".")[2])
    return re.sub(r"[^A-Za-z0-9_.]+", "_", f"{short}{value}")


def sweep(
    spec: str | Path | Mapping[str, Any], out: str | Path, *, test: bool = False, progress: bool = False, say: Callable[[str], None] = print
) -> list[Result]:
    """Run every trial of a grid into ``out``/NAME; finished ones are read, not run again; an interrupted one goes on.

    A trial that fails is recorded in its folder (error.json) and does not stop the others; a wrong file or field does, before anything runs.
    """
    plan, out = trials(spec), Path(out)
    results, began = [], time.monotonic()
    for i, (name, trial) in enumerate(plan.items(), 1):
        try:
            result = run(trial, out / name, progress=progress, test=test)
        except (UserError, ArithmeticError, ValueError, RuntimeError) as error:
            (out / name).mkdir(parents=True, exist_ok=True)
            (out / name / "error.json").write_text(json.dumps({"error": str(error)}) + "\n")
            say(f"{i:4}/{len(plan)}  {name}: failed: {error}")
            continue
        (out / name / "error.json").unlink(missing_ok=True)
        results.append(result)
        left = (time.monotonic() - began) / i * (len(plan) - i)
        split = "test" if test else "val"
        say(f"{i:4}/{len(plan)}  {split} Dice {result.summary['last'][split]['dice'] or float('nan'):.3f}  {_clock(left)} left  {name}")
    return results


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
