r"""A copy of ACDC's layout to tune on: ten training patients, whom no reported budget labels, stand
for the validation patients.

Command: python experiments/acdc_tuning_set.py --source ACDC --out ACDC_TUNING
then     semiseg data import --format ssl4mis-acdc --source ACDC_TUNING --name acdc_tuning \
         --follow-links

Slices are linked, not copied; the ten patients' slices become volumes. Learning rates and the like
are chosen there, so that neither the validation patients nor the annotations a reported run is
given have had a say in them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py

from semiseg.data import splits
from semiseg.data.readers.ssl4mis_acdc import read

BUDGET = 7
SUBSETS = (0, 1, 2)
PATIENTS = 10  # the largest budget and the label subsets of sweeps/acdc_methods.yaml


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
    held_out = [s for s in official if s not in labelled][-PATIENTS:]

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
    print(
        f"{len(train)} slices to train on, {len(volumes)} volumes of {', '.join(held_out)} to "
        f"tune on"
    )


def _patient(name: str) -> str:
    """The patient of a slice: ``patient001`` of ``patient001_frame01_slice_1``."""
    return name.split("_")[0]


if __name__ == "__main__":
    main()
