"""The sweep: one compiled program, folders, grids."""

import json
import logging
import re

import pytest

from semiseg import sweeps
from semiseg.errors import UserError


def grid(root: str, **axes):
    fixed = {"data": "discs", "root": root, "net.widths": [4, 8], "image_size": 24, "steps": 4, "batch": 4, "eval_every": 4}
    parameters = {k: {"value": v} for k, v in fixed.items()} | {k: {"values": v} for k, v in axes.items()}
    return {"method": "grid", "parameters": parameters}


def test_sweep_compiles_its_training_program_once(root, tmp_path, caplog):
    """3 budgets × 2 subsets × 2 seeds × 2 learning rates: catches a traced field that became static, or pools whose shape follows the budget."""
    import jax

    spec = grid(root, labels=[2, 3, 4], label_subset=[0, 1], seed=[0, 1], lr=[0.01, 0.001], method=["mean_teacher"], batch=[6])  # a batch no other test uses
    jax.config.update("jax_log_compiles", True)
    try:
        with caplog.at_level(logging.WARNING):
            results = sweeps.sweep(spec, tmp_path, say=lambda line: None)
    finally:
        jax.config.update("jax_log_compiles", False)
    compiled = [m for m in caplog.messages if re.search(r"Finished XLA compilation of jit\(chunk\)", m)]
    assert len(results) == 24 and len(compiled) == 1, (len(results), len(compiled))
    losses = {r.path.name: json.loads((r.path / "metrics.jsonl").read_text().splitlines()[-1])["loss"] for r in results}
    assert len(set(losses.values())) > 12, "an axis without effect would leave 12 or fewer"


def test_finished_runs_are_read_not_run_again(root, tmp_path):
    """Catches a sweep that trains what it has."""
    spec = grid(root, seed=[0, 1])
    first = sweeps.sweep(spec, tmp_path, say=lambda line: None)
    stamps = [(r.path / "weights.safetensors").stat().st_mtime_ns for r in first]
    again = sweeps.sweep(spec, tmp_path, say=lambda line: None)
    assert [(r.path / "weights.safetensors").stat().st_mtime_ns for r in again] == stamps
    assert [r.summary for r in again] == [r.summary for r in first]


def test_a_failing_trial_is_recorded_and_the_rest_goes_on(root, tmp_path):
    """Catches a sweep that dies with its first bad trial (99 annotated subjects of 8)."""
    results = sweeps.sweep(grid(root, labels=[99, 2]), tmp_path, say=lambda line: None)
    assert [r.trial.labels for r in results] == [2]
    assert "99" in json.loads((tmp_path / "labels99" / "error.json").read_text())["error"]


def test_grid_nested_and_flat_names_agree():
    """``method.decay`` and nested ``parameters`` mean the same; the product is full and in file order."""
    flat = sweeps.trials({"parameters": {"method": {"value": "mean_teacher"}, "method.decay": {"values": [0.9, 0.99]}, "seed": {"values": [0, 1]}}})
    nested = sweeps.trials(
        {"parameters": {"method.name": {"value": "mean_teacher"}, "method": {"parameters": {"decay": {"values": [0.9, 0.99]}}}, "seed": {"values": [0, 1]}}}
    )
    assert list(flat) == ["decay0.9-seed0", "decay0.9-seed1", "decay0.99-seed0", "decay0.99-seed1"] == list(nested)
    assert [t.method.decay for t in flat.values()] == [0.9, 0.9, 0.99, 0.99]


@pytest.mark.parametrize(
    "spec, words",
    [
        ({"parameters": {"lrr": {"values": [1]}}}, "did you mean 'lr'"),
        ({"parameters": {"lr": [0.1]}}, "needs `value:`"),
        ({"parameters": {"lr": {"values": ["much"]}}}, "not 'much'"),
        ({"method": "bayes", "parameters": {"lr": {"values": [1.0]}}}, "grid"),
        ({"parameter": {}}, "does not know 'parameter'"),
        ({"parameters": {"net": {"value": "vnet9"}}}, "no net called 'vnet9'"),
    ],
)
def test_a_wrong_sweep_is_one_line(spec, words):
    """Catches a traceback, or a typo that is silently ignored."""
    with pytest.raises(UserError, match=re.escape(words)):
        sweeps.trials(spec)
