"""The folds of a data set for people: how many subjects, of which sites, with how much of each
class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from semiseg.data import fold_splits
from semiseg.data.fold_splits import Dealer
from semiseg.data.info import StoreInfo
from semiseg.types import Case


def fold_facts(info: StoreInfo, scans: Iterable[Case], folds: int) -> dict[str, Any]:
    """What each fold holds out, as JSON types.

    Args:
      info: of the data set.
      scans: of train and val.
      folds: their number.

    Returns:
      ``stated``: whether the files stated them; ``site_column`` of subjects.csv, "" for none; and
      for each of the ``folds`` its annotated ``subjects``, how many of each of the ``sites``, and
      its ``share`` of the volume of each class.
    """
    dealer = Dealer(info)
    for scan in scans:
        dealer.add(scan)
    fold_of = dealer.deal(folds)
    sites = fold_splits.site_of(info)
    total = np.sum([*dealer.volumes.values()], axis=0)
    rows: list[dict[str, Any]] = []
    for fold in range(folds):
        subjects = [s for s in dealer.volumes if fold_of[s] == fold]
        volume = np.sum([dealer.volumes[subject] for subject in subjects], axis=0)
        share = np.round(volume / np.maximum(total, 1e-9), 4).tolist()
        of_site = Counter(sites.get(subject, "") for subject in subjects)
        rows.append(
            {
                "subjects": sorted(subjects),
                "sites": dict(sorted(of_site.items())) if sites else {},
                "share": dict(zip(info.classes[1:], share, strict=True)),
            }
        )
    return {
        "stated": fold_splits.is_stored(info, folds),
        "site_column": fold_splits.site_column(info),
        "folds": rows,
    }


def fold_lines(facts: dict[str, Any]) -> list[str]:
    """The result of :func:`fold_facts` as text.

    >>> row = {"subjects": ["a", "b"], "sites": {"Graz": 2}, "share": {"cell": 0.25}}
    >>> fold_lines({"stated": False, "site_column": "site", "folds": [row]})[1]
    'fold 0: 2 subjects; cell 25.0 % of its volume; site Graz 2'
    """
    rows = facts["folds"]
    number = sum(len(row["subjects"]) for row in rows)
    how = "dealt by group, site and class volume"
    if facts["stated"]:
        how = "as the files state them"
    lines = [f"{len(rows)} folds of {number} annotated subjects outside test, {how}"]
    for fold, row in enumerate(rows):
        shares = [f"{name} {100 * share:.1f} %" for name, share in row["share"].items()]
        line = f"fold {fold}: {len(row['subjects'])} subjects; {', '.join(shares)} of its volume"
        if facts["site_column"]:
            sites = [f"{site or 'unknown'} {count}" for site, count in row["sites"].items()]
            line += f"; {facts['site_column']} {', '.join(sites)}"
        lines.append(line)
    return lines
