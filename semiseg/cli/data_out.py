"""``semiseg data remove`` and ``semiseg data export``: data sets that leave the store."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Literal

import tyro

from semiseg.cli.arguments import write_json
from semiseg.escapes import one_line


@dataclasses.dataclass(frozen=True)
class Remove:
    """Delete a data set. The ledgers of its test set stay beside the stores and with the user."""

    name: tyro.conf.Positional[str]
    """An imported data set."""
    yes: bool = False
    """Delete it; without this flag, say what would be lost and delete nothing."""
    root: Path | None = None
    """Where data sets live; default: SEMISEG_DATA, else the user's cache folder."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a data set as files of another program."""

    name: tyro.conf.Positional[str]
    """An imported data set, or nuclei."""
    out: Path
    """Folder to write; it must not exist, or be empty."""
    format: Literal["nnunet"] = "nnunet"
    """nnunet: raw data set of nnU-Net v2, with splits_final.json of train and val."""
    folds: int | None = None
    """Folds in splits_final.json, as `train --folds` deals them; 0: one fold of train and val. By
    default those that came with the files, else train and val, else five.
    """
    without_test: bool = False
    """Leave the test cases out; with them, the export counts as a test evaluation."""
    root: Path | None = None
    """Where data sets live; default: SEMISEG_DATA, else the user's cache folder."""
    json: Path | None = None
    """Also write what was exported to this file."""


def run_remove(args: Remove) -> int:
    """Run the command; UserError is the caller's to print."""
    from semiseg.data.removing import remove

    print(remove(args.name, args.root, args.yes))
    return 0


def run_export(args: Export) -> int:
    """Run the command; UserError is the caller's to print."""
    from semiseg.data import nnunet_files
    from semiseg.data.exporting import export_set

    def record(counts: dict[str, int]) -> None:
        write_json(args.json, {"out": str(args.out), "counts": counts})

    counts = export_set(
        args.name,
        args.out,
        args.root,
        with_test=not args.without_test,
        folds=args.folds,
        say=_note,
        record=record,
    )
    parts = [f"{part} {number}" for part, number in counts.items() if number]
    print(f"{args.name}: {', '.join(parts)}")
    print(f"written to {args.out}")
    if not re.fullmatch(nnunet_files.FOLDER_NAME, args.out.name):
        _note(f"{args.out}: nnU-Net wants a folder called as Dataset001_{args.name}")
    return 0


def _note(line: str) -> None:
    print(f"note: {one_line(line)}", file=sys.stderr)
