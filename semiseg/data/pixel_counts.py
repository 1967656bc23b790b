"""Counts over the pixels of a split: how often each label value occurs, and in how many images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from semiseg.data.frame import planes
from semiseg.types import IGNORE, Case


def _zeros() -> np.ndarray:
    return np.zeros(256, np.int64)


class Size(NamedTuple):
    """How large a region is in the images of a split.

    Attributes:
      pixels: its pixels or voxels.
      frequency: share of the pixels that have a class, from 0 to 1.
      presence: share of the annotated images that show it, from 0 to 1.
    """

    pixels: int
    frequency: float
    presence: float


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
      regions: region → the label values that it unites.
      region_images: region → number of annotated images that show one of them.
    """

    pixels: np.ndarray = dataclasses.field(default_factory=_zeros)
    images: np.ndarray = dataclasses.field(default_factory=_zeros)
    annotated: int = 0
    sizes: set[tuple[int, ...]] = dataclasses.field(default_factory=set)
    spacings: set[tuple[float, ...]] = dataclasses.field(default_factory=set)
    groups: set[str] = dataclasses.field(default_factory=set)
    regions: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    region_images: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def is_of_volumes(self) -> bool:
        """Whether the images are slices of volumes, and their pixels voxels."""
        return any(len(spacing) == 3 for spacing in self.spacings)

    @property
    def nouns(self) -> tuple[str, str]:
        """What its pixels and its images are called, one of each.

        >>> PixelCounts(spacings={(1.0, 1.0)}).nouns, PixelCounts(spacings={(5.0, 1.0, 1.0)}).nouns
        (('pixel', 'image'), ('voxel', 'slice'))
        """
        if self.is_of_volumes:
            return "voxel", "slice"
        return "pixel", "image"

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
                for name, values in self.regions.items():
                    shown = int(count[list(values)].any())
                    self.region_images[name] = self.region_images.get(name, 0) + shown

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

    def of_regions(self, classes: int) -> dict[str, Size]:
        """Region → how large it is in the images counted.

        Args:
          classes: of the set.

        >>> counts = PixelCounts(regions={"whole": (1, 2)})
        >>> counts.pixels[[0, 1, 2]] = 6, 1, 1
        >>> counts.of_regions(3)
        {'whole': Size(pixels=2, frequency=0.25, presence=0.0)}
        """
        every = max(1, int(self.pixels[:classes].sum()))
        sizes: dict[str, Size] = {}
        for name, values in self.regions.items():
            pixels = int(self.pixels[list(values)].sum())
            images = self.region_images.get(name, 0)
            sizes[name] = Size(pixels, pixels / every, images / max(1, self.annotated))
        return sizes

    @property
    def ignored(self) -> float:
        """Share of the annotated images' pixels that are IGNORE, from 0 to 1."""
        return float(self.pixels[IGNORE] / max(1, self.pixels.sum()))
