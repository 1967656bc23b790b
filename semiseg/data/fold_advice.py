"""When to cross-validate, said where a user meets a data set."""

from __future__ import annotations

import shlex
from pathlib import Path

from semiseg.data.info import StoreInfo, numbered

FOLDS = 5
"""Folds that are proposed."""
FEW = 10
"""Up to fewer annotated val subjects than these, a cross-validation says more."""


def suggestion(info: StoreInfo, root: str | Path | None = None) -> str:
    """What to do where few val subjects are annotated; "" where they are enough.

    Args:
      info: of the data set.
      root: of the stores, where the user named it.

    >>> counts = {"train": {"annotated": 16}, "val": {"annotated": 4}}
    >>> info = StoreInfo("mine", "", (), "mm", 1, "uint8", "", "", (), counts, "", "", "")
    >>> suggestion(info)
    '4 annotated val subjects say little of a network; --folds 5 scores each of the 20 outside \
test: semiseg train --data mine --folds 5 --fold 0 --out runs/mine-fold0, and so on to --fold 4'
    """
    val = info.number("val", "annotated")
    every = val + info.number("train", "annotated")
    folds = min(FOLDS, every)
    if val >= FEW or folds < 2 or "generated" in info.allowed:
        return ""
    words = ["semiseg", "train", "--data", info.name]
    if root is not None:
        words += ["--root", str(root)]
    words += ["--folds", str(folds), "--fold", "0", "--out", f"runs/{info.name}-fold0"]
    few = f"{numbered(val, 'annotated val subject')} {'says' if val == 1 else 'say'} little"
    return (
        f"{few} of a network; --folds {folds} scores each of the "
        f"{every} outside test: {shlex.join(words)}, and so on to --fold {folds - 1}"
    )
