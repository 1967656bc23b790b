"""From run folders to numbers: the first stage after training, and the only reader of what a run
leaves behind.

A run folder (``config.yaml``, ``summary.json``, ``per_subject.csv``, ``metrics.jsonl`` …) becomes a
:class:`Run` whose scores are one small dense array; many become :class:`Runs`, a sequence with
tables on it. Nothing here is ever unpickled, and nothing heavier than numpy is imported before a
table is asked for.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from semiseg.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("semiseg")

COLUMNS = (
    "run",
    "data",
    "method",
    "net",
    "labels",
    "label_subset",
    "seed",
    "ratio",
    "steps",
    "split",
    "checkpoint",
    "class",
    "metric",
    "mean",
    "n_subjects",
)
"""Columns of results.csv: a contract, other people's scripts depend on it."""
INIT_COLUMNS = ("init", "total_steps", "seconds_init")
"""Columns after these, in a results.csv of which a run began with other weights than random ones;
without them every run began at random.
"""

SUBJECT_COLUMNS = ("run", "split", "checkpoint", "subject", "class", "metric", "value", "unit")
MEAN = "mean"
MEAN_OF_ALL = "(mean of all)"
"""Stands for the subjects of a run of which a results.csv has the mean alone."""
"""Name of the pseudo-class that is the mean over foreground classes, taken per subject before
subjects are averaged.
"""

