"""A synthetic set from a fitted generator, written as it is painted: thousands of samples never
stand in memory together.

    S/images/syn000000.png   S/labels/syn000000.png   S/subjects.csv
                             what `semiseg data import --format folder --source S` reads
    S/provenance.csv         name, seed, mask source, source mask and its subject, style, bent or
                             not, generator hash
    S/generator.json         settings, budget and hash of the generator
    S/origin.json            data set, subjects and images behind it, see semiseg.data.provenance

Sample i depends on the generator, the seed and i alone; so ``keep``, a list of names, gives a part
of a set, pixel for pixel.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from semiseg.data import provenance
from semiseg.data.provenance import Provenance
from semiseg.data.source import progress_bar
from semiseg.errors import UserError
from semiseg.escapes import csv_row
from semiseg.files import file_hash, new_folder, write_text
from semiseg.generators import masks, paint
from semiseg.generators import settings as setting
from semiseg.generators.budget import Budget, read_budget
from semiseg.generators.fit import program_of
from semiseg.generators.gan_batch import Program
from semiseg.generators.mask_sources import MASK_SOURCES, DrawnMask, MaskSource
from semiseg.generators.pair_files import FORMATS, PairFolder
from semiseg.generators.settings import Settings
from semiseg.holding import holding
from semiseg.run_folder import RunFolder
from semiseg.train.checkpoint import load_weights

PROVENANCE = "provenance.csv"
PROVENANCE_COLUMNS = (
    "name",
    "seed",
    "masks",
    "source_mask",
    "source_subject",
    "style",
    "bent",
    "generator",
)
GENERATOR = "generator.json"
"""Of a set: the generator that painted it."""
STYLES = ("real", "prior")
"""Near the style of an image of the budget, or a normal draw."""
BATCH = 8
"""Samples painted at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """A generator read from its folder.

    Attributes:
      settings: of its fit.
      program: what its functions are compiled for.
      weights: the average.
      budget: what it was fitted on.
      header: what the weights file says of itself.
      hash: first 16 hexadecimal digits of the weights file's SHA-256.
    """

    settings: Settings
    program: Program
    weights: Any
    budget: Budget
    header: dict[str, Any]
    hash: str

    @property
    def origin(self) -> Provenance:
        """What its samples are made from."""
        if provenance.KEY in self.header:
            return provenance.from_dict(self.header[provenance.KEY])
        if self.settings.teacher is None:  # of an earlier version, and fitted on its budget alone
            return self.budget.provenance
        unknown = provenance.unknown(f"the teacher {self.settings.teacher}")
        return provenance.merged(self.budget.provenance, unknown)


