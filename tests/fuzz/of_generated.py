"""Generated pairs with their provenance, from the import to a run that would learn from them."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
from guards.guard_tools import MADE

from fuzz import mutate_bytes, mutate_scans, mutate_text
from fuzz.engine import (
    DIFFERENT,
    FAILURE,
    SAME,
    Kind,
    Place,
    Tree,
    Verdict,
    judged,
    read_tree,
)
from fuzz.of_sets import IMPORTS, command_of

ROOT = "root"


def seeds() -> dict[str, Tree]:
    """Pairs of an earlier version, and pairs with the hashes of what they were made from."""
    from semiseg.data.provenance import Provenance, Seen

    tree = read_tree(MADE / "generated")
    part = Seen("discs", "ab12", frozenset({"train1"}), np.array([5], np.uint64))
    origin = json.dumps(Provenance((part,), ("weights x",)).to_dict()).encode()
    return {"earlier": tree, "origin": {**tree, "origin.json": origin}}


def mutate(tree: Tree, rng: Random) -> str:
    """Change a table, the record, the origin, a picture or the folder."""
    if rng.random() < 0.1:
        return mutate_text.folder(tree, rng)
    if "origin.json" in tree and rng.random() < 0.5:
        return mutate_bytes.mutate_one(tree, rng, mutate_text.text, "origin.json".__eq__)
    name = rng.choice(sorted(tree))
    change = mutate_scans.picture if name.endswith(".png") else mutate_text.text
    return mutate_bytes.mutate_one(tree, rng, change, name.__eq__)


def import_pairs(place: Place) -> Verdict:
    """Import them; what the set says of its origin is what the files say."""
    from semiseg.data import provenance, store
    from semiseg.errors import UserError

    fields = {"source": place.input, "format": "folder", "name": "x", "root": Path(ROOT)}
    outcome = command_of("import", fields)
    refused = judged(outcome)
    if refused is not None:
        return refused
    try:
        origin = provenance.of_set(store.info("x", ROOT))
    except UserError as error:
        return Verdict(FAILURE, "imported with a damaged origin", str(error))
    stated = place.tree.get("origin.json")
    if origin is None and isinstance(stated, bytes):
        return Verdict(FAILURE, "silent origin: it is lost", outcome.err)
    if origin is not None and isinstance(stated, bytes):
        record = json.loads(stated)
        content = origin.to_dict()
        for key in ("seen", "unknown"):
            if not _same(content[key], record[key]):
                return Verdict(FAILURE, f"silent origin: {key}", f"{content[key]}: {record[key]}")
    if place.tree == place.seed:
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail="the origin that the files state")


def _same(used: object, stated: object) -> bool:
    """Whether two lists of JSON hold the same; keys that nobody knows are left out."""
    known = ("name", "fingerprint", "subjects", "labelled", "images", "resembled")

    def plain(values: object) -> list[object]:
        assert isinstance(values, list)
        parts: list[object] = []
        for value in values:
            if isinstance(value, dict):
                value = {key: value[key] for key in known if value.get(key)}
                value["subjects"] = sorted(set(value.get("subjects", ())))
            parts.append(value)
        return parts

    return plain(used) == plain(stated)


KINDS = (Kind("set.generated", seeds, mutate, import_pairs, 0.7, IMPORTS),)
