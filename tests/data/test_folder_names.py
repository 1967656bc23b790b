"""The folder reader's ways to pair masks, to name subjects, and to take the size of pixels."""

import pytest
from data_samples import picture, write_png
from layouts import EXAMINATIONS, write_ultrasound

from semiseg.data import check, readers, recognise
from semiseg.errors import UserError


def read(folder, **options):
    return readers.read("folder", folder, progress=False, **options)


def refs_of(result):
    return {ref.name: ref for refs in result.splits.values() for ref in refs}


@pytest.mark.parametrize(
    ("images", "masks", "ending"),
    [
        ("images", "masks", "_Mask"),
        ("images", "labels", "-seg"),
        (".", ".", "_Annotation"),
    ],
)
def test_masks_with_an_ending_are_paired(tmp_path, images, masks, ending):
    """Catches masks that are "without an image", and images without their mask."""
    source = write_ultrasound(tmp_path / "set", images, masks, ending)
    result = read(source, subject_pattern=r"^(\d+)_")
    assert result.problems == ()
    refs = refs_of(result)
    assert sorted(refs) == sorted(EXAMINATIONS)
    assert all(ref.label_path.endswith(f"{name}{ending}.png") for name, ref in refs.items())
    assert any(ending in note for note in result.notes)
    recognised = recognise.recognise(source, readers.READERS.values())
    assert recognised.format == "folder"


def test_a_mask_without_an_image_is_still_named(tmp_path):
    """Catches an ending that hides a mask of nothing."""
    source = write_ultrasound(tmp_path)
    write_png(source / "masks" / "999_HC_Mask.png", picture(0)[1])
    problems = read(source, subject_pattern=r"^(\d+)_").problems
    assert any("999_HC_Mask" in problem and "no image" in problem for problem in problems)


def test_a_pattern_keeps_examinations_together(tmp_path, monkeypatch):
    """Catches two images of an examination in two splits, and a question that has its answer."""
    monkeypatch.chdir(tmp_path)
    source = write_ultrasound(tmp_path)
    asked = [problem for problem in read(source).problems if "share beginnings" in problem]
    assert len(asked) == 1
    assert "--subject-pattern" in asked[0]
    refs = refs_of(read(source, subject_pattern=r"^(\d+)_"))
    assert {ref.subject for ref in refs.values()} == {"000", "010", "049", "093", "178", "201"}
    assert refs["010_2HC"].subject == "010"


def test_sizes_of_pixels_come_from_the_table(tmp_path):
    """Catches distances in pixels where the set says millimetres, and rows that are shifted."""
    source = write_ultrasound(tmp_path)
    result = read(source, subject_pattern=r"^(\d+)_")
    assert result.unit == "mm"
    assert refs_of(result)["010_2HC"].load().spacing == pytest.approx((0.12, 0.12))
    assert any("sizes.csv" in note for note in result.notes)
    (source / "sizes.csv").rename(tmp_path / "other.txt")
    assert read(source, subject_pattern=r"^(\d+)_").unit == "pixel"
    result = read(
        source,
        subject_pattern=r"^(\d+)_",
        pixel_sizes=str(tmp_path / "other.txt"),
    )
    assert result.unit == "mm"


def test_rows_and_columns_in_microns(tmp_path):
    """Catches sides that are swapped, and microns that are read as millimetres."""
    source = write_ultrasound(tmp_path)
    lines = ["image,pixel spacing x (um),pixel spacing y (um)"]
    lines += [f"{name},100,{200 + seed}" for seed, name in enumerate(EXAMINATIONS)]
    (source / "sizes.csv").write_text("\n".join(lines))
    refs = refs_of(read(source, subject_pattern=r"^(\d+)_", pixel_sizes="sizes.csv"))
    assert refs["010_HC"].load().spacing == pytest.approx((0.201, 0.1))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("filename,size\n000_HC.png,0.1\n", "needs a column filename and a column pixel size"),
        ("filename,pixel size(mm)\n000_HC.png,none\n", "line 2 has 'none' under pixel size"),
        ("filename,pixel size(mm)\n000_HC.png,-1\n", "line 2 has '-1'"),
        ("filename,pixel size(mm)\n000_HC.png,0.1\n", "has no row for 010_HC"),
    ],
)
def test_a_table_of_sizes_that_is_none_is_one_line(tmp_path, monkeypatch, table, words):
    """Catches a size of 0, a picture without one, and a traceback."""
    monkeypatch.chdir(tmp_path)
    source = write_ultrasound(tmp_path)
    (source / "sizes.csv").write_text(table)
    options = {"subject_pattern": r"^(\d+)_", "pixel_sizes": "sizes.csv"}
    problems = check.check_source("folder", source, progress=False, **options)
    assert any("sizes.csv" in line and words in line for line in problems), problems
    with pytest.raises(UserError, match="--pixel-sizes gone.csv: not found"):
        read(source, pixel_sizes="gone.csv")