class Sample(NamedTuple):
    """One synthetic pair, with where it comes from.

    Attributes:
      name: of the pair.
      image: ``(H, W, C)`` uint8.
      label: ``(H, W)`` uint8.
      provenance: a row of :data:`PROVENANCE_COLUMNS`.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    provenance: tuple[str, ...]


def load(folder: str | Path, root: str | None = None) -> Fitted:
    """The generator in ``folder``, with the budget it was fitted on (whose masks and styles it
    samples).

    Args:
      folder: of the fit.
      root: folder of the stores, if it is not the fit's.

    Raises:
      UserError: no finished fit there, or a data set that is no longer the one it was fitted on.
    """
    run = RunFolder(Path(folder))
    settings = setting.load(run.config)
    if root is not None:
        settings = dataclasses.replace(settings, root=root)
    if not run.trained:
        remedy = "run the same `semiseg gan fit` command again to resume"
        raise UserError("the fit is not finished", where=run.path, remedy=remedy)
    budget = read_budget(settings)
    program = program_of(settings, budget.images.shape[-1], len(budget.classes))
    like = jax.eval_shape(
        lambda: program.generator.init(
            jax.random.key(0), program.channels, program.classes, program.image_size
        )
    )
    weights, header = load_weights(run.weights, like)
    if header.get("fingerprint") != budget.fingerprint:
        what = f"data set {settings.data!r} is not the one the generator was fitted on"
        raise UserError(what, where=run.path, remedy="fit it again")
    return Fitted(
        settings,
        program,
        weights,
        budget,
        header,
        file_hash(run.weights)[:16],
    )


# ------------------------------------------------------------------ painting
def stream(
    fitted: Fitted,
    names: list[str],
    *,
    seed: int = 0,
    source: str = "varied",
    style: str = "real",
    given: np.ndarray | None = None,
) -> Iterator[Sample]:
    """Synthetic pairs, one by one, for the given names.

    Args:
      fitted: the generator.
      names: of the samples; a sample depends on its name, not on the others.
      seed: of all samples.
      source: ``real`` masks of the budget, ``varied`` (turned, bent, topology checked), ``vae``
        (new ones) or ``interpolated`` (between two).
      style: ``real``: near the style of an image of the budget, or between two; ``prior``: a normal
        draw.
      given: masks ``(M, H, W)`` of one's own, in place of the budget's.

    Raises:
      UserError: there is no such source or style, or masks have another size.
    """
    if source not in MASK_SOURCES or style not in STYLES:
        what = (
            f"masks {source!r}, style {style!r}: choose masks from {', '.join(MASK_SOURCES)} and "
            f"style from {', '.join(STYLES)}"
        )
        raise UserError(what)
    brush = _Brush(fitted, seed, source, style, given)
    for start in range(0, len(names), BATCH):
        yield from brush.paint(names[start : start + BATCH])


class _Condition(NamedTuple):
    """What one sample is painted from."""

    mask: DrawnMask
    code: np.ndarray
    style: str
    noise: np.ndarray


class _Brush:
    """Paints batches of samples; arguments as in :func:`stream`."""

    def __init__(
        self,
        fitted: Fitted,
        seed: int,
        source: str,
        style: str,
        given: np.ndarray | None,
    ):
        budget = fitted.budget
        program = fitted.program
        pool = budget.labelled_masks if given is None else given
        masks.check_size(pool, program.image_size, "masks")
        self.fitted = fitted
        self.seed = seed
        self.style = style
        self.joint = program.generator.joint
        self.of_budget = given is None
        self.masks = MaskSource(
            source,
            pool,
            classes=len(budget.classes),
            all_classes=program.classes,
            symmetric=fitted.settings.symmetric,
            seed=fitted.settings.seed,
        )
        self.mean, self.deviation = paint.encode(
            program, fitted.weights, budget.labelled_images, budget.labelled_masks
        )

    def paint(self, names: list[str]) -> Iterator[Sample]:
        """Samples of at most BATCH names; the last condition is repeated up to a whole batch."""
        rngs = [np.random.default_rng([self.seed, zlib.crc32(name.encode())]) for name in names]
        drawn_masks = [self.masks.draw(rng) for rng in rngs]
        conditions = [self._condition(*pair) for pair in zip(rngs, drawn_masks, strict=True)]
        batch = conditions + conditions[-1:] * (BATCH - len(names))
        images, painted = paint.paint(
            self.fitted.program,
            self.fitted.weights,
            np.stack([condition.mask.label for condition in batch]),
            np.stack([condition.code for condition in batch]),
            np.stack([condition.noise for condition in batch]),
        )
        labels = masks.without_regions(painted, len(self.fitted.budget.classes))
        for i, name in enumerate(names):
            yield Sample(name, images[i], labels[i], self._provenance(name, conditions[i]))

    def _condition(self, rng: np.random.Generator, mask: DrawnMask) -> _Condition:
        """Style and noise for a mask, from the numbers that follow the mask's."""
        generator = self.fitted.program.generator
        if self.joint or self.style == "prior":
            code = rng.normal(size=generator.style)
            style = "prior"
        else:
            code, style = self._style_of_budget(rng)
        noise = rng.normal(size=generator.noises(self.fitted.program.image_size))
        return _Condition(mask, code, style, noise)

    def _style_of_budget(self, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        """Half of the styles are near one image's, half on the way to another's."""
        a, b = (int(i) for i in rng.integers(len(self.mean), size=2))
        share = rng.uniform(0, 0.3) * rng.integers(2)
        code: np.ndarray = (1 - share) * self.mean[a] + share * self.mean[b]
        noise = rng.normal(size=self.mean.shape[1])
        spread = self.deviation[a] * noise
        return code + spread, f"real {a}"

    def _provenance(self, name: str, condition: _Condition) -> tuple[str, ...]:
        budget = self.fitted.budget
        source = "joint" if self.joint else self.masks.name
        mask = ""
        subject = ""
        if condition.mask.real is not None and self.of_budget and not self.joint:
            case = budget.labelled[condition.mask.real]
            mask = budget.names[case]
            subject = budget.subjects[case]
        bent = str(condition.mask.bent)
        hash_ = self.fitted.hash
        return name, str(self.seed), source, mask, subject, condition.style, bent, hash_


# ------------------------------------------------------------------ writing
def sample_set(
    fitted: Fitted,
    out: str | Path,
    n: int,
    *,
    seed: int = 0,
    source: str = "varied",
    style: str = "real",
    format: str = "png",
    keep: str | Path | None = None,
    progress: bool = True,
) -> dict[str, int]:
    """Write a set of pairs.

    Args:
      fitted: the generator.
      out: folder of the set, which must be new or empty.
      n: number of pairs.
      seed: of the set.
      source: of the masks, see :func:`stream`.
      style: see :func:`stream`.
      format: png or nifti.
      keep: a file that names those of the ``n`` pairs to write; default: all.
      progress: show a bar.

    Returns:
      How many pairs were ``written`` and ``dropped``.

    Raises:
      UserError: an argument that makes no sense, or a folder that is not empty.
    """
    out = Path(out)
    with holding(out, "semiseg gan sample"):
        _check_arguments(fitted, out, n, seed, format)
        names = [f"syn{i:06d}" for i in range(n)]
        if keep is not None:
            names = _selected(Path(keep), names)
        sampling = {"n": n, "seed": seed, "masks": source, "style": style, "kept": len(names)}
        facts = {key: value for key, value in fitted.header.items() if key != provenance.KEY}
        record = {"hash": fitted.hash, **facts, "sampling": sampling}
        samples = stream(fitted, names, seed=seed, source=source, style=style)
        with (
            new_folder(out) as folder,
            PairFolder(folder, names, fitted.origin, format) as pairs,
        ):
            write_text(folder / GENERATOR, json.dumps(record, indent=1))
            with (folder / PROVENANCE).open("w", newline="") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(PROVENANCE_COLUMNS)
                for sample in progress_bar(samples, "sample", len(names), progress):
                    pairs.write(sample.name, sample.image, sample.label)
                    rows.writerow(csv_row(sample.provenance))
    return {"written": len(names), "dropped": n - len(names)}


def _check_arguments(
    fitted: Fitted,
    out: Path,
    n: int,
    seed: int,
    format: str,
) -> None:
    channels = fitted.program.channels
    if n < 2:
        what = "a set needs at least 2 samples, one of which is its validation split"
        raise UserError(what, where=f"--n {n}")
    if seed < 0:
        raise UserError("must be at least 0", where=f"--seed {seed}")
    if format not in FORMATS:
        raise UserError("choose png or nifti", where=f"--format {format}")
    if format == "nifti" and channels != 1:
        what = f"images have {channels} channels"
        raise UserError(what, where="--format nifti", remedy="choose png")
    if out.exists() and any(out.iterdir()):
        raise UserError("is not empty", where=out, remedy="choose another --out")


def _selected(path: Path, names: list[str]) -> list[str]:
    """Those of ``names`` that the file names.

    Raises:
      UserError: it cannot be read, or names fewer than two.
    """
    try:
        wanted = set(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        remedy = "give the keep.txt of `semiseg gan card`"
        raise UserError(f"cannot be read ({error})", where=path, remedy=remedy) from None
    selected = [name for name in names if name in wanted]
    if len(selected) < 2:
        what = f"keeps {len(selected)} of the {len(names)} samples"
        remedy = "sample more with --n, or fit the generator longer"
        raise UserError(what, where=path, remedy=remedy)
    return selected
