"""``semiseg import-weights``: weights trained in PyTorch, for a network of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semiseg.cli.arguments import parse, take
from semiseg.errors import UserError

USAGE = """usage: semiseg import-weights FILE --net NAME --out weights.safetensors [--size 96] [--net.FIELD=VALUE …]

Read a safetensors file or a PyTorch state dict (.pt, .pth: what torch.save wrote), put the weights under our names, check every shape,
and write them as safetensors. Nothing in the file is run: anything but tensors and plain containers in it is refused; PyTorch is not needed.

  FILE                           state dict of a MONAI or torchvision class; `semiseg nets NAME` says which configuration is that class
  --net                          name of the network; its fields must be those the weights were made with
  --out                          the file to write
  --size                         side of the images it was made for, where a network has a table of positions [96]
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    own = take(flags, "import-weights", {"net": ..., "out": ..., "size": "96"})
    changes = {k: flags.pop(k) for k in list(flags) if k.startswith("net.")}
    if flags or len(positional) != 1:
        unknown = (
            f"does not know {' '.join(f'--{f}' for f in flags)}" if flags else "needs one FILE"
        )
        raise UserError(f"semiseg import-weights: {unknown}; see `semiseg import-weights --help`")
    out = Path(own["out"])
    if out.suffix != ".safetensors":
        raise UserError(f"semiseg import-weights: --out is {out}: give it the ending .safetensors")
    from semiseg import config
    from semiseg.nets.from_torch.convert import import_weights
    from semiseg.nets.from_torch.state_dict import read_state_dict

    net = config.override(config.Trial(), {"net": own["net"], **changes}).net
    if not own["size"].isdigit():
        raise UserError(f"semiseg import-weights: --size is {own['size']}: it is a whole number")
    found = import_weights(net, read_state_dict(positional[0]), int(own["size"]))
    from semiseg.train.checkpoint import save_weights

    out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(
        out,
        found.params,
        {
            "config": {"net": config.to_dict(net, "net")},
            "channels": found.channels,
            "classes": found.classes,
        },
    )
    print(
        f"{out}: {found.parameters:,} parameters of {own['net']} for {found.channels} channels "
        f"and {found.classes} classes"
    )
    return 0
