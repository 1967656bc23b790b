"""``semiseg predict``: segment a folder of images with a trained (or exported) run, each in its own
file format and geometry.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from semiseg.cli.arguments import (
    PLUGIN,
    Command,
    Flag,
    Flags,
)
from semiseg.data.dicom_files import files_under, is_dicom
from semiseg.data.dicom_input import inputs_of, is_series, mask_name
from semiseg.data.images import is_image
from semiseg.data.picture_files import mask_path
from semiseg.errors import UserError

COMMAND = Command(
    "predict",
    """Segment every PNG, TIFF and NIfTI file of a folder (or one file) with a run, or with what
    `semiseg export` made of it. A mask has its image's name, format (PNG for JPEG and WebP), size,
    and affine or resolution; its values are the classes, 0 for background. The mask of a DICOM
    series is a DICOM SEG. Images of a test set that is known here are predicted, and its ledger
    gets a line.""",
    (
        Flag(
            "input",
            "a folder of images or of DICOM series, or one image (must be given)",
            ...,
            value="DIR",
        ),
        Flag("output", "where the masks go (must be given)", ..., value="DIR"),
        Flag(
            "probabilities",
            "also write the class probabilities: NAME_probabilities.nii.gz, with the classes as "
            "fourth axis, for NIfTI; NAME_probabilities.npz, with the arrays probability (H, W, K) "
            "and classes, for pictures",
            False,
            value="",
        ),
        Flag("nifti", "also write the mask of a DICOM series as NIfTI", False, value=""),
        PLUGIN,
    ),
    operands="RUN",
)


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    return COMMAND.run(argv, _predict)


def _predict(operands: list[str], flags: Flags) -> int:
    options = COMMAND.options(flags)
    run = COMMAND.one(operands, "one run's folder")
    source = Path(options["input"])
    target = Path(options["output"])
    files = images_of(source)
    _check_names(files)
    folder = source if source.is_dir() else source.parent
    if target.resolve() == folder.resolve():
        raise UserError(
            f"{target}: is where the images are; masks have their names: choose another --output"
        )
    from semiseg.runner.predictor import Predictor

    predictor = Predictor.load(run)
    target.mkdir(parents=True, exist_ok=True)
    for message in predictor.check_files(files, "semiseg predict"):
        print(f"note: {message}", file=sys.stderr)
    failed = 0
    for file in files:
        mask = mask_path(target / file.name)
        if is_series(file):
            mask = target / mask_name(file, source)
        try:
            shares = predictor.predict_file(
                file, mask, options["probabilities"], options["nifti"]
            ).shares
        except UserError as error:
            print(f"semiseg: error: {error}", file=sys.stderr)
            failed += 1
            continue
        named = zip(predictor.classes[1:], shares[1:], strict=True)
        words = ", ".join(f"{name} {share:.1%}" for name, share in named)
        print(f"{mask}   {words}")
    return int(failed > 0)


def _check_names(files: Sequence[Path]) -> None:
    """Refuse two images whose masks would be one file."""
    taken: dict[str, Path] = {}
    for file in files:
        name = mask_path(Path(file.name)).name
        other = taken.setdefault(name, file)
        if other != file and not is_series(file):
            raise UserError(
                f"and {other.name} would both have the mask {name}",
                where=file,
                remedy="rename one of them",
            )


def images_of(source: Path) -> list[Path]:
    """The image files of a folder in their order, or the one file that ``source`` is."""
    if not source.exists():
        raise UserError(f"{source}: not found; give a folder of images, or one image, with --input")
    if source.is_file():
        return [source]
    files = sorted(path for path in source.iterdir() if is_image(path))
    if not files:
        files = series_of(source)
    if not files:
        raise UserError(f"{source}: holds no PNG, TIFF or NIfTI file, and no DICOM series")
    return files


def series_of(source: Path) -> list[Path]:
    """The folders of DICOM series below a folder, in their order."""
    if not any(is_dicom(path) for path in files_under(source)):
        return []
    inputs = inputs_of(source)
    for note in inputs.notes:
        print(f"note: {note}", file=sys.stderr)
    return list(inputs.folders)
