"""Regular expressions on texts of strangers: time grows with the length, not with its square."""

import time
from pathlib import Path

import pytest

from semiseg import escapes
from semiseg.data import itk_compressed, problems, sitk_files
from semiseg.report.page import unbroken

LETTERS = 20_000
"""Of a cell. A quadratic pattern takes 0.3 to 40 seconds, a linear one milliseconds."""
SECONDS = 0.2


def kinds(text):
    """What `semiseg data check` makes of problems with a text in them."""
    return problems.collapsed([f"subjects.csv: p1 has split {text}"] * 9)


def header(line):
    """Look for compressed voxels in a header of one line."""
    itk_compressed.check(Path("p7.mha"), [line], 0)


LONG = {
    "spaces in a field": (header, " " * 500 + "b" + " " * 500 + "c"),
    "spaces in a value": (header, "Comment = a" + " " * LETTERS + "b"),
    "a word without digits": (kinds, "a" * LETTERS),
    "slashes after a parenthesis": (kinds, "a (" + "/" * LETTERS),
    "spaces in a name": (escapes.markdown, "a" + " " * LETTERS + "b"),
    "brackets in a sentence": (unbroken, "[" * LETTERS),
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_text_is_looked_through_once(name):
    """Catches a pattern that begins anew at each letter of what it has just passed."""
    function, text = LONG[name]
    started = time.process_time()
    function(text)
    assert time.process_time() - started < SECONDS


def test_a_header_of_blank_lines_is_looked_through_once(tmp_path):
    """Catches a search for the end of a header that begins anew at each line."""
    path = tmp_path / "p7.mha"
    path.write_text("NDims = 3" + "\n" * LETTERS + "DimSize = 3 4 5\n")
    started = time.process_time()
    assert len(sitk_files._header_lines(path)) == LETTERS + 1
    assert time.process_time() - started < SECONDS
