"""A trial from a YAML or JSON file, and as one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from semiseg.config.changes import override
from semiseg.config.choices import to_dict
from semiseg.config.presets import preset
from semiseg.config.trial import Trial
from semiseg.files import read_mapping


def from_dict(nested: Mapping[str, Any], where: str = "") -> Trial:
    """A trial from its nested (or flat, dotted) dict; what is left out stays as it is in the preset
    that ``preset`` names, else at its default.

    Raises:
      UserError: an unknown field or a wrong value, naming ``where``.

    >>> from_dict({"labels": 4, "method": {"name": "mean_teacher"}}).labels
    4
    """
    if "preset" not in nested:
        return override(Trial(), nested, where)
    method = nested.get("method", nested.get("method.name", "supervised"))
    if isinstance(method, Mapping):
        method = method.get("name", "supervised")
    changes = {key: value for key, value in nested.items() if key != "preset"}
    return override(preset(str(nested["preset"]), str(method)), changes, where)


def load(path: str | Path) -> Trial:
    """A trial from a YAML (or JSON) file."""
    return from_dict(load_yaml(path), str(path))


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML (or JSON) file, or a UserError that names it."""
    return read_mapping(Path(path))


def to_yaml(trial: Trial) -> str:
    """The complete, re-runnable configuration."""
    return yaml.safe_dump(to_dict(trial), sort_keys=False)
