"""A trial: everything that names one run; and its way to and from YAML and flat dotted names."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from semiseg.augment import Augmentation
from semiseg.config.presets import PRESETS as PRESETS
from semiseg.config.presets import preset as preset
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.losses import LOSSES
from semiseg.methods import METHODS, Supervised
from semiseg.nets import NETS, UNet
from semiseg.pretrain import INITS, Fresh, Weights
from semiseg.train import draw
from semiseg.train.optimiser import OPTIMISERS, SCHEDULES
from semiseg.types import Method, Net


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run. Fields marked *static* change the compiled program; all others are numbers a sweep
    varies without recompiling.

    Attributes:
      data: name of an imported data set (``semiseg data list``), or ``nuclei``, which is built in.
        Static.
      root: folder of the stores; default: SEMISEG_DATA, else the user's cache folder.
      method: training method; its float fields are traced, the others static.
      net: network. Static.
      augment: augmentation; its float fields are traced.
      labels: number of annotated subjects the method is shown; 0 for all.
      label_subset: the order of subjects whose first ones are the budget; 0 is the published one,
        if any.
      seed: of initialisation, batches, augmentation and dropout.
      steps: optimiser steps.
      init: where the weights begin: at random, pre-trained on the images of the run's training pool
        without a label, or a path (a run's folder or a file of the same network); the last layer is
        fresh.
      init_steps: optimiser steps of the pre-training, on top of ``steps``.
      image_size: side of the network's square input, pixels. Static.
      zoom: magnification: slices are scaled to zoom × image_size, and the network is trained on
        windows of image_size. Static.
      view: what it sees in evaluation: the whole scaled slice, or its centre window, where the
        object is known to lie there. Static.
      slices: 2.5D: how many adjacent slices of a scan, an odd number, the network sees as channels;
        it segments the middle one. Static.
      depth: slices of a 3D network's input; volumes are scaled to depth_zoom × depth slices of zoom
        × image_size pixels a side. Static.
      depth_zoom: of the slices, as zoom is of the pixels: above 1, windows anywhere in a volume are
        trained on, and evaluation goes over them. Static.
      batch: images a step takes a gradient on, labelled and unlabelled together. Static.
      lr: peak learning rate.
      optimiser: sgd, nesterov, adam or adamw. Static.
      momentum: of sgd and nesterov; the first decay rate of adam and adamw.
      weight_decay: of kernels, not of biases and norms.
      schedule: of the learning rate: poly, cosine, step (tenths) or constant. Static.
      warmup: share of the steps in which the learning rate rises linearly.
      clip: largest global norm of a gradient; 0 for no limit.
      ratio: synthetic images per real one in the labelled part of a batch.
      synthetic: name of the imported synthetic set.
      synthetic_schedule: when its images are seen: constant (in every step alike), pretrain (alone
        at first, then real ones alone) or decay (ever fewer, linearly to none at the end); how many
        in all depends on the ratio alone.
      synthetic_weight: by which the gradient of the labelled loss is multiplied in their pixels (a
        Dice over the batch still has them in its sums).
      synthetic_as: what they are taken for: labelled; soft (the target is (1 - s) · mask + s · what
        the network's average predicts, the latter by cross-entropy; costs a pass of both over the
        labelled images of a batch); or unlabelled (their masks are not used, and ratio is to the
        real unlabelled images). Static.
      synthetic_softness: s of soft images, from 0 (their masks alone) to 1 (the average's
        predictions alone).
      eval_every: steps between validations; 0 for five in a run. Their annotations count as labels
        used.
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
    init: Any = Fresh()
    init_steps: int = 2000
    image_size: int = 128
    zoom: float = 1.0
    view: str = "whole"
    slices: int = 1
    depth: int = 16
    depth_zoom: float = 1.0
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
    synthetic_schedule: str = "constant"
    synthetic_weight: float = 1.0
    synthetic_as: str = "labelled"
    synthetic_softness: float = 0.5
    eval_every: int = 0
    log_every: int = 10
    checkpoint_seconds: float = 60.0

    @property
    def frame(self) -> Frame:
        whole = (self.depth, self.depth_zoom) if dims_of(self.net) == 3 else ()
        return Frame(self.image_size, self.zoom, self.view, self.slices, *whole)


# Fields that hold one of several classes, by the last part of their dotted name.
CHOICES: dict[str, Mapping[str, type]] = {
    "method": METHODS,
    "net": NETS,
    "other": NETS,
    "criterion": LOSSES,
    "init": INITS,
}


def name_of(field: str, value: Any) -> str:
    """The table's name of ``value``, e.g. ``mean_teacher``."""
    return next(name for name, cls in CHOICES[field].items() if type(value) is cls)


