"""The pictures and volumes that the pages of the documentation speak of."""

import gzip
import importlib.util
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "data"))  # the tiny sets of the readers' tests


def make_pictures(folder: Path) -> None:
    """Write ``mine/images``, ``mine/labels`` (30 subjects, 24 of them annotated) and ``new/``.

    Args:
      folder: gets the three folders; pictures are 40 × 40 pixels with one bright disc each.
    """
    from skimage import io

    rng = np.random.default_rng(0)
    for name in ("mine/images", "mine/labels", "new"):
        (folder / name).mkdir(parents=True)
    for i in range(30):
        image, label = _disc(rng)
        io.imsave(
            folder / "mine/images" / f"p{i:02}.png",
            image,
            check_contrast=False,
        )
        if i < 24:
            io.imsave(
                folder / "mine/labels" / f"p{i:02}.png",
                label,
                check_contrast=False,
            )
    for i in range(3):
        image, _ = _disc(rng)
        io.imsave(folder / "new" / f"scan{i}.png", image, check_contrast=False)


def _disc(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.mgrid[:40, :40]
    centre = rng.integers(12, 28, 2)
    disc = (rows - centre[0]) ** 2 + (cols - centre[1]) ** 2 < rng.integers(30, 90)
    image = np.clip(
        60 + 110 * disc + rng.normal(0, 12, disc.shape),
        0,
        255,
    )
    return image.astype(np.uint8), disc.astype(np.uint8)


def make_checkpoints(folder: Path) -> None:
    """Write ``checkpoint.pth``, of SSL4MIS's U-Net, and ``unknown.pth``, of another under names that
    nobody knows.
    """
    weights = Path(__file__).parents[1] / "nets" / "torch_weights"
    for source, name in (("ssl4mis_unet", "checkpoint"), ("unknown_names", "unknown")):
        packed = (weights / f"{source}.pth.gz").read_bytes()
        (folder / f"{name}.pth").write_bytes(gzip.decompress(packed))


def make_layouts(folder: Path) -> None:
    """Write a tiny set of each layout: ``Dataset001_Cord``, ``Task04_Hippocampus``, ``cord``,
    ``tumours``, ``atrium``, ``cells`` and ``ultrasound``.

    Args:
      folder: gets these folders.
    """
    from layouts import LAYOUTS, write_ultrasound

    names = {
        "nnunet": "Dataset001_Cord",
        "msd": "Task04_Hippocampus",
        "bids": "cord",
        "patients": "tumours",
        "ssl4mis-la": "atrium",
        "tfds": "cells",
    }
    for layout, name in names.items():
        LAYOUTS[layout].write(folder / name)
    write_ultrasound(folder / "ultrasound")


def make_volumes(folder: Path) -> None:
    """Write ``hearts/images`` and ``hearts/labels``: 8 NIfTI volumes of 24 × 24 × 8 voxels with one
    bright cylinder each.

    Args:
      folder: gets the two folders.
    """
    import nibabel

    rng = np.random.default_rng(1)
    for name in ("images", "labels"):
        (folder / "hearts" / name).mkdir(parents=True)
    for i in range(8):
        image, label = _disc(rng)
        affine = np.diag([1.5, 1.5, 5.0, 1.0])
        for name, plane in (("images", image), ("labels", label)):
            volume = np.repeat(
                plane[8:32, 8:32, None],
                8,
                axis=2,
            )
            file = folder / "hearts" / name / f"h{i:02}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(volume, affine), file)


def make_studies(folder: Path) -> None:
    """Write ``studies``: the CT of 6 patients, 4 slices of 20 × 24 pixels each, with an RTSTRUCT.

    Args:
      folder: gets the folder.
    """
    path = Path(__file__).parents[1] / "data" / "dicom_samples.py"
    spec = importlib.util.spec_from_file_location("dicom_samples", path)
    samples = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(samples)
    for i in range(6):
        patient = folder / "studies" / f"pat_{i + 1}"
        voxels = samples.stored(rows=20, columns=24, seed=i)
        samples.write_images(
            samples.images(voxels, patient=f"ID-{i}"),
            patient / "ct",
        )
        region = {
            "GTV-1": [
                samples.box(4, 5, 14, 12, 1),
                samples.box(5, 5, 12, 12, 2),
            ]
        }
        samples.write(samples.structures(region, f"ID-{i}"), patient / "rs.dcm")
