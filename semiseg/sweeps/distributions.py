"""The axes of a sweep in W&B's terms: a value, several values, or a distribution to draw from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from semiseg.errors import UserError

KERNELS = ("uniform", "log_uniform", "log_uniform_values", "normal", "log_normal")
"""W&B's distributions, each also with ``q_`` before its name: rounded to steps."""
LONGEST_NAME = 200
"""Letters of a trial's name: file systems take 255 bytes, and files beside the folder add some."""
TOLERANCE = 1e-8
"""How far a sum of probabilities may be from one, by rounding."""
LARGEST = 2.0**53
"""Up to which a float holds every whole number."""


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


def bounds(name: str, leaf: Mapping[str, Any], where: str) -> tuple[float, float]:
    """The smallest and the largest value of an axis; exponents of ``log_uniform``.

    >>> bounds("lr", {"min": "1e-5", "max": 0.01}, "sweep.yaml")
    (1e-05, 0.01)

    Raises:
      UserError: one is missing or no number, min is above max, or a logarithm has no such value.
    """
    low = number(name, leaf, "min", where)
    high = number(name, leaf, "max", where)
    if low > high:
        raise UserError(
            f"{name}: min {low:g} is above max {high:g}", where=where, remedy="exchange them"
        )
    kind = distribution(name, leaf, where)
    if kind == "int_uniform" and max(-low, high) > LARGEST:
        raise UserError(
            f"{name}: {low:g} to {high:g} is more than whole numbers are exact to",
            where=where,
            remedy="stay below 2^53",
        )
    if "log_uniform_values" in kind and low <= 0:
        raise UserError(
            f"{name}: min is {low:g}, and log_uniform_values draws values above zero",
            where=where,
            remedy="log_uniform takes exponents",
        )
    return low, high


def number(
    name: str, leaf: Mapping[str, Any], key: str, where: str, default: float | None = None
) -> float:
    """A number of an axis; YAML reads ``1e-5``, which has no point, as a string.

    >>> number("lr", {"min": "1e-5"}, "min", "sweep.yaml")
    1e-05

    Raises:
      UserError: it is no finite number, or missing without a ``default``.
    """
    value = leaf.get(key, default)
    if value is None:
        raise UserError(f"{name} needs a number `{key}:`", where=where)
    return _finite(value, f"{name}.{key}", where)


def probabilities(name: str, leaf: Mapping[str, Any], where: str) -> list[float] | None:
    """How likely each value of a categorical axis is; None where all are equally likely.

    Raises:
      UserError: not one for each value, one is negative or no number, or they do not sum to one.
    """
    given = leaf.get("probabilities")
    if given is None:
        return None
    field = f"{name}.probabilities"
    if not isinstance(given, list):
        raise UserError(f"{field} is {given!r}: give a list", where=where)
    values = choices(name, leaf, where)
    if len(given) != len(values):
        raise UserError(
            f"{field} has {len(given)} numbers for {len(values)} values",
            where=where,
            remedy="give one for each value",
        )
    shares = [_finite(share, field, where) for share in given]
    total = math.fsum(shares)
    if min(shares) < 0 or abs(total - 1) > TOLERANCE:
        raise UserError(
            f"{field} are {shares} and sum to {total:.6g}",
            where=where,
            remedy="none may be negative, and their sum must be 1",
        )
    return shares


def _finite(value: Any, field: str, where: str) -> float:
    """A finite number, or one spelt as a string."""
    result = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            result = float(value)
        except (ValueError, OverflowError):
            result = math.nan
    if not math.isfinite(result):
        raise UserError(f"{field} is {value!r}, which is no finite number", where=where)
    return result


def sample(name: str, leaf: Mapping[str, Any], rng: np.random.Generator, where: str) -> Any:
    """One draw from W&B's distributions; ``log_uniform`` has exponents as bounds,
    ``log_uniform_values`` the values themselves.
    """
    kind = distribution(name, leaf, where)
    if kind in ("constant", "categorical"):
        values = choices(name, leaf, where)
        shares = probabilities(name, leaf, where)
        if len(values) == 1:
            return values[0]
        return values[int(rng.choice(len(values), p=shares))]
    kernel = kind.removeprefix("q_")
    if kernel not in KERNELS and kind != "int_uniform":
        raise UserError(
            f"{where}: {name} has the distribution {kind!r}, which only W&B's own server knows; "
            f"use (log_)uniform or (log_)normal"
        )
    if kind == "int_uniform":
        low, high = bounds(name, leaf, where)
        return int(rng.integers(int(low), int(high) + 1))
    try:
        value = _drawn(kernel, name, leaf, rng, where)
    except OverflowError:
        raise UserError(
            f"{name} ({kind}): the exponential is too large",
            where=where,
            remedy="log_uniform_values takes values instead of exponents",
        ) from None
    if kind.startswith("q_"):
        step = number(name, leaf, "q", where, 1)
        if step <= 0:
            raise UserError(f"{name}.q is {step:g}, and steps are above zero", where=where)
        value = round(value / step) * step
    return float(f"{value:.6g}")  # as it stands in the run's name and config


def _drawn(
    kernel: str, name: str, leaf: Mapping[str, Any], rng: np.random.Generator, where: str
) -> float:
    """One draw from one of KERNELS, before it is rounded to a step."""
    if kernel in ("normal", "log_normal"):
        centre = number(name, leaf, "mu", where, 0.0)
        spread = number(name, leaf, "sigma", where, 1.0)
        if spread < 0:
            raise UserError(f"{name}.sigma is {spread:g}, which is negative", where=where)
        value = rng.normal(centre, spread)
    else:
        low, high = bounds(name, leaf, where)
        if kernel == "log_uniform_values":
            low = math.log(low)
            high = math.log(high)
        value = rng.uniform(low, high)
    if kernel.startswith("log_"):
        return math.exp(value)
    return value


def short_name(name: str) -> str:
    """A name that a folder and its lock may have: of a long one the end is a hash of it.

    >>> short_name("lr0.1"), len(short_name("x" * 300))
    ('lr0.1', 200)
    """
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: LONGEST_NAME - 17]}-{digest}"
