"""``semiseg data import | list | check | describe``: data sets in and out of the store.

A thin layer over semiseg.data.store, check and describe; errors leave as UserError for
semiseg/cli/main.py to print.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from semiseg.cli.arguments import did_you_mean, typed
from semiseg.errors import UserError

FEW_SUBJECTS = 5


@dataclasses.dataclass(frozen=True)
class Reader:
    """How files are read; None leaves it to the format."""

    classes: str | None = None
    """Class names, background first, separated by commas (folder)."""
    channels: str | None = None
    """grey or rgb: convert pictures; auto: keep what the files hold (folder, dsb2018)."""
    seed: int | None = None
    """Of randomly drawn splits (folder, dsb2018)."""
    license: str | None = None
    """Licence of the data, for reports (folder)."""
    citation: str | None = None
    """What to cite, for reports (folder)."""


@dataclasses.dataclass(frozen=True)
class Import:
    """Read files and store them as a data set: whole or not at all."""

    format: str
    """ssl4mis-acdc, dsb2018 or folder."""
    source: Path
    """Folder or zip that holds the files."""
    name: str
    """Name of the data set."""
    root: Path | None = None
    """Where data sets live; default: SEMISEG_DATA, else the user's cache folder."""
    overwrite: bool = False
    """Replace a data set of this name; its test ledger is kept."""
    reader: tyro.conf.OmitArgPrefixes[Reader] = Reader()
    json: Path | None = None
    """Also write what was imported to this file."""


@dataclasses.dataclass(frozen=True)
class List:
    """Which data sets there are."""

    root: Path | None = None
    """Where data sets live; default: SEMISEG_DATA, else the user's cache folder."""
    json: Path | None = None
    """Also write the table to this file."""


@dataclasses.dataclass(frozen=True)
class Check:
    """List every problem of a data set, or of files that are not imported yet. Exit code 1 if there
    is one.
    """

    name: tyro.conf.Positional[str | None] = None
    """An imported data set."""
    source: Path | None = None
    """Or files: a folder or zip …"""
    format: str | None = None
    """… of this format."""
    root: Path | None = None
    """Where data sets live; default: SEMISEG_DATA, else the user's cache folder."""
    reader: tyro.conf.OmitArgPrefixes[Reader] = Reader()
    json: Path | None = None
    """Also write the list to this file."""


@dataclasses.dataclass(frozen=True)
class Describe:
    """Counts, sizes, intensities and class frequencies of a data set, and the network that fits
    them.
    """

    name: tyro.conf.Positional[str]
    """An imported data set."""
    root: Path | None = None
    """Where data sets live; default: SEMISEG_DATA, else the user's cache folder."""
    plan: Path | None = None
    """Also write a network, patch and batch for this set to this YAML file, for `semiseg train
    --config` …
    """
    memory: float = 8.0
    """… whose training step takes at most this much memory, GB …"""
    width: int = 32
    """… with so many channels in its finest stage (nnU-Net: 32; fewer for a CPU) …"""
    encoder: Literal["residual", "plain"] = "residual"
    """… and this encoder …"""
    dims: Literal[2, 3] = 2
    """… for slices, or for the volumes they make."""
    json: Path | None = None
    """Also write it to this file."""


def run_import(args: Import) -> int:
    from semiseg.data import store

    reader = dataclasses.asdict(args.reader)
    info = store.import_set(
        args.format,
        args.source,
        args.name,
        args.root,
        overwrite=args.overwrite,
        say=_note,
        **reader,
    )
    print(
        f"{info.name}: "
        + ", ".join(
            f"{split} {c['records']} records of {c['subjects']} subjects"
            for split, c in info.counts.items()
        )
    )
    print(f"stored in {info.folder}")
    annotated = {split: c["annotated"] for split, c in info.counts.items()}
    bare = info.counts.get("train", {}).get("subjects", 0) - annotated.get("train", 0)
    if bare:
        places = ", ".join(f"{split} {n}" for split, n in annotated.items())
        _note(
            f"{sum(annotated.values())} annotated subjects: {places}; without annotation, all in "
            f"train: {bare}"
        )
    few = [
        f"{split} {info.counts[split]['subjects']}"
        for split in ("val", "test")
        if 0 < info.counts.get(split, {}).get("subjects", 0) < FEW_SUBJECTS
    ]
    if few:
        _note(
            f"few subjects to score on ({', '.join(few)}): intervals will be wide, and with "
            f"fewer than 6 no paired test can reach p < .05"
        )
    _write_json(args.json, _row(info))
    return 0


