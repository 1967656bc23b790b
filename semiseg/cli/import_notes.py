"""What ``semiseg data import`` says of a new data set, and what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path

from semiseg.data.fold_advice import suggestion
from semiseg.data.info import StoreInfo, numbered

FEW_SUBJECTS = 5
"""Up to fewer subjects than these in val or test, a note says that intervals will be wide."""


def can_train(info: StoreInfo) -> bool:
    """Whether there is something to train on, and something to validate with."""
    return bool(info.number("train", "annotated") and info.number("val"))


def next_command(info: StoreInfo, root: Path | None) -> str:
    """What trains a first network on a set."""
    words = ["semiseg", "train", "--data", info.name]
    if root is not None:
        words += ["--root", str(root)]
    return shlex.join([*words, "--out", f"runs/{info.name}"])


def notes_of(info: StoreInfo, root: Path | None) -> list[str]:
    """What the user should know of the subjects of a new set."""
    notes: list[str] = []
    bare = info.number("train", "subjects") - info.number("train", "annotated")
    if bare:
        annotated = {split: count["annotated"] for split, count in info.counts.items()}
        places = ", ".join(f"{split} {number}" for split, number in annotated.items())
        subjects = numbered(sum(annotated.values()), "annotated subject")
        notes.append(f"{subjects}: {places}; without annotation, all in train: {bare}")
    if "generated" not in info.allowed and not info.number("val"):
        notes.append(
            "there is no validation split: a network can be trained on this set, but nothing says "
            "how good it is"
        )
    scored = {split: info.number(split, "subjects") for split in ("val", "test")}
    few = [f"{split} {number}" for split, number in scored.items() if 0 < number < FEW_SUBJECTS]
    if few:
        notes.append(
            f"few subjects to score on ({', '.join(few)}): intervals will be wide, and with "
            f"fewer than 6 no paired test can reach p < .05"
        )
    advice = suggestion(info, root)
    if advice:
        notes.append(advice)
    return notes
