"""From a stored data set back to files: the only module that writes another program's layout."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from semiseg.data import nnunet_files, store, subjects_csv
from semiseg.data.fold_splits import Dealer
from semiseg.data.source import progress_bar
from semiseg.errors import UserError
from semiseg.files import new_folder
from semiseg.holding import holding
from semiseg.types import Case

FOLDS = 5
"""Folds of nnU-Net, where a set has no val split of its own."""


def export_set(
    name: str,
    out: str | Path,
    root: str | Path | None = None,
    with_test: bool = True,
    folds: int | None = None,
    progress: bool = True,
    say: Callable[[str], None] | None = None,
    record: Callable[[dict[str, int]], None] | None = None,
) -> dict[str, int]:
    """Write a data set as a raw data set of nnU-Net (version 2).

    The folder is there whole or not at all. Images and labels have the numbers, the affine and the
    orientation of the files that were imported.

    Args:
      name, root: of the set.
      out: the folder, which must not exist or be empty.
      with_test: also the test cases, which counts as a test evaluation.
      folds: the number of folds in splits_final.json, 0 for one of train and val; by default those
        that came with the files, else one of train and val, else five.
      progress: show a progress bar.
      say: receives one line for each thing that the layout does not hold.
      record: receives what is returned before the folder is in place: after a kill, the same
        export is either done with all that belongs to it or to be done.

    Returns:
      Part → number of cases: ``train``, ``val``, ``test`` and ``unlabelled``.

    Raises:
      UserError: the set does not fit the layout, or the folder cannot be written.
    """
    known = store.info(name, root)
    place = Path(out).expanduser()
    _check_place(place)
    nnunet_files.check(known)
    with holding(place, "semiseg data export"), _building(place) as folder:
        writer = nnunet_files.Writer(folder, known, subjects_csv.read_columns(known.folder))
        dealer = Dealer(known)
        for split in ("train", "val"):
            if known.number(split):
                cases = store.open_split(name, split, root)
                _write(writer, split, _shown_to(dealer, cases), progress)
        if with_test and known.number("test"):
            reason = f"semiseg data export {name}"
            cases = store.open_test(name, root, reason=reason, run=str(place))
            _write(writer, "test", cases, progress)
        notes = writer.finish(_fold_of(dealer, folds))
        if record is not None:
            record(writer.counts)
    if known.number("test") and not with_test:
        notes.append(f"{name}: its test cases are left out (--without-test)")
    elif known.number("test"):
        notes.append(f"{name}: the export of its test labels counts as a test evaluation")
    for note in notes:
        if say is not None:
            say(note)
    return writer.counts


def _shown_to(dealer: Dealer, cases: Iterable[Case]) -> Iterator[Case]:
    for case in cases:
        dealer.add(case)
        yield case


def _fold_of(dealer: Dealer, folds: int | None) -> dict[str, int]:
    """Subject → fold; empty for one fold of train and val."""
    known = dealer.info
    if folds is None:
        folds = len(known.folds)
        if not folds and not known.number("val") and len(dealer.units()) >= FOLDS:
            folds = FOLDS
    if not folds:
        return {}
    if folds == 1:
        raise UserError("must be 2 or more, or 0 for one fold of train and val", where="--folds 1")
    return dealer.deal(folds)


def _write(writer: nnunet_files.Writer, split: str, cases: Iterable[Case], progress: bool) -> None:
    for case in progress_bar(cases, f"export {split}", show=progress):
        writer.add(split, case)


def _check_place(place: Path) -> None:
    if not os.path.lexists(place):
        return
    if place.is_dir() and not place.is_symlink() and not any(place.iterdir()):
        return
    raise UserError("exists already", where=place, remedy="choose another --out, or remove it")


@contextlib.contextmanager
def _building(place: Path) -> Iterator[Path]:
    """A new folder that takes its ``place`` when the block ends, and is gone where it fails."""
    try:
        with new_folder(place) as folder:
            yield folder
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror or error})",
            where=place,
            remedy="free some space or choose another --out",
        ) from error
