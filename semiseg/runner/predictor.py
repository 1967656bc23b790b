"""A trained network that takes images as they are and answers on their own grid."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg import config
from semiseg.config import Trial
from semiseg.data import provenance, store
from semiseg.data.frame import Frame, PoolImage
from semiseg.data.guard import Guard
from semiseg.data.info import StoreInfo
from semiseg.data.provenance import Provenance
from semiseg.errors import UserError
from semiseg.evaluate.probabilities import probabilities
from semiseg.files import check_shape
from semiseg.run_folder import RunFolder
from semiseg.runner.build import model_for, shapes_of
from semiseg.shapes import NAME, PATH, optional
from semiseg.train.checkpoint import INPUT_SHAPE, load_weights
from semiseg.types import Case, Model, Params

log = logging.getLogger("semiseg")
MEMBERS = "members"
"""Key of a weights file's header: the headers of its networks, where it holds several."""


def _no_run() -> Guard:
    return Guard("a predictor without a run")


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
      mirrors: spatial axes, counted from the last, along which training mirrored images.
      tta: average the prediction with those of the image mirrored along each of ``mirrors``.
      regions: name → the classes that it unites.
      channel_names: what each channel is, e.g. ``T2``; empty where nobody said it.
      origin: what the network was trained on, as far as its file says so.
    """

    model: Model
    frame: Frame
    params: Params
    classes: tuple[str, ...]
    channels: int
    guard: Guard = dataclasses.field(default_factory=_no_run)
    expected: dict[str, Any] = dataclasses.field(default_factory=dict)
    mirrors: tuple[int, ...] = ()
    tta: bool = False
    regions: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    channel_names: tuple[str, ...] = ()
    origin: Provenance = Provenance()

    @classmethod
    def load(cls, run: str | Path, tta: bool = False) -> Predictor:
        """From a run's folder, an exported one, or a weights file of a run.

        Raises:
          UserError: a file is missing or damaged, or the weights file is not a run's.
        """
        place = Path(run)
        weights = weights_of(place)
        _, header = load_weights(weights)
        if MEMBERS in header:
            raise UserError(
                f"holds {len(header[MEMBERS])} networks, whose probabilities are averaged",
                where=run,
                remedy="load it with semiseg.Ensemble.load",
            )
        if place.is_dir():
            folder = RunFolder(place)
            trial = config.load_network(folder.config)
            header = header | {"config": config.load_yaml(folder.config)}
        else:
            trial = _trial_of(header, weights)
        return cls._read(place, weights, trial, header, tta=tta)

    @classmethod
    def load_members(cls, run: str | Path, tta: bool = False) -> list[Predictor]:
        """From what :meth:`load` reads, or from an exported ensemble: all networks in it.

        Raises:
          UserError: see :meth:`load`.
        """
        place = Path(run)
        weights = weights_of(place)
        _, header = load_weights(weights)
        if MEMBERS not in header:
            return [cls.load(run, tta)]
        predictors = []
        for i, member in enumerate(header[MEMBERS]):
            trial = _trial_of(member, weights)
            predictors.append(cls._read(place, weights, trial, member, prefix_of(i), tta))
        return predictors

    @classmethod
    def _read(
        cls,
        run: Path,
        weights: Path,
        trial: Trial,
        header: dict[str, Any],
        prefix: str = "",
        tta: bool = False,
    ) -> Predictor:
        """One network of a weights file, as its header and its configuration describe it."""
        _check_header(header, weights)
        tree = header["config"]
        guard = Guard(str(run), tree.get("data"), tree.get("root"))
        expected = header.get("input", {})
        frame = _frame(trial.frame, expected)
        classes = tuple(header["classes"])
        channels = int(header["channels"])
        model = model_for(trial, channels, len(classes))
        params, _ = load_weights(weights, shapes_of(model), prefix)
        return cls(
            model,
            frame,
            params,
            classes,
            channels,
            guard,
            expected,
            _mirrors(tree, frame),
            tta,
            _regions(header, tree),
            _channel_names(header, tree),
            provenance.of_header(header, f"weights {weights}"),
        )

    @property
    def plane(self) -> str:
        """In which training cut its volumes to slices; "" where nobody knows it."""
        return str(self.expected.get("plane", ""))

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
        space = image.shape[:-1]
        planes = [plane.argmax(-1).astype(np.uint8) for plane in self.planes(image, spacing)]
        return np.stack(planes).reshape(space)

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
        space = image.shape[:-1]
        return np.stack(list(self.planes(image, spacing))).reshape(*space, -1)

    def planes(
        self,
        image: np.ndarray,
        spacing: Sequence[float] | None = None,
        after_window: Callable[[], None] | None = None,
    ) -> Iterator[np.ndarray]:
        """Class probabilities ``(H, W, K)`` float32 of an image, or of each slice of a volume.

        A 2D network sees a slice when its probabilities are asked for: those of a whole volume are
        never in memory.

        Args:
          image, spacing: see :meth:`predict`.
          after_window: called when the network has seen a window, of which there are
            :meth:`windows`.
        """
        case = self._case(image, spacing)
        slices = [image]
        if image.ndim == 4:
            slices = list(image)
        for message in self.guard.look(slices, "semiseg.Predictor"):
            log.warning("%s", message)
        for probability, shape in self._predicted(case, after_window):
            yield from self.frame.to_planes(probability, shape)

    def windows(self, image: np.ndarray, spacing: Sequence[float] | None = None) -> int:
        """How many windows the network sees of an image or a volume, its mirror images included.

        Args:
          image, spacing: see :meth:`predict`.
        """
        space = self.frame.shape(self._case(image, spacing))
        planes = 1
        if len(space) > self.frame.dims:  # slices for a 2D network
            planes = space[0]
        of_plane = len(self.frame.windows(space[-self.frame.dims :]))
        return planes * of_plane * (1 + len(self._mirrored_axes))

    @property
    def _mirrored_axes(self) -> list[int]:
        """Of a pool image: those along which it is predicted mirrored as well."""
        if not self.tta:
            return []
        return [axis - 1 for axis in self.mirrors]  # the last axis is the channel

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

    def _predicted(
        self, scan: Case, after_window: Callable[[], None] | None
    ) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
        """The network's probabilities of a picture, of each slice of a volume, or (3D) of the
        whole volume, with its shape.
        """
        axes = self._mirrored_axes
        cases = self.frame.scans([scan], "prediction")
        pool = _with_mirrored(self.frame.each_pool([scan]), axes)
        results = probabilities(self.model, self.frame, self.params, pool, after_window)
        for case in cases:
            yield _mean_over_mirrors(results, axes), case.image.shape[:-1]


def weights_of(run: Path) -> Path:
    """The weights file of a run's folder or of an exported one, or the file itself.

    Raises:
      UserError: there is none.
    """
    folder = RunFolder(run)
    weights = run if run.is_file() else folder.weights
    if not weights.exists() and folder.config.exists():
        raise UserError(
            f"holds no {weights.name}: the run has not ended",
            where=run,
            remedy="run its train command again, which goes on where it stopped",
        )
    if not weights.exists():
        raise UserError(
            f"{run}: holds no {weights.name}; name a finished run, or what `semiseg export` wrote"
        )
    return weights


def prefix_of(member: int) -> str:
    """Of the names of a network's variables in a file of several.

    >>> prefix_of(2)
    '2.'
    """
    return f"{member}."


def _with_mirrored(pool: Iterable[PoolImage], axes: Sequence[int]) -> Iterator[PoolImage]:
    """Each image, followed by itself mirrored along each of the axes."""
    for image in pool:
        yield image
        for axis in axes:
            yield image._replace(levels=np.flip(image.levels, axis))


def _mean_over_mirrors(results: Iterator[np.ndarray], axes: Sequence[int]) -> np.ndarray:
    """The mean of the next image's probabilities and of those of its mirror images.

    >>> left = np.array([[[0.25, 0.75], [1.0, 0.0]]])
    >>> _mean_over_mirrors(iter([left, left]), [-2])[..., 1].tolist()
    [[0.375, 0.375]]
    """
    total = next(results)
    if not axes:
        return total
    for axis in axes:
        total = total + np.flip(next(results), axis)
    return total / np.float32(1 + len(axes))


def _mirrors(tree: Mapping[str, Any], frame: Frame) -> tuple[int, ...]:
    """The axes along which a run mirrored its images, by its configuration."""
    augment = tree.get("augment")
    geometry: Any = None
    if isinstance(augment, Mapping):
        geometry = augment.get("geometry")
    if not isinstance(geometry, Mapping) or not geometry.get("flip"):
        return ()
    axes = geometry.get("flip_axes", ())
    if not isinstance(axes, list | tuple) or not all(type(axis) is int for axis in axes):
        raise UserError(f"augment.geometry.flip_axes is {axes!r}: it should be a list of axes")
    return tuple(axis for axis in axes if -frame.dims <= axis < 0)


def _check_header(header: dict[str, Any], weights: Path) -> None:
    """Refuse a header that does not describe a network, or a configuration of odd values."""
    if not {"config", "classes", "channels"} <= header.keys():
        raise UserError(
            f"{weights}: does not say which network it is of; name the run's folder instead"
        )
    if len(set(header["classes"])) < len(header["classes"]):
        raise UserError("names a class twice", where=weights, remedy="train the run again")
    if "low" in header.get("input", {}) and not header["input"].keys() >= INPUT_SHAPE.keys():
        raise UserError(
            "does not say what training saw", where=weights, remedy="train the run again"
        )
    check_shape(header["config"], CONFIG_SHAPE, weights, "train the run again")


CONFIG_SHAPE = {"data": optional(NAME), "root": optional(PATH)}
"""Where a run's data set is, see :mod:`semiseg.shapes`."""


