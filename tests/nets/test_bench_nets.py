"""The benchmark of networks runs, and its peers are the same networks."""

import pytest
from net_contract import count

from semiseg.bench import nets as bench
from semiseg.errors import UserError
from semiseg.nets import NETS


def test_a_row_has_every_figure():
    """Catches a figure of the table that is not measured."""
    found = bench.measure({"tiny": NETS["unet"](widths=(2, 4))}, batch=2, size=8, repeats=1, peer=False)
    (row,) = found["nets"]
    assert row["parameters"] > 0 and row["step_s"] > 0 and row["inference_s"] > 0 and row["temporary_mib"] >= 0


@pytest.mark.parametrize("name", bench.PEERS)
def test_a_peer_has_our_size(name):
    """Catches a peer of another configuration; MONAI counts biases that a norm cancels (and an unused head), less than 1 %."""
    nets = pytest.importorskip("monai.networks.nets")
    ours = count(bench.contenders([name])[name], (64, 64), 1, bench.CLASSES)
    theirs = sum(p.numel() for p in bench.PEERS[name][1](nets).parameters())
    assert abs(ours - theirs) < 0.01 * theirs


def test_every_network_takes_the_same_image():
    """Catches a network that stays in 3D, and a name that is none."""
    assert {net.dims for net in bench.contenders([]).values()} == {2}
    with pytest.raises(UserError, match="no net called 'x'"):
        bench.contenders(["x"])
