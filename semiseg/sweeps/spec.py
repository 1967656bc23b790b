"""A sweep file becomes a plan: which trials there are, or from which distributions a search draws
them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semiseg import config, plugins
from semiseg.config import Trial
from semiseg.config.presets import naming_preset
from semiseg.errors import UnknownField, UserError
from semiseg.sweeps.distributions import choices, distribution, number, sample, short_name

FILE_KEYS = {
    "method",
    "parameters",
    "name",
    "project",
    "entity",
    "program",
    "command",
    "metric",
    "description",
    "preset",
    "early_terminate",
    "run_cap",
    "plugin",
    "plugins",
}
METHODS = ("grid", "random", "bayes")
MOST_TRIALS = 100_000
"""Trials of a sweep; they are counted before one is made."""
IGNORED_FIELDS = {"out", "track", "quiet", "test"}
"""Parameters that are flags of ``semiseg train`` and no field of a trial: a W&B agent needs them, a
sweep of ours has its own.
"""
GAN = "gan."
"""Begins the names of what is said of the generator behind ``synthetic: make:…``, see
:func:`semiseg.generators.ratio.resolved`.
"""


@dataclasses.dataclass(frozen=True)
class EarlyStop:
    """W&B's ``early_terminate: {type: hyperband}``: at the rungs a trial goes on only if it is
    among the best 1/eta there (Li et al., JMLR 18(185), 2018, in the asynchronous form of Li et
    al., MLSys 2020). An iteration is a validation.
    """

    rungs: tuple[int, ...]
    eta: float


@dataclasses.dataclass(frozen=True, eq=False)  # by identity, so that its trials are made once
class Spec:
    """A sweep as read from its file.

    Attributes:
      where: the file, for messages.
      method: grid, random or bayes.
      parameters: dotted name → its leaf, e.g. ``{"values": [1, 2]}`` or ``{"min": 0, "max": 1}``.
      cap: how many trials a random or bayes sweep has.
      metric, maximise: what bayes and early stopping look at: a metric of summary.json on the
        validation split.
      early: when to stop hopeless trials.
      preset: published recipe that all trials start from.
      source: the file's content.
      gan: how the generators behind ``make:…`` are fitted, the same for all trials.
    """

    where: str
    method: str
    parameters: dict[str, dict[str, Any]]
    cap: int
    metric: str
    maximise: bool
    early: EarlyStop | None
    preset: str | None
    source: dict[str, Any]
    gan: dict[str, Any] = dataclasses.field(default_factory=dict)

    def trial(self, point: Mapping[str, Any]) -> Trial:
        """The trial at a point; UserError for an unknown field or a wrong value."""
        method = str(point.get("method", "supervised"))
        start = config.preset(self.preset, method) if self.preset else Trial()
        changes = {name: value for name, value in point.items() if name not in IGNORED_FIELDS}
        with naming_preset(self.preset, method, point), self._naming_methods():
            trial = config.override(start, changes, self.where)
            config.check_volumes(trial, self.where)
        config.check_synthetic(trial, self.where)
        if trial.folds and self.early:
            raise UserError(
                "early_terminate needs validations, and a fold is scored once, at the end",
                where=self.where,
                remedy="leave it out, or search without folds",
                field="early_terminate",
            )
        return trial

    @contextlib.contextmanager
    def _naming_methods(self) -> Iterator[None]:
        """A field that some of the sweep's methods lack is missed by one of them: to choose another
        is no remedy.
        """
        try:
            yield
        except UnknownField as error:
            fields: set[str] = set()
            for method in self.parameters.get("method", {}).get("values", ()):
                fields.update(f"method.{name}" for name in _fields_of(str(method)))
            if error.field not in fields:
                raise
            raise UserError(
                error.what,
                where=error.where,
                remedy="what only some of a sweep's methods have goes into a grid of their own",
                field=error.field,
            ) from None


def _fields_of(method: str) -> list[str]:
    """Names of the fields of a method; none for a name that there is not."""
    if method not in config.CHOICES["method"]:
        return []
    return [field.name for field in dataclasses.fields(config.make("method", method))]


def read(sweep: str | Path | Mapping[str, Any], count: int | None = None) -> Spec:
    """Read a sweep in W&B's schema; ``count`` replaces its ``run_cap``.

    Raises:
      UserError: an unknown key, distribution or method, in one line that names the file.
    """
    if isinstance(sweep, Mapping):
        where = "sweep"
        source = dict(sweep)
    else:
        where = str(sweep)
        source = config.load_yaml(sweep)
    _check_keys(source, where)
    method = source.get("method", "grid")
    if method not in METHODS:
        raise UserError(f"{where}: method is {method!r}: choose one of {', '.join(METHODS)}")
    if source.get("preset") is not None and not isinstance(source["preset"], str):
        raise UserError(f"preset is {source['preset']!r}: it must be a name", where=where)
    leaves = _leaves(source.get("parameters") or {}, where)
    parameters = {name: leaf for name, leaf in leaves.items() if not name.startswith(GAN)}
    gan = {name: leaf for name, leaf in leaves.items() if name.startswith(GAN)}
    generator = _gan(gan, where)
    if not parameters:
        raise UserError(f"{where}: has no parameters to vary")
    cap = source.get("run_cap")
    if cap is not None and not (type(cap) is int and 0 < cap <= MOST_TRIALS):
        raise UserError(
            f"run_cap is {cap!r}: it must be a whole number from 1 to {MOST_TRIALS:,}", where=where
        )
    if count is not None:
        cap = count
    if method != "grid" and not (isinstance(cap, int) and cap > 0):
        raise UserError(
            f"{where}: a {method} sweep never ends by itself: give run_cap: N in the file, or "
            f"--count N"
        )
    metric, maximise = _metric(source.get("metric"), where)
    return Spec(
        where,
        method,
        parameters,
        cap or 0,
        metric,
        maximise,
        _early(source.get("early_terminate"), where),
        source.get("preset"),
        source,
        generator,
    )


def load_plugins(sweep: str | Path | Mapping[str, Any]) -> list[Path]:
    """Import the plug-ins that a sweep file names, one or a list, relative to its folder.

    Only those who run a sweep call this: :func:`read` imports nothing.

    Returns:
      Their paths.

    Raises:
      UserError: there is no such plug-in, or an error in it.
    """
    if isinstance(sweep, Mapping):
        source: Mapping[str, Any] = sweep
        folder = Path()
    else:
        source = config.load_yaml(sweep)
        folder = Path(sweep).parent
    named = source.get("plugin") or []
    if isinstance(named, str):
        named = [named]
    paths = [folder / Path(str(path)).expanduser() for path in named]
    return [plugins.load_plugin(path).path for path in paths]


def _check_keys(source: Mapping[str, Any], where: str) -> None:
    """Refuse a key that a sweep file does not have."""
    for key in source:
        if key in FILE_KEYS:
            continue
        near = difflib.get_close_matches(str(key), FILE_KEYS, 1)
        hint = f"a sweep has {', '.join(sorted(FILE_KEYS))}"
        if near:
            hint = f"did you mean {near[0]!r}?"
        raise UserError(f"{where}: does not know {key!r}; {hint}")


def trials(
    sweep: str | Path | Mapping[str, Any] | Spec, count: int | None = None
) -> dict[str, Trial]:
    """The trials of a grid or random sweep by the name of their run folder, in the file's order; a
    bayes sweep has none before it runs.

    ``parameters`` maps dotted names to ``{"value": v}``, ``{"values": [...]}``, a distribution or
    ``{"parameters": {...}}`` (nested). A random sweep's i-th trial is drawn from a generator seeded
    by i, so that it is the same whenever and wherever it is run.
    """
    if not isinstance(sweep, Spec):
        sweep = read(sweep, count)
    return dict(_trials(sweep))


@functools.lru_cache(4)
def _trials(spec: Spec) -> dict[str, Trial]:
    return {name: spec.trial(point) for name, point in points(spec).items()}


def points(spec: Spec) -> dict[str, dict[str, Any]]:
    """The parameters of each trial of a grid or random sweep, by name, as its file says them:
    unlike trials they cost nothing to make.
    """
    if spec.method == "bayes":
        return {}
    if spec.method == "random":
        return {f"trial{i:03d}": draw(spec, i) for i in range(spec.cap)}
    axes = {name: choices(name, leaf, spec.where) for name, leaf in spec.parameters.items()}
    size = math.prod(map(len, axes.values()))
    if size > MOST_TRIALS:
        raise UserError(
            f"is a grid of {size:,} trials, and {MOST_TRIALS:,} are the most",
            where=spec.where,
            remedy="vary less, or use method: random with run_cap",
        )
    varied = [name for name, values in axes.items() if len(values) > 1]
    mixing = [name for name in varied if name.startswith("synthetic")]
    by_name: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        naming = varied
        # a trial that draws no synthetic image serves all sets and ways to use them
        unmixed = mixing and point.get("ratio", 1) in (0, "0")
        if unmixed:
            naming = [name for name in varied if name not in mixing]
        name = short_name("-".join(_word(field, point[field]) for field in naming) or "run")
        if unmixed and name in by_name:
            continue
        if name in by_name:  # 0.10 and 0.1, or lists that are spelt alike
            name = f"{name}-{len(by_name)}"
        by_name[name] = point
    return dict(itertools.islice(by_name.items(), spec.cap or None))


def draw(spec: Spec, index: int) -> dict[str, Any]:
    """The point of a random sweep's trial."""
    rng = np.random.default_rng([20, index])
    return {name: sample(name, leaf, rng, spec.where) for name, leaf in spec.parameters.items()}


