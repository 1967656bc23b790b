"""The quality report: it rejects each kind of bad set for its own reason, and passes real images
that nobody has seen.
"""

import functools

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from semiseg.data import store
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.generators import judge, masks, measures, quality_spoilt
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


@pytest.fixture(scope="module", autouse=True)
def trained_once():
    """The segmenters of a budget are the same for every set that they judge."""
    train = judge.train
    known = {}

    def remembering(images, labels, parts, classes, **options):
        keys = [
            (
                images[part].tobytes(),
                labels[part].tobytes(),
                str(options),
            )
            for part in parts
        ]
        missing = [i for i, key in enumerate(keys) if key not in known]
        wanted = [parts[i] for i in missing]
        model, params = train(images, labels, wanted, classes, **options)
        for i, trained in zip(missing, params, strict=True):
            known[keys[i]] = trained
        return model, [known[key] for key in keys]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "train", remembering)
        yield


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
    labels = np.repeat(fake.labels[:1], SET, 0)
    return fake._replace(images=images, labels=labels)


def memorising(fake: Pairs, seen: Pairs) -> Pairs:
    """Seen pairs, mirrored, with noise."""
    noise = np.random.default_rng(0).normal(
        0,
        3,
        seen.images.shape,
    )
    noisy = np.clip(seen.images + noise, 0, 255).astype(np.uint8)
    return fake._replace(
        images=noisy[:, ::-1],
        labels=seen.labels[:, ::-1],
        subjects=seen.subjects,
    )


def mask_ignoring(fake: Pairs, seen: Pairs) -> Pairs:
    """The masks of other images."""
    return fake._replace(labels=np.roll(fake.labels, 7, 0))


def blurred(fake: Pairs, seen: Pairs) -> Pairs:
    """Out of focus."""
    soft = gaussian_filter(fake.images.astype(np.float32), (0, 1.5, 1.5, 0))
    return fake._replace(images=soft.astype(np.uint8))


def blurred_with_noise(fake: Pairs, seen: Pairs) -> Pairs:
    """A blur of one pixel, and as much noise as it took of the fine contrast."""
    images = fake.images.astype(np.float32)
    soft = gaussian_filter(images, (0, 1, 1, 0))
    lost = (images - soft).std((1, 2, 3), keepdims=True)
    noisy = soft + lost * np.random.default_rng(0).normal(size=images.shape)
    return fake._replace(images=noisy.clip(0, 255).astype(np.uint8))


