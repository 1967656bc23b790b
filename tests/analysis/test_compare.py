import itertools
import json

import numpy as np
import pytest

from semiseg.analysis import scores_csv as subject_scores
from semiseg.analysis import worth
from semiseg.analysis.arms import arm_settings, find_arms, title
from semiseg.analysis.load import load_runs
from semiseg.analysis.mixes import mixes, table_mixes
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Comparison, study
from semiseg.errors import UserError
from semiseg.methods import METHODS
from semiseg.report import page as report
from semiseg.report import summary

from .fake import write_rows, write_run


def scores(folder, values, **kwargs):
    run = write_run(folder, examples=False, **kwargs)
    write_rows(run, [["r", "val", "last", s, "a", "dice", str(v), "1"] for s, v in values.items()])


def test_methods_are_called_as_they_call_themselves():
    """Catches a method whose title in the report is not the one that its class declares."""
    for name, method in METHODS.items():
        assert title(name) == method.title


def test_difference_is_paired_by_subset_seed_and_subject(tmp_path):
    """Run and subject effects of ±.3 cancel, leaving +.1 exactly. Catches an unpaired difference,
    whose interval is not a point.
    """
    for subset, shift in ((0, 0.0), (1, 0.3)):
        for method, gain in (("supervised", 0.0), ("mean_teacher", 0.1)):
            scores(
                tmp_path,
                {"x": 0.1 + shift + gain, "y": 0.5 + shift + gain},
                method=method,
                subset=subset,
            )
    (comparison,) = study(load_runs(tmp_path)).comparisons
    assert comparison.difference[:3] == pytest.approx((0.1, 0.1, 0.1))
    assert comparison.paired_by == "label subset and seed" and comparison.p == 0.5


def test_unmatched_seeds_are_paired_by_subset(tmp_path):
    """Catches a comparison that silently disappears, or claims a pairing it does not have."""
    scores(tmp_path, {"x": 0.4}, seed=0)
    scores(tmp_path, {"x": 0.6}, seed=1)
    scores(tmp_path, {"x": 0.7}, method="mean_teacher", seed=5)
    (comparison,) = study(load_runs(tmp_path)).comparisons
    assert (
        comparison.difference.mean == pytest.approx(0.2) and comparison.paired_by == "label subset"
    )


def test_arms_are_methods_and_what_varies_within_them(tmp_path):
    """Catches two learning rates averaged into one curve, and seeds or synthetic-set paths taken
    for treatments.
    """
    for lr in (0.01, 0.1):
        for seed in (0, 1):
            write_run(
                tmp_path,
                seed=seed,
                name=f"a{lr}{seed}",
                config={"optimiser": {"lr": lr}, "synthetic": f"gan{seed}"},
            )
    write_run(tmp_path, method="mean_teacher")
    arms = find_arms(load_runs(tmp_path))
    assert {arm: len(members) for arm, members in arms.items()} == {
        "supervised (lr 0.01)": 2,
        "supervised (lr 0.1)": 2,
        "mean teacher": 1,
    }


def annotate(run, names):
    """Names the annotated subjects of a run, as the trainer does."""
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"labelled_subjects": names}))


def test_two_numbers_of_one_choice_of_subjects_are_one_label_subset(tmp_path):
    """All 3 of 3 annotated under subsets 0 and 1, and one seed. Catches two replicates in intervals
    and tests, a pair lost where arms have other numbers, and subsets of the smaller budget merged
    with them, whose differences to the larger one are two.
    """
    for method, subset in (
        ("supervised", 0),
        ("supervised", 1),
        ("mean_teacher", 0),
        ("mean_teacher", 1),
        ("bcp", 1),
    ):
        for labels, names in (
            (2, [["pc", "pa"], ["pa", "pb"]][subset]),
            (3, [["pa", "pb", "pc"], ["pb", "pc", "pa"]][subset]),
        ):
            annotate(
                write_run(
                    tmp_path,
                    method=method,
                    subset=subset,
                    labels=labels,
                    subjects=7,
                    examples=False,
                ),
                names,
            )
    s = study(load_runs(tmp_path))
    at = {(c.arm, c.labels): c.difference for c in s.comparisons}
    assert [
        (s.cells["supervised", n].interval.n_runs, s.cells["supervised", n].interval.n_subsets)
        for n in (2, 3)
    ] == [(2, 2), (1, 1)]
    assert (at["mean teacher", 3].n_runs, at["mean teacher", 2].n_runs, at["BCP", 3].n_runs) == (
        1,
        2,
        1,
    )
    assert {c.paired_by for c in s.comparisons} == {"label subset and seed"}
    assert worth.gain(s, "supervised", 2, 3).n_subsets == 2
    assert (
        "With 3 annotated images, label subsets 0 and 1 are the same. They count as one"
        in " ".join(summary.cautions(s))
    )


