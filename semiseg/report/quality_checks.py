"""The quality reports of generated sets in plain words: verdict, advice and a row a check."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from semiseg.report.format import count

Card = dict[str, Any]
"""card.json of a set: ``passed`` and ``checks`` with ``check``, ``value``, ``must``, ``passed``."""

DEFAULT_STEPS = 2500
"""Of a generator's fit."""


@dataclasses.dataclass(frozen=True)
class Check:
    """What a check asks, how it is measured, and how its value is printed.

    ``kind`` is "share" (in per cent), "times", "yes", "number" or "pixels".
    """

    title: str
    why: str
    kind: str


SHARE = "share"
TIMES = "times"
YES = "yes"
NUMBER = "number"
PIXELS = "pixels"
CHECKS = {
    "valid": Check(
        "The samples are whole",
        "share with contrast, known classes and a plausible amount of foreground",
        SHARE,
    ),
    "distinct": Check(
        "They differ from each other", "share that is no copy of an earlier sample", SHARE
    ),
    "classes": Check("Every class occurs", "", YES),
    "agreement": Check(
        "Masks and images fit",
        "Dice of segmenters that never saw the masks, as a share of their Dice on real images",
        SHARE,
    ),
    "transfer": Check(
        "One can learn from them",
        "Dice on held-out real images after training on samples alone, as a share of training on "
        "real pairs",
        SHARE,
    ),
    "sharpness": Check("Their fine contrast is natural", "as a share of the real images'", SHARE),
    "coverage_matched": Check(
        "They are as varied as real images", "share of real images with a sample near them", SHARE
    ),
    "kid_floors": Check(
        "They look like real images",
        "distance (KID), in distances between two halves of the real images",
        TIMES,
    ),
    "kid_segmenter_floors": Check(
        "They look real to a segmenter", "the same distance in what a segmenter sees", TIMES
    ),
    "memorised": Check(
        "They are no copies of seen images",
        "share whose texture is nearer to a seen image than 99 % of held-out images are",
        SHARE,
    ),
    "kinds": Check(
        "They show every kind of picture",
        "share of the kinds of real image, found by their look, that the set reaches",
        SHARE,
    ),
    "auc": Check(
        "One cannot tell them from real images",
        "AUC of a linear classifier of real and generated images; 0.5 is not at all",
        NUMBER,
    ),
    "copied": Check(
        "They are no copies of any training image",
        "share that is more like a training image, mirrored, turned, moved or bent, than 95 % of "
        "held-out images are",
        SHARE,
    ),
    "moved": Check(
        "Masks are not shifted",
        "distance by which the median mask would have to move to the edges of its image",
        PIXELS,
    ),
    "grown": Check(
        "Masks are neither too large nor too small",
        "pixels by which the median mask would have to grow or shrink to the edges of its image",
        PIXELS,
    ),
    "misplaced": Check(
        "Few masks are misplaced",
        "share further from the edges of its image than 95 % of held-out masks are",
        SHARE,
    ),
    "foreign": Check(
        "Few masks belong to another image",
        "share that fits its image worse than masks of other images do",
        SHARE,
    ),
    "poor": Check(
        "Few pairs fit badly",
        "share with a lower Dice than 90 % of held-out pairs, by a segmenter of held-out pairs",
        SHARE,
    ),
    "area": Check(
        "Masks have the area that a segmenter sees",
        "logarithm of the two areas' ratio, of the worst class, by a segmenter of held-out pairs",
        NUMBER,
    ),
    "class_agreement": Check(
        "Masks of every class fit",
        "Dice of the worst class, as a share of that of held-out pairs, by a segmenter of held-out "
        "pairs",
        SHARE,
    ),
}


def check_of(name: str) -> Check:
    """The check of a name; one that is not in the table is called by its name."""
    return CHECKS.get(name, Check(name.replace("_", " "), "", TIMES))


