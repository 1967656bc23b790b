"""``semiseg import-weights``: weights trained in PyTorch, for a network of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semiseg.cli.arguments import (
    PLUGIN,
    Command,
    Flag,
    Flags,
    nothing_left,
)
from semiseg.errors import UserError

COMMAND = Command(
    "import-weights",
    """Read a safetensors file or a PyTorch state dict (.pt, .pth: what torch.save wrote), put the
    weights under our names, check every shape, and write them as safetensors. Nothing in the file
    is run: anything but tensors and plain containers in it is refused; PyTorch is not needed.

    FILE is the state dict of a MONAI or torchvision class; `semiseg nets NAME` says which
    configuration is that class.""",
    (
        Flag(
            "net",
            "name of the network; its fields must be those the weights were made with",
            ...,
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
    from semiseg import config
    from semiseg.nets.from_torch.convert import import_weights
    from semiseg.nets.from_torch.state_dict import read_state_dict
    from semiseg.train.checkpoint import save_weights

    net = config.override(config.Trial(), {"net": options["net"], **changes}).net
    weights = import_weights(net, read_state_dict(file), options["size"])
    out.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "config": {"net": config.to_dict(net, "net")},
        "channels": weights.channels,
        "classes": weights.classes,
    }
    save_weights(out, weights.params, header)
    print(
        f"{out}: {weights.parameters:,} parameters of {options['net']} for {weights.channels} "
        f"channels and {weights.classes} classes"
    )
    return 0