# ------------------------------------------------------------------ what a file says
def _leaves(
    parameters: Mapping[str, Any], where: str, prefix: str = ""
) -> dict[str, dict[str, Any]]:
    leaves: dict[str, dict[str, Any]] = {}
    if not isinstance(parameters, Mapping):
        raise UserError(f"{prefix}parameters must map names to their values", where=where)
    for name, given in parameters.items():
        if not isinstance(given, Mapping):
            raise UserError(
                f"{where}: {prefix}{name} needs `value:`, `values:`, `min:` and `max:`, or "
                f"`parameters:`"
            )
        if not isinstance(name, str) or not name.isprintable() or not name:
            raise UserError(f"{name!r} is no name of a parameter", where=where)
        if "parameters" in given:
            leaves |= _leaves(given["parameters"], where, f"{prefix}{name}.")
            continue
        leaves[prefix + name] = dict(given)
        distribution(prefix + name, given, where)
    return leaves


def _gan(leaves: Mapping[str, Mapping[str, Any]], where: str) -> dict[str, Any]:
    """What is said of the generators, without the prefix; a trial's own fields decide what they are
    fitted on.
    """
    varied = next((name for name, leaf in leaves.items() if "value" not in leaf), None)
    if varied:
        raise UserError(
            f"{where}: {varied} needs one `value:`, the same for all trials; vary `synthetic` or "
            f"make a sweep of each"
        )
    given = {name.removeprefix(GAN): leaf["value"] for name, leaf in leaves.items()}
    if given:
        from semiseg.generators.ratio import read_options

        try:
            read_options(given)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return given


