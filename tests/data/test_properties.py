"""Properties: what holds for scans of any type, orientation, spacing, scale of values and size.

A few examples, always the same ones, are tried; SEMISEG_PROPERTIES=1000 tries that many new ones of
each property.
"""

import os
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scan_files_drawn import CODES, Drawn, numbers_of, truth, volumes

from semiseg.data import grey_values, importing, orientation, readers, store
from semiseg.data.frame import Frame
from semiseg.data.input_scan import read_scan
from semiseg.data.source import STORED, stored_numbers
from semiseg.types import Case

EXAMPLES = int(os.environ.get("SEMISEG_PROPERTIES", "0"))
TIFF = ["float32", "int8", "int16", "uint32"]
"""Types of numbers of a picture that PNG does not hold."""
NO_CHECKS = (HealthCheck.too_slow, HealthCheck.data_too_large)
RULES = ["zscore", "percentile", "slice", "ct", "none", "window -40 160"]


def tried(number):
    """Settings: so many examples, or as many as the environment says."""
    return settings(
        max_examples=EXAMPLES or number,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=NO_CHECKS,
    )


def folder():
    return tempfile.TemporaryDirectory(prefix="semiseg-properties-")


def read_set(source, **options):
    """The cases of a folder whose images are all training images."""
    files = readers.read(
        "folder",
        source,
        progress=False,
        splits="train",
        **options,
    )
    assert files.problems == ()
    return [ref.load() for ref in files.splits["train"]]


def same_places(case: Case, image: Path, label: Path) -> None:
    """Every voxel of a case has the number that its file has at the same millimetre."""
    expected = _at(case, image).reshape(case.image.shape)
    assert (case.image == expected.astype(np.float32)).all()
    assert (case.label == _at(case, label)).all()


def _at(case: Case, path: Path) -> np.ndarray:
    """What a file has at the places of a case's voxels."""
    voxels, affine = truth(path)
    index_DHW3 = np.moveaxis(
        np.indices(case.label.shape),
        0,
        -1,
    )
    world = index_DHW3 @ case.affine[:3, :3].T + case.affine[:3, 3]
    back = np.linalg.inv(affine)
    place = world @ back[:3, :3].T + back[:3, 3]
    there = np.rint(place).astype(int)
    assert np.abs(place - there).max() < 1e-2
    x, y, z = np.moveaxis(
        there,
        -1,
        0,
    )
    return voxels[x, y, z]


def sides_along(case: Case, image: Path, _: Path) -> np.ndarray:
    """Millimetres of a voxel of the file along each axis of the case."""
    affine = truth(image)[1]
    steps = np.linalg.inv(affine)[:3, :3] @ case.affine[:3, :3]
    axes = np.abs(steps).argmax(axis=0)
    return np.linalg.norm(
        affine[:3, :3],
        axis=0,
    )[axes]


# ------------------------------------------------------------------ from a file to the store
@tried(3)
@given(
    st.lists(
        volumes(),
        min_size=3,
        max_size=6,
    )
)
def test_a_store_holds_the_numbers_of_its_files(scans):
    """Catches a number, a class or a millimetre that an import changes, whatever the types and
    orientations that a set mixes.
    """
    with folder() as place:
        source = Path(place) / "source"
        files = {
            f"s{k}": scan.write(
                source,
                f"s{k}",
            )
            for k, scan in enumerate(scans)
        }
        importing.import_set(
            "folder", source, "set", place, progress=False, splits="train", classes="a,b,c"
        )
        cases = store.read_split("set", "train", place)
        assert len(cases) == len(scans)
        planes = {orientation.plane_of_scan(case.affine) for case in cases}
        assert len(planes) == 1
        for case in cases:
            same_places(
                case,
                *files[case.name],
            )
            drawn = scans[int(case.name[1:])]
            np.testing.assert_allclose(
                case.spacing,
                sides_along(
                    case,
                    *files[case.name],
                ),
                rtol=2e-5,
            )
            if drawn.slope is None and drawn.voxels.dtype in STORED:
                assert case.image.dtype == drawn.voxels.dtype


