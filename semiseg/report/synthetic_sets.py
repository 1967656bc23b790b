"""The synthetic sets behind a study's mixes: pictures of their pairs, and their cards in plain
words.

They are read from the store that the runs name, where :func:`semiseg.generators.ratio.resolve` left
grid.png, card.json and made.json; on a machine without that store the page says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.analysis.runs import Run
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.report.figures.style import COLOURS
from semiseg.report.pictures import data_uri
from semiseg.synthetic_sources import CONTROLS, SOURCES, source_title

COLUMNS = ("mask", "real", "own style", "another's", "another's", "random", "random")
"""Of a generator's grid, see :func:`semiseg.generators.paint.grid`."""
MOST_CARDS, ROWS, PAIRS = 6, 5, 6

SHARE, TIMES, YES = "share", "times", "yes"
CHECKS = {
    "valid": (
        "The samples are whole",
        "share with contrast, known classes and a plausible amount of foreground",
        SHARE,
    ),
    "distinct": (
        "They differ from each other",
        "share that is no copy of an earlier sample",
        SHARE,
    ),
    "classes": ("Every class occurs", "", YES),
    "agreement": (
        "Masks and images fit",
        "Dice of segmenters that never saw the masks, as a share of their Dice on real images",
        SHARE,
    ),
    "transfer": (
        "One can learn from them",
        (
            "Dice on held-out real images after training on samples alone, as a share of "
            "training on "
            "real pairs"
        ),
        SHARE,
    ),
    "sharpness": ("Their fine contrast is natural", "as a share of the real images'", SHARE),
    "coverage_matched": (
        "They are as varied as real images",
        "share of real images with a sample near them",
        SHARE,
    ),
    "kid_floors": (
        "They look like real images",
        "distance (KID), in distances between two halves of the real images",
        TIMES,
    ),
    "kid_segmenter_floors": (
        "They look real to a segmenter",
        "the same distance in what a segmenter sees",
        TIMES,
    ),
    "memorised": (
        "They are no copies of seen images",
        "share whose texture is nearer to a seen image than 99 % of held-out images are",
        SHARE,
    ),
}
"""Name of a check → what it asks, how it is measured, how its value is written."""


def section(s: Study) -> dict[str, Any]:
    """What the page shows of the synthetic sets of a study of mixes: ``kinds`` with pictures,
    ``cards`` with ``rows``, ``verdict``, ``missing``.
    """
    used: dict[str, Run] = {}
    for run in s.runs:
        if run.ratio and run.config.get("synthetic"):
            used.setdefault(str(run.config["synthetic"]), run)
    folders = {name: _folder(name, run) for name, run in used.items()}
    kinds: dict[str, dict[str, Any]] = {}
    for name, run in sorted(used.items(), key=lambda item: item[1].source in CONTROLS):
        if folders[name] and run.source not in kinds:
            kinds[run.source] = _kind(name, run, folders[name])  # type: ignore[arg-type]
    cards = [
        (run, json.loads((folder / "card.json").read_text()))
        for name, run in used.items()
        if (folder := folders[name]) and (folder / "card.json").exists()
    ]
    generated = sum(run.source not in CONTROLS for run in used.values())
    return {
        "kinds": list(kinds.values()),
        "missing": sum(folder is None for folder in folders.values()),
        "columns": _heads([run for run, _ in cards[:MOST_CARDS]]),
        "rows": _rows([card for _, card in cards[:MOST_CARDS]]),
        "verdict": verdict([card for _, card in cards], generated),
        "advice": _advice(
            s,
            [
                (card, folders[str(run.config["synthetic"])])
                for run, card in cards
                if not card["passed"]
            ],
        ),
    }


def _heads(runs: list[Run]) -> list[str]:
    """What tells the sets of the runs apart, for a narrow column."""
    parts = [
        (source_title(run.source), f"{run.labels} annotated", f"subset {run.label_subset}")
        for run in runs
    ]
    varied = [k for k in range(3) if k == 2 or len({part[k] for part in parts}) > 1]
    return [", ".join(part[k] for k in varied) for part in parts]


