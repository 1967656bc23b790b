"""What names a fit of a generator, and its way to and from YAML and dotted names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from semiseg import config
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.generators import GENERATORS
from semiseg.generators.discriminators import DISCRIMINATORS, Patch
from semiseg.generators.gan_program import Knobs
from semiseg.generators.spade import Spade


@dataclasses.dataclass(frozen=True)
class Settings:
    """One fit.

    Attributes:
      data: name of an imported data set, or ``nuclei``.
      root: folder of the stores; default: SEMISEG_DATA, else the user's cache folder.
      labels: number of annotated subjects whose pairs the generator sees; 0 for all.
      label_subset: which of the nested orders of subjects they are a prefix of, as in ``semiseg
        train``.
      unlabelled: whether the discriminator of all real images sees those outside the budget,
        without their labels.
      generator: mask to image, or joint.
      discriminator: of pairs; another of its kind judges images alone.
      train: weights of the losses, learning rates, augmentation.
      adversarial: hinge or bce; the U-Net discriminator has its own.
      unconditional: whether there is a discriminator of images alone.
      regions: number of grey-level regions the background is split into, as further classes of the
        mask; 1 for none.
      teacher: folder of a run of the same budget and frame, whose masks of the other images are
        ``train.pseudo`` of the pairs; none by default.
      seed: of initialisation, batches and augmentation.
      steps: of the generator; each has one of the discriminators.
      image_size: side of the images, pixels.
      zoom: slices are scaled to zoom × image_size, and the centre is kept.
      batch: real pairs of a step, a multiple of 4.
      r1_every: steps between two gradient penalties.
      log_every: steps a line of metrics.jsonl averages over.
      grid_every: steps between two sample grids.
      checkpoint_seconds: least time between two checkpoints.
    """

    data: str = "nuclei"
    root: str | None = None
    labels: int = 0
    label_subset: int = 0
    unlabelled: bool = True
    generator: Any = Spade()
    discriminator: Any = Patch()
    train: Knobs = Knobs()
    adversarial: Literal["hinge", "bce"] = "hinge"
    unconditional: bool = True
    regions: int = 1
    teacher: str | None = None
    seed: int = 0
    steps: int = 2500
    image_size: int = 64
    zoom: float = 1.0
    batch: int = 8
    r1_every: int = 16
    log_every: int = 50
    grid_every: int = 500
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        for field, low in (
            ("labels", 0),
            ("label_subset", 0),
            ("regions", 1),
            ("steps", 1),
            ("zoom", 1),
            ("r1_every", 1),
            ("log_every", 1),
            ("grid_every", 1),
        ):
            if getattr(self, field) < low:
                raise ValueError(f"{field} is {getattr(self, field)}: it must be at least {low}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}: it must be between 0 and {2**32 - 1}")
        if self.generator.joint and not (self.unconditional and self.train.unconditional > 0):
            raise ValueError(
                "a joint generator's images are taught by the discriminator of images alone: "
                "leave --unconditional and --train.unconditional on"
            )
        if self.batch < 4 or self.batch % 4:
            raise ValueError(
                f"batch is {self.batch}: it must be a multiple of 4 (half reconstructs, the rest "
                f"are pairs of one mask)"
            )
        block = max(self.generator.block, 16)
        if self.image_size % block:
            raise ValueError(f"image_size is {self.image_size}: it must be a multiple of {block}")

    @property
    def turns(self) -> bool:
        """Whether masks may be mirrored and their axes exchanged when they are varied: where the
        fit does both.
        """
        return self.train.flip > 0 and self.train.turn > 0

    @property
    def frame(self) -> Frame:
        """Geometry from a slice to the pool."""
        return Frame(self.image_size, self.zoom, "centre")


TABLES: dict[str, dict[str, type]] = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}
"""Fields that hold one of several classes."""

PRESETS: dict[str, dict[str, Any]] = {
    "pix2pix": {
        "adversarial": "bce", "unconditional": False, "discriminator.scales": 1, "discriminator.spectral": False, "train.l1": 100.0,
        "train.feature": 0.0, "train.lr_g": 2e-4, "train.lr_d": 2e-4, "train.b1": 0.5, "train.b2": 0.999, "train.r1": 0.0,
    }
}  # fmt: skip
"""Published recipes that a generator's name brings with it; every flag wins over them."""


def override(settings: Settings, changes: Mapping[str, Any], where: str = "") -> Settings:
    """``settings`` with fields replaced by dotted names, strings read as the field's type; a name
    of a class starts from its defaults.

    Raises:
      UserError: an unknown field, or a value that makes no sense.
    """
    flat = {
        k.replace("-", "_").removesuffix(".name"): v for k, v in config.flatten(changes).items()
    }
    wanted = flat.get("generator")
    if wanted is not None and wanted != _name("generator", settings.generator):
        flat = {**PRESETS.get(str(wanted), {}), **flat}
    prefix = f"{where}: " if where else ""
    for key in sorted(flat, key=lambda k: k not in TABLES):
        settings = _changed(settings, key.split("."), flat[key], f"{prefix}{key}")
    return settings


def _changed(node: Any, path: list[str], value: Any, where: str) -> Any:
    import difflib
    import typing

    import pydantic

    name, *inside = path
    names = [f.name for f in dataclasses.fields(node)]
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        raise UserError(
            f"{where}: there is no such field: "
            + (f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names)}")
        )
    old = getattr(node, name)
    if inside and not dataclasses.is_dataclass(old):
        raise UserError(f"{where}: {name!r} has no fields")
    try:
        if inside:
            new = _changed(old, inside, value, where)
        elif name in TABLES:
            if value not in TABLES[name]:
                raise UserError(
                    f"{where}: there is no {name} called {value!r}: choose one of "
                    f"{', '.join(TABLES[name])}"
                )
            new = old if value == _name(name, old) else TABLES[name][value]()
        elif dataclasses.is_dataclass(old):
            raise UserError(
                f"{where} is a group: set one of its fields, e.g. "
                f"--{name}.{dataclasses.fields(old)[0].name}"
            )
        else:
            hint = typing.get_type_hints(type(node))[name]
            if isinstance(value, str) and "tuple" in str(hint):
                value = [part for part in value.strip("[]() ").split(",") if part.strip()]
            elif isinstance(value, str) and value.lower() in ("none", "null"):
                value = None
            new = pydantic.TypeAdapter(hint).validate_python(value)
        return dataclasses.replace(node, **{name: new})
    except pydantic.ValidationError as error:
        raise UserError(f"{where}: {error.errors()[0]['msg'].lower()}, not {value!r}") from None
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _name(field: str, value: Any) -> str:
    return next(name for name, cls in TABLES[field].items() if type(value) is cls)


def to_dict(value: Any, field: str = "") -> Any:
    """Nested plain dict of settings (or a part of them), with the names of generator and
    discriminator.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = {f.name: to_dict(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
        return {"name": _name(field, value), **inner} if field in TABLES else inner
    return list(value) if isinstance(value, tuple) else value


def from_dict(nested: Mapping[str, Any], where: str = "") -> Settings:
    """Settings from their dict; what is left out keeps its default."""
    return override(Settings(), nested, where)


def load(path: Path) -> Settings:
    """Settings of a fit's folder."""
    if not path.exists():
        raise UserError(
            f"{path.parent}: holds no generator; fit one with `semiseg gan fit --out {path.parent}`"
        )
    return from_dict(config.load_yaml(path), str(path))


def to_yaml(settings: Settings) -> str:
    """The complete, re-runnable settings."""
    return yaml.safe_dump(to_dict(settings), sort_keys=False)
