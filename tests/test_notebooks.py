"""The notebooks: run from committed results, paired with their text, committed with their outputs.
Tables and reference pages: what the results and the code say.
"""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def load_script(path: str, monkeypatch):
    """A script outside of the package, as a module."""
    file = ROOT / path
    monkeypatch.syspath_prepend(file.parent)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, file.stem, module)
    spec.loader.exec_module(module)
    return module


def errors_of(notebook):
    """The outputs of cells that failed."""
    outputs = []
    for cell in notebook.cells:
        outputs += cell.get("outputs", [])
    return [output for output in outputs if output.output_type == "error"]


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda f: f.stem)
def test_notebook_runs_and_is_committed_as_its_text_says(file):
    """Every cell, top to bottom, in a fresh kernel. Catches a renamed function, a missing file, and
    an .ipynb that is not its .py's.
    """
    import jupytext
    import nbclient
    import nbformat

    notebook = nbformat.read(file, as_version=4)
    text = jupytext.read(file.with_suffix(".py"))
    sources = [cell.source for cell in notebook.cells]
    assert sources == [cell.source for cell in text.cells], "run: python experiments/figures.py"
    reads = re.findall(r'results / "([\w.]+)"', file.with_suffix(".py").read_text())
    if reads and not any((ROOT / "experiments" / "results" / name).exists() for name in reads):
        pytest.skip(f"nobody has measured {reads[0]} yet")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    with_output = [cell for cell in code if cell.outputs]
    assert len(with_output) >= len(code) / 2
    assert not errors_of(notebook)
    text.metadata["kernelspec"] = KERNEL
    place = {"metadata": {"path": str(ROOT)}}
    nbclient.NotebookClient(text, timeout=300, resources=place).execute()
    assert not errors_of(text)


def test_there_are_notebooks():
    """Catches a test above that runs nothing."""
    names = {file.stem for file in NOTEBOOKS}
    assert names >= {"label_efficiency", "methods", "own_data", "synthetic_ratio"}


def test_tables_of_the_pages_are_what_the_results_say(tmp_path, monkeypatch):
    """Also with a cell changed, which is named and put right, byte for byte. Catches a number that
    nobody measured, and results without their table.
    """
    figures = load_script("experiments/figures.py", monkeypatch)
    changes: list[str] = []
    texts = figures.texts(changes)
    assert changes == []
    for file, text in texts.items():
        assert (ROOT / file).read_text() == text
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    (tmp_path / "docs" / "results").mkdir(parents=True)
    right = "| supervised | 0.71 [0.56, 0.83]"
    wrong = "| supervised | 0.86 [0.56, 0.83]"
    for file, text in texts.items():
        (tmp_path / file).write_text(text.replace(right, wrong))
    assert figures.texts(changes) == texts
    assert len(changes) == 1
    assert "supervised, 4" in changes[0]


@pytest.mark.slow
def test_the_reference_is_what_the_code_says(monkeypatch):
    """Catches a field, a flag, a method or a network that changed without `python
    docs/generate.py`.
    """
    generate = load_script("docs/generate.py", monkeypatch)
    for name, write in generate.WRITERS.items():
        text = (generate.PAGES / name).read_text()
        assert text == write(), f"docs/reference/{name}: run python docs/generate.py"