def verdict(
    cards: Sequence[Card], generated: int, affected: Sequence[str] = (), unread: int = 0
) -> str:
    """What the quality reports say; "" where no set is ``generated``.

    Args:
      cards: of the sets that have one.
      generated: sets that a generator painted.
      affected: the compared settings that learnt from a rejected set, in words.
      unread: of ``generated``, those that cannot be read on this machine.

    >>> verdict([], generated=2, unread=2)[:47]
    'The quality reports of these sets lie with them'
    """
    if not generated:
        return ""
    if not cards and unread:
        return (
            "The quality reports of these sets lie with them, where this machine cannot read them, "
            "so it is not known whether they are fit for use."
        )
    if not cards:
        return (
            "These sets have no quality report, so it is not known whether they are fit for use; "
            "`gan.card: {value: 300}` in the sweep's file asks for one."
        )
    rejected = [card for card in cards if not card["passed"]]
    if not rejected:
        return " ".join([_accepted(len(cards)), *_blind_spots(cards)])
    failed: dict[str, None] = {}
    for card in rejected:
        failed |= dict.fromkeys(c["check"] for c in card["checks"] if not c["passed"])
    words = "; ".join(f"“{check_of(name).title}”" for name in failed)
    sentences = [
        f"The quality report rejects {_rejected_sets(len(rejected), len(cards))}. Failed: {words}. "
        "The page shows what the runs gained or lost with rejected images, but this does not show "
        "what a well-fitted generator gives."
    ]
    if affected:
        sentences.append(f"These numbers rest on rejected sets: {'; '.join(affected)}.")
    return " ".join([*sentences, *_blind_spots(cards)])


def _blind_spots(cards: Sequence[Card]) -> list[str]:
    """What the reports of accepted sets could not have noticed; reports of older versions do not
    know.

    >>> _blind_spots([{"passed": True, "cannot_tell": ["18 % wrong masks"]}])
    ['With so few held-out pairs the report cannot tell: 18 % wrong masks (power below 80 %).']
    """
    kinds: dict[str, None] = {}
    for card in cards:
        if card["passed"]:
            kinds |= dict.fromkeys(card.get("cannot_tell", ()))
    if not kinds:
        return []
    words = ", ".join(kinds)
    return [f"With so few held-out pairs the report cannot tell: {words} (power below 80 %)."]


def _accepted(sets: int) -> str:
    if sets == 1:
        return "The quality report passes the set: no check speaks against using it."
    return f"The quality report passes all {sets} sets: no check speaks against using them."


def _rejected_sets(rejected: int, sets: int) -> str:
    if rejected < sets:
        return f"{rejected} of {count(sets, 'set')}"
    if sets == 1:
        return "the set"
    if sets == 2:
        return "both sets"
    return f"all {sets} sets"


def advice(data: str, rejected: int, steps: Sequence[int]) -> list[str]:
    """What to do about rejected sets, whose generators were fitted for ``steps``."""
    if not rejected:
        return []
    who = "Their generators were"
    if rejected == 1:
        who = "Its generator was"
    sentences = []
    if steps:
        fitted = " or ".join(map(str, steps))
        sentences.append(f"{who} fitted for {fitted} steps; the default is {DEFAULT_STEPS}.")
    sentences.append(
        f"Longer fits and more annotated pairs help most: `semiseg gan fit --data {data} "
        f"--labels 32 --out gan`."
    )
    return [" ".join(sentences)]


def check_rows(cards: Sequence[Card]) -> list[dict[str, Any]]:
    """A row a check: its question, how it is measured, what it must be, and each card's entry.

    An entry has the value and whether it passed; None where a card does not have the check.
    """
    names: dict[str, None] = {}
    for card in cards:
        names |= dict.fromkeys(c["check"] for c in card["checks"])
    return [_row(name, cards) for name in names]


def _row(name: str, cards: Sequence[Card]) -> dict[str, Any]:
    check = check_of(name)
    entries: list[dict[str, Any] | None] = []
    must = ""
    for card in cards:
        parts = [c for c in card["checks"] if c["check"] == name]
        if not parts:
            entries.append(None)
            continue
        passed = all(c["passed"] for c in parts)
        entries.append({"value": value_text(parts[0]["value"], check.kind), "passed": passed})
        must = must or _limits([c["must"] for c in parts], check.kind)
    return {"title": check.title, "why": check.why, "must": must, "entries": entries}


def _limits(limits: Sequence[str], kind: str) -> str:
    """``>= 0.6`` and ``<= 1.667`` in words, the lower first."""
    if kind == YES:
        return "yes"
    words = {">=": "at least", "<=": "at most"}
    texts = []
    for sign, limit in sorted({tuple(limit.split()) for limit in limits}, reverse=True):
        texts.append(f"{words[sign]} {value_text(float(limit), kind)}")
    return " and ".join(texts)


def value_text(value: float, kind: str) -> str:
    """
    >>> value_text(0.3, "share"), value_text(2.91, "times"), value_text(1.0, "yes")
    ('30\\xa0%', '2.9', 'yes')
    """
    if kind == YES:
        if value >= 1:
            return "yes"
        return "no"
    if kind == NUMBER:
        return f"{value:.2f}"
    if kind == PIXELS:
        return f"{value:.2f}\u00a0px"
    if kind == SHARE:
        return f"{100 * value:.1f}".removesuffix(".0") + "\u00a0%"
    return f"{value:.1f}"
