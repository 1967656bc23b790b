"""Folders of generators, as ``semiseg gan sample`` reads them: weights, settings, and the data set
that they were fitted on.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import numpy as np
import yaml
from guards.guard_tools import MADE

from fuzz import mutate_arrays, mutate_bytes
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
from fuzz.of_runs import changed_values
from fuzz.of_sets import IMPORTS

FILES = ("config.yaml", "weights.safetensors", "env.json")
FLAGS = ("--n", "2")


def seeds() -> dict[str, Tree]:
    """A generator of an earlier version, with the fingerprint of the set that is beside it."""
    made = read_tree(MADE / "generator")
    tree: Tree = {f"generator/{name}": made[name] for name in FILES if name in made}

    def store(folder: Path) -> None:
        from semiseg.data import importing

        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        source = MADE / "discs_source"
        importing.import_set("folder", source, "discs", folder / "root", progress=False)

    imported = {name: one for name, one in written(store).items() if name.startswith("root/discs/")}
    return {"generator": {**tree, **imported}}


def mutate(tree: Tree, rng: Random) -> str:
    """Change the weights, their header, or the settings."""
    name = "generator/weights.safetensors"
    if rng.random() < 0.4:
        name = "generator/config.yaml"
        content = tree[name]
        assert isinstance(content, bytes)
        tree[name], words = changed_values(content, rng, True)
        return f"config: {words}"
    return mutate_bytes.mutate_one(tree, rng, mutate_arrays.safetensors, name.__eq__)


def load(place: Place) -> Verdict:
    """Load the generator; its numbers are those of the file, its settings those of the text. What
    ``gan sample`` refuses leaves no set.
    """
    from semiseg import config
    from semiseg.errors import UserError
    from semiseg.generators import sample, settings
    from semiseg.train.checkpoint import flat_names

    folder = place.input / "generator"
    try:
        fitted = sample.load(folder, str(place.input / "root"))
        fitted.origin.to_dict()
    except UserError as error:
        return _refused(place, folder, str(error))
    stored = _stored(place.tree)
    weights = flat_names(fitted.weights)
    if place.tree["generator/config.yaml"] == place.seed["generator/config.yaml"]:
        for name, before in _stored(place.seed).items():
            if np.shape(weights.get(name)) != before.shape:
                return Verdict(FAILURE, "silent generator: another shape", name)
    for name, array in weights.items():
        if not np.isfinite(array).all():
            return Verdict(FAILURE, "silent generator: not finite", name)
        if not np.array_equal(stored[name], array):
            return Verdict(FAILURE, "silent generator: other numbers", name)
    stated = config.flatten(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    used = config.flatten(settings.to_dict(fitted.settings))
    for key, value in stated.items():
        key = str(key).replace("-", "_")
        is_number = isinstance(value, bool | int | float)
        if is_number and used.get(key) is not None and used[key] != value:
            words = f"{key}: {used[key]} for {value}"
            return Verdict(FAILURE, "silent generator: another setting", words)
    if place.tree == place.seed:
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail="the numbers and the settings that the files hold")


def _refused(place: Place, folder: Path, message: str) -> Verdict:
    """The verdict of the command on what the library refuses."""
    if place.rng.random() < 0.7:
        return Verdict(REFUSED, detail=message)
    words = ("gan", "sample", folder, *FLAGS, "--root", place.input / "root")
    outcome = command(*words, "--out", place.work / "made")
    verdict = judged(outcome)
    if verdict is None:
        return Verdict(FAILURE, "the command takes what the library refuses", message)
    if (place.work / "made").exists():
        return Verdict(FAILURE, "a refused generator left a set", outcome.err)
    return verdict


def _stored(tree: Tree) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    return load(tree["generator/weights.safetensors"])


KINDS = (
    Kind(
        "generator",
        seeds,
        mutate,
        load,
        0.3,
        (
            *(*IMPORTS, "jax", "safetensors.numpy", "semiseg.generators.sample"),
            *("semiseg.cli.gan", "semiseg.generators.settings", "semiseg.generators.budget"),
        ),
        writes_beside=True,
    ),
)
