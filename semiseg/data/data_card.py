"""The data card of an imported set, ``card.md`` in its folder.

After Gebru et al., Datasheets for Datasets, CACM 64(12), 2021. Its numbers are counted while the
records are written. Of the test split it gives the number of images, and nothing of their pixels.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from semiseg.data.info import numbered
from semiseg.data.pixel_counts import PixelCounts
from semiseg.escapes import markdown, markdown_code

FILE = "card.md"
CLASS_HEAD = "| class |"
REGION_HEAD = "| region |"
"""How the tables of classes and of regions begin."""


def card(
    name: str, facts: Mapping[str, Any], counts: Mapping[str, PixelCounts], command: str
) -> str:
    """Markdown: splits, classes with their shares, source, licence, citation, how it was made.

    Args:
      name: of the set.
      facts: the content of semiseg.json.
      counts: of the pixels of ``train`` and ``val``.
      command: that imports it again.
    """
    classes = facts["classes"]
    numbers = facts["counts"].values()
    subjects = sum(number["subjects"] for number in numbers)
    listed = ", ".join(f"{value} {markdown(label)}" for value, label in enumerate(classes))
    lines = [
        f"# {markdown(name)}",
        "",
        f"{_scans(numbers, counts)} of {numbered(subjects, 'subject')}, "
        f"{facts['channels']}-channel {facts['dtype']}; "
        f"classes: {listed}.",
        "",
        *_split_table(facts, counts),
        "",
        *_class_table(classes, counts),
        *region_table(facts, counts),
        "",
        *_origin(facts, counts, command),
        "",
    ]
    return "\n".join(lines)


def _scans(numbers: Iterable[Mapping[str, int]], counts: Mapping[str, PixelCounts]) -> str:
    """How many images, or volumes and slices, a set has.

    Args:
      numbers: what ``counts`` in semiseg.json says of each split.
      counts: of the pixels.

    >>> number = {"records": 1, "volumes": 1, "images": 5}
    >>> _scans([number], {}), _scans([number], {"train": PixelCounts(spacings={(5.0, 1.0, 1.0)})})
    ('5 images', '1 volume (5 slices)')
    """
    totals = dict.fromkeys(("records", "volumes", "images"), 0)
    for number in numbers:
        for what in totals:
            totals[what] += number[what]
    volumes = numbered(totals["volumes"], "volume")
    images = numbered(totals["images"], _nouns(counts)[1])
    if not any(seen.is_of_volumes for seen in counts.values()):
        return images
    if totals["records"] == totals["volumes"]:
        return f"{volumes} ({images})"
    return f"{images} of {volumes}"


def _nouns(counts: Mapping[str, PixelCounts]) -> tuple[str, str]:
    """What the pixels and the images of a set are called, one of each."""
    of_volumes = [seen for seen in counts.values() if seen.is_of_volumes]
    return (of_volumes or [PixelCounts()])[0].nouns


def _split_table(facts: Mapping[str, Any], counts: Mapping[str, PixelCounts]) -> list[str]:
    heads = ["subjects", "with annotation", "images"]
    columns = ["subjects", "annotated", "images"]
    if any(seen.is_of_volumes for seen in counts.values()):
        heads[2:] = ["volumes", "slices"]
        columns.insert(2, "volumes")
    lines = [
        f"| split | {' | '.join(heads)} | size | spacing, {facts['unit']} | groups |",
        "|---" * (len(heads) + 4) + "|",
    ]
    for split, number in facts["counts"].items():
        row = " | ".join(str(number[column]) for column in columns)
        pixels = "not looked at | | |"
        if split in counts:
            seen = counts[split]
            groups = len(seen.groups) or "–"
            pixels = f"{_range(seen.sizes)} | {_range(seen.spacings)} | {groups} |"
        lines.append(f"| {split} | {row} | {pixels}")
    return lines


def _class_table(classes: tuple[str, ...], counts: Mapping[str, PixelCounts]) -> list[str]:
    shares = {split: seen.frequency(len(classes)) for split, seen in counts.items()}
    images = {split: seen.presence(len(classes)) for split, seen in counts.items()}
    pixel, image = _nouns(counts)
    head = " | ".join(f"{split}: {pixel}s | {split}: {image}s that show it" for split in counts)
    lines = [f"{CLASS_HEAD} {head} |", "|---|" + "---|---|" * len(counts)]
    for value, label in enumerate(classes):
        row = " | ".join(f"{shares[s][value]:.2%} | {images[s][value]:.0%}" for s in counts)
        lines.append(f"| {markdown(label)} | {row} |")
    return lines


def region_table(facts: Mapping[str, Any], counts: Mapping[str, PixelCounts]) -> list[str]:
    """The regions of a set with their sizes; nothing where it has none."""
    if not facts["regions"]:
        return []
    number = len(facts["classes"])
    sizes = {split: seen.of_regions(number) for split, seen in counts.items()}
    pixel, image = _nouns(counts)
    head = " | ".join(
        f"{split}: {pixel}s | {split}: share | {split}: {image}s that show it" for split in counts
    )
    lines = ["", f"{REGION_HEAD} classes | {head} |", "|---|---|" + "---|---|---|" * len(counts)]
    for name, members in facts["regions"].items():
        cells: list[str] = []
        for split in counts:
            size = sizes[split][name]
            cells.append(f"{size.pixels} | {size.frequency:.2%} | {size.presence:.0%}")
        union = markdown(" ∪ ".join(members))
        lines.append(f"| {markdown(name)} | {union} | {' | '.join(cells)} |")
    return lines


def with_regions(text: str, lines: Sequence[str]) -> str:
    """A card with another table of regions.

    Args:
      text: of the card.
      lines: of :func:`region_table`.

    >>> card = "| class |\\n|---|\\n\\n- **Source**"
    >>> with_regions(card, ["", "| region | whole"]).splitlines()
    ['| class |', '|---|', '', '| region | whole', '', '- **Source**']
    """
    blocks = text.split("\n\n")
    others = [block for block in blocks if not block.startswith(REGION_HEAD)]
    after = next(i for i, block in enumerate(others) if block.startswith(CLASS_HEAD)) + 1
    table = "\n".join(lines).strip("\n")
    if table:
        others.insert(after, table)
    return "\n\n".join(others)


def _origin(facts: Mapping[str, Any], counts: Mapping[str, PixelCounts], command: str) -> list[str]:
    from semiseg import __version__

    pixel, image = _nouns(counts)
    ignored = [
        f"- **Ignored** in {split}: {seen.ignored:.2%} of the annotated {image}s' {pixel}s"
        for split, seen in counts.items()
        if seen.ignored
    ]
    folds: list[str] = []
    if facts.get("folds"):
        folds = [f"- **Folds**: {len(facts['folds'])}, as splits_final.json states them"]
    return [
        *ignored,
        *folds,
        f"- **Source**: {markdown(str(facts['source']))}, read as {markdown_code(facts['format'])}",
        f"- **Licence**: {markdown(facts['license'])}",
        f"- **Citation**: {markdown(facts['citation'])}",
        f"- **Fingerprint**: `{facts['fingerprint']}` (SHA-256 of names, pixels, labels and "
        f"spacings)",
        f"- **Made by** {markdown_code(command)} (semiseg {__version__})",
        "- **Test** is read by `semiseg evaluate RUN --split test` alone, and every look stands in "
        "ledger.jsonl beside this card.",
    ]


def command(
    format: str,
    source: object,
    name: str,
    options: Mapping[str, Any],
    region: Sequence[str] = (),
) -> str:
    """The command that imports the set; options that are None are left out.

    >>> command("folder", "my scans", "mine", {"classes": ["back", "cell"], "seed": None})
    "semiseg data import --format folder --source 'my scans' --name mine --classes back,cell"
    """
    values = {"format": format, "source": source, "name": name, **options}
    flags = [
        f"--{key.replace('_', '-')} {shlex.quote(_word(value))}"
        for key, value in values.items()
        if value is not None
    ]
    flags += [f"--region {shlex.quote(text)}" for text in region]
    return " ".join(["semiseg data import", *flags])


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _range(shapes: Iterable[tuple[float, ...]]) -> str:
    """``96×96``, or from the smallest to the largest along each axis.

    >>> _range([(96, 96)]), _range([(64, 128), (96, 96)])
    ('96×96', '64×96 to 96×128')
    """
    shapes = sorted(shapes)
    if len({len(shape) for shape in shapes}) != 1:
        return "2D and 3D"
    low = "×".join(f"{n:.4g}" for n in np.min(shapes, 0))
    high = "×".join(f"{n:.4g}" for n in np.max(shapes, 0))
    return low if low == high else f"{low} to {high}"
