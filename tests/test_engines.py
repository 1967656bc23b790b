"""The real engines of a sweep: Slurm on one node, a local Ray, W&B's agent. Skipped where they are
not installed; ``apt-get install slurm-wlm`` and ``pip install "semiseg[slurm,ray]"`` bring them.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semiseg import sweeps
from semiseg.run_folder import RunFolder

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MailProg=/bin/true
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def grid(root: str, **values) -> dict:
    """A sweep of tiny trials."""
    fixed = {
        "data": "discs",
        "root": root,
        "net.widths": [4, 8],
        "image_size": 24,
        "labels": 4,
        "steps": 20,
        "batch": 4,
        "eval_every": 20,
    }
    parameters = {name: {"value": value} for name, value in fixed.items()}
    parameters |= {name: {"values": listed} for name, listed in values.items()}
    return {"method": "grid", "parameters": parameters}


def wait_for(what: str, ready, seconds: float = 120) -> None:
    """Until ``ready()``."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what} took more than {seconds} s"
        time.sleep(0.3)


def free_ports(number: int) -> list[int]:
    """Ports of this machine that nobody listens to."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


# ------------------------------------------------------------------ Slurm
@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A cluster of this machine with a partition ``test``, in a folder of its own."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if missing:
        pytest.skip(f"Slurm is not installed: there is no {missing[0]}")
    if os.geteuid() != 0:
        pytest.skip("a cluster of one's own needs root")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host, folder=folder, ports=free_ports(2)))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = {
        "--key-file": key,
        "--socket": folder / "munge.socket",
        "--pid-file": folder / "munged.pid",
        "--log-file": folder / "munged.log",
        "--seed-file": folder / "munged.seed",
    }
    munge_flags = [f"{flag}={file}" for flag, file in files.items()]
    daemons = [
        ["munged", "--foreground", "--force", *munge_flags],
        ["slurmctld", "-D", "-f", str(config)],
        ["slurmd", "-D", "-f", str(config)],
    ]
    environment = {**os.environ, "PATH": path, "SLURM_CONF": str(config)}
    running = []
    try:
        for command in daemons:
            with (folder / f"{command[0]}.out").open("w") as log:
                running.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
                )
            time.sleep(1)

        def is_idle() -> bool:
            command = ["sinfo", "--noheader", "--format=%t"]
            answer = subprocess.run(command, env=environment, capture_output=True, text=True)
            return answer.stdout.strip() == "idle"

        wait_for("the start of the node", is_idle, 60)
        yield config
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(timeout=30)


@pytest.fixture
def on_slurm(slurm, monkeypatch):
    """Submits a sweep; returns the numbers of its jobs."""
    monkeypatch.setenv("SLURM_CONF", str(slurm))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))

    def submit(spec: dict, out: Path, jobs: int) -> list[str]:
        lines: list[str] = []
        sweeps.sweep(
            spec,
            out,
            backend="slurm",
            jobs=jobs,
            cluster={"slurm_partition": "test", "timeout_min": 5},
            say=lines.append,
        )
        (line,) = lines
        return line.partition(";")[0].removeprefix("submitted ").split(", ")

    return submit


def is_done(job: str) -> bool:
    """Whether a job has left the queue."""
    states = "--states=PENDING,RUNNING,COMPLETING"
    command = ["squeue", "--noheader", "--array", states, "--format=%i"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return job not in answer.stdout.split()


def test_slurm_runs_a_sweep(on_slurm, root, tmp_path):
    """Two tasks share four trials. Catches a batch script that Slurm refuses, a worker that cannot
    be unpickled on a node, and tasks that do one another's work again.
    """
    spec = grid(root, seed=[0, 1, 2, 3])
    jobs = on_slurm(spec, tmp_path / "out", 2)
    assert len(jobs) == 2
    wait_for("the jobs", lambda: all(map(is_done, jobs)))
    outcomes = sweeps.launch.outcomes(sweeps.spec.read(spec), tmp_path / "out")
    assert [outcome.name for outcome in outcomes] == ["seed0", "seed1", "seed2", "seed3"]


def test_a_cancelled_job_is_taken_up_by_the_same_command(on_slurm, root, tmp_path):
    """Catches a claim that outlives its job, and a sweep that begins again at step 0."""
    spec = grid(root, seed=[0], steps=[4000], eval_every=[4000], checkpoint_seconds=[0.5])
    out = tmp_path / "out"
    (job,) = on_slurm(spec, out, 1)
    (name,) = sweeps.spec.trials(sweeps.spec.read(spec))
    folder = RunFolder(out / name)
    wait_for("the first checkpoint", lambda: any(folder.checkpoints.glob("*")))
    subprocess.run(["scancel", job], check=True)
    wait_for("the end of the job", lambda: is_done(job))
    assert not folder.summary.exists()
    first_line = folder.log.read_text().splitlines()[0]  # with its seconds
    (job,) = on_slurm(spec, out, 1)
    wait_for("the second job", lambda: is_done(job), 200)
    (outcome,) = sweeps.launch.outcomes(sweeps.spec.read(spec), out)
    assert outcome.name == name
    assert folder.log.read_text().splitlines()[0] == first_line


# ------------------------------------------------------------------ Ray
def test_ray_runs_a_sweep(root, tmp_path, monkeypatch):
    """Two tasks on a Ray of this machine. Catches a task that Ray cannot ship, and options lost on
    the way.
    """
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        outcomes = sweeps.sweep(
            grid(root, seed=[0, 1]),
            tmp_path / "out",
            backend="ray",
            jobs=2,
            say=lambda line: None,
        )
    finally:
        ray.shutdown()
    assert [outcome.name for outcome in outcomes] == ["seed0", "seed1"]


# ------------------------------------------------------------------ Weights & Biases
AGENT = """
import json, sys
from wandb.wandb_agent import Agent

agent = Agent(None, None, sweep_id="s1")
agent._sweep_command = ["${env}", "semiseg", "train", "${args}"]
for seed in (0, 1):
    args = json.loads(sys.argv[1]) | {"seed": {"value": seed}}
    sent = {"type": "run", "run_id": f"r{seed}", "program": "", "args": args}
    response = agent._process_command(sent)
    assert "exception" not in response, response
    assert agent._run_processes[f"r{seed}"].wait(timeout=120) == 0
"""


@pytest.mark.slow
def test_wandb_agent_runs_what_the_server_chose(root, tmp_path):
    """W&B's own agent, with the server's messages handed to it, starts two trials offline.

    Catches flags that the agent sends and `semiseg train` refuses, runs that share a folder, and a
    mirror with another number than the server gave.
    """
    values = {name: what for name, what in grid(root)["parameters"].items() if name != "root"}
    scripts = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "SEMISEG_DATA": root,
        "WANDB_MODE": "offline",
        "WANDB_SWEEP_ID": "s1",
    }
    command = [sys.executable, "-c", AGENT, json.dumps(values)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for seed in (0, 1):
        folder = RunFolder(tmp_path / "runs" / "s1" / f"r{seed}")
        assert folder.summary.exists()
        assert f"\nseed: {seed}\n" in folder.config.read_text()
        assert list(folder.path.glob(f"wandb/offline-run-*-r{seed}"))
