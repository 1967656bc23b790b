"""``study.yaml``: the declaration of a study as a file, and whether its runs began after it.

A run records the SHA-256 of the ``study.yaml`` that lies beside its folder when it begins
(:func:`semiseg.run_folder.study_hash`). So a declaration that was written, or changed, after a run
is told from one that was there first, whatever the dates of the files say.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from semiseg.analysis.arms import title
from semiseg.analysis.declaration import Declaration, Primary
from semiseg.analysis.runs import Runs
from semiseg.errors import UserError
from semiseg.evaluate.metrics import metric_of
from semiseg.files import file_hash, read_mapping
from semiseg.run_folder import STUDY

SPLITS = ("val", "test")
FAMILIES = ("baseline", "pairs")


@dataclasses.dataclass(frozen=True)
class Declared:
    """A declaration, and how many runs began with it.

    Attributes:
      declaration: what the file says.
      file: where it lies.
      before: runs that recorded this very file when they began.
      changed: runs that recorded another one.
      runs: all of them.
    """

    declaration: Declaration
    file: Path
    before: int
    changed: int
    runs: int

    @property
    def holds(self) -> bool:
        """Whether every run began after the declaration: only then is its comparison tested by
        itself.
        """
        return self.before == self.runs > 0


def declared(runs: Runs, file: str | Path | None = None) -> Declared | None:
    """The declaration of these runs.

    Args:
      runs: of one study.
      file: the declaration; by default the ``study.yaml`` beside the run folders, if there is one.

    Raises:
      UserError: the file cannot be read or says something unknown; or the runs lie beside several
        that differ.
    """
    if file is None:
        path = _beside(runs)
    else:
        path = Path(file)
    if path is None:
        return None
    declaration = read_declaration(path)
    digest = file_hash(path)
    recorded = [str(run.env.get("study", "")) for run in runs]
    before = recorded.count(digest)
    return Declared(
        declaration, path, before, len(recorded) - before - recorded.count(""), len(recorded)
    )


def _beside(runs: Runs) -> Path | None:
    """The one ``study.yaml`` that lies beside the run folders."""
    folders = {run.path.parent for run in runs if run.table is None}
    files = sorted(folder / STUDY for folder in folders if (folder / STUDY).is_file())
    if len({file_hash(file) for file in files}) > 1:
        raise UserError(
            "the runs are of studies that were declared differently",
            where=f"{files[0]} and {files[-1]}",
            remedy="report one of them, or name the declaration with --study",
        )
    return next(iter(files), None)


# ------------------------------------------------------------------ reading
def read_declaration(file: Path) -> Declaration:
    """The content of a ``study.yaml``.

    Raises:
      UserError: the file cannot be read, a key is unknown or a value is wrong.
    """
    if not file.is_file():
        raise UserError("no such file", where=file, remedy="name the study.yaml of the study")
    content = read_mapping(file)
    unknown = sorted(set(content) - set(KEYS))
    if unknown:
        raise UserError(f"{unknown[0]!r} is unknown", where=file, remedy=f"keys are {_listed()}")
    try:
        return declaration_of(content)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(_reason(error), where=file, remedy=f"keys are {_listed()}") from None


def declaration_of(content: Mapping[str, Any]) -> Declaration:
    """A declaration from its keys.

    Raises:
      ValueError, TypeError, KeyError: a value is wrong or missing.

    >>> primary = {"method": "mean_teacher", "labels": 8}
    >>> declared = declaration_of({"primary": primary, "margin": 0.02})
    >>> str(declared.primary), declared.margin, declared.quote_on
    ('mean teacher@8', 0.02, 'test')
    """
    values: dict[str, Any] = {}
    for key, value in content.items():
        values[key] = KEYS[key](value)
    return Declaration(**values)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    return str(error)


def _primary(value: Any) -> Primary:
    if not isinstance(value, Mapping) or set(value) != {"method", "labels"}:
        raise ValueError("primary must say `method` and `labels`, nothing else")
    labels = value["labels"]
    if isinstance(labels, bool) or not isinstance(labels, int) or labels < 0:
        raise ValueError(f"primary.labels is {labels!r}: it must be a number of annotated subjects")
    return Primary(title(str(value["method"])), labels)


def _baseline(value: Any) -> str:
    return title(str(value))


def _margin(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise ValueError(f"margin is {value!r}: it must be a number above 0")
    return float(value)


def _metric(value: Any) -> str:
    return metric_of(str(value)).name


def _split(value: Any) -> Any:
    if value not in SPLITS:
        raise ValueError(f"{value!r} is no split: take one of {', '.join(SPLITS)}")
    return value


def _choose_on(value: Any) -> Any:
    if value == "test":
        raise ValueError(
            "choose_on is 'test': a setting chosen on the scores that are quoted is quoted too "
            "high: choose on val"
        )
    return _split(value)


def _family(value: Any) -> Any:
    if value not in FAMILIES:
        raise ValueError(f"family is {value!r}: take one of {', '.join(FAMILIES)}")
    return value


def _date(value: Any) -> datetime.date:
    if isinstance(value, datetime.date):
        return value
    return datetime.date.fromisoformat(str(value))


KEYS: dict[str, Callable[[Any], Any]] = {
    "question": str,
    "primary": _primary,
    "baseline": _baseline,
    "metric": _metric,
    "margin": _margin,
    "family": _family,
    "choose_on": _choose_on,
    "quote_on": _split,
    "date": _date,
}
"""What a ``study.yaml`` may say, and how each value is read."""


def _listed() -> str:
    *names, last = KEYS
    return f"{', '.join(names)} and {last}"
