"""A trial: everything that names one run; and its way to and from YAML and flat dotted names."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from semiseg.augment import Augmentation
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.losses import LOSSES
from semiseg.methods import METHODS, Supervised
from semiseg.nets import NETS, UNet
from semiseg.train.optimiser import OPTIMISERS, SCHEDULES
from semiseg.types import Method, Net


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run. Fields marked *static* change the compiled program; all others are numbers a sweep varies without recompiling.

    Attributes:
      data: name of an imported data set (``semiseg data list``), or ``nuclei``, which is built in. Static.
      root: folder of the stores; default: SEMISEG_DATA, else the user's cache folder.
      method: training method; its float fields are traced, the others static.
      net: network. Static.
      augment: augmentation; its float fields are traced.
      labels: number of annotated subjects the method is shown; 0 for all.
      label_subset: which of the nested orders of subjects the budget is a prefix of; 0 is the published order where the set has one.
      seed: of initialisation, batches, augmentation and dropout.
      steps: optimiser steps.
      image_size: side of the network's square input, pixels. Static.
      zoom: magnification: slices are scaled to zoom × image_size, and the network is trained on windows of image_size. Static.
      view: what it sees in evaluation: the whole scaled slice, or its centre window, where the object is known to lie there. Static.
      batch: images a step takes a gradient on, labelled and unlabelled together. Static.
      lr: peak learning rate.
      optimiser: sgd, nesterov, adam or adamw. Static.
      momentum: of sgd and nesterov; the first decay rate of adam and adamw.
      weight_decay: of kernels, not of biases and norms.
      schedule: of the learning rate: poly, cosine or constant. Static.
      warmup: share of the steps in which the learning rate rises linearly.
      clip: largest global norm of a gradient; 0 for no limit.
      ratio: synthetic images per real one in the labelled part of a batch.
      synthetic: name of the imported synthetic set.
      eval_every: steps between validations; 0 for five in a run. Their annotations count as labels used.
      log_every: steps a line of metrics.jsonl averages over.
      checkpoint_seconds: least time between two checkpoints.
    """

    data: str = "nuclei"
    root: str | None = None
    method: Method = Supervised()  # type: ignore[assignment]
    net: Net = UNet()  # type: ignore[assignment]
    augment: Augmentation = Augmentation()
    labels: int = 0
    label_subset: int = 0
    seed: int = 0
    steps: int = 1500
    image_size: int = 128
    zoom: float = 1.0
    view: str = "whole"
    batch: int = 8
    lr: float = 0.003
    optimiser: str = "adamw"
    momentum: float = 0.9
    weight_decay: float = 0.01
    schedule: str = "poly"
    warmup: float = 0.02
    clip: float = 1.0
    ratio: float = 0.0
    synthetic: str | None = None
    eval_every: int = 0
    log_every: int = 10
    checkpoint_seconds: float = 60.0

    @property
    def frame(self) -> Frame:
        return Frame(self.image_size, self.zoom, self.view)


# Fields that hold one of several classes, by the last part of their dotted name.
CHOICES: dict[str, Mapping[str, type]] = {"method": METHODS, "net": NETS, "criterion": LOSSES}


def name_of(field: str, value: Any) -> str:
    """The table's name of ``value``, e.g. ``mean_teacher``."""
    return next(name for name, cls in CHOICES[field].items() if type(value) is cls)


def make(field: str, name: str) -> Any:
    """A default instance of the class called ``name`` in the table of ``field``."""
    try:
        return CHOICES[field][name]()
    except KeyError:
        raise UserError(f"there is no {field} called {name!r}: choose one of {', '.join(CHOICES[field])}") from None


