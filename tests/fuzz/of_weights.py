"""Weights of runs, weights of PyTorch as ``semiseg import-weights`` reads them, and checkpoints."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from guards.guard_tools import MADE

from fuzz import mutate_arrays, mutate_bytes, mutate_text
from fuzz.engine import (
    DIFFERENT,
    FAILURE,
    REFUSED,
    SAME,
    Kind,
    Place,
    Tree,
    Verdict,
    command,
    judged,
    read_tree,
    written,
)

TORCH = Path(__file__).parents[1] / "nets" / "torch_weights"
JAX = ("jax", "safetensors.numpy", "semiseg.runner.predictor")


# ------------------------------------------------------------------ a run's own
def run_seeds() -> dict[str, Tree]:
    """Weights and configurations of a finished run, and of an exported one."""
    trees: dict[str, Tree] = {}
    for name in ("finished/supervised", "exported"):
        tree = read_tree(MADE / name)
        trees[name.partition("/")[0]] = {
            f"run/{file}": tree[file] for file in ("config.yaml", "weights.safetensors")
        }
    return trees


def mutate_run(tree: Tree, rng: Random) -> str:
    """Change the weights, their header, or the configuration beside them."""
    from fuzz.of_runs import changed_values

    if rng.random() < 0.25:
        name = "run/config.yaml"
        content = tree[name]
        assert isinstance(content, bytes)
        tree[name], words = changed_values(content, rng, True)
        return f"config: {words}"
    return mutate_bytes.mutate_one(
        tree, rng, mutate_arrays.safetensors, lambda name: name.endswith(".safetensors")
    )


def load_run(place: Place) -> Verdict:
    """Load as predictions do, and where the weights begin another run; compare with safetensors.

    Weights have no checksum: numbers that the file really holds are those that are used.
    """
    from semiseg.data import provenance
    from semiseg.errors import UserError
    from semiseg.runner.predictor import Predictor
    from semiseg.train.checkpoint import flat_names, load_weights

    path = place.input / "run"
    try:
        predictor = Predictor.load(path)
        _, header = load_weights(path / "weights.safetensors")
        provenance.of_header(header, "the weights")
    except UserError as error:
        return Verdict(REFUSED, detail=str(error))
    stored = _stored(place.tree)
    params = flat_names(predictor.params)
    for name, array in params.items():
        if not np.isfinite(array).all():
            return Verdict(FAILURE, "silent weights: not finite", name)
        if not np.array_equal(stored[name], array):
            return Verdict(FAILURE, "silent weights: other numbers", name)
    classes = predictor.classes
    if len(set(classes)) != len(classes) or not all(isinstance(one, str) for one in classes):
        return Verdict(FAILURE, "silent weights: classes", repr(classes))
    before = _stored(place.seed)
    if all(np.array_equal(before[name], array) for name, array in params.items()):
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail="numbers that the file holds")


def _stored(tree: Tree) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    return load(tree["run/weights.safetensors"])


# ------------------------------------------------------------------ PyTorch's
def torch_seeds() -> dict[str, Tree]:
    """State dicts of three programs, one of them also as safetensors."""
    trees: dict[str, Tree] = {}
    for name in ("milesial_unet", "ssl4mis_unet", "nnunet_plain"):
        content = gzip.decompress((TORCH / f"{name}.pth.gz").read_bytes())
        trees[name] = {"w.pth": content}
    trees["safetensors"] = written(_as_safetensors)
    return trees


def _as_safetensors(folder: Path) -> None:
    from safetensors.numpy import save_file

    from semiseg.nets.from_torch.state_dict import read_state_dict

    path = folder / "w.pth"
    path.write_bytes(gzip.decompress((TORCH / "milesial_unet.pth.gz").read_bytes()))
    save_file(dict(read_state_dict(path)), folder / "w.safetensors")
    path.unlink()


def mutate_torch(tree: Tree, rng: Random) -> str:
    change = mutate_arrays.safetensors if "w.safetensors" in tree else mutate_arrays.torch
    return mutate_bytes.mutate_one(tree, rng, change)


def import_torch(place: Place) -> Verdict:
    """Run ``semiseg import-weights``: every number it writes stands in the file."""
    name = next(iter(place.seed))
    out = place.work / "out.safetensors"
    outcome = command("import-weights", place.input / name, "--out", out)
    refused = judged(outcome)
    if refused is not None:
        if out.exists():
            return Verdict(FAILURE, "a refused import left weights", outcome.err)
        return refused
    from safetensors.numpy import load_file

    known = _numbers(name, place.tree[name])
    for key, array in load_file(out).items():
        if not np.isfinite(array).all():
            return Verdict(FAILURE, "silent import: not finite", key)
        is_folded = key.endswith(".mean")  # from which a convolution's bias was taken
        if not is_folded and not np.isin(array, known).all():
            return Verdict(FAILURE, "silent import: numbers of nobody", key)
    if place.tree == place.seed:
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail="numbers that the file holds")


def _numbers(name: str, content: Any) -> np.ndarray:
    """All numbers of a file's tensors, whatever their type; 0 and 1 are in every network."""
    parts = [np.array([0, 1], np.float32)]
    blocks: list[bytes] = []
    if name.endswith(".pth"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            blocks = [archive.read(info) for info in archive.infolist()]
    else:
        blocks = [content[8 + int.from_bytes(content[:8], "little") :]]
    with np.errstate(all="ignore"):
        for block in blocks:
            if not block.strip(b"\0"):
                continue
            for kind in ("f4", "f2", "f8", "i8", "i4", "i2", "i1", "u1"):
                size = np.dtype(kind).itemsize
                whole = block[: len(block) // size * size]
                parts.append(np.frombuffer(whole, kind).astype(np.float32))
            half = np.frombuffer(block[: len(block) // 2 * 2], np.uint16).astype(np.uint32) << 16
            parts.append(half.view(np.float32))
    return np.unique(np.concatenate(parts))


# ------------------------------------------------------------------ checkpoints
EXTRA = {"step": 2, "best": 0.75, "names": ["a", "b"], "history": [[1, 0.5], [2, 0.75]]}


def _state(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    return {
        "params": {"kernel": rng.normal(size=(3, 4)).astype(np.float32), "bias": np.zeros(4)},
        "count": np.int32(step),
        "key": np.array([0, step], np.uint32),
    }


def checkpoint_seeds() -> dict[str, Tree]:
    """Two states of a run."""

    def write(folder: Path) -> None:
        from semiseg.train.checkpoint import Checkpoints

        stored = Checkpoints(folder / "checkpoints")
        for step in (1, 2):
            stored.save(step, _float32(_state(step)), EXTRA | {"step": step})
        stored.close()

    return {"two": written(write)}


def _float32(state: dict[str, Any]) -> dict[str, Any]:
    state["params"]["bias"] = state["params"]["bias"].astype(np.float32)
    return state


def mutate_checkpoint(tree: Tree, rng: Random) -> str:
    """Change, take away or exchange a file; JSON by its structure."""
    if rng.random() < 0.15:
        return mutate_text.folder(tree, rng)

    def change(content: bytes, rng: Random) -> tuple[bytes, str]:
        if content.lstrip()[:1] == b"{" and rng.random() < 0.8:
            return mutate_text.of_json(content, rng)
        return mutate_bytes.any_bytes(content, rng)

    return mutate_bytes.mutate_one(tree, rng, change)


def resume(place: Place) -> Verdict:
    """Read as a run does that goes on: one of the two states, whole, or a refusal."""
    import jax

    from semiseg.errors import UserError
    from semiseg.train.checkpoint import Checkpoints

    try:
        stored = Checkpoints(place.input / "checkpoints")
        step = stored.latest()
        if step is None:
            return Verdict(DIFFERENT, detail="no checkpoint: the run begins again")
        state, extra = stored.restore(_float32(_state(0)))
    except UserError as error:
        return Verdict(REFUSED, detail=str(error))
    expected = jax.tree.leaves(_float32(_state(int(state["count"]))))
    leaves = jax.tree.leaves(state)
    if not all(np.array_equal(a, b) for a, b in zip(leaves, expected, strict=True)):
        return Verdict(FAILURE, "silent checkpoint: another state")
    if json.dumps(extra) != json.dumps(EXTRA | {"step": int(state["count"])}):
        return Verdict(FAILURE, "silent checkpoint: another record", str(extra))
    return Verdict(SAME)


KINDS = (
    Kind("weights.run", run_seeds, mutate_run, load_run, 0.4, JAX),
    Kind(
        "weights.torch",
        torch_seeds,
        mutate_torch,
        import_torch,
        0.3,
        (*JAX, "semiseg.cli.import_weights", "semiseg.nets.from_torch.convert"),
    ),
    Kind(
        "checkpoint",
        checkpoint_seeds,
        mutate_checkpoint,
        resume,
        0.4,
        ("jax", "orbax.checkpoint", "semiseg.train.checkpoint"),
        writes_beside=True,
    ),
)
