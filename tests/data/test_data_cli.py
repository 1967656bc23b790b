"""``semiseg data``: the flags other people's scripts use, exit codes, JSON, and a wall that
describe and check respect.
"""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from data_samples import write_png

from semiseg.cli.data import main
from semiseg.data import array_records as records
from semiseg.data import importing
from semiseg.data.describe import one_way
from semiseg.errors import UserError
from semiseg.types import Case


def test_import_list_check_describe(pictures, tmp_path, capsys):
    """Catches a flag that is renamed, a table that is not written as JSON, and counts that are not
    the set's.
    """
    root = str(tmp_path / "root")
    out = tmp_path / "out.json"
    where = ["--format", "folder", "--source", str(pictures), "--name", "own", "--root", root]
    assert main(["import", *where, "--classes=back,cell,debris"]) == 0
    with pytest.raises(UserError, match="--overwrite"):
        main(["import", *where])
    assert (
        main(["import", *where, "--overwrite"])
        == main(["import", *where, "--overwrite=True", "--classes", "a,b,c"])
        == 0
    )
    assert main(["list", "--root", root, "--json", str(out)]) == 0
    assert [row["name"] for row in json.loads(out.read_text())] == ["nuclei", "own"]
    assert (
        main(
            [
                "describe",
                "own",
                f"--root={root}",
                "--json",
                str(out),
            ]
        )
        == 0
    )
    facts = json.loads(out.read_text())
    assert facts["classes"] == ["a", "b", "c"]
    assert facts["counts"]["train"]["subjects"] == 7
    assert facts["splits"]["train"]["class_frequency"] == pytest.approx(
        {"a": 224 / 256, "b": 20 / 256, "c": 12 / 256}
    )
    capsys.readouterr()
    assert main(["check", "own", "--root", root]) == 0
    assert "no problems" in capsys.readouterr().out


def test_check_lists_problems_and_exits_with_one(pictures, tmp_path, capsys):
    """Catches exit code 0 for a broken source or store, and a line that does not name the file."""
    (pictures / "images" / "p1.png").write_bytes(b"")
    write_png(pictures / "labels" / "p2.png", np.zeros((4, 4), np.uint8))
    out = tmp_path / "out.json"
    assert (
        main(
            [
                "check",
                "--source",
                str(pictures),
                "--format",
                "folder",
                "--json",
                str(out),
            ]
        )
        == 1
    )
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert printed == json.loads(out.read_text())["problems"]
    for name in ("p1", "p2"):
        (pictures / "images" / f"{name}.png").unlink()
        (pictures / "labels" / f"{name}.png").unlink()
    root = str(tmp_path / "root")
    importing.import_set("folder", pictures, "own", root, progress=False)
    (path,) = records.folder(tmp_path / "root" / "own").glob("*test.array_record*")
    path.write_bytes(path.read_bytes()[:-40])
    assert main(["check", "own", "--root", root]) == 1
    assert path.name in capsys.readouterr().out


def test_check_counts_images_and_masks(pictures, capsys):
    """Catches a mask whose misspelt name makes its image unlabelled without a word."""
    (pictures / "labels" / "p3.png").unlink()
    assert main(["check", "--source", str(pictures), "--format", "folder"]) == 0
    assert "10 images of 10 subjects, 9 with a mask" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["check"],
        ["check", "own", "--source", "x", "--format", "folder"],
        ["check", "--format", "folder"],
    ],
)
def test_check_needs_one_of_name_and_source(argv):
    """Catches a check that checks nothing and says that all is well."""
    with pytest.raises(UserError, match="NAME"):
        main(argv)


