"""What the frame decides for a set where a user leaves it open, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from semiseg.data import grey_values
from semiseg.data.frame import FIT, SPACINGS, STRETCH, Frame, are_levels
from semiseg.data.slices import ANISOTROPIC
from semiseg.types import Case


def frame_facts(
    scans: Sequence[Case],
    unit: str,
    spacing: str,
    intensity: str,
    image_size: int | None = None,
) -> dict[str, Any]:
    """The decisions of :meth:`semiseg.data.frame.Frame.resolved`, as JSON types.

    Args:
      scans: of the training split; their labels are not looked at.
      unit: of their spacings.
      spacing, intensity: what the user asks for, or ``auto``.
      image_size: side of the window, pixels, on which a fitted spacing depends; None: the longest
        side of the median slice, so that slices keep their size.

    Returns:
      ``intensity`` and ``stored``, each with its reason; ``noise``, the median deviation in grey
      values from 0 to 1; and for 2D and (of volumes) 3D networks, under ``2d`` and ``3d``, the
      ``spacing``, its reason, and two sizes in pixels of that spacing: ``size_median``, the median
      for which :mod:`semiseg.plan` plans, where a fitted slice keeps its size, and ``size_seen``,
      the median with the ``image_size``.

    Raises:
      UserError: a spacing or an intensity rule that the set cannot have.

    >>> scan = Case("p7", "p7", np.zeros((10, 20, 1), np.uint8), None, (0.5, 0.5), "p7")
    >>> facts = frame_facts([scan], "mm", "1", "auto")
    >>> facts["2d"]["size_median"], facts["intensity"], facts["stored"]
    ([5.0, 10.0], 'zscore', 'uint8')
    """
    longest = round(max(np.median([scan.image.shape[-3:-1] for scan in scans], 0)))
    seen = image_size or longest
    asked = Frame(longest, spacing=spacing, intensity=intensity)
    frame = asked.resolved(scans, unit)
    facts: dict[str, Any] = {
        "intensity": frame.intensity,
        "intensity_reason": _intensity_reason(frame.intensity, intensity, scans),
        "stored": frame.stored,
        "stored_reason": "levels from 0 to 255, as published code stores slices",
        "noise": None,
        "image_size": image_size,
        "2d": _geometry(asked, frame, scans, unit, seen),
        "3d": None,
    }
    if frame.intensity != grey_values.OF_SLICE:
        facts["noise"] = float(np.median(frame.noises(scans)))
        facts["stored_reason"] = _stored_reason(frame, scans, facts["noise"])
    if scans[0].image.ndim == 4:
        asked = dataclasses.replace(asked, depth=round(_median_slices(scans)), stored=frame.stored)
        facts["3d"] = _geometry(asked, asked.resolved(scans, unit), scans, unit, seen)
    return facts


def _median_slices(scans: Sequence[Case]) -> float:
    return float(np.median([len(scan.image) for scan in scans]))


def _geometry(
    asked: Frame, frame: Frame, scans: Sequence[Case], unit: str, image_size: int
) -> dict[str, Any]:
    return {
        "spacing": frame.spacing,
        "spacing_reason": _spacing_reason(asked, frame, scans, unit),
        "size_median": _median_size(frame, scans),
        "size_seen": _median_size(dataclasses.replace(frame, image_size=image_size), scans),
    }


def _median_size(frame: Frame, scans: Sequence[Case]) -> list[float]:
    sizes = [frame.shape_of(scan.image.shape[:-1], scan.spacing)[-frame.dims :] for scan in scans]
    return list(np.median(sizes, 0).tolist())


# ------------------------------------------------------------------ reasons, half a sentence each
def _spacing_reason(asked: Frame, frame: Frame, scans: Sequence[Case], unit: str) -> str:
    if asked.spacing not in ("auto", "median"):
        return "as asked for"
    if frame.spacing == FIT:
        return f"the unit is {unit}: the longest side of a slice is fitted"
    reason = "the median of the training scans"
    if frame.dims == 3:
        between, rows, columns = np.median([scan.spacing for scan in scans], 0).tolist()
        times = between / np.sqrt(rows * columns)
        if times >= ANISOTROPIC:
            reason += (
                f"; slices are {times:.2g} times thicker than pixels, so the 10th percentile of "
                f"their distance"
            )
    return reason


def _intensity_reason(rule: str, asked: str, scans: Sequence[Case]) -> str:
    if grey_values.parse(asked) != "auto":
        return "as asked for"
    if rule == "ct":
        return f"most volumes go below {grey_values.AIR:g}: Hounsfield units, one window for all"
    if rule == "percentile":
        return "volumes without a common unit: percentiles 0.5 and 99.5 of each scan"
    if are_levels(rule, scans):
        return "pictures of whole numbers from 0 to 255, which are taken as they are"
    return "pictures: the smallest and the largest number of each"


def _stored_reason(frame: Frame, scans: Sequence[Case], noise: float) -> str:
    if are_levels(frame.intensity, scans):
        return "the numbers are 256 levels already"
    step = 1 / 255
    if noise > step:
        return f"noise of {noise:.2g} exceeds the step of {step:.2g} between 256 levels"
    return f"noise of {noise:.2g} is within the step of {step:.2g} between 256 levels"


# ------------------------------------------------------------------ text
def frame_lines(facts: dict[str, Any], unit: str) -> list[str]:
    """The result of :func:`frame_facts` as lines for a person."""
    lines = ["what a network sees (train --spacing, --intensity):"]
    for dims in ("2d", "3d"):
        geometry = facts[dims]
        if geometry is not None:
            size = "×".join(f"{n:g}" for n in geometry["size_seen"])
            given = ""
            if geometry["spacing"] in (FIT, STRETCH) and facts["image_size"]:
                given = f" with --image-size {facts['image_size']}"
            pixels = "voxels" if dims == "3d" else "pixels"
            lines.append(
                f"  {dims.upper()}         spacing {spacing_words(geometry['spacing'], unit)} "
                f"({geometry['spacing_reason']}); {size} {pixels} in the median{given}"
            )
    lines.append(f"  intensity  {facts['intensity']} ({facts['intensity_reason']})")
    lines.append(f"  stored     {facts['stored']} ({facts['stored_reason']})")
    return lines


def spacing_words(spacing: str, unit: str) -> str:
    """A spacing for a person.

    >>> spacing_words("8 1.4 1.4", "mm"), spacing_words("fit", "pixel")
    ('8 × 1.4 × 1.4 mm', 'fit')
    """
    if spacing in SPACINGS:
        return spacing
    return f"{spacing.replace(' ', ' × ')} {unit}"
