"""What a sweep does with a generated set that its quality report rejects: it says so, or drops the
trials that would learn from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from semiseg.config import Trial
from semiseg.errors import UserError
from semiseg.sweeps.spec import Spec
from semiseg.synthetic_sources import PREFIX

CHOICES = ("say", "drop")
"""Values of ``--rejected``."""


class Rejected(Exception):
    """The quality report rejects the set that a trial would learn from.

    Attributes:
      set_name: of the generated set.
      failed: checks that the set failed.
    """

    def __init__(self, set_name: str, failed: Sequence[str]):
        super().__init__(message(set_name, failed))
        self.set_name = set_name
        self.failed = list(failed)


def message(set_name: str, failed: Sequence[str]) -> str:
    """Which set is rejected, and by which checks.

    >>> message("made-spade-1", ["kinds", "auc"])
    'the quality report rejects made-spade-1 (failed: kinds, auc)'
    """
    text = f"the quality report rejects {set_name}"
    if not failed:
        return text
    return f"{text} (failed: {', '.join(failed)})"


def check_choice(choice: str, spec: Spec) -> None:
    """Refuse a choice that there is not, and ``drop`` where no set has a quality report.

    Raises:
      UserError: with what to do.
    """
    if choice not in CHOICES:
        raise UserError(f"--rejected is {choice!r}: choose one of {', '.join(CHOICES)}")
    if choice == "say":
        return
    if not any(source.startswith(PREFIX) for source in _sources(spec)):
        what = "--rejected drop: no trial of this sweep learns from a set that it makes"
        raise UserError(what, where=spec.where, remedy="leave it out, or set synthetic: make:…")
    if not int(spec.gan.get("card", 0)):
        what = "--rejected drop needs a quality report of each generated set"
        remedy = "set gan.card: {value: 300}, the steps of the segmenters that judge"
        raise UserError(what, where=spec.where, remedy=remedy)


def _sources(spec: Spec) -> list[str]:
    """What the sweep's trials name as ``synthetic``."""
    leaf = spec.parameters.get("synthetic", {})
    values = leaf.get("values") or [leaf.get("value")]
    return [str(value) for value in values]


def rejection(trial: Trial) -> Rejected | None:
    """Whether the quality report rejects the set that a trial learns from; None where it passes the
    set, where there is no report, and for a trial that draws no synthetic image.

    Args:
      trial: that names an imported set.
    """
    if trial.synthetic is None or not trial.ratio:
        return None
    from semiseg.generators.ratio import report_of

    report = report_of(trial.synthetic, trial.root)
    if report.get("passed", True):
        return None
    failed = [check["check"] for check in report.get("checks", ()) if not check["passed"]]
    return Rejected(trial.synthetic, failed)
