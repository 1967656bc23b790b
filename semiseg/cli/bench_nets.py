"""``semiseg bench nets``: every network's step and inference at equal input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semiseg.cli.arguments import Command, Flag, write_json, write_output
from semiseg.data.info import numbered
from semiseg.errors import UserError
from semiseg.files import read_json_if_whole

COMMAND = Command(
    "bench nets",
    """nets: a training step and an inference of every network at equal input, beside its MONAI
    class in PyTorch where there is one, interleaved.""",
    (
        Flag("only", "these networks, by commas", default_text="all", value="A,B"),
        Flag(
            "peer",
            'torch: also time the MONAI classes (pip install "semiseg[peer]")',
            choices=("torch",),
            value="torch",
        ),
        Flag("batch", "images", 4, at_least=1),
        Flag("size", "side of an image, pixels", 128, at_least=1),
        Flag("repeats", "rounds of a network", 9, at_least=1),
        Flag(
            "seconds",
            "a network is timed for at most so many seconds once there are three rounds",
            10,
            at_least=1,
        ),
        Flag(
            "json",
            "also write the table to this file and, as Markdown, beside it; run the same command "
            "again to resume",
            value="FILE",
        ),
    ),
)
HEAD = (
    f"{'network':18} parameters   step ms  inference ms  temporary MiB   peer: step ms  "
    f"inference ms   ratio  ratio"
)


def nets(options: dict[str, Any], line: str) -> None:
    """Measure and print every network; ``line`` is the command as it was given."""
    from semiseg.bench import network_cost, network_table

    file = None
    if options["json"]:
        file = Path(options["json"])

    def store(result: dict[str, Any]) -> None:
        if file:
            write_json(file, {"command": line, **result})

    def show(row: dict[str, Any], result: dict[str, Any]) -> None:
        print(_line(row), flush=True)
        store(result)

    print(HEAD)
    names = [name for name in (options["only"] or "").split(",") if name]
    result = network_cost.measure(
        network_cost.contenders(names),
        options["batch"],
        options["size"],
        options["repeats"],
        options["peer"] == "torch",
        show,
        seconds=options["seconds"],
        done=_earlier(file),
    )
    store(result)
    if file:
        write_output(file.with_suffix(".md"), network_table.table(result))
    print(f"{numbered(options['batch'], 'image')} of {options['size']}², {result['device']}")
    nobody = "no reason is written (semiseg/bench/network_table.py, REASONS)"
    for row in result["nets"]:
        if network_table.needs_reason(row):
            slow = f"takes more than {network_table.SLOW} times its peer's time"
            print(f"{row['name']} {slow}: {row['reason'] or nobody}")


def _earlier(file: Path | None) -> dict[str, Any] | None:
    """What an earlier run wrote before it was cut off."""
    if file is None or not file.exists():
        return None
    record = read_json_if_whole(file)
    if not isinstance(record.get("nets"), list):
        raise UserError(f"{file}: is no record of semiseg bench nets; choose another --json")
    return record


def _line(row: dict[str, Any]) -> str:
    """A network's row of the printed table."""
    ours = (
        f"{row['name']:18} {row['parameters']:10,} {1e3 * row['step_s']:9.1f} "
        f"{1e3 * row['inference_s']:13.1f} {row['temporary_mib'] or 0:14.1f}"
    )
    if "peer" not in row:
        return ours
    times = f"{1e3 * row['peer_step_s']:15.1f} {1e3 * row['peer_inference_s']:13.1f}"
    return f"{ours} {times} {row['step_ratio']:8.2f} {row['inference_ratio']:6.2f}"
