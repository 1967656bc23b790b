"""The sweep: one compiled program, folders, grids, searches, workers, kills."""

import errno
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import pytest

import semiseg
from semiseg import sweeps
from semiseg.cli.main import main
from semiseg.errors import DiskError, UserError
from semiseg.sweeps import work
from semiseg.sweeps.claims import DEATHS, Claims
from semiseg.sweeps.search import Judge, Search, Stopped
from semiseg.sweeps.spec import draw, points, read
from semiseg.sweeps.status import status
from semiseg.sweeps.work import Options
from semiseg.sweeps.worker import FULL, task
from semiseg.train.loop import Interrupted


def grid(root: str, **axes):
    fixed = {
        "data": "discs",
        "root": root,
        "net.widths": [4, 8],
        "image_size": 24,
        "steps": 4,
        "batch": 4,
        "eval_every": 4,
    }
    parameters = {k: {"value": v} for k, v in fixed.items()} | {
        k: {"values": v} for k, v in axes.items()
    }
    return {"method": "grid", "parameters": parameters}


@pytest.mark.slow
def test_sweep_compiles_its_training_program_once(root, tmp_path, caplog):
    """3 budgets × 2 subsets × 2 seeds × 2 learning rates: catches a traced field that became
    static, or pools whose shape follows the budget.
    """
    import jax

    spec = grid(
        root,
        labels=[2, 3, 4],
        label_subset=[0, 1],
        seed=[0, 1],
        lr=[0.01, 0.001],
        method=["mean_teacher"],
        batch=[6],
    )  # a batch no other test uses
    jax.config.update("jax_log_compiles", True)
    try:
        with caplog.at_level(logging.WARNING):
            results = sweeps.sweep(spec, tmp_path, say=lambda line: None)
    finally:
        jax.config.update("jax_log_compiles", False)
    compiled = [
        m for m in caplog.messages if re.search(r"Finished XLA compilation of jit\(chunk\)", m)
    ]
    assert len(results) == 24, (len(results), len(compiled))
    assert len(compiled) == 1, (len(results), len(compiled))
    losses = {
        r.path.name: json.loads((r.path / "metrics.jsonl").read_text().splitlines()[-1])["loss"]
        for r in results
    }
    assert len(set(losses.values())) > 12, "an axis without effect would leave 12 or fewer"


def test_finished_runs_are_read_not_run_again(root, tmp_path):
    """Catches a sweep that trains what it has."""
    spec = grid(root, seed=[0, 1])
    first = sweeps.sweep(spec, tmp_path, say=lambda line: None)
    stamps = [(r.path / "weights.safetensors").stat().st_mtime_ns for r in first]
    again = sweeps.sweep(spec, tmp_path, say=lambda line: None)
    assert [(r.path / "weights.safetensors").stat().st_mtime_ns for r in again] == stamps
    assert [r.summary for r in again] == [r.summary for r in first]


def test_a_failing_trial_is_recorded_and_the_rest_goes_on(root, tmp_path):
    """Catches a sweep that dies with its first bad trial (99 annotated subjects of 8)."""
    results = sweeps.sweep(
        grid(root, labels=[99, 2]),
        tmp_path,
        say=lambda line: None,
    )
    assert [r.trial.labels for r in results] == [2]
    assert "99" in json.loads((tmp_path / "labels99" / "error.json").read_text())["error"]


def test_a_full_disk_stops_the_sweep_and_costs_nothing_that_is_finished(
    root, tmp_path, monkeypatch
):
    """The second trial's weights do not fit: one line, and the third is not trained for nothing;
    with room again the same sweep finishes what is left. Catches a traceback, hours of training
    that cannot be kept, a finished trial run again, a claim that stays.
    """
    write = Path.write_bytes

    def full(path, content):
        if path.parent.name == "seed1" and path.name.startswith("weights.safetensors."):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, content)

    spec = grid(root, seed=[0, 1, 2])
    out = tmp_path / "out"
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        UserError, match="No space left on device.*run the same command again to resume"
    ) as stopped:
        sweeps.sweep(spec, out, say=lambda line: None)
    assert str(stopped.value).startswith(f"{out}/seed1/weights")
    ended = _ends(out)
    assert set(ended) == {"seed0"}
    assert not (out / "seed2").exists()
    monkeypatch.undo()
    assert (
        len(sweeps.sweep(spec, out, say=lambda line: None)) == 3
    )  # while the exception lives on: its claim must not
    assert _ends(out)["seed0"] == ended["seed0"]
    log = tmp_path / "worker0.log"
    log.write_text(
        "semiseg: error: out/see"
    )  # of a worker beside others: the disk took no more of its words
    assert "no space left" in sweeps.launch._reason(FULL, log, out)


