"""Painting with a fitted generator: host arrays in and out, and the grid of samples a person looks
at.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.files import replacing
from semiseg.generators.blocks import one_hot
from semiseg.generators.gan_batch import Program, unit
from semiseg.generators.measures import last_repeated
from semiseg.types import IGNORE

# fmt: off
COLOURS = np.array(
    [
        [0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115],
        [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167],
    ],
    np.uint8,
)
# fmt: on
"""Of the classes, ``(8, 3)``: black, then Okabe and Ito's, which people of any colour vision tell
apart.
"""
BATCH = 8
"""Pairs of a pass through the style encoder."""
SHEET_WIDTH = 900
"""Least width of a sheet, pixels, before the factor of its enlargement is rounded down."""


# ------------------------------------------------------------------ painting
@functools.partial(jax.jit, static_argnums=(0, 1))
def _paint(
    generator: Any,
    classes: int,
    weights: Any,
    label: jax.Array,
    code: jax.Array,
    noise: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    image, mask = generator.apply(weights, one_hot(label, classes), code, noise)
    grey_levels = jnp.clip(jnp.round((image + 1) * 127.5), 0, 255)
    classes_of_pixels = jnp.where(mask.any(-1), mask.argmax(-1), IGNORE)
    return grey_levels.astype(jnp.uint8), classes_of_pixels.astype(jnp.uint8)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _encode(
    generator: Any,
    classes: int,
    weights: Any,
    image: jax.Array,
    label: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    return generator.encode(weights, unit(image), one_hot(label, classes))


def paint(
    program: Program,
    weights: Any,
    label: np.ndarray,
    code: np.ndarray,
    noise: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Images and the masks they belong to.

    Args:
      program: of the generator.
      weights: of the generator.
      label: masks ``(B, H, W)`` uint8.
      code: styles ``(B, Z)``.
      noise: ``(B, noises)`` normal numbers.

    Returns:
      Images ``(B, H, W, C)`` and masks ``(B, H, W)``, both uint8.
    """
    image, mask = _paint(
        program.generator,
        program.classes,
        weights,
        label,
        code.astype(np.float32),
        noise.astype(np.float32),
    )
    return np.asarray(image), np.asarray(mask)


def encode(
    program: Program,
    weights: Any,
    image: np.ndarray,
    label: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the style of pairs, a few at a time so that one program serves any
    number.

    Args:
      program: of the generator.
      weights: of the generator.
      image: ``(N, H, W, C)`` uint8.
      label: ``(N, H, W)`` uint8.

    Returns:
      Mean and deviation, ``(N, Z)`` each.
    """
    means = []
    deviations = []
    for i in range(0, len(image), BATCH):
        images = image[i : i + BATCH]
        n = len(images)
        mean, logvar = _encode(
            program.generator,
            program.classes,
            weights,
            last_repeated(images, BATCH),
            last_repeated(label[i : i + BATCH], BATCH),
        )
        means.append(np.asarray(mean)[:n])
        deviations.append(np.exp(0.5 * np.asarray(logvar))[:n])
    return np.concatenate(means), np.concatenate(deviations)


# ------------------------------------------------------------------ pictures
def grid(
    path: Path,
    program: Program,
    weights: Any,
    images: np.ndarray,
    labels: np.ndarray,
    rows: int = 8,
) -> None:
    """A picture of samples. Columns: a real mask and its image; painted with that image's style;
    with two other images' styles; with two random ones.

    A joint generator's masks stand beside its images instead.

    Args:
      path: of the PNG.
      program: of the generator.
      weights: of the generator.
      images: real ones ``(N, H, W, C)`` uint8.
      labels: their masks ``(N, H, W)`` uint8.
      rows: of the picture.
    """
    rng = np.random.default_rng(0)
    joint = program.generator.joint
    even = np.linspace(0, len(images) - 1, rows)
    chosen = np.unique(even.round().astype(int))
    real = images[chosen]
    label = labels[chosen]
    n = len(chosen)
    mean, _ = encode(program, weights, real, label)
    others = [np.roll(mean, 1, 0), np.roll(mean, n // 2, 0)]
    codes = [mean, *others, *rng.normal(size=(2, *mean.shape))]
    if joint:
        codes = codes[2:]
    columns = [picture(label), grey(real)]
    for code in codes:
        noise = rng.normal(size=(n, program.generator.noises(program.image_size)))
        image, mask = paint(program, weights, label, code, noise)
        if joint:
            columns.append(picture(mask))
        columns.append(grey(image))
    write_sheet(path, columns)


def write_sheet(path: Path, columns: list[np.ndarray]) -> None:
    """Columns of colour pictures ``(rows, H, W, 3)`` as one PNG, small ones enlarged."""
    from PIL import Image

    sheet = np.concatenate([_framed_column(column) for column in columns], 1)
    factor = max(1, SHEET_WIDTH // sheet.shape[1])
    enlarged = sheet.repeat(factor, 0).repeat(factor, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, keep_suffix=True) as partial:
        Image.fromarray(enlarged).save(partial)


def _framed_column(pictures: np.ndarray) -> np.ndarray:
    """``(rows, H, W, 3)`` below each other, a white line around each."""
    line = (1, 1)
    framed = np.pad(pictures, ((0, 0), line, line, (0, 0)), constant_values=255)
    return framed.reshape(-1, *framed.shape[2:])


def picture(label: np.ndarray) -> np.ndarray:
    """Masks ``(…)`` in colours ``(…, 3)`` uint8; IGNORE is white.

    >>> picture(np.array([0, 1, 255])).tolist()
    [[0, 0, 0], [230, 159, 0], [255, 255, 255]]
    """
    colours = COLOURS[label % len(COLOURS)]
    ignored = (label == IGNORE)[..., None]
    return np.where(ignored, np.uint8(255), colours)


def grey(image: np.ndarray) -> np.ndarray:
    """Images ``(…, C)`` as colour ``(…, 3)``; the first channel unless there are three.

    >>> grey(np.array([[7]])).tolist()
    [[7, 7, 7]]
    """
    if image.shape[-1] == 3:
        return image
    return np.repeat(image[..., :1], 3, -1)
