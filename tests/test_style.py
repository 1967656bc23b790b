"""How dense the code may be: figures that ruff has no rule for, per folder."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("semiseg", "tests", "experiments")
NODES = 6.0
PER_THOUSAND = {"conditional expressions": 15, "tuple assignments": 5, "nested comprehensions": 2}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LINES_OF_A_FILE = 400


def lines_of_code(text: str, tree: ast.AST) -> int:
    """Lines that are neither blank, nor a comment, nor part of a docstring."""
    documentation: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
            continue
        if isinstance(node.value.value, str):
            documentation |= set(range(node.lineno, node.end_lineno + 1))
    code = 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        code += bool(words) and not words.startswith("#") and number not in documentation
    return code


def is_nested(node: ast.AST) -> bool:
    """Whether a comprehension has two loops, or another one inside."""
    if not isinstance(node, COMPREHENSIONS):
        return False
    if len(node.generators) > 1:
        return True
    return any(isinstance(part, COMPREHENSIONS) for part in ast.walk(node) if part is not node)


def is_tuple_assignment(node: ast.AST) -> bool:
    """Whether a statement is ``a, b = x, y``."""
    if not isinstance(node, ast.Assign):
        return False
    return isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)


def measure(folder: Path) -> dict[str, float]:
    """Syntax nodes a line of code, and the figures of PER_THOUSAND."""
    counts = dict.fromkeys(PER_THOUSAND, 0)
    nodes = 0
    code = 0
    for path in folder.glob("**/*.py"):
        text = path.read_text()
        tree = ast.parse(text)
        code += lines_of_code(text, tree)
        for node in ast.walk(tree):
            nodes += hasattr(node, "lineno")
            counts["conditional expressions"] += isinstance(node, ast.IfExp)
            counts["tuple assignments"] += is_tuple_assignment(node)
            counts["nested comprehensions"] += is_nested(node)
    figures = {name: 1000 * count / code for name, count in counts.items()}
    return {"syntax nodes a line": nodes / code, **figures}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_statement_says_one_thing(folder):
    """Catches code that says more on a line than a reader takes in."""
    limits = {"syntax nodes a line": NODES, **PER_THOUSAND}
    figures = measure(ROOT / folder)
    beyond = {name: round(value, 2) for name, value in figures.items() if value > limits[name]}
    assert not beyond


def test_the_measure_sees_dense_code(tmp_path):
    """Catches a measure that is blind."""
    dense = "a, b = 1, 2\nc = [x for y in [[a]] for x in y] if a else [b]\n"
    (tmp_path / "dense.py").write_text(dense)
    figures = measure(tmp_path)
    assert figures["tuple assignments"] == 500
    assert figures["conditional expressions"] == 500
    assert figures["nested comprehensions"] == 500


def test_a_long_file_says_why():
    """Catches a file over 400 lines whose docstring gives no reason (``One file: …``)."""
    unexplained = []
    for path in (ROOT / "semiseg").glob("**/*.py"):
        text = path.read_text()
        documentation = ast.get_docstring(ast.parse(text)) or ""
        if len(text.splitlines()) > LINES_OF_A_FILE and "one file" not in documentation.lower():
            unexplained.append(path.name)
    assert not unexplained
