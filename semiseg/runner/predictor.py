"""A trained network that takes images as they are and answers on their own grid."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
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
      expected: what training saw, see :mod:`semiseg.data.expected`.
    """

    model: Model
    frame: Frame
    params: Params
    classes: tuple[str, ...]
    channels: int
    guard: Guard = dataclasses.field(default_factory=_no_run)
    expected: dict[str, Any] = dataclasses.field(default_factory=dict)

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
        expected = header.get("input", {})
        frame = _frame(trial.frame, expected)
        classes = tuple(header["classes"])
        channels = int(header["channels"])
        model = model_for(trial, channels, len(classes))
        params, _ = load_weights(weights, shapes_of(model))
        return cls(model, frame, params, classes, channels, guard, expected)

    # -------------------------------------------------------------- arrays
    def predict(self, image: np.ndarray, spacing: Sequence[float] | None = None) -> np.ndarray:
        """The mask of an image or a volume.

        Args:
          image: ``(H, W, C)``, or the slices of a volume in their order, ``(D, H, W, C)``; any
            numbers, as the files of training hold them.
          spacing: millimetres of a pixel along each spatial axis; only a network that was trained
            on millimetres needs it.

        Returns:
          ``(H, W)`` or ``(D, H, W)`` uint8: the class of each pixel.

        Raises:
          UserError: another number of channels or axes, an image for a 3D network, or no spacing
            where one is needed.
        """
        case = self._case(image, spacing)
        space = image.shape[:-1]
        planes = [
            self.frame.labels(probability, shape) for probability, shape in self._predicted(case)
        ]
        return self._joined(planes).reshape(space)

    def probabilities(
        self, image: np.ndarray, spacing: Sequence[float] | None = None
    ) -> np.ndarray:
        """Class probabilities of an image or a volume on its own grid.

        Args:
          image, spacing: see :meth:`predict`.

        Returns:
          ``(H, W, K)`` or ``(D, H, W, K)`` float32. Their largest is the class of
          :meth:`predict`.
        """
        case = self._case(image, spacing)
        space = image.shape[:-1]
        planes = [
            self.frame.to_scan(probability, shape) for probability, shape in self._predicted(case)
        ]
        return self._joined(planes).reshape(*space, -1)

    def _case(self, image: np.ndarray, spacing: Sequence[float] | None) -> Case:
        if image.ndim not in (3, 4) or image.shape[-1] != self.channels:
            raise UserError(
                f"the image has the shape {image.shape}: give (H, W, {self.channels}), or slices "
                f"(D, H, W, {self.channels})"
            )
        axes = image.ndim - 1
        if spacing is None and self.frame.is_in_millimetres:
            raise UserError(
                f"the network was trained on pixels of {self.frame.spacing} mm, and nobody states "
                f"those of the image: give its spacing"
            )
        sides = (1.0,) * axes if spacing is None else tuple(map(float, spacing))
        if len(sides) != axes:
            raise UserError(f"the spacing {sides} has {len(sides)} numbers, the image {axes} axes")
        return Case("", "image", image, None, sides, "image")

    def _predicted(self, scan: Case) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
        """The network's probabilities of a picture, of each slice of a volume, or (3D) of the
        whole volume, with its shape.

        Images of a test set that is known here are written into its ledger first.
        """
        slices = list(scan.image) if scan.image.ndim == 4 else [scan.image]
        for message in self.guard.look(slices, "semiseg.Predictor"):
            log.warning("%s", message)
        cases = self.frame.scans([scan], "prediction")
        pool = self.frame.each_pool([scan])
        results = probabilities(self.model, self.frame, self.params, pool)
        for probability, case in zip(results, cases, strict=True):
            yield probability, case.image.shape[:-1]

    def _joined(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """The slices of a volume put together; of one array itself."""
        return arrays[0] if len(arrays) == 1 else np.stack(arrays)

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
        image = np.asarray(scan.slices) if scan.is_volume else scan.slices[0]
        spacing = scan.spacing if scan.is_volume else None  # a picture states no millimetres
        if with_probabilities:
            whole = self.probabilities(image, spacing)
            place = scan.probabilities_path(target.parent)
            if isinstance(scan, SeriesScan):
                place = scan.probabilities_path(target.parent, target.name)
            scan.write_probabilities(whole, place, self.classes)
            mask = whole.argmax(-1).astype(np.uint8)
        else:
            mask = self.predict(image, spacing)
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


def _frame(frame: Frame, expected: Mapping[str, Any]) -> Frame:
    """A run's frame with what its training data decided."""
    decided = {key: expected[key] for key in ("spacing", "intensity", "stored") if key in expected}
    if not decided:
        decided = {"stored": "uint8"}
    return dataclasses.replace(frame, **decided)
