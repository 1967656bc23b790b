"""Which synthetic sets are treatments of their own, and which are one treatment made anew.

A set that is generated on demand is made for each budget and label subset, so its name differs
between runs that repeat each other. Two imported sets are two treatments: averaged as if they were
seeds, one that gains 0.05 and one that loses as much would give a sure difference of 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from semiseg.analysis.runs import BOOKKEEPING, Run


def set_treatments(runs: Sequence[Run]) -> list[str]:
    """For each run of a method the synthetic set that is its treatment; "" where it is none.

    Sets of one kind (a source's, or those that were imported) are one treatment where each budget
    and label subset has one set among runs that are alike otherwise: they may have been made for
    it. For a generated set the seed may differ as well. Otherwise each set is a treatment by
    itself: two sets for one choice of annotated subjects were not made alike.
    """
    sets: dict[tuple[Hashable, ...], set[str]] = {}
    for run in runs:
        name = _set_of(run)
        if name:
            sets.setdefault(_made_for(run), set()).add(name)
    several = {made_for[0] for made_for, names in sets.items() if len(names) > 1}
    treatments = []
    for run in runs:
        name = _set_of(run)
        treatments.append(name if name and run.source in several else "")
    return treatments


def _set_of(run: Run) -> str:
    """The set that a run draws from; "" for a run of real images alone."""
    return str(run.config.get("synthetic") or "") if run.ratio else ""


def _made_for(run: Run) -> tuple[Hashable, ...]:
    """The source of a set, what it may have been made for, and what else the run is."""
    not_compared = BOOKKEEPING | {"label_subset", "seed", "synthetic"}
    settings = {name: value for name, value in run.settings.items() if name not in not_compared}
    what = (run.source, str(run.label_subset), repr(sorted(settings.items(), key=repr)))
    return (*what, run.seed) if run.source else what