_NOT_FOREGROUND = {"0", "background", MEAN}
_MARKS = ("config.yaml", "summary.json", "per_subject.csv")
_FAILED = "error.json"
_LATER = {
    "synthetic_schedule": "constant",
    "synthetic_weight": 1.0,
    "synthetic_as": "labelled",
    "synthetic_softness": 0.5,
    "init.name": "none",
}
"""Fields that folders of earlier versions lack, and what they did: no treatment of their own."""
_SKIP = {"checkpoints", "wandb", "__pycache__"}
BOOKKEEPING = {
    "run",
    "name",
    "out",
    "root",
    "config",
    "resume",
    "tags",
    "notes",
    "wandb",
    "device",
    "log_every",
    "checkpoint_seconds",
}
"""Settings that do not change what a run is."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """Everything in a per_subject.csv: ``value[split, checkpoint, metric, class, subject]``, NaN
    where undefined or not measured.

    ``present`` (the first four axes) tells a measured but undefined score from one that nobody
    measured. Only foreground classes.
    """

    axes: tuple[dict[str, int], ...]
    units: dict[str, str]
    value: np.ndarray
    present: np.ndarray

    def __repr__(self) -> str:
        splits, checkpoints, metrics, classes, subjects = (list(axis) for axis in self.axes)
        return (
            f"Scores({splits} × {checkpoints} × {metrics} × {classes} × {len(subjects)} subjects)"
        )

    def row(
        self,
        metric: str,
        split: str,
        checkpoint: str,
        class_: str = MEAN,
        absolute: bool = False,
    ) -> np.ndarray | None:
        """``(S,)`` score of each subject of ``axes[4]``, NaN where undefined; None where nobody
        measured it.

        ``class_="mean"`` averages the classes in which the subject's score is defined; with
        ``absolute`` their absolute values.
        """
        splits, checkpoints, metrics, classes, _ = self.axes
        if (
            split not in splits
            or checkpoint not in checkpoints
            or metric not in metrics
            or (class_ != MEAN and class_ not in classes)
        ):
            return None
        values_KS = self.value[splits[split], checkpoints[checkpoint], metrics[metric]]
        if absolute:
            values_KS = np.abs(values_KS)
        return (
            values_KS[classes[class_]]
            if class_ != MEAN
            else values_KS[0]
            if len(values_KS) == 1
            else nanmean(values_KS, 0)
        )

    def per_subject(
        self, metric: str, split: str, checkpoint: str, class_: str = MEAN
    ) -> dict[str, float]:
        """Defined score of each subject of the split, see :meth:`row`."""
        row_S = self.row(metric, split, checkpoint, class_)
        return (
            {}
            if row_S is None
            else {subject: float(v) for subject, v in zip(self.axes[4], row_S) if v == v}
        )


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
      path: its folder.
      name: unique among the runs loaded together.
      config: config.yaml as nested dictionaries.
      summary: summary.json.
      env: env.json, empty where absent.
      scores: the per-subject scores; of a run from a results.csv the means alone, as if of one
        subject.
      table: the rows of a run from a results.csv, else None.
    """

    path: Path
    name: str
    config: dict[str, Any]
    summary: dict[str, Any]
    env: dict[str, Any]
    scores: Scores
    table: tuple[tuple[Any, ...], ...] | None = None

    def __repr__(self) -> str:
        scores = {
            f"{split} Dice": self.scores.per_subject("dice", split, "last")
            for split in self.scores.axes[0]
        }
        told = [
            f"{name} {np.mean(list(found.values())):.3f}" for name, found in scores.items() if found
        ]
        given = [
            self.data,
            self.method,
            f"{self.labels} labels",
            f"subset {self.label_subset}",
            f"seed {self.seed}",
            f"{self.steps} steps",
        ]
        return f"Run({self.name}: {', '.join(given + told)})"

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration with dotted names; no steps of a pre-training where there was none."""
        flat = _LATER | _flat(self.config)
        return (
            {key: value for key, value in flat.items() if key != "init_steps"}
            if flat["init.name"] == "none"
            else flat
        )

    @property
    def data(self) -> str:
        return _name(self.config.get("data", ""))

    @property
    def method(self) -> str:
        return _name(self.config.get("method", ""))

    @property
    def net(self) -> str:
        return _name(self.config.get("net", ""))

    @property
    def labels(self) -> int:
        """Annotated subjects the run was given; what was found in the store counts, where a budget
        asked for all.
        """
        return int(self.summary.get("subjects_labelled") or self.config["labels"])

    @property
    def label_subset(self) -> Any:
        return self.config.get("label_subset", 0)

    @functools.cached_property
    def annotated(self) -> frozenset[str] | None:
        """Names of the annotated subjects, None in folders and tables that do not tell."""
        names = self.summary.get("labelled_subjects")
        return frozenset(map(str, names)) if names else None

    @property
    def seed(self) -> int:
        return int(self.config.get("seed", 0))

    @property
    def ratio(self) -> float:
        return float(self.config.get("ratio") or 0)

    @property
    def source(self) -> str:
        """What its synthetic images are, for a set that was made on demand: ``spade``,
        ``duplicated`` …; "" for a set of one's own, and for none.
        """
        found = re.fullmatch(
            r"make:(.+)|made-(.+)-[0-9a-f]{12}", str(self.config.get("synthetic") or "")
        )
        return (found[1] or found[2]).replace("-", "_") if found and self.ratio else ""

    @property
    def steps(self) -> int:
        return int(self.config.get("steps", 0))

    @property
    def init(self) -> str:
        """What its weights began as: ``none`` (random), an objective, or the path of other weights."""
        return str(self.summary.get("init") or _name(self.config.get("init") or "none"))

    @property
    def total_steps(self) -> int:
        """Steps of the training and of what came before it."""
        return int(self.summary.get("total_steps") or self.steps)

    @property
    def seconds_init(self) -> float:
        """Of the pre-training, which runs of one folder that begin alike share; 0 for weights that
        do not tell.
        """
        return float(self.summary.get("seconds_init") or 0)

    def metrics(self) -> pd.DataFrame:
        """metrics.jsonl, one row per logged step; values logged at some steps only are NaN at the
        others.
        """
        import pandas as pd

        return pd.DataFrame(self.log())

    def log(self) -> list[dict[str, Any]]:
        """metrics.jsonl as dictionaries. Raises UserError naming the line that cannot be read."""
        file = self.path / "metrics.jsonl"
        if not file.exists():
            return []
        lines = []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                lines.append(json.loads(line))
            except ValueError:
                raise UserError(
                    f"{file}: line {number} is not JSON; resume the run, or delete the folder "
                    f"and train again"
                ) from None
        return lines

    def end(self) -> dict[str, float]:
        """The last value of everything that metrics.jsonl logs, from its last 16 KiB: a long log
        costs as little as a short one.
        """
        file = self.path / "metrics.jsonl"
        if not file.exists():
            return {}
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - 16384))  # a line of 30 classes has 7 KiB
            lines = log.read().decode(errors="replace").splitlines()
        found: dict[str, float] = {}
        for line in lines:
            try:
                found |= {
                    key: value
                    for key, value in json.loads(line).items()
                    if isinstance(value, (int, float))
                }
            except (
                ValueError,
                AttributeError,
            ):  # the first line is cut, and so is the last of a killed run
                continue
        return found

    def per_subject(self) -> pd.DataFrame:
        """per_subject.csv as it is, NaN where a score is undefined."""
        import pandas as pd

        text = dict.fromkeys(SUBJECT_COLUMNS, str) | {"value": float}
        frame = pd.read_csv(
            self.path / "per_subject.csv",
            dtype=text,
            keep_default_na=False,
            na_values={"value": ["", "nan", "NaN"]},
        )
        return frame.assign(run=self.name)

    def examples(self) -> dict[str, np.ndarray] | None:
        """Arrays of examples.npz (image, label, prediction, subject, dice), or None where the run
        kept none.
        """
        file = self.path / "examples.npz"
        if not file.exists():
            return None
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {
                    key: archive[key] for key in ("image", "label", "prediction", "subject", "dice")
                }
        except Exception as error:  # zipfile, zlib and numpy each have their own
            raise UserError(
                f"{file}: cannot be read ({type(error).__name__}); delete it, or run `semiseg "
                f"evaluate` again"
            ) from None

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Rows of results.csv, in the order of :data:`COLUMNS`."""
        if self.table is not None:
            yield from self.table
            return
        factors = (
            self.name,
            self.data,
            self.method,
            self.net,
            self.labels,
            self.label_subset,
            self.seed,
            self.ratio,
            self.steps,
        )
        splits, checkpoints, metrics, classes, _ = self.scores.axes
        value, present = self.scores.value, self.scores.present
        with_mean = np.concatenate([nanmean(value, 3)[:, :, :, None], value], axis=3)
        mean, count = nanmean(with_mean, 4), (~np.isnan(with_mean)).sum(4)
        measured = np.concatenate([present.any(3, keepdims=True), present], axis=3)
        names = [list(axis) for axis in (splits, checkpoints, metrics)] + [[MEAN, *classes]]
        for at in np.argwhere(measured).tolist():
            split, checkpoint, metric, class_ = (axis[i] for axis, i in zip(names, at))
            yield (
                *factors,
                split,
                checkpoint,
                class_,
                metric,
                float(mean[tuple(at)]),
                int(count[tuple(at)]),
            )


