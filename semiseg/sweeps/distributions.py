"""The axes of a sweep in W&B's terms: a value, several values, or a distribution to draw from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from semiseg.errors import UserError

KERNELS = ("uniform", "log_uniform", "log_uniform_values", "normal", "log_normal")
"""W&B's distributions, each also with ``q_`` before its name: rounded to steps."""


def distribution(name: str, leaf: Mapping[str, Any], where: str) -> str:
    """The leaf's distribution, as W&B guesses it where none is named."""
    if "value" in leaf:
        return "constant"
    if "distribution" in leaf:
        return str(leaf["distribution"])
    if "values" in leaf:
        return "categorical"
    if "min" in leaf and "max" in leaf:
        if isinstance(leaf["min"], int) and isinstance(leaf["max"], int):
            return "int_uniform"
        return "uniform"
    if "mu" in leaf and "sigma" in leaf:
        return "normal"
    raise UserError(
        f"{where}: {name} needs `value:`, `values:`, `min:` and `max:`, or `parameters:`"
    )


def choices(name: str, leaf: Mapping[str, Any], where: str) -> list[Any]:
    """The values of an axis of a grid."""
    kind = distribution(name, leaf, where)
    if kind == "constant":
        return [leaf["value"]]
    if kind != "categorical":
        raise UserError(
            f"{where}: {name} is a {kind} distribution, a grid needs `values:`; or use method: "
            f"random or bayes"
        )
    if not isinstance(leaf.get("values"), list) or not leaf["values"]:
        raise UserError(f"{where}: {name} needs a list of values")
    return list(leaf["values"])


def sample(name: str, leaf: Mapping[str, Any], rng: np.random.Generator, where: str) -> Any:
    """One draw from W&B's distributions; ``log_uniform`` has exponents as bounds,
    ``log_uniform_values`` the values themselves.
    """
    kind = distribution(name, leaf, where)
    if kind in ("constant", "categorical"):
        values = choices(name, leaf, where)
        if len(values) == 1:
            return values[0]
        return values[int(rng.choice(len(values), p=leaf.get("probabilities")))]
    kernel = kind.removeprefix("q_")
    if kernel not in KERNELS and kind != "int_uniform":
        raise UserError(
            f"{where}: {name} has the distribution {kind!r}, which only W&B's own server knows; "
            f"use (log_)uniform or (log_)normal"
        )
    try:
        if kind == "int_uniform":
            return int(rng.integers(int(leaf["min"]), int(leaf["max"]) + 1))
        value = _drawn(kernel, leaf, rng)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: {name} ({kind}): {error} is missing or no number") from None
    if kind.startswith("q_"):
        step = float(leaf.get("q", 1))
        value = round(value / step) * step
    return float(f"{value:.6g}")  # as it stands in the run's name and config


def _drawn(kernel: str, leaf: Mapping[str, Any], rng: np.random.Generator) -> float:
    """One draw from one of KERNELS, before it is rounded to a step."""
    if kernel == "uniform":
        return rng.uniform(leaf["min"], leaf["max"])
    if kernel == "log_uniform":
        return math.exp(rng.uniform(leaf["min"], leaf["max"]))
    if kernel == "log_uniform_values":
        return math.exp(rng.uniform(math.log(leaf["min"]), math.log(leaf["max"])))
    value = rng.normal(leaf.get("mu", 0.0), leaf.get("sigma", 1.0))
    if kernel == "log_normal":
        return math.exp(value)
    return value
