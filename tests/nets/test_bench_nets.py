"""The benchmark of networks runs, and its peers are the same networks."""

import json

import pytest
from net_contract import count

from semiseg.bench import network_cost as bench
from semiseg.bench import network_table
from semiseg.cli.main import main
from semiseg.errors import UserError
from semiseg.nets import NETS


def test_a_run_that_was_cut_off_goes_on_and_names_its_reasons(tmp_path, monkeypatch, capsys):
    """Catches a figure of the table that is not measured, a network measured twice, rows of other
    settings kept, and a slow network without a word.
    """
    monkeypatch.setattr(
        bench, "contenders", lambda names: {name: NETS["unet"](widths=(2, 4)) for name in names}
    )
    file = tmp_path / "nets.json"
    said = {"tiny": "a reason"}
    command = [
        "bench",
        "nets",
        "--size",
        "8",
        "--batch",
        "2",
        "--repeats",
        "1",
        "--json",
        str(file),
        "--only",
    ]
    assert main([*command, "tiny"]) == 0
    (row,) = json.loads(file.read_text())["nets"]
    assert row["parameters"] > 0
    assert row["step_s"] > 0
    assert row["inference_s"] > 0
    assert row["temporary_mib"] >= 0
    assert row["rounds"] == 1
    slow = {
        "peer": "X",
        "peer_step_s": 1.0,
        "peer_inference_s": 1.0,
        "peer_kept_mib": 1,
        "step_ratio": 1.6,
        "inference_ratio": 0.5,
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | {"nets": [row | slow]}))
    monkeypatch.setattr(network_table, "REASONS", said)
    monkeypatch.setattr(bench, "_ours", lambda *args: pytest.fail("measured again"))
    assert main([*command, "tiny"]) == 0
    assert json.loads(file.read_text())["nets"][0]["reason"] == "a reason"
    assert "- tiny: a reason" in file.with_suffix(".md").read_text()
    said.clear()
    assert main([*command, "tiny"]) == 0
    assert "no reason is written" in capsys.readouterr().out
    with pytest.raises(pytest.fail.Exception, match="again"):
        main([*command, "tiny", "--size", "16"])


@pytest.mark.parametrize("name", bench.PEERS)
def test_a_peer_has_our_size(name):
    """Catches a peer of another configuration; MONAI counts biases that a norm cancels (and an
    unused head), less than 1 %.
    """
    nets = pytest.importorskip("monai.networks.nets")
    ours = count(
        bench.contenders([name])[name],
        (64, 64),
        1,
        bench.CLASSES,
    )
    with pytest.importorskip("torch").device(
        "meta" if name == "unetr" else "cpu"
    ):  # shapes alone of the largest
        theirs = sum(p.numel() for p in bench.PEERS[name][1](nets, 64).parameters())
    assert abs(ours - theirs) < 0.01 * theirs


def test_every_network_takes_the_same_image():
    """Catches a network that stays in 3D, and a name that is none."""
    assert {net.dims for net in bench.contenders([]).values()} == {2}
    with pytest.raises(UserError, match="no net called 'x'"):
        bench.contenders(["x"])
