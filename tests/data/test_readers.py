"""What every reader must keep to, and that a reader is one file and one line of a table."""

import inspect
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest

from semiseg.cli.data import main
from semiseg.data import readers, store
from semiseg.data.source import CaseRef, Pixels, Reader, Source
from semiseg.errors import UserError


def read_squares(
    source: Path, *, side: Annotated[int, "of the images, pixels"] = 4, progress: bool = True
) -> Source:
    """A set of three black squares."""

    def pixels() -> Pixels:
        image = np.zeros((side, side, 1), np.uint8)
        return image, image[..., 0], (1.0, 1.0)

    def case(name: str) -> CaseRef:
        path = f"{source}/{name}"
        return CaseRef(name, name, path, pixels, label_path=path)

    splits = {
        "train": [case("a"), case("b")],
        "val": [case("c")],
    }
    return Source(("background", "square"), "pixel", "CC0", "nobody", splits)


@pytest.mark.parametrize(
    "reader",
    readers.READERS.values(),
    ids=lambda reader: reader.format,
)
def test_a_reader_declares_what_the_house_must_know(reader):
    """Catches a parameter that no flag reaches, a default that no flag can restore, and a reader
    without a word on its layout.
    """
    parameters = dict(inspect.signature(reader.read).parameters)
    assert list(parameters)[0] == "source"
    assert "progress" in parameters
    options = reader.options()
    assert set(options) == set(parameters) - {"source", "progress"}
    for name, option in options.items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert isinstance(parameters[name].default, option.kind)
        assert option.help
    assert reader.layout
    assert readers.READERS[reader.format] is reader


def test_a_new_reader_is_one_line(tmp_path, monkeypatch, capsys):
    """Catches a place besides the table that must know a format: its options are flags, its help
    names it, and it imports.
    """
    monkeypatch.setitem(
        readers.READERS, "squares", Reader("squares", "black squares", read_squares)
    )
    root = str(tmp_path / "root")
    where = ["--format", "squares", "--source", str(tmp_path)]
    assert main(["check", *where, "--side", "6"]) == 0
    assert main(["import", *where, "--name", "own", "--root", root, "--side=6"]) == 0
    assert [case.image.shape for case in store.read_split("own", "train", root)] == [(6, 6, 1)] * 2
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "of the images, pixels (squares)" in words
    with pytest.raises(UserError, match="--side: the format folder has no such option"):
        readers.read("folder", tmp_path, side=6)
