"""``semiseg bench``: time a step, the methods and the networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semiseg.cli import bench_nets
from semiseg.cli.arguments import (
    Command,
    Flag,
    Flags,
    paragraphs,
    write_json,
)
from semiseg.errors import UserError

ONLY = "these methods, by commas, beside supervised and mean_teacher"
NORMS = ("batch", "instance", "group", "none")
STEP = Command(
    "bench step",
    """Time a training step of the U-Net: alone, in a compiled loop, and in PyTorch, interleaved in
    one run; medians and ratios.""",
    (
        Flag(
            "peer",
            'torch: the same network, batch and loss in PyTorch (pip install "semiseg[peer]")',
            choices=("torch",),
            value="torch",
        ),
        Flag("width", "channels of the first level", 16, at_least=1),
        Flag("batch", "images", 8, at_least=1),
        Flag("size", "side of an image, pixels", 128, at_least=1),
        Flag("norm", "batch, instance, group or none", "instance", choices=NORMS),
        Flag("repeats", "rounds", 9, at_least=1),
        Flag("inner", "steps inside the loops", 5, at_least=1),
        Flag("json", "also write the table to this file", value="FILE"),
    ),
)
METHODS = Command(
    "bench methods",
    """methods: a step of every method against a supervised step of the same batch, through the
    trainer's own program, interleaved in one run.""",
    (
        Flag("only", ONLY, default_text="all", value="A,B"),
        Flag("widths", "channels of each level", "16,32,64,128,256"),
        Flag("batch", "images a step", 8, at_least=1),
        Flag("size", "side of an image, pixels", 128, at_least=1),
        Flag("repeats", "rounds", 7, at_least=1),
        Flag("inner", "steps a round", 4, at_least=1),
        Flag("json", "also write the table to this file", value="FILE"),
    ),
)
PARTS = (STEP, METHODS, bench_nets.COMMAND)
TITLES = {
    "single": "single step",
    "scan": "step in a scan",
    "loop": "step in a loop of traced length",
    "peer_nchw": "PyTorch, NCHW",
    "peer_channels_last": "PyTorch, channels_last",
}
"""What a contender of ``bench step`` is called."""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    command = next((part for part in PARTS if _name(part) in argv[:1]), STEP)
    line = f"semiseg bench {' '.join(argv)}"

    def measure(operands: list[str], flags: Flags) -> int:
        if operands != [_name(command)]:
            raise UserError("semiseg bench: the benchmarks there are: step, methods, nets")
        options = command.options(flags)
        if command is METHODS:
            methods(options, line)
        elif command is STEP:
            step(options, line)
        else:
            bench_nets.nets(options, line)
        return 0

    return command.run(argv, measure, _help())


def step(options: dict[str, Any], line: str) -> None:
    """``semiseg bench step``."""
    from semiseg.bench.step import measure

    result = measure(
        options["width"],
        options["batch"],
        options["size"],
        options["norm"],
        options["repeats"],
        options["inner"],
        options["peer"] == "torch",
    )
    result["command"] = line
    for key, title in TITLES.items():
        if f"{key}_step_s" in result:
            print(_contender(title, key, result))
    for ratio, value in result["ratios"].items():
        print(f"{ratio:32} {value:8.2f}")
    print(
        f"{result['parameters']} parameters, peak memory {result['peak_rss_mib']} MiB, "
        f"{result['device']}"
    )
    write_json(options["json"], result)


def methods(options: dict[str, Any], line: str) -> None:
    """``semiseg bench methods``."""
    from semiseg.bench.method_cost import measure
    from semiseg.methods import METHODS as ALL

    try:
        widths = tuple(int(width) for width in options["widths"].split(","))
    except ValueError:
        what = f"--widths is {options['widths']!r}: it must be whole numbers, by commas"
        raise UserError(f"semiseg bench methods: {what}") from None
    names = [name for name in (options["only"] or "").split(",") if name]
    sizes = [options[name] for name in ("batch", "size", "repeats", "inner")]
    result = measure(names or list(ALL), widths, *sizes)
    result["command"] = line
    for name, row in result["methods"].items():
        goal = ""
        if name in result["goals"]:
            goal = f"   goal {result['goals'][name]:.2f}"
        print(f"{name:22}{1e3 * row['step_s']:9.1f} ms {row['relative']:7.2f} x supervised{goal}")
    print(
        f"diagnostics of pseudo-labels: {100 * result['diagnostics']:+.1f} % of a mean-teacher "
        f"step, {result['device']}"
    )
    write_json(options["json"], result)


def _contender(title: str, key: str, result: dict[str, Any]) -> str:
    """Milliseconds of a step, and what compiling it took."""
    line = f"{title:32} {1e3 * result[f'{key}_step_s']:8.1f} ms"
    if key not in result["compile_s"]:
        return line
    compiled = f"compiled in {result['compile_s'][key]:.1f} s"
    return f"{line}   {compiled}, {result['temporary_mib'][key]} MiB temporary"


def _name(command: Command) -> str:
    """The word after ``bench``."""
    return command.name.rpartition(" ")[2]


def _help() -> str:
    """The help text of all three."""
    usage = "\n       ".join(part.usage for part in PARTS)
    sections = [f"{paragraphs(part.words)}\n\n{part.flag_help()}" for part in PARTS]
    return "\n".join([f"usage: {usage}\n", *sections])
