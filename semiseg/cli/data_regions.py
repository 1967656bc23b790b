"""``semiseg data regions``: unions of classes that are scored like classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from semiseg.cli.arguments import write_json

Region = Annotated[
    tuple[str, ...],
    tyro.conf.UseAppendAction,
    tyro.conf.arg(
        metavar="NAME=CLASS,CLASS",
        help="a union of classes that is scored like a class, such as whole=edema,core; may be "
        "given several times",
    ),
]


@dataclasses.dataclass(frozen=True)
class Regions:
    """List, add or remove the regions of an imported data set; no record is written again."""

    name: tyro.conf.Positional[str]
    """An imported data set."""
    region: Region = ()
    remove: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME", help="a region that goes; may be given several times"),
    ] = ()
    root: Path | None = None
    """Where data sets live; default: SEMISEG_DATA, else the user's cache folder."""
    json: Path | None = None
    """Also write the regions to this file."""


def run_regions(args: Regions) -> int:
    """Run the command; UserError is the caller's to print."""
    from semiseg.data import regions, store
    from semiseg.data.regions_later import change

    if args.region or args.remove:
        named = change(args.name, args.root, add=args.region, remove=args.remove)
    else:
        named = store.info(args.name, args.root).regions
    print("\n".join(regions.words(named)) or f"{args.name}: no regions")
    write_json(args.json, {"name": args.name, "regions": named})
    return 0
