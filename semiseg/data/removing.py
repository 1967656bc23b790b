"""A stored data set is deleted; what the ledgers say of its test set stays."""

from __future__ import annotations

from pathlib import Path

from semiseg.data import pool_files, set_folder, store, wall
from semiseg.data.info import StoreInfo, numbered
from semiseg.data.source import SPLITS
from semiseg.errors import UserError
from semiseg.holding import holding


def remove(name: str, root: str | Path | None = None, sure: bool = False) -> str:
    """Delete a data set.

    Its own ledger goes with its folder. The ledgers beside the stores and of the user hold the same
    lines, so that a set imported anew from the same files has the same history.

    Args:
      name, root: of the set.
      sure: without it nothing is deleted.

    Returns:
      A sentence on what was deleted.

    Raises:
      UserError: it is not ``sure``, there is no such set, it comes with the package, or it cannot
        be deleted.
    """
    set_folder.recover(set_folder.root_folder(root))  # what a killed removal has left
    if name == store.EMBEDDED:
        raise UserError("comes with the package", where=name, remedy="remove another data set")
    place = store.info(name, root).folder
    if place.is_symlink():
        raise UserError("is a link", where=place, remedy="remove the link, or the set it leads to")
    # held before it is looked at: half of a set that another process removes looks damaged
    with holding(place if sure else None, "semiseg data remove"):
        known = store.info(name, root)
        words = f"{_contents(known)}; {_history(known)}"
        if not sure:
            raise UserError(
                f"would be deleted: {words}", where=place, remedy="pass --yes to delete it"
            )
        wall.record_removal(known, f"semiseg data remove {name}")
        try:
            set_folder.remove(place)
            pool_files.remove(name, root)
        except OSError as error:
            raise UserError(
                f"cannot be deleted ({error.strerror or error})",
                where=place,
                remedy="make it and its folder writable",
            ) from error
    return f"removed {place}: {words}"


def _contents(known: StoreInfo) -> str:
    counts = [
        f"{split} {known.number(split, 'subjects')}" for split in SPLITS if known.number(split)
    ]
    records = sum(known.number(split) for split in SPLITS)
    number = numbered(records, "record")
    return f"{number} of subjects in {', '.join(counts)}, imported from {known.source}"


def _history(known: StoreInfo) -> str:
    """What stays of the test set."""
    if not known.number("test"):
        return "it has no test set"
    evaluations = store.history(known.name, known.root).evaluations
    plural = "s" * (evaluations != 1)
    return f"the ledger of its test set stays ({evaluations} test evaluation{plural})"
