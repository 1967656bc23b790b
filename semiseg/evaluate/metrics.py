"""Scores of one prediction against one annotation: a value per foreground class and metric, in the
data's own geometry.

A volume's slices are stacked before they come here; the rows go to ``per_subject.csv``, the policy
beside them.

What happens where a mask is empty (:class:`EmptyPolicy` chooses the entries in brackets):

| truth   | prediction | dice, iou  | precision  | sensitivity | distances    | volume_error |
|---------|------------|------------|------------|-------------|--------------|--------------|
| empty   | empty      | [NaN]      | [NaN]      | [NaN]       | [NaN]        | [NaN]        |
| present | empty      | 0          | 0          | 0           | [diagonal]   | -1           |
| empty   | present    | 0          | 0          | NaN         | [diagonal]   | NaN          |

NaN means "left out of the mean, and counted". It depends on the truth alone: no prediction can take
its own failure out of a mean.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from semiseg import plugins
from semiseg.errors import UserError
from semiseg.evaluate import distances


@dataclasses.dataclass(frozen=True)
class Masks:
    """One class as predicted and as annotated: what a metric is computed from.

    Attributes:
      prediction: ``(H, W)`` or ``(D, H, W)`` bool.
      truth: bool of the same shape.
      spacing: size of a voxel along each axis.
    """

    prediction: np.ndarray
    truth: np.ndarray
    spacing: Sequence[float]

    @functools.cached_property
    def both(self) -> int:
        """Voxels in both masks."""
        return int(np.count_nonzero(self.prediction & self.truth))

    @functools.cached_property
    def predicted(self) -> int:
        """Voxels of the prediction."""
        return int(np.count_nonzero(self.prediction))

    @functools.cached_property
    def true(self) -> int:
        """Voxels of the truth."""
        return int(np.count_nonzero(self.truth))

    @functools.cached_property
    def surface(self) -> distances.SurfaceDistances:
        """Distances between the surfaces; neither mask may be empty."""
        return distances.surface_distances(self.prediction, self.truth, self.spacing)

    @functools.cached_property
    def diagonal(self) -> float:
        """Length of the whole image from corner to corner."""
        sides = zip(self.truth.shape, self.spacing, strict=True)
        return math.hypot(*(n * step for n, step in sides))


Better = Literal["higher", "lower", "nearer to zero"]


@dataclasses.dataclass(frozen=True)
class Metric:
    """Everything that semiseg knows of a metric; to add one, add its line to :data:`METRICS`.

    Attributes:
      name: in per_subject.csv, summary.json, ``semiseg report --metric`` and, after ``val_``, in
        the metric of a sweep.
      title: in the report and its figures.
      better: which of two values is better. With "nearer to zero" the absolute values are compared.
      compute: the value of a pair of masks. At least one of them has a voxel; where ``unit`` is
        "length", both have.
      bounds: smallest and largest possible value of what is compared, by default none. Intervals
        are cut there.
      unit: "" for a ratio. "length" is that of the data's spacing (mm, voxel …), and says that
        :class:`EmptyPolicy` chooses the value where one mask is empty.
      relevant: smallest difference that matters to a reader.
      places: decimals of a printed value; a difference has one more.
      by_default: whether it is scored unless a caller asks otherwise.
      in_report: whether the report shows it beside its primary metric.

    Raises:
      UserError: ``better`` or ``unit`` is none of the above.
    """

    name: str
    title: str
    better: Better
    compute: Callable[[Masks], float]
    bounds: tuple[float, float] = (-math.inf, math.inf)
    unit: Literal["", "length"] = ""
    relevant: float = 0.01
    places: int = 2
    by_default: bool = True
    in_report: bool = True

    def __post_init__(self) -> None:
        allowed = get_args(Better)
        if self.better not in allowed:
            raise UserError(
                f"metric {self.name}: better={self.better!r} does not exist; choose "
                f"{', '.join(allowed)}"
            )
        if self.unit not in ("", "length"):
            raise UserError(f"metric {self.name}: unit={self.unit!r} is neither '' nor 'length'")

    @property
    def absolute(self) -> bool:
        """Whether absolute values are compared."""
        return self.better == "nearer to zero"

    @property
    def sign(self) -> int:
        """1 where more of what is compared is better, -1 where less is."""
        return 1 if self.better == "higher" else -1

    @property
    def perfect(self) -> float:
        """The best value there is; NaN where none is finite."""
        if self.absolute:
            return 0.0
        low, high = self.bounds
        best = high if self.better == "higher" else low
        if math.isinf(best):
            return math.nan
        return best


def dice(m: Masks) -> float:
    """Dice 1945, Sørensen 1948: ``2 |P ∩ T| / (|P| + |T|)``.

    Example:
      >>> dice(Masks(np.array([True, True, False]), np.array([True, False, False]), (1.0,)))
      0.6666666666666666
    """
    return 2 * m.both / (m.predicted + m.true)


def iou(m: Masks) -> float:
    """Jaccard 1912: ``|P ∩ T| / |P ∪ T|``."""
    return m.both / (m.predicted + m.true - m.both)


def precision(m: Masks) -> float:
    """``|P ∩ T| / |P|``; 0 for an empty prediction."""
    if not m.predicted:
        return 0.0
    return m.both / m.predicted


def sensitivity(m: Masks) -> float:
    """``|P ∩ T| / |T|``; NaN for an empty truth."""
    if not m.true:
        return math.nan
    return m.both / m.true


def volume_error(m: Masks) -> float:
    """``(|P| - |T|) / |T|``, signed; NaN for an empty truth."""
    if not m.true:
        return math.nan
    return (m.predicted - m.true) / m.true


def _of_surface(
    statistic: Callable[[distances.SurfaceDistances], float],
) -> Callable[[Masks], float]:
    def compute(m: Masks) -> float:
        return statistic(m.surface)

    return compute


def _absolute_volume_error(m: Masks) -> float:
    return abs(volume_error(m))


_SHARE: Any = {"bounds": (0.0, 1.0)}
_LENGTH: Any = {"bounds": (0.0, math.inf), "unit": "length", "relevant": 0.5, "places": 1}
_VOLUME: Any = {"bounds": (0.0, math.inf), "in_report": False}
_HD = _of_surface(distances.hausdorff)
_HD95 = _of_surface(distances.hausdorff95)
_POOLED = _of_surface(distances.hausdorff95_pooled)
_ASSD = _of_surface(distances.average)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("dice", "Dice", "higher", dice, **_SHARE),
        Metric("iou", "IoU", "higher", iou, **_SHARE),
        Metric("precision", "Precision", "higher", precision, **_SHARE),
        Metric("sensitivity", "Sensitivity", "higher", sensitivity, **_SHARE),
        Metric("hd95", "HD95", "lower", _HD95, **_LENGTH),
        Metric("hd95_pooled", "HD95 (pooled)", "lower", _POOLED, **_LENGTH, in_report=False),
        Metric("assd", "ASSD", "lower", _ASSD, **_LENGTH),
        Metric("volume_error", "Volume error", "nearer to zero", volume_error, **_VOLUME),
        Metric("hd", "HD", "lower", _HD, **_LENGTH, by_default=False, in_report=False),
        Metric("volume_error_abs", "Absolute volume error", "lower", _absolute_volume_error,
               **_VOLUME, by_default=False),
    )
}  # fmt: skip
"""Every metric by its name: the one table. A line is all that a new metric needs."""
plugins.offer("metric", METRICS)

HD95 = {"max": "hd95", "pooled": "hd95_pooled"}


def metric_of(name: str) -> Metric:
    """A metric of the table.

    Raises:
      UserError: there is none of that name.
    """
    if name not in METRICS:
        raise UserError(f"metric {name!r} does not exist; choose among {', '.join(METRICS)}")
    return METRICS[name]


def default_names() -> tuple[str, ...]:
    """Names of the metrics that are scored unless a caller asks otherwise, in the table's order."""
    return tuple(metric.name for metric in METRICS.values() if metric.by_default)


