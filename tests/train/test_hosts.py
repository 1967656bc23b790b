"""One run on several processes."""

import dataclasses
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from semiseg import config, run
from semiseg.errors import UserError
from semiseg.nets import UNet
from semiseg.train import hosts
from semiseg.train.checkpoint import load_weights

COMMAND = [sys.executable, "-m", "semiseg.cli.main", "train"]


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def group(port, index, seconds=20.0):
    return hosts.Group("127.0.0.1", port, 3, index, seconds)


def test_processes_wait_for_each_other(port):
    with ThreadPoolExecutor() as pool:
        list(pool.map(hosts.meet, [group(port, index) for index in (1, 2, 0)]))


def test_an_absent_process_is_named(port):
    with ThreadPoolExecutor() as pool:
        first = pool.submit(hosts.meet, group(port, 0, 0.5))
        third = pool.submit(hosts.meet, group(port, 2, 0.5))
        with pytest.raises(UserError, match="process 1 of 3 did not come within 0.5 s"):
            first.result()
        with pytest.raises(UserError, match="another one did not come"):
            third.result()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SEMISEG_COORDINATOR": "node7"}, "must be HOST:PORT"),
        ({"SEMISEG_PROCESS": ""}, "SEMISEG_PROCESS=: must be a whole number"),
        ({"SEMISEG_PROCESS": "2"}, "SEMISEG_PROCESS=2: must be 0 to 1"),
    ],
)
def test_an_environment_without_sense_is_refused(changes, message):
    fine = {
        "SEMISEG_COORDINATOR": "node7:4000",
        "SEMISEG_PROCESSES": "2",
        "SEMISEG_PROCESS": "1",
    }
    assert hosts.group_of(fine).port == 4000
    with pytest.raises(UserError, match=message):
        hosts.connect(fine | changes)


def test_the_end_of_another_process_is_one_line(monkeypatch):
    monkeypatch.setattr(hosts, "several", lambda: True)
    with pytest.raises(UserError, match="another process of this run has ended"), hosts.together():
        raise RuntimeError("Gloo AllGather failed: Connection closed by peer")
    with pytest.raises(RuntimeError, match="a mistake"), hosts.together():
        raise RuntimeError("a mistake")


def test_two_processes_train_as_one(tiny, port, tmp_path):
    """The first writes the files, the other none; the weights are those of one process."""
    trial = dataclasses.replace(
        tiny, net=UNet(widths=(2, 4)), image_size=16, steps=3, eval_every=3, log_every=3
    )
    path = tmp_path / "trial.yaml"
    path.write_text(config.to_yaml(trial))
    environment = {
        **os.environ,
        "SEMISEG_COORDINATOR": f"127.0.0.1:{port}",
        "SEMISEG_PROCESSES": "2",
    }
    processes = []
    for index in (0, 1):
        out = tmp_path / str(index)
        command = [*COMMAND, f"--config={path}", f"--out={out}", "--quiet"]
        processes.append(
            subprocess.Popen(
                command,
                env={**environment, "SEMISEG_PROCESS": str(index)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    messages = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], messages
    assert "val Dice" in messages[0]
    assert "val Dice" not in messages[1]
    assert not (tmp_path / "1").exists()
    alone = run(trial, progress=False)
    together, _ = load_weights(tmp_path / "0" / "weights.safetensors", alone.params)
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
