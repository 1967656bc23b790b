"""Read run folders, sweeps and results.csv files into :class:`~semiseg.analysis.runs.Runs`.

What a run leaves behind is read here and in :mod:`semiseg.analysis.scores`; nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semiseg import safe_yaml
from semiseg.analysis import results_csv, scores_csv
from semiseg.analysis.results_csv import COLUMNS, FOLD_COLUMNS, RunRows
from semiseg.analysis.runs import BOOKKEEPING, Run, Runs
from semiseg.analysis.scores import MEAN, MEAN_OF_ALL, Layout, Scores, indices, read_scores
from semiseg.errors import UserError
from semiseg.files import check_shape
from semiseg.run_folder import (
    CHECKPOINTS,
    DROPPED,
    ENVIRONMENT_SHAPE,
    FAILURE,
    REGIONS,
    RESULTS,
    SUMMARY_SHAPE,
    TRACKING_FILES,
    TRAIN_AGAIN,
    RunFolder,
)
from semiseg.shapes import AMOUNT, COUNT, PATH, TEXT, Leaf, optional

log = logging.getLogger("semiseg")
CONFIG_SHAPE = {
    **dict.fromkeys(("labels", "seed", "steps", "batch"), COUNT),
    **dict.fromkeys(("folds", "fold"), optional(COUNT)),
    "ratio": optional(AMOUNT),
    "label_subset": Leaf(
        "a whole number or a name", lambda value: COUNT.fits(value) or TEXT.fits(value)
    ),
    "synthetic": optional(TEXT),
    "root": optional(PATH),
    "image_size": optional(COUNT),
}
"""Fields of config.yaml that analyses count with or show; another version may have others."""

COMPARED = ("data", "method", "net", "labels", "label_subset", "seed", "steps")
"""Fields by which runs are compared, which each version has written: never a default."""
_SKIP = {CHECKPOINTS, TRACKING_FILES, "__pycache__"}


def load_runs(folders: str | Path | Iterable[str | Path]) -> Runs:
    """Load every finished run in a folder, or in several, however deep.

    A broken or unfinished run is left out with one warning line that names the file, failed trials
    with one line in all.

    Args:
      folders: folders with runs in them. A results.csv may stand for one; it holds a mean per run,
        and no subjects unless NAME_subjects.csv lies beside NAME.csv.

    Raises:
      UserError: a folder does not exist, or no run is left.
    """
    roots = [Path(root) for root in _several(folders)]
    runs: list[Run] = []
    folders_by_path: dict[Path, Path] = {}
    for root in roots:
        if root.is_file() and root.suffix == ".csv":
            runs += _read_results(root)
        elif root.is_dir():
            for folder in _run_folders(root):
                folders_by_path.setdefault(folder.resolve(), folder)
        else:
            raise UserError(
                "no such folder",
                where=root,
                remedy="name the --out of `semiseg train`, `semiseg sweep` or `semiseg demo`",
            )
    read, problems = _read_folders(list(folders_by_path.values()))
    runs += read
    if not runs:
        raise _nothing(roots, problems)
    for problem in problems:  # with no run left, the error says it
        log.warning("left out: %s", problem)
    return Runs(_unique_names(runs), sorted(problems))


def once(runs: Runs) -> Runs:
    """The runs without copies: of several folders that hold one run, the one that finished last.

    Runs are copies if they have the same settings, label subset and seed. One line among the
    problems says what is left out.
    """
    copies: dict[str, list[Run]] = {}
    for run in runs:
        copies.setdefault(_identity(run), []).append(run)
    several = [sorted(group, key=_finished) for group in copies.values() if len(group) > 1]
    if not several:
        return runs
    left_out = set()
    for *earlier, _ in several:
        left_out |= {id(run) for run in earlier}
    problem = _copies_message(several)
    log.warning("%s", problem)
    return Runs([run for run in runs if id(run) not in left_out], [*runs.problems, problem])


# ------------------------------------------------------------------ folders
def _several(folders: str | Path | Iterable[str | Path]) -> Iterable[str | Path]:
    return [folders] if isinstance(folders, (str, os.PathLike)) else folders


def _run_folders(root: Path) -> Iterator[Path]:
    """Folders of runs, finished or not; none lies in another."""
    for folder, below, files in os.walk(root):
        if any(mark in files for mark in (*RESULTS, FAILURE, DROPPED)):
            below.clear()
            yield Path(folder)
        below[:] = sorted(name for name in below if name not in _SKIP and not name.startswith("."))


def _read_folders(folders: list[Path]) -> tuple[list[Run], list[str]]:
    """The finished runs, and a line for each that is left out."""
    runs: list[Run] = []
    problems: list[str] = []
    failed = [folder for folder in folders if _failed(RunFolder(folder))]
    if failed:
        problems.append(_failure(failed))
    stopped = [folder for folder in folders if _stopped_early(RunFolder(folder))]
    if stopped:
        problems.append(_stopped_message(stopped))
    dropped = [folder for folder in folders if _dropped(RunFolder(folder))]
    if dropped:
        problems.append(_dropped_message(dropped))
    layouts: list[Layout] = []
    left_out = {*failed, *stopped, *dropped}
    for folder in folders:
        if folder in left_out:
            continue
        try:
            runs.append(_read(RunFolder(folder), layouts))
        except UserError as error:
            problems.append(str(error))
    return runs, problems


def _failed(folder: RunFolder) -> bool:
    return not folder.summary.is_file() and folder.failure.is_file()


def _stopped_early(folder: RunFolder) -> bool:
    return not folder.summary.is_file() and folder.early_stop.is_file()


def _stopped_message(stopped: list[Path]) -> str:
    """One line where trials were stopped early: those that finished were chosen by their scores."""
    trials = "1 trial was"
    if len(stopped) > 1:
        trials = f"{len(stopped)} trials were"
    return (
        f"{trials} stopped early in {stopped[0].parent}: the runs that finished are the better "
        f"ones, so means over them are too high and no fair comparison; compare settings in a "
        f"sweep without early_terminate"
    )


def _dropped(folder: RunFolder) -> bool:
    return not folder.summary.is_file() and folder.dropped.is_file()


def _dropped_message(dropped: list[Path]) -> str:
    """One line where trials were dropped with their sets: those that remain are a selection."""
    trials = "1 trial was"
    if len(dropped) > 1:
        trials = f"{len(dropped)} trials were"
    record = _mapping(RunFolder(dropped[0]).dropped, json.loads)
    why = record.get("rejected") or "the quality report rejects the generated set"
    return (
        f"{trials} dropped in {dropped[0].parent}, the first because {why}: the runs with "
        f"generated images are those whose sets pass, so means over them say nothing of a "
        f"generator that makes rejected sets as well"
    )


def _failure(failed: list[Path]) -> str:
    """One line for the trials of a sweep that left an error instead of a result."""
    error = _mapping(RunFolder(failed[0]).failure, json.loads).get("error") or "unknown error"
    message = " ".join(str(error).split())
    trials = "1 trial failed"
    if len(failed) > 1:
        trials = f"{len(failed)} trials failed, the first"
    return (
        f"{trials} in {failed[0]}: {message}; mend it, and the same `semiseg sweep` command tries "
        f"again"
    )


def _nothing(
    roots: list[Path],
    problems: list[str],
) -> UserError:
    where = ", ".join(map(str, roots))
    if problems:
        left_out = f"({len(problems)} left out, the first: {problems[0]})"
        return UserError(f"{where}: no finished run here {left_out}")
    *names, last = RESULTS
    return UserError(
        f"{where}: no finished run here; a run folder holds {', '.join(names)} and {last}"
    )


def _read(folder: RunFolder, layouts: list[Layout]) -> Run:
    for name in RESULTS:
        if not (folder.path / name).is_file():
            raise UserError(
                "missing",
                where=folder.path / name,
                remedy="run the same `semiseg train` command again to finish this run",
            )
    config = _mapping(folder.config, safe_yaml.content_of, CONFIG_SHAPE)
    lacking = [name for name in COMPARED if name not in config]
    if lacking:
        raise UserError(
            f"does not say {', '.join(lacking)}", where=folder.config, remedy=TRAIN_AGAIN
        )
    summary = _mapping(folder.summary, json.loads, SUMMARY_SHAPE)
    if summary.get("status", "finished") != "finished":
        raise UserError(
            f"status is {summary['status']!r}",
            where=folder.summary,
            remedy="run the same command again to finish this run",
        )
    env: dict[str, Any] = {}
    if folder.environment.is_file():
        env = _mapping(folder.environment, json.loads, ENVIRONMENT_SHAPE)
    scores = read_scores(folder.scores, layouts, frozenset(summary.get(REGIONS) or ()))
    run = Run(
        folder.path,
        str(summary.get("run") or folder.name),
        config,
        summary,
        env,
        scores,
    )
    try:
        _ = run.order
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"labels, seed, steps or ratio is missing or no number ({error})", where=folder.config
        ) from None
    return run


def _mapping(
    file: Path,
    parse: Callable[[str], Any],
    shape: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    try:
        value = parse(file.read_text(encoding="utf-8"))
    except Exception as error:  # yaml, json, unicode and the file system each have their own
        lines = str(error).splitlines() or [type(error).__name__]
        raise UserError(
            f"cannot be read ({lines[0]})", where=file, remedy="train this run again"
        ) from None
    if not isinstance(value, dict):
        raise UserError(
            "should be a mapping of names to values", where=file, remedy="train this run again"
        )
    check_shape(value, shape or {}, file, "train this run again")
    return value


# ------------------------------------------------------------------ results.csv
def _read_results(file: Path) -> list[Run]:
    """The runs of a results.csv, with the subjects' scores beside it if there are any."""
    runs = [_averaged(file, name, rows) for name, rows in results_csv.read(file).items()]
    return scores_csv.attach(file, runs)


