"""Every sentence that the report can say, made of facts that cover all branches.

The golden file is for reading: a change of words is seen whole. ``SEMISEG_REWRITE_GOLDEN=1`` writes
it anew.
"""

import ast
import dataclasses
import inspect
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from semiseg.analysis.areas import Trend
from semiseg.analysis.comparisons import FOLD
from semiseg.analysis.curves import Equivalence
from semiseg.analysis.fold_design import FoldDesign
from semiseg.analysis.mixes import Mix
from semiseg.analysis.pseudo_labels import Bias
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Comparison
from semiseg.analysis.subject_tests import Effect
from semiseg.analysis.worth import Worth
from semiseg.report import (
    advice,
    answers,
    cautions,
    design_limits,
    external_masks,
    facts,
    fold_findings,
    limits,
    origins,
    score_limits,
    sentences,
)
from semiseg.report.pseudo_label_findings import PseudoLabelFindings
from semiseg.report.untrained import EVERYTHING, NOTHING, Untrained

GOLDEN = Path(__file__).parent / "sentences.golden.md"
REWRITE = "SEMISEG_REWRITE_GOLDEN"

SCORE = Interval(0.81, 0.78, 0.84, 9, 3, 20)
NO_INTERVAL = Interval(0.8, 0.8, 0.8, 1, 1, 1)
GAIN = Interval(0.02, 0.01, 0.03, 9, 3, 20)
OPEN_GAIN = Interval(0.02, -0.01, 0.05, 9, 3, 20)
SMALL_GAIN = Interval(0.001, -0.005, 0.007, 9, 3, 20)
LOSS = Interval(-0.02, -0.03, -0.01, 9, 3, 20)
IMAGES = facts.Budget(4, "images")
PATIENTS = facts.Budget(4, "subjects", 31)
CASE = facts.Budget(1, "cases")


def compared(difference, p=0.004):
    effect = Effect(1.2, 0.9)
    return Comparison("mean teacher", "supervised", 4, difference, p, p, "", p, effect, 0.01)


BETTER = compared(GAIN)
UNDECIDED = compared(OPEN_GAIN, 0.21)
WORSE = compared(LOSS)
SINGLE = compared(Interval(0.02, 0.01, 0.03, 1, 1, 20))
MEANS = dataclasses.replace(BETTER, by_subject=False)
UNPAIRED = "nothing but the subject"


def worth(labels, low, high, tested):
    return Worth("mean teacher", 4, Equivalence(labels, low, high, 4, 16), "", tested)


def equivalence(*values):
    return sentences.equivalence(facts.Equivalence(worth(*values), "supervised", "images"))


def claims():
    yield facts.OnlyScores("mean teacher", "dice", "1", (4, 4), (0.61, 0.61), "images")
    yield facts.OnlyScores("mean teacher", "hd95", "mm", (4, 16), (12.31, 5.26), "cases")
    yield facts.NothingToRecommend()
    yield facts.NoneBetter("supervised")
    yield facts.Winner("mean teacher", "supervised", (4,), (4,), PATIENTS)
    yield facts.NoneBetter("supervised", single_runs=True)
    yield facts.NoneBetter("supervised", subjects_alone=True)
    yield facts.Winner("swinunet", "supervised", (4,), (4,), CASE)
    yield facts.Winner("mean teacher", "supervised", (4, 8), (4, 8), IMAGES)
    budgets = (4, 8, 16)
    yield facts.Winner("mean teacher", "supervised", budgets, budgets, IMAGES)
    yield facts.Winner("mean teacher", "supervised", budgets, (4,), IMAGES)


def answer_sentences():
    scores = (("supervised", NO_INTERVAL), ("mean teacher", SCORE))
    yield sentences.reached(facts.Reached(PATIENTS, "dice", "1", "validation set", scores, 2))
    far = (("supervised", Interval(12.3, 10.1, 14.5, 9, 3, 20)),)
    yield sentences.reached(facts.Reached(IMAGES, "hd95", "voxel", "test set", far, 1))
    yield sentences.reached(
        facts.Reached(IMAGES, "dice", "1", "test set", (*scores, ("CPS", SCORE)), 21)
    )
    yield sentences.comparison(BETTER, "dice")
    yield sentences.comparison(UNDECIDED, "dice")
    yield sentences.comparison(compared(NO_INTERVAL._replace(mean=0.02), np.nan), "dice")
    for correction in ("declared", "only one"):
        yield sentences.comparison(BETTER, "dice", correction)
    yield sentences.comparison(dataclasses.replace(BETTER, arm="nnU-Net"), "dice")
    yield sentences.comparison(SINGLE, "dice")
    for pairing in ("label subset", UNPAIRED):
        several = dataclasses.replace(SINGLE, paired_by=pairing, runs=(10, 10))
        yield sentences.comparison(several, "dice")
    yield sentences.comparison(dataclasses.replace(BETTER, paired_by=FOLD), "dice")
    yield sentences.comparison(MEANS, "dice")
    yield sentences.comparison(dataclasses.replace(MEANS, paired_by=UNPAIRED), "dice")
    yield sentences.comparison(dataclasses.replace(BETTER, lost=1), "dice")
    yield sentences.comparison(dataclasses.replace(BETTER, lost=10), "dice")
    yield sentences.others(facts.Others(4, 4))
    yield sentences.others(facts.Others(2, 4))
    yield sentences.verdicts(facts.Verdicts("supervised", 1, 0, 5))
    yield sentences.last_budget(facts.LastBudget(IMAGES, "dice", SCORE))


