"""What every reader must do with files of its layout: a tiny set of each is read, and broken."""

import json
import zipfile

import nibabel
import numpy as np
import pytest
from data_samples import write_png
from layouts import LAYOUTS, h5, nifti

from semiseg.data import check, readers
from semiseg.data.recognise import recognise
from semiseg.data.source import SPLITS, STORED, Source
from semiseg.errors import UserError
from semiseg.types import IGNORE

TESTED_APART = {"dicom"}
"""Formats whose files have a test of their own."""
HAVE_TABLES = [name for name, layout in LAYOUTS.items() if layout.table]
HAVE_GEOMETRY = ["folder", "nnunet", "msd", "bids", "patients"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Format → a folder with its tiny set, for tests that change nothing."""
    folders = {}
    for name, layout in LAYOUTS.items():
        folders[name] = tmp_path_factory.mktemp("source") / name
        layout.write(folders[name])
    return folders


def read(name: str, source) -> Source:
    return readers.read(name, source, progress=False, **LAYOUTS[name].options)


def problems(name: str, source) -> list[str]:
    return check.check_source(
        name,
        source,
        progress=False,
        **LAYOUTS[name].options,
    )


def refs_of(result: Source):
    for split in SPLITS:
        yield from result.splits.get(split, ())


def is_one_line(problem: str) -> bool:
    """Whether a problem names a place, and a remedy after a semicolon, in one line."""
    return "\n" not in problem and "/" in problem.split(": ")[0] and "; " in problem


def test_every_reader_has_a_tiny_set():
    """Catches a new reader that nobody tries."""
    assert set(LAYOUTS) | TESTED_APART == set(readers.READERS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_recognised(name, sources):
    """Catches a layout that --format auto does not know, or takes for another."""
    recognised = recognise(sources[name], readers.READERS.values())
    assert recognised.format == name
    assert recognised.words


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_tiny_set_is_read(name, sources):
    """Catches a case that cannot be loaded, a subject in two splits, a class without its name, and
    a label that is not the image's.
    """
    result = read(name, sources[name])
    assert result.problems == ()
    assert result.classes == LAYOUTS[name].classes
    split_of: dict[str, str] = {}
    names = set()
    present = set()
    for split, refs in result.splits.items():
        for ref in refs:
            assert split_of.setdefault(ref.subject, split) == split
            assert ref.name not in names
            names.add(ref.name)
            case = ref.load()
            assert case.image.dtype in STORED
            assert case.image.ndim == 1 + len(case.spacing)
            if case.label is not None:
                assert case.label.shape == case.image.shape[:-1]
                present |= set(np.unique(case.label).tolist())
    assert {"train", "val"} <= set(result.splits)
    assert present <= {*range(len(result.classes)), IGNORE}
    assert 1 in present
    assert problems(name, sources[name]) == []


@pytest.mark.parametrize("name", HAVE_GEOMETRY)
def test_geometry_is_kept(name, sources):
    """Catches a voxel whose place in space is another one than in its file."""
    result = read(name, sources[name])
    ref = next(ref for ref in refs_of(result) if "p3" in ref.name)
    case = ref.load()
    file = nibabel.load(ref.path)
    voxels = np.asarray(file.dataobj).reshape(*file.shape[:3], -1)
    np.testing.assert_allclose(
        sorted(case.spacing),
        [1.25, 1.5, 4.0],
        rtol=1e-5,
    )
    assert case.orientation == "LAS"
    rng = np.random.default_rng(0)
    for index in rng.integers(0, case.image.shape[:3], (20, 3)):
        world = case.affine @ [*index, 1]
        place = np.linalg.inv(file.affine) @ world
        there = tuple(np.round(place[:3]).astype(int))
        assert case.image[tuple(index)][0] == voxels[there][0]


# ------------------------------------------------------------------ broken files
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_damaged_file_is_named(name, tmp_path):
    """Catches a traceback, a problem that does not name the file, and a file that is read though
    it is damaged.
    """
    LAYOUTS[name].write(tmp_path)
    path = tmp_path / LAYOUTS[name].image
    path.write_bytes(b"no such thing" * 9)
    lines = problems(name, tmp_path)
    assert any(str(path) in line or path.parent.name in line for line in lines), lines
    assert all(is_one_line(line) for line in lines), lines


@pytest.mark.parametrize(
    "name",
    [name for name in LAYOUTS if name != "dsb2018"],
)
def test_a_missing_file_is_named(name, tmp_path):
    """Catches a set from which a case vanishes without a word."""
    LAYOUTS[name].write(tmp_path)
    path = tmp_path / LAYOUTS[name].image
    path.unlink()
    lines = problems(name, tmp_path)
    subject = path.name.partition("_")[0].partition(".")[0]
    if name == "synapse":
        assert any(str(path) in line for line in lines)
    assert any(subject in line or path.parent.name in line for line in lines), lines
    assert all(is_one_line(line) for line in lines), lines


def small_label(path) -> None:
    """Write a label of another size than its image."""
    small = np.zeros((3, 3, 2), np.uint8)
    if path.name.endswith(".nii.gz"):
        nifti(path, small)
    elif path.suffix == ".npz":
        np.savez(
            path,
            image=np.zeros((12, 10), np.float32),
            label=small[..., 0],
        )
    elif path.suffix == ".h5":
        image = np.zeros((12, 10, 4), np.float32)
        if path.parent.name == "slices":
            image = image[..., 0]
            small = small[..., 0]
        h5(path, image, small)
    else:
        write_png(path, small[..., 0])


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "tfds"])
def test_a_label_of_another_size_is_named(name, tmp_path):
    """Catches a label that is stretched or cut to its image."""
    LAYOUTS[name].write(tmp_path)
    path = tmp_path / LAYOUTS[name].label
    small_label(path)
    lines = problems(name, tmp_path)
    assert any(str(path) in line for line in lines), lines
    assert all(is_one_line(line) for line in lines), lines


@pytest.mark.parametrize("name", HAVE_TABLES)
def test_a_broken_table_is_named(name, tmp_path):
    """Catches a traceback of a parser."""
    LAYOUTS[name].write(tmp_path)
    path = tmp_path / LAYOUTS[name].table
    path.write_bytes(b"{\xff\xfe")
    lines = problems(name, tmp_path)
    assert any(str(path) in line for line in lines), lines
    assert all(is_one_line(line) for line in lines), lines


@pytest.mark.parametrize(
    "name",
    ["folder", "nnunet", "msd", "bids", "patients"],
)
def test_a_label_elsewhere_in_space_is_refused(name, tmp_path):
    """Catches a label that lies beside its image, or mirrored on it."""
    LAYOUTS[name].write(tmp_path)
    path = tmp_path / LAYOUTS[name].label
    label = nibabel.load(path)
    affine = label.affine.copy()
    affine[0] *= -1
    nifti(path, np.asarray(label.dataobj), affine)
    lines = problems(name, tmp_path)
    assert any(str(path) in line for line in lines), lines


def test_a_folder_of_nothing_known_is_one_line(tmp_path):
    """Catches a guess, and an answer that does not say what was looked for."""
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UserError, match="looked for images/") as error:
        recognise(tmp_path, readers.READERS.values())
    assert is_one_line(str(error.value))


def test_two_layouts_in_one_folder_are_asked_about(tmp_path):
    """Catches one of two layouts that is taken without a word."""
    LAYOUTS["folder"].write(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}}))
    with pytest.raises(
        UserError,
        match=r"several formats: .*folder.*nnunet.*--format",
    ):
        recognise(tmp_path, readers.READERS.values())


@pytest.mark.parametrize("wrong", ["..", "imagesTr"])
def test_the_folder_that_was_meant_is_named(tmp_path, wrong):
    """Catches a user one folder off who is told of all layouts and not of his own."""
    source = tmp_path / "raw" / "Dataset001"
    LAYOUTS["nnunet"].write(source)
    with pytest.raises(
        UserError,
        match=r"did you mean --source .*Dataset001 \(dataset.json",
    ):
        recognise(source / wrong, readers.READERS.values())


@pytest.mark.parametrize("name", HAVE_GEOMETRY)
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_label_a_little_off_is_told(name, share, tmp_path):
    """Catches rounded headers that are passed over in silence, and labels half a voxel off that
    are taken.
    """
    LAYOUTS[name].write(tmp_path)
    path = tmp_path / LAYOUTS[name].label
    label = nibabel.load(path)
    affine = label.affine.copy()
    affine[0, 3] += 1.5 * share
    nifti(path, np.asarray(label.dataobj), affine)
    notes = " ".join(read(name, tmp_path).notes)
    lines = problems(name, tmp_path)
    if share < 0.25:
        assert f"1 labels lie up to {share:.2f} of a voxel off their images ({path.name})" in notes
        assert lines == []
    else:
        assert any(str(path) in line and "elsewhere in space" in line for line in lines)


def test_a_folder_with_the_archive_in_it_is_recognised(tmp_path):
    """Catches a download folder of the Data Science Bowl that no format fits."""
    LAYOUTS["dsb2018"].write(tmp_path / "extracted")
    source = tmp_path / "dsb2018"
    source.mkdir()
    with zipfile.ZipFile(source / "stage1_train.zip", "w") as archive:
        for path in sorted((tmp_path / "extracted").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "extracted"))
    assert recognise(source, readers.READERS.values()).format == "dsb2018"
    assert len(list(refs_of(read("dsb2018", source)))) == 10