@pytest.mark.parametrize(
    "plane",
    orientation.PLANES,
)
def test_every_orientation_has_an_exact_way_back(plane):
    """Catches one of 48 codes whose inverse is another one."""
    voxels = np.arange(24).reshape(
        2,
        3,
        4,
    )
    for code in CODES:
        ornt = nibabel.orientations.axcodes2ornt(code)
        affine = np.zeros((4, 4))
        for axis, (world, direction) in enumerate(ornt):
            affine[int(world), axis] = direction * (axis + 1)
        affine[3, 3] = 1
        turn = orientation.orientation_of(affine, plane)
        scan = turn.to_scan(voxels)
        scan_affine = turn.scan_affine(
            affine,
            voxels.shape,
        )
        assert turn.code == code
        assert (turn.to_file(scan) == voxels).all()
        assert orientation.code_of(scan_affine) == orientation.PLANES[plane]
        assert (
            turn.file_affine(
                scan_affine,
                voxels.shape,
            )
            == affine
        ).all()
        assert orientation.orientation_back(scan_affine, code) == turn


# ------------------------------------------------------------------ and back
@tried(15)
@given(volumes(most_channels=3))
def test_a_perfect_prediction_is_the_label_file(scan: Drawn):
    """Catches a mask, or probabilities, that lie elsewhere than the scan they were made for."""
    with folder() as place:
        image, label = scan.write(
            Path(place),
            "p7",
        )
        (case,) = read_set(Path(place), classes="a,b,c")
        same_places(case, image, label)
        scanned = read_scan(image, "auto")
        assert (scanned.image == case.image).all()
        probability = np.eye(
            3,
            dtype=np.float32,
        )[case.label]
        frame = Frame(image_size=4, spacing="native")
        mask = frame.labels(
            probability,
            case.label.shape,
        )
        target = Path(place) / f"mask{scan.suffix}"
        scanned.write_mask(mask, target, 3)
        written, affine = truth(target)
        assert (written == scan.label).all()
        np.testing.assert_allclose(
            affine,
            truth(image)[1],
            rtol=1e-6,
            atol=1e-5,
        )
        if scan.suffix.startswith(".nii"):
            assert (nibabel.load(target).affine == nibabel.load(image).affine).all()
        shares = Path(place) / f"shares{scan.suffix}"
        back = frame.to_scan(
            probability,
            case.label.shape,
        )
        scanned.write_probabilities(
            back,
            shares,
            ("a", "b", "c"),
        )
        if scan.suffix.startswith(".nii"):
            assert (nibabel.load(shares).get_fdata().argmax(-1) == scan.label).all()


@tried(10)
@given(
    st.tuples(
        st.integers(1, 40),
        st.integers(1, 40),
    ),
    st.sampled_from(["uint8", "uint16", "colour", *TIFF]),
    st.integers(
        0,
        2**32 - 1,
    ),
)
def test_a_picture_and_its_mask_come_back(shape, kind, seed):
    """Catches a picture whose numbers are scaled or cut, and a mask that is not on its pixels."""
    import tifffile

    numbers = np.random.default_rng(seed)
    pixels = _picture(numbers, kind, shape)
    label = numbers.integers(
        0,
        3,
        shape,
        dtype=np.uint8,
    )
    with folder() as place:
        images = Path(place) / "images"
        labels = Path(place) / "labels"
        images.mkdir()
        labels.mkdir()
        path = images / "p7.png"
        if kind in TIFF:
            path = images / "p7.tif"
            tifffile.imwrite(path, pixels)
        else:
            Image.fromarray(pixels).save(path)
        Image.fromarray(label).save(labels / "p7.png")
        (case,) = read_set(Path(place), classes="a,b,c")
        assert (
            case.image
            == pixels.reshape(
                *shape,
                -1,
            )
        ).all()
        assert case.image.dtype == pixels.dtype or pixels.dtype not in STORED
        scanned = read_scan(path, "auto")
        assert (scanned.image == case.image).all()
        target = Path(place) / path.name
        scanned.write_mask(
            case.label,
            target,
            3,
        )
        assert (np.asarray(Image.open(target)) == label).all()


def _picture(numbers, kind, shape):
    if kind == "colour":
        return numbers.integers(
            0,
            256,
            (*shape, 3),
            dtype=np.uint8,
        )
    return numbers_of(numbers, kind, shape)


# ------------------------------------------------------------------ the frame
def ball(spacing, radius):
    """A bright ball in the middle of air, sampled at ``spacing``."""
    axes = []
    for step in spacing:
        number = int(np.ceil(2.5 * radius / step))
        axes.append(step * (np.arange(number) - (number - 1) / 2))
    distance = np.linalg.norm(
        np.stack(
            np.meshgrid(
                *axes,
                indexing="ij",
            )
        ),
        axis=0,
    )
    return (1000 * (distance < radius))[..., None].astype(np.int16)


