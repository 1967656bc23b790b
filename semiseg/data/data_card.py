"""The data card of an imported set, ``card.md`` in its store (after Gebru et al., Datasheets for
Datasets, CACM 64(12), 2021).

What is in it is read from the records while they are written. Of test it says how many there are,
and nothing of their pixels.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from semiseg.types import Case

FILE = "card.md"
IGNORED = 255


@dataclasses.dataclass
class Seen:
    """What was seen of a split's pixels: ``count[v]`` pixels of value ``v``, and ``images[v]``
    annotated images that show it.
    """

    count: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    annotated: int = 0
    sizes: set[tuple[int, ...]] = dataclasses.field(default_factory=set)
    spacings: set[tuple[float, ...]] = dataclasses.field(default_factory=set)
    groups: set[str] = dataclasses.field(default_factory=set)

    def add(self, case: Case) -> None:
        self.sizes.add(case.image.shape[:-1])
        self.spacings.add(tuple(case.spacing))
        self.groups |= {case.group} - {""}
        if case.label is not None:
            pixels = np.bincount(case.label.ravel(), minlength=256)
            self.count, self.images, self.annotated = (
                self.count + pixels,
                self.images + (pixels > 0),
                self.annotated + 1,
            )


def card(name: str, facts: Mapping[str, Any], seen: Mapping[str, Seen], command: str) -> str:
    """Markdown: splits, classes with their shares, source, licence, citation, how it was made.

    Args:
      facts: the content of semiseg.json.
      seen: what was seen of ``train`` and ``val``.
      command: that imports it again.
    """
    from semiseg import __version__

    counts, classes = facts["counts"], facts["classes"]
    shares = {
        split: s.count[: len(classes)] / max(1, s.count[: len(classes)].sum())
        for split, s in seen.items()
    }
    shown = {split: s.images / max(1, s.annotated) for split, s in seen.items()}
    lines = [
        f"# {name}", "",
        f"{sum(c['records'] for c in counts.values())} images of "
        f"{sum(c['subjects'] for c in counts.values())} subjects, {facts['channels']}-channel "
        f"{facts['dtype']}; classes: {', '.join(f'{k} {c}' for k, c in enumerate(classes))}.", "",
        "| split | subjects | with annotation | volumes | images | size | spacing, " + facts["unit"] + " | groups |", "|---|---|---|---|---|---|---|---|",
        *(
            f"| {split} | {c['subjects']} | {c['annotated']} | {c['volumes']} | {c['records']} | "
            + ((f"{_range(seen[split].sizes)} | {_range(seen[split].spacings)} | "
f"{len(seen[split].groups) or '–'} |") if split in seen else "not looked at | | |")
            for split, c in counts.items()
        ), "",
        (f"| class | "
f"{' | '.join(f'{split}: pixels | {split}: images that show it' for split in seen)} "
f"|"), "|---|" + "---|---|" * len(seen),
        *((f"| {c} | "
f"{' | '.join(f'{shares[split][k]:.2%} | {shown[split][k]:.0%}' for split in seen)} "
f"|") for k, c in enumerate(classes)), "",
        *((f"- **Ignored** in {split}: {s.count[IGNORED] / s.count.sum():.2%} of the "
f"annotated images' pixels") for split, s in seen.items() if s.count[IGNORED]),
        f"- **Source**: {facts['source']}, read as `{facts['format']}`",
        f"- **Licence**: {facts['license']}",
        f"- **Citation**: {facts['citation']}",
        (f"- **Fingerprint**: `{facts['fingerprint']}` (SHA-256 of names, pixels, labels and "
f"spacings)"),
        f"- **Made by** `{command}` (semiseg {__version__})",
        ("- **Test** is read by `semiseg evaluate RUN --split test` alone, and every look "
"stands in ledger.jsonl beside this card."), "",
    ]  # fmt: skip
    return "\n".join(lines)


def command(format: str, source: object, name: str, options: Mapping[str, Any]) -> str:
    """The command that imports the set."""
    given = {"format": format, "source": source, "name": name} | {
        key: value for key, value in options.items() if value is not None
    }
    return "semiseg data import " + " ".join(
        f"--{key.replace('_', '-')} {shlex.quote(_word(value))}" for key, value in given.items()
    )


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _range(shapes: Iterable[tuple[float, ...]]) -> str:
    """``96×96``, or from the smallest to the largest along each axis."""
    shapes = sorted(shapes)
    if len({len(shape) for shape in shapes}) != 1:
        return "2D and 3D"
    low, high = np.min(shapes, 0), np.max(shapes, 0)
    text = ["×".join(f"{n:.4g}" for n in end) for end in (low, high)]
    return text[0] if text[0] == text[1] else " to ".join(text)
