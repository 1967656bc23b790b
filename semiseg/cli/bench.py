"""``semiseg bench``: the benchmarks of the README."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from semiseg.cli.arguments import nothing_left, parse, take
from semiseg.errors import UserError

USAGE = """usage: semiseg bench step [--peer torch] [--json FILE]

Time a training step of the U-Net: alone, in a compiled loop, and in PyTorch, interleaved in one run; medians and ratios.

  --peer                         torch: the same network, batch and loss in PyTorch (pip install "semiseg[peer]")
  --width, --batch, --size       channels of the first level, images, pixels [16, 8, 128]
  --norm                         batch, instance, group or none [batch]
  --repeats, --inner             rounds, and steps inside the loops [9, 5]
  --json                         also write the table to this file
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    own = take(flags, "bench", {"peer": None, "json": None, "norm": "batch", "width": "16", "batch": "8", "size": "128", "repeats": "9", "inner": "5"})
    if positional != ["step"]:
        raise UserError("semiseg bench: the benchmark there is: step")
    nothing_left(flags, [], "bench")
    if own["peer"] not in (None, "torch"):
        raise UserError(f"semiseg bench: --peer is {own['peer']!r}; the peer there is: torch")
    try:
        numbers = [int(own[k]) for k in ("width", "batch", "size", "repeats", "inner")]
    except ValueError:
        raise UserError("semiseg bench: --width, --batch, --size, --repeats and --inner are whole numbers") from None
    from semiseg.bench.step import measure

    width, batch, size, repeats, inner = numbers
    found = measure(width, batch, size, own["norm"], repeats, inner, own["peer"] == "torch")
    found["command"] = "semiseg bench " + " ".join(argv)
    names = {"single": "single step", "scan": "step in a scan", "loop": "step in a loop of traced length",
             "peer_nchw": "PyTorch, NCHW", "peer_channels_last": "PyTorch, channels_last"}  # fmt: skip
    for key, words in names.items():
        if f"{key}_step_s" in found:
            made = f"   compiled in {found['compile_s'][key]:.1f} s, {found['temporary_mib'][key]} MiB temporary" if key in found["compile_s"] else ""
            print(f"{words:32} {1e3 * found[f'{key}_step_s']:8.1f} ms{made}")
    for words, ratio in found["ratios"].items():
        print(f"{words:32} {ratio:8.2f}")
    print(f"{found['parameters']} parameters, peak memory {found['peak_rss_mib']} MiB, {found['device']}")
    if own["json"]:
        found |= {"single_step_s": found["single_step_s"], "scan_step_s": found["scan_step_s"]}
        Path(own["json"]).parent.mkdir(parents=True, exist_ok=True)
        Path(own["json"]).write_text(json.dumps(found, indent=1) + "\n")
    return 0
