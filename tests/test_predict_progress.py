"""How far ``semiseg predict`` says that it is: windows of a scan, and scans of all."""

import dataclasses

import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from PIL import Image

import semiseg
from semiseg.cli import predict_progress
from semiseg.cli.main import main
from semiseg.cli.predict import UNFINISHED
from semiseg.cli.predict_progress import Bar, Lines
from semiseg.data.frame import Frame
from semiseg.evaluate import probabilities
from semiseg.nets import UNet
from semiseg.runner.ensemble import Ensemble
from semiseg.runner.predictor import Predictor
from semiseg.types import Model


def noise(*shape):
    """Grey levels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, shape, np.uint8)


class Clock:
    """A clock that a test turns."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said():
    return []


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """A network of grey pictures that was trained a little."""
    return semiseg.run(tiny, tmp_path_factory.mktemp("progress") / "run", progress=False).path


@pytest.fixture
def source(tmp_path):
    """A volume of three slices and a picture."""
    folder = tmp_path / "in"
    folder.mkdir()
    voxels = noise(40, 36, 3)
    scan = nibabel.Nifti1Image(voxels, np.eye(4))
    nibabel.save(scan, folder / "a.nii.gz")
    picture = Image.fromarray(voxels[..., 0])
    picture.save(folder / "b.png")
    return folder


def predict(run, source, target, *flags):
    words = [
        "predict",
        str(run),
        f"--input={source}",
        f"--output={target}",
    ]
    return main([*words, *flags])


@pytest.fixture
def solid(monkeypatch):
    """A 3D network for windows of 8³, which takes no time."""

    def nothing(model, params, x, mean, deviation):
        return np.zeros((*x.shape[:-1], 2), np.float32)

    monkeypatch.setattr(probabilities, "_probabilities", nothing)
    frame = Frame(8, depth=8, spacing="native", intensity="zscore", stored="uint8")
    model = Model(UNet(dims=3), jnp.zeros(()), 2)
    return Predictor(model, frame, {}, ("background", "ball"), 1, tta=True)


# ------------------------------------------------------------------ counting
@pytest.mark.parametrize("mirrors", [(), (-1, -2)])
def test_windows_of_a_volume_are_counted_to_their_end(solid, mirrors):
    """Catches windows that overlap, mirror images or a second network left out of the total."""
    one = dataclasses.replace(solid, mirrors=mirrors)
    image = noise(10, 12, 20, 1)
    number = len(one.frame.windows(image.shape[:-1]))
    assert number > 8
    calls = []
    ensemble = Ensemble((one, one))
    list(ensemble.planes(image, progress=lambda *numbers: calls.append(numbers)))
    total = 2 * number * (1 + len(mirrors))
    assert calls == [(done, total) for done in range(total + 1)]


@pytest.mark.parametrize("tta", [False, True])
def test_slices_of_a_2d_network_are_its_windows(run, tta):
    """Catches a volume that counts as one, and a picture that counts as its rows."""
    loaded = Predictor.load(run, tta=tta)
    predictor = dataclasses.replace(loaded, mirrors=(-1, -2))
    ensemble = Ensemble((predictor,))
    views = 3 if tta else 1
    volume = np.zeros((5, 40, 36, 1), np.uint8)
    for image, slices in ((volume, 5), (volume[0], 1)):
        calls = []
        planes = ensemble.planes(image, progress=lambda *n, calls=calls: calls.append(n))
        assert len(list(planes)) == slices
        total = slices * views
        assert calls == [(done, total) for done in range(total + 1)]


# ------------------------------------------------------------------ what is said
def test_one_line_a_minute_with_scan_window_and_time_left(clock, said):
    """Catches a line a window, compilation counted as speed, and the time left of one scan for
    that of all.
    """
    lines = Lines(2, clock=clock, say=said.append)
    lines.scan(0, "a.nii.gz")
    lines.windows(0, 40)
    clock.now += 50
    lines.windows(1, 40)
    for done in range(2, 41):
        clock.now += 5
        lines.windows(done, 40)
    assert said == [
        "scan 1 of 2, a.nii.gz: window 3 of 40   about 6 min left",
        "scan 1 of 2, a.nii.gz: window 15 of 40   about 5 min left",
        "scan 1 of 2, a.nii.gz: window 27 of 40   about 4 min left",
        "scan 1 of 2, a.nii.gz: window 39 of 40   about 3 min left",
    ]
    lines.scan(1, "b\n.nii.gz")
    clock.now += 60
    lines.windows(0, 8)
    assert said[-1].startswith("scan 2 of 2, b .nii.gz: window 0 of 8   about ")


