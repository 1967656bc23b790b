"""Two synthetic sets are two treatments: one that gains and one that loses are not averaged."""

import pytest

from semiseg.analysis.arms import find_arms
from semiseg.analysis.load import load_runs
from semiseg.analysis.mixes import mixes
from semiseg.analysis.study import study

from .fake import write_run


def write_set_run(folder, name: str, gain: float, *, subset: int, seed: int = 0, labels: int = 8):
    """A run with a synthetic set whose scores are those of the run without, and the gain."""
    run = write_run(
        folder,
        labels=labels,
        subset=subset,
        seed=seed,
        ratio=1.0,
        config={"synthetic": name},
        name=f"{name}-n{labels}-j{subset}-s{seed}",
        examples=False,
    )
    file = run / "per_subject.csv"
    lines = []
    for line in file.read_text().splitlines():
        fields = line.split(",")
        if fields[5] == "dice":
            fields[6] = str(float(fields[6]) + gain)
        lines.append(",".join(fields))
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("same_seed", [True, False])
def test_a_good_and_a_bad_set_are_not_averaged_as_seeds(tmp_path, same_seed):
    """Catches "+.05 and −.05 make .000 [−.001, +.001]": the name of a set is a treatment."""
    for subset in range(3):
        write_run(tmp_path, subset=subset, examples=False)
        write_set_run(tmp_path, "good", 0.05, subset=subset)
        write_set_run(
            tmp_path,
            "bad",
            -0.05,
            subset=subset,
            seed=1 - int(same_seed),
        )
    s = study(load_runs(tmp_path))
    assert list(s.arms) == [
        "supervised",
        "supervised (ratio 1.0, set bad)",
        "supervised (ratio 1.0, set good)",
    ]
    bad, good = (c.difference.mean for c in s.comparisons)
    assert good > 0.04
    assert bad < -0.04


def test_sets_made_for_each_choice_of_subjects_are_one_treatment(tmp_path):
    """Catches a curve that falls apart because a set is made anew for each budget and subset."""
    for labels in (4, 8):
        for subset in range(2):
            write_run(tmp_path, labels=labels, subset=subset, examples=False)
            name = f"mine-n{labels}-j{subset}"
            write_set_run(tmp_path, name, 0.02, subset=subset, labels=labels)
            for seed in range(2):
                made = f"made-spade-{labels:06d}{subset:03d}{seed:03d}"
                write_set_run(tmp_path, made, 0.02, subset=subset, seed=seed, labels=labels)
    assert list(find_arms(load_runs(tmp_path))) == [
        "supervised",
        "supervised (SPADE images, ratio 1.0)",
        "supervised (synthetic images, ratio 1.0)",
    ]


def test_two_fits_of_one_generator_are_two_treatments(tmp_path):
    """Two hashes for one budget, subset and seed: the generators were set differently."""
    for subset in range(2):
        write_run(tmp_path, subset=subset, examples=False)
        write_set_run(tmp_path, "made-spade-aaaaaaaaaaaa", 0.05, subset=subset)
        write_set_run(tmp_path, "made-spade-bbbbbbbbbbbb", -0.05, subset=subset)
    arms = find_arms(load_runs(tmp_path))
    assert len(arms) == 3
    assert [len(runs) for runs in arms.values()] == [2, 2, 2]


def test_two_sets_stand_beside_their_control(tmp_path):
    """Catches a control that is beside none of two imported sets, because their names differ."""
    for subset in range(2):
        write_run(tmp_path, subset=subset, examples=False)
        write_set_run(tmp_path, "good", 0.05, subset=subset)
        write_set_run(tmp_path, "bad", -0.05, subset=subset)
        write_set_run(tmp_path, "made-duplicated-aaaaaaaaaaaa", 0.0, subset=subset)
    by_line = {mix.line: mix for mix in mixes(study(load_runs(tmp_path))) if not mix.source}
    gains = {line: mix.beside["duplicated pairs"].mean for line, mix in by_line.items()}
    assert sorted(gains.values()) == pytest.approx([-0.05, 0.05], abs=1e-6)