def test_grid_nested_and_flat_names_agree():
    """``method.decay`` and nested ``parameters`` mean the same; the product is full and in file
    order.
    """
    flat = sweeps.trials(
        {
            "parameters": {
                "method": {"value": "mean_teacher"},
                "method.decay": {"values": [0.9, 0.99]},
                "seed": {"values": [0, 1]},
            }
        }
    )
    nested = sweeps.trials(
        {
            "parameters": {
                "method.name": {"value": "mean_teacher"},
                "method": {"parameters": {"decay": {"values": [0.9, 0.99]}}},
                "seed": {"values": [0, 1]},
            }
        }
    )
    assert (
        list(flat)
        == ["decay0.9-seed0", "decay0.9-seed1", "decay0.99-seed0", "decay0.99-seed1"]
        == list(nested)
    )
    assert [t.method.decay for t in flat.values()] == [0.9, 0.9, 0.99, 0.99]


@pytest.mark.parametrize(
    "spec, words",
    [
        ({"parameters": {"lrr": {"values": [1]}}}, "did you mean 'lr'"),
        ({"parameters": {"lr": [0.1]}}, "needs `value:`"),
        ({"parameters": {"lr": {"values": ["much"]}}}, "not 'much'"),
        ({"method": "bayes", "parameters": {"lr": {"values": [1.0]}}}, "run_cap"),
        ({"method": "evolution", "parameters": {"lr": {"values": [1.0]}}}, "grid, random, bayes"),
        ({"parameters": {"lr": {"min": 0.1, "max": 0.2}}}, "a grid needs `values:`"),
        (
            {"metric": {"name": "val_dice"}, "parameters": {"lr": {"values": [0.1]}}},
            "W&B's default is minimize",
        ),
        (
            {"metric": {"name": "speed"}, "parameters": {"lr": {"values": [0.1]}}},
            "choose val_dice",
        ),
        (
            {"early_terminate": {"type": "median"}, "parameters": {"lr": {"values": [0.1]}}},
            "hyperband",
        ),
        (
            {"method": "random", "run_cap": 1, "parameters": {"lr": {"distribution": "beta"}}},
            "'beta'",
        ),
        ({"parameter": {}}, "did you mean 'parameters'"),
        ({"parameters": {"net": {"value": "vnet9"}}}, "no net called 'vnet9'; did you mean 'vnet'"),
        (
            {
                "parameters": {
                    "method": {"values": ["fixmatch", "ict"]},
                    "method.threshold": {"value": 0.7},
                }
            },
            "(method is ict); what only some of a sweep's",
        ),
    ],
)
def test_a_wrong_sweep_is_one_line(spec, words):
    """Catches a traceback, or a typo that is silently ignored."""
    with pytest.raises(UserError, match=re.escape(words)):
        sweeps.trials(spec)


# ------------------------------------------------------------------ searches
def test_random_points_are_the_same_everywhere_and_within_bounds():
    """Catches a draw that depends on process or order (a resumed sweep would rerun other points),
    and exponents taken for values.
    """
    leaves = {
        "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
        "seed": {"min": 0, "max": 3},
        "momentum": {"min": 0.5, "max": 0.9},
        "weight_decay": {"distribution": "log_uniform", "min": -4.0, "max": -2.0},
        "zoom": {"distribution": "q_uniform", "min": 1.0, "max": 2.0, "q": 0.25},
        "method": {"values": ["supervised", "mean_teacher"]},
    }
    spec = read({"method": "random", "run_cap": 200, "parameters": leaves})
    points = [draw(spec, i) for i in range(200)]
    assert points[17] == draw(spec, 17)
    lr = np.log10([p["lr"] for p in points])
    assert -4 <= lr.min() < -3.7
    assert -1.3 < lr.max() <= -1
    assert abs(lr.mean() + 2.5) < 0.25
    assert {p["seed"] for p in points} == {0, 1, 2, 3}
    assert {p["zoom"] * 4 % 1 for p in points} == {0}
    decay = np.log([p["weight_decay"] for p in points])
    assert -4 <= decay.min()
    assert decay.max() <= -2
    assert {p["method"] for p in points} == {"supervised", "mean_teacher"}
    assert list(
        sweeps.trials(
            {"method": "random", "parameters": leaves},
            3,
        )
    ) == [
        "trial000",
        "trial001",
        "trial002",
    ]


