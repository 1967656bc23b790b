"""A set with a region from training to report: rows of its own, and means that do not move."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from analysis.fake import write_rows, write_run
from PIL import Image

import semiseg
from semiseg.analysis.breakdown import class_intervals, foreground_classes, subject_breakdown
from semiseg.analysis.load import load_runs
from semiseg.analysis.study import study
from semiseg.cli.evaluate import as_text, class_means
from semiseg.cli.main import main
from semiseg.data import importing, regions_later
from semiseg.evaluate.subject_scores import mean
from semiseg.report import details
from semiseg.runner.external import Masked, score_masks
from semiseg.runner.predictor import Predictor

SIDE = 16


@pytest.fixture(scope="module")
def tumours(tmp_path_factory):
    """Root and source of eight pictures: edema (4 by 4) around a core (2 by 2)."""
    place = tmp_path_factory.mktemp("tumours")
    rng = np.random.default_rng(0)
    for i in range(8):
        row, column = rng.integers(1, SIDE - 5, 2)
        label = np.zeros((SIDE, SIDE), np.uint8)
        label[row : row + 4, column : column + 4] = 1
        label[row + 1 : row + 3, column + 1 : column + 3] = 2
        image = np.clip(60 + 60 * label + rng.normal(0, 9, label.shape), 0, 255)
        split = "val" if i > 5 else "train"
        for kind, pixels in (("images", image), ("labels", label)):
            folder = place / "source" / split / kind
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"p{i}.png")
    importing.import_set(
        "folder",
        place / "source",
        "tumours",
        place,
        progress=False,
        classes="background,edema,core",
        region=["whole=edema,core"],
        subjects_are_images=True,
    )
    return place


@pytest.fixture(scope="module")
def trained(tumours, tiny):
    """A run of two steps."""
    trial = dataclasses.replace(
        tiny, data="tumours", root=str(tumours), image_size=SIDE, steps=2, eval_every=1
    )
    return semiseg.run(trial, tumours / "runs" / "one", progress=False)


def test_a_run_scores_its_regions(trained, tumours):
    """Catches regions that training does not score, or that move the means of a run."""
    assert {row.class_ for row in trained.rows if row.is_region} == {"whole"}
    classes = [row for row in trained.rows if row.class_ != "whole"]
    assert mean(trained.rows, "dice") == mean(classes, "dice")
    assert trained.summary["last"]["val"]["dice"] == pytest.approx(mean(classes, "dice"), abs=1e-6)
    assert trained.summary["regions"] == {"whole": ["edema", "core"]}
    (loaded,) = load_runs(tumours / "runs")
    assert loaded.scores.classes == ("edema", "core")
    of_mean = loaded.scores.per_subject("dice", "val", "last")
    assert np.mean(list(of_mean.values())) == pytest.approx(mean(classes, "dice"), abs=1e-5)
    table = as_text(class_means(trained.rows)).splitlines()
    assert [line.split()[0] for line in table[1:]] == ["edema", "core", "whole"]
    assert table[3].startswith("whole (region)")


def test_a_prediction_measures_its_regions(trained, tumours, capsys):
    """Catches a region whose size is not that of its classes, also one that is named later."""
    out = tumours / "out"
    source = tumours / "source" / "val" / "images"
    regions_later.change("tumours", tumours, add=["all=1,2"])
    words = ["--input", str(source), "--output", str(out), "--statistics", "--spacing", "0.5"]
    assert main(["predict", str(trained.path), *words]) == 0
    with (out / "statistics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["file"] == "p6.png"]
    voxels = {row["class"]: int(row["voxels"]) for row in rows}
    assert list(voxels) == ["edema", "core", "whole", "all"]
    assert voxels["whole"] == voxels["all"] == voxels["edema"] + voxels["core"]
    assert float(rows[2]["mm2"]) == pytest.approx(0.25 * voxels["whole"])
    regions_later.change("tumours", tumours, remove=["all"])
    assert Predictor.load(trained.path).regions == {"whole": ("edema", "core")}


def test_masks_of_another_program_have_the_region(tumours):
    """Masks that call the core edema, known by hand: edema 2 · 12 / (16 + 12), whole 1.

    Catches `semiseg score` without regions.
    """
    masks = tumours / "masks"
    masks.mkdir()
    for path in (tumours / "source" / "val" / "labels").iterdir():
        label = np.asarray(Image.open(path))
        Image.fromarray(np.minimum(label, 1)).save(masks / path.name)
    masked = Masked("tumours", str(tumours), "nnU-Net", 6)
    outcome = score_masks(masked, masks, tumours / "external", as_is=True)
    table = {line["class"]: line["dice"] for line in class_means(outcome.rows)}
    assert table == pytest.approx({"edema": 24 / 28, "core": 0.0, "whole": 1.0})
    summary = json.loads((tumours / "external" / "summary.json").read_text())
    assert summary["last"]["val"]["dice"] == pytest.approx(12 / 28, abs=1e-6)
    assert summary["regions"] == {"whole": ["edema", "core"]}


# ------------------------------------------------------------------ tables of runs
@pytest.fixture
def runs(tmp_path):
    """A run with two classes of Dice 0.8 and 0.4 and a region of 0.9."""
    run = write_run(tmp_path / "runs", name="one", examples=False)
    scores = {"edema": 0.8, "core": 0.4, "whole": 0.9}
    rows = [
        ["one", "val", "last", subject, name, "dice", f"{dice}", ""]
        for subject in ("p1", "p2")
        for name, dice in scores.items()
    ]
    write_rows(run, rows)
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"regions": {"whole": ["edema", "core"]}}))
    return load_runs(tmp_path / "runs")


def test_tables_list_regions_after_classes(runs, tmp_path):
    """Catches a region that looks like a class, and one that is in the mean: 0.7 and not 0.6."""
    s = study(runs)
    (cell,) = s.cells.values()
    assert foreground_classes(s) == ["edema", "core"]
    means = {name: interval.mean for name, interval in class_intervals(s, cell).items()}
    assert means == pytest.approx({"edema": 0.8, "core": 0.4, "whole": 0.9})
    table = details.class_table(s)
    assert table.head == ("Method", "Annotated", "edema", "core", "whole (region)")
    assert [text.text for text in table.rows[0]][2:] == ["0.80", "0.40", "0.90"]
    assert "whole = edema ∪ core" in table.note
    assert subject_breakdown(s, 8)[0].mean == pytest.approx(0.6)
    of_subject = details.subject_table(s, tmp_path)
    assert of_subject.head[2:6] == ("Dice", "edema", "core", "whole (region)")
    assert [text.text for text in of_subject.rows[0]][2:6] == ["0.60", "0.80", "0.40", "0.90"]


def test_results_csv_has_a_row_of_the_region(runs, tmp_path):
    """Catches a mean over classes with the region in it, and a region that the table lacks."""
    with runs.write_csv(tmp_path / "results.csv").open() as file:
        rows = {row["class"]: row["mean"] for row in csv.DictReader(file)}
    assert rows == {"mean": "0.6", "edema": "0.8", "core": "0.4", "whole": "0.9"}
    assert runs.matrix(class_="whole")[1].tolist() == [[0.9, 0.9]]
