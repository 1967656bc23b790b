"""Checkpoints: the whole training state, atomic and verified. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from semiseg.errors import UserError, writing
from semiseg.files import check_shape, write_bytes
from semiseg.shapes import AMOUNT, COUNT, NAME, NUMBER, TEXT, ByName, Each
from semiseg.types import PyTree

REMEDY = (
    "delete this folder to go on from the checkpoint before it, or the run's folder to start again"
)
INPUT_SHAPE = {
    **dict.fromkeys(("spacing", "intensity", "stored", "unit", "plane"), TEXT),
    **dict.fromkeys(("dtypes", "orientations"), Each(TEXT)),
    **dict.fromkeys(("low", "high", "narrowest"), NUMBER),
    **dict.fromkeys(("finest", "coarsest"), Each(NUMBER)),
    "by_channel": Each(Each(NUMBER, least=2)),
}
HEADER_SHAPE: dict[str, Any] = {
    **dict.fromkeys(("config", "settings"), {}),
    **dict.fromkeys(("channels", "total_steps", "step"), COUNT),
    **dict.fromkeys(("unit", "fingerprint"), TEXT),
    **dict.fromkeys(("subjects", "channel_names"), Each(TEXT)),
    "classes": Each(NAME, least=2),
    "seconds": AMOUNT,
    "regions": ByName(Each(TEXT)),
    "input": INPUT_SHAPE,
}
"""What a weights file says of itself, see :mod:`semiseg.shapes`."""


class Checkpoints:
    """The last two states of a run under ``RUN/checkpoints``, written by Orbax.

    Orbax renames a finished folder into place, so a killed save leaves the previous state. It does
    not notice flipped bits, so a digest of the state is kept beside it and compared when it is
    read.
    """

    def __init__(self, folder: Path):
        import orbax.checkpoint as ocp

        # Orbax prints pages for what it also raises
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        _say_nothing_late()
        self.folder = folder.absolute()
        self._ocp = ocp
        for leftover in self.folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(leftover, ignore_errors=True)
        processes = ocp.options.MultiprocessingOptions()
        alone = jax.process_count() > 1  # of several processes the first one writes
        if alone:
            self.folder.mkdir(parents=True, exist_ok=True)
            processes = ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}, barrier_sync_key_prefix="semiseg"
            )
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2,
            enable_async_checkpointing=True,
            create=not alone,
            multiprocessing_options=processes,
        )
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except (OSError, KeyboardInterrupt):
            raise
        except Exception as error:  # Orbax believes the files that it finds
            raise UserError(
                f"a checkpoint cannot be read ({_reason(error)})",
                where=self.folder,
                remedy="delete the damaged one in it, or the run's folder to start again",
            ) from error

    def save(self, step: int, state: PyTree, extra: Mapping[str, Any]) -> None:
        """Start writing ``state`` (a pytree of arrays) and ``extra`` (JSON); it goes on in the
        background.
        """
        ocp = self._ocp
        # a copy: the buffers are donated to the next chunk while Orbax writes
        host = jax.tree.map(np.array, state)
        record = {"digest": _digest(host, extra), "extra": dict(extra)}
        parts = ocp.args.Composite(
            state=ocp.args.StandardSave(_flat(host)), record=ocp.args.JsonSave(record)
        )
        with writing(self.folder):
            self._manager.save(step, args=parts)

    def latest(self) -> int | None:
        """The last whole step, None for a fresh run."""
        return self._manager.latest_step()

    def restore(self, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """The last state, shaped like ``like``, and its extra.

        Raises:
          UserError: the checkpoint is damaged or of another network, naming its folder.
        """
        step = self._manager.latest_step()
        place = self.folder / str(step)
        try:
            state, record = self._read(step, like)
            # an earlier version made its digest of the state alone
            digests = (_digest(state, record["extra"]), _digest(state))
            intact = record["digest"] in digests
        except Exception as error:  # Orbax, tensorstore and zarr each raise their own
            raise UserError(
                f"the checkpoint cannot be read ({_reason(error)})", where=place, remedy=REMEDY
            ) from error
        if not intact:
            what = "the checkpoint is damaged (its digest differs)"
            raise UserError(what, where=place, remedy=REMEDY)
        return jax.tree.map(jax.numpy.asarray, state), record["extra"]

    def _read(self, step: int | None, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """The state of ``step`` as it is on disk, and its record."""
        ocp = self._ocp
        target = _zeros(like)
        parts = ocp.args.Composite(
            state=ocp.args.StandardRestore(_flat(target)), record=ocp.args.JsonRestore()
        )
        stored = self._manager.restore(step, args=parts)
        leaves = [np.asarray(stored.state[key]) for key in _flat(target)]
        for have, want in zip(leaves, jax.tree.leaves(target), strict=True):
            if have.shape != want.shape or have.dtype != want.dtype:
                raise ValueError(f"an array of shape {have.shape} where {want.shape} is expected")
        return jax.tree.unflatten(jax.tree.structure(target), leaves), stored.record

    def close(self) -> None:
        """Wait for the last save."""
        with writing(self.folder):
            self._manager.wait_until_finished()
            self._manager.close()


CLOSED = "Event loop is closed"


def _say_nothing_late() -> None:
    """Leave out tracebacks of writers that end after a save that failed.

    Orbax closes its event loop with the first array that cannot be written. The threads that write
    the others still report to it, each with a traceback beside the line that says what happened.
    """
    said = sys.unraisablehook
    if getattr(said, "leaves_out_late_writers", False):
        return

    def hook(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == CLOSED):
            said(unraisable)

    hook.leaves_out_late_writers = True  # type: ignore[attr-defined]
    sys.unraisablehook = hook


def _zeros(like: PyTree) -> PyTree:
    """Arrays of the shapes and types of ``like``, whose leaves may be abstract."""
    shapes = jax.eval_shape(lambda: like)
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def _flat(tree: PyTree) -> dict[str, Any]:
    return {f"{i:05d}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def _digest(tree: PyTree, extra: Mapping[str, Any] | None = None) -> str:
    """SHA-256 of the state's numbers, and of what stands beside it."""
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        sha.update(np.ascontiguousarray(leaf).tobytes())
    if extra is not None:
        sha.update(json.dumps(extra, sort_keys=True).encode())
    return sha.hexdigest()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def save_weights(path: Path, params: PyTree, header: Mapping[str, Any]) -> None:
    """``params`` as safetensors with flat keys (``weights.down0.conv0.kernel``); ``header`` is JSON
    in the file's metadata.
    """
    from safetensors.numpy import save

    metadata = {"semiseg": json.dumps(header)}
    with writing(path):  # not save_file, whose files the group cannot read
        write_bytes(path, save(flat_names(params), metadata=metadata))


