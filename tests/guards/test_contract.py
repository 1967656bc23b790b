"""What other people's scripts depend on, listed from the product and compared with contract.json.

Commands, flags, defaults and choices come from the help; file names, columns and keys come from
folders that commands write; exit codes come from commands. After a wanted change,
``SEMISEG_UPDATE_CONTRACT=1 pytest tests/guards/test_contract.py`` writes the list anew: its diff in
the commit says what changed for users.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import guard_tools as tools
import pytest
import yaml

pytestmark = pytest.mark.slow

GOLDEN = tools.HERE / "contract.json"
COMMANDS = {
    "data": ["import", "list", "check", "describe", "regions", "remove", "export"],
    "sweep": ["", "status"],
    "track": ["upload"],
    "gan": ["fit", "sample", "card"],
    "bench": ["step", "methods", "nets"],
}
"""Subcommands of the commands that have some; "" is the command without one."""
FLAG = r"--[a-zA-Z][\w.-]*"
SECTION = {"step": ""}
"""How a help text's section of a subcommand is headed, where its name does not head it."""


def help_of(*argv: str) -> str:
    """What a command prints for --help, on a wide terminal."""
    from semiseg.cli.main import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([*argv])
    return out.getvalue()


def definitions(text: str) -> list[tuple[str, str]]:
    """Each flag that a help text explains, and its explanation, joined from indented lines.

    A definition is a line that begins with a flag, in a box of tyro or not, or with a
    subcommand and a flag. It ends at the next definition or at an empty line.
    """
    found: list[tuple[str, list[str]]] = []
    inside = False
    for line in text.splitlines():
        bare = line.strip(" │")
        head = re.match(
            rf"((?:\w+ )?(?:-h, )?{FLAG}(?:, {FLAG})*)(?:\s|=|$)",
            bare,
        )
        if head and line[:1] in " │":
            found.append((head[1], [bare[head.end(1) :].strip()]))
            inside = True
        elif not bare or set(bare) <= set("─╭╮╰╯┄"):
            inside = False
        elif inside and line[:1] in " │":
            found[-1][1].append(bare)
        else:
            inside = False
    return [(flags, " ".join(words)) for flags, words in found]


def default_and_choices(words: str) -> tuple[str | None, str | None]:
    """``[4]`` or ``(default: 4)`` at the end of an explanation; ``one of a, b`` or ``{a,b}``."""
    default = re.search(r"\(default: ?([^()]*)\)$|\((required)\)$|\[([^\[\]]*)\]$", words)
    braces = re.match(r"(?:=\S+ )?\{([\w,]+)\}(?![\w|])", words)
    listed = re.search(r"(?:: one of|^one of) ([\w, -]+)", words)
    value = None
    if default:
        value = next(group for group in default.groups() if group is not None)
    if value is not None:
        value = value.split("; compiles anew")[0]
    choices = braces or listed
    return value, choices and choices[1]


def table(found: list[tuple[str, str]], command: str = "") -> dict[str, str]:
    """``{"--flag": "default; choices"}`` of the definitions of one command."""
    flags: dict[str, str] = {}
    for names, words in found:
        owner, _, rest = names.rpartition(" ") if re.match(r"\w", names) else ("", "", names)
        if owner and owner != command:
            continue
        default, choices = default_and_choices(words)
        keys = re.findall(FLAG, names if not owner else rest)
        each = (default or "").split(", ") if len(keys) > 1 else [default]
        each = each if len(each) == len(keys) else [default] * len(keys)
        for key, value in zip(keys, each, strict=True):
            parts = [] if value is None else [f"default {value}"]
            parts += [f"choices {choices}"] if choices else []
            flags[key] = "; ".join(parts)
    return flags


def sections(text: str) -> dict[str, str]:
    """The parts of a help text of several subcommands; a part begins with ``name: words``."""
    parts = re.split(r"^(\w+): (?=a |the |every |each )", text, flags=re.M)
    return {
        "": parts[0],
        **dict(zip(parts[1::2], parts[2::2], strict=True)),
    }


def usage_flags(text: str, command: str) -> list[str]:
    """Flags in the usage line of a command, with the values it shows in lower case."""
    lines = [line for line in text.splitlines() if re.match(rf"(usage:|      ) {command}\b", line)]
    found = re.findall(rf"({FLAG})(?: ([a-z0-9|.]+))?", " ".join(lines))
    return sorted({f"{flag} {value}".strip() for flag, value in found})


