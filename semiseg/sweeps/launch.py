"""Starts a sweep's workers: in this process, in several, on Slurm or on Ray. Nothing here
schedules: the workers share a folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from semiseg import config
from semiseg.config import Trial
from semiseg.environment import usable_cores
from semiseg.errors import UserError
from semiseg.files import write_text
from semiseg.sweeps.claims import summary_of
from semiseg.sweeps.spec import Spec, read, trials
from semiseg.sweeps.status import Board, status
from semiseg.sweeps.work import Options, work
from semiseg.sweeps.worker import FULL, task
from semiseg.train.loop import Interrupted

BACKENDS = ("local", "slurm", "ray")
ERROR = "semiseg: error: "
SAFE_PATH = "PYTHONSAFEPATH"
"""Python's environment variable for ``-P``."""
STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished trial: its folder and what it says."""

    name: str
    trial: Trial
    summary: dict[str, Any]
    path: Path


def sweep(
    spec: str | Path | Mapping[str, Any], out: str | Path, *, test: bool = False, progress: bool = False, say: Callable[[str], None] = print,
    jobs: int = 1, backend: str = "local", count: int | None = None, track: str = "none", cluster: Mapping[str, Any] | None = None,
) -> list[Outcome]:  # fmt: skip
    """Run every trial of a sweep into ``out``/NAME; finished ones are read, not run again;
    interrupted ones go on.

    A trial that fails is recorded in its folder (error.json) and does not stop the others; a wrong
    file or field does, before anything runs.

    Args:
      spec: a file in W&B's sweep schema, or its content.
      out: the sweep's folder.
      jobs: workers. They share the trials; those of one program go to one worker as long as there
        are other programs to compile.
      backend: where the workers run. On ``slurm`` this returns when they are submitted.
      count: how many trials a random or bayes sweep has, instead of its run_cap.
      track: ``wandb`` mirrors every run.
      cluster: options of submitit's executor (``slurm``), e.g. ``{"slurm_partition": "gpu",
        "timeout_min": 600}``.

    Returns:
      The finished trials, in the order of the plan.
    """
    if backend not in BACKENDS:
        raise UserError(f"--backend is {backend!r}: choose one of {', '.join(BACKENDS)}")
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}: it must be at least 1")
    plan_of, out = read(spec, count), Path(out)
    trials(plan_of)  # a wrong field stops here
    _write_plan(plan_of, out)
    session, options = uuid.uuid4().hex[:8], Options(test, track, progress, jobs)
    if backend == "slurm":
        _slurm(out, session, options, dict(cluster or {}), say)
    elif backend == "ray":
        _ray(out, session, options, say)
    elif jobs > 1:
        _processes(out, session, options, say)
    else:
        with _shown(out, options, say) as (options, say):
            work(out, session, options, say, plan_of)
    return outcomes(plan_of, out, test)


def outcomes(spec: Spec, out: Path, test: bool = False) -> list[Outcome]:
    """The finished trials in a sweep's folder."""
    plan = trials(spec)
    found = []
    for name in list(plan) or sorted(p.name for p in out.glob("trial*") if p.is_dir()):
        summary = summary_of(out / name, test)
        if summary:
            found.append(
                Outcome(
                    name,
                    plan[name] if name in plan else config.load(out / name / "config.yaml"),
                    summary,
                    out / name,
                )
            )
    return found


def _write_plan(spec: Spec, out: Path) -> None:
    """sweep.yaml, as W&B would take it, for the workers and for `status`."""
    content = json.loads(json.dumps(spec.source, default=str)) | (
        {"run_cap": spec.cap} if spec.cap else {}
    )
    file = out / "sweep.yaml"
    if spec.method != "grid" and file.exists():
        old = config.load_yaml(file)
        if (old.get("method"), old.get("parameters")) != (
            content.get("method"),
            content.get("parameters"),
        ):
            raise UserError(
                f"{file}: another sweep ran here; its trials would be taken for this one's: "
                f"choose another --out"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(file, yaml.safe_dump(content, sort_keys=False))
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}); choose another --out"
        ) from None


@contextlib.contextmanager
def _shown(
    out: Path, options: Options, say: Callable[[str], None]
) -> Iterator[tuple[Options, Callable[[str], None]]]:
    """The options and the ``say`` of a worker in this process: on a terminal the live table,
    redrawn by a thread, takes the place of its lines.
    """
    if not (options.progress and sys.stderr.isatty()):
        yield options, say
        return
    board, done = Board(out, options.test, say), threading.Event()

    def follow() -> None:
        while not done.wait(0.5):
            board.update()

    thread = threading.Thread(target=follow, name="table", daemon=True)
    thread.start()
    try:
        yield dataclasses.replace(options, progress=False), lambda line: None
    finally:
        done.set()
        thread.join()
        board.update(last=True)