def load_weights(
    path: Path, like: PyTree | None = None, prefix: str = ""
) -> tuple[PyTree, dict[str, Any]]:
    """``(params, header)`` of a safetensors file; params a flat dict, or shaped like ``like``.

    Args:
      path: the file.
      like: what the params are shaped like.
      prefix: of the names, where a file holds several networks.

    Raises:
      UserError: the file is missing, damaged or of another network.
    """
    flat, header = _read_weights(path)
    if prefix:
        of_network = [name for name in flat if name.startswith(prefix)]
        flat = {name.removeprefix(prefix): flat[name] for name in of_network}
    if like is None:
        return flat, header
    wanted = flat_names(_zeros(like))
    unfit = [name for name in wanted if not _fits(flat.get(name), wanted[name])]
    unfit += [name for name in flat if name not in wanted]
    if unfit:
        raise UserError(
            f"{unfit[0]} does not fit the network of this configuration",
            where=f"{path}",
            remedy="use the config.yaml the weights were trained with",
        )
    return jax.tree.unflatten(jax.tree.structure(like), [flat[name] for name in wanted]), header


def _read_weights(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("semiseg", "{}"))
            flat = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, ValueError, TypeError, RecursionError) as error:
        what = f"cannot be read as safetensors ({_reason(error)})"
        raise UserError(what, where=path, remedy=TRAIN_AGAIN) from None
    for part in (header, *_members(header, path)):
        check_shape(part, HEADER_SHAPE, path, TRAIN_AGAIN)
    odd = next((name for name, array in flat.items() if not _is_finite(array)), None)
    if odd is not None:
        raise UserError(f"{odd} holds numbers that are not finite", where=path, remedy=TRAIN_AGAIN)
    return flat, header


TRAIN_AGAIN = "train the run again"


def _members(header: Any, path: Path) -> list[Any]:
    """The headers of the networks in a file of several."""
    check_shape(header, {"members": Each({})}, path, TRAIN_AGAIN)
    return list(header.get("members", ()))


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _fits(array: np.ndarray | None, wanted: np.ndarray) -> bool:
    return array is not None and array.shape == wanted.shape


def flat_names(tree: PyTree) -> dict[str, np.ndarray]:
    """Leaves by their dotted path.

    Example:
      >>> list(flat_names({"down0": {"kernel": np.zeros(2), "bias": np.zeros(1)}}))
      ['down0.bias', 'down0.kernel']
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {".".join(map(_part, path)): np.asarray(leaf) for path, leaf in leaves}


def _part(key: Any) -> str:
    """A step of a path: the key of a dict, the name of a field, or an index."""
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
