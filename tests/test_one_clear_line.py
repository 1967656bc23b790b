"""Damaged and hostile files, each given to the command that reads it: exit code 2 and one line that
names the file, whatever is wrong in it.
"""

import errno
import json
import os
import shutil
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import yaml

from semiseg.cli.main import main
from semiseg.data import importing

MADE = Path(__file__).parent / "guards" / "made_by_53dd379"
RUN = "runs/supervised"
EARLY = "early_terminate"


# ------------------------------------------------------------------ what is changed
def sweep(**changes):
    """A file of a sweep with other keys."""

    def write(world):
        content = {
            "method": "random",
            "run_cap": 2,
            "metric": {"name": "val_dice", "goal": "maximize"},
            "parameters": {"seed": {"values": [1, 2]}},
        }
        text = yaml.safe_dump({**content, **changes})
        (world / "sweep.yaml").write_text(text)

    return write


def parameter(**content):
    """A sweep over a learning rate."""
    return sweep(parameters={"optimiser.lr": content})


def file(name, content):
    """A file with another content; bytes or text."""

    def write(world):
        path = world / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)

    return write


def changed(name, **values):
    """A JSON or YAML file with other values."""

    def write(world):
        path = world / name
        load, dump = json.loads, json.dumps
        if path.suffix == ".yaml":
            load, dump = yaml.safe_load, yaml.safe_dump
        content = load(path.read_text())
        path.write_text(dump({**content, **values}))

    return write


def score(value):
    """A table of scores with another Dice in its last row of one."""

    def write(world):
        path = world / RUN / "per_subject.csv"
        lines = path.read_text().splitlines()
        last = max(i for i, line in enumerate(lines) if ",dice," in line)
        cells = lines[last].split(",")
        cells[-2] = value
        lines[last] = ",".join(cells)
        path.write_text("\n".join(lines) + "\n")

    return write


def cut(name, length):
    """A file that ends early."""

    def write(world):
        path = world / name
        path.write_bytes(path.read_bytes()[:length])

    return write


def colours(world):
    """A NIfTI of RGB voxels."""
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    voxels = np.zeros((4, 4, 2), kind)
    path = world / "scans" / "images" / "p0.nii.gz"
    path.parent.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)


def slices(**arrays):
    """A folder in the layout of SSL4MIS with one slice."""

    def write(world):
        folder = world / "acdc"
        (folder / "data" / "slices").mkdir(parents=True)
        name = "patient1_frame01_slice_1"
        with h5py.File(folder / "data" / "slices" / f"{name}.h5", "w") as content:
            for key, values in arrays.items():
                content[key] = values
        (folder / "train_slices.list").write_text(f"{name}\n")
        (folder / "val.list").write_text("")

    return write


IMAGE = np.zeros((4, 4), np.float32)
LABEL = np.zeros((4, 4), np.uint8)
COMPOUND = np.zeros((4, 4), np.dtype([("a", "u1"), ("b", "f4")]))
SWEEP = "sweep sweep.yaml --out swept --data nuclei"
REPORT = f"report {RUN} --out page"
EXPORT = f"export {RUN} --out published"
PREDICT = f"predict {RUN} pictures --out masks"
ACDC = "data import --format ssl4mis_acdc --source acdc --name a --root stores"
SCANS = "data import --format folder --source scans --name a --root stores"

