"""Counts over the pixels of a split: how often each label value occurs, and in how many images."""

from __future__ import annotations

import dataclasses

import numpy as np

from semiseg.data.frame import planes
from semiseg.types import IGNORE, Case


def _zeros() -> np.ndarray:
    return np.zeros(256, np.int64)


@dataclasses.dataclass
class PixelCounts:
    """Counts of a split, case by case.

    Attributes:
      pixels: ``(256,)``; ``pixels[v]`` is the number of pixels with label value ``v``.
      images: ``(256,)``; ``images[v]`` is the number of annotated images that show ``v``.
      annotated: number of annotated images.
      sizes: shapes of the images without channels, pixels.
      spacings: sizes of a pixel, in the set's unit.
      groups: names of the groups.
    """

    pixels: np.ndarray = dataclasses.field(default_factory=_zeros)
    images: np.ndarray = dataclasses.field(default_factory=_zeros)
    annotated: int = 0
    sizes: set[tuple[int, ...]] = dataclasses.field(default_factory=set)
    spacings: set[tuple[float, ...]] = dataclasses.field(default_factory=set)
    groups: set[str] = dataclasses.field(default_factory=set)

    def add(self, case: Case) -> None:
        """Count one case: a picture, or the slices of a volume as an image each."""
        self.sizes.add(case.image.shape[:-1])
        self.spacings.add(tuple(case.spacing))
        if case.group:
            self.groups.add(case.group)
        for plane in planes(case):
            if plane.label is not None:
                count = np.bincount(plane.label.ravel(), minlength=256)
                self.pixels += count
                self.images += count > 0
                self.annotated += 1

    def frequency(self, classes: int) -> np.ndarray:
        """``(classes,)``: share of each class in the pixels that have a class, from 0 to 1.

        >>> counts = PixelCounts()
        >>> counts.pixels[[0, 1, 255]] = 6, 2, 9
        >>> counts.frequency(2).tolist()
        [0.75, 0.25]
        """
        pixels = self.pixels[:classes]
        return pixels / max(1, pixels.sum())

    def presence(self, classes: int) -> np.ndarray:
        """``(classes,)``: share of the annotated images that show each class, from 0 to 1."""
        return self.images[:classes] / max(1, self.annotated)

    @property
    def ignored(self) -> float:
        """Share of the annotated images' pixels that are IGNORE, from 0 to 1."""
        return float(self.pixels[IGNORE] / max(1, self.pixels.sum()))
