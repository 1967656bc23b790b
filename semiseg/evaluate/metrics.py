"""Scores of one prediction against one annotation: a value per foreground class and metric, in the
data's own geometry.

A volume's slices are stacked before they come here; the rows go to ``per_subject.csv``, the policy
beside them.

What happens where a mask is empty (:class:`EmptyPolicy` chooses the entries in brackets):

| truth   | prediction | overlap, lesions found | distances | volume error | false positives |
|---------|------------|------------------------|-----------|--------------|-----------------|
| present | empty      | 0                      | diagonal  | -1           | NaN             |
| empty   | empty      | [NaN]                  | [NaN]     | NaN          | 0               |
| empty   | present    | [NaN]                  | [NaN]     | NaN          | 1, its volume   |

NaN means "left out of the mean, and counted". It depends on the truth alone: no prediction can take
its own failure out of a mean, and none can bring a subject in. Each metric says on which truths it
is defined (:attr:`Metric.truth`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from semiseg import plugins
from semiseg.errors import UserError
from semiseg.evaluate import distances
from semiseg.evaluate.empty_policy import TRUTH_DECIDES, EmptyPolicy
from semiseg.evaluate.mask_formulas import (
    Masks,
    absolute_volume_error,
    dice,
    false_positive,
    false_positive_lesions,
    false_positive_volume,
    iou,
    lesion_f1,
    lesion_sensitivity,
    precision,
    sensitivity,
    volume_error,
)

Better = Literal["higher", "lower", "nearer to zero"]


@dataclasses.dataclass(frozen=True)
class Metric:
    """Everything that semiseg knows of a metric; to add one, add its line to :data:`METRICS`.

    Attributes:
      name: in per_subject.csv, summary.json, ``semiseg report --metric`` and, after ``val_``, in
        the metric of a sweep.
      title: in the report and its figures.
      better: which of two values is better. With "nearer to zero" the absolute values are compared.
      compute: the value of a pair of masks on whose truth it is defined; where ``unit`` is
        "length", both have a voxel.
      bounds: smallest and largest possible value of what is compared, by default none. Intervals
        are cut there.
      unit: "" for a ratio or a number. "length" is that of the data's spacing (mm, voxel …), and
        says that :class:`EmptyPolicy` chooses the value where the prediction is empty; "volume" is
        its cube, or its square in 2D.
      relevant: smallest difference that matters to a reader.
      places: decimals of a printed value; a difference has one more.
      by_default: whether it is scored unless a caller asks otherwise.
      in_report: whether the report shows it beside its primary metric.
      truth: on which truths it is defined: "present" (a voxel at least), "empty" (healthy subjects:
        false positives) or "any".
      meaning: what it measures, in a few words that follow "Dice is the"; where it is given, the
        report says it to readers who are new to the metric.

    Raises:
      UserError: ``better``, ``unit`` or ``truth`` is none of the above.
    """

    name: str
    title: str
    better: Better
    compute: Callable[[Masks], float]
    bounds: tuple[float, float] = (-math.inf, math.inf)
    unit: Literal["", "length", "volume"] = ""
    relevant: float = 0.01
    places: int = 2
    by_default: bool = True
    in_report: bool = True
    truth: Literal["present", "empty", "any"] = "present"
    meaning: str = ""

    def __post_init__(self) -> None:
        allowed = get_args(Better)
        if self.better not in allowed:
            raise UserError(
                f"metric {self.name}: better={self.better!r} does not exist; choose "
                f"{', '.join(allowed)}"
            )
        if self.unit not in ("", "length", "volume"):
            raise UserError(
                f"metric {self.name}: unit={self.unit!r} is neither '' nor 'length' nor 'volume'"
            )
        if self.truth not in ("present", "empty", "any"):
            raise UserError(
                f"metric {self.name}: truth={self.truth!r} does not exist; choose present, empty "
                f"or any"
            )

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

    @property
    def worst(self) -> float:
        """The worst value there is; NaN where none is finite."""
        low, high = self.bounds
        worst = low if self.better == "higher" else high
        return math.nan if math.isinf(worst) else worst


def _of_surface(
    statistic: Callable[[distances.SurfaceDistances], float],
) -> Callable[[Masks], float]:
    def compute(m: Masks) -> float:
        return statistic(m.surface)

    return compute


_DICE = "overlap of prediction and annotation, from 0 (none) to 1 (equal)"
_IOU = "share of both masks' union that is in both, from 0 to 1"
_FAR = "distance that 95 % of either outline's points stay within from the other outline"
_SHARE: Any = {"bounds": (0.0, 1.0)}
_LENGTH: Any = {"bounds": (0.0, math.inf), "unit": "length", "relevant": 0.5, "places": 1}
_VOLUME: Any = {"bounds": (0.0, math.inf), "in_report": False}
_LESION: Any = {"bounds": (0.0, 1.0), "in_report": False}
_HEALTHY: Any = {"in_report": False, "truth": "empty"}
_NUMBER: Any = {"bounds": (0.0, math.inf), "relevant": 0.5, "places": 1}
_HD = _of_surface(distances.hausdorff)
_HD95 = _of_surface(distances.hausdorff95)
_POOLED = _of_surface(distances.hausdorff95_pooled)
_ASSD = _of_surface(distances.average)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("dice", "Dice", "higher", dice, **_SHARE, meaning=_DICE),
        Metric("iou", "IoU", "higher", iou, **_SHARE, meaning=_IOU),
        Metric("precision", "Precision", "higher", precision, **_SHARE),
        Metric("sensitivity", "Sensitivity", "higher", sensitivity, **_SHARE),
        Metric("hd95", "HD95", "lower", _HD95, **_LENGTH, meaning=_FAR),
        Metric("hd95_pooled", "HD95 (pooled)", "lower", _POOLED, **_LENGTH, in_report=False),
        Metric("assd", "ASSD", "lower", _ASSD, **_LENGTH),
        Metric("volume_error", "Volume error", "nearer to zero", volume_error, **_VOLUME),
        Metric("lesion_sensitivity", "Lesions found", "higher", lesion_sensitivity, **_LESION),
        Metric("lesion_f1", "Lesion-wise F1", "higher", lesion_f1, **_LESION),
        Metric("false_positive_lesions", "False-positive lesions", "lower",
               false_positive_lesions, **_NUMBER, truth="any", in_report=False),
        Metric("false_positive_rate", "False-positive rate", "lower", false_positive,
               **_SHARE, **_HEALTHY),
        Metric("false_positive_volume", "False-positive volume", "lower",
               false_positive_volume, **_NUMBER, **_HEALTHY, unit="volume"),
        Metric("hd", "HD", "lower", _HD, **_LENGTH, by_default=False, in_report=False),
        Metric("volume_error_abs", "Absolute volume error", "lower",
               absolute_volume_error, **_VOLUME, by_default=False),
    )
}  # fmt: skip
"""Every metric by its name: the one table. A line is all that a new metric needs."""
plugins.offer("metric", METRICS)

NO_REGIONS: Mapping[str, Sequence[int]] = {}
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


class Row(NamedTuple):
    """One line of ``per_subject.csv``, less what the caller knows (run, split, subject)."""

    class_: str
    metric: str
    value: float
    unit: str  # "" for a ratio, "mm" or "voxel" for a distance, "mm^3" for a volume
    is_region: bool = False  # a union of classes, which is in no mean over classes


def score(
    prediction: np.ndarray,
    label: np.ndarray,
    spacing: Sequence[float],
    classes: Sequence[str],
    *,
    metrics: Sequence[str] | None = None,
    hd95: Sequence[str] = ("max", "pooled"),
    policy: EmptyPolicy = TRUTH_DECIDES,
    unit: str = "voxel",
    regions: Mapping[str, Sequence[int]] = NO_REGIONS,
) -> list[Row]:
    """Score every foreground class, in the order of ``classes`` and then of ``metrics``; then every
    region.

    Args:
      prediction: ``(H, W)`` or ``(D, H, W)`` int, classes ``0 … K-1``.
      label: the same shape; voxels with IGNORE are taken out of both masks.
      spacing: size of a voxel along each axis, in ``unit``.
      classes: K names, background first.
      metrics: names out of METRICS; :func:`default_names` unless given.
      hd95: which definitions of HD95 to keep among ``metrics``: ``max`` (``hd95``), ``pooled``
        (``hd95_pooled``).
      unit: of the spacing, ``mm`` or ``voxel``; written beside distances and volumes.
      regions: name → the classes that it unites; a region's masks are the unions of theirs.

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
            rows.append(Row(class_, name, value, _row_unit(METRICS[name], unit, label.ndim)))
    for region, members in regions.items():
        inside = np.isin(prediction, members) & valid
        values = mask_metrics(inside, np.isin(label, members), spacing, wanted, policy)
        for name, value in values.items():
            rows.append(Row(region, name, value, _row_unit(METRICS[name], unit, label.ndim), True))
    return rows


