"""One small factorial of runs, read by every test that does not change it."""

import pytest
from analysis.fake import write_grid

from semiseg.analysis.load import load_runs


@pytest.fixture(scope="session")
def grid(tmp_path_factory):
    return write_grid(
        tmp_path_factory.mktemp("grid"),
        budgets=(4, 8),
        subsets=2,
        seeds=2,
        classes=("a", "b"),
        side=16,
        steps=50,
    )


@pytest.fixture(scope="session")
def runs(grid):
    return load_runs(grid)
