"""Initial weights that need no pre-training: random ones, and those of a file."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Fresh:
    """Weights drawn at random from the run's seed."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights of the same network, trained before, on any data; layers that follow the number of
    classes are fresh.

    Attributes:
      path: a .safetensors file of ours (also one that ``semiseg import-weights`` wrote), the folder
        of a finished run, or a PyTorch state dict (.pt, .pth) for the same network.
    """

    path: str = ""
