"""What a report says of the ledgers of a test set, and of test scores that no ledger knows."""

import shutil

from analysis.fake import write_run

from semiseg.analysis.load import load_runs
from semiseg.analysis.study import study
from semiseg.data import ledger, store
from semiseg.report.protocol import protocol


def test_a_report_misses_lines_that_were_removed_everywhere(tmp_path):
    """Catches ledgers that were deleted in all places while the runs keep their test scores."""
    root = tmp_path / "stores"
    for seed in range(2):
        run = write_run(
            tmp_path / "runs", seed=seed, splits=("val", "test"), config={"root": str(root)}
        )
        store.read_test("nuclei", root, reason="evaluate", run=str(run))
    whole = "counts 2 test evaluations; its chain is whole."
    assert _data(tmp_path).endswith(whole)
    (root / "nuclei" / "ledger.jsonl").write_text("")
    assert "It is not whole" in _data(tmp_path)
    shutil.rmtree(root)
    shutil.rmtree(ledger.user_folder())
    gone = "Runs with test scores: 2; without a line in the ledger: 2 (evaluated on another"
    assert gone in _data(tmp_path)


def _data(folder):
    return dict(protocol(study(load_runs(folder / "runs"))))["Data"]
