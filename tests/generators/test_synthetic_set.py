"""From a fitted generator to an imported set, by the command line."""

import csv
import dataclasses
import errno
import json
import os

import gan_cases
import numpy as np
import pytest

from semiseg.cli.main import main
from semiseg.data import importing, store
from semiseg.errors import UserError
from semiseg.generators import fit, mask_sources, sample, settings
from semiseg.generators.budget import read_budget
from semiseg.generators.settings import Settings


@pytest.fixture(scope="module")
def generator(root, tmp_path_factory):
    """A generator of discs after two steps: it paints nothing good, and everything it should
    write.
    """
    folder = tmp_path_factory.mktemp("fitted") / "g"
    patch = pytest.MonkeyPatch()
    patch.setattr(fit.programs, "chunk", gan_cases.chunk)
    changes = {
        **gan_cases.TINY,
        "data": "discs",
        "root": root,
        "labels": 6,
        "steps": 2,
        "log_every": 2,
    }
    fit.fit(settings.override(Settings(), changes), folder, progress=False)
    patch.undo()
    return folder


def read(folder) -> dict[str, tuple[bytes, bytes]]:
    """The bytes of image and mask of each pair."""
    pairs = {}
    for path in sorted((folder / "images").iterdir()):
        pairs[path.stem] = (path.read_bytes(), (folder / "labels" / path.name).read_bytes())
    return pairs


def run(line: str, **paths) -> int:
    """The exit code of a command line; ``{name}`` stands for a path, which may hold a space."""
    return main([word.format(**paths) for word in line.split()])


@pytest.fixture
def real_mask_set(generator, tmp_path):
    """Eleven pairs with masks of the budget."""
    folder = tmp_path / "s"
    line = "gan sample {generator} --n 11 --out {folder} --masks real"
    assert run(line, generator=generator, folder=folder) == 0
    return folder


