"""The wall: ways past the ledger of a test set, each refused or written down, and what a tampered
ledger looks like.
"""

import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_samples import picture, write_png

from semiseg.cli.main import main
from semiseg.data import array_records, embedded, importing, ledger, readers, store
from semiseg.errors import UserError

SPLITS = (("train", range(6)), ("val", range(6, 8)), ("test", range(8, 12)))


@pytest.fixture
def source(tmp_path):
    """A folder of twelve pictures; p8 to p11 are test."""
    return write_source(
        tmp_path / "source",
        SPLITS,
    )


def write_source(folder: Path, splits) -> Path:
    """Pictures with labels in folders by split."""
    for split, numbers in splits:
        for i in numbers:
            image, label = picture(i)
            write_png(folder / split / "images" / f"p{i}.png", image)
            write_png(folder / split / "labels" / f"p{i}.png", label)
    return folder


@pytest.fixture
def stores(tmp_path, source):
    """Stores with the set ``own``, whose test split was read twice."""
    root = tmp_path / "stores"
    bring(
        source,
        "own",
        root,
    )
    for run in ("runs/a", "runs/b"):
        store.read_test(
            "own",
            root,
            reason="evaluate",
            run=run,
        )
    return root


def bring(source, name, root, **options):
    """Import a set; returns what the import says."""
    messages = []
    importing.import_set(
        "folder", source, name, root, progress=False, say=messages.append, **options
    )
    return messages


# ------------------------------------------------------------------ readers of the library
@pytest.mark.parametrize("split", ["test", "train+test", "test[:1]", "all"])
def test_no_public_reader_gives_test_cases(split, stores):
    """Catches a reader of the library that opens the test records and leaves no line."""
    before = store.ledger("own", stores)
    with pytest.raises(UserError, match="read_test of semiseg.data.store"):
        array_records.read(stores / "own", split)
    with pytest.raises(UserError, match="read_test of semiseg.data.store"):
        embedded.read(split)
    assert store.ledger("own", stores) == before


def test_a_token_opens_one_place_once(stores):
    """Catches a token that is kept and used for a second look, or for another set."""
    from semiseg.data import wall
    from semiseg.data.test_images import check_split

    info = store.info("own", stores)
    token = wall.record_evaluation(info, "runs/c", "evaluate")
    assert len(array_records.read(info.folder, "test", token)) == 4
    with pytest.raises(UserError, match="read_test"):
        array_records.read(info.folder, "test", token)
    other = wall.record_evaluation(info, "runs/d", "evaluate")
    with pytest.raises(UserError, match="read_test"):
        check_split("test", stores / "another", other)


# ------------------------------------------------------------------ other roots, copies, imports
def test_another_root_counts_on(stores, tmp_path):
    """Catches a fresh count in another --root, for an imported set and the embedded one."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(stores / "own", elsewhere / "own")
    (elsewhere / "own" / "ledger.jsonl").unlink()
    assert store.history("own", elsewhere).evaluations == 2
    store.read_test(
        "nuclei",
        stores,
        reason="evaluate",
        run="r",
    )
    assert store.history("nuclei", elsewhere).evaluations == 1


def test_a_copy_of_the_folder_counts_on(stores):
    """Catches a copy of a set in which test is read unseen by the original."""
    shutil.copytree(stores / "own", stores / "copy")
    store.read_test(
        "copy",
        stores,
        reason="evaluate",
        run="runs/c",
    )
    assert store.history("own", stores).evaluations == 3
    assert store.history("copy", stores).evaluations == 3
    assert store.history("own", stores).problems == ()


def test_an_import_under_another_name_counts_on(stores, source, tmp_path):
    """Catches a second import that washes the test set clean."""
    messages = bring(
        source,
        "other",
        tmp_path / "elsewhere",
    )
    assert store.history("other", tmp_path / "elsewhere").evaluations == 2
    assert any("4 are in test" in message for message in messages)
    (line,) = store.ledger("other", tmp_path / "elsewhere")
    assert line["event"] == "import"
    assert line["before"]["subjects"] == line["after"]["subjects"] == ["p10", "p11", "p8", "p9"]


def test_moved_splits_are_written_down(stores, tmp_path):
    """Catches an --overwrite that turns test images into training images without a word."""
    moved = write_source(
        tmp_path / "moved", (("train", range(4, 10)), ("val", range(2)), ("test", (2, 3, 10, 11)))
    )
    with pytest.raises(UserError, match="--resplit"):
        bring(moved, "own", stores, overwrite=True)
    messages = bring(moved, "own", stores, overwrite=True, resplit=True)
    line = store.ledger("own", stores)[-1]
    assert line["event"] == "import"
    assert line["before"]["subjects"] == ["p10", "p11", "p8", "p9"]
    assert line["after"]["subjects"] == ["p10", "p11", "p2", "p3"]
    assert line["now"] == {"train": 2, "val": 0, "test": 2}
    assert any("2 are in train" in message for message in messages)
    history = store.history("own", stores)
    assert (history.evaluations, history.related) == (0, 2)
    assert history.problems == ()


def test_test_images_as_validation_are_written_down(stores, tmp_path):
    """Catches a set whose validation split is another set's test split: --split val looks at it."""
    swapped = write_source(tmp_path / "swapped", (("train", range(6)), ("val", range(8, 12))))
    messages = bring(
        swapped,
        "free",
        tmp_path / "elsewhere",
    )
    (line,) = store.ledger("free", tmp_path / "elsewhere")
    assert line["now"] == {"train": 0, "val": 4, "test": 0}
    assert any("4 are in val" in message for message in messages)
    entries = ledger.merged(ledger.user_folder().glob("[0-9a-f]*.jsonl"))
    assert [entry["event"] for entry in entries] == ["evaluate", "evaluate", "import"]


