"""``semiseg methods``: what there is, from which paper, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import check_choice, explain, nothing_left, parse, take
from semiseg.config.presets import PRESETS

LEGEND = """  holds     networks that are trained | kept without gradient
  passes    images a step puts through a network: of the labelled L and the unlabelled U of a batch | without gradient
  cost      measured seconds of a step over those of supervised at the same batch (semiseg bench methods); - where not measured"""
USAGE = f"""usage: semiseg methods [NAME] [--json FILE]

All training methods, or one with its fields.

{LEGEND}

  --json    also write the table to this file
"""
_PLACES = (
    Path(__file__).parents[1] / "bench" / "measured.json",
    Path(__file__).resolve().parents[2] / "experiments" / "results" / "bench_methods.json",
)
MEASURED = next((place for place in _PLACES if place.exists()), _PLACES[-1])
"""Steps beside supervised: a wheel brings its own copy of what a checkout has among its results."""


def main(argv: Sequence[str]) -> int:
    """Print all methods, or one with its fields."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    if positional:
        show("method", argv)
        row = next(row for row in table() if row["method"] == positional[0].replace("-", "_"))
        recipes = [name for name, methods in PRESETS.items() if row["method"] in methods]
        print(
            f"\nholds {row['holds']}; passes {row['passes']}; cost {_cost(row)}; presets: "
            f"{', '.join(recipes) or 'none'}\n{LEGEND}"
        )
        return 0
    own = take(flags, "methods", {"json": None})
    nothing_left(flags, positional, "methods", own)
    found = table()
    print(f"{'method':22}{'holds':28}{'passes':19}{'cost':>6}  paper")
    for row in found:
        print(
            f"{row['method']:22}{row['holds']:28}{row['passes']:19}{_cost(row):>6}  {row['paper']}"
        )
    print(
        f"\n{LEGEND}\n\nOne in detail: semiseg methods {found[-1]['method']}. Which to choose: "
        f"README.md, Methods."
    )
    if own["json"]:
        Path(own["json"]).parent.mkdir(parents=True, exist_ok=True)
        Path(own["json"]).write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _cost(row: dict[str, Any]) -> str:
    return "-" if row["cost"] is None else f"{row['cost']:.2f}"


def table(measured: Path = MEASURED) -> list[dict[str, Any]]:
    """A row a method: method, holds, passes, cost (None where ``measured`` has none) and paper."""
    from semiseg.methods import METHODS

    costs = json.loads(measured.read_text())["methods"] if measured.exists() else {}
    methods: dict[str, Any] = {**METHODS}
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


def show(field: str, argv: Sequence[str]) -> int:
    """Print the table of a choice, or one of its members with every field."""
    from semiseg import config

    positional, _ = parse(argv)
    for name in positional[:1]:
        check_choice(field, name)
        print(
            f"{name}: "
            f"{(type(config.make(field, name)).__doc__ or '').split('Attributes:')[0].strip()}\n"
        )
        print(explain(config.make(field, name), f"{field}."))
    if not positional:
        for name, cls in config.CHOICES[field].items():
            print(f"{name:16} {' '.join((cls.__doc__ or '').split('.  ')[0].split())[:120]}")
    return 0
