"""``data import --pseudonyms``: nothing that is stored says who a subject is."""

from __future__ import annotations

import csv
import stat

import layouts
import numpy as np
import pytest
from layouts import LAYOUTS

from semiseg.cli.main import main
from semiseg.data import pseudonyms, readers, store
from semiseg.data.source import CaseRef, Source

NAMES = [f"Smith{letter}_John" for letter in "abcdefghij"]
FORMATS = ("folder", "bids", "nnunet", "patients", "dicom")


def write_dicom(source):
    """Four patients; a folder has the name of its patient."""
    pytest.importorskip("pydicom", reason="needs the extra dicom")
    import dicom_samples as samples

    for i, name in enumerate(NAMES[:4]):
        folder = source / name
        patient = f"ID{i}-{name}"
        pictures = samples.images(samples.stored(rows=20, columns=24, seed=i), patient=patient)
        samples.write_images(pictures, folder / "ct")
        regions = {"GTV": [samples.box(1, 1, 4, 5, 1)]}
        samples.write(samples.structures(regions, patient), folder / "rs.dcm")


@pytest.fixture
def write(monkeypatch, tmp_path):
    """Write a set of a format whose subjects have names of people; its options."""
    monkeypatch.setattr(layouts, "SUBJECTS", NAMES)

    def written(name, place="Smith"):
        source = tmp_path / place
        if name == "dicom":
            write_dicom(source)
            return source, {"roi": "GTV", "classes": "background,tumour"}
        LAYOUTS[name].write(source)
        return source, LAYOUTS[name].options

    return written


def imported(source, options, tmp_path, *more, name="own"):
    """Import through the command line; returns its exit code."""
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    where = ["--source", source, "--name", name, "--root", tmp_path / "root"]
    words = ["data", "import", *where, "--allow-near-duplicates", *flags, *more]
    return main([str(word) for word in words])


def everything(folder):
    """Names and bytes of all files below a folder, arrays of text decoded."""
    text = b""
    for path in folder.rglob("*"):
        text += str(path.relative_to(folder)).encode()
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                text += "".join(str(arrays[key].tolist()) for key in arrays).encode()
        elif path.is_file():
            text += path.read_bytes()
    return text


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_that_is_stored_says_who_a_subject_is(name, write, tmp_path, capsys):
    """Catches a name in file names, splits.csv, records, fingerprints, the card or a ledger."""
    source, options = write(name)
    key = tmp_path / "key.txt"
    names = tmp_path / "names.csv"
    more = ["--pseudonyms", key, "--pseudonym-map", names]
    assert imported(source, options, tmp_path, *more) == 0
    root = tmp_path / "root"
    info = store.info("own", root)
    if info.number("test"):
        store.read_test("own", root, reason="a test", run="r")
    content = everything(root)
    assert b"Smith" not in content and b"John" not in content and b"ID0" not in content
    cases = [case for split in ("train", "val") for case in store.read_split("own", split, root)]
    stored = {f"{case.subject} {case.name} {case.volume} {case.group}" for case in cases}
    assert len(stored) == len(cases) and "Smith" not in str(stored)
    with names.open(newline="") as file:
        rows = dict(csv.reader(file))
    del rows["subject"]
    assert {case.subject for case in cases} <= set(rows.values())
    files = readers.read(name, source, progress=False, **options)
    assert set(rows) == {ref.subject for refs in files.splits.values() for ref in refs} | {
        ref.subject for ref in files.spare
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in (key, names)} == {0o600}
    assert "wrote a new secret key" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["folder", "bids", "dicom"])
def test_a_person_keeps_the_pseudonym(name, write, tmp_path):
    """Catches numbers that are dealt anew, and a patient who is called as the folder."""
    source, options = write(name)
    key = tmp_path / "key.txt"
    assert imported(source, options, tmp_path, "--pseudonyms", key) == 0
    rows = [(tmp_path / "root" / "own" / "splits.csv").read_text()]
    moved, _ = write(name, "elsewhere")
    if name == "dicom":  # the patient ID says who it is
        (moved / NAMES[0]).rename(moved / "zz")
    assert imported(moved, options, tmp_path, "--pseudonyms", key, "--overwrite") == 0
    rows.append((tmp_path / "root" / "own" / "splits.csv").read_text())
    of = [sorted(row.split(",")[:2] for row in text.splitlines()) for text in rows]
    assert of[0] == of[1]


