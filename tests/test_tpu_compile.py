"""experiments/tpu_compile.py: what surrounds the compiler, which needs minutes and no chip."""

import importlib.util
from pathlib import Path

import jax
import pytest

FILE = Path(__file__).parents[1] / "experiments" / "tpu_compile.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("tpu_compile", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_program_is_a_trial_with_a_pool(script):
    """Catches a preset that is gone and a pool of another shape than the trainer's."""
    for name, (make, pool) in script.PROGRAMS.items():
        trial = make()
        axes = len(trial.frame.window)
        assert axes == (3 if pool is script.LEFT_ATRIUM else 2), name
        pools = script._pools(pool, axes)
        assert pools.image.shape.shape == (pool.images, axes)
        assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(pools))


def test_the_compilers_words_for_memory_are_read(script):
    """Catches a program that is called unknown where it does not fit."""
    said = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 18.23G of 15.75G hbm."
    row = script._problem(f"Traceback\n{said}\n")
    assert (row["fits"], row["needed_mib"]) == ("no", 18668)
    other = script._problem("Traceback\n\nValueError: no such topology\n")
    assert other == {"fits": "unknown", "problem": "ValueError: no such topology"}


def test_a_second_call_goes_on_after_the_last_row(script, tmp_path, monkeypatch):
    """Catches rows that are compiled twice, and an exit code that hides a failure."""
    asked = []

    def compiled(name, precision, chips):
        asked.append((name, precision, chips))
        fits = "unknown" if precision == "bfloat16" else "yes"
        return {"program": name, "precision": precision, "chips": chips, "fits": fits}

    monkeypatch.setattr(script, "_in_a_process", compiled)
    table = tmp_path / "tpu.csv"
    words = ["tpu_compile", "--csv", str(table), "--only", "unet3d", "--chips", "1"]
    monkeypatch.setattr("sys.argv", [*words, "--precision", "float32"])
    assert script.main() == 0
    monkeypatch.setattr("sys.argv", words)
    assert script.main() == 1
    assert asked == [("unet3d", "float32", "1"), ("unet3d", "bfloat16", "1")]
    assert len(table.read_text().splitlines()) == 3