Distance = Literal["diagonal", "nan"]


@dataclasses.dataclass(frozen=True)
class EmptyPolicy:
    """What a class scores where a mask is empty. Stored beside the results
    (``dataclasses.asdict``), because it moves their means.

    Raises:
      UserError: an option that does not exist.
    """

    both: Literal["nan", "perfect"] = "nan"
    """Neither mask has a voxel: NaN in every metric, or ``perfect`` (overlap 1, distance and volume
    error 0), as some challenges do.
    """
    missed: Distance = "diagonal"
    """Distance where the truth is present and the prediction empty: the image diagonal in units, or
    NaN.
    """
    invented: Distance = "diagonal"
    """Distance where the truth is empty and the prediction present."""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("both", ("nan", "perfect")),
            ("missed", get_args(Distance)),
            ("invented", get_args(Distance)),
        ):
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"empty policy: {name}={getattr(self, name)!r} does not exist; choose "
                    f"{' or '.join(allowed)}"
                )


class Row(NamedTuple):
    """One line of ``per_subject.csv``, less what the caller knows (run, split, subject)."""

    class_: str
    metric: str
    value: float
    unit: str  # "" for a ratio, "mm" or "voxel" for a distance


def score(
    prediction: np.ndarray,
    label: np.ndarray,
    spacing: Sequence[float],
    classes: Sequence[str],
    *,
    metrics: Sequence[str] | None = None,
    hd95: Sequence[str] = ("max", "pooled"),
    policy: EmptyPolicy = EmptyPolicy(),
    unit: str = "voxel",
) -> list[Row]:
    """Score every foreground class, in the order of ``classes`` and then of ``metrics``.

    Args:
      prediction: ``(H, W)`` or ``(D, H, W)`` int, classes ``0 … K-1``.
      label: the same shape; voxels with IGNORE are taken out of both masks.
      spacing: size of a voxel along each axis, in ``unit``.
      classes: K names, background first.
      metrics: names out of METRICS; :func:`default_names` unless given.
      hd95: which definitions of HD95 to keep among ``metrics``: ``max`` (``hd95``), ``pooled``
        (``hd95_pooled``).
      unit: of the distances, ``mm`` or ``voxel``.

    Raises:
      UserError: shapes or spacing that do not fit, a metric that does not exist.
    """
    from semiseg.types import IGNORE  # with JAX, which who reads METRICS alone does without

    if prediction.shape != label.shape or len(spacing) != label.ndim:
        shapes = f"prediction {prediction.shape}, label {label.shape} and spacing {tuple(spacing)}"
        raise UserError(f"{shapes} do not fit; give two arrays of one shape and one step an axis")
    dropped = {name for mode, name in HD95.items() if mode not in hd95}
    names = default_names() if metrics is None else metrics
    wanted = [name for name in names if name not in dropped]
    valid = label != IGNORE
    rows = []
    for k, class_ in enumerate(classes[1:], start=1):
        values = mask_metrics((prediction == k) & valid, label == k, spacing, wanted, policy)
        for name, value in values.items():
            row_unit = unit if METRICS[name].unit == "length" else ""
            rows.append(Row(class_, name, value, row_unit))
    return rows


