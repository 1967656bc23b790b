"""The store: what goes in comes out, whole or not at all, and test is behind a wall."""

import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from data_samples import picture, write_png

from semiseg.cli.main import main
from semiseg.data import array_records as records
from semiseg.data import importing, readers, set_folder, store
from semiseg.errors import UserError
from semiseg.files import Lock, file_hash
from semiseg.holding import lock_path


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def test_cases_come_back_as_they_went_in(acdc_like, root):
    """Catches shuffled records, a transposed or retyped image, a lost spacing, index, volume or
    label.
    """
    info = importing.import_set("ssl4mis-acdc", acdc_like, "heart", root, progress=False)
    for split in ("train", "val"):
        before = [
            ref.load()
            for ref in readers.read("ssl4mis-acdc", acdc_like, progress=False).splits[split]
        ]
        after = store.read_split("heart", split, root)
        assert len(before) == len(after) == info.counts[split]["records"]
        for a, b in zip(before, after, strict=True):
            for field in ("subject", "name", "volume", "index", "group", "spacing"):
                assert getattr(a, field) == getattr(b, field)
            assert a.image.dtype == b.image.dtype == np.float32
            assert b.label.dtype == np.uint8
            np.testing.assert_array_equal(a.image, b.image)
            np.testing.assert_array_equal(a.label, b.label)


def test_uint8_stays_and_missing_labels_stay_missing(pictures, root):
    """Catches pictures turned to float, and an unlabelled image that comes back as background."""
    (pictures / "labels" / "p3.png").unlink()
    importing.import_set("folder", pictures, "own", root, progress=False)
    stored = store.read_split("own", "train", root) + store.read_split("own", "val", root)
    cases = {case.name: case for case in stored}
    assert cases["p3"].label is None
    assert sum(case.label is None for case in cases.values()) == 1
    labelled = next(case for case in cases.values() if case.label is not None)
    assert labelled.image.dtype == np.uint8
    np.testing.assert_array_equal(
        labelled.image[..., 0],
        picture(int(labelled.name[1:]))[0],
    )


def test_training_cannot_read_test(pictures, root):
    """Catches a wall with a door: read_split must refuse test by any spelling, for imported sets
    and the embedded one.
    """
    importing.import_set("folder", pictures, "own", root, progress=False)
    for name in ("own", "nuclei"):
        for split in ("test", "train+test", "test[:1]", "all", ""):
            with pytest.raises(UserError, match="cannot be read here"):
                store.read_split(name, split, root)
        assert store.ledger(name, root) == []


@pytest.mark.parametrize("name", ["own", "nuclei"])
def test_every_look_at_test_is_in_the_ledger(name, pictures, root):
    """Catches a read without a line, a line that overwrites the last one, and a count that is not
    test's.
    """
    if name == "own":
        importing.import_set("folder", pictures, "own", root, progress=False)
    for run in ("runs/a", "runs/b"):
        cases = store.read_test(name, root, reason="evaluate", run=run)
    lines = store.ledger(name, root)
    assert [line["run"] for line in lines] == ["runs/a", "runs/b"]
    assert all(line["n"] == len(cases) and line["reason"] == "evaluate" for line in lines)


def test_no_ledger_no_test(root):
    """Catches a read that goes ahead where its line cannot be written."""
    root.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="ledger.jsonl"):
        store.read_test("nuclei", root, reason="evaluate", run="r")