class Runs(Sequence[Run]):
    """Runs in a fixed order (data, method, net, labels, subset, seed, ratio, name), whatever order
    the folders were given in.

    ``problems`` holds the one-line reasons of the folders that were left out.
    """

    def __init__(self, runs: Iterable[Run], problems: Sequence[str] = ()):
        self._runs = sorted(runs, key=_order)
        self.problems = list(problems)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        return (
            Runs(self._runs[index], self.problems)
            if isinstance(index, slice)
            else self._runs[index]
        )

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return (
            f"Runs({len(self)} runs: {', '.join(sorted({f'{r.data}/{r.method}' for r in self}))})"
        )

    def where(self, **factors: Any) -> Runs:
        """The runs whose attributes have these values, e.g. ``runs.where(method="supervised",
        labels=8)``.
        """
        return Runs(
            [
                run
                for run in self
                if all(getattr(run, key) == value for key, value in factors.items())
            ],
            self.problems,
        )

    def matrix(
        self, metric: str = "dice", split: str = "val", checkpoint: str = "last", class_: str = MEAN
    ) -> tuple[list[str], np.ndarray]:
        """``(subjects, values_RS)``: one row a run, one column a subject of any run; NaN where
        undefined or not scored.
        """
        return matrix(self, metric, split, checkpoint, class_)

    @property
    def columns(self) -> tuple[str, ...]:
        """Of results.csv: :data:`COLUMNS`, and :data:`INIT_COLUMNS` where a run did not begin at
        random.
        """
        return COLUMNS + INIT_COLUMNS if any(run.init != "none" for run in self) else COLUMNS

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        wide = len(self.columns) > len(COLUMNS)
        for run in self:
            begun = (run.init, run.total_steps, run.seconds_init) if wide else ()
            yield from ((*row, *begun) for row in run.rows())

    def to_pandas(self) -> pd.DataFrame:
        """One row per run × split × checkpoint × class × metric, with exactly the columns of
        results.csv (:attr:`columns`).
        """
        import pandas as pd

        return pd.DataFrame(list(self._rows()), columns=list(self.columns))

    def per_subject(self) -> pd.DataFrame:
        """Every per_subject.csv in one long frame."""
        import pandas as pd

        return pd.concat([run.per_subject() for run in self], ignore_index=True)

    def write_csv(self, file: str | Path) -> Path:
        """Write results.csv: the same runs give the same bytes, in whatever order they were found.
        Undefined means are empty.
        """
        file = Path(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows([_cell(v) for v in row] for row in self._rows())
        return file


def matrix(
    runs: Sequence[Run],
    metric: str = "dice",
    split: str = "val",
    checkpoint: str = "last",
    class_: str = MEAN,
    absolute: bool = False,
) -> tuple[list[str], np.ndarray]:
    """:meth:`Runs.matrix` of runs in any order; with ``absolute`` of absolute values."""
    place: dict[str, int] = {}
    columns: dict[
        int, np.ndarray
    ] = {}  # runs of one sweep share their axes, and names are looked up once
    for subjects in (run.scores.axes[4] for run in runs):
        if id(subjects) not in columns:
            columns[id(subjects)] = np.array(
                [place.setdefault(s, len(place)) for s in subjects], dtype=np.intp
            )
    values_RS = np.full((len(runs), len(place)), np.nan)
    for r, run in enumerate(runs):
        row_S = run.scores.row(metric, split, checkpoint, class_, absolute)
        if row_S is not None:
            values_RS[r, columns[id(run.scores.axes[4])]] = row_S
    defined = ~np.isnan(values_RS).all(0)
    kept = [subject for subject in sorted(place) if defined[place[subject]]]
    return kept, values_RS[:, [place[subject] for subject in kept]]


def once(runs: Runs) -> Runs:
    """The runs, but of those of the same settings, label subset and seed, which are one run in
    several folders, only the one that finished last.

    What is left out is told among the problems, in one line.
    """
    copies: dict[str, list[Run]] = {}
    for run in runs:
        told = {key: value for key, value in run.settings.items() if key not in BOOKKEEPING}
        copies.setdefault(
            run.name if run.table is not None else json.dumps(told, sort_keys=True, default=str), []
        ).append(run)
    several = [sorted(found, key=_finished) for found in copies.values() if len(found) > 1]
    if not several:
        return runs
    left = {id(run) for found in several for run in found[:-1]}
    shown = "; ".join(
        f"{found[-1].path}, not {', '.join(str(run.path) for run in found[:-1])}"
        for found in several[:2]
    )
    more = f"; and {len(several) - 2} more" if len(several) > 2 else ""
    n = f"{len(several)} run{' is' if len(several) == 1 else 's are'}"
    problem = (
        f"{n} there more than once (same data, settings, label subset and seed); the copy "
        f"that finished last counts: {shown}{more}"
    )
    log.warning("%s", problem)
    return Runs([run for run in runs if id(run) not in left], [*runs.problems, problem])


def load_runs(folders: str | Path | Iterable[str | Path]) -> Runs:
    """Load every finished run in a folder, or in several, however deep; or those of a results.csv,
    which holds a mean per run (and no subjects, unless NAME_subjects.csv stands beside NAME.csv).

    A broken or unfinished run is left out with one warning line that names the file, failed trials
    with one line in all. Raises UserError where no run is left.
    """
    roots = (
        [Path(folders)] if isinstance(folders, (str, os.PathLike)) else [Path(f) for f in folders]
    )
    found: dict[Path, Path] = {}
    runs, problems = [], []
    for root in roots:
        if root.is_file() and root.suffix == ".csv":
            runs += _read_results(root)
            continue
        if not root.is_dir():
            raise UserError(
                f"{root}: no such folder; name the --out of `semiseg train`, `semiseg sweep` or "
                f"`semiseg demo`"
            )
        for folder in _find(root):
            found.setdefault(folder.resolve(), folder)
    layouts: list[_Layout] = []
    failed = [
        folder
        for folder in found.values()
        if not (folder / "summary.json").is_file() and (folder / _FAILED).is_file()
    ]
    if failed:
        problems.append(_failure(failed))
        log.warning("left out: %s", problems[0])
    for folder in found.values():
        if folder in failed:
            continue
        try:
            runs.append(_read(folder, layouts))
        except UserError as error:
            problems.append(str(error))
            log.warning("run left out: %s", error)
    if not runs:
        where = ", ".join(map(str, roots))
        raise UserError(
            f"{where}: no finished run here"
            + (
                f" ({len(problems)} left out, the first: {problems[0]})"
                if problems
                else "; a run folder holds config.yaml, summary.json and per_subject.csv"
            )
        )
    return Runs(_unique_names(runs), sorted(problems))


# ------------------------------------------------------------------ reading
def _find(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        if any(mark in files for mark in (*_MARKS, _FAILED)):
            below.clear()
            yield Path(folder)
        below[:] = sorted(name for name in below if name not in _SKIP and not name.startswith("."))


def _failure(failed: list[Path]) -> str:
    """Trials of a sweep that left an error instead of a result, in one line."""
    told = _mapping(failed[0] / _FAILED, json.loads).get("error") or "unknown error"
    n = "1 trial" if len(failed) == 1 else f"{len(failed)} trials"
    first = "" if len(failed) == 1 else ", the first"
    return (
        f"{n} failed{first} in {failed[0]}: {' '.join(str(told).split())}; mend it, and the "
        f"same `semiseg sweep` command tries again"
    )


def _read(folder: Path, layouts: list[_Layout]) -> Run:
    for mark in _MARKS:
        if not (folder / mark).is_file():
            raise UserError(
                f"{folder / mark}: missing; run the same `semiseg train` command again to finish "
                f"this run"
            )
    config = _mapping(folder / "config.yaml", _yaml)
    summary = _mapping(folder / "summary.json", json.loads)
    if summary.get("status", "finished") != "finished":
        raise UserError(
            f"{folder / 'summary.json'}: status is {summary['status']!r}; run the same command "
            f"again to finish this run"
        )
    env = _mapping(folder / "env.json", json.loads) if (folder / "env.json").is_file() else {}
    run = Run(
        folder,
        str(summary.get("run") or folder.name),
        config,
        summary,
        env,
        _scores(folder / "per_subject.csv", layouts),
    )
    try:
        _order(run)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / 'config.yaml'}: labels, seed, steps or ratio is missing or no number "
            f"({error})"
        ) from None
    return run