def run_list(args: List) -> int:
    from semiseg.data import store

    sets = store.list_sets(args.root)
    print(
        f"{'name':<20} {'train':>6} {'val':>6} {'test':>6} {'subjects':>9} {'classes':>8}  licence"
    )
    for info in sets:
        records = [
            info.counts.get(split, {}).get("records", 0) for split in ("train", "val", "test")
        ]
        subjects = sum(c["subjects"] for c in info.counts.values())
        print(
            f"{info.name:<20} {records[0]:>6} {records[1]:>6} {records[2]:>6} {subjects:>9} "
            f"{len(info.classes):>8}  {info.license}"
        )
    _write_json(args.json, [_row(info) for info in sets])
    return 0


def run_check(args: Check) -> int:
    from semiseg.data import check

    if (args.name is None) == (args.source is None) or (args.source is None) != (
        args.format is None
    ):
        raise UserError(
            "semiseg data check: give the NAME of a data set, or --source and --format of files"
        )
    if args.name is not None:
        what, problems = args.name, check.check_store(args.name, args.root)
    else:
        what, problems = (
            str(args.source),
            check.check_source(
                args.format or "", args.source or "", say=_note, **dataclasses.asdict(args.reader)
            ),
        )
    print("\n".join(check.collapsed(problems)) if problems else f"{what}: no problems found")
    _write_json(args.json, {"checked": what, "problems": problems})
    return 1 if problems else 0


def run_describe(args: Describe) -> int:
    from semiseg.data import describe

    facts = describe.describe(args.name, args.root)
    print(describe.table(facts))
    _write_json(args.json, facts)
    if args.plan:
        from semiseg import plan

        try:
            text = plan.to_yaml(
                plan.plan(
                    facts, args.memory, width=args.width, encoder=args.encoder, dims=args.dims
                ),
                args.name,
            )
        except ValueError as error:
            raise UserError(str(error)) from None
        _write(args.plan, text, "--plan")
        print("\n" + "\n".join(line[2:] for line in text.splitlines() if line.startswith("# ")))
    return 0


COMMANDS = (
    Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Describe, tyro.conf.subcommand("describe")]
)


def main(argv: list[str]) -> int:
    """Run ``semiseg data`` with the arguments that follow those two words; returns the exit code."""
    known = ("import", "list", "check", "describe")
    if not argv:
        raise UserError(f"semiseg data: say which of {', '.join(known)}; see `semiseg data --help`")
    if argv[0] not in known and not argv[0].startswith("-"):
        raise UserError(
            f"there is no command data "
            f"{argv[0]!r}{did_you_mean(argv[0], known) or ': choose one of ' + ', '.join(known)}"
        )
    args: Any = typed(
        COMMANDS,
        [
            "--overwrite=True" if a == "--overwrite" and b not in ("True", "False") else a
            for a, b in zip(argv, [*argv[1:], ""])
        ],
        "semiseg data",
        description="Data sets: import, list, check, describe.",
        config=(tyro.conf.FlagConversionOff, tyro.conf.OmitSubcommandPrefixes),
    )
    run: dict[type, Callable[[Any], int]] = {
        Import: run_import,
        List: run_list,
        Check: run_check,
        Describe: run_describe,
    }
    return run[type(args)](args)


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)


def _row(info: Any) -> dict[str, Any]:
    return dataclasses.asdict(info) | {"files": None}


def _write_json(path: Path | None, value: Any) -> None:
    if path is not None:
        _write(path, json.dumps(value, indent=1), "--json")


def _write(path: Path, text: str, flag: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); choose another {flag}"
        ) from error
