"""A stored set whose description or tables were changed after its import, plausibly: each field of
``semiseg.json``, ``splits.csv``, ``test_images.json`` and the seal itself.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from data_samples import picture, write_png

from semiseg.cli.main import main
from semiseg.data import array_records, importing, seal, set_digest, store, test_images
from semiseg.data.info import StoreInfo
from semiseg.files import file_hash

HASH = "0" * 64


def with_another_count(facts):
    """One subject more in val."""
    counts = facts["counts"]
    val = {**counts["val"], "subjects": 3}
    return {**counts, "val": val}


CHANGES = {
    "classes": lambda facts: facts["classes"][::-1],
    "unit": lambda facts: "mm",
    "channels": lambda facts: facts["channels"] + 2,
    "channel_names": lambda facts: ["T1"],
    "regions": lambda facts: {"whole": facts["classes"][1:]},
    "dtype": lambda facts: "float32",
    "license": lambda facts: "CC0",
    "citation": lambda facts: "Somebody else (2020)",
    "official_order": lambda facts: ["p1", "p0"],
    "counts": with_another_count,
    "fingerprint": lambda facts: HASH,
    "files": lambda facts: dict.fromkeys(facts["files"], HASH),
    "format": lambda facts: "acdc",
    "source": lambda facts: "/data/elsewhere",
    "allowed": lambda facts: {"near_duplicates": 4},
    "folds": lambda facts: [["p0"], ["p1"]],
    "pseudonyms": lambda facts: "5f",
    "layout": lambda facts: 1,
}
"""Field of semiseg.json → what somebody may write there. No field is harmless."""


SEALED = "is not what was imported"


@pytest.fixture
def stores(tmp_path):
    """Stores with the set ``own``: pictures of three classes, p8 and p9 in test."""
    source = tmp_path / "source"
    splits = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    for i, split in enumerate(splits):
        image, label = picture(i)
        label[:2, :2] = 2
        folder = source / split
        write_png(folder / "images" / f"p{i}.png", image)
        write_png(folder / "labels" / f"p{i}.png", label)
    importing.import_set(
        "folder",
        source,
        "own",
        tmp_path / "stores",
        progress=False,
    )
    return tmp_path / "stores"


def check(stores, capsys, name="own"):
    """Exit code of `semiseg data check`, with all that it says."""
    capsys.readouterr()
    command = ["data", "check", name]
    code = main([*command, "--root", str(stores)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def change(path, key, value):
    """Write another value into a JSON file."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, key: value}, indent=1))


def add_region(stores):
    """Exit code of `semiseg data regions`."""
    command = ["data", "regions", "own"]
    command += ["--root", str(stores)]
    return main([*command, "--region", "whole=1,2"])


def description(stores):
    """What semiseg.json says."""
    path = stores / "own" / "semiseg.json"
    return json.loads(path.read_text())


def describe(stores, field, value):
    """Write another value into semiseg.json."""
    path = stores / "own" / "semiseg.json"
    change(path, field, value)


def reseal(stores):
    """What somebody does who knows of the seal in the set, and not of the ledgers."""
    seal.write(stores / "own")


def test_every_field_is_tampered_with():
    """Catches a field of semiseg.json that a change adds and nobody guards."""
    fields = {field.name for field in dataclasses.fields(StoreInfo)}
    elsewhere = {"name", "root"}
    assert set(CHANGES) == fields - elsewhere | {"layout"}


def test_a_set_as_imported_has_no_problem(stores, capsys):
    """Catches an alarm where nothing was changed, also after regions were."""
    assert check(stores, capsys)[0] == 0
    assert add_region(stores) == 0
    assert check(stores, capsys)[0] == 0
    shutil.copytree(stores / "own", stores / "copy")
    assert check(stores, capsys, "copy")[0] == 0


@pytest.mark.parametrize("resealed", [False, True])
@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_field_is_named(field, resealed, stores, capsys):
    """Catches a description that was changed, with or without its seal."""
    path = stores / "own" / "semiseg.json"
    facts = description(stores)
    value = CHANGES[field](facts)
    assert facts.get(field) != value
    describe(stores, field, value)
    if resealed:
        reseal(stores)
    code, output = check(stores, capsys)
    assert code in (1, 2)
    if field == "layout":
        assert "import it again" in output
        return
    if field != "files" or not resealed:
        assert f"{path}: {field} {SEALED}" in output
    assert "again with --overwrite" in output


COUNTS = ["images", "subjects", "annotated"]
COUNTED = [("test", what) for what in COUNTS]
for name in ("train", "val"):
    COUNTED += [(name, what) for what in ("records", "volumes", *COUNTS)]