def _trial_of(header: dict[str, Any], weights: Path) -> Trial:
    _check_header(header, weights)
    return config.network_from_dict(header["config"], str(weights))


def _regions(header: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The regions of the data set, if it is here: they may have changed since; else the run's."""
    info = _info(header, tree)
    if info is not None:
        return info.regions
    return {name: tuple(members) for name, members in header.get("regions", {}).items()}


def _channel_names(header: Mapping[str, Any], tree: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in the header; a run of an earlier version has those of its data set, if it is
    here.
    """
    info = _info(header, tree)
    names = header.get("channel_names")
    if names is None and info is not None:
        names = info.channel_names
    return tuple(names or ())


def _info(header: Mapping[str, Any], tree: Mapping[str, Any]) -> StoreInfo | None:
    """The data set of a run; None where it is not here, or is another one by now."""
    try:
        info = store.info(str(tree.get("data")), tree.get("root"))
    except (UserError, OSError):  # a name that no folder can have
        return None
    if info.fingerprint != header.get("fingerprint"):
        return None
    return info


def _frame(frame: Frame, expected: Mapping[str, Any]) -> Frame:
    """A run's frame with what its training data decided."""
    decided = {key: expected[key] for key in ("spacing", "intensity", "stored") if key in expected}
    if not decided:
        decided = {"stored": "uint8"}
    return dataclasses.replace(frame, **decided)
