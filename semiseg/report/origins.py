"""What limits scores because of what a run learnt from besides its label budget: images and weights
of unknown origin, images like those that it is scored on, and generated sets that several seeds
share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from semiseg.analysis.runs import Run
from semiseg.analysis.study import Study
from semiseg.synthetic_sources import GENERATED

UNKNOWN = "unknown"
SETS_NAMED = 3
"""Sets that a sentence names."""
SPLITS = {"val": "validation", "test": "test"}


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


@dataclasses.dataclass(frozen=True)
class LikeHeldOut:
    """Runs that learnt from images like those that they are scored on.

    Attributes:
      runs: that did.
      all: runs of the study.
      sets: what the images are of: synthetic sets, or sets that weights were trained on.
      images: of the split that look like them, in the run with most.
      split: "val" or "test".
    """

    runs: int
    all: int
    sets: tuple[str, ...]
    images: int
    split: str


OriginLimit = UnknownOrigin | SharedGenerator | LikeHeldOut


def origin_limits(s: Study) -> Iterable[OriginLimit]:
    """Every such fact, where it holds."""
    yield from _like_held_out(s)
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


def _like_held_out(s: Study) -> Iterable[LikeHeldOut]:
    """Of the validation and of the test images, those that runs have learnt the like of."""
    for split in ("test", "val"):
        images: dict[str, int] = {}
        sets: dict[str, None] = {}
        for run in s.runs:
            for alike in run.summary.get("like_held_out", ()):
                if alike["split"] == split:
                    images[run.name] = images.get(run.name, 0) + alike["images"]
                    sets[alike["set"]] = None
        if images:
            most = max(images.values())
            yield LikeHeldOut(len(images), len(s.runs), tuple(sets), most, split)


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
    if isinstance(fact, LikeHeldOut):
        return _like(fact)
    return (
        f"{_which(fact.runs, fact.all)} learnt from images or weights of which nobody recorded the "
        f"origin: whether these have seen test subjects or further labels cannot be checked."
    )


def _like(fact: LikeHeldOut) -> str:
    images = f"{fact.images} {SPLITS[fact.split]} images look"
    if fact.images == 1:
        images = f"1 {SPLITS[fact.split]} image looks"
    named = ", ".join(fact.sets[:SETS_NAMED])
    if len(fact.sets) > SETS_NAMED:
        named += " …"
    return (
        f"{images} like images that {_which(fact.runs, fact.all).lower()} learnt from ({named}): "
        f"their {SPLITS[fact.split]} scores may be too high."
    )


def _which(runs: int, of_all: int) -> str:
    if runs == of_all:
        return "All runs"
    return f"{runs} of {of_all} runs"
