"""Which class, which subject, which run: the tables and pictures of the next questions."""

import html.parser
import os
import re

import numpy as np
import pytest
from analysis.fake import write_rows, write_run

from semiseg.analysis.breakdown import class_intervals, subject_breakdown
from semiseg.analysis.load import load_runs
from semiseg.analysis.study import study
from semiseg.data.frame import PoolImage
from semiseg.evaluate.examples import choose_examples
from semiseg.report import details
from semiseg.report.page import write_report
from semiseg.report.pictures import SIDE, overlay, pick_examples
from semiseg.types import IGNORE, Case


def scored(folder, name, scores, **kwargs):
    """A run with a Dice for each subject and class: ``{subject: {class: dice}}``."""
    run = write_run(folder, name=name, examples=False, **kwargs)
    rows = []
    for subject, by_class in scores.items():
        for class_, dice in by_class.items():
            rows.append([name, "val", "last", subject, class_, "dice", f"{dice}", "1"])
    write_rows(run, rows)
    return run


@pytest.fixture
def hearts(tmp_path):
    """Two runs of supervised; patient p2 fails in class b, worst in the second run."""
    first = {"p1": {"a": 0.9, "b": 0.7}, "p2": {"a": 0.8, "b": 0.2}}
    second = {"p1": {"a": 0.9, "b": 0.7}, "p2": {"a": 0.8, "b": 0.0}}
    scored(tmp_path / "runs", "one", first, seed=0)
    scored(tmp_path / "runs", "two", second, seed=1)
    return study(load_runs(tmp_path / "runs"))


def test_classes_have_their_own_means(hearts):
    """Known by hand: a (0.9 + 0.8) / 2, b (0.7 + 0.1) / 2. Catches a mean over all classes."""
    (cell,) = hearts.cells.values()
    means = {name: i.mean for name, i in class_intervals(hearts, cell).items()}
    assert means == pytest.approx({"a": 0.85, "b": 0.4})
    table = details.class_table(hearts)
    assert table.head == ("Method", "Annotated", "a", "b")
    assert [cell.text for cell in table.rows[0]] == ["supervised", "8", "0.85", "0.40"]


def test_the_subject_that_failed_is_first_with_its_worst_run(hearts, tmp_path):
    """Catches an order by name, the best run for the worst, and runs that are not averaged."""
    worst, best = subject_breakdown(hearts, 8)
    assert (worst.subject, best.subject) == ("p2", "p1")
    assert worst.mean == pytest.approx(0.45) and worst.classes == pytest.approx(
        {"a": 0.8, "b": 0.1}
    )
    assert worst.worst[0].name == "two" and worst.worst[1] == pytest.approx(0.4)
    row = details.subject_table(hearts, tmp_path / "out").rows[0]
    assert [cell.text for cell in row] == ["p2", "supervised", "0.45", "0.80", "0.10", "0.40", "2"]
    assert row[5].href == "../runs/two/per_subject.csv"


def test_a_distance_is_worst_where_it_is_largest(tmp_path):
    """Catches the smallest distance called the worst."""
    run = write_run(tmp_path / "runs", examples=False)
    rows = [[f"p{i}", "a", "hd95", f"{v}", "mm"] for i, v in enumerate((3.0, 30.0))]
    write_rows(run, [["r", "val", "last", *row] for row in rows])
    s = study(load_runs(tmp_path / "runs"), "hd95")
    assert [score.subject for score in subject_breakdown(s, 8)] == ["p1", "p0"]


def test_means_alone_have_no_table_of_subjects(tmp_path):
    """A results.csv without its subjects. Catches "(mean of all)" shown as a patient, and a date or
    a link that a table does not have.
    """
    write_run(tmp_path / "runs", examples=False)
    table = load_runs(load_runs(tmp_path / "runs").write_csv(tmp_path / "results.csv"))
    s = study(table)
    assert details.subject_table(s, tmp_path) is None
    row = details.run_table(s, tmp_path).rows[0]
    assert row[0].href == "" and row[-1].text == "–"
    assert details.dates(list(table)) == ""


def test_a_run_has_its_date(tmp_path):
    """Catches the date of the report in place of the run's."""
    run = write_run(tmp_path, examples=False)
    os.utime(run / "summary.json", (1_700_000_000, 1_700_000_000))
    (loaded,) = load_runs(tmp_path)
    assert details.finished(loaded).startswith("2023-11-1")
    assert details.dates([loaded]) == details.finished(loaded)[:10]


class Cells(html.parser.HTMLParser):
    """Attributes of all tags."""

    def __init__(self, text):
        super().__init__()
        self.keys = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.keys += [value for key, value in attrs if key == "data-key"]


