"""How the limits of a study are said, one sentence each.

tests/report/sentences.golden.md shows every sentence.
"""

from __future__ import annotations

from semiseg.report import design_limits, external_masks, limits, origins, score_limits
from semiseg.report.format import count, listed, number, score_label


def caution(fact: limits.Limit) -> str:
    """What a careful reader would hold against the numbers, as a sentence."""
    match fact:
        case limits.UnlikeSettings():
            return _unlike_settings(fact)
        case limits.SingleRuns():
            return _single_runs(fact)
        case limits.FewReplicates():
            return _few_replicates(fact)
        case limits.EqualSubsets():
            return _equal_subsets(fact)
        case limits.NoSubjectScores():
            return _no_subject_scores(fact)
        case limits.SignedMeans():
            return _signed_means(fact)
        case limits.TooFewSubjects():
            return _too_few_subjects(fact)
        case limits.CoarsePairs():
            return (
                "Not all methods were run with the same label subsets and seeds: some comparisons "
                "are paired less finely."
            )
        case limits.SubjectsAlone():
            return _subjects_alone(fact)
        case limits.PartOfRuns():
            return _part_of_runs(fact)
        case limits.RunsDiffer():
            return (
                f"Runs differ in {fact.what} ({listed(fact.values)}): this may cause "
                f"differences between methods."
            )
        case limits.ValidationScores():
            return (
                "These are validation scores. They are too high if settings were tuned on the "
                "validation set; a final claim needs the test set."
            )
        case limits.UnequalBudgets():
            return "Not every method was run at every label budget."
        case (
            design_limits.LookAlikes()
            | design_limits.SharedSubjects()
            | design_limits.FewClusters()
        ):
            return design_limits.sentence(fact)
        case score_limits.EarlierPolicy():
            return _earlier_policy(fact)
        case score_limits.LostSubjects():
            return _lost_subjects(fact)
        case score_limits.FalseAlarms():
            return _false_alarms(fact)
        case score_limits.CarriedByFew():
            return _carried_by_few(fact)
        case external_masks.ExternalMasks():
            return external_masks.sentence(fact)
        case origins.UnknownOrigin() | origins.SharedGenerator() | origins.LikeHeldOut():
            return origins.sentence(fact)


def _unlike_settings(fact: limits.UnlikeSettings) -> str:
    settings = [f"{key} is {listed(values, 'or')}" for key, values in fact.settings]
    more = ""
    if fact.more:
        more = f"; and {fact.more} more"
    return (
        f"The methods were not trained with the same settings ({'; '.join(settings)}{more}): this "
        f"may cause differences between methods."
    )


def _single_runs(fact: limits.SingleRuns) -> str:
    which = f"{fact.results} of {fact.all} results are single runs"
    if fact.results == 1:
        which = f"1 of {fact.all} results is a single run"
    if fact.results == fact.all:
        which = "Every result is a single run"
    rest = (
        f"The intervals shown are over subjects only, not over seeds or choices of annotated "
        f"{fact.unit}"
    )
    if fact.one_subject:
        rest = "With a single subject, there is no interval at all"
    return f"{which}, so there is no interval over runs. {rest}."


def _few_replicates(fact: limits.FewReplicates) -> str:
    words = {
        "one subset": (
            f"one choice of annotated {fact.unit} only: the interval does not cover other choices"
        ),
        "two subsets": (
            "two label subsets: intervals are wide, and tests find an effect where there is none "
            "in up to 12 of 100 cases"
        ),
        "few seeds": "fewer than 3 seeds per label subset",
    }
    verb = "have"
    if fact.results == 1:
        verb = "has"
    return f"{fact.results} of {fact.all} results {verb} {words[fact.kind]}."


def _equal_subsets(fact: limits.EqualSubsets) -> str:
    return (
        f"With {fact.labels} annotated {fact.unit}, label subsets {listed(fact.subsets)} are the "
        f"same. They count as one, and of runs with the same seed only one counts."
    )


