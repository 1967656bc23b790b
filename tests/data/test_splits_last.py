"""Splits that last: who is in val and test stays there when a set is imported again."""

import csv

import layouts
import pytest
from data_samples import picture, write_png

from semiseg.cli.main import main
from semiseg.data import earlier_splits, importing, splits_csv, store
from semiseg.data import splits as splitting
from semiseg.data.source import CaseRef, Source
from semiseg.errors import UserError

NEWLY = (20, 21, 22, 23, 26)
"""Pictures that are annotated later; a draw among all moves every test subject of before."""


def add(folder, numbers, annotated=True):
    """Pictures ``p00``, ``p01`` … with or without a label."""
    for i in numbers:
        image, label = picture(i)
        write_png(
            folder / "images" / f"p{i:02d}.png",
            image,
        )
        if annotated:
            write_png(
                folder / "labels" / f"p{i:02d}.png",
                label,
            )


def bring(folder, root, **options):
    """The lines of an import of the set ``own``, which replaces the one that is there."""
    lines = []
    importing.import_set(
        "folder",
        folder,
        "own",
        root,
        progress=False,
        overwrite=True,
        say=lines.append,
        **options,
    )
    return lines


def rows(root):
    return splits_csv.read(root / "own")


def members(root, split):
    return {subject for subject, row in rows(root).items() if row.split == split}


def table(folder, lines, columns="name,subject,group,split"):
    (folder / "subjects.csv").write_text("\n".join([columns, *lines]) + "\n")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def folder(tmp_path):
    """Thirty pictures, of which twenty are annotated."""
    place = tmp_path / "pictures"
    add(place, range(20))
    add(place, range(20, 30), annotated=False)
    return place


