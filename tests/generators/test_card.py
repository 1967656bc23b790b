"""The card: it rejects each kind of bad set for its own reason, and passes real images nobody was
shown.
"""

import functools

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.generators import measures
from semiseg.generators.quality_report import Pairs, Reference, assess, read_reference

SIDE, STEPS, SEEN, SET = 32, 160, 96, 96


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
    part = lambda index: Pairs(*(np.asarray(x)[index] for x in known.seen))
    fresh = part(order[SEEN : SEEN + SET])
    rest = np.setdiff1d(np.arange(len(order)), order[SEEN : SEEN + SET])
    return known._replace(
        seen=part(order[:SEEN]), images=known.images[rest], subjects=known.subjects[rest]
    ), fresh._replace(subjects=np.full(SET, ""))


def collapsed(fake: Pairs, seen: Pairs, rng: np.random.Generator) -> Pairs:
    return fake._replace(
        images=np.repeat(fake.images[:1], SET, 0), labels=np.repeat(fake.labels[:1], SET, 0)
    )


def memorising(fake: Pairs, seen: Pairs, rng: np.random.Generator) -> Pairs:
    noisy = np.clip(seen.images + rng.normal(0, 3, seen.images.shape), 0, 255).astype(np.uint8)
    return fake._replace(images=noisy[:, ::-1], labels=seen.labels[:, ::-1], subjects=seen.subjects)


def mask_ignoring(fake: Pairs, seen: Pairs, rng: np.random.Generator) -> Pairs:
    return fake._replace(labels=np.roll(fake.labels, 7, 0))


def blurred(fake: Pairs, seen: Pairs, rng: np.random.Generator) -> Pairs:
    return fake._replace(
        images=gaussian_filter(fake.images.astype(np.float32), (0, 1.5, 1.5, 0)).astype(np.uint8)
    )


@functools.cache
def carded(make=None) -> dict:
    real, fresh = nuclei()
    return assess(
        fresh if make is None else make(fresh, real.seen, np.random.default_rng(0)),
        real,
        steps=STEPS,
    )


def failed(card: dict) -> set[str]:
    return {c["check"] for c in card["checks"] if not c["passed"]}


def test_real_images_pass():
    """Catches limits that nothing can pass: held-out real pairs presented as a synthetic set."""
    card = carded()
    assert card["passed"], (failed(card), card["figures"])
    assert card["figures"]["auc"] < 0.8 and 0.6 < card["figures"]["density"] < 1.6


BAD = {
    collapsed: "distinct",
    memorising: "memorised",
    mask_ignoring: "agreement",
    blurred: "sharpness",
}


@pytest.mark.parametrize("make, reason", BAD.items(), ids=[make.__name__ for make in BAD])
def test_bad_sets_are_rejected_for_their_own_reason(make, reason):
    """Catches a card that any set passes: one image, seen images with noise, other images' masks,
    out of focus.
    """
    card = carded(make)
    assert not card["passed"] and reason in failed(card), card["figures"]


def test_filter_drops_the_bad_samples_alone():
    """Catches a filter that follows the set's verdict instead of each sample's: in a set that is
    half bad, it keeps mostly the good half.
    """
    real, fresh = nuclei()
    half = np.arange(SET) < SET // 2
    mixed = fresh._replace(
        labels=np.where(half[:, None, None], np.roll(fresh.labels, 7, 0), fresh.labels)
    )
    kept = np.array([s["keep"] for s in assess(mixed, real, steps=STEPS)["samples"]])
    assert kept[~half].mean() > kept[half].mean() + 0.3, (kept[~half].mean(), kept[half].mean())


def test_masks_of_another_size_are_one_line():
    """Catches a shape error from inside NumPy."""
    real, fresh = nuclei()
    with pytest.raises(UserError, match="masks are 16×16, the generator paints 32×32"):
        assess(fresh._replace(labels=fresh.labels[:, ::2, ::2]), real, steps=1)


def test_measures_by_hand():
    """Catches a biased KID (one distribution must give 0 on average), coverage of the wrong set, an
    AUC upside down.
    """
    rng = np.random.default_rng(0)
    draws = [measures.kid(*(rng.normal(size=(40, 8)) for _ in range(2))) for _ in range(60)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / 60**0.5 + 1e-3 and measures.kid(
        rng.normal(size=(40, 8)), rng.normal(2, 1, (40, 8))
    ) > 5 * np.std(draws)
    a, b = rng.normal(size=(300, 4)), rng.normal(size=(300, 4))
    density, coverage = measures.density_coverage(a, b)
    assert 0.85 < density < 1.15 and coverage > 0.9
    assert measures.density_coverage(a, np.repeat(b[:1], 300, 0))[
        1
    ] < 0.1 and measures.density_coverage(a, b + 20) == (0, 0)
    assert abs(measures.auc(a, b) - 0.5) < 0.1 and measures.auc(a, b + 3) > 0.95
    subjects = np.repeat(np.arange(30), 5)
    one, two = measures.apart(subjects, 40, rng)
    assert not set(subjects[one]) & set(subjects[two]) and len(one) == 40 and len(two) == 110


def test_texture_is_what_the_mask_does_not_tell():
    """Catches memorisation that is only a shared mask: the same mask with other texture is far, the
    same texture turned and noisy is near.
    """
    rng = np.random.default_rng(0)
    label = np.zeros((4, 32, 32), np.uint8)
    label[:, 8:20, 10:24] = 1
    noise = gaussian_filter(rng.normal(0, 1, (8, 32, 32)), (0, 1.5, 1.5)) * 100
    paint = lambda t: (100 + 80 * label[..., None] + t[..., None]).clip(0, 255).astype(np.uint8)
    seen, other = (
        measures.texture(paint(noise[:4]), label),
        measures.texture(paint(noise[4:]), label),
    )
    copies = measures.texture(np.rot90(paint(noise[:4]), 1, (1, 2)), np.rot90(label, 1, (1, 2)))
    assert measures.nearest(other, seen, 32)[0].max() < 0.5
    near, index = measures.nearest(copies, seen, 32)
    assert near.min() > 0.9 and np.array_equal(index, np.arange(4))
