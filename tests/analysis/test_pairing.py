"""Which runs of two groups stand in one row."""

from types import SimpleNamespace

import numpy as np
import pytest

from analysis.fake import write_run
from semiseg.analysis import pairing
from semiseg.analysis.load import load_runs

SCORED = ("dice", "val", "last")


def test_everybody_is_the_end_of_every_label_subset(tmp_path):
    """Three choices of 16 subjects, and all 67 with three seeds. Catches the one choice whose
    number the runs of all subjects have in the place of three.
    """
    for i in range(3):
        write_run(tmp_path, labels=16, subset=i)
        write_run(tmp_path, labels=67, seed=i)
    runs = load_runs(tmp_path)
    groups = [runs.where(labels=16), runs.where(labels=67)]
    (few_RS, all_RS), design, _ = pairing.paired(groups, *SCORED)
    assert few_RS.shape == all_RS.shape == (3, 12)
    assert len(design.subset_R) == 3
    for table, group in zip((few_RS, all_RS), groups, strict=True):
        assert np.mean(table) == pytest.approx(np.mean(group.matrix("dice", "val")[1]))
    assert pairing.runs_used(groups) == (6, 6)


def test_a_method_with_one_label_subset_is_compared_in_that_one(tmp_path):
    """Catches runs of another choice of subjects beside it, which are no partner."""
    for subset in range(3):
        write_run(tmp_path, subset=subset)
    write_run(tmp_path, method="mean_teacher", subset=1)
    runs = load_runs(tmp_path)
    groups = [runs.where(method=name) for name in ("supervised", "mean_teacher")]
    (table, _), _, _ = pairing.paired(groups, *SCORED)
    assert len(table) == 1


def test_who_is_annotated_decides_who_is_everybody():
    """More subjects are not everybody where they leave out one of another choice."""

    def run(names):
        return SimpleNamespace(annotated=frozenset(names), labels=len(names))

    assert pairing._holds(run("abcd"), [run("ab"), run("cd")])
    assert not pairing._holds(run("abc"), [run("ab"), run("cd")])
