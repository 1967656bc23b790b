"""Sweeps on clusters: workers as tasks of Slurm (submitit) and of Ray."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semiseg.environment import SAFE_PATH, safe_path
from semiseg.errors import UserError
from semiseg.sweeps.work import Options
from semiseg.sweeps.worker import task


def check_ended(reasons: Sequence[str], options: Options, say: Callable[[str], None]) -> None:
    """``reasons`` of the workers that ended early: an error where nobody is left to do the work."""
    if len(reasons) >= options.jobs:
        raise UserError(reasons[0])
    if reasons:
        say(
            f"{len(reasons)} of {options.jobs} workers ended early ({reasons[0]}); the same "
            f"command takes up what they left"
        )


def on_slurm(
    out: Path, session: str, options: Options, cluster: dict[str, Any], say: Callable[[str], None]
) -> None:
    try:
        import submitit
    except ImportError:
        raise UserError("--backend slurm needs submitit: pip install 'semiseg[slurm]'") from None
    where = cluster.pop("cluster", "slurm")
    if where == "slurm" and not shutil.which("sbatch"):
        raise UserError(
            "--backend slurm: there is no Slurm here (no sbatch); on one machine --jobs does the "
            "same"
        )
    # submitit unpickles what lies in its folder: a new one, in which nobody can have put anything
    logs = out / ".slurm" / session
    executor = submitit.AutoExecutor(folder=logs.absolute(), cluster=where)
    # in the batch script as well: a cluster may start jobs without this environment
    setup = [f"export {SAFE_PATH}=1"] + (cluster.pop("slurm_setup", None) or [])
    settings = {"timeout_min": 24 * 60} | cluster
    executor.update_parameters(name=out.name, slurm_setup=setup, **settings)
    arguments = (str(out.absolute()), session, dataclasses.replace(options, progress=False))
    with safe_path(), executor.batch():
        jobs = [executor.submit(task, *arguments) for _ in range(options.jobs)]
    if where == "slurm":
        numbers = ", ".join(job.job_id for job in jobs)
        say(f"submitted {numbers}; see `semiseg sweep status {out}`, logs are in {logs}")
        return
    try:  # debug or local: a dry run without a cluster
        reasons = [job.result() for job in jobs]
    except Exception as error:  # submitit wraps whatever ended the process
        raise UserError(
            f"--backend slurm: a task ended early ({_last(error)}); its log is in {logs}"
        ) from error
    check_ended([reason for reason in reasons if reason], options, say)


def _ray_task(folder: str) -> Callable[[str, str, dict[str, Any]], str]:
    """The task for Ray, which puts ``folder``, the driver's working folder, first among those where
    its workers search modules.

    A local function is sent as code, so that the worker imports nothing of ours before the folder
    is out of its way.
    """

    def isolated(out: str, session: str, options: dict[str, Any]) -> str:
        import sys

        # the first alone: an installation may stand in this folder, further on
        if folder in sys.path:
            sys.path.remove(folder)
        from semiseg.sweeps.work import Options
        from semiseg.sweeps.worker import task

        return task(out, session, Options(**options))

    return isolated


def on_ray(out: Path, session: str, options: Options, say: Callable[[str], None]) -> None:
    try:
        import ray
    except ImportError:
        raise UserError("--backend ray needs Ray: pip install 'semiseg[ray]'") from None
    try:
        ray.init(ignore_reinit_error=True, log_to_driver=False)
    except Exception as error:  # Ray raises plain exceptions
        raise UserError(
            f"--backend ray: Ray did not start ({' '.join(str(error).split())[:160]}); on one "
            f"machine --jobs does the same"
        ) from error
    gpus = int(bool(ray.cluster_resources().get("GPU")))
    remote = ray.remote(num_gpus=gpus)(_ray_task(os.path.abspath(os.path.curdir)))
    fields = dataclasses.asdict(dataclasses.replace(options, progress=False))
    try:
        tasks = [remote.remote(str(out.absolute()), session, fields) for _ in range(options.jobs)]
        reasons = ray.get(tasks)
    except ray.exceptions.RayError as error:
        raise UserError(
            f"--backend ray: a task ended early ({_last(error)}); run the same command again to "
            f"resume"
        ) from error
    check_ended([reason for reason in reasons if reason], options, say)


def _last(error: Exception) -> str:
    """The last words of an error that quotes a traceback."""
    last = " ".join(str(error).split())
    for line in str(error).splitlines():
        if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line.strip()):
            last = line.strip()
    return last[:200]
