"""Every data set under a root, the damaged ones with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from semiseg.data import store
from semiseg.data.info import StoreInfo
from semiseg.data.set_folder import DESCRIPTION, root_folder
from semiseg.errors import UserError


class Listing(NamedTuple):
    """The sets under a root.

    Attributes:
      sets: those that can be used, the embedded one first.
      damaged: name of the folder → what is wrong with it, in one line.
    """

    sets: list[StoreInfo]
    damaged: dict[str, str]


def listed(root: str | Path | None = None) -> Listing:
    """Every set under ``root``; a damaged one hides none of the others."""
    sets = store.list_sets(root)
    damaged: dict[str, str] = {}
    for path in sorted(root_folder(root).glob(f"*/{DESCRIPTION}")):
        name = path.parent.name
        if name.startswith(".") or name in {info.name for info in sets}:
            continue
        try:
            store.info(name, root)
        except UserError as error:
            damaged[name] = " ".join(str(error).split())
        else:  # it was repaired or imported meanwhile
            continue
    return Listing(sets, damaged)
