"""``semiseg bench nets``: every network's step and inference at equal input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import nothing_left, take
from semiseg.errors import UserError
from semiseg.files import read_json_if_whole, write_text


def main(argv: Sequence[str], flags: dict[str, Any]) -> int:
    """Run it with the flags of ``semiseg bench``."""
    own = take(
        flags,
        "bench nets",
        {
            "only": "",
            "peer": None,
            "json": None,
            "batch": "4",
            "size": "128",
            "repeats": "9",
            "seconds": "10",
        },
    )
    nothing_left(flags, [], "bench nets", own)
    try:
        batch, size, repeats, seconds = (
            int(own[k]) for k in ("batch", "size", "repeats", "seconds")
        )
    except ValueError:
        raise UserError(
            "semiseg bench nets: --batch, --size, --repeats and --seconds are whole numbers"
        ) from None
    if min(batch, size, repeats, seconds) < 1:
        raise UserError(
            "semiseg bench nets: --batch, --size, --repeats and --seconds must be at least 1"
        )
    if own["peer"] not in (None, "torch"):
        raise UserError(f"semiseg bench nets: --peer is {own['peer']!r}; the peer there is: torch")
    from semiseg.bench import network_cost as nets

    file = Path(own["json"]) if own["json"] else None

    def keep(found: dict[str, Any]) -> None:
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            record = {"command": "semiseg bench " + " ".join(argv), **found}
            write_text(file, json.dumps(record, indent=1) + "\n")

    def say(row: dict[str, Any], found: dict[str, Any]) -> None:
        _line(row)
        keep(found)

    print(
        f"{'network':18} parameters   step ms  inference ms  temporary MiB   peer: step ms  "
        f"inference ms   ratio  ratio"
    )
    chosen = nets.contenders([n for n in own["only"].split(",") if n])
    found = nets.measure(
        chosen,
        batch,
        size,
        repeats,
        own["peer"] == "torch",
        say,
        seconds=seconds,
        done=_earlier(file),
    )
    keep(found)
    if file:
        file.with_suffix(".md").write_text(nets.table(found))
    print(f"{batch} images of {size}², {found['device']}")
    for row in found["nets"]:
        if nets.needs_reason(row):
            print(
                f"{row['name']} takes more than {nets.SLOW} times its peer's time: "
                f"{row['reason'] or 'no reason is written (semiseg/bench/network_cost.py, REASONS)'}"
            )
    return 0


def _earlier(file: Path | None) -> dict[str, Any] | None:
    """What an earlier run wrote before it was cut off."""
    if file is None or not file.exists():
        return None
    record = read_json_if_whole(file)
    if not isinstance(record.get("nets"), list):
        raise UserError(f"{file}: is no record of semiseg bench nets; choose another --json")
    return record


def _line(row: dict[str, Any]) -> None:
    ours = (
        f"{row['parameters']:10,} {1e3 * row['step_s']:9.1f} {1e3 * row['inference_s']:13.1f} "
        f"{row['temporary_mib'] or 0:14.1f}"
    )
    peer = ""
    if "peer" in row:
        peer = (
            f"{1e3 * row['peer_step_s']:15.1f} {1e3 * row['peer_inference_s']:13.1f} "
            f"{row['step_ratio']:8.2f} {row['inference_ratio']:6.2f}"
        )
    print(f"{row['name']:18} {ours} {peer}", flush=True)
