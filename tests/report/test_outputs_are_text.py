"""Names from outside are text in every output: nothing that a spreadsheet, LaTeX, a page or a
terminal would act on.
"""

import csv
import io
import re

import pytest
from analysis.fake import write_run

from semiseg import escapes
from semiseg.analysis import results_csv
from semiseg.analysis.load import load_runs
from semiseg.analysis.study import study
from semiseg.cli import main as entry
from semiseg.data import data_card, subjects_csv
from semiseg.report import tables
from semiseg.report.figures.label_efficiency import label_efficiency
from semiseg.report.figures.output import save
from semiseg.run_folder import RunFolder

FORMULA = '=HYPERLINK("http://x","y")'
HOSTILE = (
    "^^5cinput{/etc/passwd}",
    "$x$",
    "{\\bf a}",
    "a~b",
    "<img src=x onerror=y>",
    "a|b",
    "a\nb",
)
FORMULAS = (FORMULA, "+1+cmd", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "a;=1", "＝1", "'=1", "''-a")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of each of two methods, whose names and classes are hostile."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("supervised", "$m_{1}$<b>"):
        for seed in (0, 1):
            name = f"{FORMULA.replace('/', '')}{method[:2]}{seed}"
            classes = ("$a$", FORMULA)
            write_run(folder, method=method, seed=seed, name=name, classes=classes, examples=False)
    return load_runs(folder)


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_has_no_command_of_a_name(text):
    """Catches a character that ends a cell, begins mathematics or spells a backslash."""
    known = r"\\(textbackslash|textasciicircum|textasciitilde)\{\}|\\[{}$%_&#]|\$[-<>]\$"
    rest = re.sub(known, "", escapes.latex(text))
    assert not re.search(r"[\\{}$%_&#^~\n]", rest), rest


@pytest.mark.parametrize("text", [*HOSTILE, "[a](javascript:b)", "![a](http://b)", "&lt;img>"])
def test_markdown_has_no_element_of_a_name(text):
    """Catches raw elements, links, pictures, a column more and a line more."""
    line = escapes.markdown(text)
    assert not re.search(r"<[A-Za-z/!?]|\]\(|(?<!\\)\||\n", line), line
    assert escapes.markdown("0.81 [0.78, 0.84]* p < 0.001") == "0.81 [0.78, 0.84]* p < 0.001"


@pytest.mark.parametrize("text", FORMULAS)
def test_a_cell_is_no_formula_and_comes_back(text):
    """Catches cells that a spreadsheet computes, in countries of either separator."""
    cell = escapes.csv_cell(text)
    for part in re.split("[;\t\r\n]", cell):
        assert part[:1] not in tuple("=+-@＝＋－＠")
    assert escapes.csv_text(cell) == text


@pytest.mark.parametrize("number", ["-0.5", "+3", "-1e-07", -2, -0.25, "-inf", ""])
def test_numbers_stay_numbers(number):
    assert escapes.csv_cell(number) is number


def test_tables_of_a_report_come_back(runs, tmp_path):
    """Catches names that results.csv or per_subject.csv changes, and tables with live names."""
    file = runs.write_csv(tmp_path / "results.csv")
    with file.open(newline="") as lines:
        rows = list(csv.reader(lines))
    assert all(not cell.startswith("=") for row in rows for cell in row)
    assert set(results_csv.read(file)) == {run.name for run in runs}
    assert FORMULA in runs[0].scores.axes[3]
    rows = tables.efficiency_table(study(runs))
    assert "<b>" not in tables.as_markdown(rows)
    assert r"\$m \{1\}\$" in tables.as_latex(rows)


def test_a_dollar_in_a_figure_is_a_dollar(runs, tmp_path):
    """Catches names that matplotlib sets as mathematics, where an odd one ends the report."""
    path = tmp_path / "curve.svg"
    save(label_efficiency(runs), path)
    assert "$m {1}$" in path.read_text()


def test_tables_of_a_run_and_a_set_come_back(tmp_path):
    """Catches subjects whose names change between writing and reading."""
    folder = RunFolder(tmp_path)
    row = ["r", "val", "last", FORMULA, "@class", "dice", "-0.5", "1"]
    folder.write_scores([row])
    assert list(folder.read_scores()[0].values()) == row
    text = folder.scores.read_text()
    assert "'=HYPERLINK" in text and ",-0.5," in text
    columns = {"-a": {"+site": "@x", "age": "-3"}}
    subjects_csv.write_columns(tmp_path, columns)
    assert subjects_csv.read_columns(tmp_path) == columns


def test_a_data_card_shows_names_as_text():
    """Catches elements in the card of a set whose classes, licence or source has them."""
    facts = {
        "classes": ("background", "<script>a</script>"),
        "regions": {},
        "counts": {},
        "channels": 1,
        "dtype": "uint8",
        "unit": "pixel",
        "source": "<b>",
        "format": "folder",
        "license": "<i>",
        "citation": "![x](http://y)",
        "fingerprint": "f",
    }
    card = data_card.card("s", facts, {}, "semiseg data import `<u>`")
    assert not re.search("<script|<b>|<i>|\\]\\(", card)
    assert "`` semiseg data import `<u>` ``" in card


def test_a_command_prints_no_order_to_the_terminal(capsys, monkeypatch):
    """Catches escapes, the bytes of names that are no text, and text that runs backwards."""
    hostile = "p\x1b]0;owned\x07\x9b2J\u202eb\udcff"

    def prints(args):
        print(hostile)
        raise entry.UserError(hostile)

    monkeypatch.setattr(entry, "_main_of", lambda command: prints)
    assert entry.main(["data"]) == 2
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert text.rstrip("\n").isprintable()
        assert "p\\u001b]0;owned\\u0007\\u009b2J\\u202eb\\udcff" in text


def test_a_bar_of_progress_may_draw_itself_again():
    """Catches a stream that breaks tqdm, or lets a name overwrite its line."""
    below = io.StringIO()
    stream = escapes.SafeStream(below)
    stream.write("\r 5 %")
    stream.write("a\rb")
    assert below.getvalue() == "\r 5 %a\\u000db"
    assert escapes.raw(stream) is below
    assert not stream.isatty()
