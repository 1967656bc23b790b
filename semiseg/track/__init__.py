"""Mirrors of run folders elsewhere. The folder is the record: a mirror that fails, or is switched
on afterwards, loses and changes nothing.

``none`` (the default) or ``wandb``; the flag ``--track`` wins over the environment variable
SEMISEG_TRACK.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from semiseg.errors import UserError

KINDS = ("none", "wandb")


def wanted(flag: str | None) -> str:
    """The mirror to use: the flag, else SEMISEG_TRACK, else none."""
    kind = flag if flag is not None else os.environ.get("SEMISEG_TRACK", "none")
    if kind not in KINDS:
        raise UserError(f"--track is {kind!r}: choose one of {', '.join(KINDS)}")
    return kind


@contextlib.contextmanager
def mirror(
    folder: str | Path | None,
    kind: str = "none",
    *,
    group: str | None = None,
    job_type: str = "train",
) -> Iterator[None]:
    """Follow the run folder while the body runs; what the body raises goes through, what the mirror
    meets does not.
    """
    if kind == "none" or folder is None:
        yield
        return
    from semiseg.track.weights_and_biases import Mirror

    follower = Mirror(Path(folder), group=group, job_type=job_type)
    follower.start()
    try:
        yield
    except BaseException as error:
        follower.stop(
            failed=getattr(error, "failed", True)
        )  # a trial that a search stopped has not failed
        raise
    follower.stop()