def fold_sentences():
    every = (0, 1, 2, 3, 4)
    yield fold_findings.held_out(FoldDesign(5, every, 77, 0, 1))
    for present, unscored in (((0, 1, 2, 4), 15), ((1, 2, 4), 31), ((0, 1, 2, 4), None)):
        design = FoldDesign(5, present, 77 - (unscored or 15), unscored, 1)
        yield f"Mean teacher with 8 annotated subjects: {fold_findings.missing(design)}."


def equivalence_sentences():
    yield equivalence(5.66, 4.8, 7.2, 1)
    yield equivalence(0.0, 0.0, 3.0, -1)
    yield equivalence(np.inf, 16.0, np.inf, 1)
    yield equivalence(11.0, 0.0, 13.0, 1)
    yield equivalence(3.5, 0.0, np.inf, -1)
    yield equivalence(4.1, 0.0, 8.5, 0)
    yield equivalence(4.1, 0.0, np.inf, 0)
    yield equivalence(11.0, 9.0, 13.0, 0)
    yield sentences.plateau(facts.Plateau("supervised", (8, 16), (0.7, 0.65), "images", "dice"))


def mix_sentences():
    beside = {"duplicated pairs": OPEN_GAIN, "augmented pairs": LOSS}
    mix = Mix("SPADE images", "spade", 8, 0.5, SCORE, SCORE, GAIN, beside, 1)
    rising = Trend(GAIN, 0.03)
    flat = Trend(OPEN_GAIN, 0.4)
    yield sentences.best_ratio(facts.BestRatio(mix, 3, "dice", "images", rising))
    undecided = dataclasses.replace(mix, verdict=0)
    yield sentences.best_ratio(facts.BestRatio(undecided, 3, "dice", "images", flat))
    loss = dataclasses.replace(mix, verdict=-1, gain=LOSS, beside={})
    yield sentences.best_ratio(facts.BestRatio(loss, 1, "dice", "images"))
    untested = dataclasses.replace(mix, verdict=None, beside={})
    yield sentences.best_ratio(facts.BestRatio(untested, 1, "dice", "images"))
    alone = Mix("own images", "", 8, 1.0, SCORE, SCORE, NO_INTERVAL, {})
    yield sentences.best_ratio(facts.BestRatio(alone, 1, "dice", "subjects"))


def pseudo_label_sentences():
    bias = Bias(0.3, 20.0, (0.8, 0.6), (0.3, 0.7), (0.1, 0.3))
    lost = {"myocardium": ("mean teacher", "CPS")}
    teacher = ("mean teacher",)
    for fact in (
        PseudoLabelFindings(4, "images", teacher, True, ("mean teacher", bias), (), lost),
        PseudoLabelFindings(4, "images", teacher, True, None, (), {}),
        PseudoLabelFindings(4, "images", teacher, False, None, ("CPS", "BCP"), {}),
        PseudoLabelFindings(4, "images", (), False, None, (), {}),
    ):
        yield from sentences.pseudo_labels(fact)


def needs():
    for fact in (
        advice.Needs(5, False, 2),
        advice.Needs(5, False, None),
        advice.Needs(5, True, 2),
        advice.Needs(None, True, None),
    ):
        yield answers.needs(fact)


def untrained():
    many = {f"method {i}": None for i in range(8)}
    yield answers.untrained(
        Untrained({"supervised": None}, True, (EVERYTHING, NOTHING), (50,), "images")
    )
    yield answers.untrained(
        Untrained({"mean teacher": (4, 8), "CPS": (1,)}, False, (NOTHING,), (50, 100), "images")
    )
    yield answers.untrained(Untrained(many, False, (EVERYTHING,), (50,), "cases"))


