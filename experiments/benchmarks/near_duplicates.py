"""How well copies of an image are told from images of other subjects, and how long 20,000 take.

    python experiments/benchmarks/near_duplicates.py --data DATA \
        --out experiments/results/near_duplicates.csv

Five CPU minutes. The last two rows hold CPU seconds, which do not depend on what else runs. The
table has a row for each set and change: correlations of descriptions
(semiseg/data/near_duplicates.py) between an image and its changed copy, at the 1st, 10th and 50th
percentile, and the share at or above the threshold; ``other subjects`` are the highest correlations
of each image with any image of another subject, at the 50th and 99th percentile and at most.
"""

import argparse
import csv
import io
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from semiseg.data import near_duplicates, store
from semiseg.data.fingerprints import Collector
from semiseg.types import Case

COPIES = 300
"""Images of a set that are changed."""
MOST = 1500
"""Images of a set that are compared."""
DESCRIBED = 1000
"""Images of 256² that are described."""
TRAIN = 14000
VAL = 2000
TEST = 4000
"""Images of the search that is timed."""
EVERY = 200
"""One test image of so many is a copy."""
SAME_PERSON = {"patient074", "patient076"}
"""Two ACDC patients of equal images."""
COLUMNS = ("set", "images", "pair", "low", "middle", "high", "found", "seconds")


