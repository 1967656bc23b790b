"""Methods, networks, losses and initial weights by name, and a trial as a nested dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semiseg.augment import AUGMENTATIONS
from semiseg.config import tree
from semiseg.losses import LOSSES
from semiseg.methods import METHODS
from semiseg.nets import NETS
from semiseg.pretrain import INITS, Weights

WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".ckpt")
"""Endings of files of weights."""


def _weights_at(word: str) -> Weights | None:
    """The initial weights at a path; None for a word that is none."""
    is_path = "/" in word or word.endswith(WEIGHT_FILES) or Path(word).is_dir()
    return Weights(word) if is_path else None


CHOICES = tree.Choices(
    {
        "method": METHODS,
        "net": NETS,
        "other": NETS,
        "criterion": LOSSES,
        "init": INITS,
        "augment": AUGMENTATIONS,
    },
    readers={"init": _weights_at},
    carried={"method": ("criterion",)},
    unnamed={"augment": "default"},
)
"""Fields that hold one of several classes, by the last part of their dotted name."""

KIND_OF = {
    "method": "method",
    "net": "net",
    "other": "net",
    "criterion": "loss",
    "init": "objective",
    "augment": "augmentation",
}
"""The kind that :func:`semiseg.register` calls the classes of a field."""


def name_of(field: str, value: Any) -> str:
    """The table's name of ``value``, e.g. ``mean_teacher``."""
    return CHOICES.name_of(field, value)


def make(field: str, name: str) -> Any:
    """A default instance of the class called ``name`` in the table of ``field``; of ``init`` also
    what a path stands for.

    Raises:
      UserError: there is none.
    """
    return CHOICES.make(field, name)


def to_dict(value: Any, field: str = "") -> Any:
    """Nested plain dict of a trial (or a part of it), with ``name`` where a field has a choice of
    classes.
    """
    return tree.to_dict(value, CHOICES, field)
