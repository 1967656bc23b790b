"""The frame: how a scan of any size becomes the network's input, and how a prediction finds its way
back.

A scan is scaled to the pool, where a pixel has the size that the network sees: so many millimetres,
or, where nobody knows millimetres, such that the longest side has so many pixels. Nothing is
stretched. The network sees windows of one size; what a window lacks is padding (IGNORE). For a 2D
network a volume is cut into its slices; a 3D network takes it whole. Scalings are products with a
small matrix an axis, which is exact, quick and its own inverse geometry.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semiseg.data import grey_values
from semiseg.data.grey_values import Limits
from semiseg.data.pool_image import PoolImage as PoolImage
from semiseg.data.scaling import levels_of, nearest, resampler, scaled, to_plane
from semiseg.data.slices import are_levels, check_volume
from semiseg.data.slices import median_spacing as median_spacing
from semiseg.data.slices import neighbours as neighbours
from semiseg.data.slices import planes as planes
from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.types import Case

STRETCH = "stretch"
"""The geometry of runs that were made before there was any other: every plane becomes a square, and
every volume has as many slices.
"""
FIT = "fit"
"""The longest side of a plane gets ``pool_size`` pixels, in its own aspect."""
NATIVE = "native"
"""Every scan keeps its own pixels."""
SPACINGS = ("auto", "median", FIT, NATIVE, STRETCH)
ROUND = 32
"""Sides of an image that a 2D network evaluates at once are rounded up to multiples of this."""
LARGEST = 1024
"""Largest side of it, pixels; of larger images it sees windows."""
NOISY_SCANS = 20
"""Scans whose noise is measured to decide how pool images are stored."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """Geometry and grey values between a scan and the network.

    ``spacing``, ``intensity`` and ``stored`` may be left open (``auto``); :meth:`resolved` decides
    them for a data set.

    Attributes:
      image_size: side of the network's input, pixels.
      zoom: longest side of a pool image in units of ``image_size``, where nobody states a spacing.
        At 1 the network sees the whole slice; at 1.5 windows of two thirds of the longest side at
        1.5 times the resolution.
      view: what the network sees in evaluation: the ``whole`` pool image, in windows that overlap,
        or its ``centre`` window, outside of which all is background: right where the object is
        known to lie in the middle.
      slices: 2.5D: adjacent slices of a scan that are the channels of one image, an odd number; the
        middle one is the image itself.
      depth: slices of a 3D network's input; 0 for a 2D network.
      depth_zoom: slices of the pool volume in units of ``depth``, with the spacing ``stretch``.
      spacing: of a pool pixel: millimetres, one number, or one an axis; ``median`` of the set;
        ``fit``; ``native``; ``stretch``; ``auto``: the median where millimetres are known, else
        fit.
      intensity: rule of :mod:`semiseg.data.grey_values`.
      width: of the network's input, pixels; 0: as ``image_size``.
      stored: ``uint8`` or ``float16``: how pool images are stored.
    """

    image_size: int
    zoom: float = 1.0
    view: str = "whole"
    slices: int = 1
    depth: int = 0
    depth_zoom: float = 1.0
    spacing: str = "auto"
    intensity: str = "auto"
    width: int = 0
    stored: str = "auto"

    @property
    def pool_size(self) -> int:
        """Longest side of a pool image where nobody states a spacing, pixels.

        >>> Frame(image_size=96, zoom=1.5).pool_size
        144
        """
        return round(self.image_size * self.zoom)

    @property
    def window(self) -> tuple[int, ...]:
        """Spatial shape of the network's input, ``(H, W)`` or ``(D, H, W)``.

        >>> Frame(96, zoom=1.5).window, Frame(96, depth=8, width=64).window
        ((96, 96), (8, 96, 64))
        """
        plane = (self.image_size, self.width or self.image_size)
        return (self.depth, *plane) if self.depth else plane

    @property
    def is_stretched(self) -> bool:
        """Whether all pool images have one shape, whatever that of the scans."""
        return self.spacing == STRETCH

    @property
    def is_in_millimetres(self) -> bool:
        """Whether the pool's pixels have a stated size."""
        return self.spacing not in SPACINGS

    @property
    def anywhere(self) -> bool:
        """Whether training sees windows anywhere in a pool image that is larger, or its centre."""
        return self.view == "whole" and (bool(self.depth) or not self.is_stretched)

    # -------------------------------------------------------------- for a data set
    def resolved(self, scans: Sequence[Case], unit: str) -> Frame:
        """The frame with nothing left open.

        Args:
          scans: of the training split; their labels are not looked at.
          unit: of their spacings, ``mm`` or another.

        Raises:
          UserError: millimetres are asked for, and nobody knows them.
        """
        rule = grey_values.parse(self.intensity)
        if rule == "auto":
            rule = grey_values.auto(scan.image for scan in scans)
        frame = dataclasses.replace(
            self, spacing=self._spacing(scans, unit), intensity=rule, stored="float16"
        )
        if self.stored != "auto":
            return dataclasses.replace(frame, stored=self.stored)
        if rule == grey_values.OF_SLICE or are_levels(rule, scans):
            return dataclasses.replace(frame, stored="uint8")
        return dataclasses.replace(frame, stored=grey_values.stored_as(frame.noises(scans)))

    def noises(self, scans: Sequence[Case]) -> list[float]:
        """Deviation of the noise of some of the scans, in grey values from 0 to 1."""
        few = range(0, len(scans), max(1, len(scans) // NOISY_SCANS))
        images = (scans[i].image for i in few)  # one at a time is in memory
        return [grey_values.noise(grey_values.grey(x, self.limits(x))) for x in images]

    def limits(self, image: np.ndarray) -> Limits:
        """The numbers of a scan that become black and white."""
        return grey_values.limits(self.intensity, image)

    def _spacing(self, scans: Sequence[Case], unit: str) -> str:
        spacing = self.spacing
        if spacing == "auto":
            spacing = "median" if unit == "mm" else FIT
        if spacing in (FIT, NATIVE, STRETCH):
            return spacing
        if unit != "mm":
            raise UserError(
                f"the data set's unit is {unit}: nobody knows its millimetres",
                where=f"--spacing {self.spacing}",
                remedy="leave it out, or import the set with its pixel sizes",
            )
        if spacing == "median":
            target = median_spacing([scan.spacing for scan in scans], self.dims)
            return " ".join(f"{side:.4g}" for side in target)
        return " ".join(f"{side:g}" for side in self._millimetres)

    @property
    def dims(self) -> int:
        """Spatial axes of the network's input."""
        return len(self.window)

    @property
    def _millimetres(self) -> tuple[float, ...]:
        """The stated spacing of each axis of the network's input."""
        words = self.spacing.replace(",", " ").split()
        try:
            sides = tuple(float(word) for word in words)
        except ValueError:
            sides = ()
        if len(sides) == 1:
            sides = sides * self.dims
        if len(sides) != self.dims or not all(0 < side < math.inf for side in sides):
            raise UserError(
                f"must be {', '.join(SPACINGS)}, or millimetres: one number or {self.dims}",
                where=f"--spacing {self.spacing!r}",
            )
        return sides

    # -------------------------------------------------------------- to the network
    def scans(self, cases: Sequence[Case], where: str) -> tuple[Case, ...]:
        """What the network takes for one image each: for a 2D network slices, for a 3D network
        volumes.

        Raises:
          UserError: pictures for a 3D network, naming ``where`` they are.
        """
        if self.depth:
            for case in cases:
                check_volume(case, where)
            return tuple(cases)
        return tuple(itertools.chain.from_iterable(map(planes, cases)))

    def shape(self, scan: Case) -> tuple[int, ...]:
        """Spatial shape of a scan in the pool.

        The slices of a volume stay as they are for a 2D network.

        >>> from semiseg.types import Case
        >>> image = np.zeros((10, 20, 1), np.uint8)
        >>> scan = Case("p7", "p7", image, None, (1.0, 1.0), "p7")
        >>> Frame(40, spacing="fit").shape(scan), Frame(40, spacing="0.5").shape(scan)
        ((20, 40), (20, 40))
        """
        return self.shape_of(scan.image.shape[:-1], scan.spacing)

    def shape_of(self, shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
        """Spatial shape in the pool of a scan of a ``shape`` and a ``spacing``."""
        plane = self._plane_shape(tuple(shape[-2:]), tuple(spacing[-2:]))
        if len(shape) == 2:
            return plane
        return (self._slices(shape[0], spacing), *plane)

    def _plane_shape(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[int, ...]:
        if self.spacing == STRETCH:
            return (self.pool_size, self.pool_size)
        if self.spacing == NATIVE:
            return shape
        sides = [n * side for n, side in zip(shape, spacing, strict=True)]
        if self.spacing in (FIT, "auto"):
            pixel = [max(sides) / self.pool_size] * 2
        else:
            pixel = list(self._millimetres[-2:])
        return tuple(max(1, round(side / p)) for side, p in zip(sides, pixel, strict=True))

    def _slices(self, slices: int, spacing: Sequence[float]) -> int:
        """Slices of a volume in the pool."""
        if not self.depth or self.spacing in (FIT, NATIVE, "auto"):
            return slices
        if self.spacing == STRETCH:
            return round(self.depth * self.depth_zoom)
        return max(1, round(slices * spacing[0] / self._millimetres[0]))

    def to_pool(self, scan: Case) -> PoolImage:
        """A picture or a whole volume as the pool holds it: grey values by the frame's rule, scaled
        with antialiasing.

        >>> from semiseg.types import Case
        >>> image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
        >>> scan = Case("p7", "p7", image, None, (1.0, 1.0), "p7")
        >>> pool = Frame(2, spacing="fit", intensity="zscore", stored="uint8").to_pool(scan)
        >>> pool.levels[..., 0].tolist(), f"{pool.mean[0]:.4f}"
        ([[4, 5], [10, 11]], '0.0294')
        """
        shape = self.shape(scan)
        if self.intensity == grey_values.OF_SLICE:
            return PoolImage(self._by_slice(scan.image, shape))
        rule = "zscore" if self.intensity == "auto" else self.intensity
        grey = grey_values.grey(scan.image, grey_values.limits(rule, scan.image))
        mean, deviation = grey_values.statistics(rule, grey)
        pixels = scaled(grey, shape)
        if self.stored == "float16":
            return PoolImage(pixels.astype(np.float16), mean, deviation)
        return PoolImage(levels_of(pixels * 255), mean, deviation)

    def _by_slice(self, image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Levels of a scan by the rule ``slice``; of a 3D network's volumes by one for all."""
        if image.ndim == 4 and not self.depth:
            return np.stack([self._by_slice(plane, shape[1:]) for plane in image])
        x = image.astype(np.float32)
        if image.dtype != np.uint8:
            thin = x[..., ::2, ::2, :]
            low, high = np.percentile(thin, grey_values.SLICE_PERCENTILES)
            x = (x - low) * (255.0 / max(high - low, 1e-6))
        return levels_of(scaled(x, shape))

    def to_pools(self, scans: Sequence[Case]) -> list[PoolImage]:
        """The pool images of scans; for a 2D network, of their slices, each between its neighbours
        where ``slices`` says so.

        Returns:
          One for each of :meth:`scans`, in their order.
        """
        return list(self.each_pool(scans))

    def each_pool(self, scans: Sequence[Case]) -> Iterator[PoolImage]:
        """:meth:`to_pools`, one by one: one scan at a time is in memory."""
        for scan in scans:
            pool = self.to_pool(scan)
            if self.depth or pool.levels.ndim == 3:
                yield self._with_neighbours(pool, [0])[0]
            else:
                yield from self._with_neighbours(pool, list(range(len(pool.levels))))

    def _with_neighbours(self, pool: PoolImage, places: list[int]) -> list[PoolImage]:
        """The slices of a pool volume, or a picture, with their neighbours as channels."""
        if self.depth:
            return [pool]
        planes_DHWC = pool.levels if pool.levels.ndim == 4 else pool.levels[None]
        around = neighbours(len(planes_DHWC), self.slices)
        mean = None if pool.mean is None else np.tile(pool.mean, self.slices)
        deviation = None if pool.deviation is None else np.tile(pool.deviation, self.slices)
        images = []
        for place in places:
            stack = [planes_DHWC[i] for i in around[place]]
            levels = stack[0] if self.slices == 1 else np.concatenate(stack, -1)
            images.append(PoolImage(levels, mean, deviation))
        return images

    def label_to_pool(self, label: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        """A label ``(H, W)`` or ``(D, H, W)`` at the shape of its pool image, nearest neighbour.

        >>> label = np.arange(16).reshape(4, 4)
        >>> Frame(2, spacing="fit").label_to_pool(label, (1.0, 1.0)).tolist()
        [[5, 7], [13, 15]]
        """
        shape = self.shape_of(label.shape, spacing)
        axes = zip(label.shape, shape, strict=True)
        return label[np.ix_(*(nearest(n, m) for n, m in axes))]

    # -------------------------------------------------------------- and back
    def view_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the windows that evaluation sees of a pool image of a ``shape``.

        A 2D network sees all of it at once (docs/explanation/the-frame.md says what that gains).
        Sides are rounded up, so that few programs are compiled.

        >>> Frame(64, view="whole").view_shape((96, 70)), Frame(64, depth=8).view_shape((9, 96, 70))
        ((96, 96), (8, 64, 64))
        """
        if self.depth or self.view == "centre":
            return self.window
        if self.is_stretched:
            return tuple(shape)
        sides = []
        for n, w in zip(shape, self.window, strict=True):
            rounded = min(ROUND * math.ceil(n / ROUND), LARGEST)
            sides.append(w if n <= w else max(w, rounded))
        return tuple(sides)

    def windows(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """First pixels of the windows that evaluation sees of a pool image of a ``shape``.

        They cover it, and neighbours share at least half of themselves; with the view ``centre``
        there is one. A smaller image lies in the middle of one: its first pixel is negative.

        >>> Frame(image_size=4, depth=2).windows((4, 4, 4))
        [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
        >>> Frame(image_size=4).windows((2, 4))
        [(-1, 0)]
        """
        starts: list[list[int]] = []
        for n, w in zip(shape, self.view_shape(shape), strict=True):
            if self.view == "centre" or n <= w:
                starts.append([int((n - w) / 2)])  # as augment.geometry.offset rounds
            else:
                count = 1 + math.ceil(2 * (n - w) / w)
                starts.append([round(start) for start in np.linspace(0, n - w, count)])
        return list(itertools.product(*starts))

    def labels(self, probability: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Labels ``shape`` uint8 of a pool image's class probabilities ``(*space, K)``."""
        planes = self.to_planes(probability, shape)  # one plane at a time is in memory
        labels = [plane.argmax(-1).astype(np.uint8) for plane in planes]
        return labels[0] if len(shape) == 2 else np.stack(labels)

    def to_scan(self, probability: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Class probabilities ``(*shape, K)`` float32 on the scan's own grid.

        Args:
          probability: of a pool image, ``(*space, K)``.
          shape: of the scan, ``(H, W)`` or ``(D, H, W)``.

        >>> probability = np.eye(2, dtype=np.float32).reshape(1, 2, 2).repeat(2, axis=0)
        >>> Frame(image_size=2).to_scan(probability, (1, 3))[..., 1].tolist()
        [[0.0, 0.5, 1.0]]
        """
        planes = list(self.to_planes(probability, shape))
        return planes[0] if len(shape) == 2 else np.stack(planes)

    def to_planes(self, probability: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Probabilities ``(H, W, K)`` of each slice of a scan, of a picture one."""
        if len(shape) == 2:
            yield to_plane(probability, shape)
            return
        depth = len(probability)
        if depth == shape[0]:
            for plane in probability:
                yield to_plane(plane, shape[1:])
            return
        flat = probability.reshape(depth, -1)
        for weights in resampler(depth, shape[0]):
            plane = (weights @ flat).reshape(probability.shape[1:])
            yield to_plane(plane, shape[1:])
