"""Starts a sweep's workers: in this process, in several, on Slurm or on Ray. Nothing here
schedules: the workers share a folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
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

from semiseg import config, plugins
from semiseg.config import Trial
from semiseg.environment import usable_cores
from semiseg.errors import UserError
from semiseg.files import write_text
from semiseg.holding import holding
from semiseg.run_folder import CONFIG, RunFolder
from semiseg.sweeps.claims import summary_of
from semiseg.sweeps.clusters import check_ended, on_ray, on_slurm
from semiseg.sweeps.rejected import check_choice
from semiseg.sweeps.spec import Spec, load_plugins, read, trials
from semiseg.sweeps.status import Board, status
from semiseg.sweeps.work import Options, work
from semiseg.sweeps.worker import FULL, WITH_PARENT
from semiseg.train.loop import Interrupted

BACKENDS = ("local", "slurm", "ray")
ERROR = "semiseg: error: "
STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished trial: its folder and what it says."""

    name: str
    trial: Trial
    summary: dict[str, Any]
    path: Path


def sweep(
    spec: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    test: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = print,
    jobs: int = 1,
    backend: str = "local",
    count: int | None = None,
    track: str = "none",
    cluster: Mapping[str, Any] | None = None,
    rejected: str = "say",
) -> list[Outcome]:
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
      rejected: what to do where the quality report rejects a generated set: ``say`` it, or
        ``drop`` the trials that would learn from the set.

    Returns:
      The finished trials, in the order of the plan.
    """
    if backend not in BACKENDS:
        raise UserError(f"--backend is {backend!r}: choose one of {', '.join(BACKENDS)}")
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}: it must be at least 1")
    load_plugins(spec)
    if jobs > 1 or backend != "local":
        _check_shared()
    out = Path(out)
    with holding(out, "semiseg sweep", shared=True) as held:
        plan = as_it_began(read(spec, count), out)
        trials(plan)  # a wrong field stops here
        check_choice(rejected, plan)
        _write_plan(plan, out, held.alone)
        held.share()  # now the same command, on another machine maybe, may help
        session = uuid.uuid4().hex[:8]
        options = Options(test, track, progress, jobs, plugins.loaded_paths(), rejected)
        if backend == "slurm":
            on_slurm(out, session, options, dict(cluster or {}), say)
        elif backend == "ray":
            on_ray(out, session, options, say)
        elif jobs > 1:
            _processes(out, session, options, say)
        else:
            with live_table(out, options, say) as (options, say):
                work(out, session, options, say, plan)
        return outcomes(plan, out, test)


def as_it_began(spec: Spec, out: Path) -> Spec:
    """The sweep with the frame of the runs that it has already, where these are from before there
    was a choice: all trials of a sweep see their images alike.
    """
    for file in sorted(out.glob(f"*/{CONFIG}")):
        if _may_have_old_frame(file) and config.has_old_frame(config.load_yaml(file)):
            fixed = {name: {"value": value} for name, value in config.BEFORE_SPACING.items()}
            written = {**fixed, **spec.source.get("parameters", {})}
            return dataclasses.replace(
                spec,
                parameters={**fixed, **spec.parameters},
                source={**spec.source, "parameters": written},
            )
    return spec


def _may_have_old_frame(file: Path) -> bool:
    """Whether no line of a configuration states the frame: parsing thousands of them takes longer
    than all else that is done before the first trial.
    """
    try:
        return not any(line.startswith(b"spacing:") for line in file.read_bytes().splitlines())
    except OSError:
        return True


def outcomes(spec: Spec, out: Path, test: bool = False) -> list[Outcome]:
    """The finished trials in a sweep's folder."""
    plan = trials(spec)
    names = list(plan) or sorted(p.name for p in out.glob("trial*") if p.is_dir())
    finished = []
    for name in names:
        folder = out / name
        summary = summary_of(folder, test)
        if not summary:
            continue
        trial = plan.get(name) or config.load(RunFolder(folder).config)
        finished.append(Outcome(name, trial, summary, folder))
    return finished


def _check_shared() -> None:
    """Refuse parts that the workers of a sweep would not have."""
    for kind, name in plugins.outside_files():
        raise UserError(
            f"the {kind} {name!r} is registered in this process alone, and its workers are others",
            where="sweep",
            remedy="register it in a file and name that: `plugin: my.py` or --plugin my.py",
        )


