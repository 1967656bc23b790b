"""What names a run, and how is it written? A trial, and its way to and from files, flags and
presets.

    trial        the fields of a run, with their ranges
    tree         a dataclass ↔ a nested dict ↔ dotted names, over any table of choices
    choices      methods, networks, losses and initial weights by name
    constraints  what fits together
    changes      a trial with fields replaced by their dotted names
    presets      published recipes
    recordable   what a run's files can say of a trial
    yaml_file    a trial from a file, and as one
"""

from semiseg.config.changes import override
from semiseg.config.choices import CHOICES, make, name_of, to_dict
from semiseg.config.constraints import (
    check,
    check_fold,
    check_pseudo,
    check_synthetic,
    check_volumes,
)
from semiseg.config.presets import PRESETS, preset
from semiseg.config.recordable import PLUGINS, check_recordable, recorded
from semiseg.config.trial import Trial
from semiseg.config.yaml_file import (
    BEFORE_SPACING,
    from_dict,
    has_old_frame,
    load,
    load_network,
    load_yaml,
    network_from_dict,
    to_yaml,
)
from semiseg.fields import flatten

__all__ = [
    "BEFORE_SPACING",
    "CHOICES",
    "PLUGINS",
    "PRESETS",
    "Trial",
    "check",
    "check_fold",
    "check_pseudo",
    "check_recordable",
    "check_synthetic",
    "check_volumes",
    "flatten",
    "from_dict",
    "has_old_frame",
    "load",
    "load_network",
    "load_yaml",
    "make",
    "name_of",
    "network_from_dict",
    "override",
    "preset",
    "recorded",
    "to_dict",
    "to_yaml",
]
