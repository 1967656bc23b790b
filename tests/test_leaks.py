"""Paths on which a test subject, or a label outside the budget, could reach a run unnoticed: each
is refused, or counted.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import semiseg
from semiseg.cli.main import main
from semiseg.data import check, importing, provenance, store, subject_names
from semiseg.data.fingerprints import FILE, _hashes, hashes_of, pixel_hash
from semiseg.errors import UserError
from semiseg.generators import teacher
from semiseg.generators.settings import Settings
from semiseg.pretrain import Weights
from semiseg.train.checkpoint import load_weights, save_weights


def disc(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A noisy picture of a bright disc ``(40, 40)``, and its mask."""
    rows, columns = np.mgrid[:40, :40]
    centre = rng.integers(12, 28, 2)
    label = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < rng.integers(30, 90)
    image = np.clip(60 + 110 * label + rng.normal(0, 12, label.shape), 0, 255)
    return image.astype(np.uint8), label.astype(np.uint8)


def write_pair(folder, name: str, image: np.ndarray, label: np.ndarray) -> None:
    for part, pixels in (("images", image), ("labels", label)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / part / f"{name}.png")


def import_discs(folder, root, name: str, **options):
    return importing.import_set("folder", folder, name, root, progress=False, **options)


@pytest.fixture
def patients(tmp_path):
    """Ten patients of three slices each, as PNG files without a table."""
    rng = np.random.default_rng(0)
    for patient in range(10):
        for i in range(3):
            write_pair(
                tmp_path / "patients",
                f"p{patient:02}_s{i:02}",
                *disc(rng),
            )
    return tmp_path / "patients"


@pytest.fixture
def singles(tmp_path):
    """Twelve pictures of one level of numbering."""
    rng = np.random.default_rng(1)
    for i in range(12):
        write_pair(
            tmp_path / "singles",
            f"img{i}",
            *disc(rng),
        )
    return tmp_path / "singles"


# ------------------------------------------------------------------ the folder without a table
def test_slices_of_one_patient_are_asked_about(patients, tmp_path, monkeypatch):
    """Catches slices that each become a subject, so that a patient trains and is tested."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="share beginnings") as error:
        import_discs(patients, tmp_path / "root", "patients")
    assert "--subjects-are-images" in str(error.value)
    (tmp_path / "patients.subjects.proposed.csv").rename(patients / "subjects.csv")
    info = import_discs(patients, tmp_path / "root", "patients")
    assert sum(count["subjects"] for count in info.counts.values()) == 10
    table = hashes_of(info)
    places = set(zip(table.subjects, table.splits, strict=True))
    assert len(places) == 10


def test_a_source_is_only_read(patients, tmp_path, monkeypatch):
    """Catches a table that is written among the user's scans, and edits that are written over."""
    monkeypatch.chdir(tmp_path)
    before = sorted(patients.rglob("*"))
    for _ in range(2):
        (problem,) = check.check_source("folder", patients, progress=False)
        assert sorted(patients.rglob("*")) == before
        table = tmp_path / "patients.subjects.proposed.csv"
        assert f"--subjects-file {table}" in problem
        edited = table.read_text().replace(",p0", ",patient 0")
        table.write_text(edited)
    assert table.read_text() == edited
    assert ",patient 00" in edited
    options = {"subjects_file": str(table), "allow_near_duplicates": True}
    info = import_discs(patients, tmp_path / "root", "patients", **options)
    assert sum(count["subjects"] for count in info.counts.values()) == 10


def test_folders_of_one_name_have_tables_of_their_own(patients, tmp_path, monkeypatch):
    """Catches another set's table that is offered, or written over."""
    monkeypatch.chdir(tmp_path)
    for part in ("images", "labels"):
        (tmp_path / "b" / "patients" / part).mkdir(parents=True)
        for path in sorted((patients / part).iterdir())[:12]:
            shutil.copy(path, tmp_path / "b" / "patients" / part)
    for folder, table in (
        (patients, "patients.subjects.proposed.csv"),
        (tmp_path / "b" / "patients", "patients_2.subjects.proposed.csv"),
        (patients, "patients.subjects.proposed.csv"),
    ):
        (problem,) = check.check_source("folder", folder, progress=False)
        assert f"--subjects-file {tmp_path / table}," in problem
        names = {path.stem for path in (folder / "images").iterdir()}
        rows = (tmp_path / table).read_text().splitlines()[1:]
        assert {row.split(",")[0] for row in rows} == names


def test_without_a_place_for_the_table_the_user_writes_it(patients, tmp_path):
    """Catches a traceback in a working folder that may not be written to."""
    line = subject_names.question(patients, {"p1_a": "p1", "p1_b": "p1"}, tmp_path / "absent")
    assert f"say who is in each image with {patients / 'subjects.csv'}" in line