CASES = {
    # sweeps
    "parameters that are a list": (sweep(parameters=[1]), SWEEP),
    "a name that is a number": (sweep(parameters={1: {"value": 2}}), SWEEP),
    "a distribution that is a list": (sweep(parameters={"seed": [1]}), SWEEP),
    "probabilities of another length": (
        parameter(values=[0.1, 0.2], probabilities=[1.0]),
        SWEEP,
    ),
    "probabilities of text": (
        parameter(values=[0.1, 0.2], probabilities=["a", "b"]),
        SWEEP,
    ),
    "negative probabilities": (
        parameter(values=[0.1, 0.2], probabilities=[-1.0, 2.0]),
        SWEEP,
    ),
    "a step of nothing": (
        parameter(distribution="q_uniform", min=0.1, max=0.2, q=0),
        SWEEP,
    ),
    "a bound that is no number": (parameter(min="low", max=0.2), SWEEP),
    "a bound that is NaN": (parameter(min=float("nan"), max=0.2), SWEEP),
    "an end that is a list": (sweep(early_terminate=[1]), SWEEP),
    "an end of text": (
        sweep(early_terminate={"type": "hyperband", "eta": "x", "min_iter": 1}),
        SWEEP,
    ),
    "a preset that is a list": (sweep(preset=[1]), SWEEP),
    "a preset that nobody knows": (sweep(preset="no-such"), SWEEP),
    "a metric that is a list": (sweep(metric=[1]), SWEEP),
    "a cap that is text": (sweep(run_cap="many"), SWEEP),
    "a cap below zero": (sweep(run_cap=-1), SWEEP),
    "1,200 brackets": (file("sweep.yaml", "[" * 1200), SWEEP),
    "no YAML": (file("sweep.yaml", "a: [1"), SWEEP),
    "no text": (file("sweep.yaml", b"\xff\xfe\x00"), SWEEP),
    # data
    "a scan in colours": (colours, SCANS),
    "text for pixels": (slices(image="pixels", label=LABEL), ACDC),
    "compound pixels": (slices(image=COMPOUND, label=LABEL), ACDC),
    "a number for pixels": (slices(image=3.0, label=LABEL), ACDC),
    "compound labels": (slices(image=IMAGE, label=COMPOUND), ACDC),
    "no label": (slices(image=IMAGE), ACDC),
    "an empty slice": (slices(image=IMAGE[:0], label=LABEL[:0]), ACDC),
    "no file of a list": (
        file("acdc/train_slices.list", "patient1_frame01_slice_1\n"),
        ACDC,
    ),
    "a list of no text": (file("acdc/train_slices.list", b"\xff\xfe\n"), ACDC),
    "an odd name in a list": (file("acdc/train_slices.list", "who\n"), ACDC),
    "a description that is a list": (
        file("stores/own/semiseg.json", "[]"),
        "data describe own --root stores",
    ),
    "a cut description": (
        cut("stores/own/semiseg.json", 40),
        "train --data own --root stores --out r --steps 1",
    ),
    # runs
    "a cut summary": (cut(f"{RUN}/summary.json", 50), EXPORT),
    "a summary that is a list": (file(f"{RUN}/summary.json", "[]"), EXPORT),
    "scores that are text": (
        changed(f"{RUN}/summary.json", last={"val": "x"}),
        EXPORT,
    ),
    "subjects that are a number": (
        changed(f"{RUN}/summary.json", labelled_subjects=3),
        EXPORT,
    ),
    "a cut environment": (cut(f"{RUN}/env.json", 20), EXPORT),
    "a configuration of brackets": (file(f"{RUN}/config.yaml", "[" * 1200), EXPORT),
    "a configuration that is a list": (file(f"{RUN}/config.yaml", "- 1\n"), EXPORT),
    "a side below zero": (changed(f"{RUN}/config.yaml", image_size=-4), PREDICT),
    "a side beyond memory": (changed(f"{RUN}/config.yaml", image_size=10**21), PREDICT),
    "a NaN for steps": (changed(f"{RUN}/config.yaml", steps=float("nan")), EXPORT),
    "a method that is a number": (changed(f"{RUN}/config.yaml", method=3), EXPORT),
    "cut weights": (cut(f"{RUN}/weights.safetensors", 100), PREDICT),
    "weights of another program": (
        file(f"{RUN}/weights.safetensors", (2).to_bytes(8, "little") + b"{}"),
        PREDICT,
    ),
    "a table of scores without a head": (
        file(f"{RUN}/per_subject.csv", "1,2\n"),
        REPORT,
    ),
    "a table of no text": (file(f"{RUN}/per_subject.csv", b"\xff\xfe\n"), REPORT),
    "a score of text": (score("much"), REPORT),
    "a Dice above one": (score("7"), REPORT),
    "a Dice below zero": (score("-3"), REPORT),
    "examples that are no archive": (file(f"{RUN}/examples.npz", b"PK"), REPORT),
    "results without a column": (
        file("results.csv", "run,value\na,1\n"),
        "report results.csv --out page",
    ),
}


@pytest.fixture
def world(tmp_path, monkeypatch, own):
    """A folder with a run of an earlier version, a data set and a picture."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(MADE / "finished", tmp_path / "runs")
    shutil.copytree(own, tmp_path / "stores")
    (tmp_path / "pictures").mkdir()
    shutil.copy(MADE / "generated" / "images" / "syn000001.png", tmp_path / "pictures")
    return tmp_path


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Stores with a tiny set."""
    folder = tmp_path_factory.mktemp("own")
    source = folder / "source"
    shutil.copytree(MADE / "generated", source)
    (source / "provenance.csv").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        importing.import_set("folder", source, "own", folder / "stores", progress=False)
    return folder / "stores"


def said(capsys, line):
    """Exit code and both outputs of a command line."""
    capsys.readouterr()
    code = main(line.split())
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line(name, world, capsys):
    """Catches a traceback, exit code 70, two lines, and a line that does not say where."""
    change, command = CASES[name]
    change(world)
    code, _, error = said(capsys, command)
    assert code == 2, error
    lines = [line for line in error.splitlines() if line.startswith("semiseg: error: ")]
    assert len(lines) == 1
    assert "Traceback" not in error
    assert "Error" not in lines[0]


def test_an_odd_set_hides_no_other(world, capsys):
    """Catches a list of sets that ends at the first damaged one."""
    (world / "stores" / "odd").mkdir()
    (world / "stores" / "odd" / "semiseg.json").write_text('{"layout": []}')
    code, output, _ = said(capsys, "data list --root stores")
    assert code == 1
    assert "own" in output
    assert "nuclei" in output
    assert "stores/odd/semiseg.json: damaged" in output


@pytest.mark.parametrize(
    "name", [".old.importing-backup", ".own.replaced-old", "..importing-x-1-abc"]
)
def test_a_hidden_folder_breaks_no_look_up(name, world, capsys):
    """Catches a folder that looks like an unfinished import to a careless pattern."""
    shutil.copytree(world / "stores" / "own", world / "stores" / name)
    assert said(capsys, "data list --root stores")[0] == 0
    assert said(capsys, "data describe own --root stores")[0] == 0
    code, _, error = said(capsys, "data describe missing --root stores")
    assert code == 2
    assert "no data set 'missing'" in error
    assert (world / "stores" / name / "semiseg.json").exists()


def test_a_disk_that_fills_under_an_export_is_that_of_the_export(world, capsys, monkeypatch):
    """Catches a line that names the run, which is only read, and an export that cannot go on."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "sendfile", full)  # by which shutil copies, and names both files
        code, _, error = said(capsys, EXPORT)
    assert code == 2
    assert error.startswith("semiseg: error: published: No space left on device; free space")
    assert said(capsys, EXPORT)[0] == 0
