"""The search for look-alikes loses no pair that the definition names."""

from __future__ import annotations

import numpy as np
import pytest

from semiseg.data import near_duplicates
from semiseg.data.alike_search import best_matches

COPIES = 44
"""Planted copies, of each of the eight ways to turn."""


def defined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``(N, M)``: the highest correlation in the eight ways, each computed for itself."""
    vectors = near_duplicates.unit_vectors(first)
    ways = []
    for others in near_duplicates.turned(second):
        ways.append(vectors @ near_duplicates.unit_vectors(others).T)
    return np.max(ways, 0)


def noise(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(0, 40, (count, 16, 16))


def discs(rng: np.random.Generator, count: int) -> np.ndarray:
    """Descriptions of bright discs of many places and sizes, some of which look alike."""
    rows, columns = np.mgrid[:32, :32]
    described = []
    for y, x, radius in rng.uniform((8, 8, 3), (24, 24, 8), (count, 3)):
        inside = np.hypot(rows - y, columns - x) < radius
        image = 9 * inside + rng.normal(0, 0.7, inside.shape)
        described.append(near_duplicates.description(image[..., None]))
    return np.stack(described).astype(float)


def of_type_int8(descriptions: np.ndarray) -> np.ndarray:
    return np.clip(np.round(descriptions), -127, 127).astype(np.int8)


@pytest.mark.parametrize("kind", [noise, discs])
def test_no_copy_is_lost_among_many(kind):
    """Copies are mirrored, turned and changed to a correlation of about 0.85, 0.9 and 1: those that
    reach the threshold are found with their best partner, and no others. It catches a bound that is
    too low, a way to turn that is missing, and the rest of the axes left out.
    """
    rng = np.random.default_rng(0)
    first = kind(rng, 400)
    second = kind(rng, 900)
    for i in range(COPIES):
        copy = near_duplicates.turned(second[[20 * i]])[i % 8][0]
        change = (0.62, 0.48, 0.05)[i % 3] * copy.std()
        first[9 * i] = copy + rng.normal(0, change, copy.shape)
    first = of_type_int8(first)
    second = of_type_int8(second)
    correlations = defined(first, second)
    highest = correlations.max(1)
    planted = highest[: 9 * COPIES : 9]
    assert (planted > 0.85).sum() > COPIES // 2
    assert ((planted > 0.75) & (planted < 0.9)).sum() > 5

    pairs = near_duplicates.pairs(first, second)
    assert [pair.first for pair in pairs] == np.flatnonzero(highest >= 0.85).tolist()
    for pair in pairs:
        assert pair.correlation == pytest.approx(highest[pair.first], abs=1e-5)
        assert correlations[pair.first, pair.second] == pytest.approx(pair.correlation, abs=1e-5)


def test_the_first_of_equal_partners_is_named():
    """In a set of nearly equal images most pairs are computed, and the highest correlation counts;
    of the same image twice, the first.
    """
    rng = np.random.default_rng(0)
    base = noise(rng, 1)
    first = of_type_int8(base + rng.normal(0, 6, (600, 16, 16)))
    second = of_type_int8(base + rng.normal(0, 6, (1300, 16, 16)))
    second[[5, 700, 1200]] = np.rot90(first[31])
    pairs = near_duplicates.pairs(first, second)
    assert len(pairs) == 600
    assert pairs[31].second == 5
    found = [pair.correlation for pair in pairs]
    np.testing.assert_allclose(found, defined(first, second).max(1), atol=1e-5)


def test_images_without_detail_match_nothing():
    """Zeros have no correlation, whatever the axes are."""
    zeros = np.zeros((3, 256), np.float32)
    assert best_matches(zeros, zeros, 0.85).correlation.max() < 0.85


def test_an_image_finds_itself_at_the_highest_threshold():
    """It catches a bound that forgets what the axes leave out."""
    vectors = near_duplicates.unit_vectors(of_type_int8(noise(np.random.default_rng(0), 600)))
    matches = best_matches(vectors, vectors[::-1], 0.999)
    assert matches.partner.tolist() == list(range(599, -1, -1))
    np.testing.assert_allclose(matches.correlation, 1, atol=1e-5)