def test_images_may_be_subjects_if_the_user_says_so(patients, tmp_path, monkeypatch):
    """Catches a question without a way out, and an answer that is not recorded."""
    monkeypatch.chdir(tmp_path)
    folder = ["--format", "folder", "--source", str(patients)]
    assert main(["data", "check", *folder]) == 1
    assert main(["data", "check", *folder, "--subjects-are-images"]) == 0
    root = ["--name", "p", "--root", str(tmp_path / "root")]
    assert main(["data", "import", *folder, *root, "--subjects-are-images"]) == 0
    info = store.info("p", tmp_path / "root")
    assert info.allowed == {"subjects_are_images": 30}
    assert sum(count["subjects"] for count in info.counts.values()) == 30


def test_running_numbers_go_on_as_before(singles, tmp_path, monkeypatch):
    """Catches a question about img1, img2, …, and a table written where nothing was asked."""
    monkeypatch.chdir(tmp_path)
    import_discs(singles, tmp_path / "root", "singles")
    assert not list(tmp_path.rglob("*.proposed.csv"))


# ------------------------------------------------------------------ copies
def split_folders(singles, folder):
    """``singles`` in folders of splits: img0 to img7 train, img8 and img9 val, the rest test."""
    for i in range(12):
        split = "train"
        if i >= 8:
            split = "val"
        if i >= 10:
            split = "test"
        for part in ("images", "labels"):
            (folder / split / part).mkdir(parents=True, exist_ok=True)
            shutil.copy(singles / part / f"img{i}.png", folder / split / part / f"img{i}.png")
    return folder


def pixels(folder, name: str) -> np.ndarray:
    return np.asarray(Image.open(folder / "images" / f"{name}.png"))


def test_an_image_in_two_splits_is_refused(singles, tmp_path):
    """Catches the same pixels under another name, saved as RGB, on both sides of a split."""
    folder = split_folders(singles, tmp_path / "split")
    grey = pixels(singles, "img3")
    Image.fromarray(np.stack([grey] * 3, -1)).save(folder / "test" / "images" / "img11.png")
    problems = check.check_source("folder", folder, progress=False, channels="grey")
    assert len(problems) == 1
    assert "img3.png: is the same image as one in test" in problems[0]
    assert "img11.png" in problems[0]
    with pytest.raises(UserError, match="is the same image as one in"):
        import_discs(folder, tmp_path / "root", "copies", channels="grey")


def brighter(image: np.ndarray) -> np.ndarray:
    return 1.3 * image + 10