def command_line() -> dict[str, Any]:
    """Flags of every command and subcommand, by the command's name."""
    top = help_of("--help")
    names = re.findall(r"^  ([a-z][a-z-]+) +\S", top, re.M)
    listing: dict[str, Any] = {"--help": sorted(set(re.findall(r"--[a-z]+", top)))}
    for name in names:
        for sub in COMMANDS.get(name, [""]):
            command = " ".join(part for part in (name, sub) if part)
            text = help_of(*command.split(), "--help")
            if name == "bench":
                found = definitions(sections(text)[SECTION.get(sub, sub)])
            else:
                found = definitions(text)
            usage = usage_flags(text, f"semiseg {command}")
            listing[command] = {
                "flags": table(found, sub),
                "in usage": usage,
            }
    return listing


def options() -> dict[str, Any]:
    """Every field that is a flag of train and gan fit, for each choice of a class."""
    everything = table(definitions(help_of("train", "--help=all")))
    listing: dict[str, Any] = {"train": everything}
    for part in ("method", "net", "init"):
        listed = help_of("train", f"--{part}.help") + help_of("train", "--help=all")
        names = re.search(rf"--{part} [^\[]*?one of ([\w,\s]+?)\.?\s*\[", listed)
        assert names, part
        for choice in re.findall(r"\w+", names[1]):
            if choice == "weights":
                continue  # has no default path
            text = help_of("train", f"--{part}.help", choice)
            if part == "net" and not text:  # its blocks do not fit the default depth
                text = help_of("nets", choice)
            listing[f"train --{part} {choice}"] = table(definitions(text))
    for choice in re.findall(
        r"\w+",
        everything["--method.criterion"].split("choices ")[1],
    ):
        text = help_of("train", "--help=all", f"--method.criterion={choice}")
        flags = table(definitions(text))
        chosen = {k: v for k, v in flags.items() if k.startswith("--method.criterion")}
        listing[f"train --method.criterion {choice}"] = chosen
    for generator in ("spade", "pix2pix", "joint"):
        text = help_of("gan", "fit", "--help", f"--generator={generator}")
        listing[f"gan fit --generator {generator}"] = table(definitions(text), "fit")
    for preset in re.findall(
        r"[\w-]+", help_of("train", "--help").split("recipe: ")[1].split(";")[0]
    ):
        text = help_of("train", f"--preset={preset}", "--help")
        listing[f"train --preset {preset}"] = table(definitions(text))
    return listing


def keys(value: Any) -> Any:
    """Names and nesting of a JSON value: keys of mappings, the union over items of a list.

    A mapping whose keys are data (file names, subjects) would list these: see DATA_KEYS.
    """
    if isinstance(value, dict):
        return {key: inner_keys(key, value[key]) for key in sorted(value)}
    if isinstance(value, list):
        items = [keys(item) for item in value]
        merged: dict[str, Any] = {}
        for item in items:
            if isinstance(item, dict):
                merged |= {key: inner for key, inner in item.items() if inner or key not in merged}
        return [merged] if merged else []
    return ""


DATA_KEYS = ("files", "class_frequency", "frequencies")


def inner_keys(key: str, value: Any) -> Any:
    """The keys of a member; those that are data are replaced by ``<name>``."""
    if key in DATA_KEYS and isinstance(value, dict) and value:
        return {"<name>": keys(next(iter(value.values())))}
    return keys(value)


def files_of(folder: Path) -> list[str]:
    """Paths in a folder; of a checkpoint only its step, since Orbax chooses the rest."""
    names = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        name = re.sub(r"(checkpoints/\d+)/.*", r"\1", name)
        if path.is_file() or name.startswith("checkpoints/"):
            names.add(name)
    return sorted(names)


def content(folder: Path) -> dict[str, Any]:
    """Files of a folder, and the keys or columns of those that have some."""
    found: dict[str, Any] = {"files": files_of(folder)}
    for name in found["files"]:
        path = folder / name
        if "checkpoints/" in name or "tables/" in name:
            continue
        if name.endswith(".json"):
            found[name] = keys(tools.read_json(path))
        elif name.endswith(".jsonl"):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = sorted(set().union(*lines))
        elif name.endswith(".yaml"):
            found[name] = keys(yaml.safe_load(path.read_text()))
        elif name.endswith(".csv"):
            with path.open(newline="") as file:
                found[name] = next(csv.reader(file))
        elif name.endswith(".safetensors"):
            found[name] = weight_keys(path)
        elif name.endswith(".npz"):
            found[name] = npz_keys(path)
    return found