def test_names_of_two_kinds_are_not_mixed(write, tmp_path, capsys):
    """Catches a set that is replaced under another key, whose subjects nobody finds again."""
    source, options = write("folder")
    keys = [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert imported(source, options, tmp_path, "--pseudonyms", keys[0]) == 0
    capsys.readouterr()
    for more in (["--pseudonyms", keys[1]], []):
        assert imported(source, options, tmp_path, "--overwrite", *more) == 2
        assert "have pseudonyms" in capsys.readouterr().err
    assert imported(source, options, tmp_path, name="plain") == 0
    more = ["--overwrite", "--pseudonyms", keys[0]]
    assert imported(source, options, tmp_path, *more, name="plain") == 2
    assert "the names of the files" in capsys.readouterr().err


def test_columns_that_identify_are_left_out(write, tmp_path, capsys):
    """Catches a medical record number that stays in subjects.csv."""
    source, options = write("folder")
    with (source / "subjects.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("name", "subject", "site", "age", "MRN", "birth_date", "alias", "dose_id"))
        for i, name in enumerate(NAMES):
            table.writerow((name, name, f"s{i % 2}", 40 + i, 900 + i, "1984-01-01", name, i))
    assert imported(source, options, tmp_path, "--pseudonyms", tmp_path / "key.txt") == 0
    head = (tmp_path / "root" / "own" / "subjects.csv").read_text().splitlines()[0]
    assert head == "subject,site,age"
    note = capsys.readouterr().err
    assert "left out columns that may say who a subject is: MRN, alias, birth_date, dose_id" in note


@pytest.mark.parametrize(
    ("content", "words"),
    [("too short: abc\n", "holds no key of 64"), ("", "holds no key"), ("ab" * 16, "holds no key")],
)
def test_a_file_that_holds_no_key_is_refused(content, words, write, tmp_path, capsys):
    """Catches names that are hashed with an empty or a guessable key."""
    source, options = write("folder")
    key = tmp_path / "key.txt"
    key.write_text(content)
    assert imported(source, options, tmp_path, "--pseudonyms", key) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "root" / "own").exists()


def test_the_key_lies_apart_from_the_data(write, tmp_path, capsys):
    """Catches a key that is passed on with the data sets."""
    source, options = write("folder")
    root = tmp_path / "root"
    root.mkdir()
    assert imported(source, options, tmp_path, "--pseudonyms", root / "key.txt") == 2
    assert imported(source, options, tmp_path, "--pseudonym-map", tmp_path / "map.csv") == 2
    lines = capsys.readouterr().err
    assert "among the data sets" in lines and "needs --pseudonyms" in lines
    assert not list(root.iterdir())


def test_pseudonyms_depend_on_the_key_and_the_person_alone():
    """Catches a plain hash, which names can be tried out on."""
    one = pseudonyms.Pseudonyms(bytes(32))
    other = pseudonyms.Pseudonyms(b"\1" * 32)
    assert one.of("Ann") == one.of("Ann") != one.of("Bob")
    assert one.of("Ann") != other.of("Ann")
    assert "\\x00" not in repr(one)


def test_a_name_of_a_map_is_no_formula(tmp_path):
    """Catches a map of which a spreadsheet runs the names of people."""
    key = pseudonyms.Pseudonyms(bytes(32))
    refs = [CaseRef(name, name, "p.png", lambda: None) for name in ("=1+1", "Ann")]
    files = Source(("a", "b"), "pixel", "", "", {"train": refs})
    pseudonyms.write_map(tmp_path / "map.csv", tmp_path / "root", files, key)
    lines = (tmp_path / "map.csv").read_text().splitlines()
    assert lines[1:] == [f"'=1+1,{key.of('=1+1')}", f"Ann,{key.of('Ann')}"]
