"""A generator of nuclei from 32 labelled images at 64², its samples and their card: writes results/gan_nuclei_grid.png and gan_nuclei_card.json.

Command: python experiments/synthetic_nuclei.py --out runs/gan_nuclei       (an interrupted fit goes on with the same command)
Time and result: see experiments/README.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from semiseg.generators import fit, sample, settings
from semiseg.generators.card import card

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/gan_nuclei"))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--n", type=int, default=256)
    args = parser.parse_args()
    given = settings.override(settings.Settings(), {"data": "nuclei", "labels": 32, "image_size": 64, "steps": args.steps})
    last = fit.fit(given, args.out / "generator")
    shutil.rmtree(args.out / "set", ignore_errors=True)
    sample.sample_set(sample.load(args.out / "generator"), args.out / "set", args.n)
    found = card(args.out / "set", "nuclei", out=args.out / "card")
    results = HERE / "results"
    shutil.copy(args.out / "generator" / "grid.png", results / "gan_nuclei_grid.png")
    kept = {k: v for k, v in found.items() if k != "samples"} | {"fit": {k: last[k] for k in ("step", "seconds", "diversity")}}
    (results / "gan_nuclei_card.json").write_text(json.dumps(kept, indent=1) + "\n")
    for check in found["checks"]:
        print(f"{check['check']:24} {check['value']:8.4f}  {check['must']:>10}  {'pass' if check['passed'] else 'FAIL'}")
    print(f"{'passed' if found['passed'] else 'REJECTED'} after {last['seconds']:.0f} s of fitting; the filter keeps {found['counts']['kept']} of {args.n}")


if __name__ == "__main__":
    main()
