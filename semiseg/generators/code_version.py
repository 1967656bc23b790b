"""Which code fits generators and paints sets: a set that other code made is another set."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from semiseg import __version__

DIGITS = 16
HERE = Path(__file__).parent
PAINTING = (
    "blocks",
    "budget",
    "controls",
    "diffaug",
    "discriminators",
    "fit",
    "gan_batch",
    "gan_losses",
    "gan_program",
    "joint",
    "losses",
    "mask_sources",
    "masks",
    "paint",
    "pair_files",
    "pix2pix",
    "ratio",
    "sample",
    "spade",
    "style_encoder",
    "teacher",
    "vae",
)
"""Modules of this package that the pixels of a set depend on; the others judge sets."""


@functools.cache
def code_version() -> str:
    """The version of the package and a hash of the modules that make sets.

    Any change of their text counts, also one of a comment: it costs a set that is generated again,
    whereas a change that does not count would mix sets of two programs.
    """
    digest = hashlib.sha256()
    for name in PAINTING:
        digest.update((HERE / f"{name}.py").read_bytes())
    for path in sorted((HERE.parent / "augment").glob("*.py")):
        digest.update(path.read_bytes())
    return f"{__version__}-{digest.hexdigest()[:DIGITS]}"