@pytest.mark.parametrize(
    ("split", "what"),
    COUNTED,
)
def test_counts_are_counted_again(split, what, stores, capsys):
    """Catches numbers of a set that were changed where no seal says so. Records and volumes of
    test are not read, and what the import wrote of test counts neither.
    """
    facts = description(stores)
    facts["counts"][split][what] += 1
    describe(stores, "counts", facts["counts"])
    unsealed(stores)
    code, output = check(stores, capsys)
    assert code == 1
    assert f"counts.{split}.{what} is " in output
    assert str(stores / "own" / "semiseg.json") in output


def unsealed(stores):
    """Make the set one of an earlier version."""
    (stores / "own" / "seal.json").unlink()
    for path in seal.ledgers(stores):
        path.unlink()


def test_a_set_of_an_earlier_version_works_and_says_so(stores, capsys):
    """Catches a check that refuses sets without a seal, or says nothing of them."""
    unsealed(stores)
    code, output = check(stores, capsys)
    assert code == 0
    assert "before data sets were sealed" in output
    assert add_region(stores) == 0
    assert not (stores / "own" / "seal.json").exists()
    assert check(stores, capsys)[0] == 0


def test_a_seal_that_is_taken_away_is_missed(stores, capsys):
    """Catches a set that passes for one of an earlier version."""
    (stores / "own" / "seal.json").unlink()
    describe(stores, "license", "CC0")
    code, output = check(stores, capsys)
    assert code == 1
    assert "seal.json: is missing" in output
    assert f"license {SEALED}" in output


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"fields": 3}',
        '{"fields": {"unit": 4}}',
    ],
)
def test_a_damaged_seal_is_one_line(text, stores, capsys):
    """Catches a traceback of a seal that is no seal."""
    (stores / "own" / "seal.json").write_text(text)
    code, output = check(stores, capsys)
    assert code == 1
    assert str(stores / "own" / "seal.json") in output


@pytest.mark.parametrize("where", ["stores", "user"])
@pytest.mark.parametrize("text", ["", "{}\n"])
def test_a_ledger_of_seals_that_is_rewritten_is_noticed(text, where, stores, capsys):
    """Catches one of the two ledgers of seals emptied or replaced."""
    path = seal.ledgers(stores)[("stores", "user").index(where)]
    path.write_text(text)
    code, output = check(stores, capsys)
    assert code == 1
    assert f"{path}: lacks 1 line" in output


@pytest.mark.parametrize("left", [{}, {"fields": {}}, {"files": {}}, [], "seal"])
def test_a_line_of_the_ledger_without_a_whole_seal_is_one_line(left, stores, capsys):
    """Catches a traceback of a line that lost a part of its seal."""
    path = seal.ledgers(stores)[0]
    line = json.loads(path.read_text())
    path.write_text(json.dumps({**line, "seal": left}) + "\n")
    code, output = check(stores, capsys)
    assert code == 1
    assert str(path) in output


def test_records_that_link_to_a_device_are_damaged(stores, capsys):
    """Catches a hash of something that never ends."""
    (record,) = (stores / "own" / "records").rglob("records-val.*")
    record.unlink()
    record.symlink_to("/dev/zero")
    code, output = check(stores, capsys)
    assert code == 1
    assert record.name in output


def test_regions_do_not_seal_what_was_changed_before(stores, capsys):
    """Catches `data regions` making a changed licence the sealed one."""
    describe(stores, "license", "CC0")
    assert add_region(stores) == 0
    code, output = check(stores, capsys)
    assert code == 1
    assert f"license {SEALED}" in output
    assert f"regions {SEALED}" not in output


@pytest.mark.parametrize("resealed", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("p0,train,yes", "p0,val,yes"),
        ("p0,train,yes", "p0,train,no"),
        ("p0,train,yes", "p77,train,yes"),
        ("drawn", "stated"),
    ],
)
def test_a_changed_table_of_splits_is_named(old, new, resealed, stores, capsys):
    """Catches a subject that was moved, renamed or called annotated, with or without the seal."""
    path = stores / "own" / "splits.csv"
    text = path.read_text()
    if old == "drawn":
        text += "p99,train,yes,added\n"
    else:
        assert old in text
    path.write_text(text.replace(old, new))
    if resealed:
        reseal(stores)
    code, output = check(stores, capsys)
    assert code == 1
    assert str(path) in output