def test_an_import_says_who_is_where_and_why(folder, root):
    """Catches a table that lacks a subject, and one that calls chance a decision."""
    bring(folder, root)
    with (root / "own" / "splits.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["subject", "split", "annotated", "why"]
    assert len(lines) == 30
    for split in ("train", "val"):
        stored = {case.subject for case in store.read_split("own", split, root)}
        assert members(root, split) == stored
    for row in rows(root).values():
        if row.annotated:
            assert row.why == "drawn at random with seed 0"
        else:
            assert row.why == splitting.UNANNOTATED


def test_more_annotations_move_nobody_out_of_test(folder, root):
    """Catches the draw among all annotated subjects, which moved two of four test subjects."""
    bring(folder, root)
    before = rows(root)
    add(folder, NEWLY)
    lines = bring(folder, root)
    after = rows(root)
    for subject, row in before.items():
        if row.annotated:
            assert after[subject].split == row.split, subject
            assert after[subject].why == "kept from the earlier import"
    assert any("stay where the earlier import had them: val 2, test 4" in line for line in lines)
    annotated = [after[f"p{i}"].split for i in NEWLY]
    words = f"own: 5 subjects annotated since the earlier import: {splits_csv.counted(annotated)}"
    assert words in lines
    assert len(members(root, "test")) == 5  # a fifth of 25
    for i in set(range(20, 30)).difference(NEWLY):
        assert after[f"p{i}"].split == "train"


def test_new_scans_are_drawn_among_themselves(folder, root):
    """Catches new scans that all go to one split, and fractions that drift."""
    bring(folder, root)
    before = {split: members(root, split) for split in ("val", "test")}
    add(folder, range(30, 50))
    lines = bring(folder, root)
    for split, subjects in before.items():
        assert subjects < members(root, split)
    annotated = [row.split for row in rows(root).values() if row.annotated]
    assert splits_csv.counted(annotated) == "train 28, val 4, test 8"
    assert "own: 20 new subjects: train 14, val 2, test 4" in lines


def test_the_same_files_make_the_same_set(folder, root):
    """Catches an order of cases that depends on how often a set was imported."""
    bring(folder, root)
    first = store.info("own", root).fingerprint
    lines = bring(folder, root)
    assert store.info("own", root).fingerprint == first
    assert not any("new subject" in line or "annotated since" in line for line in lines)


def test_a_new_member_goes_with_its_group(folder, root):
    """Catches a group that parts, since its new member is drawn by itself."""
    names = [f"p{i:02d}" for i in range(30)]
    table(
        folder,
        [f"{name},{name},{name[:2] + name[2]}g," for name in names],
    )
    bring(folder, root)
    group = next(name for name in sorted(members(root, "test")))
    add(folder, [30])
    add(folder, [31], annotated=False)
    lines = [f"{name},{name},{name}g," for name in names]
    lines += [f"p30,p30,{group}g,", f"p31,p31,{group}g,"]
    table(folder, lines)
    said = bring(folder, root)
    assert rows(root)["p30"] == splits_csv.Row(
        "test",
        True,
        f"with its group {group}g",
    )
    assert "p31" not in rows(root)
    assert any("left out 1 image without annotation" in line and "p31" in line for line in said)


def test_groups_of_two_splits_that_are_joined_are_refused(folder, root):
    """Catches a group that takes a test subject along into train."""
    bring(folder, root)
    first = sorted(members(root, "test"))[0]
    second = sorted(members(root, "val"))[0]
    pair = (first, second)
    group_of = dict.fromkeys(pair, "twins")
    names = [f"p{i:02d}" for i in range(30)]
    table(
        folder,
        [f"{name},{name},{group_of.get(name, '')}," for name in names],
    )
    with pytest.raises(UserError, match="in one group, twins.*--resplit"):
        bring(folder, root)


@pytest.mark.parametrize(
    ("moved", "split"),
    [
        ("test", "train"),
        ("val", "test"),
        ("train", "val"),
    ],
)
def test_stated_splits_that_contradict_are_refused(moved, split, folder, root):
    """Catches a table that turns test subjects into training subjects without a word."""
    add(folder, range(20, 30))
    stated = {f"p{i:02d}": "train" for i in range(30)}
    stated |= {"p00": "val", "p01": "val", "p02": "test", "p03": "test"}
    table(
        folder,
        [f"{name},{name},,{place}" for name, place in stated.items()],
    )
    bring(folder, root)
    assert rows(root)["p02"] == splits_csv.Row("test", True, "stated in subjects.csv")
    subject = sorted(members(root, moved))[-1]
    stated[subject] = split
    table(
        folder,
        [f"{name},{name},,{place}" for name, place in stated.items()],
    )
    with pytest.raises(UserError) as error:
        bring(folder, root)
    message = str(error.value)
    assert "\n" not in message
    assert (
        f"subject {subject} is in {split} (stated in subjects.csv), and was in {moved}" in message
    )
    assert "--resplit" in message
    assert members(root, moved) >= {subject}, "the set that was there is whole"
    bring(folder, root, resplit=True)
    assert rows(root)[subject].split == split


def test_drawn_splits_that_are_stated_afterwards(folder, root):
    """Catches a table written from the draw itself that is refused, and an unannotated subject of
    train that may never be tested.
    """
    bring(folder, root)
    stated = {subject: row.split for subject, row in rows(root).items()}
    add(folder, [29])
    stated["p29"] = "test"
    table(
        folder,
        [f"{name},{name},,{place}" for name, place in stated.items()],
    )
    bring(folder, root)
    assert rows(root)["p29"].split == "test"


def test_resplit_draws_anew(folder, root):
    """Catches a flag without an effect, and a ledger that does not say who left the test set."""
    bring(folder, root)
    before = members(root, "test")
    bring(folder, root, seed=3)
    assert members(root, "test") == before
    bring(folder, root, seed=3, resplit=True)
    after = members(root, "test")
    assert after != before
    line = store.ledger("own", root)[-1]
    assert set(line["before"]["subjects"]) == before
    assert set(line["after"]["subjects"]) == after


def test_an_annotation_that_is_gone_is_named(folder, root):
    """Catches a test subject that shrinks the test set because its label was lost."""
    bring(folder, root)
    subject = sorted(members(root, "test"))[0]
    (folder / "labels" / f"{subject}.png").unlink()
    with pytest.raises(UserError, match=f"{subject} was in test .* has no label now"):
        bring(folder, root)


def test_subjects_that_are_gone_are_counted(folder, root):
    """Catches a test set that shrinks in silence."""
    bring(folder, root)
    subject = sorted(members(root, "test"))[0]
    for kind in ("images", "labels"):
        (folder / kind / f"{subject}.png").unlink()
    lines = bring(folder, root)
    assert "own: 1 subject of the earlier import not in the source: test 1" in lines


def test_a_set_without_the_table_keeps_its_splits(folder, root):
    """Catches sets of earlier versions, whose splits stand in their fingerprints alone."""
    bring(folder, root)
    before = members(root, "test")
    (root / "own" / "splits.csv").unlink()
    add(folder, NEWLY)
    bring(folder, root)
    assert before <= members(root, "test")


@pytest.mark.parametrize("content", [b"no archive", b"PK\x05\x06" + bytes(18)])
def test_damaged_fingerprints_of_a_set_without_the_table_are_named(content, folder, root):
    """Catches the traceback of what unpacks them, and of an archive without the array."""
    bring(folder, root)
    (root / "own" / "splits.csv").unlink()
    (root / "own" / "fingerprints.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"fingerprints.npz.*--overwrite"):
        splits_csv.read(root / "own")


@pytest.mark.parametrize(
    "text", ["subject\np01\n", "subject,split,annotated,why\np01,tset,yes,x\n"]
)
def test_a_damaged_table_is_named(text, folder, root):
    """Catches splits that are drawn anew because nobody can read the old ones."""
    bring(folder, root)
    (root / "own" / "splits.csv").write_text(text)
    with pytest.raises(UserError, match=r"splits.csv: .*--resplit"):
        bring(folder, root)
    bring(folder, root, resplit=True)


def test_strata_of_a_draw_count_with_those_that_stay():
    """Catches new subjects of one stain that are all drawn into train, since the others fill it."""
    strata = {f"a{i}": "a" for i in range(10)}
    strata |= {f"b{i}": "b" for i in range(10)}
    placed = {f"a{i}": "train" for i in range(8)}
    new = {name: "" for name in strata if name not in placed}
    places = splitting.assign(new, {"train": 0.8, "test": 0.2}, 0, strata, placed)
    assert [places["a8"], places["a9"]] == ["test", "test"]
    of_b = [places[f"b{i}"] for i in range(10)]
    assert of_b.count("test") == 2
    assert set(places.values()) == {"train", "test"}


# ------------------------------------------------------------------ other layouts
def test_another_fold_is_another_split(tmp_path, root):
    """Catches a fold that replaces another one, so that validation cases were trained on."""
    layouts.nnunet(tmp_path / "raw")
    importing.import_set("nnunet", tmp_path / "raw", "own", root, progress=False)
    assert {row.why for row in rows(root).values()} == {
        "stated in splits_final.json, fold 0",
        "stated by its folder",
    }
    again = {"progress": False, "overwrite": True, "fold": 1}
    with pytest.raises(UserError, match="p6 is in train .*fold 1.*was in val.*--resplit"):
        importing.import_set("nnunet", tmp_path / "raw", "own", root, **again)
    importing.import_set("nnunet", tmp_path / "raw", "own", root, **again, resplit=True)
    assert members(root, "val") == {"p0", "p1"}


def test_lists_of_a_benchmark_are_stated(acdc_like, root):
    """Catches official splits that are called drawn, and could then be drawn again."""
    importing.import_set("ssl4mis-acdc", acdc_like, "own", root, progress=False)
    assert {row.why for row in rows(root).values()} == {"stated by a list of the data set"}


def test_all_train_is_stated(folder, root):
    """Catches a set without a test split that forgets, or silently loses, the one it had."""
    bring(folder, root, splits="train")
    for row in rows(root).values():
        assert row.split == "train"
        assert row.why == "stated by --splits train"
    bring(folder, root, resplit=True)
    with pytest.raises(UserError, match="--splits train.*--resplit"):
        bring(folder, root, splits="train")


def test_a_set_without_validation_promises_no_training(folder, root, capsys):
    """Catches a next command that is refused."""
    words = ["data", "import", "--source", str(folder), "--name", "own", "--root", str(root)]
    assert main([*words, "--splits", "train"]) == 0
    captured = capsys.readouterr()
    assert "next:" not in captured.out
    assert "no validation split" in captured.err
    assert main(["data", "check", "own", "--root", str(root)]) == 0
    captured = capsys.readouterr()
    assert "no problems" in captured.out
    assert "cross-validate with --folds" in captured.err
    assert main([*words, "--overwrite", "--resplit"]) == 0
    captured = capsys.readouterr()
    assert "next: semiseg train" in captured.out
    assert "no validation split" not in captured.err


def ref(subject, name, placement, annotated=True):
    """A case that is never loaded."""
    return CaseRef(
        subject, name, f"{name}.dcm", picture, placement=placement, label_path="x" * annotated
    )


def source(splits, spare=()):
    return Source(("background", "cell"), "mm", "", "", splits, spare=tuple(spare))


def test_spare_scans_follow_their_subject():
    """Catches the scans without annotation of a patient whom the reader drew into test, and who
    stays in train: they were lost.
    """
    drawn = splitting.drawn({"train": 0.5, "test": 0.5}, 0)
    found = source(
        {"train": [ref("a", "a1", drawn)], "test": [ref("b", "b1", drawn)]},
        [ref("b", "b2", drawn, annotated=False)],
    )
    earlier = {
        "a": splits_csv.Row("test", True),
        "b": splits_csv.Row("train", True),
    }
    kept = earlier_splits.keep(found, earlier, "own")
    names = {split: [one.name for one in refs] for split, refs in kept.source.splits.items()}
    assert names == {"train": ["b1", "b2"], "test": ["a1"]}
    assert kept.source.spare == ()


def test_stated_spare_scans_stay_out():
    """Catches a test patient's scan without annotation that goes to train."""
    stated = splitting.IN_TABLE
    found = source(
        {"train": [ref("a", "a1", stated)], "test": [ref("b", "b1", stated)]},
        [ref("b", "b2", stated, annotated=False), ref("c", "c1", stated, annotated=False)],
    )
    earlier = {
        "a": splits_csv.Row("train", True),
        "b": splits_csv.Row("test", True),
    }
    kept = earlier_splits.keep(found, earlier, "own")
    names = {split: [one.name for one in refs] for split, refs in kept.source.splits.items()}
    assert names == {"train": ["a1"], "test": ["b1"]}
    assert [one.name for one in kept.source.spare] == ["b2", "c1"]
