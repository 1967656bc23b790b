"""Counts by hand, the policy of empty masks, and the rows."""

import dataclasses
import math

import numpy as np
import pytest
from golden_values import box

from semiseg.errors import UserError
from semiseg.evaluate import METRICS, EmptyPolicy, Row, mask_metrics, score
from semiseg.evaluate.empty_policy import policy_of
from semiseg.types import IGNORE

COUNTS = ("dice", "iou", "precision", "sensitivity", "volume_error", "volume_error_abs")
DISTANCES = ("hd", "hd95", "hd95_pooled", "assd")
DETECTION = (
    "lesion_sensitivity",
    "lesion_f1",
    "false_positive_lesions",
    "false_positive_rate",
    "false_positive_volume",
)
SHAPE = (6, 8)
SPACING = (0.5, 0.5)
DIAGONAL = 5.0  # of 3 x 4
FULL = box(SHAPE, (1, 3), (1, 5))  # 8 pixels
EMPTY = np.zeros(SHAPE, bool)
nan = math.nan


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        pytest.param(FULL, FULL, (1, 1, 1, 1, 0, 0), id="perfect"),
        pytest.param(
            box(SHAPE, (4, 5), (1, 5)),
            FULL,
            (0, 0, 0, 0, -0.5, 0.5),
            id="disjoint",
        ),
        pytest.param(
            box(SHAPE, (2, 4), (1, 5)), FULL, (1 / 2, 1 / 3, 1 / 2, 1 / 2, 0, 0), id="half overlap"
        ),
        pytest.param(
            box(SHAPE, (1, 2), (1, 3)),
            FULL,
            (0.4, 0.25, 1, 0.25, -0.75, 0.75),
            id="a quarter of it",
        ),
        pytest.param(
            FULL,
            box(SHAPE, (1, 2), (1, 2)),
            (2 / 9, 1 / 8, 1 / 8, 1, 7, 7),
            id="one pixel of truth",
        ),
    ],
)
def test_counts_by_hand(prediction, truth, expected):
    """Catches precision and sensitivity swapped, a volume error of the wrong sign or base, IoU
    taken for Dice.
    """
    found = mask_metrics(prediction, truth, SPACING, COUNTS)
    np.testing.assert_allclose(
        [found[name] for name in COUNTS],
        expected,
        rtol=1e-12,
    )


PERFECT = EmptyPolicy(both="perfect", invented="worst")
UNDEFINED = (nan,) * 6


@pytest.mark.parametrize(
    ("prediction", "truth", "policy", "counts", "distance"),
    [
        (EMPTY, EMPTY, EmptyPolicy(), UNDEFINED, nan),
        (FULL, EMPTY, EmptyPolicy(), UNDEFINED, nan),
        (EMPTY, FULL, EmptyPolicy(), (0, 0, 0, 0, -1, 1), DIAGONAL),
        (EMPTY, EMPTY, PERFECT, (1, 1, 1, 1, nan, nan), 0.0),
        (FULL, EMPTY, PERFECT, (0, 0, 0, 0, nan, nan), DIAGONAL),
        (EMPTY, FULL, PERFECT, (0, 0, 0, 0, -1, 1), DIAGONAL),
    ],
)
def test_empty_masks(prediction, truth, policy, counts, distance):
    """Catches a distance of 0 for an empty prediction, a silent perfect score, a diagonal without
    spacing, and a subject that is scored because something is predicted there.
    """
    values = mask_metrics(prediction, truth, SPACING, COUNTS + DISTANCES, policy)
    np.testing.assert_allclose(list(values.values()), counts + (distance,) * 4)


@pytest.mark.parametrize("policy", [EmptyPolicy(), PERFECT])
@pytest.mark.parametrize("truth", [EMPTY, FULL], ids=["healthy", "diseased"])
@pytest.mark.parametrize("metric", METRICS)
def test_the_truth_alone_decides_what_is_scored(metric, truth, policy):
    """Of every metric in the table. Catches one whose painted healthy subjects join its mean."""
    predictions = [EMPTY, FULL, ~EMPTY, box(SHAPE, (4, 5), (1, 2))]
    values = [mask_metrics(p, truth, SPACING, (metric,), policy)[metric] for p in predictions]
    assert len({math.isnan(value) for value in values}) == 1, values


def test_false_positives_are_counted_where_the_truth_is_empty():
    """Catches false positives of diseased subjects, a share for a volume, and voxels for mm²."""
    names = ("false_positive_rate", "false_positive_volume", "false_positive_lesions")
    assert list(mask_metrics(FULL, EMPTY, SPACING, names).values()) == [1, 8 * 0.25, 1]
    assert list(mask_metrics(EMPTY, EMPTY, SPACING, names).values()) == [0, 0, 0]
    np.testing.assert_equal(
        list(mask_metrics(FULL, FULL, SPACING, names).values()),
        [nan, nan, 0],
    )