def test_a_set_that_is_removed_and_imported_again_counts_on(stores, source):
    """Catches a ledger that is thrown away with its set."""
    shutil.rmtree(stores / "own")
    bring(
        source,
        "own",
        stores,
    )
    history = store.history("own", stores)
    assert history.evaluations == 2
    assert "lacks 2 lines" in history.problems[0]


def test_an_import_of_new_images_writes_nothing(tmp_path, source):
    """Catches a line where there is nothing to say."""
    assert not [line for line in bring(source, "own", tmp_path / "new") if "ledger" in line]
    assert store.ledger("own", tmp_path / "new") == []
    assert store.history("own", tmp_path / "new") == (0, 0, 0, ())


# ------------------------------------------------------------------ predictions
def test_prediction_of_test_images_is_written_down(stores, source, tiny, tmp_path, capsys):
    """Catches a look at test through `semiseg predict` on the files that the set was made of."""
    import dataclasses

    import semiseg

    trial = dataclasses.replace(
        tiny,
        data="own",
        root=str(stores),
        labels=2,
        steps=2,
    )
    run = tmp_path / "run"
    semiseg.run(
        trial,
        run,
        progress=False,
    )
    assert store.history("own", stores).predictions == 0

    def predict(split):
        images = source / split / "images"
        argv = ["predict", str(run), f"--input={images}", f"--output={tmp_path / split}"]
        assert main(argv) == 0

    predict("val")
    assert store.history("own", stores).predictions == 0
    predict("test")
    line = store.ledger("own", stores)[-1]
    assert (line["event"], line["n"], line["run"]) == ("predict", 4, str(run))
    assert "4 of the images are test images" in capsys.readouterr().err
    predictor = semiseg.Predictor.load(run)
    for i in (8, 9):
        predictor.predict(picture(i)[0][..., None])
    assert store.history("own", stores).predictions == 2
    as_read_by_matplotlib = picture(8)[0][..., None] / np.float32(255)
    semiseg.Predictor.load(run).predict(as_read_by_matplotlib)
    assert store.history("own", stores).predictions == 3
    assert store.ledger("own", stores)[-1]["n"] == 1
    assert store.history("own", stores).evaluations == 2
    assert store.history("own", stores).problems == ()


def test_slices_of_a_scan_in_hounsfield_units_are_known(tmp_path):
    """Catches volumes whose numbers an import stores as float32, and slices cut another way."""
    import nibabel

    from semiseg.data.guard import Guard
    from semiseg.data.input_scan import read_scan
    from semiseg.data.test_images import image_hash

    rng = np.random.default_rng(0)
    source = tmp_path / "scans"
    for i in range(6):
        split = ("train", "train", "train", "val", "test", "test")[i]
        scan = rng.integers(-1000, 1000, (12, 5, 10), np.int16)
        for kind, voxels in (("images", scan), ("labels", (scan > 0).astype(np.uint8))):
            (source / split / kind).mkdir(parents=True, exist_ok=True)
            image = nibabel.Nifti1Image(voxels, np.diag([1.0, 3.0, 1.0, 1.0]))
            nibabel.save(image, source / split / kind / f"s{i}.nii.gz")
    bring(
        source,
        "scans",
        tmp_path / "stores",
    )
    scan = read_scan(source / "test" / "images" / "s4.nii.gz", "grey")
    guard = Guard("r", "scans", str(tmp_path / "stores"))
    (message,) = guard.look(scan.slices, "semiseg predict")
    assert message.startswith("the scan is of the test images (5 slices) of ")
    (line,) = store.ledger("scans", tmp_path / "stores")
    assert (line["event"], line["n"]) == ("predict", 5)
    both = Guard("r", "scans", str(tmp_path / "stores"))
    hashes = [image_hash(image) for image in scan.slices]
    (message,) = both.look_at_hashes([hashes, ["0"]], "semiseg predict")
    assert message.startswith("1 of 2 scans is of the test images (5 slices) of ")
    messages = bring(source, "copy", tmp_path / "stores")
    assert any("10 test images (pictures or slices of 2 subjects)" in line for line in messages)


