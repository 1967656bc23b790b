"""Synthetic pools made on demand for a trial's own label budget: the generated sets of the
real:synthetic experiment and their controls.

A trial names a source of :data:`semiseg.synthetic_sources.SOURCES`, ``synthetic: make:spade``;
:func:`resolve` turns it into the name of an imported set, fitting, sampling and importing it the
first time. What it is made from is the budget's pairs alone (and, in the generator's image branch,
images without labels); what names it is a hash of all that went into it, the code included, so
equal trials share a set and different ones never do.

Trials that differ in their seed alone share a set, unless ``gan.seed`` is ``run``: then the
generator's seed is the trial's.

Beside the records of such a set lie made.json (source, settings, samples), and of a generated one
grid.png and, where it was asked for, its quality report card.json.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.config import Trial
from semiseg.data import importing, set_folder, store
from semiseg.errors import UserError
from semiseg.files import Lock, file_hash, read_json_if_whole, replacing, write_text
from semiseg.generators import fit, quality_report, sample
from semiseg.generators import settings as setting
from semiseg.generators.budget import Budget, read_budget
from semiseg.generators.code_version import code_version
from semiseg.generators.controls import write_control
from semiseg.generators.pair_files import PARTS
from semiseg.generators.quality_page import REPORT, write_report
from semiseg.generators.settings import Settings
from semiseg.run_folder import SAMPLES as GRID
from semiseg.run_folder import RunFolder
from semiseg.synthetic_sources import CONTROLS, DIGITS, GENERATED, PREFIX, SOURCES, set_name
from semiseg.types import IGNORE

SAMPLES = 256
"""Pairs of a set."""
RECORD = "made.json"
"""Of a set: what it was made from."""
BUDGET = ("data", "labels", "label_subset", "folds", "fold", "image_size", "zoom")
"""Settings that say which pairs a set is made from."""
DECIDED = (*BUDGET, "root", "generator")
"""Settings that a trial decides."""
IRRELEVANT = ("root", "log_every", "grid_every", "checkpoint_seconds")
"""Settings that do not change the set."""
OF_THE_RUN = "run"
"""As the seed of a generator: the seed of the trial."""
NUMBERS = {"samples": 2, "card": 0}
"""Numbers of :func:`resolve` that are given beside the settings, and the least of each."""


# ------------------------------------------------------------------ of a trial
def resolved(
    trial: Trial, given: Mapping[str, Any] | None = None, *, progress: bool = False
) -> Trial:
    """``trial`` with the name of the set that its ``make:…`` stands for, made of its own data,
    budget and frame; any other trial as it is.

    Args:
      trial: that may name a source.
      given: how a generator is fitted, fields of :class:`Settings` by dotted name; and ``samples``
        and ``card`` of :func:`resolve`.
      progress: show bars.

    Raises:
      UserError: a source that there is not, options that make no sense, or a trial of volumes.

    >>> resolved(Trial(synthetic="my-set")).synthetic
    'my-set'
    """
    if trial.synthetic is None or not trial.synthetic.startswith(PREFIX):
        return trial
    if trial.slices > 1 or trial.net.dims == 3:
        what = (
            f"synthetic {trial.synthetic!r}: generators paint single images; choose a 2D network "
            f"and --slices 1, or import a set of your own"
        )
        raise UserError(what, field="synthetic")
    given = given or {}
    settings, numbers = read_options(given)
    if trial.folds and numbers.get("card"):
        what = (
            "gan.card judges a generated set by the validation subjects, and those of a fold are "
            "scored once, at the end: leave it out with folds"
        )
        raise UserError(what, field="card")
    settings = dataclasses.replace(settings, root=trial.root)
    if given.get("seed") == OF_THE_RUN:
        settings = dataclasses.replace(settings, seed=trial.seed)
    settings = setting.override(settings, {name: getattr(trial, name) for name in BUDGET})
    name = resolve(trial.synthetic, settings, **numbers, progress=progress)
    return dataclasses.replace(trial, synthetic=name)


def read_options(given: Mapping[str, Any]) -> tuple[Settings, dict[str, int]]:
    """Settings of a generator and the ``samples`` and ``card`` of :func:`resolve`, from dotted
    names.

    Raises:
      UserError: an unknown name, one that the trial decides, or a value that makes no sense.

    >>> read_options({"samples": "64", "steps": "10"})[1]
    {'samples': 64}
    """
    numbers = {
        name: _whole_number(name, given[name], least)
        for name, least in NUMBERS.items()
        if name in given
    }
    changes = {name: value for name, value in given.items() if name not in numbers}
    if changes.get("seed") == OF_THE_RUN:
        del changes["seed"]
    for name in changes:
        if name == "generator":
            raise UserError("gan.generator: name it in synthetic", field=name)
        if name in DECIDED:
            what = f"gan.{name}: a set is made for the trial's own {name}; leave it out"
            raise UserError(what, field=name)
    return setting.override(Settings(), changes, "gan"), numbers


def _whole_number(name: str, value: Any, least: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if number < least:
        what = f"gan.{name} is {value!r}: it must be a whole number, at least {least}"
        raise UserError(what, field=name)
    return number


def report_of(name: str, root: str | None) -> dict[str, Any]:
    """The quality report of an imported set; empty where it has none.

    Args:
      name: of the set.
      root: folder of the stores; None for the default.
    """
    return read_json_if_whole(set_folder.root_folder(root) / name / REPORT)


# ------------------------------------------------------------------ of a source
def resolve(
    synthetic: str | None,
    settings: Settings,
    *,
    samples: int = SAMPLES,
    card: int = 0,
    progress: bool = False,
) -> str | None:
    """The name of the imported set that ``synthetic`` stands for; what does not begin with
    ``make:`` is a name already.

    Args:
      synthetic: of a trial.
      settings: data set, budget, frame; and how a generator is fitted, if the source has one.
      samples: pairs of the set; all sources have as many, so that trials share one program.
      card: steps of the segmenters that judge a generated set for its quality report, which says
        whether it is fit for use and rejects nothing; 0 for no report.
      progress: show bars.

    Raises:
      UserError: there is no such source.

    >>> resolve("my-set", Settings())
    'my-set'
    """
    if synthetic is None or not synthetic.startswith(PREFIX):
        return synthetic
    kind = synthetic.removeprefix(PREFIX)
    if kind not in SOURCES:
        known = ", ".join(PREFIX + name for name in (*GENERATED, *CONTROLS))
        raise UserError(f"synthetic {synthetic!r}: choose one of {known}", field="synthetic")
    if kind in GENERATED:
        settings = setting.override(settings, {"generator": SOURCES[kind].generator})
    synthetic_set = _Set(kind, settings, samples, card)
    if synthetic_set.is_whole() and not synthetic_set.folder.exists():
        return synthetic_set.name
    # one process makes a set, the others wait for it
    with Lock(synthetic_set.work / f"{synthetic_set.name}.lock"):
        if not synthetic_set.is_whole():
            synthetic_set.make(progress)
        shutil.rmtree(synthetic_set.folder, ignore_errors=True)  # a kill may have left it
    return synthetic_set.name


@dataclasses.dataclass(frozen=True)
class _Set:
    """A set of a source, made or not; arguments as in :func:`resolve`."""

    kind: str
    settings: Settings
    samples: int
    card: int

    @functools.cached_property
    def name(self) -> str:
        return set_name(self.kind, content(self.kind, self.settings, self.samples))

    @property
    def root(self) -> Path:
        return set_folder.root_folder(self.settings.root)

    @property
    def place(self) -> Path:
        return self.root / self.name

    @property
    def work(self) -> Path:
        """Where sets are being made, and the generators behind them stay."""
        return self.root / ".made"

    @property
    def folder(self) -> Path:
        """Of the pairs, until the set is whole."""
        return self.work / self.name

    @property
    def has_report(self) -> bool:
        """Whether it shall have a quality report; a control has none."""
        return self.card > 0 and self.kind in GENERATED

    def is_whole(self) -> bool:
        """Whether the set has all its files: a kill may come between the import and the others."""
        names = [set_folder.DESCRIPTION, RECORD]
        if self.kind in GENERATED:
            names.append(GRID)
        if self.has_report:
            names.append(REPORT)
        return all((self.place / name).exists() for name in names)

    def _is_imported(self) -> bool:
        return (self.place / set_folder.DESCRIPTION).exists()

    def make(self, progress: bool) -> None:
        """Write the pairs, judge them, import them; the import comes before the record."""
        folder = self.folder
        shutil.rmtree(folder, ignore_errors=True)  # of a set that was cut off
        settings = self.settings
        budget = read_budget(dataclasses.replace(settings, regions=1))
        generator = RunFolder(self.work / f"generator-{content('', settings, 0)[:DIGITS]}")
        if self.kind in GENERATED:
            self._generate(generator, folder, progress)
        else:
            write_control(self.kind, budget, folder, self.samples, settings)
        report = None
        if self.has_report:
            report = quality_report.report_on(folder, settings.data, settings.root, steps=self.card)
        if not self._is_imported():
            self._import(folder, budget)
        self._record()
        if self.kind in GENERATED:
            with replacing(self.place / GRID) as file:
                shutil.copy(generator.path / GRID, file)
        if report:
            write_report(self.place / REPORT, {**report, "set": self.name})

    def _generate(self, generator: RunFolder, folder: Path, progress: bool) -> None:
        fit.fit(self.settings, generator.path, progress=progress)
        fitted = sample.load(generator.path, self.settings.root)
        masks = SOURCES[self.kind].masks
        sample.sample_set(fitted, folder, self.samples, source=masks, progress=progress)

    def _import(self, folder: Path, budget: Budget) -> None:
        _widen(folder, self.settings)
        classes = ",".join(budget.classes)
        importing.import_set(
            "folder",
            folder,
            self.name,
            self.root,
            progress=False,
            classes=classes,
        )

    def _record(self) -> None:
        record = {
            "arm": PREFIX + self.kind,
            "samples": self.samples,
            "card": self.card,
            "settings": setting.to_dict(self.settings),
            "code": code_version(),
        }
        write_text(self.place / RECORD, json.dumps(record, indent=1) + "\n")


def content(kind: str, settings: Settings, samples: int) -> str:
    """SHA-256 of everything that a set is made from: source, data, budget, frame, code, and for
    generated ones the whole fit; not of where it lies.

    Args:
      kind: name of the source; "" for the generator itself.
      settings: of the fit.
      samples: pairs of the set.
    """
    what: dict[str, Any] = {
        "kind": kind,
        "samples": samples,
        "code": code_version(),
        "fingerprint": store.info(settings.data, settings.root).fingerprint,
    }
    fields = setting.to_dict(settings)
    if kind in CONTROLS:
        fields = {name: fields[name] for name in (*BUDGET, "seed")}
    if not settings.folds:  # as before there were folds
        fields = {name: value for name, value in fields.items() if name not in ("folds", "fold")}
    what |= {name: value for name, value in fields.items() if name not in IRRELEVANT}
    teacher = what.pop("teacher", None)
    if teacher:
        weights = RunFolder(Path(teacher)).weights
        what["teacher"] = file_hash(weights) if weights.exists() else teacher
    if kind == "augmented" and not settings.symmetric:
        what["turns"] = False
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


# ------------------------------------------------------------------ files
def _widen(folder: Path, settings: Settings) -> None:
    """Put every pair into the middle of the pool's size, black and IGNORE around it: the
    segmenter's windows are cut from pool images.
    """
    from PIL import Image

    size = settings.image_size
    pool = settings.frame.pool_size
    if pool == size:
        return
    start = (pool - size) // 2
    middle = slice(start, start + size)
    for part, fill in zip(PARTS, (0, IGNORE), strict=True):
        for path in (folder / part).iterdir():
            pixels = np.asarray(Image.open(path))
            wide = np.full((pool, pool, *pixels.shape[2:]), fill, np.uint8)
            wide[middle, middle] = pixels
            Image.fromarray(wide).save(path)
