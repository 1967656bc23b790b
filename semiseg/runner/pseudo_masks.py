"""Masks from elsewhere (``--pseudo DIR``): what another program, or a run of our own, made of the
unlabelled training images, as labels of a training whose weight falls to zero.

The folder holds a mask a scan or a slice, see :mod:`semiseg.data.mask_files`. Only those of
unlabelled training subjects are read: the label budget has its own masks, and what a folder holds
of validation and test subjects is never opened.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from semiseg.data import mask_files, provenance
from semiseg.data.fingerprints import hashes_of
from semiseg.data.info import StoreInfo, numbered
from semiseg.data.mask_files import NO_MASK, Masks
from semiseg.data.pools import Budget, Training, choice_of_cases
from semiseg.data.slices import planes
from semiseg.errors import UserError
from semiseg.files import read_json
from semiseg.runner import leaks
from semiseg.types import IGNORE, Case, Pools

MOST = 3
"""Names that a message lists."""


@dataclasses.dataclass(frozen=True, eq=False)
class PseudoMasks:
    """Masks of unlabelled training images.

    Attributes:
      folder: where they are from.
      by_case: index of a training case → its mask as the pool shows it, ``(*space)`` uint8.
      subjects: number of subjects that have all of their masks.
      unlabelled: number of unlabelled subjects.
      lacking: what each subject with a part of its masks lacks, in words.
      fingerprint: SHA-256 of the masks and of which image each is of.
      source: what they were made from; labels outside the budget that came in with them, those that
        the masks themselves are among them.
      training: the training split that they belong to.
    """

    folder: str
    by_case: dict[int, np.ndarray]
    subjects: int
    unlabelled: int
    lacking: dict[str, str]
    fingerprint: str
    source: leaks.Source
    training: Training

    @property
    def facts(self) -> dict[str, Any]:
        """What summary.json says of them."""
        facts = {
            "subjects": self.subjects,
            "images": len(self.by_case),
            "fingerprint": self.fingerprint,
        }
        return {"pseudo_masks": facts}

    def notes(self, training: Training) -> tuple[str, ...]:
        """How many subjects have masks, and what is not known of these."""
        have = "has" if self.subjects == 1 else "have"
        note = (
            f"{self.subjects} of {numbered(self.unlabelled, 'unlabelled subject')} {have} a mask "
            f"in {self.folder}"
        )
        if self.lacking:
            parts = [f"{subject} {words}" for subject, words in list(self.lacking.items())[:MOST]]
            more = "; …" * (len(self.lacking) > MOST)
            note += f"; left out: {'; '.join(parts)}{more}"
        return (note, *leaks.notes_of(self.source.provenance, training.info, training.held_out))

    def added_to(self, pools: Pools) -> Pools:
        """The pools with these masks in the place of labels that the budget does not show.

        They are drawn as :attr:`semiseg.types.Pools.pseudo`; a method's own batches hold labels of
        the label budget alone, as before.
        """
        training = self.training
        label = np.array(pools.label)
        for i, mask in self.by_case.items():
            page, where = training.flat.where(int(training.place[i]))
            label[page, where] = mask.reshape(-1)
        drawn = choice_of_cases(sorted(self.by_case), training)
        return pools._replace(label=jnp.asarray(label), pseudo=drawn)


def read(folder: str, training: Training, budget: Budget) -> PseudoMasks:
    """The masks in ``folder`` of the unlabelled subjects of a training.

    Raises:
      UserError: a file cannot be read, has the name of no scan, another grid than its scan, or
        values that are no classes; no unlabelled subject has a mask; or they were made by networks
        that have seen images of the validation or test split.
    """
    place = Path(folder)
    files = mask_files.files_of(place)
    kept = [*files.values(), place / provenance.PREDICTED]
    stamps = tuple((path.name, _stamp(path)) for path in kept if path.is_file())
    return _read(place, training, budget.subjects, stamps)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(2)  # not in every trial of a sweep; the stamps tell files that were changed
def _read(
    folder: Path, training: Training, labelled: Sequence[str], stamps: Sequence[Any]
) -> PseudoMasks:
    info = training.info
    unlabelled = {case.subject for case in training.cases} - set(labelled)
    if not unlabelled:
        raise UserError(
            f"--pseudo is {folder}, and the label budget leaves no subject unlabelled: give "
            f"--labels, or leave --pseudo out",
            field="pseudo",
        )
    source = _source(folder, training)
    check_names(mask_files.files_of(folder), training)
    scans = [scan for scan in training.scans if scan.subject in unlabelled]
    slices = [plane for scan in scans for plane in planes(scan)]
    masks = mask_files.read_masks(folder, slices, info)
    if not masks.by_case:
        raise _no_mask(folder, scans, masks)
    have = unlabelled - set(masks.missing)
    copied = {*source.subjects, *_annotations(scans, masks.by_case)}
    source = source._replace(subjects=tuple(sorted(copied)))
    partial = {name: words for name, words in masks.lacking.items() if words != NO_MASK}
    return PseudoMasks(
        str(folder),
        _in_pool(scans, masks.by_case, training),
        len(have),
        len(unlabelled),
        partial,
        _fingerprint(masks.by_case),
        source,
        training,
    )


def _no_mask(folder: Path, scans: Sequence[Case], masks: Masks) -> UserError:
    partial = [f"{name} {words}" for name, words in masks.lacking.items() if words != NO_MASK]
    if partial:
        return UserError(
            f"no unlabelled subject has all of its masks: {'; '.join(partial[:MOST])}",
            where=folder,
            remedy="add them",
        )
    names = ", ".join(scan.name for scan in scans[:MOST])
    return UserError(
        "no file has the name of an unlabelled training scan",
        where=folder,
        remedy=f"name the files after the scans: {names} …",
    )


def _source(folder: Path, training: Training) -> leaks.Source:
    """What the masks were made from, as far as their folder says so."""
    what = f"the masks in {folder}"
    file = folder / provenance.PREDICTED
    origin = provenance.unknown(what)
    if file.is_file():
        remedy = "predict the images again into a new folder"
        origin = provenance.from_dict(read_json(file, remedy), file)
    return leaks.checked(
        origin,
        training.info,
        what,
        "predict them with networks that were trained on training subjects alone",
        training.held_out,
    )


# ------------------------------------------------------------------ names
def check_names(files: Mapping[str, Path], training: Training) -> None:
    """Refuse files that have the name of no scan of the data set: a typing error would leave a
    mask out without a word.

    Raises:
      UserError: it names the file.
    """
    info = training.info
    known = {name for scan in training.scans for name in (scan.name, scan.volume)}
    known |= {plane.name for scan in training.scans for plane in planes(scan)}
    others = _names_elsewhere(info)
    if others is None:  # nobody knows how the other scans are called
        return
    for name, path in files.items():
        if name not in known and not _is_of(name, others):
            some = ", ".join(scan.name for scan in training.scans[:MOST])
            raise UserError(
                f"no scan of data set {info.name!r} is called {name}",
                where=path,
                remedy=f"name it after its scan, like {some}, or remove it",
            )


def _names_elsewhere(info: StoreInfo) -> Set[str] | None:
    """Names of pictures, slices and subjects outside the training split; None where nobody wrote
    them down. In a cross-validation those that the fold holds out are among them.
    """
    table = hashes_of(info)
    if table is None:
        return None
    return set(table.names.tolist()) | set(table.subjects[~table.of("train")].tolist())


def _is_of(name: str, names: Set[str]) -> bool:
    """Whether a file is of a scan: of a slice, or of the volume whose slices begin so.

    >>> _is_of("p7", {"p7_slice_3"}), _is_of("p", {"p_7_slice_3"})
    (True, False)
    """
    slices = re.compile(re.escape(name) + r"_slice_\d+")
    return name in names or any(slices.fullmatch(known) for known in names)


# ------------------------------------------------------------------ pixels
def _in_pool(
    scans: Sequence[Case], by_case: Mapping[str, np.ndarray], training: Training
) -> dict[int, np.ndarray]:
    """Index of a training case → its mask in the pool, through the frame that labels take."""
    of_volume: dict[str, list[int]] = {}
    for i, case in enumerate(training.cases):
        of_volume.setdefault(case.volume, []).append(i)
    pooled: dict[int, np.ndarray] = {}
    for scan in scans:
        slices = [plane.name for plane in planes(scan)]
        if slices[0] not in by_case:
            continue
        mask = np.stack([by_case[name] for name in slices]).reshape(scan.image.shape[:-1])
        label = training.frame.label_to_pool(mask, scan.spacing)
        members = of_volume[scan.volume]
        parts = label.reshape(len(members), *label.shape[-training.frame.dims :])
        pooled |= dict(zip(members, parts, strict=True))
    return pooled


def _annotations(scans: Sequence[Case], by_case: Mapping[str, np.ndarray]) -> set[str]:
    """Subjects of whom a mask is the annotation of a whole scan, pixel for pixel where it is not
    IGNORE: a label that the budget would not pay for. No other program draws a scan exactly so.
    """
    copied: set[str] = set()
    for scan in scans:
        slices = [plane for plane in planes(scan) if plane.label is not None]
        are_copies = [_is_copy(by_case.get(plane.name), plane.label) for plane in slices]
        if all(are_copies) and any(_is_foreground(plane.label) for plane in slices):
            copied.add(scan.subject)
    return copied


def _is_copy(mask: np.ndarray | None, label: np.ndarray | None) -> bool:
    if mask is None or label is None:
        return False
    return bool((mask == label)[label != IGNORE].all())


def _is_foreground(label: np.ndarray | None) -> bool:
    """Whether a label shows any class."""
    return label is not None and bool(((label > 0) & (label != IGNORE)).any())


def _fingerprint(by_case: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(by_case):
        digest.update(repr((name, by_case[name].shape)).encode())
        digest.update(np.ascontiguousarray(by_case[name]).tobytes())
    return digest.hexdigest()
