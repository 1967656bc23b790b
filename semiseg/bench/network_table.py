"""The measured figures of networks as a table, and why a network is slower than its peer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SLOW = 1.5
"""From this ratio to its peer on, a network of ours needs a reason."""

REASONS: dict[str, str] = {
    "segresnet": (
        "its convolutions have 16 channels at full resolution, the width that PyTorch's oneDNN "
        "lays out in blocks of 16 and XLA has no layout for; norms cost nothing (219 instead of "
        "225 ms a step on one core without any), doubling by nearest pixels instead of linearly "
        "would save 8"
    ),
}
"""Why a network's step or inference takes more than :data:`SLOW` times its peer's on a CPU, by
name; stands in the JSON and the table.
"""

COLUMNS = (
    *("network", "M parameters", "step, ms", "inference, ms", "memory, MiB"),
    *("peer", "step, ms", "inference, ms", "memory, MiB", "step / peer", "inference / peer"),
)
"""Titles of the table."""


def needs_reason(row: Mapping[str, Any]) -> bool:
    """Whether a row's step or inference takes more than :data:`SLOW` times its peer's."""
    return max(row.get("step_ratio", 0), row.get("inference_ratio", 0)) > SLOW


def table(result: Mapping[str, Any]) -> str:
    """The result of :func:`semiseg.bench.network_cost.measure` as a Markdown table: milliseconds,
    MiB, and the reasons where they are needed.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", f"{'|---' * len(COLUMNS)}|"]
    for row in result["nets"]:
        lines.append(f"| {' | '.join([*_our_cells(row), *_peer_cells(row)])} |")
    slow = [row for row in result["nets"] if needs_reason(row)]
    if slow:
        lines.append(f"\nMore than {SLOW} times the peer's time:\n")
    for row in slow:
        lines.append(f"- {row['name']}: {row['reason'] or 'no reason is written yet'}")
    return "\n".join(lines) + "\n"


def _our_cells(row: Mapping[str, Any]) -> list[str]:
    return [
        row["name"],
        f"{row['parameters'] / 1e6:.2f}",
        f"{1e3 * row['step_s']:.0f}",
        f"{1e3 * row['inference_s']:.0f}",
        f"{row['temporary_mib'] or 0:.0f}",
    ]


def _peer_cells(row: Mapping[str, Any]) -> list[str]:
    if "peer" not in row:
        return ["–"] * 6
    return [
        row["peer"],
        f"{1e3 * row['peer_step_s']:.0f}",
        f"{1e3 * row['peer_inference_s']:.0f}",
        f"{row['peer_kept_mib']:.0f}",
        f"{row['step_ratio']:.2f}",
        f"{row['inference_ratio']:.2f}",
    ]
