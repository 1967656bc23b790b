"""A run folder on Weights & Biases: configuration, scalars, overlays with mask layers, the
per-subject table and the model; of a generator's fit (job type generator) its configuration, losses
and diversity, the sample grids and the weights.

What could not be sent while the run trained is sent later by ``semiseg track upload``. Without a
key everything is written offline (``wandb sync`` sends it).
"""

from __future__ import annotations

import csv
import json
import netrc
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.escapes import csv_text
from semiseg.evaluate.metrics import METRICS, default_names
from semiseg.files import read_json_if_whole, read_mapping, write_text
from semiseg.run_folder import (
    BEST_WEIGHTS,
    CONFIG,
    ENVIRONMENT,
    SAMPLES,
    SCORES,
    SUMMARY,
    WEIGHTS,
    RunFolder,
)
from semiseg.track.contents import (
    GRID_CAPTION,
    class_count,
    examples,
    flat_summary,
    grid_at,
    grid_steps,
    new_lines,
)
from semiseg.types import IGNORE

State = dict[str, Any]
"""What wandb.json remembers: the run's id, the last step and grid that were sent, how it ended."""
MODEL_FILES = (WEIGHTS, BEST_WEIGHTS, CONFIG, SUMMARY, ENVIRONMENT, SCORES)
GENERATOR_FILES = (WEIGHTS, CONFIG, ENVIRONMENT, SAMPLES)
SUMMARY_OF_CURVE = {"higher": "max,last", "lower": "min,last", "nearer to zero": "last"}
"""What W&B keeps of a curve, by which value is better: the best, where W&B can tell it, and the
last.
"""
VALUE = 6
"""Column of per_subject.csv that holds numbers."""


class WeightsAndBiases:
    """See :class:`semiseg.track.follower.Sink`."""

    name = "W&B"
    package = "wandb"

    def __init__(self, folder: Path, group: str | None = None, job_type: str = "train"):
        self.folder = folder
        self.group = group
        self.job_type = job_type
        self.remedy = f"semiseg track upload {folder}"
        self._run: Any = None
        self._state: State = {}

    def open(self) -> None:
        """Begin the W&B run, or resume it."""
        self._state = _state(self.folder)
        self._run = begin(self.folder, self._state, self.group, self.job_type)

    def send(self) -> None:
        """Send new scalars and sample grids."""
        send_scalars(self._run, self.folder, self._state)
        send_grids(self._run, self.folder, self._state)

    def close(self, failed: bool) -> None:
        """Send what a finished folder holds, and end the W&B run."""
        finish(self._run, self.folder, self._state, failed=failed)


def upload(
    folder: Path, *, group: str | None = None, job_type: str = "train", again: bool = False
) -> str:
    """Send a finished run; gives "online", "offline" or "already there". Raises what W&B raises."""
    state: State = {}
    if not again:
        state = _state(folder)
    if state.get("finished") == "online":
        return "already there"
    if state.get("finished") == "offline":
        state = {}  # an offline copy may have been synchronised or not: a fresh id cannot clash
    run = begin(folder, state, group, job_type)
    send_scalars(run, folder, state)
    send_grids(run, folder, state)
    finish(run, folder, state)
    return mode()


def mode() -> Any:
    """WANDB_MODE, else online where there is a key, else offline."""
    chosen = os.environ.get("WANDB_MODE")
    if chosen:
        return chosen
    return "online" if has_key() else "offline"


def has_key() -> bool:
    """Whether W&B would find somebody logged in."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("://")[-1].strip("/")
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


# ------------------------------------------------------------------ what is sent
def begin(folder: Path, state: State, group: str | None, job_type: str) -> Any:
    """Start (or resume) the W&B run of a folder. Offline, resuming is a whole copy under the
    same id.
    """
    import wandb

    tree = read_mapping(folder / CONFIG)
    state.setdefault("id", uuid.uuid4().hex[:12])
    kinds = ("method", "net")
    if "generator" in tree:
        job_type = "generator"
        kinds = ("generator", "discriminator")
    names = [str((tree.get(kind) or {}).get("name", "")) for kind in kinds]
    tags = [str(tree.get("data")), *names, f"labels {tree.get('labels')}"]
    identity = {"id": state["id"], "resume": "allow"}
    if os.environ.get("WANDB_SWEEP_ID"):  # an agent has made the run already: take its id
        identity = {}
    settings = wandb.Settings(
        console="off", silent=True, init_timeout=60, disable_git=True, x_disable_stats=True
    )
    run = wandb.init(
        **identity,
        project=os.environ.get("WANDB_PROJECT", "semiseg"),
        name=folder.name,
        group=group or os.environ.get("WANDB_RUN_GROUP") or f"{tree.get('data')}-{names[0]}",
        job_type=job_type,
        tags=[tag for tag in tags if tag],
        config=tree | {"environment": read_json_if_whole(folder / ENVIRONMENT)},
        dir=str(folder),
        mode=mode(),
        reinit="create_new",
        settings=settings,
    )
    _define_metrics(run)
    # what W&B has, not what was sent: killed, it loses its last lines
    state["step"] = max(0, run.starting_step - 1)
    if "grid" in state:
        state["grid"] = min(state["grid"], state["step"])
    _remember(folder, state)
    return run


def summaries() -> dict[str, str]:
    """What W&B keeps of each curve: its best value by the metric's direction, and the last one."""
    curves = {name: SUMMARY_OF_CURVE[METRICS[name].better] for name in default_names()}
    return {"loss": "min,last", **curves}


