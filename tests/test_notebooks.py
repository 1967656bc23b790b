"""The notebooks: run from committed results, paired with their text, committed with their outputs.
Tables of the READMEs: what the results say.
"""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda f: f.stem)
def test_notebook_runs_and_is_committed_as_its_text_says(file, monkeypatch):
    """Every cell, top to bottom, in a fresh kernel. Catches a renamed function, a missing file, and
    an .ipynb that is not its .py's.
    """
    jupytext, nbformat, nbclient = (
        pytest.importorskip(name) for name in ("jupytext", "nbformat", "nbclient")
    )
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(file, as_version=4)
    text = jupytext.read(file.with_suffix(".py"))
    assert [c.source for c in notebook.cells] == [c.source for c in text.cells], (
        "run: python experiments/figures.py"
    )
    reads = re.findall(r'results / "([\w.]+)"', file.with_suffix(".py").read_text())
    if reads and not any(
        (file.parents[1] / "experiments" / "results" / name).exists() for name in reads
    ):
        pytest.skip(f"nobody has measured {reads[0]} yet")
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert sum(bool(c.outputs) for c in code) >= len(code) / 2 and not any(
        o.output_type == "error" for c in code for o in c.outputs
    )
    text.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbclient.NotebookClient(
        text, timeout=300, resources={"metadata": {"path": str(file.parents[1])}}
    ).execute()
    assert not [o for c in text.cells for o in c.get("outputs", []) if o.output_type == "error"]


def test_there_are_notebooks():
    """Catches a test above that runs nothing."""
    assert {f.stem for f in NOTEBOOKS} >= {
        "label_efficiency",
        "methods",
        "own_data",
        "synthetic_ratio",
    }


def test_tables_of_the_readmes_are_what_the_results_say(tmp_path, monkeypatch):
    """Also with a cell changed, which is named and put right, byte for byte. Catches a number that
    nobody measured, and results without their table.
    """
    root = Path(__file__).parents[1]
    spec = importlib.util.spec_from_file_location("figures", root / "experiments" / "figures.py")
    figures = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "figures", figures)
    spec.loader.exec_module(figures)
    said: list[str] = []
    texts = figures.texts(said)
    assert said == [] and all((root / file).read_text() == text for file, text in texts.items())
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    (tmp_path / "experiments").mkdir()
    for file, text in texts.items():
        (tmp_path / file).write_text(
            text.replace("| supervised | .68 [.57, .79]", "| supervised | .86 [.57, .79]")
        )
    assert figures.texts(said) == texts and len(said) == 1 and "supervised, 4" in said[0]
