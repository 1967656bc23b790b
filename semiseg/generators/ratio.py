"""Synthetic pools made on demand for a trial's own label budget: the arms of the real:synthetic
experiment and their controls.

A trial names an arm, ``synthetic: make:spade``; :func:`resolve` turns it into the name of an
imported set, fitting, sampling and importing it the first time. What it is made from is the
budget's pairs alone (and, in the generator's image branch, images without labels); what names it is
a hash of all that went into it, so equal trials share a set and different ones never do.

    make:spade, make:pix2pix      varied masks of the budget, synthetic images
    make:spade_real_masks         the budget's own masks, synthetic images
    make:duplicated               the budget's pairs again
    make:augmented                the budget's pairs, mirrored, turned and bent
    make:copy_paste               objects of one pair pasted into another (Ghiasi et al., CVPR 2021)

Beside the records of a made set lie made.json (arm, settings, samples), and of a generated one
grid.png and, where it was asked for, card.json.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from semiseg.config import Trial
from semiseg.data import importing, set_folder, store
from semiseg.data.info import file_hash
from semiseg.errors import UserError
from semiseg.files import Lock, write_text
from semiseg.generators import fit, masks, sample
from semiseg.generators import quality_report as cards
from semiseg.generators import settings as setting
from semiseg.generators.fit import Budget
from semiseg.generators.settings import Settings
from semiseg.synthetic_sources import CONTROLS, GENERATED, PREFIX, SOURCES
from semiseg.types import IGNORE

SAMPLES = 256


OWN = ("data", "root", "labels", "label_subset", "image_size", "zoom", "generator")
"""Settings that a trial decides."""


def resolved(
    trial: Trial, given: Mapping[str, Any] | None = None, *, progress: bool = False
) -> Trial:
    """``trial`` with the name of the set that its ``make:…`` stands for, made of its own data,
    budget and frame; any other trial as it is.

    Args:
      given: how a generator is fitted, fields of :class:`Settings` by dotted name; and ``samples``
        and ``card`` of :func:`resolve`.
    """
    if trial.synthetic is None or not trial.synthetic.startswith(PREFIX):
        return trial
    if trial.slices > 1 or trial.net.dims == 3:
        raise UserError(
            f"synthetic {trial.synthetic!r}: generators paint single images; choose a 2D network "
            f"and --slices 1, or import a set of your own"
        )
    settings, numbers = understood(given or {})
    own = {
        "data": trial.data,
        "labels": trial.labels,
        "label_subset": trial.label_subset,
        "image_size": trial.image_size,
        "zoom": trial.zoom,
    }
    settings = setting.override(dataclasses.replace(settings, root=trial.root), own)
    return dataclasses.replace(
        trial, synthetic=resolve(trial.synthetic, settings, **numbers, progress=progress)
    )


def understood(given: Mapping[str, Any]) -> tuple[Settings, dict[str, int]]:
    """Settings of a generator and the ``samples`` and ``card`` of :func:`resolve`, from dotted
    names.

    Raises:
      UserError: an unknown name, one that the trial decides, or a value that makes no sense.
    """
    numbers = {}
    for name, low in (("samples", 2), ("card", 0)):
        if name in given:
            try:
                numbers[name] = int(str(given[name]))
            except ValueError:
                numbers[name] = -1
            if numbers[name] < low:
                raise UserError(
                    f"gan.{name} is {given[name]!r}: it must be a whole number, at least {low}"
                )
    rest = {name: value for name, value in given.items() if name not in numbers}
    taken = next((name for name in rest if name in OWN), None)
    if taken:
        raise UserError(
            f"gan.{taken}: a set is made for the trial's own {taken}; leave it out"
            if taken != "generator"
            else "gan.generator: name it in synthetic"
        )
    return setting.override(Settings(), rest, "gan"), numbers


def resolve(
    arm: str | None,
    settings: Settings,
    *,
    samples: int = SAMPLES,
    card: int = 0,
    progress: bool = False,
) -> str | None:
    """The name of the imported set that ``arm`` stands for; what does not begin with ``make:`` is a
    name already.

    Args:
      settings: data set, budget, frame; and how a generator is fitted, if the arm has one.
      samples: pairs of the set; all arms have as many, so that trials share one program.
      card: steps of the segmenters that judge a generated set for its card, which says whether it
        is fit for use and rejects nothing; 0 for no card.
    """
    if arm is None or not arm.startswith(PREFIX):
        return arm
    kind = arm.removeprefix(PREFIX)
    if kind not in CONTROLS and kind not in GENERATED:
        raise UserError(
            f"synthetic {arm!r}: choose one of "
            f"{', '.join(PREFIX + k for k in (*GENERATED, *CONTROLS))}"
        )
    if kind in GENERATED:
        settings = setting.override(settings, {"generator": SOURCES[kind].generator})
    name = f"made-{kind.replace('_', '-')}-{content(kind, settings, samples)[:12]}"
    root = Path(settings.root) if settings.root else set_folder.default_root()
    place, judged = root / name, card and kind in GENERATED
    whole = lambda: (
        (place / "semiseg.json").exists() and ((place / "card.json").exists() or not judged)
    )
    if whole():
        return name
    work = root / ".made"
    with Lock(work / f"{name}.lock"):  # one process makes a set, the others wait for it
        if whole():
            return name
        folder = work / name
        shutil.rmtree(
            folder, ignore_errors=True
        )  # a set that was cut off; its generator is kept in a folder of its own
        budget = fit.read_budget(dataclasses.replace(settings, regions=1))
        fitted = work / f"generator-{content('', settings, 0)[:12]}"
        if kind in GENERATED:
            fit.fit(settings, fitted, progress=progress)
            sample.sample_set(
                sample.load(fitted, settings.root),
                folder,
                samples,
                source=SOURCES[kind].masks,
                progress=progress,
            )
        else:
            _write_control(kind, budget, folder, samples, settings)
        found = cards.card(folder, settings.data, settings.root, steps=card) if judged else None
        if not (place / "semiseg.json").exists():
            _widen(folder, settings)
            importing.import_set(
                "folder", folder, name, root, progress=False, classes=",".join(budget.classes)
            )
        (place / "made.json").write_text(
            json.dumps(
                {
                    "arm": arm,
                    "samples": samples,
                    "card": card,
                    "settings": setting.to_dict(settings),
                },
                indent=1,
            )
            + "\n"
        )
        if kind in GENERATED:
            shutil.copy(fitted / "grid.png", place / "grid.png")
        if found:
            write_text(place / "card.json", json.dumps(found | {"set": name}, indent=1) + "\n")
        shutil.rmtree(folder)
    return name


def content(kind: str, settings: Settings, samples: int) -> str:
    """SHA-256 of everything that a set is made from: arm, data, budget, frame, and for generated
    ones the whole fit; not of where it lies.
    """
    what: dict[str, Any] = {
        "kind": kind,
        "samples": samples,
        "fingerprint": store.info(settings.data, settings.root).fingerprint,
    }
    fields = setting.to_dict(settings)
    used = (
        fields
        if kind not in CONTROLS
        else {
            k: fields[k] for k in ("data", "labels", "label_subset", "image_size", "zoom", "seed")
        }
    )
    what |= {
        k: v
        for k, v in used.items()
        if k not in ("root", "log_every", "grid_every", "checkpoint_seconds")
    }
    if taught := what.pop("teacher", None):
        weights = Path(taught) / "weights.safetensors"
        what["teacher"] = file_hash(weights) if weights.exists() else taught
    if kind == "augmented" and not settings.turns:
        what["turns"] = False
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


# ------------------------------------------------------------------ controls
def control(
    kind: str, budget: Budget, n: int, seed: int, flip: bool = True
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``n`` pairs ``(image, label)`` of a control arm, from the budget's pairs alone; ``flip`` as a
    generator's varied masks have it.
    """
    images, labels = budget.images[budget.shown], budget.labels[budget.shown]
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        j = i % len(images) if kind == "duplicated" else int(rng.integers(len(images)))
        image, label = images[j], labels[j]
        if kind == "augmented":
            varied = masks.vary(label, rng, masks.Vary(flip=flip), image=image)
            image, label = varied.image if varied.image is not None else image, varied.label
        elif kind == "copy_paste":
            image, label = _pasted(rng, images, labels, j)
        yield image, label


