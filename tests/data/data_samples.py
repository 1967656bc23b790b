"""How the tests of the data layer make their files."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def picture(seed: int, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """A noisy picture and its three-class label."""
    rng = np.random.default_rng(seed)
    label = np.zeros((size, size), np.uint8)
    label[4:8, 4:9] = 1
    label[9:12, 2:6] = 2
    return rng.integers(
        0,
        200,
        (size, size),
        dtype=np.uint8,
    ) + 20 * label, label
