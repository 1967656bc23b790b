"""``semiseg predict``: segment a folder of images with a trained (or exported) run or several, each
in its own file format and geometry.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from semiseg.cli.arguments import (
    PLUGIN,
    Command,
    Flag,
    Flags,
)
from semiseg.cli.run_operands import (
    LARGEST_COMPONENT,
    MISSING_FOLDS,
    TTA,
    WHERE,
    run_paths,
)
from semiseg.data import channel_files, mask_statistics, pixel_sizes
from semiseg.data.dicom_input import is_series
from semiseg.data.images import is_volume, stem_of
from semiseg.data.input_scan import beside
from semiseg.data.prediction_inputs import Input, find_inputs
from semiseg.data.source import progress_bar
from semiseg.errors import UserError, disk_problem
from semiseg.files import replacing, write_text
from semiseg.holding import holding

if TYPE_CHECKING:
    from semiseg.runner.ensemble import Ensemble, Prediction

STATISTICS = "statistics.csv"
UNFINISHED = ".unfinished.json"
COMMAND = Command(
    "predict",
    """Segment every image of a folder and the folders below it (or one file) with a run, or with
    what `semiseg export` made of it. The probabilities of several runs are averaged; a folder that
    holds the folds of one setting is all its runs. A mask has its
    image's name, format (PNG for JPEG, BMP and WebP), size, and affine or resolution; its values
    are the classes, 0 for background. The mask of a DICOM series is a DICOM SEG. Images of a test
    set that is known here are predicted, and its ledger gets a line.""",
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
        Flag(
            "resample",
            "take DICOM series of a tilted gantry or uneven gaps, resampled to an even grid, on "
            "which their NIfTI lies; a DICOM SEG has the series' own slices",
            False,
            value="",
        ),
        TTA,
        LARGEST_COMPONENT,
        Flag(
            "statistics",
            "also write statistics.csv: voxels of each class and region in each file, and ml of "
            "volumes or mm2 of pictures",
            False,
            value="",
        ),
        Flag(
            "overlays",
            "also write NAME_overlay.png: the fullest slices with the classes outlined, their "
            "names and the numbers of the slices",
            False,
            value="",
        ),
        Flag(
            "spacing",
            "millimetres of a pixel of pictures: one number, or rows,columns",
            value="MM",
        ),
        Flag(
            "pixel_sizes",
            "a CSV with the columns filename and pixel size(mm) of pictures, as for an import",
            value="FILE",
        ),
        Flag(
            "channel_files",
            "a word in the file name of each channel, separated by commas, as for the import: "
            "every folder is a scan; where the import named its channels, folders with a file for "
            "each are found without it",
            value="WORDS",
        ),
        WHERE,
        MISSING_FOLDS,
        Flag("overwrite", "replace what is in the output folder", False, value=""),
        Flag("quiet", "no progress: neither a bar nor a line a minute", False, value=""),
        PLUGIN,
    ),
    operands="RUN [RUN …]",
)


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    return COMMAND.run(argv, _predict)


def _predict(operands: list[str], flags: Flags) -> int:
    options = COMMAND.options(flags)
    if not operands:
        raise UserError("semiseg predict: name one run's folder, or several")
    source = Path(options["input"])
    target = Path(options["output"])
    options["spacing"] = _spacing(options["spacing"])
    folder = source if source.is_dir() else source.parent
    if target.resolve() == folder.resolve():
        raise UserError(
            f"{target}: is where the images are; masks have their names: choose another --output"
        )
    if not source.exists():
        raise UserError(f"{source}: not found; give a folder of images, or one image, with --input")
    with holding(target, "semiseg predict"):
        return _segment(operands, source, target, options)


def _segment(operands: list[str], source: Path, target: Path, options: dict[str, Any]) -> int:
    """Write the masks; returns the exit code."""
    from semiseg.cli.predict_progress import progress_of
    from semiseg.data import provenance
    from semiseg.runner.ensemble import Ensemble, Options

    show = not options["quiet"]
    spacing = options["spacing"]
    runs = run_paths(operands, options["where"], options["missing_folds"])
    ensemble = Ensemble.load(runs, options["tta"])
    words = channel_files.listed(options["channel_files"] or "")
    if options["channel_files"] is not None:
        channel_files.checked(words, ensemble.channels, ensemble.channel_names)
    inputs = find_inputs(source, target, ensemble.channels, words, ensemble.channel_names)
    for note in (*inputs.notes, *_mirror_notes(ensemble, options["tta"])):
        print(f"note: {note}", file=sys.stderr)
    sizes = _sizes(options["pixel_sizes"], inputs.scans)
    _check_spacing(inputs.scans, ensemble, spacing, sizes)
    _check_apart(inputs.scans, target, options)
    begun = _Begun(target, operands, options)
    if not (options["overwrite"] or begun.is_ours()):
        _check_new(inputs.scans, target, options)
    target.mkdir(parents=True, exist_ok=True)
    begun.announce()
    provenance.add_to(target, ensemble.origin)
    files = progress_bar([scan.files for scan in inputs.scans], "read", show=show)
    for message in ensemble.check_files(files, "semiseg predict"):
        print(f"note: {message}", file=sys.stderr)
    written = Options(
        options["probabilities"],
        options["nifti"],
        options["largest_component"],
        spacing,
        options["resample"],
    )
    failed = 0
    progress = progress_of(len(inputs.scans), show)
    with _statistics(target, options["statistics"]) as table, contextlib.closing(progress):
        for number, scan in enumerate(inputs.scans):
            mask = target / scan.mask
            progress.scan(number, scan.name)
            try:
                stated = sizes.get(stem_of(scan.path), spacing)
                prediction = ensemble.predict_files(
                    scan.files, mask, written._replace(spacing=stated), progress.windows
                )
            except UserError as error:
                _check_writable(target, error)
                with progress.apart():
                    print(f"semiseg: error: {error}", file=sys.stderr)
                failed += 1
                continue
            with progress.apart():
                _say(scan, mask, prediction, ensemble.classes)
            if table is not None:
                _write_sizes(table, scan, prediction, ensemble)
            if options["overlays"]:
                _write_overlay(beside(mask, "overlay", ".png"), scan, prediction, ensemble)
    begun.end()
    return int(failed > 0)


def _check_writable(target: Path, error: UserError) -> None:
    """Whether trouble with a scan is the scan's alone.

    Raises:
      UserError: no other scan's mask can be written either.
    """
    remedy = "run the same command again"
    problem = disk_problem(error)
    if problem is not None:
        remedy = f"free space, then {remedy}"
        raise UserError(f"cannot be written ({problem})", where=target, remedy=remedy) from error
    if not target.is_dir():
        raise UserError("was deleted meanwhile", where=target, remedy=remedy) from error


class _Begun:
    """A file among the masks while a command writes them: one that is killed leaves it, and may
    replace what it has written when it is given once more.
    """

    def __init__(self, target: Path, operands: list[str], options: Mapping[str, Any]):
        self.path = target / UNFINISHED
        words = {**options, "overwrite": False, "quiet": False}
        self.content = json.dumps([operands, words], sort_keys=True, default=str)

    def is_ours(self) -> bool:
        """Whether this very command has been killed here."""
        return self.path.is_file() and self.path.read_bytes() == self.content.encode()

    def announce(self) -> None:
        """Write the file."""
        write_text(self.path, self.content)

    def end(self) -> None:
        """All masks are there."""
        self.path.unlink(missing_ok=True)


def _say(scan: Input, mask: Path, prediction: Prediction, classes: Sequence[str]) -> None:
    """Print how large the classes are, and how the scan is unlike those of training."""
    if prediction.differences:
        phrases = "; ".join(prediction.differences)
        print(f"warning: {scan.path} is unlike the training images: {phrases}", file=sys.stderr)
    named = zip(classes[1:], prediction.shares[1:], strict=True)
    words = ", ".join(f"{name} {share:.1%}" for name, share in named)
    print(f"{mask}   {words}")


def _spacing(typed: str | None) -> tuple[float, ...]:
    """Millimetres of the rows and columns of pictures; empty where nobody states them.

    >>> _spacing("0.5"), _spacing("0.5,0.4")
    ((0.5, 0.5), (0.5, 0.4))
    """
    if typed is None:
        return ()
    try:
        sides = tuple(float(word) for word in typed.replace(",", " ").split())
    except ValueError:
        sides = ()
    if len(sides) == 1:
        sides = sides * 2
    if len(sides) != 2 or not all(0 < side < math.inf for side in sides):
        raise UserError(
            f"semiseg predict: --spacing is {typed!r}: give millimetres, one number or rows,columns"
        )
    return sides


def _sizes(table: str | None, scans: Sequence[Input]) -> dict[str, tuple[float, float]]:
    """Name of a picture → millimetres of its rows and columns, where a table has them."""
    if table is None:
        return {}
    return pixel_sizes.read(Path(table), {stem_of(scan.path) for scan in scans})


def _mirror_notes(ensemble: Ensemble, tta: bool) -> Iterator[str]:
    """What --tta does not do."""
    for predictor in ensemble.predictors:
        if tta and not predictor.mirrors:
            yield f"{predictor.guard.run} was trained without mirrors: --tta changes nothing in it"


def _check_spacing(
    scans: Sequence[Input],
    ensemble: Ensemble,
    spacing: tuple[float, ...],
    sizes: Container[str],
) -> None:
    """Refuse pictures without millimetres for a network that was trained on millimetres."""
    if spacing or not ensemble.in_millimetres:
        return
    flat = [scan.path for scan in scans if not is_volume(scan.path) and not is_series(scan.path)]
    flat = [path for path in flat if stem_of(path) not in sizes]
    if flat:
        pixel = ensemble.in_millimetres[0].frame.spacing
        raise UserError(
            f"is a picture, and the network was trained on pixels of {pixel} mm",
            where=flat[0],
            remedy="say with --spacing how many millimetres a pixel of the pictures is, or with "
            "--pixel-sizes in which table it stands",
        )


def _check_apart(scans: Sequence[Input], target: Path, options: dict[str, Any]) -> None:
    """Refuse to replace an image: a folder of the output may be a link into the input."""
    files: set[Path] = set()
    for scan in scans:
        files |= {file.resolve() for file in scan.files}
    for path in _outputs(scans, target, options):
        if path.parent.resolve() / path.name in files:
            raise UserError(
                "is an image of --input, by a link", where=path, remedy="choose another --output"
            )


def _check_new(scans: Sequence[Input], target: Path, options: dict[str, Any]) -> None:
    """Refuse to replace a file."""
    for path in _outputs(scans, target, options):
        if path.exists():
            raise UserError(
                "is there already",
                where=path,
                remedy="choose another --output, or pass --overwrite",
            )


def _outputs(scans: Sequence[Input], target: Path, options: dict[str, Any]) -> Iterator[Path]:
    """What the command is about to write."""
    if options["statistics"]:
        yield target / STATISTICS
    for scan in scans:
        mask = target / scan.mask
        yield mask
        is_flat = not is_volume(scan.path) and not is_series(scan.path)
        if options["probabilities"]:
            suffix = ".npz" if is_flat else ".nii.gz"
            yield beside(mask, "probabilities", suffix)
        if options["overlays"]:
            yield beside(mask, "overlay", ".png")
        if options["nifti"] and is_series(scan.path):
            yield mask.with_suffix(".nii.gz")


@contextlib.contextmanager
def _statistics(target: Path, wanted: bool) -> Iterator[TextIO | None]:
    """The table of sizes, open, where it is wanted."""
    if not wanted:
        yield None
        return
    with replacing(target / STATISTICS) as partial, partial.open("w", newline="") as file:
        mask_statistics.write_header(file)
        yield file


def _write_sizes(table: TextIO, scan: Input, prediction: Prediction, ensemble: Ensemble) -> None:
    mask_statistics.write_rows(
        table,
        scan.mask.as_posix(),
        ensemble.classes,
        prediction.counts.tolist(),
        prediction.millimetres,
        ensemble.regions,
    )


def _write_overlay(path: Path, scan: Input, prediction: Prediction, ensemble: Ensemble) -> None:
    from PIL import Image

    from semiseg.report.predicted import predicted_picture

    image = prediction.image
    limits = ensemble.predictors[0].frame.limits(image)
    title = scan.name
    if image.shape[-1] not in (1, 3):
        title = f"{title}, channel 1 of {image.shape[-1]}"
        if ensemble.channel_names:
            title = f"{title}, {ensemble.channel_names[0]}"
    picture = predicted_picture(title, image, prediction.mask, limits, ensemble.classes)
    with replacing(path, keep_suffix=True) as partial:
        Image.fromarray(picture).save(partial)
