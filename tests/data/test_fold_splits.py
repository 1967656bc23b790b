"""Folds: who is held out together, evenly by site and class volume, and the same everywhere."""

import json
from collections import Counter

import numpy as np
import pytest
from data_samples import write_png
from PIL import Image

from semiseg.cli.main import main
from semiseg.data import exporting, fold_splits, importing, store
from semiseg.data.fold_splits import Unit, check, deal, of_scans
from semiseg.errors import UserError

SPLIT_OF = {10: "val", 11: "val", 12: "test", 13: "test"}
"""Subject → split; all others train."""


def unit(name: str, share: float, site: str = "", size: int = 1) -> Unit:
    subjects = tuple(f"{name}{i}" for i in range(size))
    return Unit(name, subjects, size, site, (share,))


def write_set(folder, groups=None, bare=(), copy_of=None):
    """Fourteen pictures of one subject each, with squares of rising size, and a table."""
    rng = np.random.default_rng(0)
    lines = ["name,subject,group,split,Site"]
    pixels = [
        rng.integers(
            0,
            255,
            (16, 16),
            np.uint8,
        )
        for _ in range(14)
    ]
    for i in range(14):
        label = np.zeros((16, 16), np.uint8)
        label[: i + 2, :8] = 1
        image = pixels[(copy_of or {}).get(i, i)]
        write_png(folder / "images" / f"p{i:02d}.png", image)
        if i not in bare:
            write_png(folder / "labels" / f"p{i:02d}.png", label)
        group = (groups or {}).get(i, "")
        lines.append(f"p{i:02d},s{i:02d},{group},{SPLIT_OF.get(i, 'train')},{'AB'[i % 2]}")
    (folder / "subjects.csv").write_text("\n".join(lines) + "\n")
    return folder


def bring(folder, root, name="own", **options):
    return importing.import_set("folder", folder, name, root, progress=False, **options)


def folds_of(name, root, folds):
    info = store.info(name, root)
    scans = store.read_split(name, "train", root)
    if info.number("val"):
        scans += store.read_split(name, "val", root)
    return of_scans(info, scans, folds)


# ------------------------------------------------------------------ the rule
def test_every_fold_has_its_share_of_each_site_and_of_the_volume():
    """Catches folds that are dealt by name, and sites or volumes that pile up in one."""
    volumes = np.random.default_rng(3).permutation(20)
    units = [
        unit(f"u{i}", float(volumes[i]) / volumes.sum(), site="AAAB"[i % 4]) for i in range(20)
    ]
    fold_of = deal(units, 5)
    sites = Counter((fold_of[f"u{i}0"], units[i].site) for i in range(20))
    assert set(sites.values()) == {1, 3}
    shares = np.zeros(5)
    for i, each in enumerate(units):
        shares[fold_of[f"u{i}0"]] += each.shares[0]
    assert np.ptp(shares) < 0.06


def test_the_order_of_the_units_does_not_matter():
    """Catches a rule that depends on how a set was stored."""
    units = [unit(f"u{i}", 1 / (i + 1), size=1 + i % 3) for i in range(9)]
    assert deal(units, 4) == deal(units[::-1], 4)


def test_no_fold_is_empty():
    """Catches large groups that take the folds of small ones."""
    units = [
        unit(
            "big",
            0.5,
            size=9,
        ),
        unit("a", 0.2, "B"),
        unit("b", 0.2),
        unit("c", 0.1, "C"),
    ]
    fold_of = deal(units, 4)
    assert set(fold_of.values()) == {0, 1, 2, 3}


def test_folds_that_are_stated_stay_and_new_subjects_fill_them():
    """Catches a set of which a stated fold is dealt anew, or a new subject that has none."""
    units = [unit(f"u{i}", 0.2) for i in range(5)]
    stated = {"u00": 1, "u10": 1, "u20": 0}
    fold_of = deal(units, 2, stated)
    assert {subject: fold_of[subject] for subject in stated} == stated
    assert Counter(fold_of.values()) in ({0: 2, 1: 3}, {0: 3, 1: 2})


@pytest.mark.parametrize(
    ("folds", "units", "message"),
    [(6, 5, "has 5 groups"), (12, 12, "fold of its own"), (30, 20, "at most 10 folds")],
)
def test_numbers_of_folds_that_make_no_sense(folds, units, message):
    with pytest.raises(UserError, match=message):
        check(folds, units, "own")


def test_one_subject_at_a_time_may_be_held_out_of_ten():
    check(10, 10, "own")
    check(10, 11, "own")


# ------------------------------------------------------------------ of a data set
def test_all_annotated_subjects_outside_test_are_dealt(tmp_path):
    """Catches a test subject in a fold, a val subject in none, and one that nobody annotated."""
    bring(write_set(tmp_path / "set", bare=(3,)), tmp_path / "root")
    fold_of = folds_of("own", tmp_path / "root", 5)
    assert sorted(fold_of) == [f"s{i:02d}" for i in range(12) if i != 3]
    assert set(Counter(fold_of.values()).values()) == {2, 3}
    info = store.info("own", tmp_path / "root")
    assert fold_splits.site_column(info) == "Site"
    sites = Counter((fold, "AB"[int(subject[1:]) % 2]) for subject, fold in fold_of.items())
    assert all(sites[fold, site] >= 1 for fold in range(5) for site in "AB")


