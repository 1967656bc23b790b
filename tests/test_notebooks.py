"""The notebooks: run from committed results, paired with their text, committed with their outputs."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda f: f.stem)
def test_notebook_runs_and_is_committed_as_its_text_says(file, monkeypatch):
    """Every cell, top to bottom, in a fresh kernel. Catches a renamed function, a missing file, and an .ipynb that is not its .py's."""
    jupytext, nbformat, nbclient = (pytest.importorskip(name) for name in ("jupytext", "nbformat", "nbclient"))
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(file, as_version=4)
    text = jupytext.read(file.with_suffix(".py"))
    assert [c.source for c in notebook.cells] == [c.source for c in text.cells], f"run: jupytext --sync notebooks/{file.name}"
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert sum(bool(c.outputs) for c in code) >= len(code) / 2 and not any(o.output_type == "error" for c in code for o in c.outputs)
    text.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbclient.NotebookClient(text, timeout=300, resources={"metadata": {"path": str(file.parents[1])}}).execute()
    assert not [o for c in text.cells for o in c.get("outputs", []) if o.output_type == "error"]


def test_there_are_notebooks():
    """Catches a test above that runs nothing."""
    assert {f.stem for f in NOTEBOOKS} >= {"label_efficiency", "methods", "own_data"}
