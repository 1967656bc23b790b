"""Distances between sets of images without downloaded weights: features, kernel distance, density
and coverage, memorisation, real against fake.

They reject bad sets. They do not choose among good ones: a figure means something only beside the
same figure of real against real.
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage
from scipy.spatial.distance import cdist

from semiseg.generators.blocks import Weights, conv, conv_weights, halve, initialise, leaky
from semiseg.nets.layers import Normals
from semiseg.types import IGNORE

WIDTHS = (32, 64, 64, 64)
"""Channels of the random network, finest first."""
BATCH = 16
"""Images of a pass through the random network."""
DEPTHS = (0.5, 1.5, 2.5, 4.5, 8.5)
"""Distances to the border of a class, pixels, that :func:`texture` tells apart."""


def last_repeated(part: np.ndarray, size: int) -> np.ndarray:
    """``part`` with its last row repeated up to ``size`` rows, so that one program serves any
    number.

    >>> last_repeated(np.array([1, 2]), 4).tolist()
    [1, 2, 2, 2]
    """
    return np.concatenate([part, np.repeat(part[-1:], size - len(part), 0)])


# ------------------------------------------------------------------ features
@functools.partial(jax.jit, static_argnums=0)
def _random_features(seed: int, image: jax.Array) -> jax.Array:
    channels = image.shape[-1]

    def build(normals: Normals) -> list[Weights]:
        widths = itertools.pairwise((channels, *WIDTHS))
        return [conv_weights(normals, 3, before, width) for before, width in widths]

    x = image.astype(jnp.float32) / 127.5 - 1
    features = []
    for i, p in enumerate(initialise(build, jax.random.key(seed))):
        if i:
            x = halve(x)
        x = leaky(conv(p, x))
        variance = x.var((1, 2))
        features.append(x.mean((1, 2)))
        features.append(jnp.sqrt(variance + 1e-6))
    return jnp.concatenate(features, -1)


def random_features(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Mean and deviation of every channel of a fixed random network at four scales (the finest
    sees noise and blur).

    Args:
      images: ``(N, H, W, C)`` uint8.
      seed: of the network.

    Returns:
      ``(N, F)`` float32.
    """
    features = []
    for i in range(0, len(images), BATCH):
        part = images[i : i + BATCH]
        of_batch = _random_features(seed, last_repeated(part, BATCH))
        features.append(np.asarray(of_batch)[: len(part)])
    return np.concatenate(features)


def standardised(*features: np.ndarray) -> list[np.ndarray]:
    """Features ``(N, F)`` in units of the first set's mean and deviation, cut at 4: one stain in
    ten would else decide a kernel of the third power alone.

    >>> standardised(np.array([[0.0], [2.0]]), np.array([[3.0], [99.0]]))[1].round(3).tolist()
    [[2.0], [4.0]]
    """
    first = features[0]
    mean = first.mean(0)
    least = 1e-6 * np.abs(first).max()
    deviation = first.std(0) + least + 1e-12
    return [np.clip((f - mean) / deviation, -4, 4) for f in features]


# ------------------------------------------------------------------ distances
def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``(N, M)``: (x·y / F + 1)³."""
    product = x @ y.T
    return (product / x.shape[1] + 1) ** 3


def kid(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared MMD with the kernel (x·y / F + 1)³ (Bińkowski et al., ICLR 2018, eq. 4):
    expectation 0 for one distribution, may be negative.

    Args:
      a: ``(N, F)`` features.
      b: ``(M, F)`` features.

    >>> same = np.ones((3, 2))
    >>> kid(same, same), kid(same, 0 * same)
    (0.0, 7.0)
    """
    n = len(a)
    m = len(b)
    aa = _kernel(a, a)
    bb = _kernel(b, b)
    sum_a = aa.sum() - np.trace(aa)
    sum_b = bb.sum() - np.trace(bb)
    within_a = sum_a / (n * (n - 1))
    within_b = sum_b / (m * (m - 1))
    between = _kernel(a, b).mean()
    return float(within_a + within_b - 2 * between)


