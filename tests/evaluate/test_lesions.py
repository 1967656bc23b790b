"""Detection by hand: which lesions are found, and what is found that is none."""

import numpy as np
import pytest
from golden_values import box

from semiseg.evaluate import mask_metrics
from semiseg.evaluate.lesions import HIT, Detection, detect

PLANE = (12, 12)
LARGE = box(PLANE, (0, 4), (0, 4))  # 16 pixels
SMALL = box(PLANE, (8, 9), (8, 9))
AWAY = box(PLANE, (0, 2), (8, 10))
NAMES = ("lesion_sensitivity", "lesion_f1", "false_positive_lesions")


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        pytest.param(LARGE | SMALL, LARGE | SMALL, (1, 1, 0), id="all found"),
        pytest.param(LARGE, LARGE | SMALL, (1 / 2, 2 / 3, 0), id="the small one missed"),
        pytest.param(LARGE | AWAY, LARGE | SMALL, (1 / 2, 1 / 2, 1), id="one missed, one false"),
        pytest.param(AWAY, LARGE | SMALL, (0, 0, 1), id="nothing found"),
        pytest.param(np.zeros(PLANE, bool), LARGE, (0, 0, 0), id="nothing predicted"),
    ],
)
def test_known_answers(prediction, truth, expected):
    """A missed lesion of one pixel costs as much as a large one. Catches voxels counted for
    lesions, and precision taken for F1.
    """
    values = mask_metrics(prediction, truth, (1.0, 1.0), NAMES)
    assert list(values.values()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("columns", "iou", "found"),
    [((0, 1), 1 / 10, 1), ((9, 20), 1 / 20, 0), ((0, 100), 1 / 10, 1), ((0, 101), 10 / 101, 0)],
)
def test_the_threshold_is_of_the_intersection_over_union(columns, iou, found):
    """Catches a hit by any overlap, and one by the share of the truth or of the prediction alone,
    which a prediction of everything or of one pixel would win.
    """
    truth = box((1, 120), (0, 1), (0, 10))
    prediction = box((1, 120), (0, 1), columns)
    assert (iou >= HIT) == bool(found)
    assert detect(prediction, truth) == Detection(1, 1, found)


def test_one_prediction_finds_one_lesion():
    """A blob over two lesions finds the larger one, two halves of a lesion find it once. Catches a
    count by lesion that a prediction of everything would win.
    """
    two = box(PLANE, (0, 3), (0, 3)) | box(PLANE, (0, 3), (4, 6))
    blob = box(PLANE, (0, 3), (0, 6))
    assert detect(blob, two) == Detection(2, 1, 1)
    assert detect(two, blob) == Detection(1, 2, 1)


def test_corners_connect_in_two_and_three_dimensions():
    """Catches 4 or 6 neighbours, which cut an oblique vessel into many lesions."""
    for axes in (2, 3):
        diagonal = np.zeros((3,) * axes, bool)
        for i in range(3):
            diagonal[(i,) * axes] = True
        assert detect(diagonal, diagonal) == Detection(1, 1, 1)


def test_a_perfect_prediction_of_many_lesions_in_a_volume():
    """Catches a table of pairs that mixes up rows and columns."""
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 40, 40), bool)
    for z, y, x in rng.integers(0, 10, (30, 3)):
        truth[2 * z, 4 * y : 4 * y + 2, 4 * x : 4 * x + 2] = True
    detection = detect(truth, truth)
    assert detection.true == detection.predicted == detection.found > 20
    moved = np.roll(truth, 2, axis=1)
    assert detect(moved, truth).found == detect(truth, moved).found == 0