def _averaged(
    file: Path,
    name: str,
    of_run: RunRows,
) -> Run:
    """A run whose only subject is :data:`~semiseg.analysis.scores.MEAN_OF_ALL`."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in of_run.rows]
    first = rows[0]
    config = {
        "data": first["data"],
        "method": {"name": first["method"]},
        "net": {"name": first["net"]},
        "init": {"name": of_run.init.get("init", "none")},
    }
    config |= {key: first[key] for key in ("labels", "label_subset", "seed", "ratio", "steps")}
    config |= {key: of_run.init[key] for key in FOLD_COLUMNS if key in of_run.init}
    means = [row for row in rows if row["class"] == MEAN]
    axes: list[dict[str, int]] = []
    at: list[np.ndarray] = []
    for column in ("split", "checkpoint", "metric"):
        axis: dict[str, int] = {}
        at.append(indices((row[column] for row in means), axis))
        axes.append(axis)
    value = np.full([*(len(axis) for axis in axes), 1, 1], np.nan)
    present = np.zeros(value.shape[:4], dtype=bool)
    value[..., 0, 0][tuple(at)] = [row["mean"] for row in means]
    present[..., 0][tuple(at)] = True
    scores = Scores(
        (*axes, {MEAN: 0}, {MEAN_OF_ALL: 0}),
        {},
        value,
        present,
    )
    return Run(
        file,
        name,
        config,
        of_run.init,
        {},
        scores,
        tuple(of_run.rows),
    )


# ------------------------------------------------------------------ names and copies
def _unique_names(runs: list[Run]) -> list[Run]:
    """Name runs of one name by their folders below the common parent: in results.csv they would be
    one run.
    """
    number_of = Counter(run.name for run in runs)
    if len(number_of) == len(runs):
        return runs
    paths = [run.path.resolve() for run in runs]
    parent = Path(os.path.commonpath([path.parent for path in paths]))
    unique = []
    for run, path in zip(runs, paths, strict=True):
        if number_of[run.name] > 1:
            run = dataclasses.replace(run, name=path.relative_to(parent).as_posix())
        unique.append(run)
    return unique


def _identity(run: Run) -> str:
    """What copies of a run have in common."""
    if run.table is not None:
        return run.name
    settings = {key: value for key, value in run.settings.items() if key not in BOOKKEEPING}
    return json.dumps(settings, sort_keys=True, default=str)


def _finished(run: Run) -> tuple[float, str]:
    """When a run finished; its name decides if two finished at once."""
    return run.folder.summary.stat().st_mtime, run.name


def _copies_message(several: list[list[Run]]) -> str:
    pairs = []
    for *earlier, last in several[:2]:
        pairs.append(f"{last.path}, not {', '.join(str(run.path) for run in earlier)}")
    more = f"; and {len(several) - 2} more" if len(several) > 2 else ""
    number = "1 run is" if len(several) == 1 else f"{len(several)} runs are"
    return (
        f"{number} there more than once (same data, settings, label subset and seed); the copy "
        f"that finished last counts: {'; '.join(pairs)}{more}"
    )