def to_dict(value: Any, field: str = "") -> Any:
    """Nested plain dict of a trial (or a part of it), with ``name`` where a field has a choice of classes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = {f.name: to_dict(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
        return {"name": name_of(field, value), **inner} if field in CHOICES else inner
    if isinstance(value, tuple | list):
        return [to_dict(v) for v in value]
    return value


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"method": {"decay": .9}}`` → ``{"method.decay": .9}``."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def override(trial: Trial, changes: Mapping[str, Any], where: str = "") -> Trial:
    """``trial`` with fields replaced by their dotted names.

    ``method``, ``net`` and ``criterion`` take a name and start from that class's defaults, whatever the order of ``changes``;
    ``method.decay`` then sets a field of it. Strings are read as numbers where the field is one.

    Raises:
      UserError: an unknown field or a value of the wrong kind, naming ``where`` and the field.
    """
    flat = flatten(changes)
    flat = {(k[: -len(".name")] if k.endswith(".name") else k): v for k, v in flat.items()}
    chosen = sorted((k for k in flat if k.rpartition(".")[2] in CHOICES), key=lambda k: k.count("."))
    for key in [*chosen, *(k for k in flat if k not in chosen)]:
        trial = _set(trial, key.replace("-", "_").split("."), flat[key], key, where)
    return check(trial, where)


def _set(node: Any, path: list[str], value: Any, key: str, where: str) -> Any:
    prefix = f"{where}: " if where else ""
    fields = {f.name: f for f in dataclasses.fields(node)}
    if path[0] not in fields:
        import difflib

        near = difflib.get_close_matches(path[0], fields, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(fields)}"
        raise UserError(f"{prefix}there is no field {key!r}: {hint}")
    old = getattr(node, path[0])
    if len(path) > 1:
        if not dataclasses.is_dataclass(old):
            raise UserError(f"{prefix}{key!r}: {path[0]!r} has no fields")
        new = _set(old, path[1:], value, key, where)
    elif path[0] in CHOICES:
        new = value if dataclasses.is_dataclass(value) else make(path[0], str(value))
        if type(new) is type(old) and not dataclasses.is_dataclass(value):
            new = old
        elif path[0] == "method" and not dataclasses.is_dataclass(value) and hasattr(new, "criterion"):
            new = dataclasses.replace(new, criterion=old.criterion)  # type: ignore[type-var]
    elif dataclasses.is_dataclass(old) and not dataclasses.is_dataclass(value):
        raise UserError(f"{prefix}{key!r} is a group: set one of {', '.join(f'{key}.{f.name}' for f in dataclasses.fields(old))}")
    else:
        new = _validated(type(node), path[0], value, f"{prefix}{key}")
    try:
        return dataclasses.replace(node, **{path[0]: new})  # type: ignore[type-var]
    except (ValueError, TypeError) as error:
        raise UserError(f"{prefix}{key}: {error}") from None


def _validated(cls: type, field: str, value: Any, where: str) -> Any:
    import typing

    import pydantic

    hint = typing.get_type_hints(cls)[field]
    if isinstance(value, str) and value.strip().startswith(("[", "(")):
        value = yaml.safe_load(value.replace("(", "[").replace(")", "]"))
    elif isinstance(value, str) and "tuple" in str(hint) and "," in value:
        value = value.split(",")
    if isinstance(value, str) and value.lower() in ("none", "null"):
        value = None
    try:
        return pydantic.TypeAdapter(hint).validate_python(value)
    except pydantic.ValidationError as error:
        raise UserError(f"{where}: {error.errors()[0]['msg'].lower()}, not {value!r}") from None


def check(trial: Trial, where: str = "") -> Trial:
    """``trial``, if its values make sense.

    Raises:
      UserError: naming the field and its range.
    """
    prefix = f"{where}: " if where else ""
    least = {"labels": 0, "label_subset": 0, "seed": 0, "steps": 1, "image_size": 8, "zoom": 1, "batch": 1, "ratio": 0, "eval_every": 0,
             "log_every": 1, "momentum": 0, "weight_decay": 0, "warmup": 0, "clip": 0, "lr": 0}  # fmt: skip
    for field, low in least.items():
        value = getattr(trial, field)
        if not value >= low:
            raise UserError(f"{prefix}{field} is {value}: it must be at least {low}")
    for field, allowed in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("view", ("whole", "centre"))):
        if getattr(trial, field) not in allowed:
            raise UserError(f"{prefix}{field} is {getattr(trial, field)!r}: choose one of {', '.join(allowed)}")
    if trial.batch < 2 and hasattr(trial.method, "labelled_share"):
        raise UserError(f"{prefix}batch is 1: {name_of('method', trial.method)} needs at least one labelled and one unlabelled image")
    return trial


def from_dict(nested: Mapping[str, Any], where: str = "") -> Trial:
    """A trial from its nested (or flat, dotted) dict; fields that are left out keep their defaults."""
    return override(preset(str(nested["preset"])) if "preset" in nested else Trial(), {k: v for k, v in nested.items() if k != "preset"}, where)


def load(path: str | Path) -> Trial:
    """A trial from a YAML (or JSON) file."""
    path = Path(path)
    return from_dict(load_yaml(path), str(path))


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, or a UserError that names it."""
    path = Path(path)
    try:
        found = json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no mapping of names to values")
    return found


def to_yaml(trial: Trial) -> str:
    """The complete, re-runnable configuration."""
    return yaml.safe_dump(to_dict(trial), sort_keys=False)


# Published recipes, quirks included, each switched on by its name; see the fields' own words.
_SSL4MIS: dict[str, Any] = {
    "net": "unet", "net.widths": (16, 32, 64, 128, 256), "net.norm": "batch", "net.dropout": (0.05, 0.1, 0.2, 0.3, 0.5), "net.head": 3,
    "batch": 24, "steps": 30_000, "image_size": 256, "lr": 0.01, "optimiser": "sgd", "momentum": 0.9, "weight_decay": 1e-4,
    "schedule": "poly", "warmup": 0.0, "clip": 0.0,
    "method.criterion": "ce_dice",
    "method.criterion.dice.squared": True, "method.criterion.dice.batch": True, "method.criterion.dice.background": True,
    "method.criterion.dice.smooth": 1e-5, "method.criterion.ce_weight": 0.5, "method.criterion.dice_weight": 0.5,
}  # fmt: skip
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "ssl4mis": {
        "supervised": {**_SSL4MIS, "method.decay": 0.0},
        "mean_teacher": {
            **_SSL4MIS, "method.decay": 0.99, "method.weight": 0.1, "method.ramp": 1.0, "method.start": 1000 / 30_000, "method.noise": 0.1,
            "method.student_view": "weak", "method.teacher_train": True, "method.average_state": False, "method.evaluate": "student",
        },
        "pseudo_label": {**_SSL4MIS, "method.decay": 0.99, "method.threshold": 0.95, "method.weight": 0.1, "method.ramp": 1.0, "method.student_view": "weak"},
    }
}  # fmt: skip


def preset(name: str, method: str = "supervised") -> Trial:
    """The trial of a published recipe, e.g. ``preset("ssl4mis", "mean_teacher")``."""
    from semiseg import augment

    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}: choose one of {', '.join(PRESETS)}")
    if method not in PRESETS[name]:
        raise UserError(f"preset {name!r} has no {method!r}: it has {', '.join(PRESETS[name])}")
    trial = override(Trial(), {"method": method, **PRESETS[name][method]})
    return dataclasses.replace(trial, augment=augment.ssl4mis())