def _read_results(file: Path) -> list[Run]:
    """The runs of a results.csv."""
    by_run: dict[str, list[tuple[Any, ...]]] = {}
    begun: dict[str, dict[str, Any]] = {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.reader(lines)
            if tuple(header := next(reader, [])) not in (COLUMNS, COLUMNS + INIT_COLUMNS):
                raise UserError(
                    f"{file}: the header should be {','.join(COLUMNS)}; write it with `semiseg "
                    f"report`"
                )
            for row in reader:
                if len(row) != len(header):
                    raise ValueError(f"{len(row)} fields for {len(header)} columns")
                (
                    name,
                    data,
                    method,
                    net,
                    labels,
                    subset,
                    seed,
                    ratio,
                    steps,
                    split,
                    checkpoint,
                    class_,
                    metric,
                    mean,
                    count,
                    *before,
                ) = row
                if before:
                    begun[name] = {
                        "init": before[0],
                        "total_steps": int(before[1]),
                        "seconds_init": float(before[2]),
                    }
                factors = (
                    name,
                    data,
                    method,
                    net,
                    int(labels),
                    int(subset) if subset.isdigit() else subset,
                    int(seed),
                    float(ratio),
                    int(steps),
                )
                by_run.setdefault(name, []).append(
                    (
                        *factors,
                        split,
                        checkpoint,
                        class_,
                        metric,
                        float(mean) if mean else np.nan,
                        int(count),
                    )
                )
    except (ValueError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: line {reader.line_num} cannot be read ({error}); write it again with "
            f"`semiseg report`"
        ) from None
    from semiseg.analysis.scores_csv import attach

    return attach(
        file, [_averaged(file, rows, begun.get(name, {})) for name, rows in by_run.items()]
    )


def _averaged(file: Path, rows: list[tuple[Any, ...]], begun: dict[str, Any]) -> Run:
    name, data, method, net, labels, subset, seed, ratio, steps = rows[0][:9]
    config = {
        "data": data,
        "method": {"name": method},
        "net": {"name": net},
        "labels": labels,
        "label_subset": subset,
        "seed": seed,
    }
    axes: tuple[dict[str, int], ...] = ({}, {}, {}, {MEAN: 0}, {MEAN_OF_ALL: 0})
    means = [row for row in rows if row[11] == MEAN]
    for row in means:
        for axis, key in zip(axes, (row[9], row[10], row[12])):
            axis.setdefault(key, len(axis))
    value = np.full([len(axis) for axis in axes], np.nan)
    present = np.zeros(value.shape[:4], dtype=bool)
    for row in means:
        at = axes[0][row[9]], axes[1][row[10]], axes[2][row[12]], 0
        value[(*at, 0)], present[at] = row[13], True
    return Run(
        file,
        name,
        config | {"ratio": ratio, "steps": steps, "init": {"name": begun.get("init", "none")}},
        begun,
        {},
        Scores(axes, {}, value, present),
        tuple(rows),
    )


def _mapping(file: Path, parse: Any) -> dict[str, Any]:
    try:
        value = parse(file.read_text(encoding="utf-8"))
    except Exception as error:  # yaml, json, unicode and the file system each have their own
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file}: cannot be read ({first}); train this run again") from None
    if not isinstance(value, dict):
        raise UserError(f"{file}: should be a mapping of names to values; train this run again")
    return value


