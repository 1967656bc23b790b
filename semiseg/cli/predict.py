"""``semiseg predict``: segment a folder of images with a trained (or exported) run, each in its own
file format and geometry.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from semiseg.cli.arguments import nothing_left, parse, take
from semiseg.data.images import is_image
from semiseg.errors import UserError

USAGE = """usage: semiseg predict RUN --input DIR --output DIR [--probabilities]

Segment every PNG, TIFF and NIfTI file of a folder (or one file) with a run, or with what `semiseg
export` made of it. A mask has its image's name, format, size, and affine or resolution; its values
are the classes, 0 for background.

  --input                        a folder of images, or one image (must be given)
  --output                       where the masks go (must be given)
  --probabilities                also write the class probabilities: NAME_probabilities.nii.gz, with
                                 the classes as fourth axis, for NIfTI; NAME_probabilities.npz, with
                                 the arrays probability (H, W, K) and classes, for pictures [False]
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv, switches=("probabilities",))
    if flags.pop("help", False):
        print(USAGE)
        return 0
    options = take(flags, "predict", {"input": ..., "output": ..., "probabilities": False})
    nothing_left(flags, [], "predict", options)
    if len(positional) != 1:
        raise UserError("semiseg predict: name one run's folder")
    source = Path(options["input"])
    target = Path(options["output"])
    files = images_of(source)
    folder = source if source.is_dir() else source.parent
    if target.resolve() == folder.resolve():
        raise UserError(
            f"{target}: is where the images are; masks have their names: choose another --output"
        )
    from semiseg.runner.predictor import Predictor

    predictor = Predictor.load(positional[0])
    target.mkdir(parents=True, exist_ok=True)
    failed = 0
    for file in files:
        try:
            shares = predictor.predict_file(
                file, target / file.name, options["probabilities"]
            ).shares
        except UserError as error:
            print(f"semiseg: error: {error}", file=sys.stderr)
            failed += 1
            continue
        named = zip(predictor.classes[1:], shares[1:], strict=True)
        words = ", ".join(f"{name} {share:.1%}" for name, share in named)
        print(f"{target / file.name}   {words}")
    return 1 if failed else 0


def images_of(source: Path) -> list[Path]:
    """The image files of a folder in their order, or the one file that ``source`` is."""
    if not source.exists():
        raise UserError(f"{source}: not found; give a folder of images, or one image, with --input")
    if source.is_file():
        return [source]
    files = sorted(path for path in source.iterdir() if is_image(path))
    if not files:
        raise UserError(f"{source}: holds no PNG, TIFF or NIfTI file")
    return files
