"""Which runs the operands of a command name: a run, several, or a folder of the folds of one
setting.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from semiseg.cli.arguments import Flag
from semiseg.data.info import numbered
from semiseg.errors import UserError
from semiseg.run_folder import RunFolder

WHERE = Flag(
    "where",
    "of a folder of runs, take the setting that has these values: method=supervised,labels=8",
    value="KEY=VALUE,…",
)
MISSING_FOLDS = Flag(
    "missing_folds",
    "of a folder of runs, take the folds that are there where others are missing",
    False,
    value="",
)

TTA = Flag(
    "tta",
    "average with the predictions of the image mirrored along each axis along which training "
    "mirrored",
    False,
    value="",
)
LARGEST_COMPONENT = Flag(
    "largest_component", "keep the largest part of each class of a scan", False, value=""
)


def run_paths(operands: Sequence[str], where: str | None, missing_folds: bool) -> list[Path]:
    """The folders of the runs, or what `semiseg export` wrote; those of a folder of folds are named
    on stderr.

    Raises:
      UserError: a folder of runs is not that of the folds of one setting.
    """
    paths: list[Path] = []
    for operand in operands:
        path = Path(operand)
        if not _holds_runs(path):
            paths.append(path)
            continue
        from semiseg.analysis.fold_members import fold_members

        runs = fold_members(path, conditions(where), missing_folds=missing_folds)
        folds = len({run.fold for run in runs})
        of = f"{numbered(len(runs), 'run')} of {numbered(folds, 'fold')}"
        print(
            f"note: {path}: averaged over {of} of {runs[0].method}",
            file=sys.stderr,
        )
        paths += [run.path for run in runs]
    return paths


def _holds_runs(path: Path) -> bool:
    """Whether it is a folder that is no run, nor what `semiseg export` wrote."""
    folder = RunFolder(path)
    files = (folder.config, folder.weights, folder.log)
    return path.is_dir() and not any(file.exists() for file in files)


def conditions(typed: str | None) -> dict[str, str]:
    """Setting → value of what was typed.

    >>> conditions("method=supervised,labels=8"), conditions(None)
    ({'method': 'supervised', 'labels': '8'}, {})
    """
    result = {}
    for part in (typed or "").split(","):
        key, separator, value = part.partition("=")
        if separator and key.strip():
            result[key.strip().replace("-", "_")] = value.strip()
        elif part:
            raise UserError(f"--where is {typed!r}: give settings as in method=supervised,labels=8")
    return result