def _write_plan(spec: Spec, out: Path, alone: bool = True) -> None:
    """sweep.yaml, as W&B would take it, for the workers and for `status`.

    Args:
      spec: the sweep.
      out: its folder.
      alone: whether no other process runs a sweep there.

    Raises:
      UserError: another sweep ran or runs there.
    """
    content = json.loads(json.dumps(spec.source, default=str))
    # a folder names no code: who runs its trials elsewhere gives --plugin
    content.pop("plugin", None)
    loaded = plugins.all_records()
    if loaded:
        content["plugins"] = loaded
    if spec.cap:
        content["run_cap"] = spec.cap
    file = out / "sweep.yaml"
    if spec.method != "grid" and file.exists():
        old = config.load_yaml(file)
        if any(old.get(key) != content.get(key) for key in ("method", "parameters")):
            raise UserError(
                f"{file}: another sweep ran here; its trials would be taken for this one's: "
                f"choose another --out"
            )
    if not alone and config.load_yaml(file) != content:
        raise UserError(
            "another sweep is running here",
            where=file,
            remedy="wait until it has ended, or choose another --out",
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(file, yaml.safe_dump(content, sort_keys=False))
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}); choose another --out"
        ) from None


@contextlib.contextmanager
def live_table(
    out: Path, options: Options, say: Callable[[str], None]
) -> Iterator[tuple[Options, Callable[[str], None]]]:
    """Show the sweep's state as a table while the block runs, if this is a terminal: a thread
    redraws it. Yields the options and the ``say`` of the worker, whose own lines it replaces.
    """
    if not (options.progress and sys.stderr.isatty()):
        yield options, say
        return
    board = Board(out, options.test, say)
    done = threading.Event()

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
    fields = json.dumps(dataclasses.asdict(dataclasses.replace(options, progress=False)))
    # -P: a file yaml.py or json.py in the working folder is not run in place of the module
    command = [sys.executable, "-P", "-m", "semiseg.sweeps.worker", str(out), session, fields]
    workers: list[subprocess.Popen[bytes]] = []
    board = Board(out, options.test, say)
    # before the first worker starts: nobody else would end them, they are in sessions of their own
    with _stop_signals() as signals, _lifeline() as lifeline:
        try:
            for i in range(options.jobs):
                if signals:
                    break
                workers.append(_start(command, logs / f"worker{i}.log", environment, lifeline))
            _follow(workers, board, signals)
        finally:
            for worker in workers:
                if worker.poll() is None:
                    worker.kill()
    if signals:
        raise Interrupted(f"stopped; run the same command again to resume from {out}")
    reasons = []
    for i, worker in enumerate(workers):
        if worker.returncode:
            reasons.append(_reason(worker.returncode, logs / f"worker{i}.log", out))
    check_ended(reasons, options, say)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects the signals that ask this process to stop; those that it was started with as ignored
    stay ignored.
    """
    signals: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                handlers[number] = signal.signal(number, lambda n, frame: signals.append(n))
    try:
        yield signals
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """The stdin of workers, which ends when this process does, however it ends: they stop then."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)


def _start(
    command: list[str], log: Path, environment: dict[str, str], lifeline: int
) -> subprocess.Popen[bytes]:
    """One worker, in a session of its own: Ctrl-C reaches it through this process alone."""
    with log.open("a") as file:
        return subprocess.Popen(
            [*command, WITH_PARENT],
            stdin=lifeline,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _follow(workers: Sequence[subprocess.Popen[bytes]], board: Board, signals: list[int]) -> None:
    """Show the state until the last worker has ended; ask all to stop where this process is."""
    stopped = False
    while any(worker.poll() is None for worker in workers):
        if signals and not stopped:
            stopped = True
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
        board.update()
        time.sleep(0.5)
    board.update(last=True)


def _reason(code: int, log: Path, out: Path) -> str:
    """Why a worker ended early: the last line of its log."""
    text = log.read_text(errors="replace")
    last = (text.strip().splitlines() or ["it said nothing"])[-1]
    if last.startswith(ERROR) and text.endswith("\n"):
        return last.removeprefix(ERROR)
    if code == FULL:  # the log is cut, too
        what = "cannot be written (no space left, or read-only)"
        return f"{out}: {what}; free space, then run the same command again to resume"
    return f"{log}: a worker ended early, the last words: {last[:200]}"


__all__ = ["BACKENDS", "Outcome", "outcomes", "status", "sweep"]
