"""How many classes a label can hold: its values are 0 to 255, and 255 is IGNORE."""

import json

import pytest

from semiseg.cli.main import main

MOST = 255


@pytest.mark.parametrize("number", [3, MOST])
def test_255_classes_are_taken(number, pictures, tmp_path, capsys):
    """Catches a limit that is one too low."""
    for code, _ in answers(number, pictures, tmp_path, capsys):
        assert code == 0


@pytest.mark.parametrize("number", [MOST + 1, 257, 300])
def test_more_classes_are_refused_alike(number, pictures, tmp_path, capsys):
    """Catches a class that is stored as IGNORE, and a check that finds no problem in a set on
    which the import ends in a traceback.
    """
    for code, output in answers(number, pictures, tmp_path, capsys):
        assert code in (1, 2)
        assert f"{pictures}: names {number} classes" in output
        assert "0 to 254" in output
    assert not (tmp_path / "stores" / "own").exists()


def test_a_stored_set_names_no_class_for_ignored_pixels(pictures, tmp_path, capsys):
    """Catches a received description with a class of the value 255."""
    assert answers(3, pictures, tmp_path, capsys)[1][0] == 0
    path = tmp_path / "stores" / "own" / "semiseg.json"
    names = [f"class {i}" for i in range(MOST + 1)]
    facts = json.loads(path.read_text())
    facts["classes"] = names
    path.write_text(json.dumps(facts))
    root = str(tmp_path / "stores")
    assert main(["data", "check", "own", "--root", root]) == 2
    error = capsys.readouterr().err
    assert f"{path}: damaged" in error
    assert "names 256 classes" in error


def answers(number, source, tmp_path, capsys):
    """Exit code and output of a check and of an import with so many classes."""
    classes = ",".join(f"class {i}" for i in range(number))
    what = ["--format", "folder"]
    what += ["--source", str(source)]
    what += ["--classes", classes]
    where = ["--name", "own"]
    where += ["--root", str(tmp_path / "stores")]
    commands = [
        ["check", *what],
        ["import", *what, *where],
    ]
    results = []
    for command in commands:
        code = main(["data", *command])
        captured = capsys.readouterr()
        results.append((code, captured.out + captured.err))
    return results