def _define_metrics(run: Any) -> None:
    """Say which axis each curve has, and what is kept of it."""
    run.define_metric("step", hidden=True)
    for name, best in summaries().items():
        run.define_metric(name, step_metric="step", summary="last")
        for prefix in ("val_", "test_"):
            run.define_metric(prefix + name, step_metric="step", summary=best)


def send_scalars(run: Any, folder: Path, state: State) -> None:
    """The whole lines of metrics.jsonl that were not sent yet."""
    sent = state.get("step", 0)
    for values in new_lines(RunFolder(folder), sent):
        run.log(values | _grid(folder, values["step"], state), step=values["step"])
        state["step"] = values["step"]
    if state.get("step", 0) > sent:
        _remember(folder, state)


def send_grids(run: Any, folder: Path, state: State) -> None:
    """The sample grids of a generator's fit that were written after their step's line was sent."""
    sent = state.get("grid", 0)
    for step in grid_steps(RunFolder(folder)):
        last_step = state.get("step", 0)
        if sent < step <= last_step:
            run.log(_grid(folder, step, state), step=last_step)
    if state.get("grid", 0) > sent:
        _remember(folder, state)


def _grid(folder: Path, step: int, state: State) -> dict[str, Any]:
    """A step's sample grid as a W&B image, where there is one."""
    file = grid_at(RunFolder(folder), step)
    if not file.exists():
        return {}
    import wandb

    state["grid"] = max(step, state.get("grid", 0))
    return {"samples": wandb.Image(str(file), caption=f"step {step}: {GRID_CAPTION}")}


def finish(run: Any, folder: Path, state: State, failed: bool = False) -> None:
    """Summary, per-subject table, overlays and model of a finished folder (of a fit its weights);
    then the end of the W&B run.
    """
    import wandb

    summary = read_json_if_whole(folder / SUMMARY)
    fitted = not summary and (folder / WEIGHTS).exists()
    if fitted:
        artifact = wandb.Artifact(f"{folder.name}-generator", type="generator")
        _add_files(artifact, folder, GENERATOR_FILES)
        run.log_artifact(artifact)
    if summary:
        run.summary.update(flat_summary(summary))
        run.log({"per_subject": _table(folder / SCORES)})
        overlays = images(folder)
        if overlays:
            run.log({"examples": overlays})
        metadata = {"last": summary.get("last", {})}
        artifact = wandb.Artifact(f"{folder.name}-model", type="model", metadata=metadata)
        _add_files(artifact, folder, MODEL_FILES)
        run.log_artifact(artifact)
    run.finish(exit_code=int(failed))
    if summary or fitted:
        state["finished"] = mode()
    _remember(folder, state)


def _add_files(artifact: Any, folder: Path, names: Iterable[str]) -> None:
    """Add files from where they lie: W&B would keep a copy of every model in the home folder."""
    for name in names:
        file = folder / name
        if file.exists():
            artifact.add_file(str(file.resolve()), name, policy="immutable", skip_cache=True)


def _table(file: Path) -> Any:
    """per_subject.csv as a W&B table, its values as numbers."""
    import wandb

    with file.open(newline="") as lines:
        columns, *rows = [[*map(csv_text, row)] for row in csv.reader(lines)]
    for row in rows:
        row[VALUE] = _number(row[VALUE])
    return wandb.Table(columns=list[str | int](columns), data=rows)


def _number(text: str) -> Any:
    if not text:
        return None
    return float(text)


def images(folder: Path) -> list[Any]:
    """examples.npz as W&B images with a layer for the truth and one for the prediction."""
    import wandb

    samples = examples(RunFolder(folder))
    names = {0: "background", IGNORE: "not annotated"}
    names |= {k: f"class {k}" for k in range(1, class_count(samples) + 1)}
    data = read_mapping(folder / CONFIG).get("data")
    overlays = []
    for example in samples:
        layers = {"truth": example.label, "prediction": example.prediction}
        masks = {
            name: {"mask_data": layer.astype(np.uint8), "class_labels": names}
            for name, layer in layers.items()
        }
        caption = f"{data} {example.subject}, Dice {example.dice:.3f}"
        overlays.append(wandb.Image(example.image, masks=masks, caption=caption))
    return overlays


# ------------------------------------------------------------------ what was sent
def _state(folder: Path) -> State:
    return read_json_if_whole(RunFolder(folder).tracking)


def _remember(folder: Path, state: State) -> None:
    write_text(RunFolder(folder).tracking, json.dumps(state) + "\n")