@tried(20)
@given(
    st.lists(
        st.floats(0.4, 3.0),
        min_size=3,
        max_size=3,
    ),
    st.floats(0.5, 2.5),
    st.booleans(),
)
def test_millimetres_stay(spacing, pixel, is_3d):
    """Catches a frame that stretches: an isotropic phantom stays isotropic whatever the spacing."""
    radius = 15.0
    image = ball(spacing, radius)
    case = Case(
        "p7",
        "p7",
        image,
        None,
        tuple(spacing),
        "p7",
    )
    frame = Frame(
        16,
        spacing=f"{pixel}",
        intensity="zscore",
        stored="float16",
        depth=8 * is_3d,
    )
    levels = frame.to_pool(case).levels[..., 0].astype(np.float32)
    seen = [pixel] * 3
    if not is_3d:
        seen[0] = spacing[0]
    for axis in range(3):
        length = image.shape[axis] * spacing[axis]
        assert abs(levels.shape[axis] * seen[axis] - length) <= seen[axis] / 2 + 1e-6
        others = tuple({0, 1, 2} - {axis})
        bright = np.flatnonzero((levels > 0.5 * levels.max()).any(others))
        diameter = (np.ptp(bright) + 1) * seen[axis]
        slack = seen[axis] + spacing[axis] + seen[axis] / 2
        assert abs(diameter - 2 * radius) <= slack
        middle = (bright.mean() + 0.5) / levels.shape[axis]
        assert middle == pytest.approx(
            0.5,
            abs=1.0 / levels.shape[axis],
        )


@tried(25)
@given(
    st.sampled_from(RULES),
    st.sampled_from(["uint8", "int16"]),
    st.tuples(
        st.integers(2, 7),
        st.integers(5, 19),
        st.integers(5, 19),
    ),
    st.integers(
        0,
        2**32 - 1,
    ),
)
def test_numbers_are_seen_alike_whatever_holds_them(rule, narrow, shape, seed):
    """Catches a rule that looks at the type of the numbers: files of the same numbers, one of them
    by slope and intercept, give the network the same.
    """
    numbers = np.random.default_rng(seed)
    low, high = (-1024, 3071) if narrow == "int16" else (0, 255)
    values = numbers.integers(
        low,
        high + 1,
        shape,
    )
    kinds = [narrow, "int16", "int32", "float32", "float64"]
    results = []
    frame = Frame(
        12,
        spacing="fit",
        intensity=rule,
        stored="float16",
    )
    for kind in kinds:
        results.append(frame.to_pool(_case(stored_numbers(values.astype(kind)[..., None]))))
    with folder() as place:
        path = Path(place) / "p7.nii"
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        image = nibabel.Nifti1Image(
            ((values - low) // 1).astype(np.uint16),
            affine,
        )
        image.header.set_slope_inter(1, low)
        nibabel.save(image, path)
        content = bytearray(path.read_bytes())
        content[112:120] = np.array([1, low], "<f4").tobytes()
        path.write_bytes(bytes(content))
        scan = read_scan(path, "auto", "axial")
        again = scan.turn.to_file(scan.image)[..., 0]
        assert (again == values).all()
        results.append(frame.to_pool(_case(stored_numbers(again[..., None]))))
    for other in results[1:]:
        if rule != "slice":  # of old runs: levels of uint8 are taken as they are
            assert (other.levels == results[0].levels).all()
            assert (other.mean == results[0].mean).all()
            assert (other.deviation == results[0].deviation).all()
    assert len({grey_values.auto([values.astype(kind)[..., None]]) for kind in kinds}) == 1


def _case(image):
    return Case(
        "p7",
        "p7",
        image,
        None,
        (1.0, 1.0, 1.0),
        "p7",
    )


@tried(25)
@given(
    st.tuples(
        st.integers(1, 33),
        st.integers(1, 33),
    ),
    st.integers(1, 2),
    st.integers(
        0,
        2**32 - 1,
    ),
)
def test_a_finer_pool_loses_no_pixel_of_a_label(shape, factor, seed):
    """Catches a way back that moves a mask by a part of a pixel."""
    assume(min(shape) > 1 or factor == 1)
    label = np.random.default_rng(seed).integers(
        0,
        3,
        shape,
    )
    frame = Frame(
        16,
        spacing=f"{1 / factor}",
    )
    pool = frame.label_to_pool(
        label,
        (1.0, 1.0),
    )
    assert pool.shape == tuple(factor * side for side in shape)
    probability = np.eye(
        3,
        dtype=np.float32,
    )[pool]
    assert (frame.labels(probability, shape) == label).all()
