"""``semiseg data import | list | check | describe | regions | remove | export``: the store.

A thin layer over semiseg.data; errors leave as UserError for semiseg/cli/main.py to print.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from semiseg.cli.arguments import did_you_mean, write_output
from semiseg.cli.data_describe import Describe, run_describe
from semiseg.cli.data_out import Export, Remove, run_export, run_remove
from semiseg.cli.data_regions import Region, Regions, run_regions
from semiseg.cli.import_notes import can_train, next_command, notes_of
from semiseg.cli.typed import typed
from semiseg.data import listing, readers, store
from semiseg.data.info import StoreInfo, numbered
from semiseg.data.recognise import AUTO, recognise
from semiseg.data.source import SPLITS
from semiseg.errors import UserError
from semiseg.escapes import one_line


def reader_options() -> type:
    """A dataclass of every reader's options, which tyro turns into flags."""
    fields = [
        (name, Annotated[option.kind | None, tyro.conf.arg(help=option.help)], None)
        for name, option in readers.all_options().items()
    ]
    options = dataclasses.make_dataclass("ReaderOptions", fields, frozen=True)
    options.__doc__ = "How files are read; None leaves it to the format."
    return options


def _no_options() -> Any:
    return reader_options()()


ReaderOptions = tyro.conf.OmitArgPrefixes[
    Annotated[Any, tyro.conf.arg(constructor_factory=reader_options)]
]
Format = Annotated[str, tyro.conf.arg(help=f"auto: what the files' names say; {readers.formats()}")]


@dataclasses.dataclass(frozen=True)
class Import:
    """Read files and store them as a data set: whole or not at all."""

    source: Path
    """Folder or zip that holds the files."""
    name: str
    """Name of the data set."""
    format: Format = AUTO
    root: Path | None = None
    """Where data sets live; default: SEMISEG_DATA, else the user's cache folder."""
    overwrite: bool = False
    """Replace a data set of this name; its test ledger stays, as do its val and test subjects …"""
    resplit: bool = False
    """… unless the splits are taken anew, which the ledger says: stated as they are, else drawn."""
    allow_near_duplicates: bool = False
    """Accept images that look alike in two splits (the set records it); equal ones are refused."""
    region: Region = ()
    pseudonyms: Path | None = None
    """Store subjects under pseudonyms that are made with the secret key in this file; a key is
    written where there is none. Keep it apart from the data set.
    """
    pseudonym_map: Path | None = None
    """Also write which subject has which pseudonym to this file."""
    reader: ReaderOptions = dataclasses.field(default_factory=_no_options)
    json: Path | None = None
    """Also write what was imported to this file."""


@dataclasses.dataclass(frozen=True)
class List:
    """Which data sets there are. Exit code 1 if one of them is damaged."""

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
    """… of this format; without it, what the files' names say."""
    allow_near_duplicates: bool = False
    """Accept images of these files that look alike in two splits, as the import would."""
    region: Region = ()
    root: Path | None = None
    """Where data sets live; default: SEMISEG_DATA, else the user's cache folder."""
    reader: ReaderOptions = dataclasses.field(default_factory=_no_options)
    json: Path | None = None
    """Also write the list to this file."""


def run_import(args: Import) -> int:
    from semiseg.data.importing import import_set

    try:
        info = import_set(
            _format(args.format, args.source),
            args.source,
            args.name,
            args.root,
            overwrite=args.overwrite,
            say=_note,
            allow_near_duplicates=args.allow_near_duplicates,
            resplit=args.resplit,
            region=args.region,
            pseudonyms=args.pseudonyms,
            pseudonym_map=args.pseudonym_map,
            **dataclasses.asdict(args.reader),
        )
    except UserError:
        _write_late(args)
        raise
    numbers = [
        f"{split} {numbered(count['records'], 'record')} of "
        f"{numbered(count['subjects'], 'subject')}"
        for split, count in info.counts.items()
    ]
    print(f"{info.name}: {', '.join(numbers)}")
    print(f"stored in {info.folder}")
    for note in notes_of(info, args.root):
        _note(note)
    if "generated" not in info.allowed and can_train(info):
        print(f"next: {next_command(info, args.root)}")
    _write_json(args.json, _row(info))
    return 0


def _write_late(args: Import) -> None:
    """The facts of a set that is there, where a kill has come between the set and this file."""
    if args.json is None or args.overwrite or args.json.exists():
        return
    with contextlib.suppress(UserError):
        _write_json(args.json, _row(store.info(args.name, args.root)))