# ------------------------------------------------------------------ tampering
def tamper(path: Path, change) -> None:
    """Rewrite a ledger's lines."""
    lines = change(path.read_text().splitlines())
    path.write_text("".join(f"{line}\n" for line in lines))


TAMPERED = {
    "changed": (
        lambda lines: [lines[0].replace("s/a", "s/z"), *lines[1:]],
        "does not follow",
    ),
    "removed": (
        lambda lines: lines[1:],
        "does not follow",
    ),
    "shortened": (
        lambda lines: lines[:-1],
        "lacks 1 line",
    ),
    "emptied": (
        lambda lines: [],
        "lacks 2 lines",
    ),
    "reordered": (
        lambda lines: lines[::-1],
        "does not follow",
    ),
    "unchained": (
        lambda lines: [*lines, '{"run": "x"}'],
        "holds no hash",
    ),
    "damaged": (
        lambda lines: [lines[0][:20], *lines[1:]],
        "line 1 cannot be read",
    ),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_tampered_ledger_is_noticed(kind, stores, capsys):
    """Catches a ledger that is edited by hand, and one that is noticed and not recorded."""
    change, message = TAMPERED[kind]
    path = stores / "own" / "ledger.jsonl"
    tamper(
        path,
        change,
    )
    history = store.history("own", stores)
    assert message in history.problems[0]
    assert history.evaluations >= 2  # the other ledgers still hold them
    assert "not whole" in history.message
    assert main(["data", "check", "own", "--root", str(stores)]) == 1
    assert message in capsys.readouterr().out
    store.read_test(
        "own",
        stores,
        reason="evaluate",
        run="runs/c",
    )
    noticed = store.ledger("own", stores)[-1]["noticed"]
    assert message in noticed[0]
    store.read_test(
        "own",
        stores,
        reason="evaluate",
        run="runs/d",
    )
    assert "noticed" not in store.ledger("own", stores)[-1]
    assert store.history("own", stores).problems


def test_a_shared_ledger_that_is_cut_short_is_noticed(stores):
    """Catches the user's ledger edited, with the set's own left alone."""
    (path,) = ledger.user_folder().glob("[0-9a-f]*.jsonl")
    tamper(
        path,
        lambda lines: lines[:1],
    )
    (problem,) = store.history("own", stores).problems
    assert problem.startswith(str(path))
    assert store.history("own", stores).evaluations == 2


@pytest.mark.parametrize("change", ["emptied", "deleted", "forged"])
@pytest.mark.parametrize("where", ["set", "stores", "user"])
def test_each_of_the_three_ledgers_is_missed(where, change, stores, capsys):
    """Catches one ledger that is emptied, deleted or written anew with a whole chain."""
    shared = {"stores": stores / ".ledgers", "user": ledger.user_folder()}
    path = stores / "own" / "ledger.jsonl"
    if where in shared:
        (path,) = shared[where].glob("[0-9a-f]*.jsonl")
    message = f"{path}: lacks 2 lines"
    if change == "emptied":
        path.write_text("")
    elif change == "deleted":
        path.unlink()
    else:
        forge(path)
        message = "differs in 2 lines from"
    assert main(["data", "check", "own", "--root", str(stores)]) == 1
    output = capsys.readouterr().out
    assert message in output
    assert str(path) in output
    assert "restore it from a backup" in output


def forge(path: Path) -> None:
    """Make predictions of evaluations, with the hashes of a whole chain."""
    lines = []
    for entry in ledger.read(path):
        previous = ledger.digest(lines[-1]) if lines else ""
        lines.append(json.dumps({**entry, "event": "predict", "previous": previous}))
    path.write_text("".join(f"{line}\n" for line in lines))
    assert ledger.chain_problems(lines) == []


def test_what_a_killed_import_wrote_twice_is_no_contradiction(stores, source):
    """Catches an alarm because an import that went on wrote a line at another time."""
    messages = bring(source, "other", stores)
    assert messages
    path = stores / "other" / "ledger.jsonl"
    (entry,) = ledger.read(path)
    path.write_text(json.dumps({**entry, "time": "2026-01-01T00:00:00+00:00"}) + "\n")
    assert store.history("other", stores).problems == ()
    path.write_text(json.dumps({**entry, "now": {}}) + "\n")
    (problem,) = store.history("other", stores).problems[:1]
    assert "differs in 1 line from" in problem


def test_a_whole_ledger_is_called_whole(stores, capsys):
    """Catches an alarm where nothing is wrong."""
    message = "The ledger of the test set counts 2 test evaluations; its chain is whole."
    assert store.history("own", stores).message == message
    assert main(["data", "check", "own", "--root", str(stores)]) == 0


def test_another_machine_is_no_alarm(stores, monkeypatch, tmp_path):
    """Catches an alarm because the user's folder is not there, as in a new container, or is there
    under the same path on another computer.
    """
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "machine", lambda: "another")
        (path,) = ledger.user_folder().glob("[0-9a-f]*.jsonl")
        content = path.read_bytes()
        path.unlink()
        assert store.history("own", stores).problems == ()
        path.write_bytes(content)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another home"))
    assert store.history("own", stores).problems == ()
    store.read_test(
        "own",
        stores,
        reason="evaluate",
        run="runs/c",
    )
    (path,) = ledger.user_folder().glob("[0-9a-f]*.jsonl")
    assert [entry["run"] for entry in ledger.read(path)] == ["runs/a", "runs/b", "runs/c"]
    assert store.history("own", stores) == (3, 0, 0, ())


