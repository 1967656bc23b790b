"""Every case of the script of hard inputs: sets, sweep files and folders to predict are read right
or refused in one line.
"""

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import semiseg
from semiseg.cli.main import main
from semiseg.data import check
from semiseg.errors import UserError
from semiseg.sweeps import spec
from semiseg.sweeps.search import Search

SCRIPT = Path(__file__).resolve().parents[3] / "shared" / "cases" / "make_cases.py"
REFUSED = {
    "nii_flip_label": "lies elsewhere",
    "nii_small_flip": "lies elsewhere",
    "nii_nan": "holds NaN or infinity",
    "nii_complex": "complex64",
    "nii_rgb24": "colours",
    "nii_misnamed": "is damaged",
    "nii_singleton_front": "first axis",
    "nii_float_label": "no class",
    "latin1_name": "no UTF-8",
    "mask_jpeg_noise": "JPEG",
    "mask_16bit_full": "65535",
    "tif_multipage": "5 pages",
    "nii_oblique": "no image has a mask",
    "nii_qform_only": "no image has a mask",
}
REFUSED_SWEEPS = {
    "amp_bool": "there is no field 'amp'",
    "amp_string": "there is no field 'amp'",
    "beta": "lr has the distribution 'beta'",
    "bool_true": "there is no field 'nesterov'",
    "envelope": "early_terminate needs type: hyperband",
    "grid_int": "a grid needs `values:`",
    "grid_q": "a grid needs `values:`",
    "imports": "does not know 'controller'",
    "inv_log": "lr has the distribution 'inv_log_uniform_values'",
    "list_string": "net.widths",
    "min_gt_max": "lr: min 0.1 is above max 0.01",
    "minimize_loss": "metric.name is 'val_loss'",
    "no_yes": "data needs a value",
    "scalar": "lr needs `value:`",
    "tabs": "cannot be read as YAML",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the script writes."""
    if not SCRIPT.exists():
        pytest.skip("the script of hard cases is not here")
    place = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, SCRIPT, place], check=True, capture_output=True)
    return place


def test_every_set_of_the_script(folder):
    """Catches a traceback, and a case that is refused or accepted for no reason."""
    for case in sorted(folder.iterdir()):
        if case.name == "sweeps" or case.name.startswith("predict"):
            continue
        lines = check.check_source("folder", case, progress=False, subjects_are_images=True)
        text = "\n".join(line for line in lines if "looks like" not in line)
        text = "\n".join(line for line in text.splitlines() if "is the same image" not in line)
        if case.name in REFUSED:
            assert REFUSED[case.name] in text, (case.name, text)
        else:
            assert text == "", case.name


# ------------------------------------------------------------------ sweep files
def planned(path, out):
    """The trials that a sweep file leads to; the first of a search."""
    plan = spec.read(path)
    if plan.method != "bayes":
        return list(spec.trials(plan).values())
    out.mkdir()
    search = Search(plan, out)
    return [plan.trial(search.point(search.ask()))]


def test_every_sweep_of_the_script(folder, tmp_path):
    """Catches a traceback, a string that trains, and a refusal of what W&B takes."""
    files = sorted((folder / "sweeps").iterdir())
    assert {path.stem for path in files} >= set(REFUSED_SWEEPS)
    for path in files:
        try:
            trials = planned(path, tmp_path / path.stem)
        except UserError as error:
            message = str(error)
            assert path.stem in REFUSED_SWEEPS, message
            assert message.startswith(f"{path}: ")
            assert REFUSED_SWEEPS[path.stem] in message
            continue
        assert path.stem not in REFUSED_SWEEPS
        assert trials
        if path.stem.startswith("exp_"):
            assert all(isinstance(trial.lr, float) for trial in trials)
            assert all(1e-5 <= trial.lr <= 1e-2 for trial in trials)


AXES = {
    "{values: [1, 2, 3], probabilities: [0.5, 0.5]}": "seed.probabilities has 2 numbers for 3",
    "{values: [1, 2], probabilities: [0.5, 0.4]}": "seed.probabilities are [0.5, 0.4] and sum to",
    "{values: [1, 2], probabilities: [1.5, -0.5]}": "seed.probabilities are [1.5, -0.5]",
    "{values: [1, 2], probabilities: [a, b]}": "seed.probabilities is 'a', which is no finite",
    "{values: [1, 2], probabilities: 1}": "seed.probabilities is 1: give a list",
    "{distribution: uniform, min: 0, max: .inf}": "seed.max is inf, which is no finite number",
    "{distribution: uniform, min: 0}": "seed needs a number `max:`",
    "{distribution: log_uniform_values, min: 0, max: 1}": "seed: min is 0, and log_uniform_values",
}


@pytest.mark.parametrize("method", ["random", "bayes"])
@pytest.mark.parametrize("axis", AXES)
def test_a_bad_axis_is_one_line_with_its_key(axis, method, tmp_path, capsys):
    """Catches a traceback, and a bound that is taken in silence."""
    path = tmp_path / "s.yaml"
    path.write_text(f"method: {method}\nrun_cap: 2\nparameters:\n  seed: {axis}\n")
    assert main(["sweep", str(path), f"--out={tmp_path / 'out'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"semiseg: error: {path}: {AXES[axis]}")


# ------------------------------------------------------------------ folders to predict
@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """A network of grey pictures that was trained a little."""
    return semiseg.run(tiny, tmp_path_factory.mktemp("cases") / "run", progress=False).path


def predict(run, source, target):
    return main(["predict", str(run), f"--input={source}", f"--output={target}"])


def is_mask(path):
    """Whether a picture without loss holds the two classes of the network, and nothing else."""
    with Image.open(path) as image:
        values = np.unique(np.asarray(image))
        return image.format == "PNG" and set(values.tolist()) <= {0, 1}


def test_pictures_of_every_format_have_masks_without_loss(folder, run, tmp_path, capsys):
    """Catches a mask in JPEG, two inputs with one mask, and files that nobody mentions."""
    source = folder / "predict_jpg"
    assert predict(run, source, tmp_path / "all") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "would both have the mask one.png" in line
    for suffix in (".jpg", ".bmp", ".webp"):
        out = tmp_path / suffix
        assert predict(run, source / f"one{suffix}", out) == 0
        assert is_mask(out / "one.png")
    assert predict(run, folder / "predict_mixed", tmp_path / "mixed") == 0
    masks = sorted((tmp_path / "mixed").rglob("[!.]*.png"))
    names = [path.relative_to(tmp_path / "mixed").as_posix() for path in masks]
    assert names == ["more/q.png", "p0.png", "p1.png", "p2.png", "p3.png"]
    assert all(is_mask(path) for path in masks)


def test_predict_refuses_the_nan_that_an_import_refuses(folder, run, tmp_path, capsys):
    """Catches a mask of nonsense, and files without NaN that are not predicted beside others."""
    out = tmp_path / "out"
    assert predict(run, folder / "predict_nan", out) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 3
    for name, line in zip(("edge", "inf", "onenan"), lines, strict=True):
        assert f"{name}.nii.gz" in line
        assert "NaN or infinity in" in line
    assert [path.name for path in out.glob("[!.]*")] == ["clean.nii.gz"]
    mask = nibabel.load(out / "clean.nii.gz")
    assert mask.shape == nibabel.load(folder / "predict_nan" / "clean.nii.gz").shape


@pytest.mark.parametrize("case", ["nii_oblique", "nii_qform_only"])
def test_a_mask_lies_where_its_scan_lies(case, folder, run, tmp_path):
    """Catches a mask without the scan's angle, or with the other of its two affines."""
    source = folder / case / "images"
    assert predict(run, source, tmp_path) == 0
    scans = sorted(source.iterdir())
    assert [path.name for path in scans] == sorted(path.name for path in tmp_path.glob("[!.]*"))
    for path in scans:
        scan = nibabel.load(path)
        mask = nibabel.load(tmp_path / path.name)
        assert mask.shape == scan.shape
        np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-5)
