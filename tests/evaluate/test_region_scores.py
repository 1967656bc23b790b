"""Regions are scored by the union of the masks, and are in no mean over classes."""

import numpy as np
import pytest

from semiseg.evaluate.metrics import score
from semiseg.evaluate.subject_scores import SubjectRow, mean, score_subjects
from semiseg.types import IGNORE, Case

CLASSES = ("background", "edema", "core")
WHOLE = {"whole": (1, 2)}


def values(prediction, label, metrics, regions=WHOLE):
    rows = score(
        np.array([prediction], np.uint8),
        np.array([label], np.uint8),
        (1.0, 1.0),
        CLASSES,
        metrics=metrics,
        regions=regions,
    )
    return {(row.class_, row.metric): row.value for row in rows}


def test_the_dice_of_a_union_is_no_mean():
    """Known by hand: both classes have 2 of 4 + 2 pixels right, and the union all of 6.

    Catches a mean of the classes' scores, and a union of one side alone.
    """
    dice = values([1, 1, 2, 2, 2, 2, 0, 0], [1, 1, 1, 1, 2, 2, 0, 0], ("dice",))
    assert dice == pytest.approx(
        {("edema", "dice"): 2 / 3, ("core", "dice"): 2 / 3, ("whole", "dice"): 1.0}
    )
    dice = values([1, 0, 2, 2, 0, 0, 1, 0], [1, 1, 1, 1, 2, 2, 0, 0], ("dice", "sensitivity"))
    assert dice["whole", "dice"] == pytest.approx(2 * 3 / (4 + 6))
    assert dice["whole", "sensitivity"] == pytest.approx(3 / 6)


def test_lesions_and_distances_are_those_of_the_union():
    """Edema, core, edema: two lesions of edema, and one of the whole.

    Catches lesions that are counted class by class, and surfaces inside the union.
    """
    found = values(
        [0, 2, 2, 2, 0, 0, 0, 0],
        [0, 1, 2, 1, 0, 0, 0, 0],
        ("lesion_f1", "hd95", "volume_error"),
    )
    assert found["edema", "lesion_f1"] == 0.0
    assert found["whole", "lesion_f1"] == 1.0
    assert found["whole", "hd95"] == 0.0
    assert found["core", "volume_error"] == 2.0
    assert found["whole", "volume_error"] == 0.0


def test_ignored_pixels_are_in_no_region():
    """Catches pixels without a class that count as false positives of a region."""
    dice = values([1, 2, 1, 1], [1, 2, IGNORE, 0], ("dice",))
    assert dice["whole", "dice"] == pytest.approx(2 * 2 / (3 + 2))


def test_the_truth_of_the_region_decides_whether_it_is_scored():
    """Catches a region that is undefined because one of its classes is, and false positives of a
    region that the truth shows.
    """
    some = values([2, 0, 0, 0], [2, 2, 0, 0], ("dice", "false_positive_rate"))
    assert np.isnan(some["edema", "dice"])
    assert some["whole", "dice"] == pytest.approx(2 / 3)
    assert some["edema", "false_positive_rate"] == 0.0
    assert np.isnan(some["whole", "false_positive_rate"])
    none = values([2, 0, 0, 0], [0, 0, 0, 0], ("dice", "false_positive_rate"))
    assert np.isnan(none["whole", "dice"])
    assert none["whole", "false_positive_rate"] == 1.0


def test_means_are_over_classes_alone():
    """Catches a region that counts its classes twice in the number of a table."""
    rows = [
        SubjectRow("p1", "edema", "dice", 0.5, ""),
        SubjectRow("p1", "core", "dice", 0.25, ""),
        SubjectRow("p1", "whole", "dice", 1.0, "", True),
    ]
    assert mean(rows, "dice") == 0.375


def test_slices_are_stacked_before_their_union():
    """Two slices of one volume, known by hand: 3 of 4 + 3 pixels of the whole are right.

    Catches regions that are averaged over slices, and rows of classes that move.
    """
    labels = ([[1, 2]], [[2, 1]])
    predictions = [np.array(rows, np.uint8) for rows in ([[1, 2]], [[0, 2]])]
    cases = []
    for i, rows in enumerate(labels):
        label = np.array(rows, np.uint8)
        image = np.zeros((*label.shape, 1), np.uint8)
        cases.append(Case("p1", f"p1_{i}", image, label, (5.0, 1.0, 1.0), "p1", i))
    bare = score_subjects(cases, predictions, CLASSES, "mm", metrics=("dice",))
    rows = score_subjects(cases, predictions, CLASSES, "mm", metrics=("dice",), regions=WHOLE)
    assert rows[:2] == bare
    assert rows[2] == SubjectRow("p1", "whole", "dice", pytest.approx(2 * 3 / 7), "", True)
