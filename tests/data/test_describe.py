"""``data describe``: what a network sees of a set, in words and as a picture."""

import dataclasses
import json

import nibabel
import numpy as np
import pytest
from data_samples import picture
from PIL import Image

from semiseg.cli.data import main
from semiseg.data import importing, store
from semiseg.data.frame import Frame
from semiseg.data.frame_facts import frame_facts, frame_lines
from semiseg.data.preview_panels import facts, panels
from semiseg.errors import UserError
from semiseg.types import IGNORE, Case


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store of three training volumes of 12 × 10 pixels of 1 mm and 4 or 5 slices of 5 mm; the
    first lies the other way, and is float32.
    """
    place = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (place / kind).mkdir()
    splits = ["name,subject,split"]
    for i, slices in enumerate((4, 4, 5, 6, 6)):
        affine = np.diag([(-1.0, 1.0)[i == 0], 1.0, 5.0, 1.0])
        image = rng.integers(0, 900, (10, 12, slices)).astype(np.int16)
        if i == 0:
            image = image + np.float32(0.5)
        label = np.zeros((10, 12, slices), np.uint8)
        label[4:7, 2:6, 1] = 1
        for kind, voxels in (("images", image), ("labels", label)):
            nibabel.save(nibabel.Nifti1Image(voxels, affine), place / kind / f"p{i}.nii.gz")
        splits.append(f"p{i},p{i},{('train', 'train', 'train', 'val', 'test')[i]}")
    (place / "subjects.csv").write_text("\n".join(splits) + "\n")
    stores = tmp_path_factory.mktemp("stores")
    importing.import_set("folder", place, "boxes", root=stores, progress=False)
    return str(stores)


def test_the_frame_is_described(root, tmp_path, capsys):
    """Catches a spacing or a rule that training would not take, and a size in other pixels."""
    out = tmp_path / "out.json"
    words = ["describe", "boxes", "--root", root, "--json", str(out)]
    assert main(words) == 0
    described = json.loads(out.read_text())
    train = described["splits"]["train"]
    assert train["orientations"] == {"LAS": 2, "RAS": 1}
    assert train["dtypes"] == {"int16": 2, "float32": 1}
    assert train["scan_size_min"] == [4, 12, 10]
    assert train["scan_size_max"] == [5, 12, 10]
    assert train["extent_median"] == [20, 12, 10]
    frame = described["frame"]
    assert frame["2d"]["spacing"] == "1 1"
    assert frame["3d"]["spacing"] == "5 1 1"
    assert "5 times thicker" in frame["3d"]["spacing_reason"]
    assert frame["3d"]["size_median"] == [4, 12, 10]
    assert (frame["intensity"], frame["stored"]) == ("percentile", "uint8")
    assert frame["noise"] > 1 / 255
    text = capsys.readouterr().out
    assert "20 × 12 × 10 mm in the median" in text
    assert "spacing 5 × 1 × 1 mm" in text
    assert main([*words, "--spacing=2", "--intensity", "window 0 80"]) == 0
    frame = json.loads(out.read_text())["frame"]
    assert frame["3d"]["size_median"] == [10, 6, 5]
    assert (frame["intensity"], frame["intensity_reason"]) == ("window 0 80", "as asked for")
    with pytest.raises(UserError, match="--spacing"):
        main([*words, "--spacing=wide"])


def test_the_text_describes_the_image_size_of_the_picture(tmp_path, capsys):
    """Catches a text of other pixels than those of the preview, a plan that is made for the size of
    the picture, and a size of no window.
    """
    files = tmp_path / "files"
    (files / "images").mkdir(parents=True)
    (files / "masks").mkdir()
    for i in range(3):
        image, mask = picture(i, 25)
        for kind, pixels in (("images", image), ("masks", mask)):
            Image.fromarray(pixels[:20]).save(files / kind / f"p{i}.png")
    rows = [f"p{i},p{i},{split}" for i, split in enumerate(("train", "val", "test"))]
    (files / "subjects.csv").write_text("\n".join(["name,subject,split", *rows]) + "\n")
    stores = str(tmp_path / "stores")
    importing.import_set("folder", files, "pictures", root=stores, progress=False)
    out = tmp_path / "out.json"
    words = ["describe", "pictures", "--root", stores, "--json", str(out)]
    sized = "102×128 pixels in the median with --image-size 128"
    for flags, line in (
        ([], sized),
        (["--image-size=128"], sized),
        (["--image-size=16"], "13×16 pixels in the median with --image-size 16"),
        (["--plan", str(tmp_path / "plan.yaml"), "--width=2"], "20×25 pixels in the median\n"),
    ):
        assert main([*words, *flags]) == 0
        assert line in capsys.readouterr().out
        assert json.loads(out.read_text())["frame"]["2d"]["size_median"] == [20, 25]
    assert main([*words, "--spacing=native"]) == 0
    assert "20×25 pixels in the median\n" in capsys.readouterr().out
    for size in ("--image-size=0", "--image-size=-5", "--depth=-1"):
        with pytest.raises(UserError, match="must be at least"):
            main([*words, size])


def scan(image, unit_side=1.0, label=None):
    return Case("p", "p", image, label, (unit_side,) * (image.ndim - 1), "p")


@pytest.mark.parametrize(
    ("image", "rule", "stored", "why"),
    [
        (np.zeros((3, 8, 8, 1), np.int16) - 1024, "ct", "float16", "is within the step"),
        (picture(0)[0][..., None], "zscore", "uint8", "256 levels already"),
        (picture(0)[0][..., None] + 0.25, "zscore", "uint8", "exceeds the step"),
    ],
)
def test_reasons_are_those_of_the_decision(image, rule, stored, why):
    """Catches a reason that names another cause than the frame had."""
    decided = frame_facts([scan(image)], "pixel", "auto", "auto")
    assert (decided["intensity"], decided["stored"]) == (rule, stored)
    assert why in decided["stored_reason"]
    assert "the unit is pixel" in frame_lines(decided, "pixel")[1]


def test_a_preview_is_drawn(root, tmp_path, capsys):
    """Catches a picture that is not written, a plan that it does not show, and a file or a set that
    ends in a traceback.
    """
    from matplotlib.image import imread

    file = tmp_path / "pictures" / "boxes.png"
    words = ["describe", "boxes", "--root", root, "--preview", str(file)]
    assert main([*words, "--image-size=8"]) == 0
    flat = imread(file)
    assert flat.std() > 0.1
    plan = ["--dims=3", "--plan", str(tmp_path / "plan.yaml"), "--width=2"]
    assert main([*words, *plan]) == 0
    assert f"preview: {file}" in capsys.readouterr().out
    assert imread(file).shape[1] == flat.shape[1]
    with pytest.raises(UserError, match=r"is no \.png"):
        main([*words[:-1], "boxes.txt"])
    with pytest.raises(UserError, match="2D network"):
        main(["describe", "nuclei", "--dims=3", "--preview", str(file)])


def test_panels_show_the_window_and_its_padding(root):
    """Catches a window that misses the classes, padding on one side alone, and slices that are seen
    as thin as pixels from the side.
    """
    case = store.read_split("boxes", "train", root)[0]
    frame = Frame(8, depth=6, width=16, spacing="5 1 1", intensity="percentile", stored="uint8")
    grey = frame.to_pool(case).levels / 255
    info = store.info("boxes", root)
    middle, fullest, side = panels(info, case, grey, case.label, frame)
    assert (middle.title, fullest.title) == ("middle slice, 3 of 4", "fullest slice, 2 of 4")
    assert (fullest.window, side.window) == ((8, 16), (6, 16))
    rows = np.flatnonzero((fullest.label == 1).any(1))
    assert fullest.start[0] <= rows.min()
    assert rows.max() < fullest.start[0] + 8
    assert fullest.start[1] == -3
    assert side.start[0] == -1
    assert side.aspect == 5
    plain, labelled = panels(info, scan(grey[0]), grey[0], case.label[1], frame)
    assert plain.label is None
    assert (labelled.label == case.label[1]).all()


def test_every_channel_is_drawn(root):
    """Catches a class that is drawn on a channel that does not show it."""
    case = store.read_split("boxes", "train", root)[0]
    frame = Frame(8, spacing="1 1", intensity="percentile", stored="uint8")
    info = dataclasses.replace(
        store.info("boxes", root), channels=5, channel_names=("t1", "t2", "pd", "dwi", "adc")
    )
    grey = np.concatenate([frame.to_pool(case).levels / (255 + i) for i in range(5)], -1)
    drawn = panels(info, case, grey, case.label, frame)
    assert [panel.title for panel in drawn[3:]] == [
        f"channel {i + 1} of 5, {info.channel_names[i]}" for i in (1, 2, 3)
    ]
    for i, panel in enumerate(drawn[3:], start=1):
        assert (panel.grey == grey[1, ..., i]).all()
        assert (panel.label == case.label[1]).all()


def test_the_text_counts_classes_before_and_after(root):
    """Catches counts of the wrong grid, a volume in mm², and IGNORE taken for a class."""
    info = store.info("boxes", root)
    case = store.read_split("boxes", "train", root)[0]
    frame = Frame(8, spacing="2 2", intensity="ct-soft", stored="uint8")
    label = frame.label_to_pool(case.label, case.spacing)
    text = facts(info, case, label, label.shape, frame)
    assert "file: 4×12×10, float32 RAS" in text
    assert "network: 4×6×5\n  of 5 × 2 × 2 mm\n  one window of 8×8 holds a slice" in text
    assert "black to white: -160 to 240" in text
    name = info.classes[1]
    assert "shown:" not in text
    two = dataclasses.replace(info, channels=2, channel_names=("flair", "t1ce"))
    assert "shown: channel 1 of 2, flair" in facts(two, case, label, label.shape, frame)
    assert f"{name}: 12 voxels, 0.06 ml; network {(label == 1).sum()}" in text
    image = np.zeros((4, 4, 1), np.uint8)
    labelled = scan(image, 0.5, np.array([[1, 1, 0, IGNORE]] * 4, np.uint8))
    text = facts(info, labelled, labelled.label, (4, 4), Frame(8, spacing="0.5", intensity="none"))
    assert f"{name}: 8 pixels, 2 mm²; network 8" in text
    text = facts(info, labelled, labelled.label, (12, 4), Frame(8, spacing="0.5", intensity="none"))
    assert "trained on 8×8 of it, evaluated whole" in text