def test_a_recipe_is_a_short_name(tmp_path):
    """25 settings in a legend wreck every figure. Catches them, a run on top of a recipe called by
    the recipe alone, and two long arms of one name.
    """
    from semiseg import config

    trials = [
        config.Trial(method=config.make("method", "unimatch")),
        *[config.preset("unimatch-acdc", "unimatch")] * 2,
    ]
    for i, more in enumerate(({}, {}, {"lr": 0.1})):
        write_run(
            tmp_path,
            name=f"r{i}",
            seed=i,
            examples=False,
            config=config.to_dict(config.override(trials[i], {"steps": 20, **more})),
        )
    runs = load_runs(tmp_path)
    assert list(find_arms(runs)) == [
        "UniMatch (defaults)",
        "UniMatch (unimatch-acdc)",
        "UniMatch (unimatch-acdc, lr 0.1)",
    ]
    assert (
        all(len(full) > 20 and "lr " in str(full) for full in arm_settings(runs).values())
        and len(arm_settings(runs)) == 3
    )
    for i in range(2):
        many = {f"knob{k}": 0 for k in range(9)} | {"knob9": i}
        many |= {f"own{k}": i + k for k in range(5)}
        write_run(
            tmp_path / "own",
            name=f"r{i}",
            seed=i,
            method="mine",
            examples=False,
            config={"method": {"name": "mine", **many}, "lr": 0.1},
        )
    assert list(find_arms(load_runs(tmp_path / "own"))) == [
        "mine (6 settings: knob9 0, own0 0, …)",
        "mine (6 settings: knob9 1, own0 1, …)",
    ]


def test_mixes_of_one_ratio_are_arms_of_their_own(tmp_path):
    """Catches schedules pooled as replicates, and runs of earlier versions, which lack the field,
    parted from those of today that do the same.
    """
    for seed, config in enumerate(
        ({}, {"synthetic_schedule": "constant"}, {"synthetic_schedule": "decay"})
    ):
        write_run(tmp_path, seed=seed, ratio=1.0, config=config, examples=False)
    assert sorted((arm, len(runs)) for arm, runs in find_arms(load_runs(tmp_path)).items()) == [
        ("supervised (synthetic_schedule constant)", 2),
        ("supervised (synthetic_schedule decay)", 1),
    ]


def test_a_control_is_of_the_same_mix(tmp_path):
    """Catches synthetic images that come late compared with a control that comes early, as of
    another ratio, network or weight.
    """
    write_run(tmp_path, examples=False)
    for i, (kind, schedule) in enumerate(
        itertools.product(("spade", "duplicated"), ("constant", "decay"))
    ):
        config = {
            "synthetic": f"made-{kind.replace('_', '-')}-{i:012d}",
            "synthetic_schedule": schedule,
        }
        scores(
            tmp_path,
            {"x": 0.1 * i},
            ratio=1.0,
            config=config,
            name=f"r{i}",
        )
    lines = [m for m in mixes(study(load_runs(tmp_path))) if m.source == "spade"]
    assert len({m.line for m in lines}) == len(lines) == 2
    for m in lines:
        assert list(m.beside) == ["duplicated pairs"]
        assert m.beside["duplicated pairs"].mean == pytest.approx(-0.2)


