"""Whole data sets of every layout through ``semiseg data import`` and ``semiseg data check``."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzz import mutate_arrays, mutate_bytes, mutate_scans, mutate_text, truths
from fuzz.engine import (
    DIFFERENT,
    FAILURE,
    Kind,
    Outcome,
    Place,
    Tree,
    Verdict,
    command,
    judged,
    written,
)
from fuzz.of_scans import LIBRARIES

IMPORTS = (
    *LIBRARIES,
    "scipy.ndimage",
    "skimage.measure",
    "skimage.segmentation",
    "pydicom.pixels",
    "typeguard",
    "tyro._backends._argparse_formatter",
    "tensorflow_datasets",
    "array_record.python.array_record_module",
    "semiseg.cli.data",
    "semiseg.cli.import_notes",
    "semiseg.data.importing",
    "semiseg.data.check",
    "semiseg.data.array_records",
)
TABLES = (".json", ".csv", ".tsv", ".txt", ".list")
BOTH_ONE_TO_ONE = ("folder", "msd", "patients", "ssl4mis-acdc", "synapse")
"""Layouts whose labels are stored value for value, or with other numbers for the values."""


def layout_seeds(name: str) -> Callable[[], dict[str, Tree]]:
    """The tiny set of a layout, with few subjects."""

    def seeds() -> dict[str, Tree]:
        import layouts

        every = layouts.SUBJECTS
        if name not in ("nnunet", "msd", "ssl4mis-la", "ssl4mis-brats", "ssl4mis-acdc"):
            layouts.SUBJECTS = every[:5]
        try:
            tree = written(layouts.LAYOUTS[name].write)
        finally:
            layouts.SUBJECTS = every
        trees = {name: tree}
        if name == "folder":
            rows = [f"p{i},s{i // 2},g{i // 3},site{i}" for i in range(5)]
            table = "\n".join(["name,subject,group,site", *rows]) + "\n"
            trees["table"] = {**tree, "subjects.csv": table.encode()}
            trees["pictures"] = written(layouts.write_ultrasound)
        if name == "dsb2018":
            trees["archive"] = {"stage1_train.zip": _zipped(tree)}
        return trees

    return seeds


def _zipped(tree: Tree) -> bytes:
    """The files of a tree in an archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tree.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


# ------------------------------------------------------------------ mutations
def mutate(tree: Tree, rng: Random) -> str:
    """Change a table, an image or the folder."""
    tables = [name for name in tree if name.endswith(TABLES)]
    draw = rng.random()
    if draw < 0.12:
        return mutate_text.folder(tree, rng)
    if tables and draw < 0.6:
        return mutate_bytes.mutate_one(tree, rng, mutate_text.text, tables.__contains__)
    name = rng.choice([name for name in sorted(tree) if name not in tables])
    return mutate_bytes.mutate_one(tree, rng, _change_of(name, rng), name.__eq__)


def _change_of(name: str, rng: Random) -> mutate_bytes.Change:
    if ".nii" in name:
        return mutate_scans.nifti
    if name.endswith(".png"):
        return mutate_scans.picture
    if name.endswith(".h5"):
        return mutate_arrays.hdf5
    if name.endswith(".npz"):
        return mutate_arrays.npz
    if name.endswith(".zip"):
        return mutate_arrays.zipped
    if "." not in name.rpartition("/")[2] or name.endswith(".dcm"):
        return mutate_scans.dicom
    return mutate_bytes.any_bytes


# ------------------------------------------------------------------ runs
def run(format: str, options: dict[str, Any]) -> Callable[[Place], Verdict]:
    """What runs the command for a layout."""

    def one(place: Place) -> Verdict:
        flags = dict(options)
        if place.name == "pictures":
            flags = {"pixel_sizes": "sizes.csv", "subject_pattern": r"^(\d+)_"}
        named = format
        if place.rng.random() < 0.5:
            named = "auto"
        if place.rng.random() < 0.15:
            outcome = typed("check", place, named, flags)
            return judged(outcome, (0, 1)) or Verdict(DIFFERENT)
        outcome = typed("import", place, named, flags)
        refused = judged(outcome)
        if refused is not None:
            if any(path.name == "x" for path in (place.work / "root").glob("*")):
                return Verdict(FAILURE, "half a set", outcome.err)
            return refused
        if place.rng.random() < 0.3:
            checked = judged(
                command_of("check", {"name": "x", "root": place.work / "root"}), (0, 1)
            )
            if checked is not None:
                return checked
        words = _wrong(place, format)
        if words:
            return Verdict(
                FAILURE, f"silent {format}: {words.partition(':')[0]}", words + outcome.err
            )
        return Verdict(DIFFERENT)

    return one


