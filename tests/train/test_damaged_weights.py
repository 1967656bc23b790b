"""Weights and checkpoints whose files were changed: refused in one line that names the file."""

import json
import shutil
import sys
import types

import numpy as np
import pytest
import yaml
from guards.guard_tools import MADE
from safetensors.numpy import load_file, save_file

from semiseg.data import provenance
from semiseg.errors import UserError
from semiseg.runner.predictor import Predictor
from semiseg.train.checkpoint import Checkpoints


@pytest.fixture
def run(tmp_path):
    """A finished run, without what a prediction does not need."""
    for name in ("config.yaml", "weights.safetensors"):
        shutil.copy(MADE / "finished" / "supervised" / name, tmp_path / name)
    return tmp_path


def changed(run, header=None, numbers=None):
    """Write other weights: of another header, or of other numbers."""
    path = run / "weights.safetensors"
    arrays = load_file(path)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    stored = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["semiseg"]
    if header is not None:
        stored = json.dumps(header(json.loads(stored)))
    if numbers is not None:
        name = sorted(arrays)[0]
        arrays[name] = np.full_like(arrays[name], numbers)
    save_file(arrays, path, metadata={"semiseg": stored})


HEADERS = {
    "null": (lambda header: None, "should be names with values"),
    "channels": (lambda header: header | {"channels": float("nan")}, "channels is nan"),
    "classes": (lambda header: header | {"classes": ["a", 3]}, "classes.1 is 3"),
    "twice": (lambda header: header | {"classes": ["a", "a"]}, "names a class twice"),
    "input": (lambda header: header | {"input": {"low": 0}}, "does not say what training saw"),
    "none": (lambda header: {}, "does not say which network it is of"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_an_odd_header_of_weights_is_one_line(name, run):
    """Catches a TypeError of None, and a number of channels that is none."""
    header, words = HEADERS[name]
    changed(run, header)
    with pytest.raises(UserError, match=words) as caught:
        Predictor.load(run)
    assert str(run / "weights.safetensors") in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value, run):
    """Catches masks of background alone, from a file with a damaged number."""
    changed(run, numbers=value)
    with pytest.raises(UserError, match="not finite"):
        Predictor.load(run)


def test_axes_of_mirrors_are_numbers(run):
    """Catches a traceback of a configuration that was edited."""
    tree = yaml.safe_load((run / "config.yaml").read_text())
    tree["augment"] = {"geometry": {"flip": 0.5, "flip_axes": ["x"]}}
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError, match="flip_axes is"):
        Predictor.load(run)


RECORDS = {
    "a list": [],
    "a number": {"seen": 3, "unknown": []},
    "missing": {"seen": [{"name": "a"}], "unknown": []},
    "no base64": {"seen": [{"labelled": "!"}], "unknown": []},
    "half a number": {"seen": [{"images": "AAAA"}], "unknown": []},
}


@pytest.mark.parametrize("name", RECORDS)
def test_damaged_provenance_is_one_line(name):
    """Catches a KeyError, and hashes that are cut."""
    with pytest.raises(UserError, match="origin.json: its provenance is damaged"):
        provenance.from_dict(RECORDS[name], "origin.json")


# ------------------------------------------------------------------ checkpoints
STATE = {"kernel": np.ones(3, np.float32)}


@pytest.fixture
def stored(tmp_path):
    """A folder with a checkpoint whose record holds 0.75."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, STATE, {"best": 0.75})
    checkpoints.close()
    return tmp_path


def test_a_changed_record_of_a_checkpoint_is_refused(stored):
    """Catches a best score that nobody reached."""
    assert Checkpoints(stored).restore(STATE)[1] == {"best": 0.75}
    path = stored / "1" / "record" / "metadata"
    assert "0.75" in path.read_text()
    path.write_text(path.read_text().replace("0.75", "0.85"))
    with pytest.raises(UserError, match="digest differs"):
        Checkpoints(stored).restore(STATE)


def test_a_checkpoint_of_an_earlier_version_is_read(stored):
    """Catches that runs from before the record was checked cannot go on."""
    from semiseg.train.checkpoint import _digest

    path = stored / "1" / "record" / "metadata"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"digest": _digest(STATE)}))
    assert Checkpoints(stored).restore(STATE)[1] == {"best": 0.75}


@pytest.mark.parametrize("content", ["[" * 100_000, '{"init_timestamp_nsecs": "0"}'])
def test_damaged_metadata_of_a_checkpoint_are_one_line(content, stored):
    """Catches a traceback of Orbax before anything is restored."""
    (stored / "1" / "_CHECKPOINT_METADATA").write_text(content)
    with pytest.raises(UserError, match="a checkpoint cannot be read"):
        Checkpoints(stored)


def test_late_writers_of_a_failed_save_say_nothing(tmp_path, monkeypatch, capsys):
    """Orbax closes its loop where an array cannot be written; writers of others end later. Catches
    their tracebacks beside the line that says so, and other errors that are no longer seen.
    """

    def say(unraisable):
        print(unraisable.exc_value)

    monkeypatch.setattr(sys, "unraisablehook", say)
    Checkpoints(tmp_path / "first").close()
    Checkpoints(tmp_path / "second").close()
    for message in ("Event loop is closed", "another"):
        error = RuntimeError(message)
        sys.unraisablehook(types.SimpleNamespace(exc_type=RuntimeError, exc_value=error))
    assert capsys.readouterr().out == "another\n"