def test_a_table_with_its_subjects_says_what_the_folders_say(tmp_path):
    """Intervals and p-values of Dice and HD95. Catches a permutation of subjects that a table
    leaves out, and a metric or subject lost on the way.
    """
    rng = np.random.default_rng(0)
    for method in ("supervised", "mean_teacher"):
        for subset in range(2):
            run = write_run(tmp_path / "runs", method=method, subset=subset, examples=False)
            cells = itertools.product([f"s{i}" for i in range(5)], ("dice", "hd95"))
            values = [(subject, metric, rng.uniform(0.5, 0.9)) for subject, metric in cells]
            write_rows(
                run,
                [["r", "val", "last", s, "a", metric, f"{v:.4f}", "1"] for s, metric, v in values],
            )
    runs = load_runs(tmp_path / "runs")
    results = runs.write_csv(tmp_path / "results.csv")
    subject_scores.write(runs, results, ("dice", "hd95"), "val")
    for metric in ("dice", "hd95"):
        mine = study(load_runs(results), metric).comparisons[0]
        theirs = study(runs, metric).comparisons[0]
        assert (*mine.difference, mine.p, mine.p_wilcoxon) == pytest.approx(
            (*theirs.difference, theirs.p, theirs.p_wilcoxon)
        )


@pytest.mark.parametrize("subsets", [1, 3])
def test_ten_subjects_can_show_a_difference_in_three_label_subsets(tmp_path, subsets):
    """A gain of .1 everywhere. Catches a permutation of ten subjects, never below 2^-9, that keeps
    every corrected p of a table of 22 methods above .05; and its loss where there is one label
    subset.
    """
    rng = np.random.default_rng(0)
    for method, gain in (("supervised", 0.0), ("mean_teacher", 0.1)):
        for subset in range(subsets):
            run = write_run(tmp_path, method=method, subset=subset, examples=False)
            values = [
                (f"s{i}", 0.6 + 0.01 * i + gain + 0.001 * rng.standard_normal()) for i in range(10)
            ]
            write_rows(
                run, [["r", "val", "last", s, "a", "dice", f"{v:.4f}", "1"] for s, v in values]
            )
    (found,) = study(load_runs(tmp_path)).comparisons
    if subsets == 3:
        assert found.p < 1e-3
    else:
        assert found.p == pytest.approx(2**-9)


def test_a_table_that_cannot_tell_its_mixes_apart_is_refused(tmp_path):
    """Catches two mixes of one ratio pooled as replicates, since a results.csv has no column for
    them; and a report that falls with them.
    """
    for subset in range(2):
        write_run(tmp_path / "runs", subset=subset, examples=False)
        for schedule in ("constant", "decay"):
            write_run(
                tmp_path / "runs",
                subset=subset,
                ratio=1.0,
                config={"synthetic_schedule": schedule},
                name=f"{subset}-{schedule}",
                examples=False,
            )
    table = load_runs(load_runs(tmp_path / "runs").write_csv(tmp_path / "results.csv"))
    with pytest.raises(UserError, match="runs 0-constant and 0-decay are alike in all columns"):
        study(table)
    assert (
        report._study_of_mixes(table, table, "dice", "val") is None
        and "0-constant and 0-decay" in table.problems[0]
    )


def test_a_table_tells_how_weights_began(tmp_path):
    """Catches two starts refused as alike, and a pre-trained arm, first in the alphabet, as the
    baseline.
    """
    for subset in range(2):
        for init in ("dense_contrastive", "none"):
            write_run(
                tmp_path / "runs",
                subset=subset,
                config={"init": {"name": init}},
                name=f"{subset}-{init}",
                examples=False,
            )
    found = study(load_runs(load_runs(tmp_path / "runs").write_csv(tmp_path / "results.csv")))
    assert found.baseline == "supervised (from scratch)" and [c.arm for c in found.comparisons] == [
        "supervised (init dense_contrastive)"
    ]


