"""A trial from a YAML or JSON file, and as one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from semiseg import plugins
from semiseg.config.changes import override
from semiseg.config.presets import preset
from semiseg.config.recordable import PLUGINS, recorded
from semiseg.config.trial import Trial
from semiseg.errors import UserError
from semiseg.files import read_mapping

NETWORK_FIELDS = (
    "net",
    "image_size",
    "zoom",
    "view",
    "slices",
    "depth",
    "depth_zoom",
    "width",
    "spacing",
    "intensity",
)
"""Fields of a trial that say what a network sees of an image, and which network it is."""
BEFORE_SPACING = {
    "spacing": "stretch",
    "intensity": "slice",
    "draw_by": "images",
    "foreground": 0.0,
    "augment.under_cutouts": "taught",
}
"""What runs did before there was a choice: a complete configuration that lacks these is of one."""
BEFORE_HIDDEN = {"under_cutouts": "taught"}
"""What the augmentation of a complete configuration did that lacks this."""
COMPLETE = ("data", "view", "zoom", "batch", "log_every", "checkpoint_seconds")
"""Fields that a complete configuration has, and nobody writes all of by hand."""


def from_dict(nested: Mapping[str, Any], where: str = "") -> Trial:
    """A trial from its nested (or flat, dotted) dict; what is left out stays as it is in the preset
    that ``preset`` names, else at its default.

    Raises:
      UserError: an unknown field or a wrong value, naming ``where``; a plug-in that a run needs and
        that is not loaded.

    >>> from_dict({"labels": 4, "method": {"name": "mean_teacher"}}).labels
    4
    """
    if PLUGINS in nested:
        plugins.require(nested[PLUGINS], where)
        nested = {key: value for key, value in nested.items() if key != PLUGINS}
    nested = _with_old_frame(nested)
    if "preset" not in nested:
        return override(Trial(), nested, where)
    method = nested.get("method", nested.get("method.name", "supervised"))
    if isinstance(method, Mapping):
        method = method.get("name", "supervised")
    changes = {key: value for key, value in nested.items() if key != "preset"}
    return override(preset(str(nested["preset"]), str(method)), changes, where)


def network_from_dict(nested: Mapping[str, Any], where: str = "") -> Trial:
    """A trial with the network and the frame of a run and with defaults elsewhere: all that
    segmenting an image needs. The run's method, loss and augmentation need not be known here.

    Raises:
      UserError: an unknown network or a wrong value, naming ``where``.

    >>> network_from_dict({"method": {"name": "my_own"}, "image_size": 64}).image_size
    64
    """
    whole = _with_old_frame(nested)
    changes = {key: value for key, value in whole.items() if key in NETWORK_FIELDS}
    try:
        return override(Trial(), changes, where)
    except UserError:
        plugins.require(nested.get(PLUGINS, ()), where)
        raise


def _with_old_frame(nested: Mapping[str, Any]) -> Mapping[str, Any]:
    """A configuration that a run recorded before there was a choice of frames, or of what pixels
    under a cut-out teach, with its own.
    """
    if not _is_complete(nested):
        return nested
    augment = nested.get("augment")
    is_own = isinstance(augment, Mapping) and "name" in augment  # a plug-in, with fields of its own
    before = BEFORE_SPACING if has_old_frame(nested) else {}
    before = {key: value for key, value in before.items() if not (is_own and "." in key)}
    if isinstance(augment, Mapping) and not is_own:
        nested = {**nested, "augment": {**BEFORE_HIDDEN, **augment}}
    return {**nested, **before}


def has_old_frame(nested: Mapping[str, Any]) -> bool:
    """Whether a configuration was recorded before there was a choice of frames."""
    return "spacing" not in nested and _is_complete(nested)


def _is_complete(nested: Mapping[str, Any]) -> bool:
    return all(field in nested for field in COMPLETE)


def load(path: str | Path) -> Trial:
    """A trial from a YAML (or JSON) file."""
    return from_dict(load_yaml(path), str(path))


def load_network(path: str | Path) -> Trial:
    """The network and the frame in a YAML (or JSON) file, see :func:`network_from_dict`."""
    return network_from_dict(load_yaml(path), str(path))


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML (or JSON) file, or a UserError that names it."""
    return read_mapping(Path(path))


def to_yaml(trial: Trial) -> str:
    """The complete, re-runnable configuration."""
    return yaml.safe_dump(recorded(trial), sort_keys=False)
