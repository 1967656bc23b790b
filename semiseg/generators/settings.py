"""What names a fit of a generator, and its way to and from YAML and dotted names.

It uses the machinery of the trials: ranges and roles are written at the fields
(:mod:`semiseg.fields`), names and files are read by :mod:`semiseg.config.tree`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from semiseg.config import check_fold, tree
from semiseg.data.frame import FIT, STRETCH, Frame
from semiseg.data.grey_values import OF_SLICE
from semiseg.data.size_limits import LARGEST_SIDE
from semiseg.errors import UserError
from semiseg.fields import check_fields, choice, count, flatten, number, static
from semiseg.files import read_mapping
from semiseg.generators import GENERATORS
from semiseg.generators.discriminators import DISCRIMINATORS, Patch
from semiseg.generators.gan_batch import GROUP, Knobs
from semiseg.generators.losses import ADVERSARIAL
from semiseg.generators.spade import Spade

SMALLEST_BLOCK = 16
"""Image sizes are multiples of this at least: discriminators and style encoder halve four times."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """One fit.

    A field declared with ``traced=False`` changes the compiled program.

    Attributes:
      data: name of an imported data set, or ``nuclei``.
      root: folder of the stores; default: SEMISEG_DATA, else the user's cache folder.
      labels: number of annotated subjects whose pairs the generator sees; 0 for all.
      label_subset: which of the nested orders of subjects they are a prefix of, as in ``semiseg
        train``.
      folds, fold: as in ``semiseg train``: the subjects that the fold holds out are not seen.
      unlabelled: whether the discriminator of all real images sees those outside the budget,
        without their labels.
      generator: mask to image, or joint.
      discriminator: of pairs; another of its kind judges images alone.
      train: weights of the losses, learning rates, augmentation.
      adversarial: hinge or bce; the U-Net discriminator has its own.
      unconditional: whether there is a discriminator of images alone.
      regions: number of grey-level regions the background is split into, as further classes of the
        mask, whose numbers are bytes; 1 for none.
      teacher: folder of a run of the same budget and frame, whose masks of the other images are
        ``train.pseudo`` of the pairs; none by default.
      seed: of initialisation, batches and augmentation.
      steps: of the generator; each has one of the discriminators.
      image_size: side of the images, pixels.
      zoom: with the spacing fit, the longest side of a slice gets zoom × image_size pixels, and the
        centre is used.
      spacing: as of ``semiseg train``.
      intensity: as of ``semiseg train``.
      batch: real pairs of a step, a multiple of 4.
      r1_every: steps between two gradient penalties.
      log_every: steps a line of metrics.jsonl averages over.
      grid_every: steps between two sample grids.
      checkpoint_seconds: least time between two checkpoints.
    """

    data: str = "nuclei"
    root: str | None = None
    labels: int = count(0)
    label_subset: int = count(0)
    folds: int = count(0)
    fold: int = count(0)
    unlabelled: bool = True
    generator: Any = static(default=Spade())
    discriminator: Any = static(default=Patch())
    train: Knobs = Knobs()
    adversarial: str = choice("hinge", ADVERSARIAL, traced=False)
    unconditional: bool = static(default=True)
    regions: int = count(1, at_least=1, at_most=254, traced=False)
    teacher: str | None = None
    seed: int = number(0, within=(0, 2**32 - 1))
    steps: int = count(2500, at_least=1)
    image_size: int = count(64, at_least=1, at_most=LARGEST_SIDE, traced=False)
    zoom: float = number(1.0, at_least=1, at_most=100)
    spacing: str = FIT
    intensity: str = "auto"
    batch: int = count(8, at_least=GROUP, traced=False)
    r1_every: int = count(16, at_least=1, traced=False)
    log_every: int = count(50, at_least=1)
    grid_every: int = count(500, at_least=1)
    checkpoint_seconds: float = number(60.0, at_least=0)

    @property
    def symmetric(self) -> bool:
        """Whether masks may be mirrored and their axes exchanged when they are varied: where the
        fit does both.
        """
        return self.train.flip > 0 and self.train.turn > 0

    @property
    def frame(self) -> Frame:
        """Geometry from a slice to the pool."""
        return Frame(
            self.image_size,
            self.zoom,
            "centre",
            spacing=self.spacing,
            intensity=self.intensity,
            stored="uint8",
        )


CHOICES = tree.Choices({"generator": GENERATORS, "discriminator": DISCRIMINATORS})
"""Fields that hold one of several classes."""

PRESETS: dict[str, dict[str, Any]] = {
    "pix2pix": {
        "adversarial": "bce",
        "unconditional": False,
        "discriminator.scales": 1,
        "discriminator.spectral": False,
        "train.l1": 100.0,
        "train.feature": 0.0,
        "train.lr_g": 2e-4,
        "train.lr_d": 2e-4,
        "train.b1": 0.5,
        "train.b2": 0.999,
        "train.r1": 0.0,
    }
}
"""Published recipes that a generator's name brings with it; every flag wins over them."""


