"""``semiseg methods``: what there is, from which paper, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import (
    JSON,
    PLUGIN,
    Command,
    Flags,
    check_choice,
    nothing_left,
    write_json,
)
from semiseg.cli.explain import explain, summary_of
from semiseg.config.presets import PRESETS
from semiseg.files import read_json

LEGEND = """\
  holds     networks that are trained | stored without gradient
  passes    images a step puts through a network: of the labelled L and the unlabelled U of a
            batch | without gradient
  cost      measured seconds of a step over those of supervised at the same batch (semiseg bench
            methods); - where not measured
  lite      heads on the last features, which they share, stand for the decoders of the paper"""
COMMAND = Command(
    "methods",
    "All training methods, or one with its fields.",
    (JSON, PLUGIN),
    operands="[NAME]",
    notes=f"\n{LEGEND}",
)
_PLACES = (
    Path(__file__).parents[1] / "bench" / "measured.json",
    Path(__file__).resolve().parents[2] / "experiments" / "results" / "bench_methods.json",
)
MEASURED = next((place for place in _PLACES if place.exists()), _PLACES[-1])
"""Steps beside supervised: a wheel brings its own copy of what a checkout has among its results."""


def main(argv: Sequence[str]) -> int:
    """Print all methods, or one with its fields."""
    return COMMAND.run(argv, _methods)


def _methods(operands: list[str], flags: Flags) -> int:
    options = COMMAND.take(flags)
    if operands:
        _show(operands[0])
        return 0
    nothing_left(flags, operands, "methods", options)
    rows = table()
    print(f"{'method':22}{'holds':28}{'passes':19}{'cost':>6}  paper")
    for row in rows:
        columns = f"{row['method']:22}{row['holds']:28}{row['passes']:19}{_cost(row):>6}"
        print(f"{columns}  {row['paper']}{_lite(row['method'])}")
    print(
        f"\n{LEGEND}\n\nOne in detail: semiseg methods {rows[-1]['method']}. Which to choose: "
        f"docs/how-to/choose-a-method.md."
    )
    write_json(options["json"], rows)
    return 0


def table(measured: Path = MEASURED) -> list[dict[str, Any]]:
    """A row a method: method, holds, passes, cost (None where ``measured`` has none) and paper."""
    from semiseg.methods import METHODS

    methods: dict[str, Any] = {**METHODS}
    costs: dict[str, Any] = {}
    if measured.exists():
        costs = read_json(measured)["methods"]
    return [
        {
            "method": name,
            "holds": cls.holds,
            "passes": cls.passes,
            "cost": costs.get(name, {}).get("relative"),
            "paper": cls.paper,
        }
        for name, cls in methods.items()
    ]


def _show(name: str) -> None:
    """One method with its fields, its cost and the presets that have it."""
    from semiseg import config

    check_choice("method", name)
    method = config.make("method", name)
    row = next(row for row in table() if row["method"] == name)
    recipes = [preset for preset, methods in PRESETS.items() if name in methods]
    print(f"{name}: {summary_of(type(method))}\n")
    print(explain(method, "method."))
    print(
        f"\nholds {row['holds']}; passes {row['passes']}; cost {_cost(row)}; presets: "
        f"{', '.join(recipes) or 'none'}\n{LEGEND}"
    )


def _lite(name: str) -> str:
    """Says of a method whether it is a lighter form of its paper's."""
    from semiseg.methods import METHODS

    methods: dict[str, Any] = {**METHODS}
    return ", lite" if methods[name].title.endswith(" lite") else ""


def _cost(row: dict[str, Any]) -> str:
    if row["cost"] is None:
        return "-"
    return f"{row['cost']:.2f}"
