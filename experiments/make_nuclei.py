"""Make the embedded nuclei set out of the Data Science Bowl 2018's stage1_train.zip.

    python experiments/make_nuclei.py --source stage1_train.zip --out semiseg/data/nuclei/nuclei.npz

Deterministic: the same zip gives the same arrays. An image gives its central 192×192 pixels at half
the resolution: grey levels are averaged, a mask pixel is nucleus where at least half of its four
are. An image whose crop then holds no nucleus is left out. Groups come from the reader
(semiseg/data/readers/dsb2018.py); splits are drawn again over the images that are left.
fingerprints.npz, which is written next to it, holds hashes and descriptions of all images.
"""

import argparse
import itertools
from collections import Counter
from pathlib import Path

import numpy as np

from semiseg.data import fingerprints, readers, splits
from semiseg.data.readers.dsb2018 import FRACTIONS
from semiseg.data.source import progress_bar
from semiseg.types import Case

CROP = 192
STEP = 2


def halve(image_HW: np.ndarray) -> np.ndarray:
    """Central crop, averaged over blocks: ``(H, W)`` → ``(96, 96)`` float."""
    top, left = ((n - CROP) // 2 for n in image_HW.shape)
    crop = image_HW[top : top + CROP, left : left + CROP].astype(float)
    return crop.reshape(
        CROP // STEP,
        STEP,
        CROP // STEP,
        STEP,
    ).mean((1, 3))


def write_fingerprints(path: Path, arrays: dict[str, list | np.ndarray]) -> None:
    """Write hashes and descriptions of all images, as an import does."""
    seen = fingerprints.Collector()
    for split in FRACTIONS:
        columns = (arrays[f"{split}_{kind}"] for kind in ("name", "group", "image", "label"))
        for name, group, image, label in zip(*columns, strict=True):
            case = Case(name, name, image[..., None], label, (1.0, 1.0), name, 0, group)
            seen.add(split, case)
    seen.write(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="stage1_train.zip")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    in_splits = readers.read("dsb2018", args.source).splits.values()
    refs = sorted(itertools.chain(*in_splits), key=lambda ref: ref.name)
    kept = {}
    empty = 0
    for ref in progress_bar(refs, "crop"):
        case = ref.load()
        label = (halve(case.label) >= 0.5).astype(np.uint8)
        if label.any():
            kept[case.name[:12]] = (
                case.group,
                np.rint(halve(case.image[..., 0])).astype(np.uint8),
                label,
            )
        else:
            empty += 1
    home = splits.assign(
        {n: k[0] for n, k in kept.items()},
        FRACTIONS,
        strata={n: k[0].split("-")[0] for n, k in kept.items()},
    )
    arrays = {}
    for split in FRACTIONS:
        names = [n for n in kept if home[n] == split]
        groups, images, labels = zip(*(kept[n] for n in names), strict=True)
        arrays |= {
            f"{split}_name": names,
            f"{split}_group": groups,
            f"{split}_image": np.stack(images),
            f"{split}_label": np.stack(labels),
        }
        print(
            split,
            len(names),
            "images,",
            len(set(groups)),
            "groups,",
            dict(sorted(Counter(g.split("-")[0] for g in groups).items())),
        )
    np.savez_compressed(args.out, **arrays)
    write_fingerprints(args.out.with_name(fingerprints.FILE), arrays)
    print(
        f"{empty} left out (no nucleus in the crop); {len({k[0] for k in kept.values()})} "
        f"groups; {args.out.stat().st_size / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
