"""Paths on which a test subject, or a label outside the budget, could reach a run unnoticed: each
is refused, or counted.
"""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import semiseg
from semiseg import config
from semiseg.cli.main import main
from semiseg.data import check, importing, provenance, store
from semiseg.data.fingerprints import hashes_of, pixel_hash
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
            write_pair(tmp_path / "patients", f"p{patient:02}_s{i:02}", *disc(rng))
    return tmp_path / "patients"


@pytest.fixture
def singles(tmp_path):
    """Twelve pictures of one level of numbering."""
    rng = np.random.default_rng(1)
    for i in range(12):
        write_pair(tmp_path / "singles", f"img{i}", *disc(rng))
    return tmp_path / "singles"


# ------------------------------------------------------------------ the folder without a table
def test_slices_of_one_patient_are_asked_about(patients, tmp_path):
    """Catches slices that each become a subject, so that a patient trains and is tested."""
    with pytest.raises(UserError, match="share beginnings") as error:
        import_discs(patients, tmp_path / "root", "patients")
    assert "--subjects-are-images" in str(error.value)
    proposal = patients / "subjects.proposed.csv"
    proposal.rename(patients / "subjects.csv")
    info = import_discs(patients, tmp_path / "root", "patients")
    assert sum(count["subjects"] for count in info.counts.values()) == 10
    table = hashes_of(info)
    splits = {}
    for subject, split in zip(table.subjects, table.splits, strict=True):
        splits.setdefault(subject, set()).add(split)
    assert all(len(places) == 1 for places in splits.values())


def test_images_may_be_subjects_if_the_user_says_so(patients, tmp_path):
    """Catches a question without a way out, and an answer that is not recorded."""
    folder = ["--format", "folder", "--source", str(patients)]
    assert main(["data", "check", *folder]) == 1
    assert main(["data", "check", *folder, "--subjects-are-images"]) == 0
    root = ["--name", "p", "--root", str(tmp_path / "root")]
    assert main(["data", "import", *folder, *root, "--subjects-are-images"]) == 0
    info = store.info("p", tmp_path / "root")
    assert info.allowed == {"subjects_are_images": 30}
    assert sum(count["subjects"] for count in info.counts.values()) == 30


def test_running_numbers_go_on_as_before(singles, tmp_path):
    """Catches a question about img1, img2, …, and a table written where nothing was asked."""
    import_discs(singles, tmp_path / "root", "singles")
    assert not (singles / "subjects.proposed.csv").exists()


# ------------------------------------------------------------------ copies
def split_folders(singles, folder):
    """``singles`` in folders of splits: img0 to img7 train, img8 and img9 val, the rest test."""
    for i in range(12):
        split = "train" if i < 8 else "val" if i < 10 else "test"
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


