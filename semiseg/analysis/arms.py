"""Compared settings: which runs are replicates of one treatment, and what the treatment is called.

A compared setting ("arm" in the code and in JSON) is a method with every setting in which runs of
that method differ: ratio, learning rate, network … Its name spells these settings out.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import PurePath
from typing import Any

from semiseg.analysis.runs import BOOKKEEPING, Run, Runs
from semiseg.analysis.set_treatments import set_treatments
from semiseg.errors import UserError
from semiseg.synthetic_sources import source_title

BASELINE = "supervised"
"""The method that others are compared with."""
TITLES = {
    "uamt": "UA-MT",
    "ict": "ICT",
    "r_drop": "R-Drop",
    "cct": "CCT lite",
    "cps": "CPS",
    "urpc": "URPC lite",
    "mcnet": "MC-Net+ lite",
    "dtc": "DTC",
    "sassnet": "SASSNet",
    "dan": "DAN",
    "ssnet": "SS-Net",
    "fixmatch": "FixMatch",
    "unimatch": "UniMatch",
    "unimatch_v2": "UniMatch V2",
    "bcp": "BCP",
    "ad_mt": "AD-MT",
    "abd": "ABD",
    "sdcl": "SDCL",
    "tracoco": "TraCoCo",
    "beta_fft": "β-FFT",
}
"""Methods whose papers do not spell them in words."""
FACTORS = {"data", "labels", "label_subset", "seed", "folds", "fold", "synthetic"}
"""Settings that are no treatment: what a study is over, and the name of a synthetic set, which may
be made anew for each budget; where it is a treatment, :data:`SET` says so.
"""
SET = "set"
"""Stands for a synthetic set among the settings, see :mod:`semiseg.analysis.set_treatments`."""
_SPELT_OUT = 3  # settings that a name spells out: more of them leave a figure no room
_ROOM = 44  # characters of a name
_FIRST = ("lr", "batch", "steps", "image_size", "net.name", "optimiser", "weight_decay")
"""The settings that a short name mentions first."""

Settings = dict[str, Any]
"""A run's configuration with dotted names."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """One compared setting.

    Attributes:
      name: of at most three settings, or of the published recipe that sets them, or of their
        number.
      runs: its runs at all budgets.
      settings: what a short name stands for, in full: ``lr 0.005``, ``batch 24`` …; empty where the
        name says all.
    """

    name: str
    runs: Runs
    settings: tuple[str, ...]


def arms(runs: Runs) -> list[Arm]:
    """Group runs into compared settings: the baseline method first, then by name."""
    by_method: dict[str, list[Run]] = {}
    for run in runs:
        by_method.setdefault(run.method, []).append(run)
    groups: dict[str, list[Run]] = {}
    settings: dict[str, tuple[str, ...]] = {}
    for method, members in by_method.items():
        for run, (name, full) in zip(members, _names(method, members), strict=True):
            groups.setdefault(name, []).append(run)
            settings[name] = full
    ordered = sorted(groups, key=lambda name: (groups[name][0].method != BASELINE, name))
    return [Arm(name, Runs(groups[name]), settings[name]) for name in ordered]


def find_arms(runs: Runs) -> dict[str, Runs]:
    """The runs of each compared setting, by its name, see :func:`arms`."""
    return {arm.name: arm.runs for arm in arms(runs)}


def arm_settings(runs: Runs) -> dict[str, list[str]]:
    """What a short name stands for, in full; without the names that say all, see :class:`Arm`."""
    return {arm.name: list(arm.settings) for arm in arms(runs) if arm.settings}


def find_baseline(arms: dict[str, Runs]) -> str | None:
    """The compared setting that the others are compared with; None if there is nothing to compare.

    Of several supervised ones (ratios, networks, learning rates), the one without synthetic data
    and masks from elsewhere, with random initial weights, of the plain U-Net, then the first.
    """
    supervised = [name for name, runs in arms.items() if runs[0].method == BASELINE]
    if len(arms) < 2 or not supervised:
        return None
    real = [name for name in supervised if not _with_more_than_labels(arms[name])]
    random = [name for name in real if _from_scratch(arms[name])] or real
    plain = [name for name in random if arms[name][0].net == "unet"]
    return (plain or random or supervised)[0]


def _with_more_than_labels(runs: Runs) -> bool:
    return any(run.ratio != 0 or run.config.get("pseudo") is not None for run in runs)


def _from_scratch(runs: Runs) -> bool:
    return all(run.init == "none" for run in runs)


def title(method: str) -> str:
    """How a method is called.

    >>> title("mean_teacher"), title("bcp")
    ('mean teacher', 'BCP')
    """
    return TITLES.get(method) or method.replace("_", " ").strip() or "unnamed method"


def name_of(method: str, details: list[str]) -> str:
    """The name of a compared setting.

    >>> name_of("supervised", ["SPADE images", "ratio 0.5"])
    'supervised (SPADE images, ratio 0.5)'
    """
    return title(method) + (f" ({', '.join(details)})" if details else "")


def details_of(name: str) -> list[str]:
    """The settings in the name of a compared setting.

    >>> details_of("supervised (SPADE images, ratio 0.5)")
    ['SPADE images', 'ratio 0.5']
    """
    if " (" not in name:
        return []
    return name.partition(" (")[2].removesuffix(")").split(", ")


# ------------------------------------------------------------------ names
def _names(
    method: str,
    runs: list[Run],
) -> list[tuple[str, tuple[str, ...]]]:
    """For each run of a method, the name of its compared setting and the settings that the name
    does not spell out.
    """
    treatments = set_treatments(runs)
    settings = [
        run.settings | {SET: name or None} for run, name in zip(runs, treatments, strict=True)
    ]
    values = _values_by_kind(settings)
    varied = [key for key in sorted(values) if max(map(len, values[key].values())) > 1]
    short = _short_names(varied)
    several_sources = len({run.source for run in runs if run.ratio}) > 1
    taken: dict[str, tuple[str, ...]] = {}
    names = []
    for run, flat in zip(runs, settings, strict=True):
        treatment = {key: flat.get(key) for key in varied if len(values[key][_kind(flat, key)]) > 1}
        mixing = {key for key in treatment if key in ("ratio", SET) or key.startswith("synthetic_")}
        others = {key: value for key, value in treatment.items() if key not in mixing}
        if not run.ratio:  # how nothing would be mixed in needs no word
            treatment = others
            mixing = set()
        words = {key: _words(short[key], value) for key, value in treatment.items()}
        details = list(words.values())
        full: tuple[str, ...] = ()
        if len(others) > _SPELT_OUT:
            full = tuple(details)
            details = [words[key] for key in treatment if key in mixing]
            details += _brief(method, others, short)
        if several_sources and run.ratio:
            details = [source_title(run.source), *details]
        name = _numbered(
            name_of(method, details),
            (run.source, *words.values()),
            taken,
        )
        names.append((name, full))
    return names


def _values_by_kind(settings: list[Settings]) -> dict[str, dict[tuple[Any, ...], set[str]]]:
    """For each setting that differs among the runs, its values among runs of each :func:`_kind`."""
    keys: set[str] = set()
    for flat in settings:
        keys |= flat.keys()
    values: dict[str, dict[tuple[Any, ...], set[str]]] = {}
    for key in keys - BOOKKEEPING - FACTORS:
        if len({repr(flat.get(key)) for flat in settings}) > 1:
            by_kind = values.setdefault(key, {})
            for flat in settings:
                by_kind.setdefault(_kind(flat, key), set()).add(repr(flat.get(key)))
    return values


def _kind(
    flat: Settings,
    key: str,
) -> tuple[Any, ...]:
    """The classes of the parts that hold a setting.

    The fields of two networks are not compared with each other, nor the steps of two
    pre-trainings, nor the weights of masks from elsewhere with their absence.
    """
    if key == "init_steps":
        return (flat.get("init.name"),)
    if key.startswith("pseudo_"):
        return (flat.get("pseudo") is not None,)
    parts = key.split(".")[:-1]
    holders = [".".join((*parts[:i], "name")) for i in range(1, len(parts) + 1)]
    return tuple(flat.get(holder) for holder in holders if holder != key)


def _short_names(keys: list[str]) -> dict[str, str]:
    """The last part of each dotted name, or all of it where it would not be clear.

    >>> _short_names(["optimiser.lr", "method.decay", "net.decay"])
    {'optimiser.lr': 'lr', 'method.decay': 'method.decay', 'net.decay': 'net.decay'}
    """
    last = [key.rsplit(".", 1)[-1] for key in keys]
    clear = {name for name in last if last.count(name) == 1 and name != "name"}
    return {key: name if name in clear else key for key, name in zip(keys, last, strict=True)}


def _words(name: str, value: Any) -> str:
    """A setting as it stands in a name.

    >>> _words("lr", 0.01), _words("net.name", "unet"), _words("init.name", "none")
    ('lr 0.01', 'net unet', 'from scratch')
    >>> _words("pseudo", "masks/nnunet"), _words("pseudo", None)
    ('masks nnunet', 'no masks from elsewhere')
    """
    if name == "init.name" and value == "none":
        return "from scratch"
    if name == "pseudo":
        return f"masks {PurePath(value).name}" if value else "no masks from elsewhere"
    return f"{name.removesuffix('.name')} {value}"


def _numbered(
    name: str,
    full: tuple[str, ...],
    taken: dict[str, tuple[str, ...]],
) -> str:
    """The name, with a number where other settings have taken it: as many settings, and alike in
    those that there is room for.
    """
    numbered = name
    number = 1
    while taken.setdefault(numbered, full) != full:
        number += 1
        numbered = f"{name} #{number}"
    return numbered


def _brief(
    method: str,
    settings: Settings,
    names: dict[str, str],
) -> list[str]:
    """Many settings in a few words: a recipe and what differs from it, else their number and the
    first of them.
    """
    recipe = _nearest_recipe(method, settings)
    if recipe is not None:
        name, rest = recipe
        return [name, *(_words(names[key], value) for key, value in rest.items())]
    first = sorted(settings, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
    words = [_words(names[key], settings[key]) for key in first]
    brief = [f"{len(settings)} settings: {', '.join(words[:n])}, …" for n in (1, 2, 3)]
    text = brief[0]
    for longer in brief[1:]:
        if len(name_of(method, [longer])) <= _ROOM:
            text = longer
    return [text]


def _nearest_recipe(
    method: str,
    settings: Settings,
) -> tuple[str, Settings] | None:
    """The published recipe that leaves the fewest settings to name, and these."""
    nearest: tuple[str, Settings] | None = None
    most = min(_SPELT_OUT, len(settings) - _SPELT_OUT)
    for name, recipe in _recipes(method).items():
        rest = {
            key: value
            for key, value in settings.items()
            if key not in recipe or not _same(recipe[key], value)
        }
        if len(rest) <= most and (nearest is None or len(rest) < len(nearest[1])):
            nearest = (name, rest)
    return nearest


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal; a list is as good as a tuple."""
    sequences = (list, tuple)
    if isinstance(a, sequences) and isinstance(b, sequences):
        return list(a) == list(b)
    return bool(a == b)


@functools.lru_cache(32)
def _recipes(method: str) -> dict[str, Settings]:
    """The settings, with dotted names, of each published recipe that has the method.

    ``defaults`` are those of no recipe.
    """
    from semiseg import config  # it brings JAX

    try:
        plain = config.override(config.Trial(), {"method": method})
    except UserError:  # a method of one's own
        return {}
    trials = {"defaults": plain}
    for name, recipe in config.PRESETS.items():
        if method in recipe:
            trials[name] = config.preset(name, method)
    return {name: config.flatten(config.to_dict(trial)) for name, trial in trials.items()}
