"""``semiseg sweep --study``: can the declared comparison come out of this sweep?"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.analysis.declaration import Declaration
    from semiseg.sweeps.spec import Spec

USUAL = "supervised"
"""The baseline of a declaration that names none."""
REPLICATES = {"data", "root", "method", "labels", "label_subset", "seed", "synthetic", "ratio"}
"""What may vary without giving the plain settings other names."""


class _Sides(NamedTuple):
    """What the trials of a sweep are.

    Attributes:
      methods: their names, as the sweep file spells them.
      budgets: their label budgets; None where they are drawn from a distribution.
      trials: (method, label budget) of each; None where they are not known before they run.
    """

    methods: list[str]
    budgets: list[int] | None
    trials: set[tuple[str, int]] | None


def check_declaration(d: Declaration, file: Path, sweep: Path, count: int | None) -> None:
    """Refuse a declared comparison that no trials of the sweep can make.

    Args:
      d: the declaration.
      file: where it lies.
      sweep: the sweep's file.
      count: trials of a random or bayes sweep, instead of the file's.

    Raises:
      UserError: no trial has its method, its baseline or its label budget.
    """
    if d.primary is None:
        return
    from semiseg.analysis.declaration import same_name
    from semiseg.sweeps import spec as plan

    spec = plan.read(sweep, count)
    sides = _sides(spec)
    baseline = d.baseline or USUAL
    if same_name(d.primary.arm, baseline):
        raise UserError(
            f"primary compares {baseline!r} with itself",
            where=file,
            remedy="name another method, or another baseline",
        )
    of_primary = _method(d.primary.arm, sides.methods, file, sweep)
    of_baseline = _method(baseline, sides.methods, file, sweep)
    labels = d.primary.labels
    _check_budget(labels, sides.budgets, spec, file)
    for method in (of_primary, of_baseline):
        if sides.trials is not None and not {(method, labels), (method, 0)} & sides.trials:
            budgets = sorted(n for name, n in sides.trials if name == method)
            raise UserError(
                f"no trial of {method} has labels {labels}",
                where=file,
                remedy=f"take one of {_listed(budgets)}, or add it to {sweep}",
            )
    varied = sorted(
        name
        for name, leaf in spec.parameters.items()
        if name not in REPLICATES and len(_values(leaf) or (0, 0)) > 1
    )
    if varied and "(" not in d.primary.arm:
        print(
            f"note: the sweep varies {', '.join(varied)}, so the report may name its settings by "
            f"it: primary.method and baseline must be spelled as there",
            file=sys.stderr,
        )


def _sides(spec: Spec) -> _Sides:
    """Methods and label budgets of a sweep, as far as they are known before it runs."""
    from semiseg.sweeps import spec as plan

    points = list(plan.points(spec).values())
    if not points:  # a bayes sweep
        methods = _values(spec.parameters.get("method", {"value": USUAL})) or []
        budgets = _values(spec.parameters.get("labels", {"value": _default_labels(spec, {})}))
        return _Sides(sorted(map(str, methods)), budgets, None)
    default = _default_labels(spec, points[0])
    trials = {
        (str(point.get("method", USUAL)), int(point.get("labels", default))) for point in points
    }
    methods = list(dict.fromkeys(method for method, _ in sorted(trials)))
    return _Sides(methods, sorted({labels for _, labels in trials}), trials)


def _default_labels(spec: Spec, point: dict[str, Any]) -> int:
    """The label budget of trials whose sweep does not say it."""
    from semiseg.sweeps import spec as plan

    return spec.trial(point or plan.draw(spec, 0)).labels


def _values(leaf: dict[str, Any]) -> list[Any] | None:
    """The values of a parameter; None where a distribution has them."""
    if "values" in leaf:
        return list(leaf["values"])
    if "value" in leaf:
        return [leaf["value"]]
    return None


def _method(setting: str, methods: list[str], file: Path, sweep: Path) -> str:
    """The method of a compared setting, by its id or its title, with or without details."""
    from semiseg.analysis.arms import title
    from semiseg.analysis.declaration import same_name

    name = setting.partition(" (")[0]
    for method in methods:
        if same_name(name, method) or same_name(name, title(method)):
            return method
    near = difflib.get_close_matches(name.replace(" ", "_").replace("-", "_"), methods, 1)
    problem = f"no trial has method {name!r}: {sweep} has {_listed(methods)}"
    if near:
        problem = f"no trial has method {name!r}: did you mean {near[0]}?"
    raise UserError(
        problem,
        where=file,
        remedy="change the declaration or the sweep (for masks of another program, put study.yaml "
        "into the folder of the runs by hand)",
    )


def _check_budget(labels: int, budgets: list[int] | None, spec: Spec, file: Path) -> None:
    """Refuse a label budget that no trial has; 0 stands for all annotated subjects."""
    if budgets is None:
        leaf = spec.parameters["labels"]
        low = leaf.get("min", labels)
        high = leaf.get("max", labels)
        possible = low <= labels <= high
        words = f"{low} to {high}"
    else:
        possible = labels in budgets or 0 in budgets
        words = _listed(budgets)
    if not possible:
        raise UserError(
            f"no trial has labels {labels}", where=file, remedy=f"{spec.where} has {words}"
        )


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))