def test_an_old_ledger_stays_valid(stores):
    """Catches a chain that calls lines of earlier versions damaged, and one that lets them be
    changed later on.
    """
    path = stores / "own" / "ledger.jsonl"
    shutil.rmtree(stores / ".ledgers")
    shutil.rmtree(ledger.user_folder())
    old = {"time": "2026-01-01T00:00:00+00:00", "reason": "evaluate", "semiseg": "0.1", "n": 4}
    path.write_text("".join(json.dumps({**old, "run": run}) + "\n" for run in "xyz"))
    (stores / "own" / "test_images.json").unlink()
    assert store.history("own", stores) == (3, 0, 0, ())
    store.read_test(
        "own",
        stores,
        reason="evaluate",
        run="runs/c",
    )
    assert store.history("own", stores) == (4, 0, 0, ())
    shared = ledger.merged(ledger.user_folder().glob("[0-9a-f]*.jsonl"))
    assert [entry["run"] for entry in shared] == ["x", "y", "z", "runs/c"]
    tamper(
        path,
        lambda lines: lines[1:],
    )
    assert "lines 1 to 2 were changed" in store.history("own", stores).problems[0]


def test_a_list_of_test_images_that_is_changed_is_refused(stores):
    """Catches an evaluation under the name of another test set."""
    from semiseg.data import test_images

    path = stores / "own" / "test_images.json"
    images = test_images.read(path)
    records = json.loads(path.read_text())["records"]
    test_images.write(path, test_images.TestImages({"00": "p8"}, 1), records)
    with pytest.raises(UserError, match="does not list the images"):
        store.read_test(
            "own",
            stores,
            reason="evaluate",
            run="runs/c",
        )
    path.unlink()
    assert len(store.read_test("own", stores, reason="evaluate", run="runs/d")) == images.n


# ------------------------------------------------------------------ many at once
def _read(stores: str, run: str) -> None:
    store.read_test(
        "own",
        stores,
        reason="evaluate",
        run=run,
    )


@pytest.mark.slow
def test_workers_of_a_sweep_leave_a_line_each(stores):
    """Catches lines lost or chains broken by workers that evaluate at the same time."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_read, args=(str(stores), f"run{i}")) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert store.history("own", stores) == (6, 0, 0, ())


def test_a_ledger_that_cannot_be_written_stops_a_run_before_it_trains(stores, tiny, monkeypatch):
    """Catches hours of training that end at a ledger nobody can write."""
    import dataclasses

    import semiseg

    (stores / "file").write_text("where the user's folder should be")
    monkeypatch.setenv("XDG_STATE_HOME", str(stores / "file"))
    trial = dataclasses.replace(
        tiny,
        data="own",
        root=str(stores),
        labels=2,
        steps=2,
    )
    with pytest.raises(UserError, match="cannot be written, so test is not read"):
        semiseg.run(
            trial,
            progress=False,
            test=True,
        )


def test_source_files_of_test_are_no_test_evaluation(source):
    """The reader of source files is for imports: their pixels lie open on the user's disk."""
    refs = readers.read("folder", source, progress=False).splits["test"]
    assert np.array_equal(refs[0].load().image[..., 0], picture(10)[0])
