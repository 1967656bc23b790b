"""A trained network that takes images as they are and answers on their own grid."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiseg import config
from semiseg.config import Trial
from semiseg.data.dicom_input import SeriesScan, is_series, read_input
from semiseg.data.frame import Frame
from semiseg.data.guard import Guard
from semiseg.data.images import Scan, read_scan
from semiseg.data.test_images import image_hashes
from semiseg.errors import UserError
from semiseg.evaluate.probabilities import probabilities
from semiseg.run_folder import RunFolder
from semiseg.runner.build import model_for, shapes_of
from semiseg.train.checkpoint import load_weights
from semiseg.types import Case, Model, Params

log = logging.getLogger("semiseg")


def _no_run() -> Guard:
    return Guard("a predictor without a run")


class Prediction(NamedTuple):
    """What was written of a file.

    Attributes:
      mask: ``(H, W)`` or ``(slices, H, W)`` uint8.
      shares: share of the pixels of each class ``(K,)``.
    """

    mask: np.ndarray
    shares: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """A trained network that takes images as they are. It needs the run's configuration and
    weights, and no data set.

        predictor = semiseg.Predictor.load("runs/first")
        mask = predictor.predict(image)

    Attributes:
      model: the network.
      frame: geometry between an image and the network.
      params: variables of the network.
      classes: names, background first.
      channels: of an image.
      guard: writes into the ledger of a test set when its images are predicted.
    """

    model: Model
    frame: Frame
    params: Params
    classes: tuple[str, ...]
    channels: int
    guard: Guard = dataclasses.field(default_factory=_no_run)

    @classmethod
    def load(cls, run: str | Path) -> Predictor:
        """From a run's folder, an exported one, or a weights file of a run.

        Raises:
          UserError: a file is missing or damaged, or the weights file is not a run's.
        """
        place = Path(run)
        folder = RunFolder(place)
        weights = place if place.is_file() else folder.weights
        if not weights.exists():
            raise UserError(
                f"{run}: holds no {weights.name}; name a finished run, or what `semiseg export` "
                f"wrote"
            )
        if place.is_dir():
            trial = config.load_network(folder.config)
            tree = config.load_yaml(folder.config)
            _, header = load_weights(weights)
        else:
            _, header = load_weights(weights)
            trial = _trial_of(header, weights)
            tree = header["config"]
        guard = Guard(str(run), tree.get("data"), tree.get("root"))
        classes = tuple(header["classes"])
        channels = int(header["channels"])
        model = model_for(trial, channels, len(classes))
        params, _ = load_weights(weights, shapes_of(model))
        return cls(model, trial.frame, params, classes, channels, guard)

    # -------------------------------------------------------------- arrays
    def predict(self, image: np.ndarray) -> np.ndarray:
        """The mask of an image or a volume.

        Args:
          image: ``(H, W, C)``, or the slices of a volume in their order, ``(D, H, W, C)``; uint8,
            or any numbers, which are clipped and scaled.

        Returns:
          ``(H, W)`` or ``(D, H, W)`` uint8: the class of each pixel.

        Raises:
          UserError: another number of channels or axes, or an image for a 3D network.
        """
        return self._whole(image, self.masks)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Class probabilities of an image or a volume on its own grid.

        Args:
          image: see :meth:`predict`.

        Returns:
          ``(H, W, K)`` or ``(D, H, W, K)`` float32. Their largest is the class of
          :meth:`predict`.
        """
        return self._whole(image, self.maps)

    def masks(self, images: Sequence[np.ndarray], volume: bool = False) -> list[np.ndarray]:
        """Masks ``(H, W)`` uint8 of images ``(H, W, C)``, each at its own size.

        Args:
          images: the images; those of a ``volume`` are its slices, in order.
          volume: whether they are.

        Raises:
          UserError: a 3D network is given images that are no slices of a volume.
        """
        masks = [
            self.frame.from_window(probability, shape)
            for probability, shape in self._predicted(images, volume)
        ]
        return self._planes(masks)

    def maps(self, images: Sequence[np.ndarray], volume: bool = False) -> list[np.ndarray]:
        """Class probabilities ``(H, W, K)`` float32 of images, see :meth:`masks`."""
        maps = [
            self.frame.to_scan(probability, shape)
            for probability, shape in self._predicted(images, volume)
        ]
        return self._planes(maps)

    def _whole(self, image: np.ndarray, planes_of: Any) -> np.ndarray:
        if image.ndim not in (3, 4) or image.shape[-1] != self.channels:
            raise UserError(
                f"the image has the shape {image.shape}: give (H, W, {self.channels}), or slices "
                f"(D, H, W, {self.channels})"
            )
        if image.ndim == 3:
            return planes_of([image])[0]
        return np.stack(planes_of(list(image), volume=True))

    def _predicted(
        self, images: Sequence[np.ndarray], volume: bool
    ) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
        """The network's probabilities of each scan, and the scan's own shape.

        Images of a test set that is known here are written into its ledger first.
        """
        for message in self.guard.look(images, "semiseg.Predictor"):
            log.warning("%s", message)
        scans = self.frame.scans(_cases(images, volume), "prediction")
        pool = self.frame.to_pools(scans)
        results = probabilities(self.model, self.frame, self.params, pool)
        for probability, scan in zip(results, scans, strict=True):
            yield probability, scan.image.shape[:-1]

    def _planes(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Images as they came in: the slices of a 3D network's volumes."""
        if not self.frame.depth:
            return arrays
        return [plane for volume in arrays for plane in volume]  # of the one volume there is

    # -------------------------------------------------------------- files
    def check_files(self, files: Sequence[Path], reason: str) -> list[str]:
        """Write into the ledgers of the test sets that files are from, before they are predicted.

        Args:
          files: images or volumes; one that cannot be read is left out.
          reason: why they are predicted, in words.

        Returns:
          A message for each test set.

        Raises:
          UserError: a ledger cannot be written.
        """
        hashes: list[str] = []
        for file in files:
            with contextlib.suppress(Exception):  # predict_file says what is wrong with it
                for image in self._read(file).slices:
                    hashes += image_hashes(image)
        return self.guard.look_at_hashes(hashes, reason)

    def predict_file(
        self,
        source: Path,
        target: Path,
        with_probabilities: bool = False,
        with_nifti: bool = False,
    ) -> Prediction:
        """Segment one file into another of the same format and geometry.

        Args:
          source: an image file, or the folder of one DICOM series.
          target: the mask's file; a DICOM SEG for a series.
          with_probabilities: also write the class probabilities beside the mask, see
            :meth:`semiseg.data.images.Scan.write_probabilities`.
          with_nifti: also write the mask of a series as NIfTI.

        Raises:
          UserError: the file cannot be read or does not fit the network, naming it.
        """
        try:
            return self._predict_file(source, target, with_probabilities, with_nifti)
        except UserError:
            raise
        except Exception as error:  # image libraries raise anything on a damaged file
            reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
            raise UserError(f"{source}: cannot be segmented ({reason})") from error

    def _predict_file(
        self, source: Path, target: Path, with_probabilities: bool, with_nifti: bool
    ) -> Prediction:
        scan = self._read(source, with_nifti)
        self._check(scan)
        if with_probabilities:
            maps = self.maps(scan.slices, volume=scan.is_volume)
            whole = np.stack(maps) if scan.is_volume else maps[0]
            place = scan.probabilities_path(target.parent)
            if isinstance(scan, SeriesScan):
                place = scan.probabilities_path(target.parent, target.name)
            scan.write_probabilities(whole, place, self.classes)
            mask = whole.argmax(-1).astype(np.uint8)
        else:
            masks = self.masks(scan.slices, volume=scan.is_volume)
            mask = np.stack(masks) if scan.is_volume else masks[0]
        scan.write_mask(mask, target, len(self.classes))
        counts = np.bincount(mask.ravel(), minlength=len(self.classes))
        return Prediction(mask, counts / mask.size)

    def _read(self, source: Path, with_nifti: bool = False) -> Scan | SeriesScan:
        if is_series(source):
            return SeriesScan(source, read_input(source), self.classes, with_nifti)
        channels = "rgb"
        if self.channels == 1:
            channels = "grey"
        return read_scan(source, channels)

    def _check(self, scan: Scan | SeriesScan) -> None:
        if self.frame.depth and not scan.is_volume:
            raise UserError(
                f"{scan.path}: is a 2D picture, and the network takes volumes: save it as NIfTI"
            )
        channels = scan.slices[0].shape[-1]
        if channels != self.channels:
            raise UserError(
                f"{scan.path}: has {channels} channels, the network was trained on {self.channels}"
            )


def _trial_of(header: dict[str, Any], weights: Path) -> Trial:
    if not {"config", "classes", "channels"} <= header.keys():
        raise UserError(
            f"{weights}: does not say which network it is of; name the run's folder instead"
        )
    return config.network_from_dict(header["config"], str(weights))


def _cases(images: Sequence[np.ndarray], volume: bool) -> list[Case]:
    spacing = (1.0,) * (3 if volume else 2)
    return [
        Case(
            subject="",
            name=f"image {i}",
            image=image,
            label=None,
            spacing=spacing,
            volume="volume" if volume else str(i),
            index=i,
        )
        for i, image in enumerate(images)
    ]
