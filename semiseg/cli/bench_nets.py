"""``semiseg bench nets``: every network's step and inference at equal input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import nothing_left, take
from semiseg.errors import UserError


def main(argv: Sequence[str], flags: dict[str, Any]) -> int:
    """Run it with the flags of ``semiseg bench``."""
    own = take(flags, "bench nets", {"only": "", "peer": None, "json": None, "batch": "4", "size": "128", "repeats": "5"})
    nothing_left(flags, [], "bench nets", own)
    try:
        batch, size, repeats = (int(own[k]) for k in ("batch", "size", "repeats"))
    except ValueError:
        raise UserError("semiseg bench nets: --batch, --size and --repeats are whole numbers") from None
    if min(batch, size, repeats) < 1:
        raise UserError("semiseg bench nets: --batch, --size and --repeats must be at least 1")
    if own["peer"] not in (None, "torch"):
        raise UserError(f"semiseg bench nets: --peer is {own['peer']!r}; the peer there is: torch")
    from semiseg.bench import nets

    print(f"{'network':18} parameters   step ms  inference ms  temporary MiB   peer: step ms  inference ms   ratio  ratio")
    found = nets.measure(nets.contenders([n for n in own["only"].split(",") if n]), batch, size, repeats, own["peer"] == "torch", _line)
    found["command"] = "semiseg bench " + " ".join(argv)
    print(f"{batch} images of {size}², {found['device']}")
    if own["json"]:
        Path(own["json"]).parent.mkdir(parents=True, exist_ok=True)
        Path(own["json"]).write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _line(row: dict[str, Any]) -> None:
    ours = f"{row['parameters']:10,} {1e3 * row['step_s']:9.1f} {1e3 * row['inference_s']:13.1f} {row['temporary_mib'] or 0:14.1f}"
    peer = ""
    if "peer" in row:
        peer = f"{1e3 * row['peer_step_s']:15.1f} {1e3 * row['peer_inference_s']:13.1f} {row['step_ratio']:8.2f} {row['inference_ratio']:6.2f}"
    print(f"{row['name']:18} {ours} {peer}", flush=True)
