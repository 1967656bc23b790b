"""Whether a network's window holds what is labelled: where the window is smaller, the network sees
parts of the object alone, in training and in prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from semiseg.data.frame import NATIVE, Frame
from semiseg.data.training_split import Training
from semiseg.types import IGNORE, Case

MOST_SCANS = 24
"""Annotated scans that are measured, spread evenly over all there are."""
MOST_VOXELS = 2**21
"""Of a mask that is measured; a larger one is thinned."""
ROOM = 1.25
"""Times the object, that a window should be."""
MOST_SIDE = 512
"""Of a window that is recommended, pixels."""


def note(training: Training) -> str | None:
    """What to say where the labelled object is larger than the window; None where it is not."""
    frame = training.frame
    object_size = median_size(training.scans, frame)
    if object_size is None:
        return None
    times = [size / side for size, side in zip(object_size, frame.window, strict=True)]
    if max(times) <= 1:
        return None
    pixels = "voxels" if frame.depth else "pixels"
    return (
        f"the largest labelled object of a scan is {_times(object_size)} {pixels} in the median, "
        f"and the network sees windows of {_times(frame.window)}: parts of it alone; "
        f"{' or '.join(remedies(frame, times))} shows it whole"
    )


def median_size(scans: Sequence[Case], frame: Frame) -> tuple[float, ...] | None:
    """Size of the largest connected object of a scan along each axis of the network's input, in
    pixels of the pool, in the median over annotated scans; None where nothing is annotated.

    For a 2D network it is measured in the slice of a volume that shows most of it.
    """
    sizes = []
    for i in np.unique(np.linspace(0, len(scans) - 1, MOST_SCANS).astype(int)).tolist():
        scan = scans[i]
        if scan.label is None:
            continue
        size = _largest((scan.label > 0) & (scan.label != IGNORE), frame.dims)
        if size is not None:
            shape = scan.label.shape
            scale = np.divide(frame.shape(scan), shape)[-frame.dims :]
            sizes.append(np.multiply(size, scale))
    if not sizes:
        return None
    return tuple(np.median(sizes, 0).tolist())


def _largest(mask: np.ndarray, dims: int) -> tuple[float, ...] | None:
    """Sides of the box around the largest object of a mask ``(*space)``, voxels.

    >>> mask = np.zeros((2, 8, 8), bool)
    >>> mask[1, 1:4, 2:7] = mask[1, 6:8, 0] = True
    >>> _largest(mask, 2), _largest(mask, 3)
    ((3.0, 5.0), (1.0, 3.0, 5.0))
    """
    from scipy import ndimage

    if not mask.any():
        return None
    if mask.ndim > dims:
        mask = mask[int(np.argmax(mask.reshape(len(mask), -1).sum(1)))]
    step = math.ceil((mask.size / MOST_VOXELS) ** (1 / mask.ndim)) or 1
    thinned = mask[(slice(None, None, step),) * mask.ndim]
    objects, number = ndimage.label(thinned)
    if not number:
        return None
    largest = int(np.argmax(np.bincount(objects.ravel())[1:]))
    box = ndimage.find_objects(objects)[largest]
    return tuple(float(step * (side.stop - side.start)) for side in box)


def remedies(frame: Frame, times: Sequence[float]) -> list[str]:
    """Flags of ``train`` with which a window holds an object that is ``times`` its sides.

    >>> remedies(Frame(96, spacing="0.13 0.13"), (6.0, 5.0))
    ['--spacing 0.98']
    >>> remedies(Frame(96, zoom=1.5), (1.2, 1.0))
    ['--zoom 1']
    """
    flags = []
    plane = ROOM * max(times[-2:])
    if frame.is_in_millimetres:
        sides = [float(side) for side in frame.spacing.split()]
        grown = [side * max(plane, 1) for side in sides[-2:]]
        if len(sides) == 3:
            grown = [sides[0] * max(ROOM * times[0], 1), *grown]
        sizes = [f"{side:.2g}" for side in grown]
        flags.append(
            f"--spacing '{' '.join(sizes)}'" if len({*sizes}) > 1 else f"--spacing {sizes[0]}"
        )
    elif frame.zoom > 1 and plane > 1:
        flags.append(f"--zoom {max(1.0, frame.zoom / plane):.2g}")
    size = 16 * math.ceil(frame.image_size * plane / 16)
    if size <= MOST_SIDE and (frame.is_in_millimetres or frame.spacing == NATIVE) and plane > 1:
        flags.append(f"--image-size {size}")
    if not flags:
        flags.append(f"--depth {math.ceil(ROOM * times[0] * frame.depth)}")
    return flags


def _times(sides: Sequence[float]) -> str:
    return "×".join(f"{side:.0f}" for side in sides)