def test_bayes_searches_resumes_and_early_stops(root, tmp_path):
    """Asks up to its cap, tells what it found, and a second call (with more) goes on instead of
    starting again. Rungs stop the worst.

    Catches an ignored metric, values lost in categories (lists), trials beyond the cap, and a
    search that forgets.
    """
    spec = grid(root) | {
        "method": "bayes",
        "run_cap": 3,
        "metric": {"name": "val_dice", "goal": "maximize"},
    }
    spec["parameters"] |= {"lr": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-1}}
    spec["parameters"] |= {
        "net.widths": {"values": [[4, 8]]},
        "labels": {"values": [2, 3]},
    }
    first = sweeps.sweep(spec, tmp_path, say=lambda line: None)
    assert [o.name for o in first] == ["trial000", "trial001", "trial002"]
    assert len({o.trial.lr for o in first}) == 3
    stamps = [o.path.joinpath("summary.json").stat().st_mtime_ns for o in first]
    more = sweeps.sweep(spec, tmp_path, say=lambda line: None, count=5)
    assert len(more) == 5
    assert [o.path.joinpath("summary.json").stat().st_mtime_ns for o in more[:3]] == stamps
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    study = optuna.load_study(
        study_name="sweep",
        storage=JournalStorage(JournalFileBackend(str(tmp_path / "journal.log"))),
    )
    assert [t.value for t in study.trials] == pytest.approx(
        [o.summary["last"]["val"]["dice"] for o in more]
    )
    search = Search(read(spec, 6), tmp_path)
    search.tell(
        search.ask(), None, stopped=True
    )  # it counts against its neighbourhood, and leaves the search able to go on
    assert search.names() == {f"trial00{i}": True for i in range(6)}
    assert search.study.trials[-1].state.name == "PRUNED"
    assert search.ask() == "trial006"
    with pytest.raises(UserError, match="another sweep"):
        sweeps.sweep(
            spec | {"parameters": spec["parameters"] | {"lr": {"value": 0.1}}},
            tmp_path,
        )


def test_hyperband_stops_what_is_not_among_the_best(root, tmp_path):
    """Trials of rising learning rate from hopeless on: the second and third beat the first, a
    hopeless fourth is stopped and never rerun.

    Catches goals turned round, rungs that look at other rungs, and a stopped trial that counts as
    failed or runs again.
    """
    spec = grid(root, lr=[0.03, 1e-7], labels=[8]) | {
        "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 2}
    }
    spec["parameters"] |= {"steps": {"value": 60}, "eval_every": {"value": 30}}
    said: list[str] = []
    done = sweeps.sweep(spec, tmp_path, say=said.append)
    assert [o.trial.lr for o in done] == [0.03], said
    assert "stopped early" in said[1], said
    rows = {r["state"]: r for r in status(tmp_path)}
    assert set(rows) == {"done", "stopped"}
    assert rows["stopped"]["dice"] < rows["done"]["dice"]
    with (tmp_path / ".rungs.jsonl").open("a") as rungs:
        rungs.write('{"trial": "cut by a ki')
    trial = done[0].trial
    judge = Judge(read(spec), tmp_path, "another", 2, trial)
    judge(1.0)
    with pytest.raises(Stopped):
        Judge(read(spec), tmp_path, "hopeless", 2, trial)(0.0)
    said.clear()
    sweeps.sweep(spec, tmp_path, say=said.append)
    assert said == []
    (problem,) = semiseg.load_runs(tmp_path).problems
    assert problem.startswith("1 trial was stopped early in ")


