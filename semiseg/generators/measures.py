"""Distances between sets of images without downloaded weights: features, kernel distance, density
and coverage, memorisation, real against fake.

They reject bad sets. They do not choose among good ones: a figure means something only beside the
same figure of real against real.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage
from scipy.spatial.distance import cdist

from semiseg.generators.blocks import conv, conv_weights, halve, initialise, leaky
from semiseg.types import IGNORE

WIDTHS = (32, 64, 64, 64)


@functools.partial(jax.jit, static_argnums=0)
def _random_features(seed: int, image: jax.Array) -> jax.Array:
    c = image.shape[-1]
    pairs = tuple(zip((c, *WIDTHS), WIDTHS))
    weights = initialise(
        lambda normals: [conv_weights(normals, 3, a, b) for a, b in pairs], jax.random.key(seed)
    )
    x, found = image.astype(jnp.float32) / 127.5 - 1, []
    for i, p in enumerate(weights):
        x = leaky(conv(p, halve(x) if i else x))
        found += [x.mean((1, 2)), jnp.sqrt(x.var((1, 2)) + 1e-6)]
    return jnp.concatenate(found, -1)


def random_features(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """``(N, F)``: mean and deviation of every channel of a fixed random network at four scales (the
    finest sees noise and blur).
    """
    found = []
    for i in range(0, len(images), 16):
        part = images[i : i + 16]
        found.append(
            np.asarray(
                _random_features(
                    seed, np.concatenate([part, np.repeat(part[-1:], 16 - len(part), 0)])
                )
            )[: len(part)]
        )
    return np.concatenate(found)


def standardised(*features: np.ndarray) -> list[np.ndarray]:
    """Features in units of the first set's mean and deviation, cut at 4: one stain in ten would
    else decide a kernel of the third power alone.
    """
    mean, deviation = (
        features[0].mean(0),
        features[0].std(0) + 1e-6 * np.abs(features[0]).max() + 1e-12,
    )
    return [np.clip((f - mean) / deviation, -4, 4) for f in features]


def kid(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared MMD with the kernel (x·y / F + 1)³ (Bińkowski et al., ICLR 2018):
    expectation 0 for one distribution, may be negative.
    """
    kernel = lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3
    n, m = len(a), len(b)
    aa, bb = kernel(a, a), kernel(b, b)
    return float(
        (aa.sum() - np.trace(aa)) / (n * (n - 1))
        + (bb.sum() - np.trace(bb)) / (m * (m - 1))
        - 2 * kernel(a, b).mean()
    )


def apart(
    subjects: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images of random subjects, ``size`` of them or a few more but half at most,
    and of all others.
    """
    names, place = np.unique(subjects, return_inverse=True)
    order = np.argsort(rng.permutation(len(names))[place], kind="stable")
    ends = np.flatnonzero(np.diff(place[order])) + 1
    if not len(ends):
        return order[: len(order) // 2], order[len(order) // 2 :]
    cut = ends[np.argmin(np.abs(ends - min(size, len(order) // 2)))]
    return order[:cut], order[cut:]


def kid_floor(
    features: np.ndarray, subjects: np.ndarray, size: int, draws: int = 20, seed: int = 0
) -> float:
    """What :func:`kid` says of real against real: its mean size between as many images as a
    generator saw, of random subjects, and all others.

    So a generator that reproduces its budget exactly, and nothing beyond it, has about one floor.
    """
    rng = np.random.default_rng(seed)
    found = [
        kid(features[a], features[b])
        for a, b in (apart(subjects, size, rng) for _ in range(draws))
        if min(len(a), len(b)) > 1
    ]
    return float(np.mean(np.abs(found))) if found else float("nan")


def sharpness(images: np.ndarray) -> np.ndarray:
    """``(N,)``: deviation of what a Gaussian of one pixel takes out, as a share of the image's
    deviation.
    """
    x = images.mean(-1).astype(np.float32)
    fine = x - ndimage.gaussian_filter(x, (0, 1, 1))
    return fine.std((1, 2)) / (x.std((1, 2)) + 1)


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """Density and coverage (Naeem et al., ICML 2020, eq. 3 and 4): fakes within the k-th
    neighbour's distance of real images.

    Density counts, for each fake, the real neighbourhoods it lies in, over k (1 for one
    distribution); coverage is the share of real neighbourhoods that hold a fake.
    """
    k = min(k, len(real) - 1)
    radius = np.sort(cdist(real, real), 1)[:, k]
    inside = cdist(real, fake) < radius[:, None]
    return float(inside.sum(0).mean() / k), float(inside.any(1).mean())


def auc(real: np.ndarray, fake: np.ndarray, folds: int = 5, seed: int = 0) -> float:
    """How well a ridge classifier tells real from fake, cross-validated: .5 is not at all, 1 is
    always (area under the ROC curve).
    """
    x = np.concatenate([real, fake])
    y = np.r_[np.ones(len(real)) / len(real), -np.ones(len(fake)) / len(fake)]
    fold = np.random.default_rng(seed).permutation(len(x)) % folds
    score = np.zeros(len(x))
    for f in range(folds):
        train = fold != f
        mean = x[train].mean(0)
        centred = x[train] - mean
        solved = np.linalg.solve(
            centred @ centred.T + 0.1 * x.shape[1] * np.eye(train.sum()), y[train] - y[train].mean()
        )
        score[~train] = (x[~train] - mean) @ (centred.T @ solved)
    ranks = score[:, None] > score[None]
    ties = score[:, None] == score[None]
    n = len(real)
    return float((ranks[:n, n:] + 0.5 * ties[:n, n:]).mean())


# ------------------------------------------------------------------ memorisation
def texture(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """``(N, H W)`` of length 1: what is left of an image when all that its mask tells is taken out.

    Of each class's pixels, by their distance to the class's border, the mean is taken out (nuclei
    are brighter inside), after a light blur that takes out noise. Two images of one mask agree in
    everything else only if one was copied.
    """
    out = []
    for image, label in zip(images, labels):
        x = ndimage.gaussian_filter(image.mean(-1).astype(np.float32), 1.0)
        for k in np.unique(label):
            depth = ndimage.distance_transform_edt(np.pad(label == k, 1, mode="edge"))[1:-1, 1:-1]
            band = np.digitize(depth, (0.5, 1.5, 2.5, 4.5, 8.5))
            for b in np.unique(band[label == k]):
                where = (label == k) & (band == b)
                x[where] -= x[where].mean()
        x = np.where(label == IGNORE, 0, x)
        out.append((x / (np.linalg.norm(x) + 1e-6)).ravel())
    return np.stack(out)


def nearest(of: np.ndarray, among: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest correlation of each texture of ``of`` with one of ``among`` in any of 8 orientations,
    and that one's index.
    """
    best, index = np.full(len(of), -np.inf), np.zeros(len(of), int)
    maps = among.reshape(-1, side, side)
    for turn in range(4):
        for mirror in (False, True):
            turned = np.rot90(maps, turn, (1, 2))
            found = of @ (turned[:, :, ::-1] if mirror else turned).reshape(len(among), -1).T
            better = found.max(1) > best
            best, index = (
                np.where(better, found.max(1), best),
                np.where(better, found.argmax(1), index),
            )
    return best, index
