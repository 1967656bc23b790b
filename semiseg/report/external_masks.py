"""What limits scores of masks that another program made: what is not known, what is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from semiseg.analysis.arms import title
from semiseg.analysis.study import Study
from semiseg.report.format import listed

MOST = 3
"""Subjects that a sentence names."""


@dataclasses.dataclass(frozen=True)
class ExternalMasks:
    """Masks that `semiseg score` read from files.

    Attributes:
      methods: who made them.
      missing: subjects without a mask, which are left out.
      doubtful: methods whose masks seem to be misplaced and were scored as they are.
    """

    methods: tuple[str, ...]
    missing: tuple[str, ...]
    doubtful: tuple[str, ...]


def external_masks(s: Study) -> Iterable[ExternalMasks]:
    """The masks of other programs in a study, if there are any."""
    methods: dict[str, None] = {}
    missing: dict[str, None] = {}
    doubtful: dict[str, None] = {}
    for run in s.runs:
        facts = run.summary.get("external", {}).get(s.split)
        if facts is None:
            continue
        methods[title(run.method)] = None
        missing |= dict.fromkeys(facts["missing"])
        if facts["doubt"]:
            doubtful[title(run.method)] = None
    if methods:
        yield ExternalMasks(tuple(methods), tuple(missing), tuple(doubtful))


def sentence(fact: ExternalMasks) -> str:
    """The fact in words.

    >>> sentence(ExternalMasks(("nnU-Net",), ("p07",), ()))[-90:]
    '1 subject with a missing mask is left out (p07): who fails on hard subjects gains by this.'
    """
    text = (
        f"The masks of {listed(fact.methods)} were made by another program or reader: which labels "
        f"it learnt from, and how, is as stated and was not checked."
    )
    if fact.missing:
        number = "1 subject with a missing mask is"
        if len(fact.missing) > 1:
            number = f"{len(fact.missing)} subjects with a missing mask are"
        names = ", ".join(fact.missing[:MOST])
        if len(fact.missing) > MOST:
            names += " …"
        text += f" {number} left out ({names}): who fails on hard subjects gains by this."
    if fact.doubtful:
        text += (
            f" The masks of {listed(fact.doubtful)} seem to lie elsewhere than their scans, or to "
            f"have other class numbers, and were scored as they are."
        )
    return text
