"""``semiseg nets``: what there is, and what each network costs."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

from semiseg.cli.arguments import (
    PLUGIN,
    Command,
    Flag,
    Flags,
    check_choice,
    nothing_left,
    write_json,
)
from semiseg.cli.explain import explain, summary_of
from semiseg.errors import UserError

FIELD = Flag("net.FIELD", "with NAME: figures of that configuration")
"""The last flag of the help text: any field of the network."""
COMMAND = Command(
    "nets",
    """All networks, or one with its fields and its layers. Figures are for one image of --size
    along every axis (volumes: a quarter of it).""",
    (
        Flag("size", "side of the image, pixels", 128, at_least=1, value="128"),
        Flag("channels", "of the image", 1, at_least=1, value="1"),
        Flag("classes", "of the masks, background included", 2, at_least=1, value="2"),
        Flag(
            "receptive_field",
            "measure it again (compiles every network: minutes); otherwise the defaults' are "
            "looked up, NAME's are measured if changed",
            False,
            default_text="",
            value="",
        ),
        Flag("json", "also write the figures to this file", value="FILE"),
        PLUGIN,
    ),
    operands="[NAME]",
    rest="[--net.FIELD=VALUE …]",
    notes="\n".join([*FIELD.lines(), ""]),
)
PREFIX = "net."


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the figures are for.

    Attributes:
      size: side of a 2D image, pixels.
      channels: of the image.
      classes: background included.
      measure: whether the receptive field is measured though it is recorded.
    """

    size: int
    channels: int
    classes: int
    measure: bool

    def side(self, dims: int) -> int:
        """Side of an image or a volume.

        >>> Setting(128, 1, 2, False).side(2), Setting(128, 1, 2, False).side(3)
        (128, 32)
        """
        if dims == 2:
            return self.size
        return max(1, self.size // 4)


def main(argv: Sequence[str]) -> int:
    """Print all networks, or one with its fields and layers."""
    return COMMAND.run(argv, _nets)


def _nets(operands: list[str], flags: Flags) -> int:
    options = COMMAND.take(flags)
    changes = {name: flags.pop(name) for name in list(flags) if name.startswith(PREFIX)}
    nothing_left(flags, operands[1:], "nets", options)
    if changes and not operands:
        raise UserError("semiseg nets: --net.FIELD needs the NAME of a network before it")
    setting = Setting(
        options["size"], options["channels"], options["classes"], options["receptive_field"]
    )
    if operands:
        rows = [_show(operands[0], changes, setting)]
    else:
        rows = _show_all(setting)
    figures = {"size": setting.size, "channels": setting.channels, "classes": setting.classes}
    write_json(options["json"], {**figures, "nets": rows})
    return 0


def _show_all(setting: Setting) -> list[dict[str, Any]]:
    """Print a line a network."""
    from semiseg.nets import NETS

    rows = [_figures(name, cls(), setting) for name, cls in NETS.items()]
    print(f"{'network':18} dims   parameters  G mult-adds  activations MiB  reach  paper")
    for row in rows:
        print(_line(row))
    print(
        f"\nOne image of {setting.size}² (volumes: {setting.side(3)}³), in the first of two "
        f"dimensions. Reach: the receptive field, pixels."
    )
    print("`semiseg nets NAME` explains one, its fields and its layers.")
    return rows


def _show(name: str, changes: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """Print one network with its fields and its layers."""
    from semiseg import config
    from semiseg.nets import cost_summary

    check_choice("net", name)
    net: Any = config.override(config.Trial(), {"net": name, **changes}).net
    row = _figures(name, net, setting)
    if "receptive_field" not in row:
        row["receptive_field"] = cost_summary.receptive_field(net, setting.classes)
    print(f"{name}: {summary_of(type(net))}\n")
    print(explain(net, PREFIX))
    print(f"\nlayers ({setting.channels} channels, {setting.classes} classes)")
    for level, layer, parameters, shapes in cost_summary.tree(
        net, setting.channels, setting.classes
    ):
        print(f"  {'  ' * level}{layer:{24 - 2 * level}} {parameters:11,}  {shapes}")
    reach = "the whole image"
    if row["receptive_field"]:
        reach = f"{row['receptive_field']} pixels"
    print(
        f"\n{row['parameters']:,} parameters; for one image of {row['size']} pixels a side "
        f"{row['multiply_adds'] / 1e9:.3f} G multiply-adds and {row['activation_mib']:.1f} MiB of "
        f"activations; receptive field {reach}"
    )
    return row


def _figures(name: str, net: Any, setting: Setting) -> dict[str, Any]:
    """What the table says of a network; its receptive field is left out where only a measurement
    tells it.
    """
    from semiseg.nets import cost_summary

    side = setting.side(net.dims)
    both = any(field.name in ("dims", "net") for field in dataclasses.fields(net))
    row = {
        "name": name,
        "dims": net.dims,
        "other_dims": None,
        "size": side,
        **cost_summary.cost(net, side, setting.channels, setting.classes),
        "paper": cost_summary.paper(type(net)),
    }
    if both:
        row["other_dims"] = 5 - net.dims
    if setting.measure:
        row["receptive_field"] = cost_summary.receptive_field(net, setting.classes)
    elif repr(net) in cost_summary.recorded():
        row["receptive_field"] = cost_summary.recorded()[repr(net)]
    return row


def _line(row: dict[str, Any]) -> str:
    reach = "–"
    if "receptive_field" in row:
        reach = str(row["receptive_field"] or "all")
    dims = f"{row['dims']}D"
    if row["other_dims"]:
        dims = f"{dims},{row['other_dims']}D"
    figures = (
        f"{row['parameters']:11,} {row['multiply_adds'] / 1e9:12.3f} {row['activation_mib']:16.1f}"
    )
    paper = textwrap.shorten(row["paper"], 96, placeholder=" …")
    return f"{row['name']:18} {dims:5} {figures} {reach:>6}  {paper}"