def few_kinds(fake: Pairs, seen: Pairs) -> Pairs:
    """Three kinds of picture, each in eight orientations."""
    groups = {case.name: case.group for case in store.read_split("nuclei", "train", None)}
    kinds = np.array([groups[name] for name in fake.names])
    names, counts = np.unique(kinds, return_counts=True)
    chosen = names[np.argsort(-counts)[2:5]]
    index = np.resize(np.flatnonzero(np.isin(kinds, chosen)), SET)
    turned = [np.rot90(fake.images[j], i // 12 % 4) for i, j in enumerate(index)]
    masks = [np.rot90(fake.labels[j], i // 12 % 4) for i, j in enumerate(index)]
    return fake._replace(images=np.stack(turned), labels=np.stack(masks))


def shifted(fake: Pairs, seen: Pairs) -> Pairs:
    """Masks one pixel to the right."""
    return fake._replace(labels=np.roll(fake.labels, 1, 2))


def dilated(fake: Pairs, seen: Pairs) -> Pairs:
    """Masks two pixels larger."""
    return fake._replace(labels=maximum_filter(fake.labels, (1, 5, 5)))


def eroded(fake: Pairs, seen: Pairs) -> Pairs:
    """Masks one pixel smaller."""
    return fake._replace(labels=minimum_filter(fake.labels, (1, 3, 3)))


def some_wrong(fake: Pairs, seen: Pairs) -> Pairs:
    """18 % of the masks are another image's."""
    labels = fake.labels.copy()
    labels[: round(0.18 * SET)] = fake.labels[1 : 1 + round(0.18 * SET)]
    return fake._replace(labels=labels)


def unlabelled_copies(fake: Pairs, seen: Pairs) -> Pairs:
    """Unlabelled training images, as they are."""
    unlabelled = unlabelled_pairs()
    return unlabelled._replace(subjects=np.full(SET, ""))


def warped_copies(fake: Pairs, seen: Pairs) -> Pairs:
    """Seen pairs, turned and bent."""
    index = np.resize(np.arange(len(seen.names)), SET)
    varied = []
    for i, j in enumerate(index):
        rng = np.random.default_rng(i)
        varied.append(
            masks.vary(
                seen.labels[j],
                rng,
                image=seen.images[j],
            )
        )
    return Pairs(
        np.array([f"warped{i}" for i in range(SET)]),
        np.stack([np.asarray(v.image) for v in varied]),
        np.stack([v.label for v in varied]),
        seen.subjects[index],
    )


BAD = {
    collapsed: "distinct",
    memorising: "memorised",
    mask_ignoring: "foreign",
    blurred: "sharpness",
}
SUBTLE = {
    blurred_with_noise: "auc",
    few_kinds: "kinds",
    shifted: "moved",
    dilated: "grown",
    eroded: "grown",
    some_wrong: "foreign",
    unlabelled_copies: "copied",
    warped_copies: "copied",
}
"""Bad sets whose means look right."""


def unlabelled_pairs() -> Pairs:
    """Training pairs that are neither in the largest budget nor presented."""
    known = read_reference("nuclei", None, Frame(SIDE), 0, 0)
    order = np.random.default_rng(3).permutation(len(known.seen.names))
    index = order[SEEN + SET : SEEN + 2 * SET]
    return Pairs(*(np.asarray(array)[index] for array in known.seen))


def of_budget(labels: int) -> Reference:
    """The reference of a label budget, of the first seen pairs."""
    real, _ = nuclei()
    return real._replace(seen=Pairs(*(array[:labels] for array in real.seen)))


def failed(report: dict) -> set[str]:
    return {check["check"] for check in report["checks"] if not check["passed"]}


@pytest.mark.slow
def test_real_images_pass():
    """Catches limits that nothing can pass: held-out real pairs presented as a synthetic set."""
    real, fresh = nuclei()
    report = assess(fresh, real, steps=STEPS)
    assert report["passed"], (failed(report), report["figures"])
    assert report["figures"]["auc"] < 0.8
    assert 0.6 < report["figures"]["density"] < 1.6


@pytest.mark.slow
@pytest.mark.parametrize(
    "make, reason",
    BAD.items(),
    ids=[make.__name__ for make in BAD],
)
def test_bad_sets_are_rejected_for_their_own_reason(make, reason):
    """Catches a report that any set passes."""
    real, fresh = nuclei()
    report = assess(make(fresh, real.seen), real, steps=STEPS)
    assert not report["passed"]
    assert reason in failed(report), report["figures"]


@pytest.mark.slow
@pytest.mark.parametrize("labels", [4, 8, 32])
def test_real_images_pass_at_every_budget(labels):
    """Catches limits that follow from a handful of seen pairs."""
    _, fresh = nuclei()
    report = assess(fresh, of_budget(labels), steps=STEPS // 2)
    assert report["passed"], (failed(report), report["figures"])
    assert report["cannot_tell"] == []
    assert report["power"]["real pairs"] <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize("labels", [8, 32])
@pytest.mark.parametrize(
    "make, reason",
    SUBTLE.items(),
    ids=[make.__name__ for make in SUBTLE],
)
def test_subtle_faults_are_rejected_for_their_own_reason(make, reason, labels):
    """Catches a report of means: each of these sets passed one that had no other limits."""
    _, fresh = nuclei()
    real = of_budget(labels)
    report = assess(
        make(fresh, real.seen),
        real,
        steps=STEPS // 2,
    )
    assert not report["passed"]
    assert reason in failed(report), report["figures"]


@pytest.mark.slow
def test_copies_that_the_filter_passes_are_still_copies():
    """Catches a filter that is asked whether its own result is right."""
    real = of_budget(8)
    copies_of_seen = warped_copies(nuclei()[1], real.seen)
    first = assess(copies_of_seen, real, steps=STEPS // 2)
    passes = np.array([sample["keep"] for sample in first["samples"]])
    assert passes.sum() > 10
    filtered = Pairs(*(array[passes] for array in copies_of_seen))
    assert "copied" in failed(assess(filtered, real, steps=STEPS // 2))


def test_few_held_out_pairs_are_said_to_tell_little():
    """Catches a verdict on masks from a handful of held-out pairs, that reads like any other."""
    real = of_budget(8)
    few = Pairs(*(array[:4] for array in real.held_out))
    report = assess(
        nuclei()[1],
        real._replace(held_out=few),
        steps=2,
    )
    assert report["power"] == {}
    assert report["cannot_tell"] == list(quality_spoilt.SPOILT)


@pytest.mark.slow
def test_filter_drops_the_bad_samples_alone():
    """Catches a filter that follows the set's verdict instead of each sample's: of a set that is
    half bad, mostly the good half passes.
    """
    real, fresh = nuclei()
    bad = np.arange(SET) < SET // 2
    labels = np.where(
        bad[:, None, None],
        np.roll(fresh.labels, 7, 0),
        fresh.labels,
    )
    report = assess(fresh._replace(labels=labels), real, steps=STEPS)
    passes = np.array([sample["keep"] for sample in report["samples"]])
    assert passes[~bad].mean() > passes[bad].mean() + 0.3


def test_masks_of_another_size_are_one_line():
    """Catches a shape error from inside NumPy."""
    real, fresh = nuclei()
    with pytest.raises(UserError, match="masks are 16×16, the generator paints 32×32"):
        assess(
            fresh._replace(labels=fresh.labels[:, ::2, ::2]),
            real,
            steps=1,
        )


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
    _, of_one_point = measures.density_coverage(
        a,
        np.repeat(
            b[:1],
            300,
            0,
        ),
    )
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
    one, two = measures.disjoint_parts(
        subjects,
        40,
        np.random.default_rng(0),
    )
    assert not set(subjects[one]) & set(subjects[two])
    assert len(one) == 40
    assert len(two) == 110


def test_texture_is_what_the_mask_does_not_tell():
    """Catches memorisation that is only a shared mask: the same mask with other texture is far, the
    same texture turned and noisy is near.
    """
    label = np.zeros((4, 32, 32), np.uint8)
    label[:, 8:20, 10:24] = 1
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (8, 32, 32))
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