def verdict(cards: list[dict[str, Any]], generated: int) -> str:
    """What the cards say, in one or two sentences; "" where there is no generated set."""
    if not generated:
        return ""
    if not cards:
        return (
            "No card was made of these sets, so nothing says whether they are fit for use; "
            "`gan.card: {value: 300}` in the sweep's file asks for one."
        )
    bad = [card for card in cards if not card["passed"]]
    sets = f"{len(cards)} set{'' if len(cards) == 1 else 's'}"
    if not bad:
        return (
            f"The card passes {'the set' if len(cards) == 1 else f'all {sets}'}: no check "
            f"speaks against using {'it' if len(cards) == 1 else 'them'}."
        )
    failed = dict.fromkeys(c["check"] for card in bad for c in card["checks"] if not c["passed"])
    words = "; ".join(f"“{CHECKS[name][0] if name in CHECKS else name}”" for name in failed)
    every = "both sets" if len(cards) == 2 else f"all {sets}"
    who = (
        "the set"
        if len(cards) == 1
        else every
        if len(bad) == len(cards)
        else f"{len(bad)} of {sets}"
    )
    return (
        f"The card rejects {who}. Failed: {words}. "
        "What the runs gained or lost with rejected images is shown all the same, but says "
        "nothing about what a well-fitted generator gives."
    )


def _advice(s: Study, rejected: list[tuple[dict[str, Any], Path | None]]) -> list[str]:
    """What to do about rejected sets."""
    if not rejected:
        return []
    steps = sorted(
        {made["settings"]["steps"] for _, folder in rejected if folder and (made := _made(folder))}
    )
    who = "Its generator was" if len(rejected) == 1 else "Their generators were"
    fitted = (
        f"{who} fitted for {' or '.join(map(str, steps))} steps; the default is 2500."
        if steps
        else ""
    )
    told = [
        (
            f"{fitted} Longer fits and more annotated pairs help most: `semiseg gan fit "
            f"--data {s.data} --labels 32 --out gan`."
        ).strip()
    ]
    if s.data == "nuclei":
        told.append(
            "With these settings (8 minutes on two cores) the nuclei's set passes once the "
            "card's filter has dropped the samples it doubts: "
            "see experiments/results/gan_nuclei_card.json."
        )
    return told


def _rows(cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a check: its question, how it is measured, what it must be, and for each card its value
    and whether it passed.
    """
    rows = []
    for name in dict.fromkeys(c["check"] for card in cards for c in card["checks"]):
        title, why, kind = CHECKS.get(name, (name.replace("_", " "), "", TIMES))
        entries = []
        for card in cards:
            mine = [c for c in card["checks"] if c["check"] == name]
            entries.append(
                {"value": _value(mine[0]["value"], kind), "passed": all(c["passed"] for c in mine)}
                if mine
                else None
            )
        limits = sorted(
            {
                c["must"]
                for c in next(
                    c
                    for c in ([c for c in card["checks"] if c["check"] == name] for card in cards)
                    if c
                )
            }
        )
        must = " and ".join(
            f"at {'least' if sign == '>=' else 'most'} {_value(float(limit), kind)}"
            for sign, limit in sorted((m.split() for m in limits), reverse=True)
        )
        rows.append(
            {"title": title, "why": why, "must": "yes" if kind == YES else must, "entries": entries}
        )
    return rows


def _value(value: float, kind: str) -> str:
    if kind == YES:
        return "yes" if value >= 1 else "no"
    return f"{100 * value:.1f}".removesuffix(".0") + "\u00a0%" if kind == SHARE else f"{value:.1f}"


def flags(run: Run) -> list[str]:
    """What makes a run's set again, for its own budget: flags of ``semiseg train``."""
    folder = _folder(str(run.config["synthetic"]), run)
    made = _made(folder) if folder else {}
    given = [f"--synthetic make:{run.source}"]
    if made:
        from semiseg.config import flatten
        from semiseg.generators import settings

        default, mine = flatten(settings.to_dict(settings.Settings())), flatten(made["settings"])
        own = ("data", "root", "labels", "label_subset", "image_size", "zoom", "generator.name")
        if run.source not in CONTROLS:
            text = lambda v: ",".join(map(str, v)) if isinstance(v, list) else str(v)
            spade = (
                mine.get("generator.name") == "spade"
            )  # another generator's own fields are not named before it is chosen
            fields = {
                k: v
                for k, v in mine.items()
                if k not in own and (spade or not k.startswith("generator."))
            }
            given += [f"--gan.{k} {text(v)}" for k, v in fields.items() if default.get(k) != v]
        given.append(f"--gan.samples {made['samples']}")
    return given


# ------------------------------------------------------------------ the sets
def _folder(name: str, run: Run) -> Path | None:
    from semiseg.data import store

    try:
        known = store.info(name, run.config.get("root"))
    except UserError:  # not on this machine
        return None
    return known.folder if not store.damaged_files(known) else None


def _made(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "made.json").read_text())
    except (OSError, ValueError):
        return {}


