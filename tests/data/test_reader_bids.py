"""BIDS: people and their sessions, masks by how their names end, and what a table says of them."""

import nibabel
import numpy as np
import pytest
from layouts import LAYOUTS, nifti, volume

from semiseg.data import check, readers
from semiseg.data.readers.bids import read as read_bids
from semiseg.errors import UserError


def read(source, **options):
    return readers.read("bids", source, progress=False, **options)


@pytest.fixture
def cords(tmp_path):
    """Ten people, two of them in two sessions, with two masks an image."""
    LAYOUTS["bids"].write(tmp_path)
    return tmp_path


def all_refs(result):
    return [ref for refs in result.splits.values() for ref in refs]


def derivative(source, person, end):
    folder = source / "derivatives" / "labels" / f"sub-{person}" / "anat"
    return folder / f"sub-{person}_T2w_{end}.nii.gz"


def test_sessions_of_a_person_stay_together(cords):
    """Catches one person in train and in test, by folders ses-1 and ses-2 or by names."""
    result = read(cords)
    refs = all_refs(result)
    assert len(refs) == 12
    assert len({ref.subject for ref in refs}) == 10
    subjects = {ref.name: ref.subject for ref in refs}
    assert subjects["sub-p1Ses1_T2w"] == subjects["sub-p1Ses2_T2w"] == "sub-p1"
    assert subjects["sub-p0_ses-1_T2w"] == subjects["sub-p0_ses-2_T2w"] == "sub-p0"
    assert any("sub-p1Ses1 and sub-p1Ses2" in note for note in result.notes)
    apart = all_refs(read(cords, folders_are_subjects=True))
    assert len({ref.subject for ref in apart}) == 11


def test_masks_become_classes_in_the_order_given(cords):
    """Catches gray matter that the cord hides, and classes in the order of the alphabet."""
    label = volume(2)[1]
    ref = next(ref for ref in all_refs(read(cords)) if ref.subject == "sub-p2")
    stored = ref.load().label
    assert [(stored == value).sum() for value in (1, 2)] == [
        (label == value).sum() for value in (1, 2)
    ]
    result = read(
        cords,
        label="seg-manual,gm-manual",
        classes="background,cord,gray matter",
    )
    assert result.classes == ("background", "cord", "gray matter")
    one = read(cords, label="gm-manual")
    assert one.classes == ("background", "gm-manual")
    ref = next(ref for ref in all_refs(one) if ref.subject == "sub-p2")
    assert (ref.load().label == 1).sum() == (label == 2).sum()


def test_the_order_is_found_where_masks_lie_inside_each_other(cords):
    """Catches an order nobody is told of."""
    result = read(cords)
    assert result.classes == ("background", "seg-manual", "gm-manual")
    assert any("--label seg-manual,gm-manual" in note for note in result.notes)


def test_two_readings_of_one_structure_are_asked_about(cords):
    """Catches two raters that become two classes."""
    for path in cords.glob("derivatives/**/*_gm-manual.nii.gz"):
        seg = nibabel.load(
            path.with_name(
                path.name.replace(
                    "gm-manual",
                    "seg-manual",
                )
            )
        )
        other = np.roll(np.asarray(seg.dataobj), 1, 0)
        nifti(path, other)
    with pytest.raises(
        UserError,
        match=r"two readings of one structure; choose with --label",
    ):
        read(cords)
    assert read(cords, label="gm-manual").problems == ()


def test_a_person_without_masks_is_unlabelled_and_half_of_them_a_problem(cords):
    """Catches an image that is annotated as background where a mask is missing."""
    derivative(cords, "p3", "gm-manual").unlink()
    problems = read(cords).problems
    assert any("sub-p3_T2w.nii.gz: has no mask gm-manual" in problem for problem in problems)
    derivative(cords, "p3", "seg-manual").unlink()
    result = read(cords)
    assert result.problems == ()
    bare = [ref.subject for ref in result.splits["train"] if not ref.label_path]
    assert bare == ["sub-p3"]


def test_soft_masks_are_refused(cords):
    """Catches probabilities that are cut to a mask without a word."""
    path = derivative(cords, "p3", "seg-manual")
    soft = (
        np.asarray(nibabel.load(path).dataobj)
        * np.linspace(
            0.1,
            1,
            12,
        )[:, None, None]
    )
    nifti(path, soft)
    problems = check.check_source(
        "bids",
        cords,
        progress=False,
        label="seg-manual,gm-manual",
    )
    assert any(f"{path}: holds the values" in problem for problem in problems)


