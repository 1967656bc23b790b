"""What the page says of folds: who is scored, what is missing, and how it was measured."""

from __future__ import annotations

from semiseg.analysis.fold_design import FoldDesign, fold_design
from semiseg.analysis.study import Study
from semiseg.report import advice, answers
from semiseg.report.answers import Answer
from semiseg.report.facts import budget, unit_of_annotation
from semiseg.report.format import capitalise_arm, count, is_or_are, listed, score_label, size
from semiseg.report.sentences import annotated
from semiseg.report.simulated import said


def designs(s: Study) -> dict[tuple[str, int], FoldDesign]:
    """The folds of every setting and budget."""
    return {key: fold_design(cell.runs) for key, cell in s.cells.items()}


def lines(s: Study) -> list[str]:
    """Who was held out, what is missing, and who has no score; empty without folds."""
    if not s.folds:
        return []
    result = []
    complete = [design for design in designs(s).values() if not design.missing]
    if complete:
        result.append(held_out(max(complete, key=_held_out)))
    for (arm, labels), design in designs(s).items():
        if design.missing:
            given = annotated(budget(s, labels))
            result.append(f"{capitalise_arm(arm)} with {given}: {missing(design)}.")
    return result + _undefined(s)


def held_out(design: FoldDesign) -> str:
    """That every subject was held out.

    >>> held_out(FoldDesign(5, (0, 1, 2, 3, 4), 77, 0, 1))
    '5 folds, every subject held out once: 77 of 77.'
    """
    return f"{design.number} folds, every subject held out once: {design.held_out} of {design.all}."


def missing(design: FoldDesign) -> str:
    """Which folds are missing, and what follows.

    >>> missing(FoldDesign(5, (0, 1, 2, 4), 62, 15, 1))
    'fold 3 is missing: 15 subjects are unscored, so it has no interval and no verdict'
    """
    folds = f"fold {listed(design.missing)} is missing"
    if len(design.missing) > 1:
        folds = f"folds {listed(design.missing)} are missing"
    unscored = ", and with it its subjects"
    if design.unscored is not None:
        unscored = f": {count(design.unscored, 'subject')} {is_or_are(design.unscored)} unscored"
    return f"{folds}{unscored}, so it has no interval and no verdict"


def _held_out(design: FoldDesign) -> int:
    return design.held_out


def _undefined(s: Study) -> list[str]:
    """A line where subjects that were held out have no score of the metric."""
    most = 0
    for key, design in designs(s).items():
        most = max(most, design.held_out - s.cells[key].interval.n_subjects)
    if not most:
        return []
    label = score_label(s.metric, s.unit)
    return [
        f"{count(most, 'subject')} of these {is_or_are(most)} in no mean: {label} is not defined "
        f"(see Empty masks)."
    ]


# ------------------------------------------------------------------ the first screen
def first_screen(s: Study) -> list[Answer]:
    """Which method, and how surely."""
    fact = advice.needs(s)
    if fact is not None:
        return [Answer(answers.WHICH, answers.NO_ADVICE, answers.needs(fact)), how_sure(s)]
    return [answers.which_method(advice.which_method(s)), how_sure(s)]


def how_sure(s: Study) -> Answer:
    """The answer to "How sure?"."""
    of_cells = list(designs(s).values())
    seeds = min(design.seeds for design in of_cells)
    detail = (
        f"{count(len(s.runs), 'run')}: {count(len(s.arms), 'compared setting')} and "
        f"{count(len(s.budgets), 'label budget')}. "
    )
    incomplete = [design for design in of_cells if design.missing]
    if incomplete:
        named = f"In {len(incomplete)} of {len(of_cells)} results {missing(incomplete[0])}."
        return Answer(answers.HOW_SURE, "Folds are missing", detail + named)
    detail += (
        f"Every subject was held out once: {of_cells[0].held_out} of {of_cells[0].all}. Intervals "
        f"and tests allow for training sets that overlap."
    )
    short = f"{s.folds} folds"
    if seeds > 1:
        short += f" × {seeds} runs"
    return Answer(answers.HOW_SURE, short, detail)


# ------------------------------------------------------------------ how it was measured
def scored(s: Study) -> str:
    """Who was scored, and by which network."""
    subjects = max(cell.interval.n_subjects for cell in s.cells.values())
    return (
        f"{count(subjects, 'subject')}, each held out by one of {s.folds} folds and scored by the "
        f"networks that trained on other folds. A score is computed for each subject and class, "
        f"averaged over foreground classes, then over subjects."
    )


CHECKPOINT = "The last one. Nothing was scored while training, so that no checkpoint was chosen."


def runs(s: Study) -> str:
    """How many runs there are of each fold."""
    seeds = sorted({design.seeds for design in designs(s).values()})
    of_each = f"{listed(seeds, 'or')} of each fold"
    if 0 in seeds:
        of_each = "not as many of each fold"
    return (
        f"{len(s.runs)}: {of_each} for each method and label budget. Runs of one fold (seeds, "
        f"label subsets) are averaged before folds are compared."
    )


def intervals(s: Study) -> str:
    """How the intervals are made, and how often they hold."""
    f = s.folds
    return (
        f"95 % intervals of the mean over all held-out subjects. Each fold trains on subjects that "
        f"others train on as well, so that folds are not independent: the squared error is "
        f"(1/{f} + 1/{f - 1}) s², with s² the variance of the folds' means, and Student's t has "
        f"{f - 1} degrees of freedom (Nadeau & Bengio, Machine Learning 52, 2003; folds weigh by "
        f"their subjects). Means of a score with two bounds, such as Dice, are on the logit scale. "
        f"{said('folds cover')} The larger the part of the training subjects' choice in a score, "
        f"the less they hold."
    )


def comparisons(s: Study) -> str:
    """How differences are tested, and how often the verdict errs."""
    corrected = "Holm's over all comparisons on this data set"
    if len(s.comparisons) == 1:
        corrected = "the same, as there is one comparison"
    if s.primary is not None:
        corrected = (
            "Holm's over all comparisons but the declared one, which is tested first, by itself"
        )
    return (
        f"Differences are paired by subject and fold, and tested with the error of the intervals "
        f"(two-sided). The corrected p is {corrected}. A method is better or worse (significant) "
        f"if it is below 0.05 and the interval excludes zero; otherwise it is undecided, which "
        f"does not mean equal. {said('folds err')} Where the choice of training subjects matters "
        f"three times as much as which subject is tested, it errs more often "
        f"(docs/explanation/questions.md): label subsets answer that question."
    )


def cautions(s: Study) -> list[str]:
    """What a careful reader would hold against the numbers of folds."""
    result = [
        "The same subjects were scored by every setting that was tried. If settings were chosen by "
        "these scores, expect less for other subjects: only a test set that decided nothing says "
        "how much less."
    ]
    if len(s.budgets) > 1:
        result.append(
            f"Label budgets are listed side by side. How many annotated "
            f"{unit_of_annotation(s.runs)} are enough or saved is not asked of folds: label "
            f"subsets that are scored on one set answer it."
        )
    few = [c for c in s.comparisons if c.detectable > 0]
    if few:
        largest = max(c.detectable for c in few)
        result.append(
            f"{s.folds} folds have {s.folds - 1} degrees of freedom: a difference of less than "
            f"{size(largest, s.metric)} is usually not found here."
        )
    return result