def typed(what: str, place: Place, format: str, flags: dict[str, Any]) -> Outcome:
    from semiseg.cli import data

    fields: dict[str, Any] = {"source": place.input, "format": format}
    if what == "import":
        fields |= {"name": "x", "root": place.work / "root"}
    fields["reader"] = dataclasses.replace(data.reader_options()(), **flags)
    return command_of(what, fields)


def command_of(what: str, fields: dict[str, Any]) -> Outcome:
    """Run a ``semiseg data`` command without its parser of options, which takes 0.1 s."""
    from semiseg.cli import data

    arguments = data.RUN[what][0](**fields)

    def typed(*unused: object, **also: object) -> Any:
        return arguments

    data.typed = typed
    return command("data", what)


# ------------------------------------------------------------------ what was stored
def _wrong(place: Place, format: str) -> str:
    """What of a stored set no file of the input says; "" where all is well."""
    from semiseg.data import store

    images: set[bytes] = set()
    labels: set[tuple[int, ...]] = set()
    for numbers in _arrays(place.input):
        images.add(_print(numbers))
        if numbers.size < 10_000:
            labels.add(_counts(numbers))
    root = place.work / "root"
    if format == "tfds":
        return ""  # whose records no other library reads
    for split in ("train", "val"):
        if not store.info("x", root).number(split):
            continue
        for case in store.open_split("x", split, root):
            for channel in np.moveaxis(case.image, -1, 0):
                slices = channel if channel.ndim == 3 else [channel]
                if _print(channel) in images or all(_print(one) in images for one in slices):
                    continue
                return f"pixels: those of {case.name} are in no file"
            if not np.isfinite(case.image).all():
                return f"pixels: {case.name} is not finite"
            if format in BOTH_ONE_TO_ONE and case.label is not None:
                slices = case.label if case.label.ndim == 3 else [case.label]
                if _counts(case.label) in labels or all(_counts(one) in labels for one in slices):
                    continue
                return f"labels: those of {case.name} are in no file"
    return ""


def _print(numbers: np.ndarray) -> bytes:
    """The numbers of an array without their order; -0 is 0."""
    return np.sort(numbers.astype(np.float32) + np.float32(0), None).tobytes()


def _counts(numbers: np.ndarray) -> tuple[int, ...]:
    """How often each number occurs, without saying which."""
    return tuple(sorted(np.unique(numbers, return_counts=True)[1].tolist()))


def _arrays(folder: Path) -> Iterator[np.ndarray]:
    """Every array that a library reads in the files of a folder, channel by channel."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.endswith(TABLES):
            continue
        try:
            if path.suffix == ".zip":
                yield from _archived(path)
            elif path.suffix == ".h5":
                yield from _hdf5(path)
            elif path.suffix == ".npz":
                with np.load(path) as arrays:
                    yield from (arrays[name] for name in arrays.files)
            else:
                numbers = truths.truth(path).numbers
                yield from np.moveaxis(numbers, -1, 0)
        except Exception:
            continue


def _archived(path: Path) -> Iterator[np.ndarray]:
    """Pictures in an archive, as greys and as colours."""
    from PIL import Image

    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            try:
                picture = Image.open(io.BytesIO(archive.read(info)))
                yield np.asarray(picture.convert("L"))
            except Exception:
                continue


def _hdf5(path: Path) -> Iterator[np.ndarray]:
    import h5py

    with h5py.File(path) as file:
        for name in ("image", "label"):
            if name in file:
                yield file[name][()]


OPTIONS: dict[str, dict[str, Any]] = {
    "folder": {"classes": "background,organ,lesion"},
    "nnunet": {},
    "msd": {},
    "bids": {"label": "seg-manual,gm-manual", "classes": "background,cord,gray matter"},
    "patients": {"channel_files": "flair,t1ce", "label": "seg", "classes": "background,core,edema"},
    "synapse": {},
    "ssl4mis-la": {},
    "ssl4mis-brats": {},
    "ssl4mis-acdc": {},
    "dsb2018": {},
    "tfds": {"subject_key": "who.patient", "classes": "background,cell,debris"},
}
"""Layout → flags of its import."""
KINDS = tuple(
    Kind(f"set.{name}", layout_seeds(name), mutate, run(name, flags), 0.5, IMPORTS)
    for name, flags in OPTIONS.items()
)
