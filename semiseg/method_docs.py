"""A method in plain words and its source, for the report and for an exported run.

Both are the first lines of docstrings, read from the method's file without importing it: a table
of results is shown without loading JAX.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple


class Description(NamedTuple):
    """What a method does, and where it is from; both "" for a method of one's own."""

    text: str
    source: str


def describe_method(method: str, title: str) -> Description:
    """The description of a method by its name; ``title`` is how it is called on the page."""
    file = Path(__file__).parent / "methods" / f"{method}.py"
    if not re.fullmatch(r"\w+", method) or not file.is_file():
        return Description("", "")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    text = _first_paragraph(tree)
    name, _, rest = text.partition(": ")
    if _spelt(name) == _spelt(title):  # "Mean teacher: agree …" stands beside its name already
        text = rest
    return Description(text[:1].upper() + text[1:], _source(tree))


def _source(tree: ast.Module) -> str:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    public = [node for node in classes if not node.name.startswith("_")]
    if not public:
        return ""
    return _first_paragraph(public[-1])


def _first_paragraph(node: ast.Module | ast.ClassDef) -> str:
    docstring = ast.get_docstring(node) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ")


def _spelt(name: str) -> str:
    return name.lower().replace("-", " ")
