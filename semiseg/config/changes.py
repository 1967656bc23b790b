"""A trial with some of its fields changed, as flags, files and sweeps change them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semiseg.config import tree
from semiseg.config.choices import CHOICES
from semiseg.config.constraints import check
from semiseg.config.trial import Trial


def override(trial: Trial, changes: Mapping[str, Any], where: str = "") -> Trial:
    """``trial`` with fields replaced by their dotted names; a new method keeps the criterion of the
    old one. See :func:`semiseg.config.tree.override`.

    Raises:
      UserError: an unknown field, or a value of the wrong kind or outside its range.

    >>> override(Trial(), {"method": "mean_teacher", "method.decay": "0.9"}).method.decay
    0.9
    """
    return check(tree.override(trial, changes, CHOICES, where), where)
