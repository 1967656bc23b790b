"""One or several trained networks that segment files, each in its own format and geometry."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data import expected
from semiseg.data.dicom_input import SeriesScan, is_series, read_input
from semiseg.data.input_scan import Scan, beside, read_scan
from semiseg.data.largest_component import largest_components
from semiseg.data.problems import value_counts
from semiseg.data.provenance import Provenance, merged
from semiseg.data.test_images import image_hashes
from semiseg.errors import UserError
from semiseg.runner.platforms import check_platform
from semiseg.runner.predictor import Predictor
from semiseg.types import Case


class Options(NamedTuple):
    """What is written of a scan, and how.

    Attributes:
      probabilities: also write the class probabilities, see
        :meth:`semiseg.data.input_scan.Scan.write_probabilities`.
      nifti: also write the mask of a DICOM series as NIfTI.
      largest_component: keep the largest part of each class.
      spacing: mm of the rows and columns of pictures; empty where nobody states it.
      resample: DICOM series of tilted or uneven slices; else they are refused.
    """

    probabilities: bool = False
    nifti: bool = False
    largest_component: bool = False
    spacing: tuple[float, ...] = ()
    resample: bool = False


class Prediction(NamedTuple):
    """What was written of a scan.

    Attributes:
      image: ``(H, W, C)`` or ``(D, H, W, C)``.
      mask: ``(H, W)`` or ``(D, H, W)`` uint8.
      counts: pixels of each class ``(K,)``.
      millimetres: of a pixel along each axis; empty where nobody knows them.
      differences: how the scan is unlike those of training, a phrase each.
    """

    image: np.ndarray
    mask: np.ndarray
    counts: np.ndarray
    millimetres: tuple[float, ...]
    differences: tuple[str, ...]

    @property
    def shares(self) -> np.ndarray:
        """Share of the pixels of each class ``(K,)``."""
        return self.counts / self.mask.size


@dataclasses.dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks of the same classes and channels, whose probabilities are averaged on the scan's
    own grid.

    Attributes:
      predictors: one or more.
    """

    predictors: tuple[Predictor, ...]

    @classmethod
    def load(cls, runs: Sequence[str | Path], tta: bool = False) -> Ensemble:
        """From the folders of runs, or what `semiseg export` wrote of one or several.

        Raises:
          UserError: a run cannot be loaded, or does not fit the first one; JAX_PLATFORMS names a
            device that there is not.
        """
        check_platform()
        predictors: list[Predictor] = []
        for run in runs:
            predictors += Predictor.load_members(run, tta)
        for what in ("classes", "channels", "plane"):
            known: dict[str, str] = {}
            for predictor in predictors:
                known.setdefault(_words(getattr(predictor, what)), predictor.guard.run)
            known.pop("", None)
            if len(known) > 1:
                stated = " and ".join(f"{words} ({run})" for words, run in known.items())
                raise UserError(
                    f"the runs differ in their {what}: {stated}",
                    remedy="runs that are averaged agree on them: leave one out",
                )
        return cls(tuple(predictors))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, background first."""
        return self.predictors[0].classes

    @property
    def regions(self) -> dict[str, tuple[str, ...]]:
        """Name → the classes that it unites, of all runs."""
        return {name: of for one in self.predictors for name, of in one.regions.items()}

    @property
    def channels(self) -> int:
        """Of an image."""
        return self.predictors[0].channels

    @property
    def channel_names(self) -> tuple[str, ...]:
        """What each channel is; empty where nobody said it."""
        return next((one.channel_names for one in self.predictors if one.channel_names), ())

    @property
    def origin(self) -> Provenance:
        """What the networks were trained on."""
        return merged(*(one.origin for one in self.predictors))

    @property
    def plane(self) -> str:
        """In which volumes are cut to slices; "" for that of each volume."""
        return next((one.plane for one in self.predictors if one.plane), "")

    @property
    def in_millimetres(self) -> tuple[Predictor, ...]:
        """The networks of pictures that were trained on millimetres."""
        flat = [one for one in self.predictors if not one.frame.depth]
        return tuple(one for one in flat if one.frame.is_in_millimetres)

    def planes(
        self,
        image: np.ndarray,
        spacing: Sequence[float] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[np.ndarray]:
        """Mean probabilities ``(H, W, K)`` of an image, or of each slice of a volume, see
        :meth:`semiseg.runner.predictor.Predictor.planes`.

        ``progress`` is called with the windows that the networks have seen, and all that they will
        see: first with 0.
        """
        after_window = None
        if progress is not None:
            total = sum(one.windows(image, spacing) for one in self.predictors)
            after_window = _counter(total, progress)
        streams = [one.planes(image, spacing, after_window) for one in self.predictors]
        for planes in zip(*streams, strict=True):
            yield _mean(planes)

    def predict(self, image: np.ndarray, spacing: Sequence[float] | None = None) -> np.ndarray:
        """The mask of an image or a volume, see :meth:`semiseg.runner.predictor.Predictor.predict`.

        Args:
          image: ``(H, W, C)``, or the slices of a volume, ``(D, H, W, C)``.
          spacing: millimetres of a pixel along each spatial axis.

        Returns:
          ``(H, W)`` or ``(D, H, W)`` uint8: the class of each pixel.
        """
        masks = [plane.argmax(-1).astype(np.uint8) for plane in self.planes(image, spacing)]
        return np.stack(masks).reshape(image.shape[:-1])

    def probabilities(
        self, image: np.ndarray, spacing: Sequence[float] | None = None
    ) -> np.ndarray:
        """Mean class probabilities ``(H, W, K)`` or ``(D, H, W, K)`` on the image's own grid.

        Args:
          image, spacing: see :meth:`predict`.
        """
        planes = np.stack(list(self.planes(image, spacing)))
        return planes.reshape(*image.shape[:-1], -1)

    # -------------------------------------------------------------- files
    def check_files(self, scans: Iterable[Sequence[Path]], reason: str) -> list[str]:
        """Write into the ledgers of the test sets that files are from, before they are predicted.

        Args:
          scans: the files of each; those that cannot be read are left out.
          reason: why they are predicted, in words.

        Returns:
          A message for each test set.

        Raises:
          UserError: a ledger cannot be written.
        """
        by_scan: list[list[str]] = []
        for files in scans:
            hashes: list[str] = []
            with contextlib.suppress(Exception):  # predict_files says what is wrong with it
                for image in self._read(files, resample=True).slices:
                    hashes += image_hashes(image)
            by_scan.append(hashes)
        messages: list[str] = []
        for predictor in self.predictors:
            messages += predictor.guard.look_at_hashes(by_scan, reason)
        return list(dict.fromkeys(messages))

    def predict_files(
        self,
        files: Sequence[Path],
        target: Path,
        options: Options | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Prediction:
        """Segment a scan into a file of the same format and geometry.

        Args:
          files: an image file, one a channel, or the folder of one DICOM series.
          target: the mask's file; a DICOM SEG for a series.
          options: what is written beside it.
          progress: see :meth:`planes`.

        Raises:
          UserError: the file cannot be read or does not fit the network, naming it.
        """
        if options is None:
            options = Options()
        try:
            return self._predict_files(files, target, options, progress)
        except UserError as error:
            if str(files[0]) in str(error):
                raise
            raise UserError(str(error), where=files[0]) from error
        except Exception as error:  # image libraries raise anything on a damaged file
            reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
            raise UserError(f"{files[0]}: cannot be segmented ({reason})") from error

    def _predict_files(
        self,
        files: Sequence[Path],
        target: Path,
        options: Options,
        progress: Callable[[int, int], None] | None,
    ) -> Prediction:
        scan = self._read(files, options.nifti, options.resample)
        self._check(scan)
        millimetres = options.spacing
        if scan.is_volume:
            millimetres = scan.spacing
        image = scan.image
        planes = self.planes(image, millimetres or None, progress)
        target.parent.mkdir(parents=True, exist_ok=True)
        space = image.shape[:-1]
        if options.probabilities:
            whole = np.stack(list(planes)).reshape(*space, -1)
            scan.write_probabilities(whole, probabilities_path(scan, target), self.classes)
            mask = whole.argmax(-1).astype(np.uint8)
        else:
            labels = [plane.argmax(-1).astype(np.uint8) for plane in planes]
            mask = np.stack(labels).reshape(space)
        if options.largest_component:
            mask = largest_components(mask, len(self.classes))
        scan.write_mask(mask, target, len(self.classes))
        counts = value_counts(mask)[: len(self.classes)]
        phrases = self._differences(image, millimetres)
        return Prediction(image, mask, counts, millimetres, phrases)

    def _differences(self, image: np.ndarray, millimetres: Sequence[float]) -> tuple[str, ...]:
        """How a scan is unlike those that the networks were trained on."""
        unit = "mm"
        sides = tuple(millimetres)
        if not sides:
            unit = "pixel"
            sides = (1.0,) * (image.ndim - 1)
        case = Case("", "image", image, None, sides, "image")
        phrases: dict[str, None] = {}
        for predictor in self.predictors:
            phrases |= dict.fromkeys(expected.differences(predictor.expected, case, unit))
        return tuple(phrases)

    def _read(
        self, files: Sequence[Path], with_nifti: bool = False, resample: bool = False
    ) -> Scan | SeriesScan:
        if is_series(files[0]):
            series = read_input(files[0], self.plane, resample)
            return SeriesScan(files[0], series, self.classes, with_nifti)
        channels = "auto"
        if self.channels == 1:
            channels = "grey"
        elif self.channels == 3 and len(files) == 1:
            channels = "rgb"
        return read_scan(files, channels, self.plane)

    def _check(self, scan: Scan | SeriesScan) -> None:
        if self.predictors[0].frame.depth and not scan.is_volume:
            raise UserError(
                f"{scan.path}: is a 2D picture, and the network takes volumes: save it as NIfTI"
            )
        channels = scan.image.shape[-1]
        if channels == self.channels:
            return
        message = (
            f"{scan.path}: has {channels} channels, the network was trained on {self.channels}"
        )
        if channels == 1 and not is_series(scan.path):
            last = f"NAME_{self.channels - 1:04d}"
            message += f"; give them as the fourth axis of a volume, as files NAME_0000 … {last}"
            message += ", or as a folder a scan with --channel-files"
        raise UserError(message)


def probabilities_path(scan: Scan | SeriesScan, mask: Path) -> Path:
    """Where the probabilities of a scan go, beside its mask."""
    suffix = ".npz"
    if scan.is_volume:
        suffix = ".nii.gz"
    return beside(mask, "probabilities", suffix)


def _counter(total: int, progress: Callable[[int, int], None]) -> Callable[[], None]:
    """What counts calls for ``progress``, up to ``total``."""
    numbers = itertools.count(1)
    progress(0, total)
    return lambda: progress(next(numbers), total)


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of arrays; of one itself."""
    if len(arrays) == 1:
        return arrays[0]
    return np.asarray(np.mean(arrays, 0, dtype=np.float32))


def _words(value: object) -> str:
    """Of an error's line.

    >>> _words(("background", "disc")), _words(3)
    ('background, disc', '3')
    """
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value)
