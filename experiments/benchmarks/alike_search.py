"""What the bound of the search for look-alikes leaves to compute, and how long a search takes.

    python experiments/benchmarks/alike_search.py --sets FINGERPRINTS.npz \
        --out experiments/results/alike_search.csv

A minute of one core. ``noise`` is of independent cells, with turned copies among them; every file
of ``--sets`` is the ``fingerprints.npz`` of an imported set. A fifth of the images is compared with
the others. ``left_80`` … are the shares of pairs that 80, 112 and 192 axes leave; ``seconds`` are
of one core; ``lost`` counts images of the first thousand whose best partner a search of every pair
in each of the eight ways finds, and this one does not.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np

from semiseg.data import alike_search, near_duplicates

SIZES = (10_000, 30_000, 100_000)
AXES = (80, 112, 192)
EVERY = 50
"""One image of the first side of so many is a copy."""
SAMPLE = 1000
COLUMNS = ("set", "images", "left_80", "left_112", "left_192", "found", "lost", "seconds")


def noise(count: int) -> np.ndarray:
    """Descriptions ``(count, 16, 16)`` with copies of a correlation of about 0.9."""
    rng = np.random.default_rng(0)
    cells = rng.normal(0, 40, (count, 16, 16))
    fifth = count // 5
    for i in range(0, fifth, EVERY):
        copy = near_duplicates.turned(cells[[fifth + i]])[i // EVERY % 8][0]
        cells[i] = copy + rng.normal(0, 20, copy.shape)
    return np.clip(np.round(cells), -127, 127).astype(np.int8)


def left(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Share of pairs that cannot be excluded, by the number of axes."""
    axes = alike_search._axes(first, second)
    rows = alike_search._without_turns(alike_search._parts(first[:SAMPLE])) @ axes
    columns = alike_search._without_turns(alike_search._parts(second[: 8 * SAMPLE])) @ axes
    shares = {}
    for number in AXES:
        rest = np.outer(
            np.linalg.norm(rows[:, number:], axis=1),
            np.linalg.norm(columns[:, number:], axis=1),
        )
        bound = rows[:, :number] @ columns[:, :number].T + rest
        shares[f"left_{number}"] = float((bound >= near_duplicates.THRESHOLD).mean())
    return shares


def lost(first: np.ndarray, second: np.ndarray, pairs: list[near_duplicates.Pair]) -> int:
    """Images of the first thousand whose best partner is not found."""
    highest = np.full(min(SAMPLE, len(first)), -1.0)
    vectors = near_duplicates.unit_vectors(first[:SAMPLE])
    for others in near_duplicates.turned(second):
        highest = np.maximum(highest, (vectors @ near_duplicates.unit_vectors(others).T).max(1))
    correlations = {pair.first: pair.correlation for pair in pairs}
    missed = 0
    for i in np.flatnonzero(highest >= near_duplicates.THRESHOLD).tolist():
        missed += abs(correlations.get(i, -1) - highest[i]) > 1e-5
    return missed


def measured(name: str, descriptions: np.ndarray) -> dict[str, object]:
    """The row of a set."""
    fifth = len(descriptions) // 5
    first, second = descriptions[:fifth], descriptions[fifth:]
    began = time.process_time()
    pairs = near_duplicates.pairs(first, second)
    seconds = time.process_time() - began
    vectors = [near_duplicates.unit_vectors(side) for side in (first, second)]
    row = {"set": name, "images": len(descriptions), "found": len(pairs)}
    row |= {name: f"{share:.2g}" for name, share in left(*vectors).items()}
    return row | {"lost": lost(first, second, pairs), "seconds": round(seconds, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for size in SIZES:
            writer.writerow(measured("noise", noise(size)))
            file.flush()
        for path in args.sets:
            with np.load(path) as arrays:
                writer.writerow(measured(path.parent.name, arrays["description"]))
            file.flush()


if __name__ == "__main__":
    main()
