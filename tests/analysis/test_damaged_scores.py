"""The scores of subjects beside a results.csv: rows that do not fit it are refused in one line."""

import pytest

from analysis.fake import write_grid
from semiseg.analysis import scores_csv
from semiseg.analysis.load import load_runs
from semiseg.errors import UserError

CHANGES = {
    "another split": (",val,dice,", ",test,dice,"),
    "another metric": (",val,dice,", ",val,nsd,"),
    "a subject twice": ("val001", "val000"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_rows_that_do_not_fit_are_one_line(name, tmp_path):
    """Catches a KeyError, and scores that go to another subject."""
    old, new = CHANGES[name]
    write_grid(tmp_path / "runs", budgets=(4,), subsets=1, seeds=1, subjects=3, examples=False)
    runs = load_runs(tmp_path / "runs")
    table = runs.write_csv(tmp_path / "results.csv")
    file = scores_csv.write(runs, table, split="val")
    assert len(load_runs(table)) == len(runs)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match="results_subjects.csv: cannot be read"):
        load_runs(table)


@pytest.mark.parametrize("value", ["1e+308", "1.5", "-inf"])
def test_scores_that_cannot_be_are_one_line(value, tmp_path):
    """Catches an overflow in the statistics, and a Dice above 1 that is averaged."""
    write_grid(tmp_path / "runs", budgets=(4,), subsets=1, seeds=1, subjects=3, examples=False)
    runs = load_runs(tmp_path / "runs")
    table = runs.write_csv(tmp_path / "results.csv")
    file = scores_csv.write(runs, table, split="val")
    lines = file.read_text().splitlines()
    lines[1] = ",".join([*lines[1].split(",")[:-1], value])
    file.write_text("\n".join(lines))
    with pytest.raises(UserError, match="results_subjects.csv: dice is .*, which it cannot be"):
        load_runs(table)


def test_a_mean_that_cannot_be_is_one_line(tmp_path):
    write_grid(tmp_path / "runs", budgets=(4,), subsets=1, seeds=1, subjects=3, examples=False)
    table = load_runs(tmp_path / "runs").write_csv(tmp_path / "results.csv")
    header, first, *others = table.read_text().splitlines()
    cells = first.split(",")
    cells[header.split(",").index("mean")] = "1e308"
    table.write_text("\n".join([header, ",".join(cells), *others]))
    with pytest.raises(UserError, match="1e308 is no mean of scores"):
        load_runs(table)
