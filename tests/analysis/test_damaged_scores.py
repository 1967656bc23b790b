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
