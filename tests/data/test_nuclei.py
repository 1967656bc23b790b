"""The embedded set and the reader it was made with."""

import itertools
import zipfile
from collections import Counter

import numpy as np
import pytest
from data_samples import write_png
from scipy.ndimage import gaussian_filter

from semiseg.data import embedded, lookalikes, readers, store
from semiseg.errors import UserError


def test_set_holds_what_its_card_says(tmp_path):
    """Catches a file made with other fractions, empty masks, test images in train, or a card nobody
    updated.
    """
    info = store.info("nuclei", tmp_path)
    split = {name: store.read_split("nuclei", name, tmp_path) for name in ("train", "val")}
    split["test"] = store.read_test("nuclei", tmp_path, reason="test", run="none")
    card = (embedded.FILE.parent / "README.md").read_text()
    for name, cases in split.items():
        groups = {case.group for case in cases}
        stain_of = Counter(case.group.partition("-")[0] for case in cases)
        stains = [stain_of[stain] for stain in ("fluorescence", "histology", "brightfield")]
        assert info.counts[name]["records"] == len(cases)
        assert f"| {name} | {len(cases)} | {len(groups)} | {' | '.join(map(str, stains))} |" in card
        for case in cases:
            assert case.image.shape == (96, 96, 1)
            assert case.image.dtype == np.uint8
            assert len(case.spacing) == 2
            assert case.label.any()
            assert case.label.max() == 1
            assert case.label.dtype == np.uint8
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not {c.subject for c in split[one]} & {c.subject for c in split[other]}
        assert not {c.group for c in split[one]} & {c.group for c in split[other]}
        pixels = {c.image.tobytes() for c in split[one]}
        assert not any(c.image.tobytes() in pixels for c in split[other])
    assert embedded.FILE.stat().st_size < 4e6


def test_damaged_file_is_named(tmp_path, monkeypatch):
    """Catches a traceback from a broken installation, and an npz that is unpickled."""
    path = tmp_path / "nuclei.npz"
    np.savez(path, train_name=np.array([{"a": 1}], dtype=object))
    monkeypatch.setattr(embedded, "FILE", path)
    for text in (path.read_bytes(), b"PK\x03\x04 nonsense"):
        path.write_bytes(text)
        with pytest.raises(UserError, match="nuclei.npz: damaged"):
            embedded._load("train_name")


def test_no_two_clusters_are_nearer_than_the_threshold():
    """Catches complete or average linkage, whose clusters can touch: a chain of steps of 1 is one
    cluster at threshold 1.5.
    """
    chain = np.arange(8.0)[:, None]
    features = np.concatenate([chain, chain + 20])[
        [3, 9, 0, 12, 1, 2, 4, 5, 6, 7, 8, 10, 11, 13, 14, 15]
    ]
    found = lookalikes.clusters(features, 1.5)
    np.testing.assert_array_equal(found, (features[:, 0] >= 20).astype(int))
    np.testing.assert_array_equal(
        lookalikes.clusters(features[:1], 1.5),
        [0],
    )
    joined = np.zeros((16, 16), bool)
    joined[0, 1] = True
    np.testing.assert_array_equal(
        lookalikes.clusters(features, 1.5, joined),
        np.zeros(16, int),
    )


def test_an_image_of_one_row_has_an_appearance_without_noise(recwarn):
    """Catches a mean of no steps, which warned in numpy's words."""
    row = np.full((1, 8, 3), 100, np.uint8)
    tall = np.full((8, 8, 3), 100, np.uint8)
    np.testing.assert_array_equal(lookalikes.appearance(row), lookalikes.appearance(tall))
    assert not recwarn


def test_tiles_of_one_picture_meet():
    """Catches edges compared with the wrong side, and plain ground taken for a seam: tiles meet in
    a ring, a stranger and black nobody.
    """
    noise = np.random.default_rng(0).normal(size=(2, 64, 64))
    whole, stranger = (
        np.repeat(120 + 400 * gaussian_filter(x, 4)[..., None], 3, -1) for x in noise
    )
    black = np.zeros((32, 32, 3))
    tiles = [
        whole[:32, :32],
        whole[:32, 32:],
        whole[32:, :32],
        whole[32:, 32:],
        stranger[:32, :32],
        black,
        black,
    ]
    met = lookalikes.seams([lookalikes.edges(tile) for tile in tiles])
    assert {tuple(pair) for pair in np.argwhere(np.triu(met))} == {
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 3),
    }


