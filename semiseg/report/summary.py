"""A study in sentences: its facts, said. The page, the notebooks and ``--json`` read these."""

from __future__ import annotations

from semiseg.analysis.study import Study
from semiseg.analysis.worth import worth
from semiseg.evaluate.metrics import METRICS
from semiseg.report import advice, answers, facts, fold_findings, limits, sentences
from semiseg.report import cautions as limit_sentences
from semiseg.report.answers import Answer
from semiseg.report.format import score_label
from semiseg.report.pseudo_label_findings import pseudo_label_findings
from semiseg.report.question_facts import answerable, pair_of
from semiseg.report.question_sentences import Asked, about, asked
from semiseg.report.untrained import untrained


def claim(s: Study) -> str:
    """What a study shows, in one line."""
    return sentences.claim(facts.claim(s, too_small=advice.needs(s) is not None))


def measured(s: Study) -> str:
    """What every number of a first screen is, in the line below its title."""
    score = score_label(s.metric, s.unit)
    line = f"{s.data}: {score}, {facts.scored_on(s)}. "
    metric = METRICS[s.metric]
    if metric.meaning:
        line += f"{metric.title} is the {metric.meaning}. "
    line += "Brackets and bars are 95 % intervals."
    if len(s.comparisons) > 1:
        line += (
            " Each is by itself: of many, one may leave out zero by chance. What is called "
            f"significant is corrected for the {len(s.comparisons)} comparisons."
        )
    return line


def answer(s: Study) -> list[str]:
    """What the settings reach, and how they compare with the baseline."""
    findings = facts.findings(s)
    result = [sentences.reached(findings.reached)]
    for c in findings.compared:
        result.append(sentences.comparison(c, s.metric, facts.correction_of(s, c)))
    if findings.others:
        result.append(sentences.others(findings.others))
    if findings.verdicts:
        result.append(sentences.verdicts(findings.verdicts))
    if findings.last:
        result.append(sentences.last_budget(findings.last))
    return result


def equivalence_sentences(s: Study) -> list[str]:
    """Annotations saved or lost; no saving is named where the study is too small to advise."""
    result = []
    if advice.needs(s) is None:
        result = [sentences.equivalence(fact) for fact in facts.equivalences(s)]
    return result + [sentences.plateau(fact) for fact in facts.baseline_plateaus(s)]


def mix_sentences(s: Study) -> list[str]:
    """What synthetic images give. Raises UserError where no mix has a partner without any."""
    return [sentences.best_ratio(fact) for fact in facts.best_ratios(s)]


def first_screen(s: Study, mixed: Study | None = None) -> list[Answer]:
    """Which method, how many labels, how much synthetic data and how surely.

    Args:
      s: the study of the label-efficiency curve.
      mixed: the study of the runs with synthetic images, if there are any.
    """
    if s.folds:
        return fold_findings.first_screen(s)
    missing = needs(s)
    if missing:
        result = [Answer("Which method? How many labels?", answers.NO_ADVICE, missing)]
    else:
        result = [
            answers.which_method(advice.which_method(s)),
            answers.how_many_labels(advice.how_many_labels(s)),
        ]
    certainty = answers.how_sure(advice.certainty(s))
    return [*result, _synthetic_answer(mixed or s), certainty]


def _synthetic_answer(s: Study) -> Answer:
    missing = needs(s)
    if missing and any(run.ratio for run in s.runs):
        return Answer(answers.HOW_MUCH, answers.NO_ADVICE, missing)
    return answers.how_much_synthetic(advice.how_much_synthetic(s))


def needs(s: Study) -> str:
    """What is missing before the study can advise; "" where nothing is."""
    fact = advice.needs(s)
    if fact is None:
        return ""
    return answers.needs(fact)


def untrained_sentence(s: Study) -> str:
    """The warning over networks that have learnt nothing; "" where there are none."""
    fact = untrained(s)
    if fact is None:
        return ""
    return answers.untrained(fact)


def cautions(s: Study) -> list[str]:
    """What a careful reader would hold against the numbers."""
    sentences_of_limits = [limit_sentences.caution(fact) for fact in limits.limits(s)]
    if s.folds:
        return [*fold_findings.cautions(s), *sentences_of_limits]
    return sentences_of_limits


def pseudo_label_sentences(s: Study) -> list[str]:
    """What the logged pseudo-labels say; empty where no run logged any."""
    fact = pseudo_label_findings(s)
    if fact is None:
        return []
    return sentences.pseudo_labels(fact)


def questions(s: Study, mixed: Study | None = None) -> list[Asked]:
    """The questions that the runs of a study can answer, with their answers.

    Args:
      s, mixed: see :func:`first_screen`.
    """
    if s.folds:  # they are of replicates
        return []
    return [asked(fact) for fact in answerable(s, mixed)]


def about_questions(s: Study) -> str:
    """Which settings the answers of :func:`questions` are about."""
    return about(pair_of(s))


def saves_labels(s: Study) -> bool:
    """Whether label equivalence is shown."""
    return advice.needs(s) is None and bool(worth(s))
