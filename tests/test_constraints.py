"""The recorded versions that `make demo` and `make test` install."""

import itertools
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "constraints").glob("py3*.txt"))
LINE = re.compile(r"([a-z0-9-]+)==([^+\s;]+)\n")


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    names = ("dev", "docs", "dicom", "notebooks", "slurm")
    texts = itertools.chain(
        project["dependencies"],
        *(extras[name] for name in names),
    )
    return [Requirement(text) for text in texts if not text.startswith("semiseg[")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_recorded_versions_are_within_the_ranges(file):
    """Catches a dependency or a bound that was changed without `make lock`, and a local build."""
    lines = file.read_text().splitlines(keepends=True)
    versions = dict(LINE.fullmatch(line).groups() for line in lines)
    assert len(versions) == len(lines) > 100
    for requirement in declared():
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: recorded is {version}"


def test_there_are_recorded_versions():
    assert FILES