def mask_metrics(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    metrics: Sequence[str] | None = None,
    policy: EmptyPolicy = EmptyPolicy(),
) -> dict[str, float]:
    """The named metrics of one pair of bool masks of one shape.

    Raises:
      UserError: a metric that does not exist.

    Example:
      >>> truth = np.array([[True, True, False, False]])
      >>> prediction = np.array([[False, True, True, False]])
      >>> mask_metrics(prediction, truth, (1.0, 1.0), ("dice", "volume_error"))
      {'dice': 0.5, 'volume_error': 0.0}
    """
    names = default_names() if metrics is None else metrics
    wanted = [metric_of(name) for name in names]
    masks = Masks(prediction, truth, spacing)
    return {metric.name: _value(metric, masks, policy) for metric in wanted}


def image_dice(prediction: np.ndarray, label: np.ndarray) -> float:
    """Mean Dice over the foreground classes that an image shows or is predicted to show.

    Args:
      prediction: ``(*space)`` int.
      label: ``(*space)`` int; pixels with IGNORE are left out.

    Returns:
      NaN where there is no such class.

    Example:
      >>> image_dice(np.array([0, 1, 1, 2]), np.array([0, 1, 0, 2]))
      0.8333333333333333
    """
    from semiseg.types import IGNORE

    valid = label != IGNORE
    classes = [k for k in np.union1d(prediction[valid], label[valid]) if k != 0]
    values = []
    for k in classes:
        masks = Masks((prediction == k) & valid, label == k, (1.0,) * label.ndim)
        values.append(dice(masks))
    if not values:
        return math.nan
    return float(np.mean(values))


def _value(metric: Metric, masks: Masks, policy: EmptyPolicy) -> float:
    """A metric of two masks, or what ``policy`` puts in its place."""
    if not masks.predicted and not masks.true:
        if policy.both == "nan":
            return math.nan
        return metric.perfect
    if metric.unit == "length" and not masks.predicted:
        return _stand_in(policy.missed, masks)
    if metric.unit == "length" and not masks.true:
        return _stand_in(policy.invented, masks)
    return metric.compute(masks)


def _stand_in(option: Distance, masks: Masks) -> float:
    if option == "nan":
        return math.nan
    return masks.diagonal
