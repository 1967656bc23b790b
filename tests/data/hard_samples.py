"""Sets of three volumes or four pictures, as the tests of hard inputs change and read them."""

import nibabel
import numpy as np
from data_samples import picture, write_png

from semiseg.data import check, readers

THICK = np.diag([1.0, 1.0, 4.0, 1.0])


def volume(i, shape=(24, 20, 5)):
    rng = np.random.default_rng(i)
    label = np.zeros(shape, np.uint8)
    label[3 + i : 12 + i, 4:11, 1:-1] = 1
    noise = 5 * rng.normal(size=shape)
    image = (noise + 100 * label).astype(np.int16)
    return image, label


def save(path, voxels, affine=THICK, edit=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels, affine)
    if edit is not None:
        edit(image.header)
    nibabel.save(image, path)


def volumes(folder, number=3, affine=THICK, edit=None):
    for i in range(number):
        image, label = volume(i)
        save(
            folder / "images" / f"v{i}.nii.gz",
            image,
            affine,
            edit,
        )
        save(
            folder / "labels" / f"v{i}.nii.gz",
            label,
            affine,
            edit,
        )
    return folder


def pictures(folder, suffix=".png"):
    for i in range(4):
        image, label = picture(i)
        write_png(folder / "images" / f"p{i}{suffix}", image)
        write_png(folder / "labels" / f"p{i}.png", label)
    return folder


def read(folder, **options):
    return readers.read("folder", folder, progress=False, **options)


def cases(folder, **options):
    result = {}
    for refs in read(folder, **options).splits.values():
        result |= {ref.name: ref.load() for ref in refs}
    return result


def problems(folder, **options):
    lines = check.check_source("folder", folder, progress=False, **options)
    assert all("\n" not in line for line in lines)
    return "\n".join(lines)
