"""Volumes as pictures: the one slice of each that a report shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from semiseg.data.frame import nearest
from semiseg.types import IGNORE, Case


def fullest_slices(
    cases: Sequence[Case], images_NDHWC: np.ndarray, predictions: Sequence[np.ndarray]
) -> tuple[tuple[Case, ...], np.ndarray, list[np.ndarray]]:
    """Cases, pool images and predicted labels of the slice of each annotated volume that shows most
    foreground.
    """
    at = [
        int(np.argmax(np.sum((c.label > 0) & (c.label != IGNORE), (1, 2))))
        for c in cases
        if c.label is not None
    ]
    images = [
        volume[nearest(len(volume), len(c.image))[z]]
        for volume, c, z in zip(images_NDHWC, cases, at)
    ]
    shown = [
        dataclasses.replace(
            c, name=f"{c.name}_slice_{z}", image=c.image[z], label=c.label[z], spacing=c.spacing[1:]
        )
        for c, z in zip(cases, at)
        if c.label is not None
    ]
    return tuple(shown), np.stack(images), [p[z] for p, z in zip(predictions, at)]