def disjoint_parts(
    subjects: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Two parts of a set of images that share no subject.

    Args:
      subjects: ``(N,)``, of each image.
      size: wanted images of the first part; it has a few more or fewer, half of all at most.
      rng: chooses the subjects.

    Returns:
      Indices of the images of random subjects, and of all others.

    >>> subjects = np.array(["a", "a", "b", "b"])
    >>> one, two = disjoint_parts(subjects, 2, np.random.default_rng(0))
    >>> sorted([one.tolist(), two.tolist()])
    [[0, 1], [2, 3]]
    """
    names, place = np.unique(subjects, return_inverse=True)
    rank = rng.permutation(len(names))
    order = np.argsort(rank[place], kind="stable")
    half = len(order) // 2
    changes = np.diff(place[order])
    ends = np.flatnonzero(changes) + 1
    cut = half
    if len(ends):
        distance = np.abs(ends - min(size, half))
        cut = ends[np.argmin(distance)]
    return order[:cut], order[cut:]


def kid_floor(
    features: np.ndarray,
    subjects: np.ndarray,
    size: int,
    draws: int = 20,
    seed: int = 0,
) -> float:
    """:func:`kid` of real against real: its mean size between as many images as a generator saw, of
    random subjects, and all others.

    So a generator that reproduces its budget exactly, and nothing beyond it, has about one floor.

    Args:
      features: ``(N, F)``.
      subjects: ``(N,)``, of each image.
      size: images that a generator saw.
      draws: number of random parts.
      seed: of these.

    Returns:
      The floor; NaN where no draw has two images on both sides.
    """
    rng = np.random.default_rng(seed)
    distances = []
    for _ in range(draws):
        a, b = disjoint_parts(subjects, size, rng)
        if min(len(a), len(b)) > 1:
            distances.append(kid(features[a], features[b]))
    if not distances:
        return float("nan")
    return float(np.mean(np.abs(distances)))


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """Density and coverage (Naeem et al., ICML 2020, eq. 3 and 4): fakes within the k-th
    neighbour's distance of real images.

    Density counts, for each fake, the real neighbourhoods it lies in, over k (1 for one
    distribution); coverage is the share of real neighbourhoods that hold a fake.

    Args:
      real: ``(N, F)`` features.
      fake: ``(M, F)`` features.
      k: which neighbour.

    >>> points = np.array([[0.0], [1.0], [2.0]])
    >>> density_coverage(points, points, k=1), density_coverage(points, points + 9, k=1)
    ((1.0, 1.0), (0.0, 0.0))
    """
    k = min(k, len(real) - 1)
    by_distance = np.sort(cdist(real, real), 1)
    radius = by_distance[:, k]
    inside = cdist(real, fake) < radius[:, None]
    neighbourhoods = inside.sum(0)
    density = neighbourhoods.mean() / k
    coverage = inside.any(1).mean()
    return float(density), float(coverage)


def auc(
    real: np.ndarray,
    fake: np.ndarray,
    folds: int = 5,
    seed: int = 0,
) -> float:
    """How well a ridge classifier tells real from fake, cross-validated: 0.5 is not at all, 1 is
    always (area under the ROC curve).

    Args:
      real: ``(N, F)`` features.
      fake: ``(M, F)`` features.
      folds: of the cross-validation.
      seed: of the folds.

    >>> points = np.random.default_rng(0).normal(size=(20, 2))
    >>> auc(points, points + 99)
    1.0
    """
    n = len(real)
    x = np.concatenate([real, fake])
    of_real = np.ones(n) / n
    of_fake = -np.ones(len(fake)) / len(fake)
    y = np.r_[of_real, of_fake]
    order = np.random.default_rng(seed).permutation(len(x))
    fold = order % folds
    score = np.zeros(len(x))
    for f in range(folds):
        train = fold != f
        score[~train] = _ridge(x[train], y[train], x[~train])
    of_real = score[:n, None]
    of_fake = score[None, n:]
    ranks = of_real > of_fake
    ties = of_real == of_fake
    return float((ranks + 0.5 * ties).mean())


def _ridge(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """What a ridge regression of ``y (N,)`` on ``x (N, F)`` predicts for ``asked (M, F)``, without
    its intercept; solved in the dual, N × N.
    """
    mean = x.mean(0)
    centred = x - mean
    penalty = 0.1 * x.shape[1] * np.eye(len(x))
    gram = centred @ centred.T + penalty
    dual = np.linalg.solve(gram, y - y.mean())
    slope = centred.T @ dual
    return (asked - mean) @ slope


def sharpness(images: np.ndarray) -> np.ndarray:
    """Deviation of what a Gaussian of one pixel takes out, as a share of the image's deviation.

    Args:
      images: ``(N, H, W, C)``.

    Returns:
      ``(N,)``.

    >>> sharpness(np.full((1, 8, 8, 1), 90)).item()
    0.0
    """
    x = images.mean(-1).astype(np.float32)
    smooth = ndimage.gaussian_filter(x, (0, 1, 1))
    fine = x - smooth
    contrast = x.std((1, 2))
    return fine.std((1, 2)) / (contrast + 1)


# ------------------------------------------------------------------ memorisation
def texture(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What is left of an image when all that its mask says is taken out.

    Of each class's pixels, by their distance to the class's border, the mean is taken out (nuclei
    are brighter inside), after a light blur that takes out noise. Two images of one mask agree in
    everything else only if one was copied.

    Args:
      images: ``(N, H, W, C)``.
      labels: ``(N, H, W)``.

    Returns:
      ``(N, H W)``, each of length 1.

    >>> plain = np.full((1, 4, 4, 1), 90.0)
    >>> texture(plain, np.zeros((1, 4, 4))).any().item()
    False
    """
    textures = []
    for image, label in zip(images, labels, strict=True):
        grey = image.mean(-1).astype(np.float32)
        x = ndimage.gaussian_filter(grey, 1.0)
        for k in np.unique(label):
            _take_bands_out(x, label == k)
        x = np.where(label == IGNORE, 0, x)
        length = np.linalg.norm(x) + 1e-6
        textures.append((x / length).ravel())
    return np.stack(textures)


def _take_bands_out(x: np.ndarray, inside: np.ndarray) -> None:
    """Take the mean of each band of a class's pixels out of ``x (H, W)``, in place."""
    padded = np.pad(inside, 1, mode="edge")
    depth = ndimage.distance_transform_edt(padded)
    band = np.digitize(depth[1:-1, 1:-1], DEPTHS)
    for b in np.unique(band[inside]):
        where = inside & (band == b)
        x[where] -= x[where].mean()


def nearest(of: np.ndarray, among: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The texture that each texture is most like, in any of eight orientations.

    Args:
      of: ``(N, side²)`` textures.
      among: ``(M, side²)`` textures.
      side: of the images, pixels.

    Returns:
      ``(N,)`` largest correlations, and ``(N,)`` indices into ``among``.

    >>> corner = np.array([[1.0, 0.0, 0.0, 0.0]])
    >>> correlation, index = nearest(corner, np.array([[0.0, 0.0, 0.0, 1.0]]), 2)
    >>> correlation.tolist(), index.tolist()
    ([1.0], [0])
    """
    best = np.full(len(of), -np.inf)
    index = np.zeros(len(of), int)
    maps = among.reshape(-1, side, side)
    for turn in range(4):
        turned = np.rot90(maps, turn, (1, 2))
        for oriented in (turned, turned[:, :, ::-1]):
            flat = oriented.reshape(len(among), -1)
            correlation = of @ flat.T
            largest = correlation.max(1)
            better = largest > best
            best = np.where(better, largest, best)
            index = np.where(better, correlation.argmax(1), index)
    return best, index
