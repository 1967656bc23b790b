"""What is known of a stored data set before its records are opened, and the hash of a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from semiseg.data import regions


@dataclasses.dataclass(frozen=True)
class StoreInfo:
    """What ``semiseg.json`` says of a stored data set.

    Attributes:
      name, root: the set lies in the folder ``root/name``.
      classes: class names, background first.
      unit: of spacings and distances: ``mm``, ``voxel`` or ``pixel``.
      channels: of every image.
      dtype: of every image, ``uint8``, ``int16``, ``uint16`` or ``float32``; ``mixed`` where they
        differ.
      license, citation: of the data.
      official_order: subjects in the order in which published work labels them, or empty.
      counts: split → number of ``records`` and ``volumes`` (scans), ``images`` (pictures and
        slices), ``subjects`` and ``annotated`` subjects.
      fingerprint: SHA-256 of all names, pixels, labels and spacings. Two sets with one fingerprint
        hold the same data.
      format, source: what it was imported from.
      files: record file → SHA-256.
      allowed: what the import would have refused but was told to pass: ``subjects_are_images`` (the
        number of images that the names would have joined), ``near_duplicates`` (pairs of subjects),
        ``generated`` (1: a generated set, whose pairs may repeat).
      channel_names: what each channel is, e.g. ``T2``; empty where nobody says it.
      folds: subjects that each fold holds out, where the files stated folds.
      regions: name → classes that it unites, see :mod:`semiseg.data.regions`.
      pseudonyms: what tells apart two keys of :mod:`semiseg.data.pseudonyms`; "" for a set whose
        subjects have the names of the files.
    """

    name: str
    root: str
    classes: tuple[str, ...]
    unit: str
    channels: int
    dtype: str
    license: str
    citation: str
    official_order: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    fingerprint: str
    format: str
    source: str
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    allowed: dict[str, int] = dataclasses.field(default_factory=dict)
    channel_names: tuple[str, ...] = ()
    folds: tuple[tuple[str, ...], ...] = ()
    regions: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    pseudonyms: str = ""

    @property
    def folder(self) -> Path:
        """The set's folder."""
        return Path(self.root) / self.name

    @property
    def region_values(self) -> dict[str, tuple[int, ...]]:
        """Region → the values that its classes have in a label."""
        return regions.numbers(self.regions, self.classes)

    def number(self, split: str, what: str = "records") -> int:
        """How many ``records``, ``images``, ``subjects`` or ``annotated`` subjects a split has.

        >>> counts = {"train": {"records": 8, "volumes": 2, "subjects": 2, "annotated": 1}}
        >>> info = StoreInfo("x", "", (), "mm", 1, "uint8", "", "", (), counts, "", "", "")
        >>> info.number("train"), info.number("train", "annotated"), info.number("test")
        (8, 1, 0)
        """
        return self.counts.get(split, {}).get(what, 0)


def numbered(count: int, noun: str) -> str:
    """A count and its noun, whose first word may be an adjective.

    >>> numbered(1, "volume"), numbered(2, "test image")
    ('1 volume', '2 test images')
    """
    plural = "" if count == 1 else "s"
    return f"{count} {noun}{plural}"
