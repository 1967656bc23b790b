"""Confidence against accuracy, by hand."""

import numpy as np
import pytest

from semiseg.evaluate import calibration
from semiseg.types import IGNORE


def test_calibration_by_hand():
    """Two pixels at .9 of which one is right, two at .6 that are right, five sure ones of
    background beside them; an ignored pixel and background further away do not count. Catches a
    wrong bin, background that hides the error, and an ignored pixel that is scored.
    """
    front = np.array(
        [
            0.9,
            0.9,
            0.6,
            0.6,
            0.01,
            0.01,
            0.01,
            0.01,
            0.01,
            0.9,
            *[0.01] * 50,
        ]
    )
    probability = np.stack([1 - front, front], -1)[None]
    label = np.array([[1, 0, 1, 1, 0, 0, 0, 0, 0, IGNORE, *[0] * 50]])[:, : len(front)]
    total = calibration.count(probability, label)
    assert total[0].tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2 + 5]  # the box ends at pixel 3 + 5
    assert total[2].tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 1 + 5]
    assert calibration.error(total) == pytest.approx(
        (abs(2 * 0.9 + 5 * 0.99 - 6) + abs(1.2 - 2)) / 9
    )
    assert calibration.count(probability, 0 * label)[0].sum() == 60
    assert calibration.summary(np.zeros((3, 10)))["ece"] is None
