r"""A copy of ACDC's layout to tune on: ten training patients, whom no reported budget labels, stand
for the validation patients. Their hearts lie every way that hearts of the training patients do.

Command: python experiments/acdc_tuning_set.py --source ACDC --out ACDC_TUNING
then     semiseg data import --format ssl4mis-acdc --source ACDC_TUNING --name acdc_tuning \
         --follow-links

Slices are linked, not copied; the ten patients' slices become volumes. Learning rates and the like
are chosen there, so that neither the validation patients nor the annotations a reported run is
given have had a say in them. The ten are spread evenly over the directions from the right to the
left ventricle: among the last ten of the list one heart is turned, so that what a turned heart
needs could not be seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from semiseg.data import splits
from semiseg.data.readers.ssl4mis_acdc import read
from semiseg.types import Case

BUDGET = 7
SUBSETS = (0, 1, 2)  # the largest budget and the label subsets of sweeps/acdc_methods.yaml
PATIENTS = 10
RIGHT = 1
LEFT = 3  # ventricles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="ACDC in the SSL4MIS layout")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    found = read(args.source, progress=False)
    official = found.official_order
    labelled: set[str] = set()
    for subset in SUBSETS:
        order = splits.order(official, name="acdc", subset=subset, official=official)
        labelled.update(order[:BUDGET])
    candidates = [subject for subject in official if subject not in labelled]
    scans = {subject: [] for subject in candidates}
    for ref in found.splits["train"]:
        if ref.subject in scans:
            scans[ref.subject].append(ref.load())
    turns = {subject: direction(cases) for subject, cases in scans.items()}
    held_out = spread(turns)

    (args.out / "data" / "slices").mkdir(parents=True, exist_ok=True)
    listed = (args.source / "train_slices.list").read_text().split()
    train = [name for name in listed if _patient(name) not in held_out]
    for name in train:
        link = args.out / "data" / "slices" / f"{name}.h5"
        link.unlink(missing_ok=True)
        link.symlink_to((args.source / "data" / "slices" / f"{name}.h5").resolve())
    volumes = [ref for ref in found.splits["train"] if ref.subject in held_out]
    for ref in volumes:
        case = ref.load()
        with h5py.File(args.out / "data" / f"{ref.name}.h5", "w") as file:
            file["image"] = case.image[..., 0]
            file["label"] = case.label
    (args.out / "train_slices.list").write_text("\n".join(train) + "\n")
    (args.out / "val.list").write_text("\n".join(ref.name for ref in volumes) + "\n")
    names = ", ".join(f"{subject} ({turns[subject]:.0f}°)" for subject in held_out)
    print(f"{len(train)} slices to train on, {len(volumes)} volumes of {names} to tune on")


def direction(cases: Sequence[Case]) -> float:
    """From the right to the left ventricle, degrees from 0 to 360 from the rows' axis, by the sum
    over slices of the way between their centroids.
    """
    way = np.zeros(2)
    for case in cases:
        for plane in case.label.reshape(-1, *case.label.shape[-2:]):
            if (plane == RIGHT).any() and (plane == LEFT).any():
                way += np.mean(np.nonzero(plane == LEFT), 1) - np.mean(
                    np.nonzero(plane == RIGHT), 1
                )
    return float(np.degrees(np.arctan2(way[1], way[0])) % 360)


def spread(turns: dict[str, float]) -> list[str]:
    """:data:`PATIENTS` patients, evenly spread over the order of their directions.

    The order begins behind the widest gap between two directions.
    """
    ordered = sorted(turns, key=lambda subject: turns[subject])
    angles = np.array([turns[subject] for subject in ordered])
    gaps = np.diff(angles, append=angles[0] + 360)
    first = int(gaps.argmax()) + 1
    ordered = ordered[first:] + ordered[:first]
    places = (np.arange(PATIENTS) + 0.5) * len(ordered) / PATIENTS
    return [ordered[place] for place in places.astype(int)]


def _patient(name: str) -> str:
    """The patient of a slice: ``patient001`` of ``patient001_frame01_slice_1``."""
    return name.split("_")[0]


if __name__ == "__main__":
    main()
