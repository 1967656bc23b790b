"""A fitted generator, its samples and their card: writes results/gan_NAME_grid.png and
gan_NAME_card.json.

Command: python experiments/synthetic_set.py nuclei --out runs/gan_nuclei
         (32 labelled images, 64²)
         python experiments/synthetic_set.py acdc --out runs/gan_acdc
         (7 patients, 96²; after `semiseg data import … --name acdc`)
An interrupted fit goes on with the same command. Time and result: see experiments/README.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semiseg.generators import fit, sample, settings
from semiseg.generators.paint import grey, picture, write_sheet
from semiseg.generators.quality_report import report_on

HERE = Path(__file__).parent
FITS: dict[str, dict[str, Any]] = {
    "nuclei": {"data": "nuclei", "labels": 32, "image_size": 64, "steps": 2500},
    # the heart lies in the middle; what surrounds it is in no mask, so grey levels of the
    # background are classes of their own
    "acdc": {
        "data": "acdc",
        "labels": 7,
        "image_size": 96,
        "zoom": 1.5,
        "regions": 3,
        "steps": 4000,
        "train.turn": 0.0,
    },
}

JUDGES = {"nuclei": 300, "acdc": 900}
"""Optimiser steps of the card's segmenters."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=FITS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=0, help="instead of the fit's own")
    parser.add_argument("--n", type=int, default=256)
    args = parser.parse_args()
    overrides = dict(FITS[args.name])
    if args.steps:
        overrides["steps"] = args.steps
    given = settings.override(settings.Settings(), overrides)
    last = fit.fit(given, args.out / "generator")
    shutil.rmtree(args.out / "set", ignore_errors=True)
    sample.sample_set(
        sample.load(args.out / "generator"),
        args.out / "set",
        args.n,
    )
    found = report_on(
        args.out / "set",
        given.data,
        steps=JUDGES[args.name],
        out=args.out / "card",
    )
    shutil.rmtree(args.out / "kept", ignore_errors=True)
    sample.sample_set(
        sample.load(args.out / "generator"),
        args.out / "kept",
        args.n,
        keep=args.out / "card" / "keep.txt",
    )
    filtered = report_on(
        args.out / "kept", given.data, steps=JUDGES[args.name], out=args.out / "card_kept"
    )
    results = HERE / "results"
    if given.data == "nuclei":
        shutil.copy(args.out / "generator" / "grid.png", results / "gan_nuclei_grid.png")
    else:  # real images that may not be passed on stay where they are
        samples(args.out / "set", results / f"gan_{args.name}_grid.png")

    def short(card: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in card.items() if k != "samples"}

    record = {
        "fit": {k: last[k] for k in ("step", "seconds", "diversity")},
        "all": short(found),
        "kept": short(filtered),
    }
    (results / f"gan_{args.name}_card.json").write_text(json.dumps(record, indent=1) + "\n")
    verdict = {True: "pass", False: "FAIL"}
    print(f"{'check':24}{'must':>10}{'all':>10}{'':6}{'kept by the filter':>20}")
    for one, two in zip(
        found["checks"],
        filtered["checks"],
        strict=True,
    ):
        print(
            f"{one['check']:24}{one['must']:>10}{one['value']:10.4f} {verdict[one['passed']]} "
            f"{two['value']:20.4f} {verdict[two['passed']]}"
        )
    print(
        f"{last['seconds']:.0f} s of fitting; the filter keeps {found['counts']['kept']} of "
        f"{args.n}"
    )


def samples(folder: Path, out: Path, rows: int = 5, pairs: int = 4) -> None:
    """Masks and images of a set, evenly taken, side by side."""
    files = sorted((folder / "images").iterdir())
    picked = [files[round(i)] for i in np.linspace(0, len(files) - 1, rows * pairs)]
    size = Image.open(picked[0]).size[::-1]

    def read(part: str) -> np.ndarray:
        pictures = [np.asarray(Image.open(folder / part / f.name)) for f in picked]
        return np.stack(pictures).reshape(rows, pairs, *size)

    masks = picture(read("labels"))
    images = grey(read("images")[..., None])
    columns: list[np.ndarray] = []
    for i in range(pairs):
        columns += (masks[:, i], images[:, i])
    write_sheet(out, columns)


if __name__ == "__main__":
    main()