def test_names_of_subjects_and_runs_are_escaped(tmp_path):
    """Catches a subject whose name is a script, and a folder whose name ends a link."""
    name = 'a"><script>alert(1)</script>#?'
    rows = {'<b>"p1"</b>': {"a": 0.9}, "p2": {"a": 0.4}}
    run = scored(tmp_path / "runs", "run", rows)
    run.rename(run.with_name(name.replace("/", "_")))
    write_report(load_runs(tmp_path / "runs"), tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert '<b>"p1"</b>' not in text and "<script>alert" not in text
    assert '<b>"p1"</b>' in Cells(text).keys
    assert "%22%3E%3Cscript" in text and "%23%3F" in text


def test_tables_sort_without_a_library(tmp_path):
    """Catches a script from elsewhere, and columns without what they are sorted by."""
    write_run(tmp_path / "runs", examples=False)
    write_report(load_runs(tmp_path / "runs"), tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert text.count("<script>") == 1 and "<script src" not in text and "aria-sort" in text
    bodies = re.findall(r'<table class="sortable[^>]*>.*?</table>', text, re.S)
    # a single class has no table
    names = [re.search('aria-label="([^"]*)"', body)[1] for body in bodies]
    assert names == ["By subject", "Worst subjects and failures", "Runs"]
    for body in bodies:
        assert len(re.findall("<t[dh][^>]* data-key=", body)) == len(
            re.findall("<td|<th scope=.row", body)
        )


def test_worst_is_an_image_with_an_object(tmp_path):
    """An image without a truth has Dice 0 for one false pixel. Catches it shown as the worst."""
    run = write_run(tmp_path)
    stored = dict(np.load(run / "examples.npz"))
    stored["label"][3] = 0
    stored["dice"][3] = 0.0
    np.savez(run / "examples.npz", **stored)
    (gallery,) = pick_examples(load_runs(tmp_path))
    assert stored["subject"][3] not in [picture.subject for picture in gallery.pictures]
    assert gallery.pictures[0].dice == min(np.delete(stored["dice"], 3))


def test_pictures_have_their_own_colours_and_shape():
    """Catches a grey picture of a stained slide, the frame's margin shown as image, one outline
    colour for all classes, and a picture too small to see.
    """
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = 200
    label = np.full((8, 8), IGNORE, np.uint8)
    label[2:6] = 0
    label[2:4, 0:3], label[4:6, 5:8] = 1, 2
    rgb = overlay(
        image,
        label,
        np.where(label == IGNORE, 0, label),
    )
    assert rgb.shape == (SIDE // 2, SIDE, 3)
    assert rgb[SIDE // 4, SIDE // 2].tolist() == [200, 0, 0]
    pixel = SIDE // 8
    assert rgb[10, 3 * pixel - 2].tolist() == [255, 255, 255]
    assert rgb[3 * pixel, 5 * pixel + 2].tolist() == [0xF0, 0xE4, 0x42]


def test_page_shows_what_the_colours_mean_and_prints(tmp_path):
    """Catches classes without a legend, pictures smaller than 200 pixels, and tables cut in print."""
    write_run(tmp_path / "runs", classes=("left", "right"))
    write_report(load_runs(tmp_path / "runs"), tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for words in ("outline: true left", "outline: true right", "wrong class", "By class"):
        assert words in text
    assert "minmax(13rem, 1fr)" in text  # 208 pixels
    print_rules = text.partition("@media print")[2].partition("</style>")[0]
    for rule in (".long { max-height: none", ".scroll { overflow: visible", "table-header-group"):
        assert rule in print_rules


@pytest.mark.parametrize(
    "channels, shape",
    [
        (1, (8, 8)),
        (3, (8, 8, 3)),
        (4, (8, 8)),
    ],
)
def test_a_run_stores_its_images_in_their_colours(channels, shape):
    """Also of three adjacent slices, the middle one. Catches a stained slide that is stored grey."""
    levels = np.arange(8 * 8 * channels, dtype=np.uint8)
    image = levels.reshape(8, 8, channels)
    label = np.zeros((8, 8), np.uint8)
    label[2:5, 2:5] = 1
    case = Case("p1", "p1", image, label, (1.0, 1.0), "p1")
    for pool in (image, np.concatenate([image + 1, image, image + 2], -1)):
        stored = choose_examples([case], [PoolImage(pool)], [label])
        assert stored["image"].shape == (1, *shape)
        first_channel = stored["image"][0].reshape(
            8,
            8,
            -1,
        )[..., 0]
        assert (first_channel == image[..., 0]).all()


def test_a_flat_scan_is_shown_flat():
    """4 × 8 pixels of 1 mm × 1 mm, scaled to a square for the network. Catches a squeezed heart."""
    image = np.zeros((4, 8, 1), np.uint8)
    label = np.zeros((4, 8), np.uint8)
    label[1:3, 2:6] = 1
    case = Case("p1", "p1", image, label, (1.0, 1.0), "p1")
    stored = choose_examples(
        [case],
        [PoolImage(np.zeros((8, 16, 1), np.uint8))],
        [label],
    )
    rgb = overlay(
        stored["image"][0],
        stored["label"][0],
        stored["prediction"][0],
    )
    assert rgb.shape == (SIDE // 2, SIDE, 3)
    assert (stored["label"][0] == 1).sum() == 4 * 8