def which_method():
    one = advice.MethodScore("mean teacher", 4, SCORE)
    two = advice.MethodScore("supervised", 8, NO_INTERVAL)
    yield advice.NotCompared((one,), "dice", "1", "images")
    yield advice.NotCompared((one, two), "dice", "1", "images")
    yield advice.Recommended(one, BETTER, None, 1, 1, "dice", "1", "images")
    yield advice.Recommended(one, BETTER, 4, 1, 3, "dice", "1", "images")
    for choice in ("validation", "same scores"):
        yield advice.Recommended(one, BETTER, None, 1, 1, "dice", "1", "images", choice)
    yield advice.Recommended(one, BETTER, None, 1, 1, "dice", "1", "images", "declared", "declared")
    yield advice.StayWithBaseline(UNDECIDED, False, "dice", "images")
    yield advice.Recommended(one, BETTER, None, 1, 1, "dice", "1", "images", correction="only one")
    yield advice.StayWithBaseline(WORSE, True, "dice", "images")
    yield advice.StayWithBaseline(
        dataclasses.replace(SINGLE, detectable=np.nan), False, "dice", "images"
    )


def how_many_labels():
    def fact(gains, saves=None, compared=True):
        return advice.HowMany(
            "supervised", SCORE, 64, gains, 0.01, saves, "supervised", compared, "dice", "images"
        )

    yield advice.OneBudget("supervised", 4, "images")
    yield fact({4: GAIN, 16: SMALL_GAIN}, worth(5.66, 4.8, 7.2, 1))
    yield fact({4: LOSS, 16: NO_INTERVAL})
    yield fact({4: Interval(-0.002, -0.008, 0.004, 9, 3, 20), 16: NO_INTERVAL})
    yield fact({4: GAIN, 16: GAIN}, compared=False)
    yield fact({4: GAIN, 16: OPEN_GAIN})
    yield fact({16: OPEN_GAIN})
    for ignored in ("subjects", "runs"):
        yield dataclasses.replace(fact({16: SMALL_GAIN}), ignored=ignored)
    yield dataclasses.replace(fact({16: NO_INTERVAL}), ignored="subjects")


def how_much_synthetic():
    controls = (("duplicated", OPEN_GAIN), ("augmented", LOSS))
    yield advice.OneRatio(0.5)
    yield advice.NoSyntheticRuns("nuclei", 4)
    yield advice.NoMix()
    yield advice.Mixes(BETTER, 0.5, 3, 1, 1, controls, "dice", "images")
    yield advice.Mixes(UNDECIDED, 2.0, 1, 0, 0, (), "dice", "images")
    yield advice.Mixes(WORSE, 2.0, 1, 0, 1, (), "dice", "subjects")
    yield advice.Mixes(UNDECIDED, 2.0, 3, 0, 0, (), "dice", "images")
    yield advice.Mixes(UNDECIDED, 2.0, 3, 0, 2, (), "dice", "images")


def how_sure():
    yield advice.Certainty(54, 3, True, 3, 3, 6.0, 164, 35, 0, 9, True)
    yield advice.Certainty(24, 3, False, 1, 2, 2.0, 20, 0, 2, 9, True)
    yield advice.Certainty(53, 3, True, 3, 3, 6.0, 20, 0, 1, 9, True)
    yield advice.Certainty(2, 1, True, 1, 1, 1.0, 1, 0, 0, 1, False)


