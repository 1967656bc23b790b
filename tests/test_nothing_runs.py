"""No input makes code run: run folders, sweep files, stores, plug-ins, the working folder.

Weights are tested in tests/nets/test_imports.py, prepared sets in tests/data/test_other_files.py,
archives in tests/data/test_declared_sizes.py, workers in tests/test_sweep.py.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import semiseg
from semiseg import sweeps
from semiseg.cli.main import main
from semiseg.environment import apart_from_the_working_folder
from semiseg.errors import UserError
from semiseg.run_folder import RunFolder
from semiseg.track.contents import examples

PACKAGE = Path(semiseg.__file__).parent
DECOYS = (
    *("yaml", "json", "numpy", "jax", "jaxlib", "flax", "optax", "orbax", "scipy", "skimage"),
    *("PIL", "h5py", "nibabel", "pydicom", "SimpleITK", "tensorflow_datasets", "safetensors"),
    *("wandb", "tyro", "matplotlib", "jinja2", "optuna", "tqdm", "semiseg", "tempfile", "random"),
    *("sitecustomize", "usercustomize", "conftest", "setup", "netrc", "signal", "readline"),
)
"""Names of libraries, of modules of Python, and of files that some programs run unasked."""


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A working folder full of decoys, each of which leaves a mark when it is run."""
    folder = tmp_path / "folder"
    folder.mkdir()
    marks = tmp_path / "marks"
    marks.mkdir()
    for name in DECOYS:
        text = f"open({str(marks / name)!r}, 'w')\n"
        (folder / f"{name}.py").write_text(text)
        (folder / f"{name}_plugin").mkdir()
    (folder / "jax_plugins").mkdir()
    (folder / "jax_plugins" / "__init__.py").write_text(f"open({str(marks / 'jax')!r}, 'w')\n")
    # matplotlib evaluates this; it says what it cannot read
    (folder / "matplotlibrc").write_text("axes.prop_cycle: cycler(no=such)\n")
    (folder / "wandb").mkdir()
    (folder / "wandb" / "settings").write_text("[default]\nbase_url = https://example.invalid\n")
    monkeypatch.chdir(folder)
    return marks


def test_the_command_runs_no_file_of_the_working_folder(trap):
    """Catches a command that searches modules, or settings that are code, where it is called."""
    script = Path(sys.executable).with_name("semiseg")
    done = subprocess.run([script, "doctor"], capture_output=True, text=True, timeout=120)
    assert "semiseg" in done.stdout and not done.stderr
    assert not list(trap.iterdir())


def test_children_and_libraries_look_nowhere_in_the_working_folder(trap):
    """Catches a child process that imports yaml.py, and W&B's key sent where a folder says."""
    import wandb

    with apart_from_the_working_folder():
        command = [sys.executable, "-c", "import sys; print(sys.path)"]
        paths = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        settings = wandb.Settings()
        settings.update_from_env_vars(os.environ)
    assert str(Path.cwd()) not in paths and "''" not in paths
    assert not Path(settings.settings_workspace).is_relative_to(Path.cwd())
    assert "WANDB_DIR" not in os.environ


def test_the_environment_names_no_plug_in_by_accident(trap, monkeypatch, capsys):
    """Catches an empty entry of SEMISEG_PLUGINS that stands for the working folder."""
    monkeypatch.setenv("SEMISEG_PLUGINS", os.pathsep * 2)
    assert main(["methods"]) == 0
    assert not list(trap.iterdir())


# ------------------------------------------------------------------ files
TAGS = (
    "!!python/object/apply:os.system ['touch {mark}']",
    "!!python/object/new:subprocess.Popen [['touch', '{mark}']]",
    "!!python/module:this",
    "!!python/name:os.system",
)


@pytest.mark.parametrize("tag", TAGS)
def test_yaml_makes_no_python_object(tag, tmp_path, capsys):
    """Catches yaml.load in any reader of a config.yaml or a sweep file."""
    mark = tmp_path / "mark"
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    text = tag.format(mark=mark)
    run.config.write_text(f"data: {text}\n")
    run.summary.write_text('{"last": {}}')
    run.scores.write_text("run\n")
    run.weights.write_bytes(b"")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(f"method: grid\nparameters: {{seed: {{value: {text}}}}}\n")
    for words in (
        ["train", "--config", run.config, "--out", tmp_path / "out"],
        ["evaluate", run.path],
        ["sweep", sweep, "--out", tmp_path / "out"],
    ):
        assert main([str(word) for word in words]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not mark.exists()


def test_the_command_of_a_sweep_file_is_for_agents(tmp_path):
    """Catches a `command:` or `program:` of a sweep file that we run."""
    mark = tmp_path / "mark"
    program = tmp_path / "program.py"
    program.write_text(f"open({str(mark)!r}, 'w')\n")
    file = tmp_path / "sweep.yaml"
    file.write_text(
        f"method: grid\nprogram: {program}\ncommand: ['touch', '{mark}']\n"
        f"parameters: {{labels: {{values: [99999]}}, data: {{value: nuclei}}}}\n"
    )
    assert sweeps.sweep(file, tmp_path / "out", say=lambda line: None) == []
    assert not mark.exists()


class Payload:
    """What a pickle runs."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_arrays_are_not_unpickled(tmp_path):
    """Catches a pickle in the arrays of a received run folder."""
    mark = tmp_path / "mark"
    pickled = np.array([Payload(mark)], dtype=object)
    run = RunFolder(tmp_path)
    np.savez(run.examples, image=pickled, label=pickled, prediction=pickled)
    assert not mark.exists()
    with pytest.raises((UserError, ValueError)):
        examples(run)
    assert not mark.exists()


# ------------------------------------------------------------------ the package's own text
CODE = ("eval", "exec", "__import__", "system", "popen", "unsafe_load", "full_load")
CHILDREN = ("runner/versions.py", "sweeps/launch.py")
"""Files that start processes: git, in the package's own folder, and workers of ours."""
IMPORTS = ("__init__.py", "plugins.py", "cli/main.py", "track/follower.py", "environment.py")
"""Files that import a module by its name: one of a table of ours, or the user's plug-in."""


def _wrong(call: ast.Call, file: str) -> bool:
    """Whether a call may run what a file says."""
    called = getattr(call.func, "attr", getattr(call.func, "id", ""))
    owner = getattr(getattr(call.func, "value", None), "id", "")
    words = ast.unparse(call)
    if owner == "yaml" and called.startswith("load"):
        return "SafeLoader" not in words
    if owner == "np" and called == "load":
        return "allow_pickle=False" not in words
    if owner == "subprocess":
        return file not in CHILDREN
    if called in ("import_module", "spec_from_file_location"):
        return file not in IMPORTS
    return called in CODE and owner in ("", "os", "yaml", "builtins")


def test_the_package_calls_nothing_that_runs_a_files_content():
    """Catches eval, yaml.load, np.load without allow_pickle=False, and a new place that starts a
    process or imports a module whose name comes from a file.
    """
    bad = []
    for path in PACKAGE.rglob("*.py"):
        file = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _wrong(node, file):
                bad.append(f"{file}:{node.lineno}")
    assert not bad