def test_the_table_of_participants_becomes_columns(cords):
    """Catches sites that are lost, and n/a that counts as a site."""
    result = read(cords)
    assert result.subjects["sub-p2"] == {"site": "site0"}
    assert result.subjects["sub-p1"] == {"site": "site1"}
    path = cords / "participants.tsv"
    path.write_text(path.read_text() + "sub-gone\tsite7\t40\n")
    assert any("left out 1 participant without images" in note for note in read(cords).notes)
    path.write_text("name,site\n")
    with pytest.raises(
        UserError,
        match=r"participants.tsv: has no column participant_id",
    ):
        read(cords)


def test_a_split_of_the_table_is_kept(cords):
    """Catches a split that the set states and a draw overrides."""
    rows = ["participant_id\tsplit"]
    for number, folder in enumerate(sorted(cords.glob("sub-*"))):
        split = "train"
        if number > 7:
            split = "val"
        rows.append(f"{folder.name}\t{split}")
    (cords / "participants.tsv").write_text("\n".join(rows))
    result = read(cords)
    assert {ref.subject for ref in result.splits["val"]} == {"sub-p7", "sub-p8", "sub-p9"}
    assert result.subjects.get("sub-p8", {}) == {}


def test_images_of_another_suffix_are_not_mixed_in(cords):
    """Catches T1w and T2w images in one set, and masks of one on the other."""
    for person in ("p2", "p3"):
        nifti(
            cords / f"sub-{person}" / "anat" / f"sub-{person}_T1w.nii.gz",
            volume(50)[0],
        )
    result = read(cords)
    assert len(all_refs(result)) == 12
    assert any("T2w, the only one with masks" in note for note in result.notes)
    nifti(
        derivative(cords, "p2", "x").with_name("sub-p2_T1w_seg-manual.nii.gz"),
        volume(2)[1],
    )
    with pytest.raises(
        UserError,
        match=r"several suffixes \(T1w: 2, T2w: 12\); choose with",
    ):
        read(cords)
    assert len(all_refs(read(cords, suffix="T2w"))) == 12
    with pytest.raises(
        UserError,
        match="--suffix FLAIR: no image has the suffix FLAIR",
    ):
        read(cords, suffix="FLAIR")


def test_two_suffixes_are_channels(cords):
    """Catches channels in another order than the flag's."""
    for path in sorted(cords.glob("sub-*/**/*_T2w.nii.gz")):
        voxels = np.asarray(nibabel.load(path).dataobj)
        nifti(path.with_name(path.name.replace("T2w", "T1w")), voxels + np.int16(1000))
    result = read(cords, suffix="T1w,T2w")
    image = result.splits["train"][0].load().image
    assert result.channel_names == ("T1w", "T2w")
    np.testing.assert_array_equal(image[..., 0], image[..., 1] + 1000)


def test_derivatives_in_the_words_of_the_standard(tmp_path):
    """Catches names such as sub-01_label-GM_mask, which do not repeat the image's suffix."""
    for seed in range(4):
        voxels, label = volume(seed)
        nifti(tmp_path / f"sub-0{seed}" / "anat" / f"sub-0{seed}_T1w.nii.gz", voxels)
        folder = tmp_path / "derivatives" / "manual" / f"sub-0{seed}" / "anat"
        nifti(
            folder / f"sub-0{seed}_label-GM_mask.nii.gz",
            (label == 2).astype(np.uint8),
        )
        nifti(
            folder / f"sub-0{seed}_label-cord_mask.nii.gz",
            (label > 0).astype(np.uint8),
        )
        nifti(folder / f"sub-0{seed}_desc-preproc_T1w.nii.gz", voxels)
    result = read(tmp_path)
    assert result.classes == ("background", "label-cord_mask", "label-GM_mask")
    assert result.problems == ()


def test_one_file_of_classes(tmp_path):
    """Catches a segmentation of several classes that is read as one."""
    for seed in range(4):
        voxels, label = volume(seed)
        nifti(tmp_path / f"sub-0{seed}" / "anat" / f"sub-0{seed}_T1w.nii.gz", voxels)
        folder = tmp_path / "derivatives" / "manual" / f"sub-0{seed}" / "anat"
        nifti(folder / f"sub-0{seed}_dseg.nii.gz", 3 * label)
    result = read(tmp_path)
    assert result.classes == ("background", "class 3", "class 6")
    assert set(np.unique(result.splits["train"][0].load().label)) == {0, 1, 2}
    assert read(
        tmp_path,
        classes="background,cord,gm",
    ).classes == ("background", "cord", "gm")


def test_a_folder_without_people_is_one_line(tmp_path):
    """Catches an empty set, and masks that are not found."""
    with pytest.raises(UserError, match=r"holds no sub-\*/anat"):
        read_bids(tmp_path)
    nifti(tmp_path / "sub-1" / "anat" / "sub-1_T1w.nii.gz", volume(0)[0])
    with pytest.raises(UserError, match="derivatives: holds no masks"):
        read_bids(tmp_path)
