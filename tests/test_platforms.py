"""A device of ``JAX_PLATFORMS`` that there is not is one line that names the variable."""

import os
import subprocess
import sys

import pytest

from semiseg.cli.main import UNFORESEEN, main
from semiseg.errors import UserError
from semiseg.runner.ensemble import Ensemble
from semiseg.runner.platforms import VARIABLE, check_platform

CODE = """
import sys
import jax
from semiseg.cli import main, methods

def computes(words):
    jax.devices()
    return 0

methods.main = computes
sys.exit(main.main(["methods"]))
"""


@pytest.mark.slow
def test_a_platform_that_is_missing_is_one_line():
    """Catches the bare AssertionError of a JAX for CPUs, in a process that has no device yet."""
    environment = {**os.environ, VARIABLE: "rocm"}
    command = [sys.executable, "-c", CODE]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("semiseg:")]
    assert line.startswith(f"semiseg: error: {VARIABLE}=rocm: JAX finds no such device; unset it")
    assert "Traceback" not in result.stderr


@pytest.fixture
def without_devices(monkeypatch):
    """What JAX for CPUs does where a GPU is asked for."""

    def none():
        raise AssertionError

    monkeypatch.setattr("jax.devices", none)
    monkeypatch.setenv(VARIABLE, "cuda")


def test_predict_blames_no_picture(without_devices, tmp_path):
    """Catches one error for each picture."""
    with pytest.raises(UserError, match="^JAX_PLATFORMS=cuda: JAX finds no such device"):
        Ensemble.load([tmp_path])


def test_other_errors_stay_what_they_are(monkeypatch, capsys):
    """Catches a device that is blamed for a fault in the program."""

    def broken(words):
        raise AssertionError("a fault")

    monkeypatch.setattr("semiseg.cli.methods.main", broken)
    monkeypatch.setenv(VARIABLE, "cpu")
    check_platform()
    with pytest.raises(AssertionError, match="a fault"):
        main(["methods", "--debug"])
    assert main(["methods"]) == UNFORESEEN
    assert "AssertionError: a fault" in capsys.readouterr().err
