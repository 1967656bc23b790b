"""What limits scores because of what a run learnt from besides its label budget: images and weights
of unknown origin, and generated sets that several seeds share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from semiseg.analysis.runs import Run
from semiseg.analysis.study import Study
from semiseg.synthetic_sources import GENERATED

UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class UnknownOrigin:
    """Runs with synthetic images or initial weights of which nobody recorded the origin.

    Attributes:
      runs: that have some.
      all: runs of the study.
    """

    runs: int
    all: int


@dataclasses.dataclass(frozen=True)
class SharedGenerator:
    """Generated sets that runs of several seeds have in common.

    Attributes:
      sets: that are shared.
      seeds: of the runs that share the first of them.
    """

    sets: int
    seeds: int


OriginLimit = UnknownOrigin | SharedGenerator


def origin_limits(s: Study) -> Iterable[OriginLimit]:
    """Both facts, where they hold."""
    unknown = [run for run in s.runs if has_unknown_origin(run)]
    if unknown:
        yield UnknownOrigin(len(unknown), len(s.runs))
    seeds: dict[str, set[int]] = {}
    for run in s.runs:
        if run.source in GENERATED:
            seeds.setdefault(str(run.config["synthetic"]), set()).add(run.seed)
    shared = [len(members) for members in seeds.values() if len(members) > 1]
    if shared:
        yield SharedGenerator(len(shared), shared[0])


def has_unknown_origin(run: Run) -> bool:
    """Whether a run says so, or is of an earlier version and learnt from an imported set or from
    weights in a file.
    """
    if run.table is not None:
        return False
    recorded = run.summary.get("provenance")
    if recorded is not None:
        return bool(recorded == UNKNOWN)
    imported = run.ratio > 0 and not run.source
    return imported or run.settings["init.name"] == "weights"


def sentence(fact: OriginLimit) -> str:
    """The fact in words.

    >>> sentence(UnknownOrigin(2, 9))[:60]
    '2 of 9 runs learnt from images or weights of which nobody re'
    """
    if isinstance(fact, SharedGenerator):
        sets = f"{fact.sets} generated sets were"
        if fact.sets == 1:
            sets = "1 generated set was"
        return (
            f"{sets} painted by one generator each for {fact.seeds} training seeds: the intervals "
            f"do not cover what another fit of the generator would give (--gan.seed run fits one "
            f"for each seed)."
        )
    which = f"{fact.runs} of {fact.all} runs"
    if fact.runs == fact.all:
        which = "All runs"
    return (
        f"{which} learnt from images or weights of which nobody recorded the origin: whether these "
        f"have seen test subjects or further labels cannot be checked."
    )