def _processes(out: Path, session: str, options: Options, say: Callable[[str], None]) -> None:
    """``jobs`` processes on this machine, with the cores divided among them; ends them when this
    one is asked to stop.
    """
    cores = max(1, usable_cores() // options.jobs)
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(cores)}
    logs = out / ".logs"
    logs.mkdir(exist_ok=True)
    given = json.dumps(dataclasses.asdict(dataclasses.replace(options, progress=False)))
    # -P: a file yaml.py or json.py in the working folder is not run in place of the module
    command = [sys.executable, "-P", "-m", "semiseg.sweeps.worker", str(out), session, given]
    workers: list[subprocess.Popen[bytes]] = []
    board, stopped = Board(out, options.test, say), False
    # before the first worker starts: nobody else would end them, they are in sessions of their own
    asked: list[int] = []
    heard = [
        s
        for s in STOPS
        if signal.getsignal(s) is not signal.SIG_IGN
        and threading.current_thread() is threading.main_thread()
    ]
    old = {s: signal.signal(s, lambda number, frame: asked.append(number)) for s in heard}
    try:
        for i in range(options.jobs):
            if not asked:
                with (logs / f"worker{i}.log").open("a") as log:
                    workers.append(
                        subprocess.Popen(
                            command,
                            stdout=log,
                            stderr=subprocess.STDOUT,
                            env=environment,
                            start_new_session=True,
                        )
                    )
        while any(worker.poll() is None for worker in workers):
            if asked and not stopped:
                stopped = True
                for worker in workers:
                    worker.send_signal(signal.SIGTERM)
            board.update()
            time.sleep(0.5)
        board.update(last=True)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
    if asked:
        raise Interrupted(f"stopped; the same command goes on from {out}")
    _ended(
        [
            _words(worker.returncode, logs / f"worker{i}.log", out)
            for i, worker in enumerate(workers)
            if worker.returncode
        ],
        options,
        say,
    )


def _words(code: int, log: Path, out: Path) -> str:
    """Why a worker ended early: what it said last in its log."""
    text = log.read_text(errors="replace")
    last = (text.strip().splitlines() or ["it said nothing"])[-1]
    if last.startswith(ERROR) and text.endswith("\n"):
        return last.removeprefix(ERROR)
    if code == FULL:  # the log is cut, too
        return (
            f"{out}: cannot be written (no space left, or read-only); free space, then the "
            f"same command goes on"
        )
    return f"{log}: a worker ended early, the last words: {last[:200]}"


def _ended(words: Sequence[str], options: Options, say: Callable[[str], None]) -> None:
    """``words`` of the workers that ended early: an error where nobody is left to do the work."""
    if len(words) >= options.jobs:
        raise UserError(words[0])
    if words:
        say(
            f"{len(words)} of {options.jobs} workers ended early ({words[0]}); the same command "
            f"takes up what they left"
        )


def _slurm(
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
    executor = submitit.AutoExecutor(folder=out.absolute() / ".slurm", cluster=where)
    # in the batch script as well: a cluster may start jobs without this environment
    setup = [f"export {SAFE_PATH}=1"] + (cluster.pop("slurm_setup", None) or [])
    executor.update_parameters(
        name=out.name, slurm_setup=setup, **({"timeout_min": 24 * 60} | cluster)
    )
    given = dataclasses.replace(options, progress=False)
    with _safe_path(), executor.batch():
        jobs = [
            executor.submit(task, str(out.absolute()), session, given) for _ in range(options.jobs)
        ]
    if where != "slurm":  # debug or local: a dry run without a cluster
        try:
            said = [job.result() for job in jobs]
        except Exception as error:  # submitit wraps whatever ended the process
            raise UserError(
                f"--backend slurm: a task ended early ({_last(error)}); its log is in "
                f"{out / '.slurm'}"
            ) from error
        _ended([words for words in said if words], options, say)
    else:
        say(
            f"submitted {', '.join(job.job_id for job in jobs)}; see `semiseg sweep status "
            f"{out}`, logs are in {out / '.slurm'}"
        )


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Python processes that are started meanwhile search no module in their working folder."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


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


def _ray(out: Path, session: str, options: Options, say: Callable[[str], None]) -> None:
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
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    remote = ray.remote(num_gpus=gpus)(_ray_task(os.path.abspath(os.path.curdir)))
    given = dataclasses.asdict(dataclasses.replace(options, progress=False))
    try:
        said = ray.get(
            [remote.remote(str(out.absolute()), session, given) for _ in range(options.jobs)]
        )
    except ray.exceptions.RayError as error:
        raise UserError(
            f"--backend ray: a task ended early ({_last(error)}); the same command goes on"
        ) from error
    _ended([words for words in said if words], options, say)


def _last(error: Exception) -> str:
    """The last words of an error that quotes a traceback."""
    lines = [
        line.strip()
        for line in str(error).splitlines()
        if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line.strip())
    ]
    return (lines or [" ".join(str(error).split())])[-1][:200]


__all__ = ["BACKENDS", "Outcome", "outcomes", "status", "sweep"]