COPIES = {
    "brighter": lambda image: np.clip(1.3 * image.astype(float) + 10, 0, 255),
    "noisy": lambda image: image + np.random.default_rng(0).normal(0, 4, image.shape),
    "turned": np.rot90,
    "mirrored": np.fliplr,
    "larger": lambda image: np.kron(image, np.ones((2, 2))),
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
    write_pair(folder / "test", "img11", image, np.ones(size, np.uint8))
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
def source_files(tiny_folder, out, split: str):
    """The pairs of a split of the tiny set, as somebody's folder of images."""
    shutil.copytree(tiny_folder / split, out)
    return out


@pytest.fixture
def mixed(tiny, root):
    """A trial that mixes in an imported set, in a root of its own."""

    def trial(name: str, **changes):
        return dataclasses.replace(tiny, synthetic=name, ratio=1.0, steps=4, **changes)

    return trial


@pytest.fixture
def own_root(root, tiny, tmp_path):
    """A copy of the stores, so that sets of one test do not meet those of another."""
    shutil.copytree(root, tmp_path / "stores")
    return str(tmp_path / "stores")


def test_test_pairs_are_no_synthetic_set(mixed, own_root, tiny_folder, tmp_path):
    """Catches the test pairs themselves, imported under another name and mixed in."""
    pairs = source_files(tiny_folder, tmp_path / "mine", "test")
    import_discs(pairs, own_root, "innocent")
    with pytest.raises(UserError, match=r"'innocent': has seen \d test images of data set 'discs'"):
        semiseg.run(mixed("innocent", root=own_root), progress=False)


def test_training_pairs_outside_the_budget_count_as_labelled(
    mixed, own_root, tiny_folder, tmp_path
):
    """Catches labels of further training subjects that come in unpaid with a set of copies."""
    pairs = source_files(tiny_folder, tmp_path / "mine", "train")
    import_discs(pairs, own_root, "copies")
    summary = semiseg.run(mixed("copies", root=own_root), progress=False).summary
    assert summary["subjects_labelled"] > 4
    assert summary["provenance"] == "unknown"
    assert any("count as labelled" in note for note in summary["notes"])


def generated(folder, root, labels: int, tiny_folder):
    """A folder of pairs that says that they were made from ``labels`` subjects of discs."""
    info = store.info("discs", root)
    table = hashes_of(info)
    subjects = sorted(set(table.subjects[table.of("train")].tolist()))[:labels]
    rng = np.random.default_rng(5)
    for i in range(4):
        write_pair(folder, f"syn{i}", *(part[:, :36] for part in disc(rng)))
    provenance.write(folder / provenance.ORIGIN, provenance.of_training(info, subjects))
    return subjects


def test_a_generators_subjects_count_as_labelled(mixed, own_root, tiny_folder, tmp_path):
    """Catches a set fitted on all labels in a run of four."""
    subjects = generated(tmp_path / "made", own_root, 8, tiny_folder)
    import_discs(tmp_path / "made", own_root, "made")
    result = semiseg.run(mixed("made", root=own_root), tmp_path / "run", progress=False)
    assert result.summary["subjects_labelled"] == 8
    assert set(result.summary["labelled_subjects"]) == set(subjects)
    assert result.summary["provenance"] == "recorded"
    _, header = load_weights(tmp_path / "run" / "weights.safetensors")
    info = store.info("discs", own_root)
    recorded = provenance.of_header(header, "run")
    assert recorded.subjects_of(info.fingerprint) == set(subjects)


def test_a_set_of_the_same_budget_costs_nothing(mixed, own_root, tmp_path, tiny_folder):
    """Catches a budget that is counted twice, and a caution about a set whose origin is known."""
    budget = semiseg.run(
        dataclasses.replace(mixed("x"), synthetic=None, ratio=0.0, root=own_root), progress=False
    ).summary["labelled_subjects"]
    info = store.info("discs", own_root)
    generated(tmp_path / "made", own_root, 1, tiny_folder)
    provenance.write(tmp_path / "made" / provenance.ORIGIN, provenance.of_training(info, budget))
    import_discs(tmp_path / "made", own_root, "made")
    summary = semiseg.run(mixed("made", root=own_root), progress=False).summary
    assert summary["subjects_labelled"] == 4
    assert summary["notes"] == []


def test_a_foreign_set_is_used_with_a_caution(mixed, own_root, tmp_path):
    """Catches another program's images that are refused, or used in silence."""
    rng = np.random.default_rng(6)
    for i in range(4):
        write_pair(tmp_path / "foreign", f"f{i}", *(part[:, :36] for part in disc(rng)))
    import_discs(tmp_path / "foreign", own_root, "foreign")
    summary = semiseg.run(mixed("foreign", root=own_root), progress=False).summary
    assert summary["subjects_labelled"] == 4
    assert summary["provenance"] == "unknown"
    assert any("'foreign'" in note for note in summary["notes"])


# ------------------------------------------------------------------ initial weights and teachers
@pytest.fixture
def swapped(tiny_folder, own_root, tmp_path):
    """The tiny set under another name, with train and test exchanged, and a run trained on it."""
    folder = tmp_path / "swapped"
    for split, source in (("train", "test"), ("val", "val"), ("test", "train")):
        shutil.copytree(tiny_folder / source, folder / split)
    import_discs(folder, own_root, "other-name")
    return own_root


def test_weights_that_know_the_test_subjects_are_refused(tiny, swapped, tmp_path):
    """Catches initial weights that were trained on this set's test subjects under another name."""
    first = dataclasses.replace(tiny, data="other-name", root=swapped, labels=3, steps=4)
    semiseg.run(first, tmp_path / "first", progress=False)
    second = dataclasses.replace(tiny, root=swapped, steps=4, init=Weights(str(tmp_path / "first")))
    with pytest.raises(UserError, match="has seen 3 test images of data set 'discs'"):
        semiseg.run(second, progress=False)


def test_weights_of_another_name_pay_for_their_labels(tiny, own_root, tiny_folder, tmp_path):
    """Catches labels that come in unpaid with weights trained on the same images under another
    name.
    """
    import_discs(tiny_folder, own_root, "renamed")
    first = dataclasses.replace(tiny, data="renamed", root=own_root, labels=8, steps=4)
    semiseg.run(first, tmp_path / "first", progress=False)
    second = dataclasses.replace(
        tiny, root=own_root, steps=4, init=Weights(str(tmp_path / "first"))
    )
    assert semiseg.run(second, progress=False).summary["subjects_labelled"] == 8


def test_weights_without_a_record_are_used_with_a_caution(tiny, own_root, tmp_path):
    """Catches weights of an earlier version, or of another program, that are an error."""
    first = dataclasses.replace(tiny, root=own_root, steps=4)
    semiseg.run(first, tmp_path / "first", progress=False)
    params, header = load_weights(tmp_path / "first" / "weights.safetensors")
    old = {key: value for key, value in header.items() if key != provenance.KEY}
    save_weights(tmp_path / "old.safetensors", params, old)
    second = dataclasses.replace(first, init=Weights(str(tmp_path / "old.safetensors")))
    summary = semiseg.run(second, progress=False).summary
    assert summary["provenance"] == "unknown"
    assert summary["subjects_labelled"] == 4


def test_a_teacher_passes_on_no_further_labels(tiny, own_root, tmp_path):
    """Catches a teacher of the right budget that began with weights trained on all labels."""
    everything = dataclasses.replace(tiny, root=own_root, labels=8, steps=4)
    semiseg.run(everything, tmp_path / "all", progress=False)
    begun = dataclasses.replace(tiny, root=own_root, steps=4, init=Weights(str(tmp_path / "all")))
    semiseg.run(begun, tmp_path / "teacher", progress=False)
    settings = Settings(
        data="discs", root=own_root, labels=4, teacher=str(tmp_path / "teacher"), image_size=24
    )
    budget = config.load(tmp_path / "teacher" / "config.yaml")
    assert budget.labels == 4
    clean = dataclasses.replace(tiny, root=own_root, steps=4)
    subjects = semiseg.run(clean, tmp_path / "clean", progress=False).summary["labelled_subjects"]
    with pytest.raises(UserError, match="has seen labels of 4 subjects outside the budget"):
        teacher.origin(settings, subjects)
    of_clean = dataclasses.replace(settings, teacher=str(tmp_path / "clean"))
    assert teacher.origin(of_clean, subjects).unknown == ()


def test_an_export_keeps_the_record(tiny, own_root, tmp_path):
    """Catches published weights that no longer say what they have seen."""
    semiseg.run(dataclasses.replace(tiny, root=own_root, steps=4), tmp_path / "run", progress=False)
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "model")]) == 0
    _, header = load_weights(tmp_path / "model" / "weights.safetensors")
    assert len(provenance.of_header(header, "model").labelled) == 4
    assert json.loads((tmp_path / "model" / "summary.json").read_text())["provenance"] == "recorded"
    assert list(csv.DictReader((tmp_path / "model" / "per_subject.csv").open()))
