"""``semiseg import-weights``: weights trained in PyTorch, for a network of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import (
    PLUGIN,
    Command,
    Flag,
    Flags,
    nothing_left,
)
from semiseg.errors import UserError
from semiseg.holding import holding

COMMAND = Command(
    "import-weights",
    """Read a safetensors file or a PyTorch state dict (.pt, .pth: what torch.save wrote), put the
    weights under our names, check every shape, and write them as safetensors. Nothing in the file
    is run: anything but tensors and plain containers in it is refused; PyTorch is not needed.

    Known by their names are classes of SSL4MIS (UNet, UNet_DS, UNet_CCT, UNet_URPC, unet_3D, VNet),
    milesial's UNet, nnU-Net, MONAI and torchvision: without --net the network and its fields are
    read off the file. Other names are matched by shape and order, and refused where that is
    ambiguous. What a checkpoint has beside the weights is left out.""",
    (
        Flag(
            "net",
            "name of the network, with the fields that the weights were made with; by default both "
            "are read off the file",
            default_text="",
            value="NAME",
        ),
        Flag("out", "the file to write", ..., value="weights.safetensors"),
        Flag(
            "size",
            "side of the images it was made for, where a network has a table of positions",
            96,
            at_least=1,
            value="96",
        ),
        Flag(
            "classes",
            "names of the classes, background first; by default background, class 1, …",
            default_text="",
            value="NAME,NAME",
        ),
        PLUGIN,
    ),
    operands="FILE",
    rest="[--net.FIELD=VALUE …]",
)
PREFIX = "net."


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    return COMMAND.run(argv, _import)


def _import(operands: list[str], flags: Flags) -> int:
    options = COMMAND.take(flags)
    changes = {name: flags.pop(name) for name in list(flags) if name.startswith(PREFIX)}
    nothing_left(flags, [], COMMAND.name, options)
    file = COMMAND.one(operands, "one FILE")
    out = Path(options["out"])
    if out.suffix != ".safetensors":
        raise UserError(f"semiseg import-weights: --out is {out}: give it the ending .safetensors")
    with holding(out, "semiseg import-weights"):
        return _write(file, out, options, changes)


def _write(file: str, out: Path, options: dict[str, Any], changes: Flags) -> int:
    """Read the file and write ours."""
    from semiseg import config
    from semiseg.nets.from_torch.convert import import_weights, network_of
    from semiseg.nets.from_torch.state_dict import read_state_dict
    from semiseg.train.checkpoint import save_weights

    state = read_state_dict(file)
    name, fields = network_of(state, options["net"])
    fields = {PREFIX + field: value for field, value in fields.items()}
    net = config.override(config.Trial(), {"net": name, **fields, **changes}).net
    weights = import_weights(net, state, options["size"])
    header = {
        "config": {"net": config.to_dict(net, "net")},
        "channels": weights.channels,
        "classes": _class_names(options["classes"], weights.classes),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(out, weights.params, header)
    print(
        f"{out}: {weights.parameters:,} parameters of {name} for {weights.channels} channels and "
        f"{weights.classes} classes ({weights.source})"
    )
    for note in weights.notes:
        print(f"Note: {note}.")
    print(f"Begin with them: semiseg train {_flags(name, net)} --init {out} …")
    return 0


def _class_names(text: str | None, count: int) -> list[str]:
    """Names of the classes, background first."""
    if text is None:
        return ["background", *(f"class {number}" for number in range(1, count))]
    names = text.split(",")
    if len(names) != count:
        raise UserError(
            f"semiseg import-weights: --classes has {len(names)} names, and the weights are for "
            f"{count} classes, background included"
        )
    return names


def _flags(name: str, net: Any) -> str:
    """The flags that give a network, defaults left out."""
    from semiseg import config
    from semiseg.fields import flatten

    default = flatten(config.to_dict(type(net)(), "net"))
    words = [f"--net {name}"]
    for field, value in flatten(config.to_dict(net, "net")).items():
        if value != default[field]:
            words.append(f"--{PREFIX}{field} {_text(value)}")
    return " ".join(words)


def _text(value: Any) -> str:
    """A field's value as a flag takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