def _pasted(
    rng: np.random.Generator, images: np.ndarray, labels: np.ndarray, j: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pair ``j`` with about half of the objects of another pair, in their places; at least one
    object.
    """
    other = int((j + rng.integers(1, len(images))) % len(images))
    parts, n = ndimage.label((labels[other] != 0) & (labels[other] != IGNORE), np.ones((3, 3)))
    if not n:
        return images[j], labels[j]
    chosen = rng.random(n + 1) < 0.5
    chosen[0], chosen[1 + rng.integers(n)] = False, True
    where = chosen[parts]
    return np.where(where[..., None], images[other], images[j]), np.where(
        where, labels[other], labels[j]
    )


def _write_control(kind: str, budget: Budget, out: Path, n: int, settings: Settings) -> None:
    from PIL import Image

    for part in ("images", "labels"):
        (out / part).mkdir(parents=True)
    with (out / "subjects.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("name", "subject", "split"))
        for i, (image, label) in enumerate(control(kind, budget, n, settings.seed, settings.turns)):
            name = f"{kind}{i:06d}"
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(
                out / "images" / f"{name}.png"
            )
            Image.fromarray(label).save(out / "labels" / f"{name}.png")
            table.writerow((name, name, "val" if i == n - 1 else "train"))


# ------------------------------------------------------------------ files
def _widen(folder: Path, settings: Settings) -> None:
    """Put every pair into the middle of the pool's size, black and IGNORE around it: the
    segmenter's windows are cut from pool images.
    """
    size, pool = settings.image_size, settings.frame.pool_size
    if pool == size:
        return
    from PIL import Image

    start = (pool - size) // 2
    for part, fill in (("images", 0), ("labels", IGNORE)):
        for path in (folder / part).iterdir():
            pixels = np.asarray(Image.open(path))
            wide = np.full((pool, pool, *pixels.shape[2:]), fill, np.uint8)
            wide[start : start + size, start : start + size] = pixels
            Image.fromarray(wide).save(path)


