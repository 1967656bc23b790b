"""Records are what TFDS would write, with one copy of the pixels in memory."""

import tracemalloc

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tensorflow_datasets.proto import tf_example_pb2

from semiseg.data import array_records, example_bytes
from semiseg.data.array_records import _encode, _features, _packed
from semiseg.types import Case


def scan(kind, shape=(3, 5, 4, 2), labelled=True):
    image = np.random.default_rng(0).normal(50, 9, shape).astype(kind)
    label = (image[..., 0] > 50).astype(np.uint8) if labelled else None
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    return Case("p1", "p1_a", image, label, (3.0, 2.0, 1.0), "p1_a", 0, "g", affine, "LAS")


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_record_is_that_of_tfds(kind, labelled, monkeypatch):
    """Catches lengths that are wrong, and parts that are left out or in another order."""
    monkeypatch.setattr(array_records, "PART", 7)
    case = scan(kind, labelled=labelled)
    pixels = {"image": case.image, "label": case.label}
    features = _features(tfds)
    packed = {
        name: np.frombuffer(b"".join(_packed(values)), np.uint8) for name, values in pixels.items()
    }
    whole = ExampleSerializer(features.get_serialized_info())
    expected = whole.serialize_example(features.encode_example(_encode(case) | packed))
    facts = tfds.features.FeaturesDict(
        {key: feature for key, feature in features.items() if key not in pixels}
    )
    small = ExampleSerializer(facts.get_serialized_info())
    record = example_bytes.record(
        small.serialize_example(facts.encode_example(_encode(case))),
        {name: _packed(values) for name, values in pixels.items()},
    )
    parse = tf_example_pb2.Example.FromString
    assert parse(record) == parse(expected)


def test_a_large_record_has_one_copy(tmp_path):
    """Catches a second copy of 8 MB of pixels."""
    array_records.write(tmp_path / "warm", {"train": [scan("float32")]})
    case = scan("float32", (32, 256, 256, 1), labelled=False)
    tracemalloc.start()
    array_records.write(tmp_path / "set", {"train": [case]})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 1 < peak / case.image.nbytes < 1.2
    (stored,) = array_records.read(tmp_path / "set", "train")
    assert np.array_equal(stored.image, case.image)
