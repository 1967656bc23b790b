"""Checkpoints: the whole training state, atomic and verified. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from semiseg.errors import UserError, writing
from semiseg.types import PyTree


class Checkpoints:
    """The last two states of a run under ``RUN/checkpoints``, written by Orbax.

    Orbax renames a finished folder into place, so a killed save leaves the previous state. It does
    not notice flipped bits, so a digest of the state is kept beside it and compared when it is
    read.
    """

    def __init__(self, folder: Path):
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(
            logging.CRITICAL
        )  # Orbax prints pages for what it also raises
        self.folder, self._ocp = folder.absolute(), ocp
        for leftover in self.folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(leftover, ignore_errors=True)
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, step: int, state: PyTree, extra: Mapping[str, Any]) -> None:
        """Start writing ``state`` (a pytree of arrays) and ``extra`` (JSON); it goes on in the
        background.
        """
        ocp = self._ocp
        host = jax.tree.map(
            np.array, state
        )  # a copy: the buffers are donated to the next chunk while Orbax writes
        record = {"digest": _digest(host), "extra": dict(extra)}
        with writing(self.folder):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_flat(host)), record=ocp.args.JsonSave(record)
                ),
            )

    def latest(self) -> int | None:
        """The last whole step, None for a fresh run."""
        return self._manager.latest_step()

    def restore(self, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """The last state, shaped like ``like``, and its extra.

        Raises:
          UserError: the checkpoint is damaged or of another network, naming its folder.
        """
        ocp, step = self._ocp, self._manager.latest_step()
        place = self.folder / str(step)
        remedy = (
            "delete this folder to go on from the checkpoint before it, or the run's folder "
            "to start again"
        )
        try:
            target = jax.tree.map(
                lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(lambda: like)
            )
            found = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(_flat(target)), record=ocp.args.JsonRestore()
                ),
            )
            leaves = [np.asarray(found.state[key]) for key in _flat(target)]
            for have, want in zip(leaves, jax.tree.leaves(target)):
                if have.shape != want.shape or have.dtype != want.dtype:
                    raise ValueError(
                        f"an array of shape {have.shape} where {want.shape} is expected"
                    )
            state = jax.tree.unflatten(jax.tree.structure(target), leaves)
            intact = _digest(state) == found.record["digest"]
        except Exception as error:  # Orbax, tensorstore and zarr each raise their own
            raise UserError(
                f"{place}: the checkpoint cannot be read ({' '.join(str(error).split())[:160]}); "
                f"{remedy}"
            ) from error
        if not intact:
            raise UserError(f"{place}: the checkpoint is damaged (its digest differs); {remedy}")
        return jax.tree.map(jax.numpy.asarray, state), found.record["extra"]

    def close(self) -> None:
        """Wait for the last save."""
        with writing(self.folder):
            self._manager.wait_until_finished()
            self._manager.close()


def _flat(tree: PyTree) -> dict[str, Any]:
    return {f"{i:05d}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def _digest(tree: PyTree) -> str:
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return sha.hexdigest()


def save_weights(path: Path, params: PyTree, header: Mapping[str, Any]) -> None:
    """``params`` as safetensors with flat keys (``weights.down0.conv0.kernel``); ``header`` is JSON
    in the file's metadata.
    """
    from safetensors.numpy import save

    partial = path.with_suffix(".tmp")
    with writing(path):
        partial.write_bytes(
            save(flat_names(params), metadata={"semiseg": json.dumps(header)})
        )  # save_file would hide it from the group
        partial.replace(path)


def load_weights(path: Path, like: PyTree | None = None) -> tuple[PyTree, dict[str, Any]]:
    """``(params, header)`` of a safetensors file; params a flat dict, or shaped like ``like``.

    Raises:
      UserError: the file is missing, damaged or of another network.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("semiseg", "{}"))
            flat = {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as safetensors ({error}); train the run again"
        ) from None
    if like is None:
        return flat, header
    wanted = flat_names(
        jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(lambda: like))
    )
    wrong = [k for k in wanted if k not in flat or flat[k].shape != wanted[k].shape] or [
        k for k in flat if k not in wanted
    ]
    if wrong:
        raise UserError(
            f"{path}: {wrong[0]} does not fit the network of this configuration: use the "
            f"config.yaml the weights were trained with"
        )
    return jax.tree.unflatten(jax.tree.structure(like), [flat[k] for k in wanted]), header


def flat_names(tree: PyTree) -> dict[str, np.ndarray]:
    """Leaves by their dotted path."""
    part = lambda p: str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p))))
    return {
        ".".join(part(p) for p in path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
