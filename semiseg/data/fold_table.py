"""The folds of a data set for people: how many subjects, of which sites, with how much of each
class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from semiseg.data import fold_splits, near_duplicates
from semiseg.data.fingerprints import descriptions_of, hashes_of
from semiseg.data.fold_splits import Dealer
from semiseg.data.info import StoreInfo, numbered
from semiseg.data.resemblance import MOST_PAIRS
from semiseg.types import Case

MOST_ALIKE = 3
"""Pairs of subjects that look alike that are named."""


def fold_facts(info: StoreInfo, scans: Iterable[Case], folds: int) -> dict[str, Any]:
    """What each fold holds out, as JSON types.

    Args:
      info: of the data set.
      scans: of train and val.
      folds: their number.

    Returns:
      ``stated``: whether the files stated them; ``site_column`` of subjects.csv, "" for none; and
      for each of the ``folds`` its annotated ``subjects``, how many of each of the ``sites``, and
      its ``share`` of the volume of each class. ``alike``: subjects of two folds of which images
      look alike, with the correlation; of very large sets nobody looks.
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
        "alike": _alike(info, fold_of),
    }


def _alike(info: StoreInfo, fold_of: dict[str, int]) -> list[list[Any]]:
    table = hashes_of(info)
    descriptions = descriptions_of(info)
    if table is None or descriptions is None:
        return []
    rows = np.flatnonzero(np.isin(table.subjects, sorted(fold_of)))
    if len(rows) ** 2 > MOST_PAIRS:
        return []
    subjects = table.subjects[rows].tolist()
    side = np.array([fold_of[subject] for subject in subjects])
    best: dict[tuple[str, str], float] = {}
    for pair in near_duplicates.across(descriptions[rows], side):
        first, second = sorted((subjects[pair.first], subjects[pair.second]))
        best[first, second] = max(pair.correlation, best.get((first, second), 0.0))
    return [[*names, round(correlation, 3)] for names, correlation in sorted(best.items())]


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
    subjects = numbered(number, "annotated subject")
    lines = [f"{numbered(len(rows), 'fold')} of {subjects} outside test, {how}"]
    for fold, row in enumerate(rows):
        shares = [f"{name} {100 * share:.1f} %" for name, share in row["share"].items()]
        subjects = numbered(len(row["subjects"]), "subject")
        line = f"fold {fold}: {subjects}; {', '.join(shares)} of its volume"
        if facts["site_column"]:
            sites = [f"{site or 'unknown'} {count}" for site, count in row["sites"].items()]
            line += f"; {facts['site_column']} {', '.join(sites)}"
        lines.append(line)
    for first, second, correlation in facts.get("alike", [])[:MOST_ALIKE]:
        lines.append(
            f"{first} and {second} are in two folds and look alike, correlation {correlation:.2f}; "
            f"give them one group in subjects.csv if they are one subject"
        )
    more = len(facts.get("alike", [])) - MOST_ALIKE
    if more > 0:
        verb = "looks" if more == 1 else "look"
        lines.append(f"{numbered(more, 'more pair')} of subjects {verb} alike")
    return lines
