"""A command that a script starts in its background begins with Ctrl-C ignored: the terminal's
Ctrl-C is meant for the script, and does not end the command.
"""

import dataclasses
import signal

import pytest

import semiseg
import semiseg.runner
from semiseg.cli.main import main
from semiseg.train.checkpoint import Checkpoints


@pytest.fixture
def ctrl_c_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    after = signal.signal(signal.SIGINT, before)
    assert after is signal.SIG_IGN


def test_a_background_run_trains_to_its_end(tiny, tmp_path, monkeypatch, ctrl_c_ignored):
    """Each checkpoint is followed by a Ctrl-C. Catches a training that listens all the same."""
    save = Checkpoints.save
    steps = []

    def interrupted_save(self, step, *rest):
        save(self, step, *rest)
        steps.append(step)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Checkpoints, "save", interrupted_save)
    trial = dataclasses.replace(tiny, checkpoint_seconds=0.0)
    semiseg.run(trial, tmp_path / "background", progress=False)
    assert steps == [5, 10, 15, 20]


def test_a_background_command_goes_on_before_training(monkeypatch, capfd, ctrl_c_ignored):
    """While data are read. Catches a command that ends with 130 there."""

    def interrupted_run(*args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        raise semiseg.UserError("it ran on")

    monkeypatch.setattr(semiseg.runner, "run", interrupted_run)
    assert main(["train", "--out=x"]) == 2
    message = capfd.readouterr().err
    assert "it ran on" in message
    assert "interrupted" not in message
