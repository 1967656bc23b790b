"""``semiseg predict`` on folders as the import takes them: a folder a scan with a file a channel,
and images beside the folder of their masks.
"""

from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from semiseg.cli.main import main
from semiseg.config import Trial
from semiseg.data.info import StoreInfo
from semiseg.data.prediction_inputs import find_inputs
from semiseg.data.provenance import Provenance
from semiseg.errors import UserError
from semiseg.runner import build
from semiseg.runner.ensemble import Ensemble

WORDS = ("flair", "t1ce")
PREDICTION = SimpleNamespace(differences=(), shares=np.array([0.5, 0.5]))


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """Two folders with two channels, a mask, and a file that is neither."""
    source = tmp_path_factory.mktemp("patients")
    rng = np.random.default_rng(0)
    for i in range(2):
        folder = source / "site" / f"p{i}"
        folder.mkdir(parents=True)
        for word in ("T1CE", "Flair", "seg", "brainmask"):
            voxels = rng.integers(0, 100, (8, 8, 2)).astype(np.int16)
            if word == "seg":
                voxels = (voxels > 50).astype(np.uint8)
            image = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0]))
            nibabel.save(image, folder / f"{word}_x.nii.gz")
    return source


def names_of(scans):
    return [path.name for path in scans[0].files]


def test_words_say_which_files_are_channels(patients, tmp_path):
    """Catches channels in another order, masks taken for scans, and files left out in silence."""
    inputs = find_inputs(patients, tmp_path, 2, WORDS)
    assert [scan.mask.as_posix() for scan in inputs.scans] == [
        f"site/p{i}.nii.gz" for i in range(2)
    ]
    assert names_of(inputs.scans) == ["Flair_x.nii.gz", "T1CE_x.nii.gz"]
    (left,) = [note for note in inputs.notes if "no channel" in note]
    assert left.startswith("4 files are no channel: site/p0/brainmask_x.nii.gz, site/p0/seg_x")
    assert find_inputs(patients, tmp_path, 2, (), WORDS) == inputs
    (lone,) = find_inputs(patients / "site" / "p1", tmp_path, 2, WORDS).scans
    assert lone.mask.as_posix() == "p1.nii.gz"
    with pytest.raises(UserError, match="no file with the word t2 .*--channel-files"):
        find_inputs(patients, tmp_path, 2, ("flair", "t2"))
    with pytest.raises(UserError, match="several files have the word x"):
        find_inputs(patients, tmp_path, 2, ("flair", "x"))
    with pytest.raises(UserError, match="give their folder"):
        find_inputs(patients / "site" / "p1" / "seg_x.nii.gz", tmp_path, 2, WORDS)
    unknown = find_inputs(patients, tmp_path, 2, (), ("flair", "t2"))
    assert len(unknown.scans) == 8


def test_a_run_knows_the_words_of_its_import(patients, tmp_path, monkeypatch, capsys):
    """Catches a set whose own folder cannot be predicted without new names, and words in another
    order than that of training.
    """
    fields = ("two", "", ("b", "c"), "mm", 2, "int16", "", "", (), {}, "", "", "")
    training = SimpleNamespace(info=StoreInfo(*fields, channel_names=WORDS))
    monkeypatch.setattr(build, "input_of", vars)
    header = build.header_of(Trial(), training)
    taken = []
    ensemble = SimpleNamespace(
        channels=header["channels"],
        channel_names=tuple(header["channel_names"]),
        predictors=(),
        classes=("b", "c"),
        in_millimetres=(),
        origin=Provenance(),
        check_files=zip,
        predict_files=lambda files, *_: taken.append([path.name for path in files]) or PREDICTION,
    )
    monkeypatch.setattr(Ensemble, "load", lambda *_: ensemble)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("")
    words = ["predict", str(run), f"--input={patients}", f"--output={tmp_path / 'out'}"]
    assert main(words) == 0
    assert taken == [["Flair_x.nii.gz", "T1CE_x.nii.gz"]] * 2
    assert "channels of the first are Flair_x.nii.gz, T1CE_x.nii.gz" in capsys.readouterr().err
    assert main([*words, "--channel-files=flair,t1ce"]) == 0
    assert main([*words, "--channel-files=t1ce,flair"]) == 2
    assert "pass flair,t1ce" in capsys.readouterr().err
    assert main([*words, "--channel-files=flair"]) == 2
    assert "trained on 2" in capsys.readouterr().err


def test_masks_beside_their_images_are_left_out(tmp_path):
    """Catches masks that are predicted as images, and a folder of that name alone left out."""
    source = tmp_path / "set"
    for name in ("images/a.png", "images/b.png", "masks/a.png", "train/images/c.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"")
    for name in ("train/labels/c.png", "other/masks/d.png"):
        (source / name).parent.mkdir(parents=True)
        (source / name).write_bytes(b"")
    inputs = find_inputs(source, tmp_path / "out", 1)
    masks = [scan.mask.as_posix() for scan in inputs.scans]
    assert masks == ["images/a.png", "images/b.png", "other/masks/d.png", "train/images/c.png"]
    first, second = inputs.notes
    assert first == (
        f"{source / 'masks'} was left out (1 file): it holds the masks of {source / 'images'}"
    )
    assert str(source / "train" / "labels") in second
