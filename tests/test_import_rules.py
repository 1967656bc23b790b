"""Imports run down, and no module stands in a circle: the contracts of pyproject.toml."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """The contracts over the package in ``root``."""
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--no-cache",
        "--no-logo",
    ]
    return subprocess.run(
        [*command, str(root / "pyproject.toml")],
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A copy of the package that a test may break."""
    root = tmp_path_factory.mktemp("layers")
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copytree(ROOT / "semiseg", root / "semiseg")
    return root


def test_imports_run_down(package):
    """Catches a library that imports its doors."""
    result = lint(package)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("losses/dice.py", "import semiseg.cli.main", "Imports run down BROKEN"),
        ("data/info.py", "import semiseg.data.store", "No circles BROKEN"),
        ("methods/parts/terms.py", "import semiseg.methods.bcp", "No circles BROKEN"),
    ],
)
def test_an_import_that_runs_up_is_refused(package, file, line, contract):
    """Catches contracts that hold whatever is imported."""
    broken = package / "semiseg" / file
    text = broken.read_text()
    broken.write_text(f"{text}\n{line}\n")
    result = lint(package)
    broken.write_text(text)
    assert result.returncode == 1
    assert contract in result.stdout


@pytest.mark.parametrize("folder", ["semiseg", "tests"])
def test_no_file_name_stands_twice(folder):
    """Catches two modules that a reader, a traceback and an editor's tab cannot tell apart; pytest
    refuses two test files of one name.
    """
    names = [path.name for path in (ROOT / folder).glob("**/*.py")]
    twice = {name for name in names if names.count(name) > 1}
    assert twice <= {"__init__.py", "conftest.py"}