def test_ledger_survives_overwrite(pictures, root):
    """Catches a fresh import that washes a test set clean of its looks, and an overwrite nobody
    asked for.
    """
    first = importing.import_set("folder", pictures, "own", root, progress=False)
    store.read_test("own", root, reason="evaluate", run="r")
    with pytest.raises(UserError, match="--overwrite"):
        importing.import_set("folder", pictures, "own", root, progress=False)
    image, label = picture(99)
    write_png(pictures / "images" / "p0.png", image)
    second = importing.import_set("folder", pictures, "own", root, progress=False, overwrite=True)
    assert [line["event"] for line in store.ledger("own", root)] == ["evaluate", "import"]
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize("kind", ["folder", "file", "link", "link to nothing", "link to a set"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_only_a_set_is_replaced(kind, overwrite, pictures, root):
    """Catches --overwrite that deletes a folder which is no data set, or what a link leads to."""
    place = root / "own"
    elsewhere = root.parent / "elsewhere"
    root.mkdir()
    if kind == "link to a set":
        importing.import_set("folder", pictures, "elsewhere", root.parent, progress=False)
    else:
        elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("years of work")
    if kind == "folder":
        elsewhere.rename(place)
    elif kind == "file":
        (elsewhere / "thesis.txt").rename(place)
    else:
        target = root.parent / "nowhere" if kind == "link to nothing" else elsewhere
        place.symlink_to(target)
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(UserError, match=r"root/own: is a \w+.* no data set, so it is not replaced"):
        importing.import_set("folder", pictures, "own", root, progress=False, overwrite=overwrite)
    assert sorted(root.parent.rglob("*")) == before


def test_what_comes_during_an_import_is_not_replaced(pictures, root, monkeypatch):
    """Catches a check at the start alone: the folder, or another import's set, comes later."""
    write = records.write

    def slowly(*args):
        write(*args)
        (root / "own").mkdir()
        (root / "own" / "thesis.txt").write_text("years of work")

    monkeypatch.setattr(records, "write", slowly)
    with pytest.raises(UserError, match="without semiseg.json"):
        importing.import_set("folder", pictures, "own", root, progress=False, overwrite=True)
    assert (root / "own" / "thesis.txt").exists()
    assert [p.name for p in root.iterdir()] == ["own"]


def test_failed_import_leaves_nothing(pictures, root):
    """Catches a half store: the last label is bad, so that most records are written when the import
    fails.
    """
    importing.import_set("folder", pictures, "own", root, progress=False)
    before = store.info("own", root)
    (pictures / "images" / "p9.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="p9.png"):
        importing.import_set("folder", pictures, "own", root, progress=False, overwrite=True)
    with pytest.raises(UserError, match="p9.png"):
        importing.import_set("folder", pictures, "new", root, progress=False)
    assert sorted(p.name for p in root.iterdir()) == [".ledgers", "own"]
    assert store.info("own", root) == before


def test_killed_import_is_cleaned_up(pictures, root):
    """Catches a half store after kill -9, and rubbish that stays for ever; the temporary folder of
    a living import is left alone.
    """
    code = f"""
import time
from semiseg.data import array_records, importing
array_records.write = lambda *a: (print("writing", flush=True), time.sleep(60))
importing.import_set("folder", {str(pictures)!r}, "own", {str(root)!r}, progress=False)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().strip() == "writing"
    (left,) = (path for path in root.iterdir() if path.is_dir())
    assert left.name.startswith(".own.importing-")
    assert store.list_sets(root)[1:] == []
    importing.import_set("folder", pictures, "other", root, progress=False)
    assert left.exists()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    importing.import_set("folder", pictures, "own", root, progress=False)
    assert sorted(p.name for p in root.iterdir()) == [".ledgers", "other", "own"]


@pytest.mark.parametrize(
    "name",
    [
        ".old.importing-backup",
        ".own.importing-notes-12-later",
        f".own.importing-{socket.gethostname()}-0x1-abcdef",
        ".own.replaced-abc123",
        ".thesis.replaced-abc123",
        ".own.replaced-yesterday",
    ],
)
def test_other_hidden_folders_are_left_alone(name, pictures, root):
    """Catches a look-up that breaks, or deletes or moves a folder, because of a user's folder whose
    name resembles an import's.
    """
    (root / name).mkdir(parents=True)
    (root / name / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="no data set 'else'"):
        store.info("else", root)
    importing.import_set("folder", pictures, "own", root, progress=False)
    assert (root / name / "thesis.txt").exists()
    assert [listed.name for listed in store.list_sets(root)] == ["nuclei", "own"]


def test_what_a_dead_import_left_is_removed_on_its_machine_alone(root):
    """Catches another machine's import that is taken for dead, and a dead one's rest that stays."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    other, dead, living = (
        root / f".own.importing-{host}-{process}-abc123"
        for host, process in (
            (f"not-{socket.gethostname()}", ended.pid),
            (socket.gethostname(), ended.pid),
            (socket.gethostname(), os.getpid()),
        )
    )
    for folder in (other, dead, living):
        folder.mkdir(parents=True)
    set_folder.recover(root)
    assert sorted(root.iterdir()) == sorted([other, living])


def test_killed_overwrite_keeps_the_old_set(pictures, root):
    """Catches a kill between the two renames that loses the set: it is put back when somebody asks
    for it.
    """
    importing.import_set("folder", pictures, "own", root, progress=False)
    (root / "own").rename(root / ".own.replaced-abc123")
    assert store.info("own", root).name == "own"


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
def test_damaged_records_are_named(damage, pictures, root):
    """Catches a traceback, or worse silence, where a record file is cut short, altered or gone."""
    importing.import_set("folder", pictures, "own", root, progress=False)
    (path,) = records.folder(root / "own").glob("*train.array_record*")
    data = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    else:
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data[: len(data) // 3] if damage == "truncate" else data)
    with pytest.raises(UserError, match="train.array_record.*damaged"):
        store.read_split("own", "train", root)


PLAIN = {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text", "text": {}}
FOREIGN = {"pythonClassName": "foreign_module.Feature", "text": {}}
LEGACY = {"type": "foreign_module.Feature", "content": {}}
DICT = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
FEATURES = {
    "a class": {"pythonClassName": DICT, "featuresDict": {"features": {"x": FOREIGN}}},
    "the whole": {**FOREIGN, "featuresDict": {"features": {"x": PLAIN}}},
    "the other spelling": {
        "python_class_name": "foreign_module.Feature",
        "featuresDict": {"features": {"x": PLAIN}},
    },
    "an old form": LEGACY,
    "an old form inside": {
        "pythonClassName": DICT,
        "jsonFeature": {"json": json.dumps({"x": LEGACY})},
    },
    "a list": [FOREIGN],
    "a known class around a foreign one": {
        "pythonClassName": DICT,
        "featuresDict": {
            "features": {
                "x": {"pythonClassName": DICT, "featuresDict": {"features": {"y": FOREIGN}}}
            }
        },
    },
}


@pytest.mark.parametrize("form", FEATURES)
@pytest.mark.parametrize("hashed", [True, False], ids=["hashes agree", "hashes differ"])
def test_a_received_set_imports_no_module(form, hashed, pictures, root, tmp_path, monkeypatch):
    """Catches TFDS importing what features.json names, before the hashes are compared or with
    hashes that agree.
    """
    importing.import_set("folder", pictures, "own", root, progress=False)
    mark = tmp_path / "mark"
    (tmp_path / "foreign_module.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "foreign_module", raising=False)
    features = records.folder(root / "own") / "features.json"
    features.write_text(json.dumps(FEATURES[form]))
    if hashed:
        description = root / "own" / "semiseg.json"
        facts = json.loads(description.read_text())
        facts["files"]["features.json"] = file_hash(features)
        description.write_text(json.dumps(facts))
    words = "names a class that no import writes" if hashed else "damaged or missing"
    with pytest.raises(UserError, match=f"features.json: {words}"):
        store.read_split("own", "train", root)
    assert not mark.exists()


def test_hashes_are_compared_before_records_are_read(pictures, root, monkeypatch):
    """Catches TFDS on files that are not the import's, and a read of train that opens test."""
    importing.import_set("folder", pictures, "own", root, progress=False)
    hashed = []
    monkeypatch.setattr(
        records,
        "file_hash",
        lambda p: hashed.append(p.name) or file_hash(p),
    )
    assert len(store.read_split("own", "train", root)) == 7
    assert [name.partition(".")[0] for name in hashed] == [
        "dataset_info",
        "features",
        "records-train",
    ]
    with (records.folder(root / "own") / "dataset_info.json").open("a") as file:
        file.write("\n")
    monkeypatch.setattr(
        records,
        "read",
        lambda *_: pytest.fail("TFDS was called"),
    )
    with pytest.raises(UserError, match="dataset_info.json: damaged"):
        store.read_split("own", "train", root)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"layout": 1}', '{"layout": 99}', '"x"'])
def test_damaged_description_is_named(text, pictures, root):
    """Catches any of JSON's failures that leaves as something else than one line naming
    semiseg.json.
    """
    importing.import_set("folder", pictures, "own", root, progress=False)
    (root / "own" / "semiseg.json").write_text(text)
    with pytest.raises(UserError, match="semiseg.json: damaged"):
        store.info("own", root)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "nuclei"])
def test_bad_names_are_refused(name, pictures, root):
    """Catches a set written outside its root, or over the embedded one."""
    with pytest.raises(UserError):
        importing.import_set("folder", pictures, name, root, progress=False)
    assert not root.exists()


def test_default_root(monkeypatch, tmp_path):
    """Catches SEMISEG_DATA or XDG_CACHE_HOME being ignored."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SEMISEG_DATA", raising=False)
    assert set_folder.default_root() == tmp_path / "cache" / "semiseg" / "data"
    monkeypatch.setenv("SEMISEG_DATA", str(tmp_path / "mine"))
    assert set_folder.default_root() == tmp_path / "mine"


@pytest.mark.slow
@pytest.mark.acdc
def test_acdc_budgets(acdc, root):
    """Catches a label order that is not the published one."""
    from semiseg.data.frame import Frame
    from semiseg.data.splits import labelled_subjects

    info = importing.import_set("ssl4mis-acdc", acdc, "acdc", root, progress=False)
    cases = Frame(8).scans(store.read_split("acdc", "train", root), "acdc")
    counts = []
    for patients in (1, 3, 7, 14, 21, 28, 35, 70):
        chosen = set(labelled_subjects(info, cases, patients))
        counts.append(sum(case.subject in chosen for case in cases))
    assert counts == [32, 68, 136, 256, 396, 512, 664, 1312]
    assert info.counts["val"] == {
        "records": 20,
        "images": 210,
        "volumes": 20,
        "subjects": 10,
        "annotated": 10,
    }


def test_description_is_plain_json(pictures, root):
    """Catches a semiseg.json that other people's scripts cannot read."""
    importing.import_set("folder", pictures, "own", root, progress=False)
    facts = json.loads((root / "own" / "semiseg.json").read_text())
    assert facts["classes"] == ["background", "class 1", "class 2"]
    assert facts["counts"]["train"]["records"] == 7


def test_a_scan_of_more_than_two_gigabytes_is_one_line(pictures, root, monkeypatch):
    """Catches protobuf's "Failed to serialize proto", which names no scan. The limit is lowered:
    a record of 1.99 GB was written and read back, one of 2.1 GB was not.
    """
    assert 1.99 * 2**30 < records.MOST_BYTES < 2**31
    monkeypatch.setattr(records, "MOST_BYTES", 200)
    with pytest.raises(UserError, match=r"p\d: is a scan of 16×16 voxels .* a record holds 2 GB"):
        importing.import_set("folder", pictures, "own", root, progress=False)
    assert not (root / "own").exists()


def test_a_set_that_somebody_writes_is_neither_removed_nor_changed(pictures, root, capsys):
    """Catches a set that is deleted while an import replaces it, and regions that are lost."""
    importing.import_set("folder", pictures, "own", root, progress=False)
    lock = Lock(lock_path(root / "own"))
    assert lock.take()
    for words in (["remove", "own", "--yes"], ["regions", "own", "--remove=x"]):
        assert main(["data", *words, f"--root={root}"]) == 2
        assert "another process is writing to it" in capsys.readouterr().err
    lock.drop()
    assert store.info("own", root).classes


def test_a_name_too_long_for_a_folder_is_one_line(root):
    """Catches an OSError for a generator's config.yaml that names such a set."""
    with pytest.raises(UserError, match="has 300 letters"):
        store.info("x" * 300, root)