def all_limits():
    settings = (("lr", ("0.01", "0.03")), ("net.width", ("16", "32")))
    yield limits.UnlikeSettings(settings, 0)
    yield limits.UnlikeSettings(settings, 2)
    yield limits.SingleRuns(3, 3, False, "images")
    yield limits.SingleRuns(1, 3, True, "images")
    yield limits.SingleRuns(2, 3, True, "images")
    for kind in ("one subset", "two subsets", "few seeds"):
        yield limits.FewReplicates(kind, 2, 9, "images")
    yield limits.FewReplicates("few seeds", 1, 9, "images")
    yield limits.EqualSubsets(4, ("0", "1"), "images")
    yield limits.EqualSubsets(4, ("0", "1", "2"), "images")
    yield limits.NoSubjectScores(3, 3)
    yield limits.NoSubjectScores(2, 3)
    yield limits.NoSubjectScores(1, 3)
    yield limits.SignedMeans("volume_error")
    yield limits.TooFewSubjects(5)
    yield limits.TooFewSubjects(1)
    yield limits.CoarsePairs()
    yield limits.SubjectsAlone(1, 3, True)
    yield limits.SubjectsAlone(2, 3, False)
    yield limits.PartOfRuns(1, 8, (2, 18))
    yield limits.PartOfRuns(3, 8, (6, 18))
    yield limits.RunsDiffer("steps", ("100", "300"))
    yield limits.ValidationScores()
    yield limits.UnequalBudgets()
    for runs in (3, 2, 1):
        yield score_limits.EarlierPolicy(runs, 3, "test")
    for comparisons, of_all in ((1, 1), (1, 3), (2, 3), (3, 3)):
        yield score_limits.LostSubjects(comparisons, of_all, (10, 20))
    yield score_limits.FalseAlarms(BETTER, "dice", 10, (1.0, 0.0), "subjects")
    for names, share, more in ((("p07",), 0.62, 0), (("p07", "p12"), 0.74, 1), (("p1",), 1.3, 2)):
        yield score_limits.CarriedByFew(BETTER, "dice", names, share, 10, 0.004, "subjects", more)
    yield origins.UnknownOrigin(2, 9)
    yield origins.UnknownOrigin(9, 9)
    yield origins.LikeHeldOut(2, 9, ("bright",), 4, "test")
    yield origins.LikeHeldOut(9, 9, ("a", "b", "c", "d"), 1, "val")
    yield origins.SharedGenerator(1, 3)
    yield origins.SharedGenerator(6, 3)
    yield design_limits.LookAlikes(164, 60, 0.85, 35)
    yield design_limits.SharedSubjects(128, 0.32, "images")
    yield design_limits.SharedSubjects(6, 0.75, "subjects")
    yield design_limits.SharedSubjects(6, 0.8, "subjects")
    for clusters, kind in ((10, "subjects"), (4, "subjects"), (5, "groups"), (3, "groups")):
        yield design_limits.FewClusters(clusters, kind)
    yield external_masks.ExternalMasks(("nnU-Net",), (), ())
    yield external_masks.ExternalMasks(
        ("nnU-Net", "MONAI"),
        ("p1", "p2", "p3", "p4"),
        ("MONAI",),
    )


def screen(answer):
    commands = "".join(f"\n  `{command}`" for command in answer.commands)
    return f"{answer.question} **{answer.short}.** {answer.detail}{commands}"


def every_sentence():
    """Heading → sentences."""
    return {
        "The headline": [sentences.claim(fact) for fact in claims()],
        "The answer": list(answer_sentences()),
        "Cross-validation": list(fold_sentences()),
        "Labels saved": list(equivalence_sentences()),
        "Synthetic images": list(mix_sentences()),
        "Pseudo-labels": list(pseudo_label_sentences()),
        "What is missing for advice": list(needs()),
        "Networks that have learnt nothing": list(untrained()),
        "Which method": [screen(answers.which_method(fact)) for fact in which_method()],
        "How many labels": [screen(answers.how_many_labels(fact)) for fact in how_many_labels()],
        "How much synthetic data": [
            screen(answers.how_much_synthetic(fact)) for fact in how_much_synthetic()
        ],
        "How sure": [screen(answers.how_sure(fact)) for fact in how_sure()],
        "Before you rely on this": [cautions.caution(fact) for fact in all_limits()],
    }


def test_every_sentence_is_in_the_golden_file():
    """Catches a changed word that nobody read."""
    parts = ["# Every sentence that the report can say"]
    for heading, lines in every_sentence().items():
        parts.append(f"## {heading}\n" + "\n".join(f"- {line}" for line in lines))
    text = "\n\n".join(parts) + "\n"
    if os.environ.get(REWRITE):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), f"read the change, then set {REWRITE}=1"


@pytest.mark.parametrize("module", [sentences, answers, cautions])
def test_golden_file_covers_every_branch(module):
    """Every text of the modules is in the golden file. Catches a new sentence without a fact here."""
    golden = GOLDEN.read_text(encoding="utf-8").replace("\n", " ")
    tree = ast.parse(inspect.getsource(module))
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        docstring = ast.get_docstring(function, clean=False)
        for node in ast.walk(function):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = node.value.strip()
                if words != (docstring or "").strip() and len(words) > 12:
                    assert words in golden, f"{module.__name__}.{function.__name__}: {words!r}"


@pytest.mark.parametrize("sign, best", [(1, ["s7", "s6", "s5"]), (-1, ["s0", "s1", "s2"])])
def test_of_many_settings_the_best_are_named(sign, best):
    """Catches the worst three of a distance, an undefined score among the best, and a cut where
    all scores fit in a sentence.
    """
    study = SimpleNamespace(sign=sign)
    scores = [(f"s{i}", SCORE._replace(mean=float(i))) for i in range(8)]
    scores.insert(0, ("undefined", SCORE._replace(mean=np.nan)))
    assert [arm for arm, _ in facts._best_scores(study, scores)] == best
    assert facts._best_scores(study, scores[:6]) == tuple(scores[:6])


def test_words_of_the_house():
    """Catches the project's own words, and numbers without their zero."""
    text = GOLDEN.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\d.])\.\d", text)
    for word in ("is shown to", "told", "made set", "hidden label", "arm ", "looks at"):
        assert word not in text, word
