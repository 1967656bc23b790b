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

from semiseg.generators.blocks import one_hot
from semiseg.generators.gan_program import Program, unit
from semiseg.types import IGNORE

COLOURS = np.array(
    [
        [0, 0, 0],
        [230, 159, 0],
        [86, 180, 233],
        [0, 158, 115],
        [240, 228, 66],
        [0, 114, 178],
        [213, 94, 0],
        [204, 121, 167],
    ],
    np.uint8,
)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _paint(
    generator: Any, classes: int, weights: Any, label: jax.Array, code: jax.Array, noise: jax.Array
) -> tuple[jax.Array, jax.Array]:
    image, made = generator.apply(weights, one_hot(label, classes), code, noise)
    made = jnp.where(made.any(-1), made.argmax(-1), IGNORE).astype(jnp.uint8)
    return jnp.clip(jnp.round((image + 1) * 127.5), 0, 255).astype(jnp.uint8), made


@functools.partial(jax.jit, static_argnums=(0, 1))
def _encode(
    generator: Any, classes: int, weights: Any, image: jax.Array, label: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return generator.encode(weights, unit(image), one_hot(label, classes))


def paint(
    program: Program, weights: Any, label: np.ndarray, code: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(B, H, W, C)`` and the masks they belong to ``(B, H, W)``, both uint8, for masks
    ``label``, codes and normal numbers.
    """
    image, made = _paint(
        program.generator,
        program.classes,
        weights,
        label,
        code.astype(np.float32),
        noise.astype(np.float32),
    )
    return np.asarray(image), np.asarray(made)


def encode(
    program: Program, weights: Any, image: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation ``(B, Z)`` of the style of uint8 pairs, eight at a time so that one
    program serves any number.
    """
    found = []
    for i in range(0, len(image), 8):
        n = len(image[i : i + 8])
        parts = [
            np.concatenate([x[i : i + 8], np.repeat(x[i + n - 1 : i + n], 8 - n, 0)])
            for x in (image, label)
        ]
        mean, logvar = _encode(program.generator, program.classes, weights, *parts)
        found.append((np.asarray(mean)[:n], np.exp(0.5 * np.asarray(logvar))[:n]))
    return np.concatenate([m for m, _ in found]), np.concatenate([d for _, d in found])


def grid(
    path: Path,
    program: Program,
    weights: Any,
    images: np.ndarray,
    labels: np.ndarray,
    rows: int = 8,
) -> None:
    """A picture. Columns: a real mask and its image; painted with that image's style; with two
    other images' styles; with two random ones.

    A joint generator's masks stand beside its images instead.
    """
    rng = np.random.default_rng(0)
    chosen = np.unique(np.linspace(0, len(images) - 1, rows).round().astype(int))
    real, label, n = images[chosen], labels[chosen], len(chosen)
    mean, _ = encode(program, weights, real, label)
    codes = [
        mean,
        np.roll(mean, 1, 0),
        np.roll(mean, n // 2, 0),
        *rng.normal(size=(2, *mean.shape)),
    ]
    columns = [picture(label), grey(real)]
    for code in codes[2 * program.generator.joint :]:
        image, made = paint(
            program,
            weights,
            label,
            code,
            rng.normal(size=(n, program.generator.noises(program.image_size))),
        )
        columns += [picture(made), grey(image)] if program.generator.joint else [grey(image)]
    write_sheet(path, columns)


def write_sheet(path: Path, columns: list[np.ndarray]) -> None:
    """Columns of colour pictures ``(rows, H, W, 3)`` as one PNG, small ones enlarged."""
    from PIL import Image

    framed = [np.pad(c, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255) for c in columns]
    sheet = np.concatenate([np.concatenate(list(c), 0) for c in framed], 1)
    big = max(1, 900 // sheet.shape[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet.repeat(big, 0).repeat(big, 1)).save(path)


def picture(label: np.ndarray) -> np.ndarray:
    """Masks ``(…)`` in colours ``(…, 3)``; IGNORE is white."""
    return np.where((label == IGNORE)[..., None], np.uint8(255), COLOURS[label % len(COLOURS)])


def grey(image: np.ndarray) -> np.ndarray:
    """Images ``(…, C)`` as colour ``(…, 3)``; the first channel unless there are three."""
    return image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, -1)
