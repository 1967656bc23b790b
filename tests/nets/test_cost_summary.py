"""What `semiseg nets` says: figures against counts by hand."""

import json

import pytest

from semiseg.cli.main import main
from semiseg.nets import NETS, cost_summary

NET = NETS["unet"](widths=(2, 4), convs=1)


def test_cost_is_the_count_by_hand():
    """Catches a kernel counted without its window, a matrix product counted twice, and padding that
    is not part of the work: 8² pixels, 2 levels.
    """
    found = cost_summary.cost(NET, 8, channels=3, classes=5)
    convs = 64 * 9 * 3 * 2 + 16 * 9 * 2 * 4 + 64 * 9 * 4 * 2  # down0, down1, up0
    products = 16 * 4 * (4 * 2) + 64 * 2 * 5  # 2×2 transposed, head
    assert found["multiply_adds"] == convs + products
    assert (
        found["parameters"]
        == 9 * 3 * 2 + 4 + 9 * 2 * 4 + 8 + 4 * 4 * 2 + 2 + 9 * 4 * 2 + 4 + 2 * 5 + 5
    )
    assert found["activation_mib"] == round(
        4 * (64 * 2 + 16 * 4 + 16 * 8 + 64 * 2 + 64 * 5) / 2**20, 2
    )


def test_a_volume_is_convolved_once():
    """Catches convolutions counted once for every kind of device that has its own way of them."""
    found = cost_summary.cost(NETS["unet"](widths=(2, 4), convs=1, dims=3), 8, classes=5)
    convs = 512 * 27 * 1 * 2 + 64 * 27 * 2 * 4 + 512 * 27 * 4 * 2  # down0, down1, up0
    products = 64 * 4 * (8 * 2) + 512 * 2 * 5  # 2×2×2 transposed, head
    assert found["multiply_adds"] == convs + products


@pytest.mark.parametrize(
    ("net", "reach"),
    [
        (
            NETS["unet"](widths=(2, 2), convs=1, norm="instance"),
            10,
        ),  # ±1; the 2 columns of a block and ±1 block; twice as wide; ±1 again
        (
            NETS["se_unet"](widths=(2, 2), convs=1, norm="none"),
            None,
        ),
        (
            NETS["swin_unet"](features=4, depths=(1,), heads=(1,), window=2, patch=2),
            4,
        ),  # a window of two tokens of two pixels
        (
            NETS["pointrend"](
                NETS["unet"](widths=(2, 2), convs=1, dims=3), scale=2, width=2, hidden=1
            ),
            20,
        ),  # twice that of its network
    ],
)
def test_receptive_field_by_hand(net, reach, monkeypatch):
    """Catches a field cut off by the strip, a mean over the image that is missed, a layer norm that
    cancels what it is given, points left out.
    """
    monkeypatch.setattr(cost_summary, "REACH", 64)
    assert cost_summary.receptive_field(net) == reach


def test_every_default_has_its_receptive_field():
    """Catches defaults that were changed after the receptive fields were measured (`semiseg nets
    --receptive-field` measures them).
    """
    assert set(cost_summary.recorded()) == {repr(cls()) for cls in NETS.values()}
    assert (
        cost_summary.recorded()[repr(NETS["segnet"]())] == 372
    )  # by hand: 212 of VGG16's five stages, and five more blocks of 32 by the decoder


def test_the_command_writes_what_it_shows(tmp_path, monkeypatch, capsys):
    """Catches a table without one of its columns, figures of the defaults where fields were given,
    and flags that are not known.
    """
    monkeypatch.setattr(
        "semiseg.nets.NETS",
        {name: NETS[name] for name in ("unet", "vnet")},
    )
    assert (
        main(
            [
                "nets",
                "--size",
                "32",
                "--json",
                str(tmp_path / "nets.json"),
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "nets.json").read_text())
    assert [n["name"] for n in found["nets"]] == ["unet", "vnet"]
    assert [n["size"] for n in found["nets"]] == [32, 8]
    assert all(
        f"{n['parameters']:,}" in said
        and n["paper"][:30] in said
        and f" {n['receptive_field']}  " in said
        for n in found["nets"]
    )
    monkeypatch.setattr(cost_summary, "REACH", 64)
    assert main(["nets", "unet", "--net.widths", "2,4", "--size", "16"]) == 0
    said = capsys.readouterr().out
    assert "down1" in said
    assert "3×3×2×4" in said
    assert "--net.widths" in said
    assert "receptive field" in said
    for wrong in (
        ["nets", "x"],
        ["nets", "--size", "a"],
        ["nets", "--net.widths", "2,4"],
        ["nets", "unet", "--lr", "1"],
    ):
        assert main(wrong) == 2
