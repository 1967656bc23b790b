"""The regions of a data set that is imported already: added and removed in its description."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from semiseg.data import data_card, regions, seal, store
from semiseg.data.pixel_counts import PixelCounts
from semiseg.data.set_folder import DESCRIPTION
from semiseg.errors import UserError
from semiseg.files import write_bytes
from semiseg.holding import holding


def change(
    name: str,
    root: str | Path | None = None,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
) -> regions.Regions:
    """Add and remove regions of a data set; its records and its fingerprint stay.

    Args:
      name, root: of the set.
      add: regions, such as ``whole=edema,core``.
      remove: names, which are free for ``add``.

    Returns:
      The regions of the set.

    Raises:
      UserError: the set comes with the package or cannot be written, or a region is none.
    """
    known = store.info(name, root)
    if name == store.EMBEDDED:
        raise UserError("comes with the package", where=name, remedy="import a set of your own")
    with holding(known.folder, "semiseg data regions"):
        return _change(store.info(name, root), add, remove)


def _change(known: store.StoreInfo, add: Sequence[str], remove: Sequence[str]) -> regions.Regions:
    kept = dict(known.regions)
    for region in remove:
        if kept.pop(region, None) is None:
            raise UserError(
                f"{known.name} has no such region; there is {', '.join(known.regions) or 'none'}",
                where=f"--remove {region}",
                remedy="correct it",
            )
    named = regions.with_typed(kept, add, known.classes)
    path = known.folder / DESCRIPTION
    try:
        facts = json.loads(path.read_text(encoding="utf-8")) | {"regions": named}
        write_bytes(path, json.dumps(facts, indent=1).encode())
        seal.renew(known, "regions")
        _write_card(known, facts)
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror or error})",
            where=known.folder,
            remedy="make it writable",
        ) from error
    seal.record(known, "semiseg data regions")
    return named


def _write_card(known: store.StoreInfo, facts: dict[str, object]) -> None:
    """Bring the card's table of regions up to date."""
    path = known.folder / data_card.FILE
    if not path.is_file():
        return
    values = regions.numbers(store.info(known.name, known.root).regions, known.classes)
    counts = {split: PixelCounts(regions=values) for split in known.counts if split != "test"}
    for split, seen in counts.items():
        for case in store.open_split(known.name, split, known.root):
            seen.add(case)
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    card = data_card.with_regions(text, data_card.region_table(facts, counts))
    write_bytes(path, card.encode("utf-8", "surrogateescape"))