def _metric(given: Any, where: str) -> tuple[str, bool]:
    from semiseg.evaluate.metrics import METRICS, default_names

    if given is None:
        return "dice", True
    if not isinstance(given, Mapping):
        given = {}
    name = str(given.get("name", ""))
    metric = re.sub(r"^(last/)?val[_/.]", "", name)
    if metric not in default_names() or metric == name:
        raise UserError(
            f"{where}: metric.name is {name!r}: choose val_dice, or val_ before another of "
            f"{', '.join(default_names())}"
        )
    goal = given.get("goal", "minimize")  # W&B's own default
    if goal not in ("minimize", "maximize"):
        raise UserError(f"{where}: metric.goal is {goal!r}: choose minimize or maximize")
    if METRICS[metric].absolute:
        others = ", ".join(f"val_{m}" for m in default_names() if not METRICS[m].absolute)
        raise UserError(
            f"{where}: metric.name is {name}, a signed error that is best at 0, so {goal} would "
            f"lead away from there; choose one of {others}"
        )
    best_goal = "minimize"
    if METRICS[metric].better == "higher":
        best_goal = "maximize"
    if goal != best_goal:
        raise UserError(
            f"{where}: metric.goal is {goal} (W&B's default is minimize), which makes {name} "
            f"worse; turn it round"
        )
    return metric, goal == "maximize"


def _early(given: Any, where: str) -> EarlyStop | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or given.get("type") != "hyperband":
        raise UserError(f"{where}: early_terminate needs type: hyperband")
    early = "early_terminate"
    eta = number(early, given, "eta", where, 3)
    if not 1 < eta <= 1000:
        raise UserError(f"{early}.eta is {eta:g}: it must be above 1, at most 1000", where=where)
    if "min_iter" in given:
        first = number(early, given, "min_iter", where)
        rungs = [first * eta**k for k in range(20)]
    elif "max_iter" in given and "s" in given:
        last = number(early, given, "max_iter", where)
        brackets = min(20, int(number(early, given, "s", where)))
        rungs = [last / eta**k for k in range(1, brackets + 1)]
    else:
        raise UserError(f"{where}: early_terminate needs min_iter, or max_iter and s")
    return EarlyStop(tuple(sorted({round(r) for r in rungs if 0.5 < r < 1e15})), eta)


def _word(name: str, value: Any) -> str:
    short = {"method": "", "net": "", "label_subset": "subset"}.get(name, name.rpartition(".")[2])
    return re.sub(r"[^A-Za-z0-9_.]+", "_", f"{short}{value}")