def test_classes_that_lie_one_way_are_found():
    """Known by construction: b right of a, c anywhere around a. Catches a direction of which the
    sign is lost, one taken from a handful of subjects, and millimetres that are not square.
    """
    rng = np.random.default_rng(0)
    cases = []
    for i in range(16):
        label = np.zeros((40, 40), np.uint8)
        label[18:22, 14:17] = 1
        label[18:22, 24:27] = 2
        angle = rng.uniform(0, 2 * np.pi)
        row = int(20 + 12 * np.sin(angle))
        column = int(15 + 12 * np.cos(angle))
        label[row, column] = 3
        cases.append(
            Case(
                f"s{i}",
                f"s{i}",
                label[..., None],
                label,
                (1.0, 1.0),
                f"s{i}",
                0,
                "",
            )
        )
    found = one_way(cases, ("back", "a", "b", "c"))
    assert found["a, b"] == {"r": 1.0, "subjects": 16}
    assert "a, c" not in found
    assert "a, b" not in one_way(
        [dataclasses.replace(c, label=c.label[:, :: 1 - 2 * (i % 2)]) for i, c in enumerate(cases)],
        ("back", "a", "b", "c"),
    )
    assert one_way(cases[:7], ("back", "a", "b", "c")) == {} == one_way(cases, ("back", "a"))
    volumes = []
    # eight rows up or down and four columns right: one way where a column is ten times as wide as a
    # row
    for i in range(16):
        label = np.zeros((3, 40, 40), np.uint8)
        label[:, 20, 10] = 1
        label[:, 28 if i % 2 else 12, 14] = 2
        volumes.append(
            Case(
                f"v{i}",
                f"v{i}",
                label[..., None],
                label,
                (1.0, 1.0, 10.0),
                f"v{i}",
                0,
                "",
            )
        )
    assert one_way(volumes, ("back", "a", "b"))["a, b"]["r"] > 0.95
    assert (
        one_way(
            [dataclasses.replace(v, spacing=(10.0, 1.0, 1.0)) for v in volumes], ("back", "a", "b")
        )
        == {}
    )


def test_describe_and_check_do_not_look_at_test(pictures, tmp_path, monkeypatch):
    """Catches a look at test that leaves no line in the ledger."""
    root = str(tmp_path / "root")
    importing.import_set("folder", pictures, "own", root, progress=False)
    seen = []
    read = records.read

    def watched(place, split, token=None):
        seen.append(split)
        return read(place, split, token)

    monkeypatch.setattr(records, "read", watched)
    assert main(["describe", "own", "--root", root]) == main(["check", "own", "--root", root]) == 0
    assert set(seen) == {"train", "val"}


def test_list_is_instant(tmp_path):
    """Catches an import at the top of a module that makes everybody wait for TFDS or JAX."""
    code = f"""
import sys
from semiseg.cli.data import main
main(["list", "--root", {str(tmp_path)!r}])
assert not {{"jax", "tensorflow_datasets", "tensorflow"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_check_knows_no_subjects_where_the_names_ask(tmp_path, capsys, monkeypatch):
    """Catches "8 images of 8 subjects" beside a line that says that images share subjects."""
    monkeypatch.chdir(tmp_path)
    for i in range(8):
        pixels = np.arange(i, i + 64, dtype=np.uint8).reshape(8, 8)
        write_png(tmp_path / "own" / "images" / f"p{i // 2}_s{i % 2}.png", pixels)
        write_png(tmp_path / "own" / "labels" / f"p{i // 2}_s{i % 2}.png", pixels // 64)
    argv = ["check", "--source", str(tmp_path / "own"), "--format", "folder"]
    assert main(argv) == 1
    assert "8 images of subjects that are not known yet, 8 with a mask" in capsys.readouterr().err


def test_import_names_the_next_command(pictures, tmp_path, capsys):
    """Catches an import after which a newcomer does not know how to go on."""
    argv = ["import", "--source", str(pictures), "--format", "folder", "--name", "own"]
    assert main([*argv, "--root", str(tmp_path / "r")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"next: semiseg train --data own --root {tmp_path / 'r'} --out runs/own"


def test_list_names_damaged_sets_with_the_reason(pictures, tmp_path, capsys):
    """Catches a set that vanishes from the list because one value of it is odd."""
    root = tmp_path / "root"
    for name in ("fine", "odd"):
        importing.import_set("folder", pictures, name, root, progress=False)
    description = root / "odd" / "semiseg.json"
    content = json.loads(description.read_text())
    description.write_text(json.dumps(content | {"channels": -1}))
    capsys.readouterr()
    assert main(["list", "--root", str(root), "--json", str(tmp_path / "out.json")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["nuclei", "fine", "odd"]
    assert "cannot be used:" in lines[-1] and "channels is -1" in lines[-1]
    rows = json.loads((tmp_path / "out.json").read_text())
    assert rows[-1]["name"] == "odd" and "channels is -1" in rows[-1]["problem"]


def test_check_counts_the_subjects_of_images_that_cannot_be_read(pictures, capsys):
    """Catches subjects that are missing from the count because their mask is broken."""
    (pictures / "labels" / "p3.png").write_bytes(b"no picture")
    assert main(["check", "--source", str(pictures), "--format", "folder"]) == 1
    assert "10 images of 10 subjects, 9 with a mask" in capsys.readouterr().err
