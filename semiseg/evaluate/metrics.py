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
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from semiseg.errors import UserError
from semiseg.evaluate import distances
from semiseg.types import IGNORE

METRICS = ("dice", "iou", "precision", "sensitivity", "hd95", "hd95_pooled", "assd", "volume_error")
"""What is scored unless a caller asks otherwise; ``hd`` and ``volume_error_abs`` exist too."""

DISTANCES: dict[str, Callable[[distances.SurfaceDistances], float]] = {
    "hd": distances.hausdorff,
    "hd95": distances.hausdorff95,
    "hd95_pooled": distances.hausdorff95_pooled,
    "assd": distances.average,
}
COUNTS = ("dice", "iou", "precision", "sensitivity", "volume_error", "volume_error_abs")
HD95 = {"max": "hd95", "pooled": "hd95_pooled"}

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
    metrics: Sequence[str] = METRICS,
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
      metrics: names out of METRICS, ``hd`` and ``volume_error_abs``.
      hd95: which definitions of HD95 to keep among ``metrics``: ``max`` (``hd95``), ``pooled``
        (``hd95_pooled``).
      unit: of the distances, ``mm`` or ``voxel``.

    Raises:
      UserError: shapes or spacing that do not fit, a metric that does not exist.
    """
    if prediction.shape != label.shape or len(spacing) != label.ndim:
        shapes = f"prediction {prediction.shape}, label {label.shape} and spacing {tuple(spacing)}"
        raise UserError(f"{shapes} do not fit; give two arrays of one shape and one step an axis")
    dropped = {name for mode, name in HD95.items() if mode not in hd95}
    wanted = [name for name in metrics if name not in dropped]
    valid = label != IGNORE
    rows = []
    for k, class_ in enumerate(classes[1:], start=1):
        values = mask_metrics((prediction == k) & valid, label == k, spacing, wanted, policy)
        rows += [
            Row(class_, name, value, unit if name in DISTANCES else "")
            for name, value in values.items()
        ]
    return rows


def mask_metrics(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    metrics: Sequence[str] = METRICS,
    policy: EmptyPolicy = EmptyPolicy(),
) -> dict[str, float]:
    """The named metrics of one pair of bool masks of one shape; ``volume_error`` is ``(predicted -
    true) / true``, signed.

    Raises:
      UserError: a metric that does not exist.
    """
    unknown = [name for name in metrics if name not in DISTANCES and name not in COUNTS]
    if unknown:
        raise UserError(
            f"metric {unknown[0]!r} does not exist; choose among {', '.join((*COUNTS, *DISTANCES))}"
        )
    both, p, t = (int(np.count_nonzero(mask)) for mask in (prediction & truth, prediction, truth))
    values = counted(both, p, t, policy)
    wanted = [name for name in metrics if name in DISTANCES]
    if wanted and p and t:
        surface = distances.surface_distances(prediction, truth, spacing)
        values |= {name: DISTANCES[name](surface) for name in wanted}
    else:
        values |= dict.fromkeys(wanted, empty_distance(p, t, truth.shape, spacing, policy))
    return {name: values[name] for name in metrics}


def counted(both: int, p: int, t: int, policy: EmptyPolicy) -> dict[str, float]:
    """The metrics of the voxel counts: in both masks, in the prediction, in the truth."""
    if not p and not t:
        ratio, error = (1.0, 0.0) if policy.both == "perfect" else (math.nan, math.nan)
        return dict.fromkeys(COUNTS[:4], ratio) | dict.fromkeys(COUNTS[4:], error)
    error = (p - t) / t if t else math.nan
    return {
        "dice": 2 * both / (p + t),
        "iou": both / (p + t - both),
        "precision": both / p if p else 0.0,
        "sensitivity": both / t if t else math.nan,
        "volume_error": error,
        "volume_error_abs": abs(error),
    }


def empty_distance(
    p: int, t: int, shape: Sequence[int], spacing: Sequence[float], policy: EmptyPolicy
) -> float:
    """The distance that stands in where a mask is empty; the diagonal is that of the whole image,
    edge to edge.
    """
    if not p and not t:
        return 0.0 if policy.both == "perfect" else math.nan
    option = policy.missed if t else policy.invented
    return (
        math.hypot(*(n * step for n, step in zip(shape, spacing)))
        if option == "diagonal"
        else math.nan
    )