@pytest.mark.parametrize(
    "key",
    [
        "fingerprint",
        "n",
        "records",
        "sets",
        "subjects",
    ],
)
def test_a_changed_list_of_test_images_is_named(key, stores, capsys):
    """Catches test images that are not those of the import. ``sets`` is harmless: the set's own
    folder stands for it wherever the list is read.
    """
    path = stores / "own" / "test_images.json"
    content = json.loads(path.read_text())
    subjects = content["subjects"]
    values = {
        "fingerprint": HASH,
        "n": content["n"] - 1,
        "records": dict.fromkeys(content["records"], HASH),
        "sets": ["/elsewhere"],
        "subjects": dict(list(subjects.items())[1:]),
    }
    change(path, key, values[key])
    code, output = check(stores, capsys)
    if key == "sets":
        assert code == 0
        return
    assert code == 1
    assert f"{path}: does not list the test images" in output
    assert check(stores, capsys)[0] == 0  # it is written anew


def test_another_list_of_test_images_is_named(stores, capsys):
    """Catches a list of other images with the fingerprint of these."""
    path = stores / "own" / "test_images.json"
    content = json.loads(path.read_text())
    images = test_images.TestImages({"5f": "p8"}, 2)
    test_images.write(path, images, content["records"])
    code, output = check(stores, capsys)
    assert code == 1
    assert f"{path}: does not list the test images" in output


def test_a_class_that_nobody_annotated_is_noted(stores, capsys):
    """Catches a class that was added to a set of an earlier version."""
    classes = description(stores)["classes"]
    describe(stores, "classes", [*classes, "tumour"])
    unsealed(stores)
    code, output = check(stores, capsys)
    assert code == 0
    assert "no annotation of train and val shows tumour" in output


# ------------------------------------------------------------------ the data themselves
def another_pixel(case):
    """One grey level of one pixel."""
    image = case.image.copy()
    image[(0,) * image.ndim] ^= 1
    return dataclasses.replace(case, image=image)


def another_label(case):
    """One pixel of another class."""
    label = case.label.copy()
    label[0, 0] = 1 - label[0, 0] % 2
    return dataclasses.replace(case, label=label)


def another_spacing(case):
    """Pixels of another size."""
    return dataclasses.replace(case, spacing=tuple(2 * side for side in case.spacing))


RECORDS = {"pixel": another_pixel, "label": another_label, "spacing": another_spacing}


def rewrite(stores, split, changed):
    """Write the records of the set with another first case of a split, state their hashes, and seal
    the set anew: what somebody does who knows all of that.
    """
    place = stores / "own"
    known = store.info("own", stores)
    cases = {name: store.read_split("own", name, stores) for name in ("train", "val")}
    cases["test"] = list(array_records.read(place, "test", test_images.Token(place)))
    cases[split][0] = changed(cases[split][0])
    shutil.rmtree(array_records.folder(place))
    array_records.write(place, cases)
    hashes = {name: file_hash(array_records.folder(place) / name) for name in known.files}
    describe(stores, "files", hashes)
    of_test = {name: hashes[name] for name in hashes if name.startswith("records-test.")}
    change(place / "test_images.json", "records", of_test)
    reseal(stores)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("what", RECORDS)
def test_a_changed_record_is_noticed_whatever_its_hashes_say(what, split, stores, capsys):
    """Catches a pixel, a label or a spacing that was changed together with the hashes of the
    records and the seal: nothing but the fingerprint tells.
    """
    rewrite(stores, split, RECORDS[what])
    code, output = check(stores, capsys)
    assert code == 1
    assert f"{stores / 'own' / 'semiseg.json'}: fingerprint is " in output
    assert "the records that were imported here on" in output
    assert store.history("own", stores).evaluations == 0


@pytest.mark.parametrize("known", [True, False])
def test_the_fingerprint_of_known_records_is_not_made_again(known, stores, capsys, monkeypatch):
    """Catches a check of a fifth more time where a ledger has the answer, and one that trusts a set
    which no ledger knows.
    """
    computed = []
    add = set_digest.SetDigest.add
    monkeypatch.setattr(
        set_digest.SetDigest,
        "add",
        lambda digest, split, case: computed.append(split) or add(digest, split, case),
    )
    if not known:
        unsealed(stores)
    assert check(stores, capsys)[0] == 0
    assert computed == ([] if known else ["train"] * 6 + ["val"] * 2 + ["test"] * 2)


def test_a_record_that_declares_too_much_is_one_line(stores, capsys, monkeypatch):
    """Catches gigabytes of zeros for a received record of kilobytes, and a traceback of zlib."""
    encode = array_records._encode
    shape = np.array([1 << 15, 1 << 15, 1])
    monkeypatch.setattr(array_records, "_encode", lambda case: encode(case) | {"shape": shape})
    rewrite(stores, "train", another_pixel)
    code, output = check(stores, capsys)
    assert code == 2
    assert "record 1 of train is damaged (declares 1,073,741,824 bytes" in output