def test_stains():
    """Catches thresholds on the wrong side: dark grey, light grey, coloured."""
    dark = np.full((4, 4, 3), 20, np.uint8)
    light = np.full((4, 4, 3), 220, np.uint8)
    pink = light * np.array([1, 0.7, 0.9])
    assert [lookalikes.stain(x.astype(np.uint8)) for x in (dark, light, pink)] == [
        "fluorescence",
        "brightfield",
        "histology",
    ]


@pytest.fixture
def competition(tmp_path):
    """Four dark images of different brightness with two nuclei each, one image that is excluded."""
    folder = tmp_path / "stage1_train"
    for i, ident in enumerate(
        [
            "aa",
            "bb",
            "cc",
            "dd",
            "7b38c917" + "0" * 8,
        ]
    ):
        masks = np.zeros((2, 24, 20), np.uint8)
        masks[0, 2:6, 2:6] = 255
        masks[1, 12:18, 10:15] = 255
        image = np.repeat(
            (masks.max(0) // 2 + 5 * 3**i % 120)[..., None],
            3,
            -1,
        )
        write_png(
            folder / ident / "images" / f"{ident}.png",
            image.astype(np.uint8),
        )
        for k in range(2):
            write_png(
                folder / ident / "masks" / f"{ident}{k}.png",
                masks[k],
            )
    return folder


def test_zip_and_folder_are_read_alike_and_nuclei_united(competition, tmp_path):
    """Catches a mask overwritten by the next one, an excluded image that slips in, and a zip read
    differently from its content.
    """
    archive = tmp_path / "stage1_train.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(competition.rglob("*.png")):
            file.write(path, path.relative_to(competition).as_posix())
    cases = {}
    for source in (competition, archive):
        found = readers.read("dsb2018", source, progress=False)
        assert found.problems == ()
        cases[source] = sorted(
            (ref.load() for ref in itertools.chain(*found.splits.values())),
            key=lambda case: case.name,
        )
    for a, b in zip(*cases.values(), strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        assert (a.name, a.group, a.label.sum()) == (
            b.name,
            b.group,
            16 + 30,
        )
        assert a.group.startswith("fluorescence-24x20-")
    assert [case.name for case in cases[archive]] == ["aa", "bb", "cc", "dd"]
    rgb = readers.read("dsb2018", archive, progress=False, channels="rgb").splits["train"][0].load()
    assert rgb.image.shape == (24, 20, 3)


def test_competition_problems(competition, tmp_path):
    """Catches an image without masks that becomes all background, and a broken zip that ends in a
    traceback.
    """
    for path in (competition / "bb" / "masks").iterdir():
        path.unlink()
    (competition / "cc" / "images" / "cc.png").write_bytes(b"")
    problems = readers.read("dsb2018", competition, progress=False).problems
    assert any("bb.png: has no mask" in line for line in problems)
    assert any("cc.png: cannot be read" in line for line in problems)
    (tmp_path / "bad.zip").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match="bad.zip"):
        readers.read("dsb2018", tmp_path / "bad.zip", progress=False)


def test_embedded_pixels_are_the_zips(dsb, tmp_path):
    """Catches a crop, average or vote that is not the documented one: one image made again by other
    means.
    """
    from PIL import Image

    case = store.read_split("nuclei", "val", tmp_path)[0]
    with zipfile.ZipFile(dsb) as archive:
        names = [n for n in archive.namelist() if n.startswith(case.name) and n.endswith(".png")]
        picture = Image.open(archive.open(next(n for n in names if "/images/" in n))).convert("L")
        masks = [
            np.asarray(Image.open(archive.open(n)).convert("L")) > 0
            for n in names
            if "/masks/" in n
        ]
    left = (picture.width - 192) // 2
    top = (picture.height - 192) // 2
    half = picture.crop((left, top, left + 192, top + 192)).resize(
        (96, 96),
        Image.Resampling.BOX,
    )
    assert np.abs(np.asarray(half).astype(int) - case.image[..., 0]).max() <= 1
    united = np.any(masks, 0)[top : top + 192, left : left + 192]
    votes = sum(united[i::2, j::2].astype(int) for i, j in itertools.product((0, 1), repeat=2))
    np.testing.assert_array_equal(case.label, votes >= 2)
