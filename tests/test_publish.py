"""predict, export, doctor: what leaves the toolkit."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import semiseg
from semiseg import config
from semiseg.cli import doctor
from semiseg.cli.main import main
from semiseg.data import store
from semiseg.errors import UserError
from semiseg.evaluate.examples import in_own_aspect
from semiseg.run_folder import RunFolder
from semiseg.runner.predictor import Predictor


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    trial = dataclasses.replace(
        config.override(tiny, {"lr": 0.01}), steps=60, eval_every=60, labels=0
    )
    return semiseg.run(
        trial,
        tmp_path_factory.mktemp("publish") / "run",
        progress=False,
    ).path


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("publish") / "model"
    assert main(["export", str(run), f"--out={out}"]) == 0
    return out


def _disc(side=48):
    rows, cols = np.mgrid[:side, : side - 8]
    disc = (rows - 20) ** 2 + (cols - 18) ** 2 < 60
    noise = np.random.default_rng(0).normal(0, 12, disc.shape)
    return disc, np.clip(60 + 110 * disc + noise, 0, 255).astype(np.uint8)


def test_predict_keeps_format_size_and_geometry(exported, tmp_path, capsys):
    """PNG, TIFF with its resolution, and an oblique anisotropic NIfTI: masks of the same shape,
    affine, codes and units, that find the disc.

    Catches a slice axis or orientation exchanged (the disc would be elsewhere), a lost affine, and
    a data set that is needed to predict.
    """
    import nibabel
    from PIL import Image

    disc, image = _disc()
    source = tmp_path / "in"
    out = tmp_path / "out"
    source.mkdir()
    Image.fromarray(image).save(source / "a.png")
    Image.fromarray(image).save(source / "b.tif", dpi=(300.0, 300.0))
    affine = np.array([[0, 0, 7.5, -3], [1.2, 0.1, 0, 4], [-0.1, 1.2, 0, 9], [0, 0, 0, 1.0]])
    volume = nibabel.Nifti1Image(
        np.stack(
            [image, image, np.full_like(image, 60)],
            2,
        ).astype(np.int16),
        affine,
    )
    volume.header.set_xyzt_units("mm", "sec")
    volume.set_sform(affine, code=4)
    nibabel.save(volume, source / "c.nii.gz")
    (source / "notes.txt").write_text("not an image")
    assert (
        main(
            [
                "predict",
                str(exported),
                "--input",
                str(source),
                "--output",
                str(out),
            ]
        )
        == 0
    )
    assert sorted(p.name for p in out.iterdir()) == [".origin.json", "a.png", "b.tif", "c.nii.gz"]
    assert "class 1" in capsys.readouterr().out
    masks = {name: np.asarray(Image.open(out / name)) for name in ("a.png", "b.tif")}
    for mask in masks.values():
        assert mask.shape == disc.shape
        assert mask.dtype == np.uint8
        assert 2 * (mask & disc).sum() / (mask.sum() + disc.sum()) > 0.7
    assert Image.open(out / "b.tif").info["dpi"] == pytest.approx((300, 300))
    scan = nibabel.load(out / "c.nii.gz")
    np.testing.assert_allclose(scan.affine, affine, atol=1e-5)
    assert scan.header["sform_code"] == 4
    assert scan.header.get_xyzt_units() == ("mm", "sec")
    assert scan.get_data_dtype() == np.uint8
    assert (np.asarray(scan.dataobj)[..., 0] == masks["a.png"]).mean() > 0.9


def test_predict_names_a_bad_file_and_goes_on(exported, tmp_path, capsys):
    """Catches a traceback, a stop at the first damaged file, and masks written over the images."""
    from PIL import Image

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG nothing")
    Image.fromarray(_disc()[1]).save(tmp_path / "in" / "good.png")

    def predict(model, output):
        flags = [
            f"--input={tmp_path / 'in'}",
            f"--output={tmp_path / output}",
        ]
        return main(["predict", str(model), *flags])

    assert predict(exported, "out") == 1
    assert "bad.png" in capsys.readouterr().err
    assert (tmp_path / "out" / "good.png").exists()
    assert predict(exported, "in") == 2
    assert predict(tmp_path, "out") == 2


def test_probabilities_are_on_the_scans_grid(run, tmp_path):
    """Their largest is the mask, in memory and in the files. Catches another grid or axis order."""
    import nibabel
    from PIL import Image

    predictor = Predictor.load(run / "weights.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (41, 30, 1), np.uint8)
    probability = predictor.probabilities(image)
    assert probability.shape == (41, 30, 2)
    assert probability.dtype == np.float32
    np.testing.assert_allclose(
        probability.sum(-1),
        1,
        atol=1e-5,
    )
    mask = predictor.predict(image)
    np.testing.assert_array_equal(probability.argmax(-1), mask)
    volume = np.stack([image, image[::-1], image])
    np.testing.assert_array_equal(predictor.predict(volume)[0], mask)
    with pytest.raises(UserError, match="shape"):
        predictor.predict(image[..., 0])

    Image.fromarray(image[..., 0]).save(tmp_path / "a.png")
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    voxels = np.moveaxis(volume[..., 0], 0, -1)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "b.nii.gz")
    out = tmp_path / "out"
    argv = [
        "predict",
        str(run),
        "--probabilities",
        f"--input={tmp_path}",
        f"--output={out}",
    ]
    assert main(argv) == 0
    with np.load(out / "a_probabilities.npz") as stored:
        assert list(stored["classes"]) == list(predictor.classes)
        np.testing.assert_array_equal(stored["probability"], probability)
    stored = nibabel.load(out / "b_probabilities.nii.gz")
    np.testing.assert_array_equal(stored.affine, affine)
    assert stored.shape == (41, 30, 3, 2)
    masks = np.asarray(nibabel.load(out / "b.nii.gz").dataobj)
    np.testing.assert_array_equal(
        np.asarray(stored.dataobj).argmax(-1),
        masks,
    )


def test_predictions_are_the_evaluations(run, root):
    """A predictor of the run's folder gives the labels that were scored. Catches another frame, or
    student for teacher.
    """
    examples = np.load(run / "examples.npz")
    predictor = Predictor.load(run)
    cases = {c.name: c for c in store.read_split("discs", "val", root)}
    mask = predictor.predict(cases[str(examples["subject"][0])].image)
    shown = examples["prediction"][0]
    extent = (float(mask.shape[0]), float(mask.shape[1]))
    np.testing.assert_array_equal(in_own_aspect(mask, len(shown), extent, 0), shown)


def test_export_is_whole_and_says_what_the_run_says(run, exported, root):
    """Catches a card with other numbers than the run's, a missing licence or fingerprint, and a
    warning left out (test was never scored).
    """
    assert {p.name for p in exported.iterdir()} == {
        "weights.safetensors",
        "config.yaml",
        "summary.json",
        "env.json",
        "per_subject.csv",
        "README.md",
        "LICENSE",
    }
    card = (exported / "README.md").read_text()
    summary = RunFolder(run).read_summary()
    rows = [row for row in RunFolder(run).read_scores() if row["checkpoint"] == "last"]
    worst = min(float(row["value"]) for row in rows if row["metric"] == "dice")
    (row,) = (line for line in card.splitlines() if line.startswith("| val | class 1 |"))
    assert row.startswith(f"| val | class 1 | {summary['last']['val']['dice']:.4g} ± ")
    assert row.endswith(f"| {worst:.3f} |")
    assert "8 subjects (8 images)" in card
    assert store.info("discs", root).fingerprint in card
    assert "test split was never scored" in card
    assert "Not a medical device" in card
    assert "not stated" in (exported / "LICENSE").read_text()
    assert main(["export", str(run), f"--out={exported}"]) == 0  # again, over its own files
    assert main(["export", str(run), f"--out={run}"]) == 2
    assert (
        main(
            [
                "export",
                str(exported.parent),
                f"--out={exported}",
            ]
        )
        == 2
    )


def test_a_data_card_is_written_with_every_set(root, capsys):
    """Shares of train and val by hand; test is counted, never looked at. Catches a card that tells
    of test pixels or mixes the splits.
    """
    card = (Path(root) / "discs" / "card.md").read_text()

    def foreground(split):
        return np.mean([c.label.mean() for c in store.read_split("discs", split, root)])

    share = {split: foreground(split) for split in ("train", "val")}
    assert f"| class 1 | {share['train']:.2%} | 100% | {share['val']:.2%} | 100% |" in card
    assert "| test | 3 | 3 | 3 | not looked at |" in card
    assert "| train | 8 | 8 | 8 | 40×36 | 1×1 |" in card
    info = store.info("discs", root)
    assert info.fingerprint in card
    assert f"semiseg data import --format folder --source {info.source} --name discs" in card
    assert (
        main(
            [
                "data",
                "describe",
                "discs",
                f"--root={root}",
            ]
        )
        == 0
    )
    assert str(Path(root) / "discs" / "card.md") in capsys.readouterr().out


def test_doctor_finds_what_is_wrong(monkeypatch, tmp_path, capsys):
    """All well here; then an old version and a folder that cannot be written. Catches a check that
    always says ok.
    """
    monkeypatch.setenv("SEMISEG_DATA", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert main(["doctor", f"--json={tmp_path / 'd.json'}"]) == 0
    output = capsys.readouterr().out
    assert "computes" in output
    assert "mirrored offline" in output
    assert len(json.loads((tmp_path / "d.json").read_text())) >= 8
    monkeypatch.setitem(doctor.SUPPORTED, "jax", ("99.0", "100"))
    monkeypatch.setattr(doctor.os, "access", lambda place, how: False)
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "BAD   jax" in output
    assert "cannot be written" in output
    assert "to fix" in output
