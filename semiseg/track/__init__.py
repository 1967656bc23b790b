"""Where else can a run be watched? Mirrors of run folders: Weights & Biases, TensorBoard.

    follower             the thread that follows a folder, the same for every mirror
    contents             what a folder holds, as mirrors send it
    weights_and_biases   to W&B, also afterwards (``semiseg track upload``)
    tensorboard          event files in the folder itself

The folder is the record: a mirror that fails, or is switched on afterwards, loses and changes
nothing. ``none`` is the default; the flag ``--track`` wins over the environment variable
SEMISEG_TRACK.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from semiseg.errors import UserError
from semiseg.track.follower import Mirror, Sink

KINDS = ("none", "wandb", "tensorboard")


def wanted(flag: str | None) -> str:
    """The mirror to use: the flag, else SEMISEG_TRACK, else none.

    Raises:
      UserError: there is no such mirror, or its package is missing.
    """
    kind = flag
    if kind is None:
        kind = os.environ.get("SEMISEG_TRACK", "none")
    if kind not in KINDS:
        raise UserError(f"--track is {kind!r}: choose one of {', '.join(KINDS)}")
    if kind == "tensorboard":
        from semiseg.track.tensorboard import check_installed

        check_installed()
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

    Args:
      folder: of the run; None follows nothing.
      kind: one of :data:`KINDS`.
      group: of the run on W&B.
      job_type: of the run on W&B.
    """
    if kind == "none" or folder is None:
        yield
        return
    follower = Mirror(Path(folder), _sink(Path(folder), kind, group, job_type))
    follower.start()
    try:
        yield
    except BaseException as error:
        # a trial that a search stopped has not failed
        follower.stop(failed=getattr(error, "failed", True))
        raise
    follower.stop()


def _sink(folder: Path, kind: str, group: str | None, job_type: str) -> Sink:
    # imported where they are used: both are slow to import, and most runs use neither
    if kind == "tensorboard":
        from semiseg.track.tensorboard import TensorBoard

        return TensorBoard(folder)
    from semiseg.track.weights_and_biases import WeightsAndBiases

    return WeightsAndBiases(folder, group, job_type)