def mask_metrics(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    metrics: Sequence[str] | None = None,
    policy: EmptyPolicy = TRUTH_DECIDES,
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
    """Mean Dice over the foreground classes that an image shows or is predicted to show, to rank
    pictures. It is no score: an image that shows nothing ranks last if anything is predicted.

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
    if metric.truth == "empty" and masks.true:
        return math.nan
    if metric.truth == "present" and not masks.true:
        return _of_empty_truth(metric, masks, policy)
    if metric.unit == "length" and not masks.predicted:
        return masks.diagonal
    return metric.compute(masks)


def _of_empty_truth(metric: Metric, masks: Masks, policy: EmptyPolicy) -> float:
    """A metric that needs a truth, where there is none: the same kind of value whatever is
    predicted.
    """
    if policy.both == "nan":
        return math.nan
    worst = metric.worst
    if metric.unit == "length":
        worst = masks.diagonal
    if math.isnan(worst):  # it has no worst value, so that no prediction is scored
        return math.nan
    return worst if masks.predicted else metric.perfect


def _row_unit(metric: Metric, unit: str, axes: int) -> str:
    """The unit written beside a value: of the spacing, its power, or nothing."""
    if metric.unit == "volume":
        return f"{unit}^{axes}"
    return unit if metric.unit == "length" else ""
