"""``semiseg methods``: what there is."""

from __future__ import annotations

from collections.abc import Sequence

from semiseg.cli.arguments import explain, parse
from semiseg.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Print all methods, or one with its fields."""
    return show("method", argv)


def show(field: str, argv: Sequence[str]) -> int:
    """Print the table of a choice, or one of its members with every field."""
    from semiseg import config

    positional, _ = parse(argv)
    for name in positional[:1]:
        if name not in config.CHOICES[field]:
            raise UserError(f"there is no {field} called {name!r}: choose one of {', '.join(config.CHOICES[field])}")
        print(f"{name}: {(type(config.make(field, name)).__doc__ or '').split('Attributes:')[0].strip()}\n")
        print(explain(config.make(field, name), f"{field}."))
    if not positional:
        for name, cls in config.CHOICES[field].items():
            print(f"{name:16} {' '.join((cls.__doc__ or '').split('.  ')[0].split())[:120]}")
    return 0
