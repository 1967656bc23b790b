"""A run folder on Weights & Biases: configuration, scalars, overlays with mask layers, the
per-subject table and the model; of a generator's fit (job type generator) its configuration, losses
and diversity, the sample grids and the weights.

One thread a run reads the same files that everyone else reads and tells W&B, so that a slow, absent
or broken W&B costs the training nothing: what it could not send is sent later by ``semiseg track
upload``. Without a key everything is written offline (``wandb sync`` sends it).
"""

from __future__ import annotations

import csv
import json
import logging
import os
import threading
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.files import read_json_if_whole, read_mapping, write_text
from semiseg.run_folder import (
    BEST_WEIGHTS,
    CONFIG,
    ENVIRONMENT,
    EXAMPLES,
    LOG,
    SAMPLES,
    SCORES,
    SUMMARY,
    TRACKING,
    WEIGHTS,
)

log = logging.getLogger("semiseg")

WAIT = 120.0
"""Seconds that a finished run waits for W&B at most."""


class Mirror:
    """Follows one run folder in a thread of its own."""

    def __init__(self, folder: Path, *, group: str | None = None, job_type: str = "train"):
        self.folder, self.group, self.job_type = folder, group, job_type
        self.problem: str | None = None
        self._done, self._failed = threading.Event(), False
        self._thread = threading.Thread(
            target=self._follow, name=f"wandb {folder.name}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self, failed: bool = False) -> None:
        """Send what is left; waits at most :data:`WAIT` seconds."""
        self._failed = failed
        self._done.set()
        self._thread.join(WAIT)
        if self._thread.is_alive():
            self.problem = f"W&B did not answer for {WAIT:.0f} s"
        if self.problem:
            log.warning(
                (
                    "%s: not on W&B (%s); the run folder is complete, send it later: semiseg track "
                    "upload %s"
                ),
                self.folder,
                self.problem,
                self.folder,
            )

    def _follow(self) -> None:
        try:
            while not (
                self.folder / CONFIG
            ).exists():  # a fresh run's folder must stay empty until the run has claimed it
                if self._done.wait(0.05):
                    if not (self.folder / CONFIG).exists():
                        return
            state = _state(self.folder)
            run = begin(self.folder, state, self.group, self.job_type)
            finishing = False
            while True:
                send_scalars(run, self.folder, state)
                send_grids(run, self.folder, state)
                if finishing:
                    break
                finishing = self._done.wait(1.0)
            finish(run, self.folder, state, failed=self._failed)
        except BaseException as error:  # W&B raises its own, and SystemExit
            self.problem = " ".join(str(error).split())[:200] or type(error).__name__


def upload(
    folder: Path, *, group: str | None = None, job_type: str = "train", again: bool = False
) -> str:
    """Send a finished run; returns "online", "offline" or "already there". Raises what W&B raises."""
    state = {} if again else _state(folder)
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
    return os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")


def has_key() -> bool:
    """Whether W&B would find somebody logged in."""
    import netrc

    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("://")[-1].strip("/")
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


# ------------------------------------------------------------------ what is sent
def begin(folder: Path, state: dict[str, Any], group: str | None, job_type: str) -> Any:
    """Start (or go on with) the W&B run of a folder. Offline, going on is a whole copy under the
    same id.
    """
    import wandb

    tree = read_mapping(folder / CONFIG)
    state.setdefault("id", uuid.uuid4().hex[:12])
    if "generator" in tree:
        job_type = "generator"
    method, net = (
        str((tree.get(key) or {}).get("name", ""))
        for key in (
            ("generator", "discriminator") if job_type == "generator" else ("method", "net")
        )
    )
    agent = os.environ.get("WANDB_SWEEP_ID")  # an agent has made the run already: take its id
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "semiseg"), id=None if agent else state["id"], resume="allow" if not agent else None, name=folder.name,
        group=group or os.environ.get("WANDB_RUN_GROUP") or f"{tree.get('data')}-{method}", job_type=job_type,
        tags=[t for t in (str(tree.get("data")), method, net, f"labels {tree.get('labels')}") if t],
        config=tree | {"environment": read_json_if_whole(folder / ENVIRONMENT)}, dir=str(folder), mode=mode(), reinit="create_new",
        settings=wandb.Settings(console="off", silent=True, init_timeout=60, disable_git=True, x_disable_stats=True),
    )  # fmt: skip
    run.define_metric("step", hidden=True)
    for name, best in _summaries().items():
        run.define_metric(name, step_metric="step", summary="last")
        for prefix in ("val_", "test_"):
            run.define_metric(prefix + name, step_metric="step", summary=best)
    state["step"] = max(
        0, run.starting_step - 1
    )  # what W&B has, not what it was told: killed, it loses its last lines
    if "grid" in state:
        state["grid"] = min(state["grid"], state["step"])
    _remember(folder, state)
    return run


def _summaries() -> dict[str, str]:
    """What W&B keeps of each curve: the best value, where W&B can tell it, and the last."""
    from semiseg.evaluate.metrics import METRICS, default_names

    best = {"higher": "max,last", "lower": "min,last", "nearer to zero": "last"}
    return {"loss": "min,last"} | {name: best[METRICS[name].better] for name in default_names()}


