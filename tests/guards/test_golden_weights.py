"""The last weights of four short trainings equal those that commit 53dd379 trained.

Catches a change of any number on the way from a picture to a weight: the order of random draws, a
loss, an augmentation, the optimiser, the order of leaves. ``golden_weights.json`` holds a hash,
which is compared where the machine and the versions are those it was made with, and statistics and
values of the weights, which are compared elsewhere.
"""

import guard_tools as tools
import numpy as np
import pytest

pytestmark = pytest.mark.slow

GOLDEN = tools.read_json(tools.HERE / "golden_weights.json")


@pytest.mark.parametrize("name", sorted(GOLDEN["weights"]))
def test_weights_are_those_of_53dd379(name, new):
    code, _, err = new.results[name]
    assert code == 0, err
    arrays = tools.weights(new.folder / "made" / name / "weights.safetensors")
    golden = GOLDEN["weights"][name]
    assert sorted(arrays) == sorted(golden["leaves"])
    close = {"rtol": tools.RTOL, "atol": tools.ATOL}
    for key, leaf in golden["leaves"].items():
        array = arrays[key].astype(np.float64)
        assert list(array.shape) == leaf["shape"], key
        np.testing.assert_allclose(
            np.mean(array),
            leaf["mean"],
            **close,
            err_msg=key,
        )
        mean_square = np.mean(np.square(array))
        np.testing.assert_allclose(mean_square, leaf["mean_square"], **close, err_msg=key)
    for key, values in golden["values"].items():
        np.testing.assert_allclose(
            arrays[key].ravel()[:8],
            values,
            **close,
            err_msg=key,
        )
    if GOLDEN["made_on"] == tools.machine():
        assert tools.digest(arrays) == golden["sha256"], "same machine and versions, other bits"
