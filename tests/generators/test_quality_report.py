"""The quality report: it rejects each kind of bad set for its own reason, and passes real images
that nobody has seen.
"""

import functools

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.generators import measures
from semiseg.generators.quality_report import assess
from semiseg.generators.quality_sets import Pairs, Reference, read_reference

SIDE = 32
STEPS = 160
SEEN = 96
SET = 96


@pytest.fixture(scope="module", autouse=True)
def optimised():
    """Judges train for long: here code that runs quickly is worth its making."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@functools.cache
def nuclei() -> tuple[Reference, Pairs]:
    """Real nuclei at 32²: 96 seen pairs, the validation split held out, and 96 other training pairs
    to be presented as synthetic.
    """
    known = read_reference("nuclei", None, Frame(SIDE), 0, 0)
    order = np.random.default_rng(3).permutation(len(known.seen.names))
    presented = order[SEEN : SEEN + SET]
    others = np.setdiff1d(np.arange(len(order)), presented)

    def part(index: np.ndarray) -> Pairs:
        return Pairs(*(np.asarray(array)[index] for array in known.seen))

    fresh = part(presented)._replace(subjects=np.full(SET, ""))
    real = known._replace(
        seen=part(order[:SEEN]), images=known.images[others], subjects=known.subjects[others]
    )
    return real, fresh


# ------------------------------------------------------------------ bad sets
def collapsed(fake: Pairs, seen: Pairs) -> Pairs:
    """One image and its mask."""
    images = np.repeat(fake.images[:1], SET, 0)
    return fake._replace(images=images, labels=np.repeat(fake.labels[:1], SET, 0))


def memorising(fake: Pairs, seen: Pairs) -> Pairs:
    """Seen pairs, mirrored, with noise."""
    noise = np.random.default_rng(0).normal(0, 3, seen.images.shape)
    noisy = np.clip(seen.images + noise, 0, 255).astype(np.uint8)
    return fake._replace(images=noisy[:, ::-1], labels=seen.labels[:, ::-1], subjects=seen.subjects)


def mask_ignoring(fake: Pairs, seen: Pairs) -> Pairs:
    """The masks of other images."""
    return fake._replace(labels=np.roll(fake.labels, 7, 0))


def blurred(fake: Pairs, seen: Pairs) -> Pairs:
    """Out of focus."""
    soft = gaussian_filter(fake.images.astype(np.float32), (0, 1.5, 1.5, 0))
    return fake._replace(images=soft.astype(np.uint8))


BAD = {
    collapsed: "distinct",
    memorising: "memorised",
    mask_ignoring: "agreement",
    blurred: "sharpness",
}


def failed(report: dict) -> set[str]:
    return {check["check"] for check in report["checks"] if not check["passed"]}


def test_real_images_pass():
    """Catches limits that nothing can pass: held-out real pairs presented as a synthetic set."""
    real, fresh = nuclei()
    report = assess(fresh, real, steps=STEPS)
    assert report["passed"], (failed(report), report["figures"])
    assert report["figures"]["auc"] < 0.8
    assert 0.6 < report["figures"]["density"] < 1.6


@pytest.mark.parametrize("make, reason", BAD.items(), ids=[make.__name__ for make in BAD])
def test_bad_sets_are_rejected_for_their_own_reason(make, reason):
    """Catches a report that any set passes."""
    real, fresh = nuclei()
    report = assess(make(fresh, real.seen), real, steps=STEPS)
    assert not report["passed"]
    assert reason in failed(report), report["figures"]


def test_filter_drops_the_bad_samples_alone():
    """Catches a filter that follows the set's verdict instead of each sample's: of a set that is
    half bad, mostly the good half passes.
    """
    real, fresh = nuclei()
    bad = np.arange(SET) < SET // 2
    labels = np.where(bad[:, None, None], np.roll(fresh.labels, 7, 0), fresh.labels)
    report = assess(fresh._replace(labels=labels), real, steps=STEPS)
    passes = np.array([sample["keep"] for sample in report["samples"]])
    assert passes[~bad].mean() > passes[bad].mean() + 0.3


def test_masks_of_another_size_are_one_line():
    """Catches a shape error from inside NumPy."""
    real, fresh = nuclei()
    with pytest.raises(UserError, match="masks are 16×16, the generator paints 32×32"):
        assess(fresh._replace(labels=fresh.labels[:, ::2, ::2]), real, steps=1)


# ------------------------------------------------------------------ measures
def test_kid_is_unbiased():
    """Catches a biased KID: one distribution must give 0 on average, and another one much more."""
    rng = np.random.default_rng(0)
    draws = [measures.kid(rng.normal(size=(40, 8)), rng.normal(size=(40, 8))) for _ in range(60)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / 60**0.5 + 1e-3
    far = measures.kid(rng.normal(size=(40, 8)), rng.normal(2, 1, (40, 8)))
    assert far > 5 * np.std(draws)


def test_density_and_coverage_by_hand():
    """Catches coverage of the wrong set."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 4))
    b = rng.normal(size=(300, 4))
    density, coverage = measures.density_coverage(a, b)
    assert 0.85 < density < 1.15
    assert coverage > 0.9
    _, of_one_point = measures.density_coverage(a, np.repeat(b[:1], 300, 0))
    assert of_one_point < 0.1
    assert measures.density_coverage(a, b + 20) == (0, 0)


def test_auc_of_one_and_of_two_distributions():
    """Catches an AUC upside down."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 4))
    b = rng.normal(size=(300, 4))
    assert abs(measures.auc(a, b) - 0.5) < 0.1
    assert measures.auc(a, b + 3) > 0.95


def test_parts_share_no_subject():
    """Catches a subject on both sides of the floor."""
    subjects = np.repeat(np.arange(30), 5)
    one, two = measures.disjoint_parts(subjects, 40, np.random.default_rng(0))
    assert not set(subjects[one]) & set(subjects[two])
    assert len(one) == 40
    assert len(two) == 110


def test_texture_is_what_the_mask_does_not_tell():
    """Catches memorisation that is only a shared mask: the same mask with other texture is far, the
    same texture turned and noisy is near.
    """
    label = np.zeros((4, 32, 32), np.uint8)
    label[:, 8:20, 10:24] = 1
    noise = np.random.default_rng(0).normal(0, 1, (8, 32, 32))
    textures = gaussian_filter(noise, (0, 1.5, 1.5))[..., None] * 100
    images = (100 + 80 * label[0, ..., None] + textures).clip(0, 255).astype(np.uint8)
    seen = measures.texture(images[:4], label)
    other = measures.texture(images[4:], label)
    turned = np.rot90(images[:4], 1, (1, 2))
    copies = measures.texture(turned, np.rot90(label, 1, (1, 2)))
    of_others, _ = measures.nearest(other, seen, 32)
    assert of_others.max() < 0.5
    of_copies, index = measures.nearest(copies, seen, 32)
    assert of_copies.min() > 0.9
    assert np.array_equal(index, np.arange(4))