def weight_keys(path: Path) -> dict[str, Any]:
    """Types and shapes by key, and the keys of the header."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["semiseg"])
    arrays = tools.weights(path)
    return {
        "header": sorted(header),
        "arrays": {key: f"{a.dtype} {a.shape}" for key, a in sorted(arrays.items())},
    }


def npz_keys(path: Path) -> list[str]:
    """Names of arrays."""
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        return sorted(arrays.files)


def folders(done: Any, grid: Any) -> dict[str, Any]:
    """Content of every kind of folder a command writes."""
    place = done.folder
    chosen = {
        "run: supervised, with --test": "made/supervised",
        "run: mean_teacher": "made/mean_teacher",
        "run: bcp, evaluated on test": "made/bcp",
        "generator": "made/spade",
        "generated set": "generated",
        "quality report": "judged",
        "store": "stores/discs",
        "export": "exported",
        "report": "report",
    }
    listing = {name: content(place / path) for name, path in chosen.items()}
    sweep = place / "sweep"
    trials = sorted(p.name for p in sweep.iterdir() if (p / "config.yaml").exists())
    others = [f for f in files_of(sweep) if f.split("/")[0] not in trials]
    listing["sweep: bayes, 2 trials"] = {"trials": trials, "other files": others}
    names = sorted(row["name"] for row in tools.read_json(grid.folder / "swept.json"))
    listing["sweep: grid of method and label_subset"] = {"trials": names}
    listing["plan of data describe"] = keys(yaml.safe_load((place / "plan.yaml").read_text()))
    return listing


def interrupted(folder: Path) -> int:
    """Exit code of a long run that gets SIGTERM once it trains."""
    command = ["train", "--out=stopped", *tools.TRAIN, "--steps=1000000", "--eval-every=1000000"]
    program = "import sys; from semiseg.cli.main import main; sys.exit(main(sys.argv[1:]))"
    child = subprocess.Popen(
        [sys.executable, "-c", program, *command],
        cwd=folder,
        env=tools.environment(folder / "stores"),
        stderr=subprocess.DEVNULL,
    )
    log = folder / "stopped/metrics.jsonl"
    end = time.monotonic() + 90
    while child.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.02)
        if time.monotonic() > end:
            child.kill()
    child.send_signal(signal.SIGTERM)
    return child.wait(timeout=60)


def exit_codes(done: Any) -> dict[str, int]:
    """One command for each code, in words."""
    from semiseg.cli.main import main

    broken = done.folder / "broken"
    (broken / "images").mkdir(parents=True)
    (broken / "images/p0.png").write_bytes(b"no picture")
    check = ["data", "check", "--format=folder", f"--source={broken}"]
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        return {
            "--version": main(["--version"]),
            "train --help": main(["train", "--help"]),
            "a data set without problems": done.results["check"][0],
            "files with problems": main(check),
            "an unknown command": main(["tarin"]),
            "an unknown flag": main(["train", "--out=x", "--no-such-flag=1"]),
            "a missing flag": main(["train"]),
            "a missing run": main(["evaluate", str(done.folder / "nowhere")]),
            "SIGTERM while training": interrupted(done.folder),
        }


def product(done: Any, grid: Any) -> dict[str, Any]:
    """The whole contract."""
    answers = sorted((done.folder / "json").glob("*.json"))
    return {
        "commands": command_line(),
        "options": options(),
        "exit codes": exit_codes(done),
        "--json": {path.stem: keys(tools.read_json(path)) for path in answers},
        "folders": folders(done, grid),
    }


def as_text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


@pytest.fixture
def wide(monkeypatch):
    """tyro and argparse wrap at the terminal's width."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SEMISEG_TRACK", "none")
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)


def test_every_command_of_the_guards_ran(new):
    """A command that fails would leave its keys out of the list."""
    failed = {name: err for name, (code, _, err) in new.results.items() if code}
    assert set(failed) <= {"card", "doctor"}, failed
    assert new.results["card"][0] == 1, "this tiny set is rejected, and its card is written"


def test_the_contract_is_kept(new, old, wide):
    listing = as_text(product(new, old))
    if os.environ.get("SEMISEG_UPDATE_CONTRACT"):
        GOLDEN.write_text(listing, encoding="utf-8")
    golden = GOLDEN.read_text(encoding="utf-8")
    lines = difflib.unified_diff(
        golden.splitlines(), listing.splitlines(), "contract.json", "product", lineterm="", n=4
    )
    diff = "\n".join(lines)
    remedy = (
        "if users should see this change: SEMISEG_UPDATE_CONTRACT=1, and say so in CHANGELOG.md"
    )
    assert not diff, f"{remedy}\n{diff}"