def send_scalars(run: Any, folder: Path, state: dict[str, Any]) -> None:
    """The whole lines of metrics.jsonl that were not sent yet."""
    file = folder / LOG
    if not file.exists():
        return
    sent = state.get("step", 0)
    for line in file.read_text().splitlines():
        try:
            values = json.loads(line)
        except ValueError:  # being written
            continue
        if values["step"] > sent:
            run.log(values | _grid(folder, values["step"], state), step=values["step"])
            state["step"] = values["step"]
    if state.get("step", 0) > sent:
        _remember(folder, state)


def send_grids(run: Any, folder: Path, state: dict[str, Any]) -> None:
    """The sample grids of a generator's fit that were written after their step's line was sent."""
    sent = state.get("grid", 0)
    for file in sorted((folder / "grids").glob("step_*.png")):
        step = int(file.stem.removeprefix("step_"))
        run_has = state.get("step", 0)
        if sent < step <= run_has:
            run.log(_grid(folder, step, state), step=run_has)
    if state.get("grid", 0) > sent:
        _remember(folder, state)


def _grid(folder: Path, step: int, state: dict[str, Any]) -> dict[str, Any]:
    """A step's sample grid as a W&B image, where there is one."""
    file = folder / "grids" / f"step_{step:06d}.png"
    if not file.exists():
        return {}
    import wandb

    state["grid"] = max(step, state.get("grid", 0))
    return {
        "samples": wandb.Image(
            str(file),
            caption=(
                f"step {step}: real mask, its image, painted in its style, in two others', "
                f"in two random ones"
            ),
        )
    }


def finish(run: Any, folder: Path, state: dict[str, Any], failed: bool = False) -> None:
    """Summary, per-subject table, overlays and model of a finished folder (of a fit its weights);
    then the end of the W&B run.
    """
    import wandb

    summary = read_json_if_whole(folder / SUMMARY)
    fitted = not summary and (folder / WEIGHTS).exists()
    if fitted:
        artifact = wandb.Artifact(f"{folder.name}-generator", type="generator")
        for name in (WEIGHTS, CONFIG, ENVIRONMENT, SAMPLES):
            if (folder / name).exists():
                artifact.add_file(
                    str((folder / name).resolve()), name, policy="immutable", skip_cache=True
                )
        run.log_artifact(artifact)
    if summary:
        run.summary.update(flat_summary(summary))
        with (folder / SCORES).open() as lines:
            rows = list(csv.reader(lines))
        numbers = [[*row[:6], float(row[6]) if row[6] else None, row[7]] for row in rows[1:]]
        run.log({"per_subject": wandb.Table(columns=list(rows[0]), data=numbers)})
        overlays = images(folder)
        if overlays:
            run.log({"examples": overlays})
        artifact = wandb.Artifact(
            f"{folder.name}-model", type="model", metadata={"last": summary.get("last", {})}
        )
        for name in (
            WEIGHTS,
            BEST_WEIGHTS,
            CONFIG,
            SUMMARY,
            ENVIRONMENT,
            SCORES,
        ):
            # sent from where it lies: W&B would keep a copy of every model in the home folder
            if (folder / name).exists():
                artifact.add_file(
                    str((folder / name).resolve()), name, policy="immutable", skip_cache=True
                )
        run.log_artifact(artifact)
    run.finish(exit_code=1 if failed else 0)
    if summary or fitted:
        state["finished"] = mode()
    _remember(folder, state)


def flat_summary(summary: dict[str, Any]) -> dict[str, Any]:
    """summary.json as W&B has it: ``last/val_dice``, ``val_best/val_dice``, and everything else
    under its own name.
    """
    found: dict[str, Any] = {}
    for key, value in summary.items():
        scored = (
            {s: v for s, v in value.items() if isinstance(v, dict)}
            if key in ("last", "val_best")
            else {}
        )
        if scored:
            found |= {
                f"{key}/{split}_{name}": number
                for split, values in scored.items()
                for name, number in values.items()
            }
            found |= {f"{key}/{name}": rest for name, rest in value.items() if name not in scored}
        else:
            found[key] = value
    return found


def images(folder: Path) -> list[Any]:
    """examples.npz as W&B images with a layer for the truth and one for the prediction."""
    import wandb

    if not (folder / EXAMPLES).exists():
        return []

    with np.load(folder / EXAMPLES, allow_pickle=False) as kept:
        shown = {key: kept[key] for key in ("image", "label", "prediction", "subject", "dice")}
    classes = max(
        int(shown["prediction"].max()), int(shown["label"][shown["label"] != 255].max(initial=0))
    )
    names = {
        0: "background",
        **{k: f"class {k}" for k in range(1, classes + 1)},
        255: "not annotated",
    }
    data = read_mapping(folder / CONFIG).get("data")
    found = []
    for image, label, prediction, subject, dice in zip(*shown.values()):
        masks = {
            "truth": {"mask_data": label.astype(np.uint8), "class_labels": names},
            "prediction": {"mask_data": prediction.astype(np.uint8), "class_labels": names},
        }
        found.append(wandb.Image(image, masks=masks, caption=f"{data} {subject}, Dice {dice:.3f}"))
    return found


# ------------------------------------------------------------------ what was sent
def _state(folder: Path) -> dict[str, Any]:
    return read_json_if_whole(folder / TRACKING)


def _remember(folder: Path, state: dict[str, Any]) -> None:
    write_text(folder / TRACKING, json.dumps(state) + "\n")
