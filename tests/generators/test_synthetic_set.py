"""From a fitted generator to an imported set, by the command line."""

import csv
import dataclasses
import json

import gan_cases
import numpy as np
import pytest

from semiseg.cli.main import main
from semiseg.data import importing, store
from semiseg.generators import fit, sample, settings
from semiseg.generators.settings import Settings


@pytest.fixture(scope="module")
def generator(root, tmp_path_factory):
    """A generator of discs after two steps: it paints nothing good, and everything it should write."""
    folder = tmp_path_factory.mktemp("fitted") / "g"
    patch = pytest.MonkeyPatch()
    patch.setattr(fit.programs, "chunk", gan_cases.chunk)
    given = {
        **gan_cases.TINY,
        "data": "discs",
        "root": root,
        "labels": 6,
        "steps": 2,
        "log_every": 2,
    }
    fit.fit(settings.override(Settings(), given), folder, progress=False)
    patch.undo()
    return folder


def read(folder) -> dict[str, tuple[bytes, bytes]]:
    return {
        p.stem: (p.read_bytes(), (folder / "labels" / p.name).read_bytes())
        for p in sorted((folder / "images").iterdir())
    }


def test_set_says_where_it_comes_from_and_can_be_imported(generator, root, tmp_path, capsys):
    """Catches a set that only its writer can read, a provenance that does not name its source,
    masks that are not the painted ones.
    """
    assert (
        main(
            [
                "gan",
                "sample",
                str(generator),
                "--n",
                "11",
                "--out",
                str(tmp_path / "s"),
                "--masks",
                "real",
            ]
        )
        == 0
    )
    assert "11 pairs written, 0 dropped" in capsys.readouterr().out
    with (tmp_path / "s" / "provenance.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    fitted = sample.load(generator)
    assert (
        len(rows) == 11
        and {r["generator"] for r in rows} == {fitted.hash}
        and len(fitted.hash) == 16
    )
    known = {fitted.budget.names[i]: fitted.budget.labels[i] for i in fitted.budget.shown}
    assert (
        main(
            [
                "data",
                "import",
                "--format",
                "folder",
                "--source",
                str(tmp_path / "s"),
                "--name",
                "synthetic",
                "--root",
                str(tmp_path),
            ]
        )
        == 0
    )
    cases = {
        c.name: c
        for split in ("train", "val")
        for c in store.read_split("synthetic", split, tmp_path)
    }
    assert store.info("synthetic", tmp_path).counts["train"]["records"] == 10
    for row in rows:
        assert np.array_equal(cases[row["name"]].label, known[row["source_mask"]]) and cases[
            row["name"]
        ].image.shape == (16, 16, 1)
    record = json.loads((tmp_path / "s" / "generator.json").read_text())
    assert (
        record["settings"]["labels"] == 6
        and len(record["subjects"]) == 6
        and record["hash"] == fitted.hash
    )


def test_kept_samples_are_pixel_for_pixel_those_of_the_whole_set(generator, tmp_path, capsys):
    """Catches a sample that depends on its place in a batch: the filter's file gives exactly the
    named pairs, and says what it dropped.
    """
    fitted = sample.load(generator)
    sample.sample_set(fitted, tmp_path / "all", 10, progress=False)
    (tmp_path / "keep.txt").write_text("syn000001\nsyn000004\nsyn000009\n")
    assert (
        main(
            [
                "gan",
                "sample",
                str(generator),
                "--n",
                "10",
                "--out",
                str(tmp_path / "some"),
                "--keep",
                str(tmp_path / "keep.txt"),
            ]
        )
        == 0
    )
    assert "3 pairs written, 7 dropped" in capsys.readouterr().out
    whole, some = read(tmp_path / "all"), read(tmp_path / "some")
    assert (
        list(some) == ["syn000001", "syn000004", "syn000009"]
        and all(some[k] == whole[k] for k in some)
        and len(set(whole.values())) == 10
    )
    sample.sample_set(fitted, tmp_path / "other", 10, seed=1, progress=False)
    assert not set(read(tmp_path / "other").values()) & set(whole.values())


@pytest.mark.parametrize("source", ["vae", "interpolated"])
def test_masks_nobody_drew(generator, source, monkeypatch):
    """Catches a source that hands out the real masks."""
    monkeypatch.setattr(sample, "VAE_STEPS", 150)
    monkeypatch.setattr(sample.vae, "usable", lambda made, real: bool((made != 0).any()))
    fitted = sample.load(generator)
    made = list(sample.stream(fitted, ["a", "b", "c"], source=source))
    real = {m.tobytes() for m in fitted.budget.labels}
    assert not {s.label.tobytes() for s in made} & real and all(s.provenance[3] == "" for s in made)


def test_nifti_set_is_imported(generator, tmp_path):
    """Catches a volume that comes back as one record a row, or with its axes exchanged."""
    fitted = sample.load(generator)
    sample.sample_set(fitted, tmp_path / "s", 4, format="nifti", progress=False)
    sample.sample_set(fitted, tmp_path / "png", 4, progress=False)
    for name in ("s", "png"):
        importing.import_set("folder", tmp_path / name, name, tmp_path / "r", progress=False)
    a, b = (store.read_split(name, "train", tmp_path / "r") for name in ("s", "png"))
    assert len(a) == len(b) == 3 and all(
        np.array_equal(x.image, y.image) and np.array_equal(x.label, y.label) for x, y in zip(a, b)
    )


@pytest.mark.parametrize(
    "words, said",
    [
        (["sample", "nowhere", "--out", "x"], "holds no generator"),
        (["sample", "G", "--out", "x", "--masks", "drawn"], "choose masks from real, varied"),
        (["sample", "G", "--out", "x", "--seed", "-1"], "--seed -1: must be at least 0"),
        (["sample", "G", "--out", "x", "--n", "1"], "needs at least 2 samples"),
        (["sample", "G", "--out", "x", "--keep", "none.txt"], "none.txt: cannot be read"),
        (["paint"], "choose fit, sample or card"),
    ],
)
def test_what_a_user_does_wrong_is_one_line(generator, tmp_path, monkeypatch, capsys, words, said):
    """Catches a traceback."""
    monkeypatch.chdir(tmp_path)
    assert main(["gan", *(str(generator) if w == "G" else w for w in words)]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_another_data_set_is_refused(generator, tmp_path, monkeypatch):
    """Catches masks of one data set painted by the generator of another that has its name."""
    known = fit.read_budget(settings.load(generator / "config.yaml"))
    monkeypatch.setattr(
        sample, "read_budget", lambda s: dataclasses.replace(known, fingerprint="other")
    )
    with pytest.raises(sample.UserError, match="not the one the generator was fitted on"):
        sample.load(generator)


def test_card_of_a_bad_generator_is_rejected_with_a_page(generator, root, tmp_path, capsys):
    """Catches an exit code of 0 for a set that must not be used; the page, the card and the
    filter's file are written.
    """
    sample.sample_set(sample.load(generator), tmp_path / "s", 8, progress=False)
    words = [
        "gan",
        "card",
        str(tmp_path / "s"),
        "--data",
        "discs",
        "--root",
        root,
        "--steps",
        "20",
        "--out",
        str(tmp_path / "c"),
    ]
    assert main([*words, "--json", str(tmp_path / "card.json")]) == 1
    found = json.loads((tmp_path / "card.json").read_text())
    assert (
        not found["passed"]
        and found["labels"] == 6
        and found["counts"]["seen"] == 6
        and "REJECTED" in capsys.readouterr().out
    )
    assert {p.name for p in (tmp_path / "c").iterdir()} == {
        "card.json",
        "keep.txt",
        "neighbours.png",
        "index.html",
    }