def check(settings: Settings, where: str = "") -> Settings:
    """``settings``, if their values make sense.

    Args:
      settings: of a fit.
      where: what a message starts with, e.g. a file.

    Raises:
      UserError: naming the field and what it may be.

    >>> check(Settings(image_size=40))
    Traceback (most recent call last):
    ...
    semiseg.errors.UserError: image_size is 40: it must be a multiple of 16
    """
    check_fields(settings, where=where)
    check_fold(settings.folds, settings.fold, where)
    judged_alone = settings.unconditional and settings.train.unconditional > 0
    if settings.generator.joint and not judged_alone:
        what = (
            "a joint generator's images are taught by the discriminator of images alone: leave "
            "--unconditional and --train.unconditional on"
        )
        raise UserError(what, where=where, field="unconditional")
    if settings.batch % GROUP:
        what = (
            f"batch is {settings.batch}: it must be a multiple of {GROUP} (half of it "
            f"reconstructs, the rest are pairs of one mask)"
        )
        raise UserError(what, where=where, field="batch")
    block = max(settings.generator.block, SMALLEST_BLOCK)
    if settings.image_size % block:
        what = f"image_size is {settings.image_size}: it must be a multiple of {block}"
        raise UserError(what, where=where, field="image_size")
    return settings


def override(settings: Settings, changes: Mapping[str, Any], where: str = "") -> Settings:
    """``settings`` with fields replaced by their dotted names; a new generator brings its preset
    with it. See :func:`semiseg.config.tree.override`.

    Raises:
      UserError: an unknown field, or a value of the wrong kind or outside its range.

    >>> override(Settings(), {"generator": "pix2pix", "train.l1": "50"}).train.l1
    50.0
    """
    flat = {
        key.replace("-", "_").removesuffix(".name"): value
        for key, value in flatten(changes).items()
    }
    name = flat.get("generator")
    if name is not None and name != CHOICES.name_of("generator", settings.generator):
        flat = {**PRESETS.get(str(name), {}), **flat}
    return check(tree.override(settings, flat, CHOICES, where), where)


def to_dict(settings: Settings) -> dict[str, Any]:
    """Nested plain dict of settings, with the names of generator and discriminator.

    >>> to_dict(Settings())["generator"]["name"]
    'spade'
    """
    nested: dict[str, Any] = tree.to_dict(settings, CHOICES)
    return nested


def from_dict(nested: Mapping[str, Any], where: str = "") -> Settings:
    """Settings from their dict; what is left out has its default.

    >>> from_dict(to_dict(Settings(seed=3))) == Settings(seed=3)
    True
    """
    return override(Settings(), nested, where)


def load(path: Path) -> Settings:
    """The settings in a fit's config.yaml.

    Raises:
      UserError: there is no such file, or a field of it is wrong.
    """
    if not path.exists():
        remedy = f"fit one with `semiseg gan fit --out {path.parent}`"
        raise UserError("holds no generator", where=path.parent, remedy=remedy)
    recorded = read_mapping(path)
    if "spacing" not in recorded:  # of a fit from before there was a choice
        recorded = {**recorded, "spacing": STRETCH, "intensity": OF_SLICE}
    return from_dict(recorded, str(path))


def to_yaml(settings: Settings) -> str:
    """The complete, re-runnable settings."""
    return yaml.safe_dump(to_dict(settings), sort_keys=False)
