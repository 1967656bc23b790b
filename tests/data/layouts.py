"""A tiny data set in the layout of every reader, and ways to break it."""

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from data_samples import picture, write_png
from PIL import Image

EXAMINATIONS = ["000_HC", "010_HC", "010_2HC", "049_HC", "093_HC", "178_HC", "178_2HC", "201_HC"]
"""Names of ultrasound images; what stands before the underscore is an examination."""
SUBJECTS = [f"p{i}" for i in range(10)]
AFFINE = np.array(
    [[-1.5, 0, 0, 40.0], [0, 1.25, 0, -20.0], [0, 0, 4.0, 7.0], [0, 0, 0, 1]], np.float64
)
"""LAS, with 4 mm between axial slices."""


class Layout(NamedTuple):
    """How to write a tiny set of a format.

    Attributes:
      write: writes it into a folder, which becomes the source.
      options: of the reader.
      classes: that the reader should find.
      image, label: from the source to the files of one training case, for breaking them.
      table: from the source to the file that lists or describes the set; "" where there is none.
    """

    write: Callable[[Path], None]
    options: dict[str, Any]
    classes: tuple[str, ...]
    image: str
    label: str
    table: str = ""


def volume(seed: int, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Voxels ``(X, Y, Z)`` or ``(X, Y, Z, channels)`` int16, and a label of three classes."""
    rng = np.random.default_rng(seed)
    label = np.zeros((12, 10, 4), np.uint8)
    label[2:7, 3:8, 1:3] = 1
    label[3:5, 4:6, 1] = 2
    voxels = rng.integers(-200, 900, (12, 10, 4, channels)).astype(np.int16)
    voxels += (80 * label[..., None]).astype(np.int16)
    return voxels[..., 0] if channels == 1 else voxels, label


def nifti(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def h5(path: Path, image: np.ndarray, label: np.ndarray | None) -> None:
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"] = image.astype(np.float32)
        if label is not None:
            file["label"] = label


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


# ------------------------------------------------------------------ one function a format
def folder(source: Path) -> None:
    for seed, name in enumerate(SUBJECTS):
        voxels, label = volume(seed)
        nifti(source / "images" / f"{name}.nii.gz", voxels)
        nifti(source / "labels" / f"{name}.nii.gz", label)


def nnunet(source: Path) -> None:
    for seed, name in enumerate(SUBJECTS):
        voxels, label = volume(seed, 2)
        split = "Ts" if seed > 7 else "Tr"
        for channel in range(2):
            path = source / f"images{split}" / f"{name}_{channel:04d}.nii.gz"
            nifti(path, voxels[..., channel])
        nifti(source / f"labels{split}" / f"{name}.nii.gz", label)
    description = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "edema": 1, "ignore": 2},
        "numTraining": 8,
        "file_ending": ".nii.gz",
    }
    write_json(source / "dataset.json", description)
    folds = [
        {"train": SUBJECTS[:6], "val": SUBJECTS[6:8]},
        {"train": SUBJECTS[2:8], "val": SUBJECTS[:2]},
    ]
    write_json(source / "splits_final.json", folds)


def msd(source: Path) -> None:
    training = []
    for seed, name in enumerate(SUBJECTS):
        voxels, label = volume(seed, 2)
        nifti(source / "imagesTr" / f"{name}.nii.gz", voxels)
        nifti(source / "labelsTr" / f"{name}.nii.gz", label)
        training.append(
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        )
    nifti(source / "imagesTs" / "t0.nii.gz", volume(99, 2)[0])
    description = {
        "modality": {"0": "T1", "1": "FLAIR"},
        "labels": {"0": "background", "1": "anterior", "2": "posterior"},
        "numTraining": 10,
        "numTest": 1,
        "training": training,
        "test": ["./imagesTs/t0.nii.gz"],
        "licence": "CC-BY-SA 4.0",
    }
    write_json(source / "dataset.json", description)


def bids(source: Path) -> None:
    """Ten people; two of them have two sessions: p0 by folders, p1 by the name."""
    rows = []
    for seed, name in enumerate(SUBJECTS):
        voxels, label = volume(seed)
        visits = [f"sub-{name}"]
        if name == "p0":
            visits = ["sub-p0/ses-1", "sub-p0/ses-2"]
        if name == "p1":
            visits = ["sub-p1Ses1", "sub-p1Ses2"]
        for number, visit in enumerate(visits):
            stem = visit.replace("/", "_") + "_T2w"
            nifti(source / visit / "anat" / f"{stem}.nii.gz", voxels + np.int16(number))
            masks = source / "derivatives" / "labels" / visit / "anat"
            nifti(masks / f"{stem}_gm-manual.nii.gz", (label == 2).astype(np.float64))
            nifti(masks / f"{stem}_seg-manual.nii.gz", (label > 0).astype(np.float64))
            participant = visit.partition("/")[0]
            rows.append((participant, f"site{seed % 2}", "n/a"))
    path = source / "participants.tsv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerows([("participant_id", "site", "age"), *dict.fromkeys(rows)])
    write_json(source / "dataset_description.json", {"Name": "cord", "BIDSVersion": "1.8.0"})


def patients(source: Path) -> None:
    for seed, name in enumerate(SUBJECTS):
        voxels, label = volume(seed, 2)
        nifti(source / name / f"{name}_flair.nii.gz", voxels[..., 0])
        nifti(source / name / f"{name}_t1ce.nii.gz", voxels[..., 1])
        nifti(source / name / f"{name}_seg.nii.gz", 2 * label)


def synapse(source: Path) -> None:
    (source / "train_npz").mkdir(parents=True)
    names = []
    for seed, name in enumerate(SUBJECTS):
        voxels, label = volume(seed)
        for z in range(4):
            names.append(f"{name}_slice{z:03d}")
            path = source / "train_npz" / f"{names[-1]}.npz"
            np.savez(path, image=voxels[..., z].astype(np.float32), label=label[..., z])
    for seed in (20, 21):
        voxels, label = volume(seed)
        path = source / "test_vol_h5" / f"t{seed}.npy.h5"
        h5(path, voxels.transpose(2, 0, 1), label.transpose(2, 0, 1))
    lists = source / "lists" / "lists_Synapse"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names) + "\n")
    (lists / "test_vol.txt").write_text("t20\nt21\n")


def ssl4mis_la(source: Path) -> None:
    for seed, name in enumerate(SUBJECTS):
        voxels, label = volume(seed)
        path = source / "2018LA_Seg_Training Set" / name / "mri_norm2.h5"
        h5(path, voxels, np.minimum(label, 1))
    (source / "train.list").write_text("\n".join(SUBJECTS[:8]) + "\n")
    (source / "test.list").write_text("\n".join(SUBJECTS[8:]) + "\n")


def ssl4mis_brats(source: Path) -> None:
    for seed, name in enumerate(SUBJECTS):
        voxels, label = volume(seed)
        h5(source / "data" / f"{name}.h5", voxels, np.minimum(label, 1))
    (source / "train.txt").write_text("\n".join(SUBJECTS[:6]) + "\n")
    (source / "val.txt").write_text("\n".join(SUBJECTS[6:8]) + "\n")
    (source / "test.txt").write_text("\n".join(SUBJECTS[8:]) + "\n")


def ssl4mis_acdc(source: Path) -> None:
    names = []
    for seed, name in enumerate(SUBJECTS):
        voxels, label = volume(seed)
        if seed > 7:
            path = source / "data" / f"{name}_frame01.h5"
            h5(path, voxels.transpose(2, 0, 1), label.transpose(2, 0, 1))
            continue
        for z in range(4):
            names.append(f"{name}_frame01_slice_{z + 1}")
            path = source / "data" / "slices" / f"{names[-1]}.h5"
            h5(path, voxels[..., z], label[..., z])
    (source / "train_slices.list").write_text("\n".join(names) + "\n")
    (source / "val.list").write_text("p8_frame01\np9_frame01\n")


def dsb2018(source: Path) -> None:
    for seed, name in enumerate(SUBJECTS):
        image, label = picture(seed)
        write_png(source / name / "images" / f"{name}.png", image + np.uint8(5 * seed))
        for value in (1, 2):
            mask = np.where(label == value, 255, 0).astype(np.uint8)
            write_png(source / name / "masks" / f"{value}.png", mask)


def tfds(source: Path) -> None:
    import tensorflow_datasets
    from tensorflow_datasets.core import registered

    features = tensorflow_datasets.features
    tensorflow_datasets.disable_progress_bar()

    with registered.skip_registration():

        class Cells(tensorflow_datasets.core.GeneratorBasedBuilder):
            VERSION = tensorflow_datasets.core.Version("1.0.0")

            def _info(self):
                parts = {
                    "image": features.Tensor(
                        shape=(None, None, 1), dtype=np.uint8, encoding="zlib"
                    ),
                    "segmentation_mask": features.Image(shape=(None, None, 1)),
                    "who": {"patient": features.Text(), "age": features.Scalar(dtype=np.int64)},
                }
                return tensorflow_datasets.core.DatasetInfo(
                    builder=self, features=features.FeaturesDict(parts)
                )

            def _split_generators(self, dl_manager):
                return {
                    "train": self._generate_examples(range(16)),
                    "test": self._generate_examples(range(16, 20)),
                }

            def _generate_examples(self, numbers):
                for i in numbers:
                    image, label = picture(i)
                    mask = io.BytesIO()
                    Image.fromarray(label).save(mask, "png")
                    yield (
                        i,
                        {
                            "image": image[..., None],
                            "segmentation_mask": mask.getvalue(),
                            "who": {"patient": f"p{i // 2}", "age": 40},
                        },
                    )

    builder = Cells(data_dir=str(source), file_format="array_record")
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
    for path in (source / "cells" / "1.0.0").iterdir():
        path.rename(source / path.name)
    shutil.rmtree(source / "cells")
    shutil.rmtree(source / "downloads")


def write_ultrasound(folder, images="images", masks="masks", ending="_Mask"):
    """Eight pictures of six examinations, with masks of 0 and 255 and a table of pixel sizes."""
    lines = ["filename,pixel size(mm),head circumference (mm)"]
    for seed, name in enumerate(EXAMINATIONS):
        image, label = picture(seed)
        write_png(folder / images / f"{name}.png", image)
        mask = np.where(label > 0, 255, 0).astype(np.uint8)
        write_png(folder / masks / f"{name}{ending}.png", mask)
        lines.append(f"{name}.png,{0.1 + 0.01 * seed},40")
    (folder / "sizes.csv").write_text("\n".join(lines) + "\n")
    return folder


LAYOUTS = {
    "folder": Layout(
        folder,
        {"classes": "background,organ,lesion"},
        ("background", "organ", "lesion"),
        "images/p1.nii.gz",
        "labels/p1.nii.gz",
    ),
    "nnunet": Layout(
        nnunet,
        {},
        ("background", "edema"),
        "imagesTr/p1_0001.nii.gz",
        "labelsTr/p1.nii.gz",
        "dataset.json",
    ),
    "msd": Layout(
        msd,
        {},
        ("background", "anterior", "posterior"),
        "imagesTr/p1.nii.gz",
        "labelsTr/p1.nii.gz",
        "dataset.json",
    ),
    "bids": Layout(
        bids,
        {"label": "seg-manual,gm-manual", "classes": "background,cord,gray matter"},
        ("background", "cord", "gray matter"),
        "sub-p2/anat/sub-p2_T2w.nii.gz",
        "derivatives/labels/sub-p2/anat/sub-p2_T2w_seg-manual.nii.gz",
        "participants.tsv",
    ),
    "patients": Layout(
        patients,
        {"channel_files": "flair,t1ce", "label": "seg", "classes": "background,core,edema"},
        ("background", "core", "edema"),
        "p1/p1_t1ce.nii.gz",
        "p1/p1_seg.nii.gz",
    ),
    "synapse": Layout(
        synapse,
        {},
        (
            "background",
            "aorta",
            "gallbladder",
            "left kidney",
            "right kidney",
            "liver",
            "pancreas",
            "spleen",
            "stomach",
        ),
        "train_npz/p1_slice002.npz",
        "train_npz/p1_slice002.npz",
        "lists/lists_Synapse/train.txt",
    ),
    "ssl4mis-la": Layout(
        ssl4mis_la,
        {},
        ("background", "left atrium"),
        "2018LA_Seg_Training Set/p1/mri_norm2.h5",
        "2018LA_Seg_Training Set/p1/mri_norm2.h5",
        "train.list",
    ),
    "ssl4mis-brats": Layout(
        ssl4mis_brats,
        {},
        ("background", "whole tumour"),
        "data/p1.h5",
        "data/p1.h5",
        "train.txt",
    ),
    "ssl4mis-acdc": Layout(
        ssl4mis_acdc,
        {},
        ("background", "right ventricle", "myocardium", "left ventricle"),
        "data/slices/p1_frame01_slice_2.h5",
        "data/slices/p1_frame01_slice_2.h5",
        "train_slices.list",
    ),
    "dsb2018": Layout(
        dsb2018,
        {},
        ("background", "nucleus"),
        "p1/images/p1.png",
        "p1/masks/1.png",
    ),
    "tfds": Layout(
        tfds,
        {"subject_key": "who.patient", "classes": "background,cell,debris"},
        ("background", "cell", "debris"),
        "cells-train.array_record-00000-of-00001",
        "cells-train.array_record-00000-of-00001",
        "features.json",
    ),
}
"""Format → its tiny set."""