def test_an_empty_prediction_always_counts():
    """No metric of a present class is NaN for an empty prediction. Catches a failure that would
    drop out of the means.
    """
    assert all(
        math.isfinite(v) for v in mask_metrics(EMPTY, FULL, SPACING, COUNTS + DISTANCES).values()
    )


def test_policy_can_be_stored_and_is_checked():
    """Catches a policy that does not survive its file, and a misspelt option silently meaning the
    default.
    """
    assert EmptyPolicy(**dataclasses.asdict(PERFECT)) == PERFECT != EmptyPolicy()
    with pytest.raises(UserError, match="missed='nan' does not exist; choose diagonal"):
        EmptyPolicy(missed="nan")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="both='nan' with invented='worst' would let a prediction"):
        EmptyPolicy(invented="worst")


def test_a_split_that_was_evaluated_later_has_its_own_policy():
    """Catches a run whose test scores follow a rule that only its validation scores do."""
    old = {"both": "nan", "missed": "diagonal", "invented": "diagonal"}
    new = dataclasses.asdict(EmptyPolicy())
    summary = {"empty_policy": old, "empty_policy_by_split": {"val": new}}
    assert (policy_of(summary, "val"), policy_of(summary, "test")) == (new, old)
    assert policy_of({}, "val") is None


def test_rows_name_class_metric_and_unit():
    """Catches the background being scored, classes shifted by one, and a unit on a ratio or none on
    a distance.
    """
    label = np.zeros((4, 6), np.uint8)
    label[1, 1:3] = 1
    label[2, 1:5] = 2
    prediction = label.copy()
    prediction[2, 3:5] = 0
    rows = score(
        prediction, label, (1.0, 2.0), ("background", "rv", "lv"), metrics=("dice", "hd"), unit="mm"
    )
    assert rows == [
        Row("rv", "dice", 1.0, ""),
        Row("rv", "hd", 0.0, "mm"),
        Row("lv", "dice", 2 / 3, ""),
        Row("lv", "hd", 4.0, "mm"),
    ]


def test_default_rows_and_hd95_modes():
    """Catches a metric missing by default, and a mode that drops the other's column."""
    label = FULL.astype(np.uint8)

    def names(**options):
        return [row.metric for row in score(label, label, SPACING, ("background", "x"), **options)]

    everything = (*COUNTS[:4], "hd95", "hd95_pooled", "assd", "volume_error", *DETECTION)
    assert names() == list(everything) == [m for m in METRICS if METRICS[m].by_default]
    assert names(hd95=("max",)) == [m for m in everything if m != "hd95_pooled"]
    assert names(hd95=("pooled",)) == [m for m in everything if m != "hd95"]


def test_ignored_pixels_are_in_neither_mask():
    """Whatever is predicted there, the score is that of the rest. Catches ignored pixels counted as
    false positives, or as surface.
    """
    label = np.zeros((6, 9), np.uint8)
    label[1:4, 1:4] = 1
    label[:, 6:] = IGNORE
    inside = np.where(label == 1, 1, 0).astype(np.uint8)
    outside = inside.copy()
    outside[2:5, 6:8] = 1
    expected = [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, nan, nan]
    for prediction in (inside, outside):
        rows = score(prediction, label, (1.0, 1.0), ("background", "x"))
        np.testing.assert_equal([row.value for row in rows], expected)


def test_one_pixel_in_two_and_three_dimensions():
    """One pixel is its own surface. Catches an erosion or a crop that leaves it without one."""
    for shape in ((5, 5), (3, 5, 5), (1, 1)):
        a = np.zeros(shape, bool)
        b = np.zeros(shape, bool)
        a[(0,) * len(shape)] = b[(-1,) * len(shape)] = True
        apart = math.hypot(*(n - 1 for n in shape))
        assert mask_metrics(
            a,
            b,
            (1.0,) * len(shape),
            DISTANCES,
        ) == pytest.approx(dict.fromkeys(DISTANCES, apart))


def test_user_errors_say_what_does_not_fit():
    """Catches a wrong shape that numpy would broadcast, and a metric name that would be skipped."""
    label = FULL.astype(np.uint8)
    with pytest.raises(UserError, match="do not fit"):
        score(label[:1], label, SPACING, ("background", "x"))
    with pytest.raises(UserError, match="do not fit"):
        score(label, label, (1.0, 1.0, 1.0), ("background", "x"))
    with pytest.raises(UserError, match="'hausdorf' does not exist; choose among dice"):
        score(label, label, SPACING, ("background", "x"), metrics=("hausdorf",))
