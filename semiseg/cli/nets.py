"""``semiseg nets``: what there is, and what each network costs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import check_choice, explain, nothing_left, parse, take
from semiseg.errors import UserError

USAGE = """usage: semiseg nets [NAME] [--size 128] [--channels 1] [--classes 2] [--receptive-field] [--json FILE] [--net.FIELD=VALUE …]

All networks, or one with its fields and its layers. Figures are for one image of --size along every axis (volumes: a quarter of it).

  --receptive-field              measure it again (compiles every network: minutes); otherwise the defaults' are looked up, NAME's are measured if changed
  --json                         also write the figures to this file
  --net.FIELD=VALUE              with NAME: figures of that configuration
"""


def main(argv: Sequence[str]) -> int:
    """Print all networks, or one with its fields and layers."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    own = take(
        flags,
        "nets",
        {"size": "128", "channels": "1", "classes": "2", "receptive_field": False, "json": None},
    )
    try:
        size, channels, classes = (int(own[k]) for k in ("size", "channels", "classes"))
    except ValueError:
        raise UserError(
            "semiseg nets: --size, --channels and --classes are whole numbers"
        ) from None
    if min(size, channels, classes) < 1:
        raise UserError("semiseg nets: --size, --channels and --classes must be at least 1")
    from semiseg import config
    from semiseg.nets import NETS

    changes = {k: flags.pop(k) for k in list(flags) if k.startswith("net.")}
    nothing_left(flags, positional[1:], "nets", own)
    if changes and not positional:
        raise UserError("semiseg nets: --net.FIELD needs the NAME of a network before it")
    for name in positional:
        check_choice("net", name)
    nets = {
        name: config.override(config.Trial(), {"net": name, **changes}).net for name in positional
    } or {n: cls() for n, cls in NETS.items()}
    found = [
        _figures(name, net, size, channels, classes, bool(own["receptive_field"]), bool(positional))
        for name, net in nets.items()
    ]
    if positional:
        _one(nets[positional[0]], found[0], channels, classes, explain(nets[positional[0]], "net."))
    else:
        _table(found, size)
    if own["json"]:
        path = Path(own["json"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps(
                {"size": size, "channels": channels, "classes": classes, "nets": found}, indent=1
            )
            + "\n"
        )
    return 0


def _figures(
    name: str, net: Any, size: int, channels: int, classes: int, measure: bool, alone: bool
) -> dict[str, Any]:
    import dataclasses

    from semiseg.nets import cost_summary

    side = size if net.dims == 2 else max(1, size // 4)
    both = any(field.name in ("dims", "net") for field in dataclasses.fields(net))
    row = {
        "name": name,
        "dims": net.dims,
        "other_dims": 5 - net.dims if both else None,
        "size": side,
        **cost_summary.cost(net, side, channels, classes),
        "paper": cost_summary.paper(type(net)),
    }
    if not measure and repr(net) in cost_summary.recorded():
        return row | {"receptive_field": cost_summary.recorded()[repr(net)]}
    return row | (
        {"receptive_field": cost_summary.receptive_field(net, classes)} if measure or alone else {}
    )


def _reach(row: dict[str, Any]) -> str:
    return str(row["receptive_field"] or "all") if "receptive_field" in row else "–"


def _table(found: list[dict[str, Any]], size: int) -> None:
    print(f"{'network':18} dims   parameters  G mult-adds  activations MiB  reach  paper")
    for row in found:
        figures = (
            f"{row['parameters']:11,} {row['multiply_adds'] / 1e9:12.3f} "
            f"{row['activation_mib']:16.1f}"
        )
        dims = f"{row['dims']}D" + (f",{row['other_dims']}D" if row["other_dims"] else "")
        print(
            f"{row['name']:18} {dims:5} {figures} {_reach(row):>6}  "
            f"{textwrap.shorten(row['paper'], 96, placeholder=' …')}"
        )
    print(
        f"\nOne image of {size}² (volumes: {max(1, size // 4)}³), in the first of two "
        f"dimensions. Reach: the receptive field, pixels."
    )
    print("`semiseg nets NAME` explains one, its fields and its layers.")


def _one(net: Any, row: dict[str, Any], channels: int, classes: int, fields: str) -> None:
    from semiseg.nets import cost_summary

    print(f"{row['name']}: {(type(net).__doc__ or '').split('Attributes:')[0].strip()}\n")
    print(fields)
    print(f"\nlayers ({channels} channels, {classes} classes)")
    for level, name, parameters, shapes in cost_summary.tree(net, channels, classes):
        print(f"  {'  ' * level}{name:{24 - 2 * level}} {parameters:11,}  {shapes}")
    reach = row["receptive_field"]
    print(
        (
            f"\n{row['parameters']:,} parameters; for one image of {row['size']} pixels a side "
            f"{row['multiply_adds'] / 1e9:.3f} G multiply-adds and"
        ),
        end=" ",
    )
    print(
        f"{row['activation_mib']:.1f} MiB of activations; receptive field "
        f"{f'{reach} pixels' if reach else 'the whole image'}"
    )
