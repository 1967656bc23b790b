"""Scores that are asked for of a split or of a run that is not there."""

from types import SimpleNamespace

import pytest

from semiseg.data import wall
from semiseg.errors import UserError
from semiseg.runner import rescore
from semiseg.runner.export_run import finished


def data_set(**numbers):
    """A set with so many images in some splits."""
    return SimpleNamespace(name="mine", number=lambda split: numbers.get(split, 0))


@pytest.mark.parametrize(
    ("splits", "asked", "is_fold", "remedy"),
    [
        ({}, "val", False, "nothing can be scored with train alone"),
        ({}, "test", False, "nothing can be scored with train alone"),
        ({}, "test", True, "evaluate with --split val"),
        ({"val": 1}, "test", False, "evaluate with --split val"),
        ({"test": 1}, "val", False, "evaluate with --split test"),
    ],
)
def test_a_remedy_names_a_split_that_is_there(splits, asked, is_fold, remedy):
    """Catches advice to evaluate on a split that the set lacks, too."""
    with pytest.raises(UserError, match=f"has no {asked} split; {remedy}"):
        rescore.check_split(data_set(**splits), asked, is_fold)


def test_splits_that_are_there_are_scored():
    """Catches a fold, or a set of one scored split, that is refused."""
    rescore.check_split(data_set(test=1), "test", False)
    rescore.check_split(data_set(), "val", True)


def test_a_set_without_val_is_not_sent_there():
    """Catches `--split val` as the remedy of a set of train alone."""
    with pytest.raises(UserError) as caught:
        wall.check_test(data_set())
    assert "--split val" not in str(caught.value)


def test_a_folder_that_is_not_there_is_said(tmp_path):
    """Catches a misspelt run that is called unfinished."""
    for look in (rescore.evaluate, finished):
        with pytest.raises(UserError, match="there is no such folder"):
            look(tmp_path / "nothing")
