"""The start of a run: pre-train once for all the trials that begin alike, or read a file.

    PARENT/.init/NAME-HASH/metrics.jsonl, checkpoints/, weights.safetensors     PARENT holds the run folders (of a sweep)

The hash is over everything that the weights depend on, see :func:`settings`, and nothing else:
budgets, label subsets, methods and learning rates of a sweep share one start. One process
pre-trains, the others wait for it; killed, it goes on from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from semiseg.errors import UserError
from semiseg.files import Lock
from semiseg.pretrain.objective import Objective
from semiseg.train.begin import Fresh, Weights, fitted
from semiseg.train.checkpoint import load_weights, save_weights
from semiseg.train.loop import Plan, fit
from semiseg.types import IGNORE, Model, Params, Pools

if TYPE_CHECKING:
    from semiseg.config import Trial

FOLDER = ".init"


class Start(NamedTuple):
    """What a run begins with.

    Attributes:
      name: ``none``, an objective, or the path of the weights.
      params: variables, of which those in layers that follow the number of classes are not used;
        None for fresh ones.
      steps: optimiser steps behind them, as far as their file says so.
      seconds: that the pre-training took, whether now or before.
      subjects: annotated subjects of this data set that they were trained on.
    """

    name: str
    params: Params | None
    steps: int = 0
    seconds: float = 0.0
    subjects: tuple[str, ...] = ()


def start(
    trial: Trial,
    model: Model,
    pools: Pools,
    header: Mapping[str, Any],
    beside: Path | None,
    *,
    progress: bool = False,
) -> Start:
    """What ``trial.init`` stands for.

    Args:
      pools: of the trial; an objective sees their real images alone, every one of them, see
        :func:`images_only`.
      header: what a weights file of the trial says of itself, with the fingerprint of the data.
      beside: folder in which the run's folder lies, where a pre-training is kept; None keeps
        nothing.

    Raises:
      Interrupted: SIGTERM or Ctrl-C while pre-training; it is saved.
      UserError: weights that do not fit, or were trained on another version of the data set.
    """
    if isinstance(trial.init, Fresh):
        return Start("none", None)
    if isinstance(trial.init, Weights):
        return _read(trial.init.path, model, trial.data, header)
    if beside is None:
        return _pretrained(trial, model, pools, header, None, progress)
    place = beside / FOLDER
    name = f"{_name(trial)}-{content(trial, header['fingerprint'])[:12]}"
    lock = Lock(place / ".claims" / name)
    if not lock.take(wait=True):
        raise UserError(
            f"{place}: cannot be locked, so that two runs would pre-train into one folder; "
            f"choose an --out on another file system"
        )
    try:
        return _pretrained(trial, model, pools, header, place / name, progress)
    finally:
        lock.drop()


def settings(trial: Trial) -> Trial:
    """The trial with everything at its default that pre-training does not depend on: labels,
    method, optimiser, how often it reports.
    """
    from semiseg.config import Trial

    unused = (
        "root method labels label_subset steps view lr optimiser momentum weight_decay "
        "schedule warmup clip ratio synthetic eval_every log_every"
    )
    return dataclasses.replace(
        trial, **{name: getattr(Trial(), name) for name in (*unused.split(), "checkpoint_seconds")}
    )


def content(trial: Trial, fingerprint: str) -> str:
    """SHA-256 of all that a pre-training depends on: its images by their fingerprint, not where
    they lie.
    """
    from semiseg import config

    # not the fields that later versions added and that a pre-training does not depend on: one made
    # before is found again
    fields = {
        k: v for k, v in config.to_dict(settings(trial)).items() if not k.startswith("synthetic_")
    }
    return hashlib.sha256(json.dumps([fields, fingerprint], sort_keys=True).encode()).hexdigest()


def images_only(pools: Pools) -> Pools:
    """The pool's images, all of them unlabelled, without a label and without synthetic images."""
    n, hidden = len(pools.image_NHWC), jnp.full_like(pools.label_NHW, IGNORE)
    every, count = jnp.arange(n, dtype=jnp.int32), jnp.int32(n)
    nothing = jnp.zeros((1, *pools.image_NHWC.shape[1:]), pools.image_NHWC.dtype)
    return Pools(
        pools.image_NHWC, hidden, every, count, every, count, nothing, hidden[:1], jnp.int32(0)
    )


# ------------------------------------------------------------------ where weights come from
def _pretrained(
    trial: Trial,
    model: Model,
    pools: Pools,
    header: Mapping[str, Any],
    folder: Path | None,
    progress: bool,
) -> Start:
    from semiseg import config
    from semiseg.runner import knobs_of, program_of

    name, whole = _name(trial), folder / "weights.safetensors" if folder else None
    if whole and whole.exists():
        params, kept = load_weights(whole, jax.eval_shape(lambda: model.init(jax.random.key(0))))
        return Start(name, params, kept["total_steps"], kept["seconds"])
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    plain, objective = settings(trial), trial.init
    assert isinstance(objective, Objective)
    mine = dataclasses.replace(plain, method=objective, lr=objective.lr, steps=trial.init_steps)
    plan = Plan(trial.init_steps, trial.log_every, trial.init_steps, trial.checkpoint_seconds)
    try:
        done = fit(
            program_of(mine, model),
            knobs_of(mine),
            trial.seed,
            images_only(pools),
            plan,
            folder,
            None,
            progress=progress,
        )
    except UserError as error:
        raise UserError(str(error).replace("--lr, or --clip=1", "--init.lr")) from None
    if whole:
        said = {
            **header,
            "config": config.to_dict(plain),
            "subjects": [],
            "total_steps": trial.init_steps,
            "seconds": round(done.seconds, 2),
        }
        save_weights(
            whole, done.params, said
        )  # last: its presence says that the pre-training is whole
    return Start(name, done.params, trial.init_steps, round(done.seconds, 2))


def _read(path: str, model: Model, data: str, header: Mapping[str, Any]) -> Start:
    file = Path(path) / "weights.safetensors" if Path(path).is_dir() else Path(path)
    if not file.exists():
        raise UserError(
            f"init {path}: there is no {file}; name the folder of a finished run, or a "
            f".safetensors file"
        )
    flat, kept = load_weights(file)
    same = (kept.get("config") or {}).get("data") == data
    if same and kept.get("fingerprint") != header["fingerprint"]:
        raise UserError(
            f"init {path}: data set {data!r} was imported again since these weights were "
            f"trained, so they may know its test subjects; train them anew"
        )
    steps = kept.get("total_steps", kept.get("step", 0))
    return Start(
        path,
        fitted(flat, model, str(file)),
        steps,
        subjects=tuple(kept.get("subjects", ())) if same else (),
    )


def _name(trial: Trial) -> str:
    from semiseg import config

    return config.name_of("init", trial.init)