def noisy(image: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    return image + rng.normal(0, 4, image.shape)


def doubled(image: np.ndarray) -> np.ndarray:
    return np.kron(image, np.ones((2, 2)))


COPIES = {
    "brighter": brighter,
    "noisy": noisy,
    "turned": np.rot90,
    "mirrored": np.fliplr,
    "larger": doubled,
}


@pytest.mark.parametrize("change", COPIES)
def test_a_look_alike_in_two_splits_is_asked_about(singles, tmp_path, change):
    """Catches a copy that was brightened, mirrored, turned or resized on the way to the other side;
    what the user allows is recorded and stays visible.
    """
    folder = split_folders(singles, tmp_path / "split")
    copy = COPIES[change](pixels(singles, "img3"))
    size = copy.shape
    image = np.clip(copy, 0, 255).astype(np.uint8)
    write_pair(
        folder / "test",
        "img11",
        image,
        np.ones(size, np.uint8),
    )
    with pytest.raises(UserError, match=r"looks like one in train \(.*img3"):
        import_discs(folder, tmp_path / "root", "alike")
    info = import_discs(folder, tmp_path / "root", "alike", allow_near_duplicates=True)
    assert info.allowed == {"near_duplicates": 1}
    notes: list[str] = []
    assert check.check_store("alike", tmp_path / "root", say=notes.append) == []
    assert [note for note in notes if "looks like one in train" in note]


def test_empty_images_are_no_copies(singles, tmp_path):
    """Catches black slices, which every volume ends with, taken for copies of each other."""
    folder = split_folders(singles, tmp_path / "split")
    for split in ("train", "test"):
        black = np.zeros((40, 40), np.uint8)
        write_pair(folder / split, f"{split}9", black, black)
    import_discs(folder, tmp_path / "root", "black")


def test_the_embedded_set_names_its_one_look_alike():
    """Catches fingerprints that do not fit the embedded set, and a second look-alike."""
    notes: list[str] = []
    assert check.check_store("nuclei", say=notes.append) == []
    assert len(notes) == 1
    assert "nuclei/test/cb4df20a83b2: looks like one in train" in notes[0]
    table = hashes_of(store.info("nuclei"))
    cases = store.read_split("nuclei", "train")
    assert table.hashes[table.of("train")].tolist() == [pixel_hash(case.image) for case in cases]


# ------------------------------------------------------------------ synthetic sets
@pytest.fixture
def own_root(root, tmp_path) -> str:
    """A copy of the stores, so that sets of one test do not meet those of another."""
    copy = tmp_path / "stores"
    shutil.copytree(root, copy)
    return str(copy)


@pytest.fixture
def short(tiny, own_root):
    """A trial of four labels and four steps in these stores."""
    return dataclasses.replace(
        tiny,
        root=own_root,
        steps=4,
    )


def summary_of(trial, **changes):
    """The summary of a run that is not recorded."""
    changed = dataclasses.replace(trial, **changes)
    return semiseg.run(changed, progress=False).summary


def record_run(folder, trial, **changes) -> Weights:
    """Initial weights: those of a run that is recorded in ``folder``."""
    changed = dataclasses.replace(trial, **changes)
    semiseg.run(changed, folder, progress=False)
    return Weights(str(folder))


def mix(trial, name: str):
    """The summary of a run that mixes in a set."""
    return summary_of(trial, synthetic=name, ratio=1.0)


def write_small_discs(folder, seed: int) -> None:
    """Four pairs of the size of the tiny set's."""
    rng = np.random.default_rng(seed)
    for i in range(4):
        image, label = disc(rng)
        write_pair(
            folder,
            f"syn{i}",
            image[:, :36],
            label[:, :36],
        )


def generate(folder, info, subjects) -> None:
    """Pairs that say that they were made from these subjects of a set."""
    write_small_discs(folder, 5)
    origin = provenance.of_training(info, subjects)
    provenance.write(folder / provenance.ORIGIN, origin)


def test_test_pairs_are_no_synthetic_set(short, tiny_folder):
    """Catches the test pairs themselves, imported under another name and mixed in."""
    import_discs(tiny_folder / "test", short.root, "innocent")
    message = r"'innocent': has seen \d test images of data set 'discs'"
    with pytest.raises(UserError, match=message):
        mix(short, "innocent")


def test_training_pairs_outside_the_budget_count_as_labelled(short, tiny_folder):
    """Catches labels of further training subjects that come in unpaid with a set of copies."""
    import_discs(tiny_folder / "train", short.root, "copies")
    summary = mix(short, "copies")
    assert summary["subjects_labelled"] > 4
    assert summary["provenance"] == "unknown"
    assert any("count as labelled" in note for note in summary["notes"])


def test_a_generators_subjects_count_as_labelled(short, tmp_path):
    """Catches a set fitted on all labels in a run of four."""
    info = store.info("discs", short.root)
    table = hashes_of(info)
    subjects = set(table.subjects[table.of("train")].tolist())
    generate(tmp_path / "made", info, subjects)
    import_discs(tmp_path / "made", short.root, "made")
    record_run(
        tmp_path / "run",
        short,
        synthetic="made",
        ratio=1.0,
    )
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["subjects_labelled"] == 8
    assert set(summary["labelled_subjects"]) == subjects
    assert summary["provenance"] == "recorded"
    _, header = load_weights(tmp_path / "run" / "weights.safetensors")
    recorded = provenance.of_header(header, "run")
    assert recorded.subjects_of(info.fingerprint) == subjects


def test_a_set_of_the_same_budget_costs_nothing(short, tmp_path):
    """Catches a budget that is counted twice, and a caution about a set whose origin is known."""
    budget = summary_of(short)["labelled_subjects"]
    info = store.info("discs", short.root)
    generate(tmp_path / "made", info, budget)
    import_discs(tmp_path / "made", short.root, "made")
    summary = mix(short, "made")
    assert summary["subjects_labelled"] == 4
    assert summary["notes"] == []


def test_a_foreign_set_is_used_with_a_caution(short, tmp_path):
    """Catches another program's images that are refused, or used in silence."""
    write_small_discs(tmp_path / "foreign", 6)
    import_discs(tmp_path / "foreign", short.root, "foreign")
    summary = mix(short, "foreign")
    assert summary["subjects_labelled"] == 4
    assert summary["provenance"] == "unknown"
    assert any("'foreign'" in note for note in summary["notes"])


# ------------------------------------------------------------------ initial weights and teachers
def test_weights_that_know_the_test_subjects_are_refused(short, tiny_folder, tmp_path):
    """Catches initial weights that were trained on this set's test subjects under another name."""
    swapped = tmp_path / "swapped"
    for split, source in (("train", "test"), ("val", "val"), ("test", "train")):
        shutil.copytree(tiny_folder / source, swapped / split)
    import_discs(swapped, short.root, "other-name")
    first = record_run(
        tmp_path / "first",
        short,
        data="other-name",
        labels=3,
    )
    with pytest.raises(UserError, match="has seen 3 test images of data set 'discs'"):
        summary_of(short, init=first)


def write_brightened(source, folder) -> None:
    """Pairs of a folder under other names, each image brighter."""
    for path in (source / "images").iterdir():
        image = np.clip(brighter(pixels(source, path.stem)), 0, 255).astype(np.uint8)
        label = np.asarray(Image.open(source / "labels" / path.name))
        write_pair(folder, f"{path.stem}new", image, label)


def test_brightened_test_images_are_said_to_be_alike(short, tiny_folder, tmp_path):
    """Catches weights and sets of test images that were brightened and imported under another name:
    no hash is the same, so a run that learnt from them was silent.
    """
    write_brightened(tiny_folder / "test", tmp_path / "bright" / "train")
    for path in (tiny_folder / "train").iterdir():
        shutil.copytree(path, tmp_path / "bright" / "val" / path.name)
    messages: list[str] = []
    import_discs(tmp_path / "bright", short.root, "bright", say=messages.append)
    told = "3 val or test images of discs look like training images here"
    assert [line for line in messages if line.startswith(told)]
    first = record_run(tmp_path / "first", short, data="bright", labels=3)
    expected = "3 test images of data set 'discs' look like training images of 'bright'"
    summary = summary_of(short, init=first)
    assert any(note.startswith(expected) for note in summary["notes"])
    assert summary["like_held_out"] == [{"set": "bright", "split": "test", "images": 3}]
    assert any(note.startswith(expected) for note in mix(short, "bright")["notes"])
    second = record_run(tmp_path / "second", short, init=first)
    assert any(note.startswith(expected) for note in summary_of(short, init=second)["notes"])


def test_the_same_images_in_another_set_are_no_look_alikes(short, tiny_folder):
    """Catches a second import of one folder that is said to resemble the first."""
    messages: list[str] = []
    info = import_discs(tiny_folder, short.root, "renamed", say=messages.append)
    assert not [line for line in messages if "look like" in line]
    assert not (info.folder / "resembles.json").exists()


def test_weights_of_another_name_pay_for_their_labels(short, tiny_folder, tmp_path):
    """Catches labels that come in unpaid with weights trained on the same images under another
    name.
    """
    import_discs(tiny_folder, short.root, "renamed")
    first = record_run(
        tmp_path / "first",
        short,
        data="renamed",
        labels=8,
    )
    summary = summary_of(short, init=first)
    assert summary["subjects_labelled"] == 8


def test_weights_without_a_record_are_used_with_a_caution(short, tmp_path):
    """Catches weights of an earlier version, or of another program, that are an error."""
    record_run(tmp_path / "first", short)
    params, header = load_weights(tmp_path / "first" / "weights.safetensors")
    del header[provenance.KEY]
    old = tmp_path / "old.safetensors"
    save_weights(old, params, header)
    summary = summary_of(short, init=Weights(str(old)))
    assert summary["provenance"] == "unknown"
    assert summary["subjects_labelled"] == 4


def test_a_teacher_passes_on_no_further_labels(short, tmp_path):
    """Catches a teacher of the right budget that began with weights trained on all labels."""
    everything = record_run(tmp_path / "all", short, labels=8)
    record_run(tmp_path / "begun", short, init=everything)
    record_run(tmp_path / "clean", short)
    summary = json.loads((tmp_path / "clean" / "summary.json").read_text())
    budget = summary["labelled_subjects"]
    settings = Settings(
        data="discs",
        root=short.root,
        labels=4,
        teacher=str(tmp_path / "begun"),
    )
    with pytest.raises(UserError, match="has seen labels of 4 subjects outside the budget"):
        teacher.origin(settings, budget)
    clean = dataclasses.replace(settings, teacher=str(tmp_path / "clean"))
    assert teacher.origin(clean, budget).unknown == ()


def test_an_export_keeps_the_record(short, tmp_path):
    """Catches published weights that no longer say what they have seen."""
    record_run(tmp_path / "run", short)
    model = tmp_path / "model"
    assert (
        main(
            [
                "export",
                str(tmp_path / "run"),
                "--out",
                str(model),
            ]
        )
        == 0
    )
    _, header = load_weights(model / "weights.safetensors")
    recorded = provenance.of_header(header, "model")
    assert len(recorded.labelled) == 4
    assert not recorded.unknown


def test_a_set_without_hashes_is_used_with_a_caution(short, tiny_folder):
    """Catches a set of an earlier version, with which nothing can be compared, that passes in
    silence.
    """
    import_discs(tiny_folder / "train", short.root, "copies")
    (store.info("discs", short.root).folder / FILE).unlink()
    _hashes.cache_clear()
    summary = mix(short, "copies")
    assert any("has no image hashes" in note for note in summary["notes"])