def test_hyperband_compares_trials_of_one_budget(root, tmp_path):
    """Two learning rates with 4 and with 8 labels: at each budget the better one is finished.

    Catches the trap of a label grid, where no trial with few labels survives.
    """
    spec = read(
        grid(root, lr=[0.03, 0.01], labels=[8, 4])
        | {"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 2}}
    )
    stopped = []
    for name, trial in sweeps.spec.trials(spec).items():
        value = trial.labels / 10 + trial.lr
        try:
            Judge(spec, tmp_path, name, 2, trial)(value)
        except Stopped:
            stopped.append((trial.labels, trial.lr))
    assert sorted(stopped) == [(4, 0.01), (8, 0.01)]


# ------------------------------------------------------------------ workers
def test_a_claim_is_held_until_its_process_dies(tmp_path):
    """Catches two workers on one trial, a trial that stays locked after kill -9, and one that seems
    taken because somebody else looks.
    """
    import fcntl

    code = (
        "import sys, time, pathlib; from semiseg.sweeps.claims import Claims; c = "
        "Claims(pathlib.Path(sys.argv[1])); "
    )
    code += "print(c.take('a'), flush=True); time.sleep(60)"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline().strip() == "True"
    mine = Claims(tmp_path)
    assert not mine.take("a")
    assert mine.is_taken("a")
    assert mine.take("b")
    other.kill()
    other.wait()
    other.stdout.close()
    looker = (tmp_path / ".claims" / "a").open()
    fcntl.flock(looker, fcntl.LOCK_SH)
    assert not mine.is_taken("a")
    looker.close()
    assert mine.take("a")


def _spec_file(root: str, folder: Path, **axes) -> Path:
    import yaml

    file = folder / "sweep_in.yaml"
    file.write_text(yaml.safe_dump(grid(root, **axes)))
    return file


def _ends(out: Path) -> dict[str, float]:
    return {f.parent.name: f.stat().st_mtime_ns for f in out.glob("*/summary.json")}


def test_a_trial_that_workers_die_of_is_left_alone(tmp_path):
    """A compiler that ends the process took one worker after another with it."""
    claims = Claims(tmp_path)
    plan = sweeps.trials(grid(str(tmp_path), lr=[0.1, 0.2]))
    first, second = plan

    def worker(session):
        return work._grid_queue(plan, tmp_path, Claims(tmp_path), Options(), session)

    for _ in range(DEATHS):
        assert claims.take(first)
        claims.begin(first, "call")  # and no end: the process is gone
        claims.drop(first)
    assert [name for name, *_ in worker("call")] == [second]
    failure = json.loads((tmp_path / first / "error.json").read_text())
    assert failure["kind"] == "Died" and "2 workers" in failure["error"]
    assert [name for name, *_ in worker("next call")] == [first, second]  # it is tried again
    assert not list(tmp_path.glob(".claims/*.begun"))


@pytest.mark.slow
def test_killed_sweep_of_two_workers_loses_and_repeats_nothing(root, tmp_path):
    """kill -9 of parent and workers at a random moment, then the same command: every trial once.
    Also a trial that always fails.

    Catches trials lost with their worker, finished ones run again, a dead worker's claim that
    stays, and one failure that ends the rest.
    """
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "semiseg-test-programs")
    )  # read by the children only
    file = _spec_file(root, tmp_path, seed=[0, 1, 2], labels=[2, 99], lr=[0.01, 0.02])
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "semiseg.cli.main",
        "sweep",
        str(file),
        f"--out={out}",
        "--jobs=2",
    ]
    parent = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 90
    while not _ends(out) and parent.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.random() * 0.2)
    children = subprocess.run(
        ["pgrep", "-P", str(parent.pid)], capture_output=True, text=True
    ).stdout.split()
    assert len(children) >= 2
    for pid in [parent.pid, *map(int, children)]:
        os.kill(pid, signal.SIGKILL)
    parent.wait()
    time.sleep(0.2)
    seen = _ends(out)
    assert 0 < len(seen) < 6
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1, (
        ended.stdout,
        ended.stderr,
    )
    assert "6 of 12 trials finished" in ended.stdout, (
        ended.stdout,
        ended.stderr,
    )
    assert all(_ends(out)[name] == stamp for name, stamp in seen.items())
    assert len(_ends(out)) == 6
    states = {r["name"]: r["state"] for r in status(out)}
    assert {s for n, s in states.items() if "labels99" in n} == {"failed"}
    assert list(states.values()).count("done") == 6
    logs = "".join(f.read_text() for f in (out / ".logs").iterdir())
    assert (
        len(re.findall(r"val Dice", logs)) <= 6 + 2
    )  # a trial may be killed between its summary and its line