def test_gains_of_a_table_are_paired(tmp_path):
    """Catches a gain over another seed's run, ratio 0 drawn as a mix, and a run without a partner
    that counts.
    """
    rows = []
    for j, s in itertools.product(range(3), range(2)):
        score = 0.1 * j + 0.01 * s
        if j < 2:
            rows.append(("real", "real", 8, j, s, 0.0, score))
        rows.append(("duplicated", "duplicated", 8, j, s, 0.5, score))
        rows.append(("spade", "spade", 8, j, s, 0.5, score + 0.2))
    found = table_mixes(rows)
    assert [(m.line, m.ratio, m.gain.n_runs) for m in found] == [
        ("spade", 0.5, 4),
        ("duplicated", 0.5, 4),
    ]
    assert [m.gain[:3] for m in found] == [pytest.approx((g, g, g), abs=1e-9) for g in (0.2, 0.0)]
    assert [m.verdict for m in found] == [1, 0]


def test_gains_of_a_table_are_one_family_and_count_overlap():
    """Forty mixes without a true gain, and subsets of 8 of 16. Catches the best of many called a
    gain, and an interval as narrow as that of subsets that share nobody.
    """
    rng = np.random.default_rng(0)
    rows = [("real", "real", 8, j, 0, 0.0, 0.7) for j in range(3)]
    for k in range(40):
        gains = 0.01 * rng.normal(size=3)
        rows += [(f"set {k}", "spade", 8, j, 0, 1.0, 0.7 + gains[j]) for j in range(3)]
    found = table_mixes(rows)
    apart = [m for m in found if m.gain.low > 0 or m.gain.high < 0]
    assert apart and {m.verdict for m in found} == {0}
    overlapping = table_mixes(rows, annotated=16)
    for m, wider in zip(found, overlapping, strict=True):
        assert wider.gain.high - wider.gain.low > 1.5 * (m.gain.high - m.gain.low)


def test_baseline_has_no_synthetic_data(tmp_path):
    """Catches the ratio experiment measured against one of its own treatments."""
    for ratio in (0.0, 0.5):
        write_run(tmp_path, ratio=ratio)
    assert study(load_runs(tmp_path)).baseline == "supervised"


def test_significant_needs_test_and_interval():
    """Catches either one deciding alone."""

    def verdict(low, p):
        interval = Interval(0.1, low, 0.2, 9, 3, 20)
        return Comparison("a", "b", 4, interval, p, p, "").significant

    assert (
        verdict(0.05, 0.01),
        verdict(-0.01, 0.01),
        verdict(0.05, 0.06),
        verdict(0.05, np.nan),
    ) == (True, False, False, False)


def test_holm_counts_every_budget_and_arm(runs):
    """Catches a correction per budget instead of over the family: 2 arms × 2 budgets, the smallest
    p is multiplied by 4. Catches a corrected p below the uncorrected one, too.
    """
    comparisons = study(runs).comparisons
    assert len(comparisons) == 4
    smallest = min(comparisons, key=lambda c: c.p_family)
    corrected = max(min(1, 4 * smallest.p_family), smallest.p)
    assert smallest.p_holm == pytest.approx(corrected)


def test_an_interval_stays_where_its_metric_can_be(tmp_path):
    """Two label subsets far apart: Student's interval has one degree of freedom. Catches a Dice
    below 0 or above 1 and a negative distance.
    """
    for subset, value in ((0, 0.2), (1, 0.9)):
        run = write_run(tmp_path, subset=subset, examples=False)
        write_rows(
            run,
            [
                ["r", "val", "last", s, "a", metric, str(value), "1"]
                for s, metric in itertools.product("xy", ("dice", "hd95"))
            ],
        )
    (dice,), (hd95,) = (
        study(load_runs(tmp_path), metric).cells.values() for metric in ("dice", "hd95")
    )
    assert dice.interval[1:3] == (0.0, 1.0) and hd95.interval.low == 0.0 and hd95.interval.high > 1


def test_missing_split_and_mixed_data_are_errors(runs, tmp_path):
    """Catches an empty figure, and two data sets averaged."""
    with pytest.raises(UserError, match="evaluate RUN --split test"):
        study(runs, split="test")
    write_run(tmp_path, data="one")
    write_run(tmp_path, data="two", seed=1)
    with pytest.raises(UserError, match="several data sets"):
        study(load_runs(tmp_path))