def _kind(name: str, run: Run, folder: Path) -> dict[str, Any]:
    """Title, explanation and pictures of one kind of images, from one of its sets."""
    title = source_title(run.source) if run.source else name
    text = f"The imported set {name}."
    if run.source in SOURCES:
        text = SOURCES[run.source].text
    budget = f"{run.labels} annotated, label subset {run.label_subset}"
    grid = None
    if (folder / "grid.png").exists():
        alt = (
            f"A grid of {ROWS} rows: a real mask, its real image, and five images that the "
            f"generator painted from the mask in different styles."
        )
        grid = {"src": data_uri(_top_rows(folder / "grid.png")), "alt": alt, "columns": COLUMNS}
    return {
        "title": title[:1].upper() + title[1:],
        "text": text,
        "budget": budget,
        "grid": grid,
        "pairs": {
            "src": data_uri(_pairs(name, run)),
            "alt": (
                f"Pairs of the set that the segmenter was trained on ({title}): masks above, "
                f"their images below."
            ),
        },
    }


def _top_rows(file: Path) -> np.ndarray:
    from PIL import Image

    picture = np.asarray(Image.open(file).convert("RGB"))
    return picture[: ROWS * (picture.shape[1] // len(COLUMNS))]


def _pairs(name: str, run: Run) -> np.ndarray:
    """The first pairs of a set ``(2 · H, N · W, 3)``, masks above images; what a frame put around
    them is cut off.
    """
    from semiseg.data import store

    palette = np.array(
        [
            [0, 0, 0],
            *([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS[1:] + COLOURS[:1]),
        ],
        np.uint8,
    )
    columns = []
    for case in store.read_split(name, "train", run.config.get("root"))[:PAIRS]:
        label, image = np.asarray(case.label), np.asarray(case.image)
        inside = [np.flatnonzero((label != 255).any(axis)) for axis in (1, 0)]
        box = tuple(slice(at[0], at[-1] + 1) if at.size else slice(None) for at in inside)
        label, image = label[box], image[box]
        if image.dtype != np.uint8:
            image = (255 * (image - image.min()) / max(float(np.ptp(image)), 1e-9)).astype(np.uint8)
        grey = image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, -1)
        mask = np.where((label == 255)[..., None], np.uint8(255), palette[label % len(palette)])
        columns.append(
            np.pad(np.concatenate([mask, grey]), ((1, 1), (1, 1), (0, 0)), constant_values=255)
        )
    height, width = (min(c.shape[axis] for c in columns) for axis in (0, 1))
    return np.concatenate([c[:height, :width] for c in columns], 1)