def test_a_search_that_is_killed_proposes_what_it_would_have_proposed(root, tmp_path):
    """It is begun anew before each proposal, and killed in the midst of one: the journal has a line
    a parameter. Catches a search that repeats its first points, and a trial without a parameter.
    """
    spec = grid(root) | {"method": "bayes", "run_cap": 8}
    spec["metric"] = {"name": "val_dice", "goal": "maximize"}
    spec["parameters"] |= {"lr": {"min": 1e-4, "max": 1e-1}, "labels": {"values": [2, 3, 4]}}
    plan = read(spec, 8)
    points = {}
    for kind in ("undisturbed", "killed"):
        out = tmp_path / kind
        out.mkdir()
        search = Search(plan, out)
        for number in range(8):
            if kind == "killed":
                search = Search(plan, out)
                name = search.ask()
                lines = (out / "journal.log").read_bytes().splitlines(keepends=True)
                (out / "journal.log").write_bytes(b"".join(lines[: -1 - number % 2]))
                search = Search(plan, out)
                assert name not in search.names()
            name = search.ask()
            assert name == f"trial{number:03d}"
            search.tell(name, search.point(name)["lr"])
            points[kind, name] = search.point(name)
    asked = [points["undisturbed", f"trial{number:03d}"] for number in range(8)]
    assert [points["killed", f"trial{number:03d}"] for number in range(8)] == asked
    assert len({point["lr"] for point in asked}) == 8


def test_a_worker_stops_when_its_parent_is_killed(tmp_path):
    """Catches workers that train on after `kill -9` of their sweep, and hold its trials."""
    worker = "import time, semiseg.sweeps.worker as w; w.stop_with_parent(); time.sleep(60)"
    reader, writer = os.pipe()
    began = subprocess.Popen([sys.executable, "-c", worker], stdin=reader)
    os.close(reader)
    time.sleep(0.5)
    assert began.poll() is None
    os.close(writer)  # as the end of a process does
    assert began.wait(30) == -signal.SIGTERM


def test_ctrl_c_while_workers_start_ends_them(root, tmp_path, monkeypatch):
    """The signal comes as the first of two starts. Catches workers that live on, unseen, because
    nobody listened yet.
    """
    told = []

    class Worker:
        returncode = None

        def __init__(self, *_, **__):
            told.append("start")
            signal.raise_signal(signal.SIGINT)

        def poll(self):
            return self.returncode

        def send_signal(self, number):
            told.append(number)
            self.returncode = -number

    monkeypatch.setattr(
        sweeps.launch, "subprocess", types.SimpleNamespace(Popen=Worker, STDOUT=subprocess.STDOUT)
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        sweeps.sweep(
            grid(root, seed=[0, 1]),
            tmp_path,
            jobs=2,
            say=lambda line: None,
        )
    assert told == ["start", signal.SIGTERM]
    assert signal.getsignal(signal.SIGINT) is before


def test_slurm_runs_the_same_worker(root, tmp_path, monkeypatch):
    """submitit's own dry run (cluster=debug). Catches a worker that cannot be shipped, options that
    do not reach the executor, a traceback or silence where all workers end early, a trial that
    failed because its job's time was over, and a cluster that is not there replaced by this
    machine.
    """
    import submitit

    spec = grid(root, seed=[0, 1])
    options = {
        "backend": "slurm",
        "cluster": {"cluster": "debug", "timeout_min": 5},
        "say": lambda line: None,
    }
    assert [o.name for o in sweeps.sweep(spec, tmp_path / "a", **options)] == ["seed0", "seed1"]
    monkeypatch.setattr(
        "semiseg.sweeps.worker.work",
        lambda *_: (_ for _ in ()).throw(DiskError("the disk is full")),
    )
    with pytest.raises(UserError, match="^the disk is full$"):
        sweeps.sweep(spec, tmp_path / "b", **options)
    monkeypatch.setattr(
        "semiseg.runner.run",
        lambda *_, **__: (_ for _ in ()).throw(
            submitit.core.utils.UncompletedJobError("timed out")
        ),
    )
    with pytest.raises(
        submitit.core.utils.UncompletedJobError
    ):  # raised in the middle of a trial, by a signal
        sweeps.sweep(spec, tmp_path / "c", say=lambda line: None)
    assert not list((tmp_path / "c").glob("*/error.json"))
    assert task.checkpoint("out", "session", Options()).function is task
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="no sbatch"):
        sweeps.sweep(spec, tmp_path / "b", backend="slurm")


