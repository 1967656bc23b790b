"""``semiseg bench``: the benchmarks of the README."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import nothing_left, parse, take
from semiseg.errors import UserError

USAGE = """usage: semiseg bench step [--peer torch] [--json FILE]
       semiseg bench methods [--only A,B] [--json FILE]
       semiseg bench nets [--only A,B] [--peer torch] [--json FILE]

Time a training step of the U-Net: alone, in a compiled loop, and in PyTorch, interleaved in one run; medians and ratios.

  --peer                         torch: the same network, batch and loss in PyTorch (pip install "semiseg[peer]")
  --width, --batch, --size       channels of the first level, images, pixels [16, 8, 128]
  --norm                         batch, instance, group or none [instance]
  --repeats, --inner             rounds, and steps inside the loops [9, 5]
  --json                         also write the table to this file

methods: a step of every method against a supervised step of the same batch, through the trainer's own program, interleaved in one run.

  --only                         these methods, by commas, beside supervised and mean_teacher [all]
  --widths                       channels of each level [16,32,64,128,256]
  --batch, --size                images a step, pixels [8, 128]
  --repeats, --inner             rounds, and steps a round [7, 4]

nets: a training step and an inference of every network at equal input, beside its MONAI class in PyTorch where there is one, interleaved.

  --only                         these networks, by commas [all]
  --peer                         torch: also time the MONAI classes (pip install "semiseg[peer]")
  --batch, --size                images, pixels [4, 128]
  --repeats, --seconds           rounds of a network, but for at most so many seconds once there are three [9, 10]
  --json                         also write the table to this file and, as Markdown, beside it; the same command goes on where it was cut off
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    if positional == ["methods"]:
        return methods(argv, flags)
    if positional == ["nets"]:
        from semiseg.cli.bench_nets import main as nets

        return nets(argv, flags)
    own = take(
        flags,
        "bench",
        {
            "peer": None,
            "json": None,
            "norm": "instance",
            "width": "16",
            "batch": "8",
            "size": "128",
            "repeats": "9",
            "inner": "5",
        },
    )
    if positional != ["step"]:
        raise UserError("semiseg bench: the benchmarks there are: step, methods, nets")
    nothing_left(flags, [], "bench", own)
    if own["peer"] not in (None, "torch"):
        raise UserError(f"semiseg bench: --peer is {own['peer']!r}; the peer there is: torch")
    try:
        numbers = [int(own[k]) for k in ("width", "batch", "size", "repeats", "inner")]
    except ValueError:
        raise UserError(
            "semiseg bench: --width, --batch, --size, --repeats and --inner are whole numbers"
        ) from None
    from semiseg.bench.step import measure

    width, batch, size, repeats, inner = numbers
    if min(numbers) < 1:
        raise UserError(
            "semiseg bench: --width, --batch, --size, --repeats and --inner are at least 1"
        )
    if own["norm"] not in ("batch", "instance", "group", "none"):
        raise UserError(
            f"semiseg bench: --norm is {own['norm']!r}; choose batch, instance, group or none"
        )
    found = measure(width, batch, size, own["norm"], repeats, inner, own["peer"] == "torch")
    found["command"] = "semiseg bench " + " ".join(argv)
    names = {"single": "single step", "scan": "step in a scan", "loop": "step in a loop of traced length",
             "peer_nchw": "PyTorch, NCHW", "peer_channels_last": "PyTorch, channels_last"}  # fmt: skip
    for key, words in names.items():
        if f"{key}_step_s" in found:
            made = (
                (
                    f"   compiled in {found['compile_s'][key]:.1f} s, {found['temporary_mib'][key]} "
                    f"MiB temporary"
                )
                if key in found["compile_s"]
                else ""
            )
            print(f"{words:32} {1e3 * found[f'{key}_step_s']:8.1f} ms{made}")
    for words, ratio in found["ratios"].items():
        print(f"{words:32} {ratio:8.2f}")
    print(
        f"{found['parameters']} parameters, peak memory {found['peak_rss_mib']} MiB, "
        f"{found['device']}"
    )
    if own["json"]:
        Path(own["json"]).parent.mkdir(parents=True, exist_ok=True)
        Path(own["json"]).write_text(json.dumps(found, indent=1) + "\n")
    return 0


def methods(argv: Sequence[str], flags: dict[str, Any]) -> int:
    """``semiseg bench methods``."""
    own = take(
        flags,
        "bench methods",
        {
            "only": "",
            "json": None,
            "widths": "16,32,64,128,256",
            "batch": "8",
            "size": "128",
            "repeats": "7",
            "inner": "4",
        },
    )
    nothing_left(flags, [], "bench methods", own)
    try:
        widths = tuple(int(w) for w in own["widths"].split(","))
        batch, size, repeats, inner = (int(own[k]) for k in ("batch", "size", "repeats", "inner"))
    except ValueError:
        raise UserError(
            "semiseg bench methods: --widths, --batch, --size, --repeats and --inner are whole "
            "numbers"
        ) from None
    from semiseg.bench.method_cost import measure
    from semiseg.methods import METHODS

    found = measure(
        [n for n in own["only"].split(",") if n] or list(METHODS),
        widths,
        batch,
        size,
        repeats,
        inner,
    )
    found["command"] = "semiseg bench " + " ".join(argv)
    for name, row in found["methods"].items():
        goal = f"   goal {found['goals'][name]:.2f}" if name in found["goals"] else ""
        print(f"{name:22}{1e3 * row['step_s']:9.1f} ms {row['relative']:7.2f} x supervised{goal}")
    print(
        f"diagnostics of pseudo-labels: {100 * found['diagnostics']:+.1f} % of a mean-teacher "
        f"step, {found['device']}"
    )
    if own["json"]:
        Path(own["json"]).parent.mkdir(parents=True, exist_ok=True)
        Path(own["json"]).write_text(json.dumps(found, indent=1) + "\n")
    return 0
