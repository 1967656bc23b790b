"""What a run reports while it trains: a line a minute without a terminal, and compilation."""

import dataclasses

import jax
import pytest

import semiseg
from semiseg.train import log, loop


class Clock:
    """A clock that a test turns."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said():
    return []


@pytest.fixture
def lines(clock, said):
    return log.Lines(total=100, first=0, clock=clock, say=said.append)


def test_one_line_a_minute(lines, clock, said):
    """Twelve chunks of 10 s each make two lines. Catches a line a chunk, and none."""
    for step in range(1, 13):
        clock.now += 10
        lines.update(step, {"step": step, "loss": 1 / step})
    assert [message.split()[1] for message in said] == ["6/100", "12/100"]


def test_a_line_has_step_loss_last_dice_and_time_left(lines, clock, said):
    """The validation Dice stays in the lines after the one that measured it."""
    clock.now += 30  # compilation and the first chunk: no part of the speed
    lines.update(10, {"loss": 0.5, "val_dice": 0.25})
    clock.now += 40
    lines.update(30, {"loss": 0.125, "lr": 0.1})
    assert said == ["step 30/100   loss 0.125   val Dice 0.250   about 2 min left"]


def test_time_left_is_unknown_after_one_long_chunk(lines, clock, said):
    """Catches a division by zero steps."""
    clock.now += 100
    lines.update(50, {"loss": 0.5})
    assert said == ["step 50/100   loss 0.500   time left unknown"]


def test_a_run_says_that_it_compiles_once_and_quiet_says_nothing(tiny, capsys, monkeypatch):
    """Catches a silent wait, the message again for a program that is compiled, and --quiet."""
    monkeypatch.setattr(log, "LINE_EVERY", 0.0)
    loop.forget_programs()
    short = dataclasses.replace(tiny, steps=10, eval_every=10)
    semiseg.run(short, progress=False)
    assert capsys.readouterr().err == ""
    loop.forget_programs()
    semiseg.run(short)
    first = capsys.readouterr().err.splitlines()
    semiseg.run(dataclasses.replace(short, seed=1))
    second = capsys.readouterr().err.splitlines()
    assert first[0] == log.compiling_message(jax.devices()[0].platform)
    assert first[-1].startswith("step 10/10   loss ")
    assert "val Dice" in first[-1]
    assert not any("compiling" in line for line in second)
    assert len(second) == len(first) - 1


def test_the_bar_says_it_too(monkeypatch, capsys):
    """On a terminal the message stands above the bar."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar = log.progress_of(10, 0, show=True)
    bar.compiling("cpu")
    bar.update(5, {"loss": 0.5})
    bar.close()
    message = capsys.readouterr().err
    assert isinstance(bar, log.Bar)
    assert log.compiling_message("cpu") in message
    assert "loss=0.500" in message