def _no_subject_scores(fact: limits.NoSubjectScores) -> str:
    who = "These runs were"
    if fact.runs < fact.all:
        who = f"{fact.runs} of {fact.all} runs were"
    if fact.runs == 1:
        who = f"1 of {fact.all} runs was"
    return (
        f"{who} read from a results.csv without their subjects' scores: intervals and tests "
        f"ignore the spread between subjects."
    )


def _signed_means(fact: limits.SignedMeans) -> str:
    return (
        f"A results.csv has signed means: errors of opposite sign cancel before the "
        f"{score_label(fact.metric).lower()} is computed."
    )


def _subjects_alone(fact: limits.SubjectsAlone) -> str:
    which = f"{fact.comparisons} of {fact.all} comparisons are"
    if fact.comparisons == 1:
        which = f"1 of {fact.all} comparisons is"
    text = (
        f"{which} between runs that share no label subset or no seed. Such a difference is over "
        f"subjects alone: how far it would move with other label subsets and seeds is not known, "
        f"so it has no verdict."
    )
    if fact.external:
        text += (
            " Score the other program's masks of each label subset (semiseg score --label-subset "
            "K --seed S) to compare it run by run."
        )
    return text


def _part_of_runs(fact: limits.PartOfRuns) -> str:
    used, of_all = fact.fewest
    verb = "use"
    if fact.comparisons == 1:
        verb = "uses"
    return (
        f"{fact.comparisons} of {fact.all} comparisons {verb} only part of the runs (the fewest: "
        f"{used} of {of_all}): the others have no partner with the same label subset."
    )


def _too_few_subjects(fact: limits.TooFewSubjects) -> str:
    plural = "s"
    if fact.subjects == 1:
        plural = ""
    return (
        f"With {fact.subjects} scored subject{plural}, no paired test can reach p < 0.05, whatever "
        f"the difference."
    )


def _earlier_policy(fact: score_limits.EarlierPolicy) -> str:
    who = "These runs were"
    if fact.runs < fact.all:
        who = f"{fact.runs} of {fact.all} runs were"
    if fact.runs == 1 < fact.all:
        who = f"1 of {fact.all} runs was"
    return (
        f"{who} scored by an earlier rule for empty masks: a subject who has nothing of a class "
        f"counted only if something was predicted there, so methods may be scored on different "
        f"subjects. Run `semiseg evaluate RUN --split {fact.split}` for each."
    )


def _lost_subjects(fact: score_limits.LostSubjects) -> str:
    subjects, scored = fact.fewest
    which = f"{fact.comparisons} of {fact.all} comparisons rest"
    if fact.comparisons == 1:
        which = f"1 of {fact.all} comparisons rests"
    if fact.comparisons == fact.all > 1:
        which = "Every comparison rests"
    if fact.comparisons == fact.all == 1:
        which = "The comparison rests"
    return (
        f"{which} on fewer subjects than the results it compares (the fewest: {subjects} of "
        f"{scored}): a subject that one method has no score for is in no difference."
    )


def _false_alarms(fact: score_limits.FalseAlarms) -> str:
    c = fact.comparison
    target, base = (f"{100 * share:.0f} %" for share in fact.shares)
    return (
        f"{c.arm} predicts something in {target} of the {count(fact.healthy, 'subject')} who have "
        f"nothing of a class, {c.baseline} in {base} ({c.labels} annotated {fact.unit}): "
        f"{score_label(fact.metric)} does not count these subjects."
    )


def _carried_by_few(fact: score_limits.CarriedByFew) -> str:
    c = fact.comparison
    who = f"{count(len(fact.carriers), 'subject')} of {fact.subjects} ({listed(fact.carriers)})"
    verb = "make up"
    others = "without these"
    if len(fact.carriers) == 1:
        verb = "makes up"
        others = "without this one"
    share = f"{100 * fact.share:.0f} % of"
    if fact.share > 1:
        share = "more than all of"
    more = ""
    if fact.more:
        more = f" The same holds for {count(fact.more, 'other difference')}."
    return (
        f"{who} {verb} {share} the difference between {c.arm} and {c.baseline} with {c.labels} "
        f"annotated {fact.unit} ({number(c.difference.mean, fact.metric, signed=True)}); "
        f"{others} it is {number(fact.without, fact.metric, signed=True)}.{more}"
    )