def test_what_belongs_together_is_held_out_together(tmp_path):
    """Catches members of a group, and owners of one image, on two sides; a member that nobody
    annotated goes with its group.
    """
    groups = {0: "g", 1: "g", 4: "h", 11: "h"}
    folder = write_set(
        tmp_path / "set",
        groups=groups,
        bare=(1,),
        copy_of={6: 5},
    )
    folder_table = (folder / "subjects.csv").read_text().replace("s11,h,val", "s11,h,train")
    (folder / "subjects.csv").write_text(folder_table)
    bring(folder, tmp_path / "root")
    fold_of = folds_of("own", tmp_path / "root", 4)
    for first, second in (("s00", "s01"), ("s04", "s11"), ("s05", "s06")):
        assert fold_of[first] == fold_of[second]


# ------------------------------------------------------------------ splits_final.json
def test_folds_go_to_nnunet_and_come_back(tmp_path):
    """Catches folds that are dealt anew where the files state them, and files that state others."""
    root = tmp_path / "root"
    bring(write_set(tmp_path / "set"), root)
    exporting.export_set("own", tmp_path / "out", root, progress=False, folds=3)
    content = json.loads((tmp_path / "out" / "splits_final.json").read_text())
    assert len(content) == 3
    fold_of = folds_of("own", root, 3)
    for number, fold in enumerate(content):
        assert sorted(fold["train"] + fold["val"]) == [f"p{i:02d}" for i in range(12)]
        held_out = [name.replace("p", "s") for name in fold["val"]]
        assert {fold_of[subject] for subject in held_out} == {number}
    moved = [content[2], content[0], content[1]]
    (tmp_path / "out" / "splits_final.json").write_text(json.dumps(moved))
    info = importing.import_set("nnunet", tmp_path / "out", "back", root, progress=False)
    assert [len(fold) for fold in info.folds] == [len(fold["val"]) for fold in moved]
    back = folds_of("back", root, 3)
    assert {subject: (fold - 1) % 3 for subject, fold in back.items()} == fold_of
    assert "splits_final.json" in (info.folder / "card.md").read_text()
    exporting.export_set("back", tmp_path / "again", root, progress=False)
    again = json.loads((tmp_path / "again" / "splits_final.json").read_text())
    assert [set(fold["val"]) for fold in again] == [set(fold["val"]) for fold in moved]


def test_folds_that_hold_a_subject_out_twice_are_not_used(tmp_path):
    """Catches the random splits that some people write into the file, taken for folds."""
    root = tmp_path / "root"
    bring(write_set(tmp_path / "set"), root)
    exporting.export_set("own", tmp_path / "out", root, progress=False, folds=3)
    path = tmp_path / "out" / "splits_final.json"
    content = json.loads(path.read_text())
    content[1] = content[0]
    path.write_text(json.dumps(content))
    notes: list[str] = []
    info = importing.import_set(
        "nnunet", tmp_path / "out", "back", root, progress=False, say=notes.append
    )
    assert info.folds == ()
    assert any("twice" in note for note in notes)
    assert set(folds_of("back", root, 3).values()) == {0, 1, 2}


# ------------------------------------------------------------------ in words
def test_the_commands_show_folds_and_propose_them(tmp_path, capsys):
    """Catches a table of other folds than training has, and advice without the command."""
    root = str(tmp_path / "root")
    source = str(write_set(tmp_path / "set"))
    command = ["data", "import", "--source", source, "--name", "own", "--root", root]
    assert main(command) == 0
    advice = "2 annotated val subjects say little"
    assert advice in capsys.readouterr().err
    assert main(["data", "describe", "own", "--root", root]) == 0
    text = capsys.readouterr().out
    assert advice in text
    assert f"semiseg train --data own --root {root} --folds 5 --fold 0" in text
    file = tmp_path / "facts.json"
    shown = ["data", "describe", "own", "--root", root, "--folds", "3", "--json", str(file)]
    assert main(shown) == 0
    assert "3 folds of 12 annotated subjects" in capsys.readouterr().out
    facts = json.loads(file.read_text())["folds"]
    fold_of = folds_of("own", root, 3)
    for number, fold in enumerate(facts["folds"]):
        assert {fold_of[subject] for subject in fold["subjects"]} == {number}
        assert sum(fold["sites"].values()) == 4
    total = sum(sum(fold["share"].values()) for fold in facts["folds"])
    assert total == pytest.approx(1, abs=0.001)


def test_subjects_of_two_folds_that_look_alike_are_named(tmp_path, capsys):
    """Catches a mirrored copy that is held out while its original trains, in silence."""
    folder = write_set(tmp_path / "set")
    bring(folder, tmp_path / "root")
    fold_of = folds_of("own", tmp_path / "root", 4)
    other = next(subject for subject in fold_of if fold_of[subject] != fold_of["s00"])
    image = np.asarray(Image.open(folder / "images" / "p00.png"))
    write_png(folder / "images" / f"p{other[1:]}.png", image[:, ::-1])
    bring(
        folder,
        tmp_path / "root",
        overwrite=True,
        allow_near_duplicates=True,
    )
    command = ["data", "describe", "own", "--root", str(tmp_path / "root"), "--folds", "4"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert f"s00 and {other} are in two folds and look alike" in text