# ------------------------------------------------------------------ images
def nuclei(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Training and validation images; each is a subject of its own."""
    for split in ("train", "val"):
        for case in store.read_split("nuclei", split):
            yield case.subject, case.image[..., 0]


def acdc(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """All slices of the training patients; two of equal images count as one."""
    import h5py

    for path in sorted((folder / "acdc" / "data" / "slices").glob("*.h5")):
        patient = path.name.partition("_")[0]
        with h5py.File(path) as file:
            yield "twins" if patient in SAME_PERSON else patient, np.asarray(file["image"])


def hippocampus(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every third slice."""
    import nibabel

    for path in sorted((folder / "hippocampus" / "images").glob("*.nii*")):
        volume = np.asarray(nibabel.load(path).dataobj)
        for i in range(0, volume.shape[2], 3):
            yield path.name, volume[:, :, i]


def hc18(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """All pictures; those of one number are of one examination."""
    for path in sorted((folder / "hc18" / "images").iterdir()):
        yield path.name[:3], np.asarray(Image.open(path).convert("L"))


SETS = {"nuclei": nuclei, "acdc": acdc, "hippocampus": hippocampus, "hc18": hc18}


# ------------------------------------------------------------------ changes
def stretched(image: np.ndarray) -> np.ndarray:
    """Grey levels from 0 to 1."""
    low, high = np.percentile(image, (0.5, 99.5))
    return np.clip((image - low) / max(high - low, 1e-6), 0, 1)


def as_bytes(image: np.ndarray) -> np.ndarray:
    return (255 * stretched(image)).astype(np.uint8)


def jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(as_bytes(image)).save(
        buffer,
        "JPEG",
        quality=30,
    )
    return np.asarray(Image.open(buffer))


def noisy(image: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.05, image.shape)
    return stretched(image) + noise


def halved(image: np.ndarray) -> np.ndarray:
    height, width = image.shape
    return np.asarray(Image.fromarray(as_bytes(image)).resize((width // 2, height // 2)))


def cropped(image: np.ndarray) -> np.ndarray:
    margins = [max(1, length // 50) for length in image.shape]
    return image[margins[0] : -margins[0], margins[1] : -margins[1]]


def rotated(image: np.ndarray) -> np.ndarray:
    turned: np.ndarray = ndimage.rotate(stretched(image), 3, reshape=False, order=1, mode="nearest")
    return turned


def transposed(image: np.ndarray) -> np.ndarray:
    return np.rot90(image)[:, ::-1]


def darker(image: np.ndarray) -> np.ndarray:
    return stretched(image) ** 1.6


def brighter(image: np.ndarray) -> np.ndarray:
    return stretched(image) ** 0.6


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "8 bits": as_bytes,
    "JPEG quality 30": jpeg,
    "gamma 1.6": darker,
    "gamma 0.6": brighter,
    "noise 5 %": noisy,
    "half size": halved,
    "mirrored and turned": transposed,
    "2 % cropped at each side": cropped,
    "rotated by 3 degrees": rotated,
}


# ------------------------------------------------------------------ measurements
def described(images: list[np.ndarray]) -> np.ndarray:
    return np.stack([near_duplicates.description(image[..., None]) for image in images])


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two descriptions, in the best of eight ways."""
    pairs = near_duplicates.pairs(
        first[None],
        second[None],
        threshold=-2,
    )
    return pairs[0].correlation


def highest_of_others(descriptions: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """For each image its highest correlation with an image of another subject."""
    highest = np.full(len(subjects), -1.0)
    vectors = near_duplicates.unit_vectors(descriptions)
    of_one_subject = subjects[:, None] == subjects
    for others in near_duplicates.turned(descriptions):
        correlation = vectors @ near_duplicates.unit_vectors(others).T
        correlation[of_one_subject] = -1
        highest = np.maximum(highest, correlation.max(1))
    return highest


def measured(name: str, folder: Path) -> Iterator[dict[str, object]]:
    """The rows of a set."""
    rng = np.random.default_rng(0)
    subjects, images = zip(*SETS[name](folder), strict=True)
    chosen = np.sort(rng.permutation(len(images))[:MOST])
    images = [images[i] for i in chosen]
    subjects = np.array(subjects)[chosen]
    descriptions = described(images)
    others = highest_of_others(descriptions, subjects)
    row = {"set": name, "images": len(images)}
    yield row | {
        "pair": "other subjects",
        "low": np.median(others),
        "middle": np.percentile(others, 99),
        "high": others.max(),
        "found": np.mean(others >= near_duplicates.THRESHOLD),
    }
    copied = rng.permutation(len(images))[:COPIES]
    for change, function in CHANGES.items():
        changed = described([function(images[i]) for i in copied])
        values = [
            similarity(descriptions[i], copy) for i, copy in zip(copied, changed, strict=True)
        ]
        low, middle, high = np.percentile(values, (1, 10, 50))
        found = np.mean(np.array(values) >= near_duplicates.THRESHOLD)
        yield row | {"pair": change, "low": low, "middle": middle, "high": high, "found": found}


def random_descriptions(rng: np.random.Generator, count: int) -> np.ndarray:
    numbers = rng.integers(-127, 127, (count, 16, 16))
    return numbers.astype(np.int8)


def timed() -> Iterator[dict[str, object]]:
    """CPU seconds to describe 1000 images of 256², and to search 20,000 descriptions.

    Every 200th of the test split is a turned copy of one of the training split.
    """
    rng = np.random.default_rng(0)
    image = rng.integers(
        0,
        255,
        (256, 256, 1),
        dtype=np.uint8,
    )
    seen = Collector()
    seen.add("train", Case("", "", image, None, (1.0, 1.0), ""))  # loads what it needs
    began = time.process_time()
    for i in range(DESCRIBED):
        seen.add("train", Case(str(i), str(i), image, None, (1.0, 1.0), str(i)))
    seconds = time.process_time() - began
    yield {"set": "random", "images": DESCRIBED, "pair": "described", "seconds": seconds}
    train = random_descriptions(rng, TRAIN)
    val = random_descriptions(rng, VAL)
    test = random_descriptions(rng, TEST)
    test[::EVERY] = np.rot90(train[: TEST // EVERY], axes=(1, 2))
    began = time.process_time()
    found = near_duplicates.pairs(test, train)
    for first, second in ((val, train), (test, val)):
        near_duplicates.pairs(first, second)
    row = {
        "set": "random",
        "images": TRAIN + VAL + TEST,
        "pair": "searched",
    }
    seconds = time.process_time() - began
    yield row | {"found": len(found) / (TEST // EVERY), "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sets = [measured(name, args.data) for name in SETS]
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in itertools.chain(*sets, timed()):
            for key, value in row.items():
                if isinstance(value, float):
                    row[key] = round(float(value), 3)
            print(row, flush=True)
            writer.writerow(row)


if __name__ == "__main__":
    main()