def _format(format: str, source: Path) -> str:
    """The format that is named, or the one that the files are recognised to be of."""
    if format != AUTO:
        return format
    recognised = recognise(source, readers.READERS.values())
    _note(f"{source}: found {recognised.words}; read with --format {recognised.format}")
    return recognised.format


def run_list(args: List) -> int:
    sets, damaged = listing.listed(args.root)
    print(
        f"{'name':<20} {'train':>6} {'val':>6} {'test':>6} {'subjects':>9} {'classes':>8}  licence"
    )
    for info in sets:
        records = " ".join(f"{info.number(split):>6}" for split in SPLITS)
        subjects = sum(count["subjects"] for count in info.counts.values())
        print(f"{info.name:<20} {records} {subjects:>9} {len(info.classes):>8}  {info.license}")
    for name, problem in damaged.items():
        print(f"{name:<20} cannot be used: {problem}")
    broken = [{"name": name, "problem": problem} for name, problem in damaged.items()]
    _write_json(args.json, [*map(_row, sets), *broken])
    return 1 if damaged else 0


def run_check(args: Check) -> int:
    from semiseg.data.check import check_source, check_store
    from semiseg.data.problems import collapsed

    if args.name is not None and args.source is None and args.format is None:
        what = args.name
        problems = check_store(args.name, args.root, say=_note)
    elif args.name is None and args.source is not None:
        what = str(args.source)
        options = dataclasses.asdict(args.reader)
        problems = check_source(
            _format(args.format or AUTO, args.source),
            args.source,
            say=_note,
            allow_near_duplicates=args.allow_near_duplicates,
            region=args.region,
            **options,
        )
    else:
        raise UserError("semiseg data check: give the NAME of a data set, or the --source of files")
    lines = collapsed(problems) or [f"{what}: no problems found"]
    print("\n".join(lines))
    _write_json(args.json, {"checked": what, "problems": problems})
    return 1 if problems else 0


RUN: dict[str, tuple[type, Callable[[Any], int]]] = {
    "import": (Import, run_import),
    "list": (List, run_list),
    "check": (Check, run_check),
    "describe": (Describe, run_describe),
    "regions": (Regions, run_regions),
    "remove": (Remove, run_remove),
    "export": (Export, run_export),
}
"""Subcommand → its arguments, and what it does."""
COMMANDS = (
    Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Describe, tyro.conf.subcommand("describe")]
    | Annotated[Regions, tyro.conf.subcommand("regions")]
    | Annotated[Remove, tyro.conf.subcommand("remove")]
    | Annotated[Export, tyro.conf.subcommand("export")]
)


def main(argv: list[str]) -> int:
    """Run ``semiseg data`` with the words that follow these two; returns the exit code."""
    commands = ", ".join(RUN)
    if not argv:
        raise UserError(f"semiseg data: say which of {commands}; see `semiseg data --help`")
    if argv[0] not in RUN and not argv[0].startswith("-"):
        advice = did_you_mean(argv[0], RUN) or f": choose one of {commands}"
        raise UserError(f"there is no command data {argv[0]!r}{advice}")
    args: Any = typed(
        COMMANDS,
        _with_value(argv),
        "semiseg data",
        description=f"Data sets: {', '.join(RUN)}.",
        config=(tyro.conf.FlagConversionOff, tyro.conf.OmitSubcommandPrefixes),
    )
    run = dict(RUN.values())
    return run[type(args)](args)


def switches() -> list[str]:
    """Flags that may stand alone, those of the readers among them."""
    options = readers.all_options()
    names = [f"--{name.replace('_', '-')}" for name in options if options[name].kind is bool]
    own = ["--overwrite", "--resplit", "--allow-near-duplicates", "--yes", "--without-test"]
    return [*own, *names]


def _with_value(argv: list[str]) -> list[str]:
    """``--overwrite`` alone means True; W&B agents pass ``--overwrite True``.

    >>> _with_value(["import", "--overwrite", "--name", "own"])
    ['import', '--overwrite=True', '--name', 'own']
    """
    may_stand_alone = switches()
    words: list[str] = []
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        name = word.replace("_", "-")
        alone = name in may_stand_alone and following not in ("True", "False")
        words.append(f"{name}=True" if alone else word)
    return words


def _note(line: str) -> None:
    print(f"note: {one_line(line)}", file=sys.stderr)


def _row(info: StoreInfo) -> dict[str, Any]:
    return dataclasses.asdict(info) | {"files": None}


def _write_json(path: Path | None, value: Any) -> None:
    if path is not None:
        _write(path, json.dumps(value, indent=1), "--json")


def _write(path: Path, text: str, flag: str) -> None:
    try:
        write_output(path, text)
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=path, remedy=f"choose another {flag}"
        ) from error