def make(field: str, name: str) -> Any:
    """A default instance of the class called ``name`` in the table of ``field``; of ``init`` also
    what a path stands for.
    """
    if (
        field == "init"
        and name not in INITS
        and ("/" in name or name.endswith(".safetensors") or Path(name).is_dir())
    ):
        return Weights(name)
    try:
        return CHOICES[field][name]()
    except KeyError:
        near = difflib.get_close_matches(name, CHOICES[field], 1)
        hint = (
            f"; did you mean {near[0]!r}?"
            if near
            else f": choose one of {', '.join(CHOICES[field])}"
        )
        raise UserError(f"there is no {field} called {name!r}{hint}") from None


def to_dict(value: Any, field: str = "") -> Any:
    """Nested plain dict of a trial (or a part of it), with ``name`` where a field has a choice of
    classes.
    """
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
        flat |= (
            flatten(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{key}": value}
        )
    return flat


def override(trial: Trial, changes: Mapping[str, Any], where: str = "") -> Trial:
    """``trial`` with fields replaced by their dotted names.

    ``method``, ``net`` and ``criterion`` take a name and start from that class's defaults, whatever
    the order of ``changes``; ``method.decay`` then sets a field of it. Strings are read as numbers
    where the field is one.

    Raises:
      UserError: an unknown field or a value of the wrong kind, naming ``where`` and the field.
    """
    flat = flatten(changes)
    flat = {(k[: -len(".name")] if k.endswith(".name") else k): v for k, v in flat.items()}
    chosen = sorted(
        (k for k in flat if k.rpartition(".")[2] in CHOICES), key=lambda k: k.count(".")
    )
    path = lambda key: tuple(key.replace("-", "_").split("."))
    for key in chosen:
        trial = _set(trial, {path(key): (key, flat[key])}, where)
    rest = {path(key): (key, value) for key, value in flat.items() if key not in chosen}
    return check(_set(trial, rest, where), where)


Changes = dict[tuple[str, ...], tuple[str, Any]]
"""Path of a field → its name as the user wrote it, and its value."""


def _set(node: Any, changes: Changes, where: str) -> Any:
    """``node`` with ``changes``; all fields of one object change at once, since what one may be can
    depend on another.
    """
    new = {}
    for name in dict.fromkeys(path[0] for path in changes):
        new[name] = _field(
            node,
            name,
            {path[1:]: change for path, change in changes.items() if path[0] == name},
            where,
        )
    try:
        return dataclasses.replace(node, **new)
    except (ValueError, TypeError) as error:
        keys = ", ".join(key for path, (key, _) in changes.items() if len(path) == 1)
        raise UserError(f"{where}: {keys}: {error}" if where else f"{keys}: {error}") from None


def _field(node: Any, name: str, changes: Changes, where: str) -> Any:
    """The new value of a field: at the empty path its own, else with changes inside it."""
    prefix = f"{where}: " if where else ""
    fields = {f.name: f for f in dataclasses.fields(node)}
    key, value = next(iter(changes.values()))
    if name not in fields:
        raise UserError(f"{prefix}there is no field {key!r}{_hint(node, name, key)}")
    old = getattr(node, name)
    inside = {path: change for path, change in changes.items() if path}
    if inside:
        if not dataclasses.is_dataclass(old):
            raise UserError(f"{prefix}{next(iter(inside.values()))[0]!r}: {name!r} has no fields")
        return _set(old, inside, where)
    if name in CHOICES:
        new = value if dataclasses.is_dataclass(value) else make(name, str(value))
        if type(new) is type(old) and str(value) in CHOICES[name]:
            return old
        if name == "method" and not dataclasses.is_dataclass(value) and hasattr(new, "criterion"):
            new = dataclasses.replace(new, criterion=old.criterion)  # type: ignore[type-var]
        return new
    if dataclasses.is_dataclass(old) and not dataclasses.is_dataclass(value):
        raise UserError(
            f"{prefix}{key!r} is a group: set one of "
            f"{', '.join(f'{key}.{f.name}' for f in dataclasses.fields(old))}"
        )
    return _validated(type(node), name, value, f"{prefix}{key}")


def _hint(node: Any, name: str, key: str) -> str:
    """Where a field that ``node`` has not got may be: under a name that is near, in a class that
    could be chosen instead, or further inside.
    """
    prefix, fields = key[: len(key) - len(name)], [f.name for f in dataclasses.fields(node)]
    group = prefix.rstrip(".").rpartition(".")[2]
    table = CHOICES.get(group, {})
    said = f" ({prefix.rstrip('.')} is {name_of(group, node)})" if table else ""
    owners = [choice for choice, cls in table.items() if name in cls.__dataclass_fields__]  # type: ignore[attr-defined]
    if owners and not difflib.get_close_matches(name, fields, 1):
        return (
            f"{said}: choose --{prefix.rstrip('.')} "
            f"{' or '.join(owners[:3])}{' …' * (len(owners) > 3)} first"
        )
    inside = [path.removesuffix(".name") for path in flatten(to_dict(node))]
    inside += [
        f"{f}.{x.name}"
        for f in fields
        for cls in CHOICES.get(f, {}).values()
        for x in dataclasses.fields(cls)
    ]
    full = {
        path.rpartition(".")[2]: path
        for path in sorted([*inside, *fields], key=lambda path: -path.count("."))
    }  # the outermost wins
    near = difflib.get_close_matches(name, full, 1, 0.75) or difflib.get_close_matches(
        name, fields, 1
    )
    return (
        f"{said}: did you mean {prefix + full[near[0]]!r}?"
        if near
        else f"{said}: it has {', '.join(fields) or 'no fields'}"
    )


def _validated(cls: type, field: str, value: Any, where: str) -> Any:
    import pydantic

    hint = typing.get_type_hints(cls)[field]
    if isinstance(value, bool) and "bool" not in str(hint):
        raise UserError(f"{where} needs a value")
    if isinstance(value, str) and value.strip().startswith(("[", "(")):
        try:
            value = yaml.safe_load(value.replace("(", "[").replace(")", "]"))
        except yaml.YAMLError:
            raise UserError(f"{where}: {value!r} is no list: write [8, 16] or 8,16") from None
    elif isinstance(value, str) and "tuple" in str(hint) and "," in value:
        value = value.removesuffix(",").split(",")
    elif (
        isinstance(value, str | int | float) and typing.get_origin(hint) is tuple
    ):  # a list of one: --net.ups 1
        value = [value]
    if isinstance(value, str) and value.lower() in ("none", "null"):
        value = None
    if (
        isinstance(value, str) and typing.get_origin(hint) is typing.Literal
    ):  # --net.dims 3 comes as a word
        value = next((option for option in typing.get_args(hint) if str(option) == value), value)
    try:
        return _adapter(cls, field).validate_python(value)
    except pydantic.ValidationError as error:
        raise UserError(f"{where}: {error.errors()[0]['msg'].lower()}, not {value!r}") from None


@functools.cache
def _adapter(cls: type, field: str) -> Any:
    """Made once a field: it takes milliseconds, and a sweep sets hundreds."""
    import pydantic

    return pydantic.TypeAdapter(typing.get_type_hints(cls)[field])


SHARES = {
    "decay", "labelled_share", "threshold", "keep", "start", "drop", "active_low", "active_high", "rule_decay", "jitter", "blur", "cutmix", "pretrain", "side",
    "share",
}  # fmt: skip
"""Fields of methods and of pre-trainings that are shares or probabilities; no number of theirs is
below 0.
"""
POSITIVE = {
    "temperature",
    "alpha",
    "looks",
    "scales",
    "elements",
    "period",
    "rounds",
    "patches",
    "pixels",
    "channels",
}
"""Those that nothing works without: counts and divisors."""


def _rule(name: str) -> tuple[str, Callable[[float], bool]]:
    """What a number of a method or a pre-training must be, in words and as a test."""
    if name in POSITIVE:
        return "above 0", lambda value: value > 0
    if name == "drop":  # what is kept is divided by the rest
        return "from 0 to below 1", lambda value: 0 <= value < 1
    if name in SHARES:
        return "between 0 and 1", lambda value: 0 <= value <= 1
    return "at least 0", lambda value: value >= 0


def check(trial: Trial, where: str = "") -> Trial:
    """``trial``, if its values make sense.

    Raises:
      UserError: naming the field and its range.
    """
    prefix = f"{where}: " if where else ""
    least = {"labels": 0, "label_subset": 0, "seed": 0, "steps": 1, "init_steps": 1, "image_size": 8, "zoom": 1, "slices": 1, "depth": 1, "depth_zoom": 1,
             "batch": 1, "ratio": 0, "eval_every": 0, "log_every": 1, "momentum": 0, "weight_decay": 0, "warmup": 0, "clip": 0, "lr": 0,
             "synthetic_weight": 0, "synthetic_softness": 0}  # fmt: skip
    for field, low in least.items():
        value = getattr(trial, field)
        if not (value >= low and math.isfinite(value)):
            raise UserError(f"{prefix}{field} is {value}: it must be at least {low}")
    for field, high in (
        ("momentum", 1),
        ("warmup", 1),
        ("synthetic_softness", 1),
        ("seed", 2**32 - 1),
    ):
        if getattr(trial, field) > high:
            raise UserError(
                f"{prefix}{field} is {getattr(trial, field)}: it must be at most {high}"
            )
    for group, at in (("method", trial.method), ("init", trial.init)):
        for name, value in vars(at).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                rule, fits = _rule(name)
                if not (fits(value) and math.isfinite(value)):
                    raise UserError(f"{prefix}{group}.{name} is {value}: it must be {rule}")
    choices = {
        "optimiser": OPTIMISERS,
        "schedule": SCHEDULES,
        "view": ("whole", "centre"),
        "synthetic_schedule": draw.SCHEDULES,
        "synthetic_as": draw.ROLES,
    }
    for field, allowed in choices.items():
        if getattr(trial, field) not in allowed:
            raise UserError(
                f"{prefix}{field} is {getattr(trial, field)!r}: choose one of {', '.join(allowed)}"
            )
    if trial.slices % 2 == 0:
        raise UserError(
            f"{prefix}slices is {trial.slices}: it must be odd, so that one is in the middle"
        )
    if trial.init == Weights():
        raise UserError(
            f"{prefix}init.path is empty: name a run's folder or a .safetensors file, as in "
            f"--init runs/first"
        )
    if trial.batch < 2 and hasattr(trial.method, "labelled_share"):
        raise UserError(
            f"{prefix}batch is 1: {name_of('method', trial.method)} needs at least one labelled "
            f"and one unlabelled image"
        )
    return trial


def check_volumes(trial: Trial, where: str = "") -> None:
    """Refuse what a trial's networks cannot see together, or a 3D one at all.

    Raises:
      UserError: naming the field and a value that fits.
    """
    prefix = f"{where}: " if where else ""
    dims, net = dims_of(trial.net), name_of("net", trial.net)
    other = getattr(trial.method, "other", trial.net)
    if dims_of(other) != dims:
        raise UserError(
            f"{prefix}method.other is a {dims_of(other)}D network and {net} a {dims}D one: set "
            f"--method.other.dims {dims}"
        )
    if dims == 2:
        return
    if trial.slices > 1:
        raise UserError(
            f"{prefix}slices is {trial.slices}, but {net} is 3D and takes volumes: set --slices "
            f"1, or choose a 2D network (--net.dims 2)"
        )
    block = trial.net.block  # type: ignore[attr-defined]
    for field, side, b in zip(
        ("depth", "image_size", "image_size"),
        trial.frame.window,
        (block,) * 3 if isinstance(block, int) else block,
    ):
        if side % b:
            raise UserError(
                f"{prefix}{field} is {side}: {net} takes multiples of {b}; set one, or give the "
                f"network fewer levels"
            )


def check_synthetic(trial: Trial, where: str = "") -> None:
    """Refuse a mix of synthetic images that the trial cannot have.

    Raises:
      UserError: naming the field and what it needs.
    """
    prefix, plain = f"{where}: " if where else "", Trial()
    for field in ("synthetic_schedule", "synthetic_weight", "synthetic_as", "synthetic_softness"):
        value = getattr(trial, field)
        if trial.synthetic is None and value != getattr(plain, field):
            raise UserError(
                f"{prefix}{field} is {value}, but there is no synthetic set: give --synthetic "
                f"NAME (an imported one) and --ratio"
            )
    if trial.synthetic_as == "unlabelled" and not hasattr(trial.method, "labelled_share"):
        name = name_of("method", trial.method)
        raise UserError(
            f"{prefix}synthetic_as is unlabelled, but {name} uses no unlabelled images: choose "
            f"labelled or soft, or another method"
        )


def dims_of(net: Net) -> int:
    """2 for a network of images, 3 for one of volumes."""
    return getattr(net, "dims", 2)


def from_dict(nested: Mapping[str, Any], where: str = "") -> Trial:
    """A trial from its nested (or flat, dotted) dict; fields that are left out keep their defaults."""
    if "preset" not in nested:
        return override(Trial(), nested, where)
    method = nested.get("method", nested.get("method.name", "supervised"))
    name = method.get("name", "supervised") if isinstance(method, Mapping) else method
    return override(
        preset(str(nested["preset"]), str(name)),
        {k: v for k, v in nested.items() if k != "preset"},
        where,
    )


def load(path: str | Path) -> Trial:
    """A trial from a YAML (or JSON) file."""
    path = Path(path)
    return from_dict(load_yaml(path), str(path))


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, or a UserError that names it."""
    path = Path(path)
    try:
        found = (
            json.loads(path.read_text())
            if path.suffix == ".json"
            else yaml.safe_load(path.read_text())
        )
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no mapping of names to values")
    return found


def to_yaml(trial: Trial) -> str:
    """The complete, re-runnable configuration."""
    return yaml.safe_dump(to_dict(trial), sort_keys=False)
