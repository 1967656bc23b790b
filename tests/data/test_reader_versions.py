"""Readers below their lowest safe version are refused by pip and named by ``semiseg doctor``."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from semiseg.cli import doctor
from semiseg.data import reader_versions, size_limits
from semiseg.data.reader_versions import READERS, parts

REPOSITORY = Path(__file__).resolve().parents[2]


def asked_for():
    """Package → lowest version that ``pyproject.toml`` admits."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["dicom"]]
    found = (re.match(r"([\w.-]+)(?:\[.*?\])?>=([\d.]+)", line) for line in lines)
    return {match[1].lower(): match[2] for match in found if match}


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.package)
def test_a_reader_is_asked_for_and_installed_in_a_safe_version(reader):
    """Catches a bound of pyproject.toml that differs from the table, and an old lock."""
    assert parts(asked_for()[reader.package.lower()]) == parts(reader.lowest)
    assert parts(version(reader.package)) >= parts(reader.lowest)


def test_every_reader_and_limit_stands_in_the_docs():
    """Catches a table of the docs that says another version or reason."""
    text = (REPOSITORY / "docs" / "explanation" / "safety.md").read_text()
    for reader in READERS:
        assert f"| {reader.package} | {reader.lowest} | {reader.reads} | {reader.why} |" in text
    for line in size_limits.stated():
        assert line in text


def test_doctor_names_a_reader_that_is_not_safe(monkeypatch):
    """Catches a check that always says ok."""
    ok = doctor._readers()
    assert [finding.level for finding in ok] == ["ok", "ok"]
    assert "one array: 4.3 GB" in ok[1].words
    installed = {"pydicom": "3.0.1", "pillow": "12.3.0", "h5py": "3.16.0"}
    monkeypatch.setattr(reader_versions, "_installed", lambda: installed)
    findings = doctor._readers()
    assert [finding.what for finding in findings] == ["pillow", "pydicom", "limits"]
    assert findings[1].level == "bad"
    assert "CVE-2026-32711" in findings[1].words
    assert findings[1].words.endswith("pip install 'pydicom>=3.0.2'")
