"""The generated sets behind a study's mixes: pictures of their pairs, and their quality reports.

They are read from the store that the runs name, where :func:`semiseg.generators.ratio.resolve` left
grid.png, card.json and made.json; on a machine without that store the page says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.analysis.runs import Run
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.fields import flatten
from semiseg.files import read_json_if_whole
from semiseg.report.figures.style import COLOURS
from semiseg.report.format import capitalise
from semiseg.report.pictures import data_uri
from semiseg.report.quality_checks import Card, advice, check_rows, verdict
from semiseg.synthetic_sources import CONTROLS, SOURCES, source_title
from semiseg.types import IGNORE

COLUMNS = ("mask", "real", "own style", "another's", "another's", "random", "random")
"""Of a generator's grid, see :func:`semiseg.generators.paint.grid`."""
MOST_CARDS, ROWS, PAIRS = 6, 5, 6


def section(s: Study) -> dict[str, Any]:
    """What the page shows of the generated sets of a study of mixes.

    ``kinds`` with pictures, ``rows`` and ``columns`` of the quality reports, ``verdict`` and
    ``advice`` in words, and how many sets are ``missing`` on this machine.
    """
    used = _used(s)
    folders: dict[str, Path] = {}
    for name, run in used.items():
        folder = _folder(name, run)
        if folder is not None:
            folders[name] = folder
    cards = _cards(folders)
    names = list(cards)[:MOST_CARDS]
    rejected = [name for name, card in cards.items() if not card["passed"]]
    generated = [name for name, run in used.items() if run.source not in CONTROLS]
    unread = [name for name in generated if name not in folders]
    return {
        "kinds": _kinds(used, folders),
        "missing": len(used) - len(folders),
        "columns": _heads([used[name] for name in names]),
        "rows": check_rows([cards[name] for name in names]),
        "verdict": verdict(
            list(cards.values()), len(generated), _affected(s, rejected), len(unread)
        ),
        "advice": advice(s.data, len(rejected), _steps([folders[name] for name in rejected])),
    }


def _used(s: Study) -> dict[str, Run]:
    """Each set by its name, with the first run that learnt from it."""
    used: dict[str, Run] = {}
    for run in s.runs:
        if run.ratio and run.config.get("synthetic"):
            used.setdefault(str(run.config["synthetic"]), run)
    return used


def _cards(folders: dict[str, Path]) -> dict[str, Card]:
    """The quality reports of the sets that have a whole one."""
    cards = {}
    for name, folder in folders.items():
        card = read_json_if_whole(folder / "card.json")
        if {"passed", "checks"} <= card.keys():
            cards[name] = card
    return cards


def _affected(s: Study, rejected: Sequence[str]) -> list[str]:
    """The mixes that learnt from rejected sets, in words: kind, budget, ratios, label subsets."""
    ratios: dict[tuple[str, int], set[float]] = {}
    subsets: dict[tuple[str, int], set[str]] = {}
    for run in s.runs:
        if not run.ratio or run.config.get("synthetic") not in rejected:
            continue
        key = (source_title(run.source) or str(run.config["synthetic"]), run.labels)
        ratios.setdefault(key, set()).add(run.ratio)
        subsets.setdefault(key, set()).add(str(run.label_subset))
    texts = []
    for key, values in ratios.items():
        title, labels = key
        ratio = " and ".join(f"{value:g}" for value in sorted(values))
        subset = ", ".join(sorted(subsets[key]))
        texts.append(f"{title}, {labels} annotated, ratio {ratio}, label subset {subset}")
    return texts


def _steps(folders: Sequence[Path]) -> list[int]:
    """For how many steps the generators of these sets were fitted."""
    settings = [_recipe(folder).get("settings", {}) for folder in folders]
    return sorted({values["steps"] for values in settings if "steps" in values})


def _heads(runs: Sequence[Run]) -> list[str]:
    """What tells the sets of the runs apart, for a narrow column."""
    parts = [
        (source_title(run.source), f"{run.labels} annotated", f"subset {run.label_subset}")
        for run in runs
    ]
    varied = [len(set(values)) > 1 for values in zip(*parts, strict=True)]
    heads = []
    for source, labels, subset in parts:
        words = [text for text, varies in zip((source, labels), varied, strict=False) if varies]
        heads.append(", ".join([*words, subset]))
    return heads


# ------------------------------------------------------------------ pictures
def _kinds(used: dict[str, Run], folders: dict[str, Path]) -> list[dict[str, Any]]:
    """One set of each kind of images, controls last."""
    kinds: dict[str, dict[str, Any]] = {}
    for name, run in sorted(used.items(), key=lambda item: item[1].source in CONTROLS):
        if name in folders and run.source not in kinds:
            kinds[run.source] = _kind(name, run, folders[name])
    return list(kinds.values())