class LikeRay:
    """What the sweep uses of Ray, with a worker that searches modules as Ray's do: a task is sent
    by cloudpickle to a process that puts the driver's working folder first.
    """

    exceptions = types.SimpleNamespace(RayError=RuntimeError)
    child = (
        "import os, pickle, sys, cloudpickle; sys.path.insert(0, os.path.abspath(os.curdir)); "
        "function, words = pickle.load(sys.stdin.buffer); print(function(*words))"
    )

    def init(self, **_):
        pass

    def cluster_resources(self):
        return {}

    def get(self, results):
        return results

    def remote(self, **_):
        return lambda function: types.SimpleNamespace(
            remote=lambda *words: self.run(function, words)
        )

    def run(self, function, words):
        import cloudpickle

        sent = cloudpickle.dumps((function, words))
        command = [sys.executable, "-P", "-c", self.child]
        return subprocess.run(command, input=sent, capture_output=True, check=True).stdout.strip()


DECOYS = (
    *("yaml", "json", "tempfile", "random", "signal", "numpy", "scipy", "jax", "jaxlib", "flax"),
    *("optax", "orbax", "skimage", "PIL", "h5py", "nibabel", "pydicom", "safetensors", "wandb"),
    *("tensorflow_datasets", "matplotlib", "jinja2", "optuna", "tqdm", "tyro", "submitit"),
    *("semiseg", "sitecustomize", "usercustomize", "conftest", "threading", "subprocess"),
)
"""Modules of a stranger in the working folder, named like ours and like the libraries'."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    [
        {"jobs": 2},
        {"backend": "slurm", "cluster": {"cluster": "local"}},
        {"backend": "ray"},
    ],
    ids=["jobs", "slurm", "ray"],
)
def test_workers_run_no_file_of_the_working_folder(engine, root, tmp_path, monkeypatch):
    """The trial is done already: the workers start and find nothing to do. Catches a yaml.py,
    json.py or flax.py beside the data that is run in place of the module.
    """
    spec = grid(root, seed=[0])
    folder = tmp_path / "folder"
    sweeps.sweep(spec, tmp_path / "out", say=lambda line: None)
    folder.mkdir()
    marks = tmp_path / "marks"
    marks.mkdir()
    for module in DECOYS:
        (folder / f"{module}.py").write_text(
            f"open({str(marks / module)!r}, 'w')\nraise ImportError('foreign {module}.py')\n"
        )
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "ray", LikeRay())
    said: list[str] = []
    (done,) = sweeps.sweep(
        spec,
        tmp_path / "out",
        say=said.append,
        **engine,
    )
    assert done.path.is_dir()
    assert not any("ended early" in line for line in said)
    assert not list(marks.iterdir())
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_batch_script_keeps_the_working_folder_out(root, tmp_path, monkeypatch):
    """A cluster that starts jobs without the environment of `semiseg sweep`. Catches a script that
    leaves it to the environment, and a user's own setup that is lost.
    """
    for name, text in (("sbatch", "echo Submitted batch job 7"), ("srun", "true")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    cluster = {"slurm_setup": ["module load cuda"]}
    sweeps.sweep(
        grid(root, seed=[0]),
        tmp_path / "out",
        backend="slurm",
        cluster=cluster,
        say=lambda line: None,
    )
    # a folder of its own: submitit unpickles what lies there, and the sweep may be a stranger's
    (script,) = (tmp_path / "out" / ".slurm").glob("*/*_submission.sh")
    before, command, _ = script.read_text().partition("srun")
    assert command
    assert "\nexport PYTHONSAFEPATH=1\n" in before
    assert "\nmodule load cuda\n" in before


def test_a_missing_engine_is_one_line_with_its_remedy(root, tmp_path, monkeypatch):
    """Catches a traceback for an extra that is not installed."""
    for backend, package in (("ray", "ray"), ("slurm", "submitit")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            UserError,
            match=re.escape(f"pip install 'semiseg[{backend}]'"),
        ):
            sweeps.sweep(grid(root, seed=[0]), tmp_path, backend=backend)


def test_status_command_reads_a_dead_sweep(root, tmp_path, capsys, monkeypatch):
    """Done, broken, unfinished and waiting trials, from the folder alone, and a file where a
    trial's folder should be; then the live table.

    Catches a status that asks a process, a status or sweep that dies of one bad folder, and a
    terminal that sees no table.
    """
    spec = grid(root, seed=[0, 1, 2, 3, 4])
    (tmp_path / "seed4").write_text("no folder")
    sweeps.sweep(spec, tmp_path, say=lambda line: None)
    (tmp_path / "seed1" / "summary.json").write_text('{"steps": 4, "last": null}')
    (tmp_path / "seed2" / "summary.json").unlink()
    import shutil

    shutil.rmtree(tmp_path / "seed3")
    assert (
        main(
            [
                "sweep",
                "status",
                str(tmp_path),
                "--json",
                str(tmp_path / "s.json"),
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "1 of 5 done" in said
    assert "3 unfinished" in said
    assert "1 waiting" in said
    assert [r["state"] for r in json.loads((tmp_path / "s.json").read_text())] == [
        "done",
        "unfinished",
        "unfinished",
        "waiting",
        "unfinished",
    ]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    results = sweeps.sweep(spec, tmp_path, say=lambda line: None, progress=True)
    assert re.search(
        r"3 of 5 done, 1 failed, 1 unf.*\n.*Dice.*\n  failed     seed1", capsys.readouterr().err
    )  # the live table's last state
    assert len(results) == 3
    assert "error" in json.loads(
        (tmp_path / "seed1" / "error.json").read_text()
    )  # the broken one is named, the rest goes on
    with pytest.raises(UserError, match="holds no sweep"):
        status(tmp_path / "seed0")


# ------------------------------------------------------------------ W&B's side of the file
FILES = sorted((Path(semiseg.__file__).parents[1] / "experiments" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_experiment_files_are_plans_and_w_and_bs_schema_accepts_them(file):
    """Every committed sweep, against W&B's own schema (sweeps 0.3.0, MIT); a trial as W&B's agent
    sends it is the trial that our sweep runs.

    Catches a typo in a field, a key that W&B refuses, a file without the agent's command, and
    values that flags cannot carry.
    """
    import jsonschema
    import yaml
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    from semiseg.cli.arguments import parse
    from semiseg.cli.train import trial_of

    schema = json.loads((Path(__file__).parent / "wandb_sweep_schema.json").read_text())
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load(file.read_text()))
    spec = read(file)
    plan = list(sweeps.trials(spec).values()) or [spec.trial(draw(spec, 0))]
    assert all(trial.steps >= 1 for trial in plan)
    if "make:" not in str(
        spec.parameters.get("synthetic")
    ):  # sets that only the experiment's own script makes
        assert spec.source["command"] == ["${env}", "semiseg", "train", "${args}"]
        point = list(points(spec).values())[-1] if spec.method == "grid" else draw(spec, 0)
        sent = create_sweep_command_args({"args": {k: {"value": v} for k, v in point.items()}})[
            "args"
        ]
        assert trial_of(parse(sent)[1]) == spec.trial(point)
    if file.stem == "label_efficiency":
        assert len(plan) == 5 * 6 * 3 * 3


def test_what_an_agent_sends_is_what_train_reads():
    """W&B's own code builds the flags of every first trial; the parser of `semiseg train` makes the
    same trial of them.

    Catches lists, booleans and dotted names that only our own YAML reader understands.
    """
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    from semiseg.cli.arguments import parse
    from semiseg.cli.train import trial_of

    point = {
        "method": "mean_teacher",
        "method.decay": 0.97,
        "net.widths": [4, 8],
        "method.average_state": False,
        "lr": 1e-05,
        "root": None,
        "view": "centre",
    }
    flags = create_sweep_command_args({"args": {k: {"value": v} for k, v in point.items()}})["args"]
    assert "--method.decay=0.97" in flags
    assert "--method.average_state=False" in flags
    trial = trial_of(parse(flags)[1])
    assert trial == read({"parameters": {k: {"value": v} for k, v in point.items()}}).trial(point)
    assert trial.method.decay == 0.97
    assert trial.net.widths == (4, 8)
    assert trial.method.average_state is False
    assert trial.root is None
    by_hand = parse(
        ["--method", "mean_teacher", "--net.widths", "4", "8", "--lr", "1e-05", "--quiet", "1"]
    )[1]
    assert parse(["--seed", "1", "2024"]) == (["2024"], {"seed": "1"}), (
        "a folder may be called 2024"
    )
    assert by_hand == {"method": "mean_teacher", "net.widths": "4,8", "lr": "1e-05", "quiet": "1"}
