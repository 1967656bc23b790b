"""Journals of searches that were changed or left half-way: refused, or gone on with."""

import json

import pytest
import yaml

from semiseg.errors import UserError
from semiseg.sweeps.search import Search
from semiseg.sweeps.spec import read

SWEEP = {
    "method": "bayes",
    "run_cap": 3,
    "metric": {"name": "val_dice", "goal": "maximize"},
    "parameters": {"lr": {"min": 0.001, "max": 0.01}, "labels": {"values": [2, 4]}},
}


@pytest.fixture
def journal(tmp_path):
    """The journal of a search with one trial that has no result."""
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    search_in(tmp_path).ask()
    return tmp_path / "journal.log"


def search_in(folder):
    return Search(read(folder / "sweep.yaml"), folder)


@pytest.mark.parametrize("value", [0, 0.5, -1])
def test_a_value_that_no_axis_has_is_damage(value, journal):
    """Catches a trial with a learning rate that the sweep file does not allow."""
    lines = journal.read_text().splitlines()
    records = [json.loads(line) for line in lines]
    number = next(i for i, one in enumerate(records) if one.get("param_name") == "lr")
    record = records[number]
    lines[number] = json.dumps(record | {"param_value_internal": value})
    journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="journal.log: is damaged"):
        search_in(journal.parent).point("trial000")
