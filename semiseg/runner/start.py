"""Initial weights of a run: pre-train once for all the trials that begin alike, or read a file.

    PARENT/.init/NAME-HASH/metrics.jsonl, checkpoints/, weights.safetensors

PARENT holds the run folders (of a sweep).

The hash is over everything that the weights depend on, see :func:`settings`, and nothing else:
label budgets, label subsets, methods and learning rates of a sweep share one pre-training. One
process pre-trains, the others wait for it; killed, it goes on from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import config
from semiseg.config import Trial
from semiseg.data import provenance
from semiseg.data.pools import Training, choice
from semiseg.data.provenance import Provenance
from semiseg.data.rotating import Rotating
from semiseg.errors import UserError
from semiseg.fields import role
from semiseg.files import Lock
from semiseg.nets.from_torch.convert import import_weights
from semiseg.nets.from_torch.state_dict import read_state_dict
from semiseg.pretrain import Fresh, Objective, Weights
from semiseg.run_folder import RunFolder
from semiseg.runner import leaks
from semiseg.runner.build import header_of, knobs_of, program_of, shapes_of
from semiseg.train import hosts
from semiseg.train.begin import params_from_flat
from semiseg.train.checkpoint import flat_names, load_weights, save_weights
from semiseg.train.loop import Plan
from semiseg.train.segmenter import fit
from semiseg.types import IGNORE, Model, Params, Pools, is_hyper

log = logging.getLogger("semiseg")

FOLDER = ".init"
UNUSED = (
    "root method labels label_subset steps view lr optimiser momentum weight_decay schedule warmup "
    "clip ratio synthetic eval_every log_every checkpoint_seconds"
).split()
"""Fields of the first trials that a pre-training does not depend on. Their defaults are part of its
hash, so this list stays as it is.
"""


class Start(NamedTuple):
    """What a run begins with.

    Attributes:
      name: ``none``, an objective, or the path of the weights.
      params: variables, of which those in layers that follow the number of classes are not used;
        None for fresh ones.
      steps: optimiser steps behind them, as far as their file says so.
      seconds: that the pre-training took, whether now or before.
      subjects: annotated subjects of this data set that they were trained on.
      provenance: what they were trained on, as far as their file says so.
    """

    name: str
    params: Params | None
    steps: int = 0
    seconds: float = 0.0
    subjects: tuple[str, ...] = ()
    provenance: Provenance = Provenance()


def start(
    trial: Trial,
    model: Model,
    pools: Pools | Rotating,
    training: Training,
    beside: Path | None,
    *,
    progress: bool = False,
) -> Start:
    """What ``trial.init`` stands for.

    Args:
      trial: the run.
      model: its network.
      pools: of the trial; an objective sees their real images alone, every one of them, see
        :func:`images_only`.
      training: the training split.
      beside: folder in which the run's folder lies, where a pre-training is stored; None stores
        nothing.
      progress: show it while pre-training.

    Raises:
      Interrupted: SIGTERM or Ctrl-C while pre-training; it is saved.
      UserError: weights that do not fit, were trained on another version of the data set, or have
        seen images of its validation or test split.
    """
    if isinstance(trial.init, Fresh):
        return Start("none", None)
    info = training.info
    if isinstance(trial.init, Weights):
        return _read(trial.init.path, model, training)
    images_alone = provenance.of_training(info, (), held_out=training.held_out)
    pools = images_only(pools, training)
    header = {**header_of(trial, training), provenance.KEY: images_alone.to_dict()}
    if beside is None:
        return _pretrained(trial, model, pools, header, None, progress)
    place = beside / FOLDER
    name = f"{_name(trial)}-{content(trial, header['fingerprint'])[:12]}"
    with Lock(place / ".claims" / name):  # two runs would pre-train into one folder
        return _pretrained(trial, model, pools, header, RunFolder(place / name), progress)


def settings(trial: Trial) -> Trial:
    """The trial with everything at its default that pre-training does not depend on: labels,
    method, optimiser, how often it reports.
    """
    default = Trial()
    changes = {name: getattr(default, name) for name in (*UNUSED, *_unused_since())}
    return dataclasses.replace(trial, **changes)


def _unused_since() -> list[str]:
    """Later fields that play no part in a pre-training: what concerns synthetic images and masks
    from elsewhere, and every traced number. They are left out of the hash, so that a pre-training
    of an earlier version is found.
    """
    names: list[str] = []
    for field in dataclasses.fields(Trial):
        is_number = role(field) is True and not is_hyper(field.default)
        of_others = field.name.startswith(("synthetic_", "pseudo"))
        if field.name not in UNUSED and (is_number or of_others):
            names.append(field.name)
    return names


def content(trial: Trial, fingerprint: str) -> str:
    """SHA-256 of all that a pre-training depends on: its images by their fingerprint, not where
    they lie.
    """
    values = config.to_dict(settings(trial))
    later = _unused_since()
    if not trial.folds:
        later += ["folds", "fold"]
    if trial.pool_memory is None:
        later += ["pool_memory"]
    fields = {name: v for name, v in values.items() if name not in later}
    # a pre-training has no pseudo-labels that pixels under a cut-out could teach
    unused = {"under_cutouts"}
    if fields["augment"].get("fourier", {}).get("views", "neither") == "neither":
        unused.add("fourier")
    fields["augment"] = {k: v for k, v in fields["augment"].items() if k not in unused}
    return hashlib.sha256(json.dumps([fields, fingerprint], sort_keys=True).encode()).hexdigest()


def images_only(pools: Pools | Rotating, training: Training) -> Pools | Rotating:
    """The training images, all of them unlabelled, without a label and without synthetic images."""
    if isinstance(pools, Rotating):
        return pools.images_alone()
    every = choice(training.in_pool(np.ones(len(training.cases), bool)))
    return Pools(
        image=pools.image,
        label=jnp.full_like(pools.label, IGNORE),
        labelled=every,
        unlabelled=every,
        synthetic_count=jnp.int32(0),
    )


# ------------------------------------------------------------------ where weights come from
def _pretrained(
    trial: Trial,
    model: Model,
    pools: Pools | Rotating,
    header: Mapping[str, Any],
    folder: RunFolder | None,
    progress: bool,
) -> Start:
    name = _name(trial)
    if hosts.fact_from_first(folder is not None and folder.trained):
        params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes_of(model))
        stored: dict[str, Any] = {}
        if folder:
            params, stored = load_weights(folder.weights, shapes_of(model))
        stored = hosts.fact_from_first(stored)
        return Start(name, hosts.from_first(params), stored["total_steps"], stored["seconds"])
    if folder:
        folder.path.mkdir(parents=True, exist_ok=True)
    plain = settings(trial)
    objective = trial.init
    assert isinstance(objective, Objective)
    steps = trial.init_steps
    knobs = knobs_of(plain).replace(method=objective, lr=objective.lr, steps=float(steps))
    done = fit(
        program_of(plain, model),
        knobs,
        trial.seed,
        pools,
        Plan(steps, trial.log_every, steps, trial.checkpoint_seconds),
        folder,
        None,
        progress=progress,
        remedy="try a lower --init.lr",
    )
    seconds = round(done.seconds, 2)
    if folder:  # last: the weights' presence says that the pre-training is whole
        facts = {
            "config": config.to_dict(plain),
            "subjects": [],
            "total_steps": steps,
            "seconds": seconds,
        }
        save_weights(folder.weights, done.params, {**header, **facts})
    return Start(name, done.params, steps, seconds)


def _read(path: str, model: Model, training: Training) -> Start:
    info = training.info
    file = Path(path)
    if file.is_dir():
        file = RunFolder(file).weights
    if not file.exists():
        raise UserError(
            f"init {path}: there is no {file}; name the folder of a finished run, a "
            f".safetensors file or a PyTorch state dict"
        )
    flat, stored = _weights(file, model)
    steps = stored.get("total_steps", stored.get("step", 0))
    params = params_from_flat(flat, model, str(file))
    of_this_set = (stored.get("config") or {}).get("data") == info.name
    if of_this_set and stored.get("fingerprint") != info.fingerprint:
        raise UserError(
            f"init {path}: data set {info.name!r} was imported again since these weights were "
            f"trained, so they may know its test subjects; train them anew"
        )
    origin = provenance.of_header(stored, f"the initial weights {path}")
    remedy = "train them on training subjects alone"
    source = leaks.checked(origin, info, f"init {path}", remedy, training.held_out)
    in_order = stored.get("subjects", ()) if of_this_set else ()
    subjects = tuple(dict.fromkeys((*in_order, *source.subjects)))
    return Start(path, params, steps, subjects=subjects, provenance=source.provenance)


def _weights(file: Path, model: Model) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Flat names and header of a file of ours, or of another program's for the model's network."""
    if file.suffix == ".safetensors":
        flat, header = load_weights(file)
        if header or any(name.startswith("weights.") for name in flat):
            return flat, header
    imported = import_weights(model.net, read_state_dict(file), model.sample.shape[1])
    log.info("%s: %s", file, imported.source)
    for note in imported.notes:
        log.warning("%s: %s", file, note)
    return flat_names(imported.params), {}


def _name(trial: Trial) -> str:
    return config.name_of("init", trial.init)
