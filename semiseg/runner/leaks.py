"""Whether what a run learns from besides its label budget has seen its validation or test subjects,
or the labels of further training subjects.

Synthetic images and initial weights are checked by their provenance: sets of image hashes and of
subjects are compared, not names. Images of the validation or test split are refused. Annotated
training subjects outside the label budget count as labelled. What has no provenance is used, and
the run says so.

In a cross-validation the subjects of the fold that is held out are the validation subjects, and all
others outside the test split train.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from semiseg.config import Trial
from semiseg.data import fold_splits, provenance, resemblance, store
from semiseg.data.fingerprints import Hashes, hashes_of
from semiseg.data.info import StoreInfo, numbered
from semiseg.data.provenance import Provenance, Seen
from semiseg.errors import UserError

UNKNOWN = "unknown"
RECORDED = "recorded"
SAME_FOLD = "give the same --folds and --fold"


class Source(NamedTuple):
    """Something besides the label budget that a run learns from.

    Attributes:
      provenance: what it was made from.
      subjects: annotated training subjects of the run's data set whose labels it has seen.
    """

    provenance: Provenance = Provenance()
    subjects: tuple[str, ...] = ()


def synthetic_source(
    trial: Trial, info: StoreInfo, held_out: frozenset[str] | None = None
) -> Source:
    """The synthetic set of a trial.

    Args:
      trial: the run.
      info: its data set.
      held_out: subjects of the fold that is held out; None without folds.

    Raises:
      UserError: it holds images of the validation or test split, or was made from some.
    """
    if trial.synthetic is None or trial.ratio <= 0:
        return Source()
    synthetic = store.info(trial.synthetic, trial.root)
    where = f"synthetic set {trial.synthetic!r}"
    recorded = provenance.of_set(synthetic)
    origin = recorded or provenance.unknown(where)
    images = hashes_of(synthetic)
    if images is not None and recorded is None:  # they may be anybody's images, copied
        part = Seen(
            synthetic.name,
            synthetic.fingerprint,
            labelled=np.unique(images.hashes[images.labelled]),
            images=np.unique(images.hashes),
            resembled=resemblance.held_out_like(synthetic, images.hashes),
        )
        origin = provenance.merged(origin, Provenance((part,)))
    return checked(origin, info, where, "generate it from training subjects alone", held_out)


def checked(
    origin: Provenance,
    info: StoreInfo,
    where: str,
    remedy: str,
    held_out: frozenset[str] | None = None,
) -> Source:
    """What an origin means for runs on a data set.

    Args:
      origin: what something was made from.
      info: the data set of the run.
      where, remedy: first and last words of a message.
      held_out: subjects of the fold that is held out; None without folds.

    Raises:
      UserError: it has seen images of the validation or test split.
    """
    subjects = set(origin.subjects_of(info.fingerprint))
    known = sorted(subjects & (held_out or frozenset()))
    if known:  # by name: an origin of an earlier version has no hashes
        raise UserError(
            f"has seen labels of {numbered(len(known), 'subject')} of data set {info.name!r} that "
            f"this fold holds out ({known[0]} …), so its scores would be too high",
            where=where,
            remedy=f"{remedy}: {SAME_FOLD}",
        )
    table = fold_splits.dealt(hashes_of(info), held_out)
    if table is None and any(part.fingerprint != info.fingerprint for part in origin.seen):
        what = f"{where} (data set {info.name!r} has no image hashes: import it again)"
        origin = provenance.merged(origin, provenance.unknown(what))
    if table is not None:
        if held_out is not None:
            remedy = f"{remedy}: {SAME_FOLD}"
        _refuse_held_back(origin, table, info, where, remedy)
        labelled = table.known(origin.labelled) & table.of("train") & table.labelled
        subjects |= set(table.subjects[labelled].tolist())
    return Source(origin, tuple(sorted(subjects)))


def _refuse_held_back(
    origin: Provenance, table: Hashes, info: StoreInfo, where: str, remedy: str
) -> None:
    for split in ("test", "val"):
        seen = table.known(origin.images) & table.of(split)
        if seen.any():
            subject = table.subjects[seen][0]
            raise UserError(
                f"has seen {numbered(seen.sum(), f'{split} image')} of data set {info.name!r} (of "
                f"subject {subject}), so its scores would be too high",
                where=where,
                remedy=remedy,
            )


def notes_of(
    origin: Provenance, info: StoreInfo, held_out: frozenset[str] | None = None
) -> tuple[str, ...]:
    """A line for each thing of which nobody recorded the origin, and for each set that holds images
    like the validation or test images of the run's data set.
    """
    return _unknown(origin) + _look_alikes(origin, info, held_out)


def _look_alikes(
    origin: Provenance, info: StoreInfo, held_out: frozenset[str] | None
) -> tuple[str, ...]:
    return tuple(
        _look_alike_line(alike, info.name) for alike in look_alikes_of(origin, info, held_out)
    )


def _look_alike_line(alike: Mapping[str, Any], name: str) -> str:
    images = numbered(alike["images"], f"{alike['split']} image")
    verb = "looks" if alike["images"] == 1 else "look"
    return (
        f"{images} of data set {name!r} {verb} like training "
        f"images of {alike['set']!r}, from which this run learns: its scores may be too high"
    )


def look_alikes_of(
    origin: Provenance, info: StoreInfo, held_out: frozenset[str] | None = None
) -> list[dict[str, Any]]:
    """How many validation and test images of a data set look like what an origin holds.

    Returns:
      For each set and split with some: the name of the ``set``, the ``split``, and how many
      ``images`` of it are like images of the set.
    """
    table = fold_splits.dealt(hashes_of(info), held_out)
    if table is None:
        return []
    results: list[dict[str, Any]] = []
    for part in origin.seen:
        for split in ("test", "val"):
            number = int((table.known(part.resembled) & table.of(split)).sum())
            if number:
                results.append({"set": part.name, "split": split, "images": number})
    return results


def _unknown(origin: Provenance) -> tuple[str, ...]:
    return tuple(
        f"provenance unknown: nobody recorded what {what} was made from, so semiseg cannot check "
        f"all of the images and labels it has seen"
        for what in origin.unknown
    )


def status(origin: Provenance) -> str:
    """``recorded``, or ``unknown`` if any part of it is.

    >>> status(Provenance()), status(provenance.unknown("weights x"))
    ('recorded', 'unknown')
    """
    return UNKNOWN if origin.unknown else RECORDED