def _yaml(text: str) -> Any:
    import yaml

    return yaml.load(
        text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )  # the C loader is ten times as fast, and as safe


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where the rows of a per_subject.csv go: the runs of a sweep all have the same rows, so that
    their names are looked up once.

    ``columns`` has what is not a score: split, checkpoint, subject, class, metric, unit; ``kept``
    the rows that are foreground.
    """

    columns: list[list[str]]
    kept: np.ndarray
    at: tuple[np.ndarray, ...]
    axes: tuple[dict[str, int], ...]
    units: dict[str, str]
    present: np.ndarray


def _scores(file: Path, layouts: list[_Layout]) -> Scores:
    """Read a per_subject.csv into one dense array; ``layouts`` are those of other runs, and grow."""
    columns, values = _columns(file)
    layout = next((known for known in layouts if known.columns == columns), None)
    if layout is None:
        kept = np.array([class_ not in _NOT_FOREGROUND for class_ in columns[3]], dtype=bool)
        if not kept.any():
            raise UserError(f"{file}: has no scores; evaluate this run again")
        axes: tuple[dict[str, int], ...] = ({}, {}, {}, {}, {})
        named = [columns[k] for k in (0, 1, 4, 3, 2)]  # split, checkpoint, metric, class, subject
        at = tuple(
            np.array([axis.setdefault(key, len(axis)) for key, k in zip(names, kept) if k], np.intp)
            for axis, names in zip(axes, named)
        )
        present = np.zeros([len(axis) for axis in axes[:4]], dtype=bool)
        present[at[:4]] = True
        layout = _Layout(
            columns,
            kept,
            at,
            axes,
            {metric: unit for metric, unit, k in zip(columns[4], columns[5], kept) if k},
            present,
        )
        layouts.append(layout)
    dense = np.full([len(axis) for axis in layout.axes], np.nan)
    dense[layout.at] = np.array(values)[layout.kept]
    return Scores(layout.axes, layout.units, dense, layout.present)


def _columns(file: Path) -> tuple[list[list[str]], list[float]]:
    """The columns split, checkpoint, subject, class, metric and unit of a per_subject.csv, and its
    scores.
    """
    wide = len(SUBJECT_COLUMNS)
    try:
        text = file.read_text(encoding="utf-8")
        fields = text.replace("\n", ",").split(
            ","
        )  # twice as fast as the csv module, where nothing is quoted and no row is odd
        whole = (
            '"' not in text
            and len(fields) % wide == 1
            and tuple(fields[:wide]) == SUBJECT_COLUMNS
            and len(set(fields[wide:-1:wide])) == 1
        )
        if whole:
            return [fields[wide + k : -1 : wide] for k in (1, 2, 3, 4, 5, 7)], [
                float(v) if v else np.nan for v in fields[wide + 6 : -1 : wide]
            ]
    except ValueError:  # below it is named with its line
        pass
    columns: list[list[str]] = [[] for _ in range(6)]
    values: list[float] = []
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.reader(lines)
            if tuple(next(reader, [])) != SUBJECT_COLUMNS:
                raise UserError(
                    f"{file}: the header should be {','.join(SUBJECT_COLUMNS)}; evaluate this "
                    f"run again"
                )
            for row in reader:
                _, split, checkpoint, subject, class_, metric, value, unit = row
                values.append(float(value) if value else np.nan)
                for column, key in zip(columns, (split, checkpoint, subject, class_, metric, unit)):
                    column.append(key)
    except (ValueError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: line {len(values) + 2} cannot be read ({error}); evaluate this run again"
        ) from None
    return columns, values


def _unique_names(runs: list[Run]) -> list[Run]:
    """Two runs of one name would be one run in results.csv: name them by their folders below the
    common parent instead.
    """
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return runs
    paths = [run.path.resolve() for run in runs]
    parent = Path(os.path.commonpath([p.parent for p in paths]))
    return [
        run
        if names.count(run.name) == 1
        else dataclasses.replace(run, name=path.relative_to(parent).as_posix())
        for run, path in zip(runs, paths)
    ]


def _finished(run: Run) -> tuple[float, str]:
    """When, and by name where two finished at once."""
    return (run.path / "summary.json").stat().st_mtime, run.name


def _order(run: Run) -> tuple[Any, ...]:
    return (
        run.data,
        run.method,
        run.net,
        run.labels,
        str(run.label_subset),
        run.seed,
        run.ratio,
        run.steps,
        run.name,
    )


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return flat


def _name(value: Any) -> str:
    return str(value.get("name", "")) if isinstance(value, dict) else str(value)


def _cell(value: Any) -> Any:
    return ("" if np.isnan(value) else f"{value:.6g}") if isinstance(value, float) else value


def nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """nanmean that is quiet, and NaN, where nothing is defined."""
    defined = ~np.isnan(values)
    count = defined.sum(axis)
    return np.where(
        count > 0, np.where(defined, values, 0).sum(axis) / np.maximum(count, 1), np.nan
    )