# ------------------------------------------------------------------ what a set says of itself
def provenance_of(folder) -> list[dict[str, str]]:
    with (folder / "provenance.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_set_says_where_it_comes_from(generator, real_mask_set):
    """Catches a set without its generator or budget."""
    fitted = sample.load(generator)
    rows = provenance_of(real_mask_set)
    assert len(rows) == 11
    assert {row["generator"] for row in rows} == {fitted.hash}
    assert len(fitted.hash) == 16
    record = json.loads((real_mask_set / "generator.json").read_text())
    assert record["settings"]["labels"] == 6
    assert len(record["subjects"]) == 6
    assert record["hash"] == fitted.hash


def test_a_set_can_be_imported(generator, real_mask_set, tmp_path):
    """Catches a set that only its writer can read, a provenance that does not name its source,
    masks that are not the painted ones.
    """
    line = "data import --format folder --source {s} --name synthetic --root {root}"
    assert run(line, s=real_mask_set, root=tmp_path) == 0
    assert store.info("synthetic", tmp_path).counts["train"]["records"] == 10
    train = store.read_split("synthetic", "train", tmp_path)
    cases = {case.name: case for case in (*train, *store.read_split("synthetic", "val", tmp_path))}
    budget = sample.load(generator).budget
    masks = {budget.names[i]: budget.labels[i] for i in budget.labelled}
    for row in provenance_of(real_mask_set):
        case = cases[row["name"]]
        assert np.array_equal(case.label, masks[row["source_mask"]])
        assert case.image.shape == (16, 16, 1)


# ------------------------------------------------------------------ single samples
def test_stored_samples_are_pixel_for_pixel_those_of_the_whole_set(generator, tmp_path, capsys):
    """Catches a sample that depends on its place in a batch: the filter's file gives exactly the
    named pairs, and says how many it dropped.
    """
    fitted = sample.load(generator)
    sample.sample_set(fitted, tmp_path / "all", 10, progress=False)
    names = ["syn000001", "syn000004", "syn000009"]
    (tmp_path / "keep.txt").write_text("\n".join(names))
    line = "gan sample {generator} --n 10 --out {folder}/some --keep {folder}/keep.txt"
    assert run(line, generator=generator, folder=tmp_path) == 0
    assert "3 pairs written, 7 dropped" in capsys.readouterr().out
    whole = read(tmp_path / "all")
    some = read(tmp_path / "some")
    assert list(some) == names
    assert some == {name: whole[name] for name in names}
    assert len(set(whole.values())) == 10


def test_another_seed_is_another_set(generator, tmp_path):
    """Catches a seed that is not used."""
    fitted = sample.load(generator)
    for seed in (0, 1):
        sample.sample_set(
            fitted,
            tmp_path / str(seed),
            10,
            seed=seed,
            progress=False,
        )
    assert not set(read(tmp_path / "0").values()) & set(read(tmp_path / "1").values())


def test_a_full_disk_leaves_no_half_set(generator, tmp_path, monkeypatch, capsys):
    """Catches a folder of some pairs, which the same command refuses afterwards."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    line = "gan sample {generator} --n 4 --out {out}/s"
    with monkeypatch.context() as disk:
        disk.setattr(sample.PairFolder, "write", full)
        assert run(line, generator=generator, out=tmp_path) == 2
    assert "No space left on device; free space" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run(line, generator=generator, out=tmp_path) == 0


@pytest.mark.parametrize("source", ["vae", "interpolated"])
def test_masks_nobody_drew(generator, source, monkeypatch):
    """Catches a source that hands out the real masks."""
    monkeypatch.setattr(mask_sources, "VAE_STEPS", 150)
    monkeypatch.setattr(
        mask_sources.vae,
        "usable",
        lambda label, real: bool((label != 0).any()),
    )
    fitted = sample.load(generator)
    samples = list(
        sample.stream(
            fitted,
            ["a", "b", "c"],
            source=source,
        )
    )
    real = {mask.tobytes() for mask in fitted.budget.labels}
    assert len(samples) == 3
    for drawn in samples:
        assert drawn.label.tobytes() not in real
        row = dict(zip(sample.PROVENANCE_COLUMNS, drawn.provenance, strict=True))
        assert row["source_mask"] == ""
        assert row["masks"] == source


def test_nifti_set_is_imported(generator, tmp_path):
    """Catches a volume that comes back as one record a row, turned or mirrored."""
    fitted = sample.load(generator)
    splits = []
    for format in ("nifti", "png"):
        folder = tmp_path / format
        sample.sample_set(fitted, folder, 4, format=format, progress=False)
        importing.import_set("folder", folder, format, tmp_path / "r", progress=False)
        splits.append(store.read_split(format, "train", tmp_path / "r"))
    assert len(splits[0]) == 3
    for nifti, png in zip(*splits, strict=True):
        assert np.array_equal(nifti.image, png.image[None])
        assert np.array_equal(nifti.label, png.label[None])


# ------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    "line, message",
    [
        ("gan sample nowhere --out x", "holds no generator"),
        ("gan sample {g} --out x --masks drawn", "choose masks from real, varied"),
        ("gan sample {g} --out x --seed -1", "--seed -1: must be at least 0"),
        ("gan sample {g} --out x --n 1", "needs at least 2 samples"),
        ("gan sample {g} --out x --keep none.txt", "none.txt: cannot be read"),
        ("gan paint", "choose fit, sample or card"),
    ],
)
def test_what_a_user_does_wrong_is_one_line(
    generator, tmp_path, monkeypatch, capsys, line, message
):
    """Catches a traceback."""
    monkeypatch.chdir(tmp_path)
    assert run(line, g=generator) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_another_data_set_is_refused(generator, monkeypatch):
    """Catches masks of one data set painted by the generator of another that has its name."""
    budget = read_budget(settings.load(generator / "config.yaml"))
    other = dataclasses.replace(budget, fingerprint="other")
    monkeypatch.setattr(sample, "read_budget", lambda s: other)
    with pytest.raises(UserError, match="not the one the generator was fitted on"):
        sample.load(generator)


# ------------------------------------------------------------------ quality report
def test_a_bad_generators_set_is_rejected_with_a_page(generator, root, tmp_path, capsys):
    """Catches an exit code of 0 for a set that must not be used; the page, the report and the
    filter's file are written.
    """
    sample.sample_set(
        sample.load(generator),
        tmp_path / "s",
        8,
        progress=False,
    )
    line = (
        "gan card {here}/s --data discs --root {root} --steps 20 --out {here}/c "
        "--json {here}/card.json"
    )
    assert run(line, here=tmp_path, root=root) == 1
    assert "REJECTED" in capsys.readouterr().out
    report = json.loads((tmp_path / "card.json").read_text())
    assert not report["passed"]
    assert report["labels"] == 6
    assert report["counts"]["seen"] == 6
    names = {path.name for path in (tmp_path / "c").iterdir()}
    assert names == {"card.json", "keep.txt", "neighbours.png", "index.html"}
