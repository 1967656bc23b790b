"""``semiseg nets``: what there is."""

from __future__ import annotations

from collections.abc import Sequence

from semiseg.cli.methods import show


def main(argv: Sequence[str]) -> int:
    """Print all networks, or one with its fields."""
    return show("net", argv)
