"""What is said where a network's window is smaller than the labelled object."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from semiseg.data import object_size
from semiseg.data.frame import Frame
from semiseg.types import IGNORE, Case


def disc(i, spacing, side=200, radius=60, volume=0):
    """A scan with one disc and a speck, in the middle slice of a volume."""
    rows, columns = np.mgrid[:side, :side]
    label = ((rows - side / 2) ** 2 + (columns - side / 2) ** 2 < radius**2).astype(np.uint8)
    label[2:4, 2:4] = 1
    label[:, -1] = IGNORE
    if volume:
        label = np.stack([np.zeros_like(label)] * volume)
        label[volume // 2] = disc(i, spacing, side, radius).label
    image = np.random.default_rng(i).integers(0, 255, (*label.shape, 1), dtype=np.uint8)
    return Case(f"p{i}", f"p{i}", image, label, spacing, f"p{i}")


@pytest.mark.parametrize("volume", [0, 5])
def test_the_largest_object_is_measured_in_pool_pixels(volume):
    """Catches a box around all objects, one in the scan's own pixels, and a median slice."""
    spacing = (3.0, 0.5, 0.5)[-3 if volume else -2 :]
    scans = [disc(i, spacing, volume=volume) for i in range(3)]
    in_pool = Frame(32, spacing="1 1")
    assert object_size.median_size(scans, in_pool) == pytest.approx((60, 60), abs=1)
    hidden = [dataclasses.replace(scan, label=None) for scan in scans]
    assert object_size.median_size(hidden, in_pool) is None


def test_the_remedy_works():
    """The spacing that is named makes the window hold the object."""
    scans = [disc(i, (0.5, 0.5)) for i in range(4)]
    said = object_size.note(SimpleNamespace(scans=scans, frame=Frame(32, spacing="0.5 0.5")))
    assert "119×119 pixels" in said and "windows of 32×32" in said
    spacing = said.split("--spacing ")[1].split()[0]
    wider = Frame(32, spacing=f"{spacing} {spacing}")
    assert 20 < max(object_size.median_size(scans, wider)) < 32
    assert object_size.note(SimpleNamespace(scans=scans, frame=wider)) is None
