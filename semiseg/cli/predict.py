"""``semiseg predict``: segment a folder of images with a trained (or exported) run, each in its own
file format and geometry.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.cli.arguments import nothing_left, parse, take
from semiseg.errors import UserError

USAGE = """usage: semiseg predict RUN --input DIR --output DIR

Segment every PNG, TIFF and NIfTI file of a folder (or one file) with a run, or with what `semiseg export` made of it. A mask has its image's
name, format, size, and affine or resolution; its values are the classes, 0 for background.

  --input                        a folder of images, or one image (must be given)
  --output                       where the masks go (must be given)
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    own = take(flags, "predict", {"input": ..., "output": ...})
    nothing_left(flags, [], "predict")
    if len(positional) != 1:
        raise UserError("semiseg predict: name one run's folder")
    from semiseg.data import images as reader

    source, target = Path(own["input"]), Path(own["output"])
    if not source.exists():
        raise UserError(f"{source}: not found; give a folder of images, or one image, with --input")
    files = (
        [source]
        if source.is_file()
        else sorted(p for p in source.iterdir() if p.name.lower().endswith(reader.SUFFIXES))
    )
    if not files:
        raise UserError(f"{source}: holds no PNG, TIFF or NIfTI file")
    if target.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise UserError(
            f"{target}: is where the images are; masks have their names: choose another --output"
        )
    predictor = Predictor.load(Path(positional[0]))
    target.mkdir(parents=True, exist_ok=True)
    bad = 0
    for file in files:
        try:
            shares = predictor.file(file, target / file.name)
        except UserError as error:
            print(f"semiseg: error: {error}", file=sys.stderr)
            bad += 1
            continue
        print(
            f"{target / file.name}   "
            + ", ".join(
                f"{name} {share:.1%}" for name, share in zip(predictor.classes[1:], shares[1:])
            )
        )
    return 1 if bad else 0


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """A trained network that takes images as they are. Needs the run's config.yaml and
    weights.safetensors, and no data set.
    """

    model: Any
    frame: Any
    params: Any
    classes: tuple[str, ...]
    channels: int

    @classmethod
    def load(cls, run: Path) -> Predictor:
        """From a run's folder or an exported one. Raises UserError where either file is missing or
        damaged.
        """
        import jax

        from semiseg import config
        from semiseg.train.checkpoint import load_weights
        from semiseg.types import Model

        if not (run / "weights.safetensors").exists():
            raise UserError(
                f"{run}: holds no weights.safetensors; name a finished run, or what `semiseg "
                f"export` wrote"
            )
        trial = config.load(run / "config.yaml")
        _, header = load_weights(run / "weights.safetensors")
        sample = jax.ShapeDtypeStruct(
            (1, *trial.frame.window, header["channels"] * trial.slices), np.float32
        )
        model = Model(trial.net, sample, len(header["classes"]))
        params, _ = load_weights(
            run / "weights.safetensors", jax.eval_shape(lambda: model.init(jax.random.key(0)))
        )
        return cls(model, trial.frame, params, tuple(header["classes"]), int(header["channels"]))

    def images(self, images: Sequence[np.ndarray], volume: bool = False) -> list[np.ndarray]:
        """Labels ``(H, W)`` uint8 of images ``(H, W, C)``, each at its own size; those of a
        ``volume`` are its slices, in order.

        Raises UserError where a 3D network is given images that are no slices of a volume.
        """
        from semiseg.evaluate import probabilities as predict
        from semiseg.types import Case

        spacing = (1.0,) * (3 if volume else 2)
        cases = [
            Case("", f"image {i}", image, None, spacing, "volume" if volume else str(i), i)
            for i, image in enumerate(images)
        ]
        scans = self.frame.scans(cases, "prediction")
        found = predict.labels(
            self.model,
            self.frame,
            self.params,
            self.frame.to_pools(scans),
            [scan.image.shape for scan in scans],
        )
        return [plane for mask in found for plane in mask] if self.frame.depth else found

    def file(self, source: Path, target: Path) -> np.ndarray:
        """Segment one file into another of the same format; returns the share of each class. Raises
        UserError naming the file.
        """
        try:
            mask = (
                self._nifti(source, target)
                if source.name.lower().endswith((".nii", ".nii.gz"))
                else self._picture(source, target)
            )
        except UserError:
            raise
        except Exception as error:  # image libraries raise anything on a damaged file
            raise UserError(
                f"{source}: cannot be segmented "
                f"({(str(error).splitlines() or [''])[0][:120] or type(error).__name__})"
            ) from error
        return np.bincount(mask.ravel(), minlength=len(self.classes)) / mask.size

    def _picture(self, source: Path, target: Path) -> np.ndarray:
        from PIL import Image

        from semiseg.data import images as reader

        if self.frame.depth:
            raise UserError(
                f"{source}: is a 2D picture, and the network takes volumes: save it as NIfTI"
            )
        with Image.open(source) as picture:
            pages = getattr(picture, "n_frames", 1)
            if pages > 1:
                raise UserError(
                    f"{source}: has {pages} pages; save one picture a file, or the volume as NIfTI"
                )
            resolution = {
                key: picture.info[key] for key in ("dpi", "resolution") if key in picture.info
            }
        pixels = reader.read_picture(source, "grey" if self.channels == 1 else "rgb")
        (mask,) = self.images([self._fitting(pixels, source)])
        Image.fromarray(mask).save(target, **resolution)
        return mask

    def _nifti(self, source: Path, target: Path) -> np.ndarray:
        import nibabel

        from semiseg.data import images as reader

        image: Any = nibabel.load(source)
        axis = reader.read_header(source).axis
        voxels = np.asarray(image.dataobj)
        volume = voxels.reshape(voxels.shape[:3])
        slices = [
            self._fitting(reader.slice_of(volume, i, axis)[..., None], source)
            for i in range(volume.shape[axis])
        ]
        mask = np.stack(self.images(slices, volume=True), axis).reshape(voxels.shape)
        header = image.header.copy()  # affine, both transforms with their codes, voxel size, units
        header.set_data_dtype(np.uint8)
        header.set_slope_inter(1, 0)
        header["cal_min"], header["cal_max"] = 0, len(self.classes) - 1
        nibabel.save(type(image)(mask, None, header), target)
        return mask

    def _fitting(self, image: np.ndarray, source: Path) -> np.ndarray:
        if image.shape[-1] != self.channels:
            raise UserError(
                f"{source}: has {image.shape[-1]} channels, the network was trained on "
                f"{self.channels}"
            )
        return image
