"""Pool images one after the other in one array, as the device holds them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from semiseg import ragged
from semiseg.data.frame import Frame, PoolImage
from semiseg.data.slices import neighbours
from semiseg.types import IGNORE, Images


@dataclasses.dataclass(frozen=True, eq=False)
class Flat:
    """N pool images one after the other, as :class:`semiseg.ragged.Images` lays them out.

    Attributes:
      voxels: ``(P, V, C)`` uint8 or float16.
      labels: ``(P, V)`` uint8.
      page, offset, shape, mean, deviation: see there.
      size: ``(N,)``, voxels of each image.
    """

    voxels: np.ndarray
    labels: np.ndarray
    page: np.ndarray
    offset: np.ndarray
    shape: np.ndarray
    mean: np.ndarray | None
    deviation: np.ndarray | None
    size: np.ndarray

    def image(self, i: int) -> np.ndarray:
        """Levels ``(*space, C)`` of an image."""
        return self.voxels[self.where(i)].reshape(*self.shape[i], -1)

    def label(self, i: int) -> np.ndarray:
        """Label ``(*space)`` of an image."""
        return self.labels[self.where(i)].reshape(self.shape[i])

    def masked(self, shown: np.ndarray) -> np.ndarray:
        """The labels with IGNORE in every image that ``shown (N,)`` leaves out."""
        labels = np.full_like(self.labels, IGNORE)
        for i in np.flatnonzero(shown).tolist():
            where = self.where(i)
            labels[where] = self.labels[where]
        return labels

    def on_device(self) -> Images:
        """The images as arrays of the device."""
        mean = None if self.mean is None else jnp.asarray(self.mean)
        deviation = None if self.deviation is None else jnp.asarray(self.deviation)
        return Images(
            jnp.asarray(self.voxels),
            jnp.asarray(self.page),
            jnp.asarray(self.offset),
            jnp.asarray(self.shape),
            mean,
            deviation,
        )

    def where(self, i: int) -> tuple[int, slice]:
        """Page and voxels of an image."""
        first = int(self.offset[i, self.offset.shape[1] // 2])
        return int(self.page[i]), slice(first, first + int(self.size[i]))


class Tables(NamedTuple):
    """Where N images lie in their pages, and what each is standardised by: the fields of
    :class:`Flat`.
    """

    page: np.ndarray
    offset: np.ndarray
    shape: np.ndarray
    mean: np.ndarray | None
    deviation: np.ndarray | None
    size: np.ndarray


Statistics = tuple[np.ndarray | None, np.ndarray | None]
"""Mean and deviation of a scan, see :class:`semiseg.data.pool_image.PoolImage`."""


def tables(
    layout: ragged.Layout,
    shapes: Sequence[tuple[int, ...]],
    statistics: Sequence[Statistics],
    frame: Frame,
) -> Tables:
    """Tables of the images of scans; a 2D network's image is a slice.

    Args:
      layout: of the scans.
      shapes: spatial shape of each scan in the pool.
      statistics: of each scan.
      frame: whose images they are.
    """
    page: list[int] = []
    offset: list[np.ndarray] = []
    space: list[tuple[int, ...]] = []
    mean: list[np.ndarray] = []
    deviation: list[np.ndarray] = []
    for q, (shape, of_scan) in enumerate(zip(shapes, statistics, strict=True)):
        of_image = shape[-frame.dims :]
        pixels = math.prod(of_image)
        for planes in neighbours(math.prod(shape) // pixels, frame.slices):
            page.append(int(layout.page[q]))
            offset.append(int(layout.offset[q]) + planes * pixels)
            space.append(of_image)
            if of_scan[0] is not None and of_scan[1] is not None:
                mean.append(np.tile(of_scan[0], frame.slices))
                deviation.append(np.tile(of_scan[1], frame.slices))
    spaces = np.array(space, np.int32)
    return Tables(
        np.array(page, np.int32),
        np.array(offset, np.int32),
        spaces,
        np.stack(mean) if mean else None,
        np.stack(deviation) if deviation else None,
        np.prod(spaces, 1),
    )


def flatten(scans: Sequence[PoolImage], labels: Sequence[np.ndarray], frame: Frame) -> Flat:
    """Pool images of scans, with their labels, in one array; a 2D network's image is a slice."""
    layout = ragged.layout([label.size for label in labels])
    channels = scans[0].levels.shape[-1]
    voxels = np.zeros((layout.pages, layout.size, channels), scans[0].levels.dtype)
    flat_labels = np.full((layout.pages, layout.size), IGNORE, np.uint8)
    for q, (scan, label) in enumerate(zip(scans, labels, strict=True)):
        first = int(layout.offset[q])
        where = (layout.page[q], slice(first, first + label.size))
        voxels[where] = scan.levels.reshape(-1, channels)
        flat_labels[where] = label.reshape(-1)
    shapes = [label.shape for label in labels]
    statistics = [(scan.mean, scan.deviation) for scan in scans]
    return Flat(voxels, flat_labels, *tables(layout, shapes, statistics, frame))


def appended(real: Flat, synthetic: Flat) -> Flat:
    """Real images, then synthetic ones."""
    if real.voxels.shape[0] == 1 == synthetic.voxels.shape[0] and (
        real.voxels.shape[1] + synthetic.voxels.shape[1] <= ragged.PAGE
    ):
        voxels = np.concatenate([real.voxels, synthetic.voxels], 1)
        labels = np.concatenate([real.labels, synthetic.labels], 1)
        page = np.concatenate([real.page, synthetic.page])
        offset = np.concatenate([real.offset, synthetic.offset + real.voxels.shape[1]])
    else:
        size = max(real.voxels.shape[1], synthetic.voxels.shape[1])
        voxels = np.concatenate([_filled(real.voxels, size), _filled(synthetic.voxels, size)])
        labels = np.concatenate([_filled(real.labels, size), _filled(synthetic.labels, size)])
        page = np.concatenate([real.page, synthetic.page + len(real.voxels)])
        offset = np.concatenate([real.offset, synthetic.offset])
    return Flat(
        voxels,
        labels,
        page,
        offset,
        np.concatenate([real.shape, synthetic.shape]),
        _joined(real.mean, synthetic.mean),
        _joined(real.deviation, synthetic.deviation),
        np.concatenate([real.size, synthetic.size]),
    )


def _filled(pages: np.ndarray, size: int) -> np.ndarray:
    """Pages ``(P, V, …)`` made longer."""
    missing = size - pages.shape[1]
    return np.pad(pages, [(0, 0), (0, missing)] + [(0, 0)] * (pages.ndim - 2))


def _joined(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    if a is None or b is None:
        return None
    return np.concatenate([a, b])