def _kind(name: str, run: Run, folder: Path) -> dict[str, Any]:
    """Title, explanation and pictures of one kind of images, from one of its sets."""
    title = name
    text = f"The imported set {name}."
    if run.source:
        title = source_title(run.source)
    if run.source in SOURCES:
        text = SOURCES[run.source].text
    pairs = {
        "src": data_uri(_pairs(name, run)),
        "alt": (
            f"Pairs of the set that the segmenter was trained on ({title}): masks above, their "
            f"images below."
        ),
    }
    return {
        "title": capitalise(title),
        "text": text,
        "budget": f"{run.labels} annotated, label subset {run.label_subset}",
        "grid": _grid(folder / "grid.png"),
        "pairs": pairs,
    }


def _grid(file: Path) -> dict[str, Any] | None:
    """The first rows of the grid that the generator's fit left; None where it left none."""
    from PIL import Image

    if not file.exists():
        return None
    picture = np.asarray(Image.open(file).convert("RGB"))
    rows = picture[: ROWS * (picture.shape[1] // len(COLUMNS))]
    alt = (
        f"A grid of {ROWS} rows: a real mask, its real image, and five images that the generator "
        f"painted from the mask in different styles."
    )
    return {"src": data_uri(rows), "alt": alt, "columns": COLUMNS}


def _pairs(name: str, run: Run) -> np.ndarray:
    """The first pairs of a set ``(2 · H, N · W, 3)``, masks above images.

    What a frame put around them is cut off.
    """
    from semiseg.data import store
    from semiseg.data.frame import planes

    scans = store.read_split(name, "train", run.config.get("root"))[:PAIRS]
    cases = [plane for scan in scans for plane in planes(scan)][:PAIRS]
    columns = [_pair(np.asarray(case.label), np.asarray(case.image)) for case in cases]
    height = min(len(column) for column in columns)
    width = min(column.shape[1] for column in columns)
    return np.concatenate([column[:height, :width] for column in columns], 1)


def _pair(label: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A mask in colours above its image, with a white margin."""
    rows = np.flatnonzero((label != IGNORE).any(1))
    columns = np.flatnonzero((label != IGNORE).any(0))
    if rows.size:
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        label = label[box]
        image = image[box]
    if image.dtype != np.uint8:
        scale = 255 / max(float(np.ptp(image)), 1e-9)
        image = (scale * (image - image.min())).astype(np.uint8)
    if image.shape[-1] != 3:
        image = np.repeat(image[..., :1], 3, -1)
    palette = _palette()
    mask = np.where((label == IGNORE)[..., None], np.uint8(255), palette[label % len(palette)])
    return np.pad(np.concatenate([mask, image]), ((1, 1), (1, 1), (0, 0)), constant_values=255)


def _palette() -> np.ndarray:
    """Colours of the classes ``(K, 3)`` uint8, black first."""
    colours = ["#000000", *COLOURS[1:], COLOURS[0]]
    return np.array([list(bytes.fromhex(colour[1:])) for colour in colours], np.uint8)


# ------------------------------------------------------------------ the sets
def flags(run: Run) -> list[str]:
    """What generates a run's set again, for its own budget: flags of ``semiseg train``."""
    result = [f"--synthetic make:{run.source}"]
    folder = _folder(str(run.config["synthetic"]), run)
    if folder is None:
        return result
    recipe = _recipe(folder)
    if not recipe:
        return result
    if run.source not in CONTROLS:
        result += _generator_flags(recipe["settings"])
    return [*result, f"--gan.samples {recipe['samples']}"]


_OF_THE_RUN = {
    "data",
    "root",
    "labels",
    "label_subset",
    "image_size",
    "zoom",
    "generator.name",
}
"""Settings of a generator that follow from the run."""


def _generator_flags(settings: dict[str, Any]) -> list[str]:
    """Settings that are not the default."""
    from semiseg.generators.settings import Settings, to_dict

    default = flatten(to_dict(Settings()))
    chosen = flatten(settings)
    result = []
    for key, value in chosen.items():
        # another generator's own fields cannot be named before it is chosen
        of_other = key.startswith("generator.") and chosen.get("generator.name") != "spade"
        if key not in _OF_THE_RUN and not of_other and default.get(key) != value:
            result.append(f"--gan.{key} {_flag_text(value)}")
    return result


def _flag_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def _folder(name: str, run: Run) -> Path | None:
    """Where a set is stored; None where this machine has none, a damaged or an old one."""
    from semiseg.data import store

    try:
        info = store.info(name, run.config.get("root"))
    except UserError:
        return None
    if store.damaged_files(info):
        return None
    return info.folder


def _recipe(folder: Path) -> dict[str, Any]:
    """made.json: what the set was generated with; empty where it cannot be read."""
    recipe = read_json_if_whole(folder / "made.json")
    if {"settings", "samples"} <= recipe.keys():
        return recipe
    return {}