def test_time_left_is_unknown_before_the_second_window(clock, said):
    """Catches a division by zero windows, and the number of a scan that is the only one."""
    lines = Lines(1, clock=clock, say=said.append)
    lines.scan(0, "a.nii.gz")
    lines.windows(0, 4)
    clock.now += 100
    lines.windows(1, 4)
    assert said == ["a.nii.gz: window 1 of 4   time left unknown"]


def test_the_bar_counts_scans_and_windows(monkeypatch, capsys):
    """Catches a bar that stands in the way of other lines, or after the end."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar = predict_progress.progress_of(2, show=True)
    assert isinstance(bar, Bar)
    bar.scan(0, "a.nii.gz")
    bar.windows(0, 4)
    assert "scan 1 of 2, a.nii.gz: window 0 of 4:   0%" in capsys.readouterr().err
    with bar.apart():
        assert capsys.readouterr().err.endswith("\r")
    bar.scan(1, "b.nii.gz")
    bar.windows(0, 2)
    assert "scan 2 of 2, b.nii.gz: window 0 of 2:  50%" in capsys.readouterr().err
    bar.windows(2, 2)
    bar.close()
    assert capsys.readouterr().err.endswith("\r")


# ------------------------------------------------------------------ the command
def test_the_command_says_how_far_it_is(run, source, tmp_path, monkeypatch, capsys):
    """Catches a command without progress, progress among the masks' lines, and --quiet."""
    monkeypatch.setattr(predict_progress, "LINE_EVERY", 0.0)
    assert predict(run, source, tmp_path / "out") == 0
    shown = capsys.readouterr()
    for line in (
        "scan 1 of 2, a.nii.gz: window 0 of 3",
        "scan 1 of 2, a.nii.gz: window 1 of 3",
        "scan 1 of 2, a.nii.gz: window 3 of 3",
        "scan 2 of 2, b.png: window 0 of 1",
        "scan 2 of 2, b.png: window 1 of 1",
    ):
        assert shown.err.count(line) == 1
    assert shown.err.count(": window") == 6
    assert ": window" not in shown.out
    assert predict(run, source, tmp_path / "quiet", "--quiet") == 0
    quiet = capsys.readouterr()
    assert ": window" not in quiet.err
    assert quiet.out == shown.out.replace("/out/", "/quiet/")


def test_a_short_prediction_in_a_log_says_nothing(run, source, tmp_path, capsys):
    """Catches a bar in a file, and a line for each scan."""
    assert predict(run, source, tmp_path / "out") == 0
    assert "window" not in capsys.readouterr().err


def test_a_terminal_has_a_bar_and_the_masks_lines(run, source, tmp_path, monkeypatch, capsys):
    """Catches a bar without the number of the scan, and lines that it swallows."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert predict(run, source, tmp_path / "out") == 0
    shown = capsys.readouterr()
    assert "scan 1 of 2, a.nii.gz: window 0 of 3" in shown.err
    assert "scan 2 of 2, b.png: window 0 of 1" in shown.err
    assert len(shown.out.splitlines()) == 2


def test_a_killed_command_goes_on_with_and_without_quiet(run, source, tmp_path, monkeypatch):
    """Catches --quiet taken for another command, whose own masks it may not replace."""
    written = Ensemble.predict_files

    def killed(self, files, *rest):
        if files[0].name == "b.png":
            raise KeyboardInterrupt
        return written(self, files, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Ensemble, "predict_files", killed)
        assert predict(run, source, tmp_path / "out") == 130
    assert (tmp_path / "out" / UNFINISHED).exists()
    assert predict(run, source, tmp_path / "out", "--quiet") == 0
    assert (tmp_path / "out" / "b.png").exists()
