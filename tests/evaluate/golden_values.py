"""Compute the golden values of ``test_distances.py`` with MedPy and MONAI: the tool that made them,
and the masks they belong to.

    python -m venv /tmp/golden && /tmp/golden/bin/pip install medpy==0.5.2 monai==1.6.1 torch
    /tmp/golden/bin/python tests/evaluate/golden_values.py

prints the table to paste. The tests import the masks from here and neither library.
"""

from __future__ import annotations

import numpy as np


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    """Voxels whose centre is at most ``radius`` voxels from ``centre``."""
    grid = np.indices(shape).T - np.asarray(centre)
    return (np.square(grid).sum(-1) <= radius**2).T


def box(shape: tuple[int, ...], *sides: tuple[int, int]) -> np.ndarray:
    """The voxels with ``start <= index < stop`` along every axis."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


SOLID = (16, 20, 20)
PLANE = (24, 28)
CASES: dict[str, tuple[np.ndarray, np.ndarray, tuple[float, ...]]] = {
    # name: (prediction, truth, spacing)
    "spheres of radius 6 and 8": (
        ball((20,) * 3, (9.5,) * 3, 6),
        ball((20,) * 3, (9.5,) * 3, 8),
        (1.0, 1.0, 1.0),
    ),
    "spheres of radius 20 and 22": (
        ball((47,) * 3, (23,) * 3, 20),
        ball((47,) * 3, (23,) * 3, 22),
        (1.0, 1.0, 1.0),
    ),
    "box shifted by (1, 2, 3), anisotropic": (
        box(SOLID, (3, 9), (4, 12), (5, 13)),
        box(SOLID, (4, 10), (6, 14), (8, 16)),
        (2.5, 1.0, 1.0),
    ),
    "L against its long arm, anisotropic": (
        box(SOLID, (2, 6), (2, 16), (2, 6)) | box(SOLID, (2, 6), (12, 16), (2, 15)),
        box(SOLID, (2, 6), (2, 16), (2, 6)),
        (2.5, 1.0, 1.0),
    ),
    "a voxel and a far voxel": (
        box(SOLID, (1, 2), (2, 3), (3, 4)),
        box(SOLID, (13, 14), (8, 9), (6, 7)),
        (2.5, 1.0, 1.0),
    ),
    "a voxel inside a ball": (
        box((20,) * 3, (9, 10), (9, 10), (9, 10)),
        ball((20,) * 3, (9, 9, 9), 5),
        (1.0, 1.0, 1.0),
    ),
    "box at the image's edge": (
        box(SOLID, (0, 5), (0, 7), (0, 20)),
        box(SOLID, (0, 6), (0, 9), (2, 20)),
        (1.0, 0.5, 2.0),
    ),
    "discs of radius 5 and 7, apart": (
        ball(PLANE, (10, 9), 5),
        ball(PLANE, (12, 14), 7),
        (1.0, 1.0),
    ),
    "disc with a speck, anisotropic": (
        ball(PLANE, (12, 10), 6) | box(PLANE, (1, 2), (26, 27)),
        ball(PLANE, (12, 10), 6),
        (1.5, 0.7),
    ),
}


def main() -> None:
    """Print one line a case: Dice, IoU, precision, sensitivity, volume error, then HD, HD95, pooled
    HD95, ASSD.
    """
    import medpy.metric.binary as medpy
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    def onehot(mask):
        return torch.from_numpy(mask[None, None].astype(np.float32))

    for name, (p, t, spacing) in CASES.items():
        counts = (
            medpy.dc(p, t),
            medpy.jc(p, t),
            medpy.precision(p, t),
            medpy.recall(p, t),
            medpy.ravd(p, t),
        )
        pair = {
            "y_pred": onehot(p),
            "y": onehot(t),
            "include_background": True,
            "spacing": list(spacing),
        }
        hd, hd95 = (float(compute_hausdorff_distance(**pair, percentile=q)) for q in (None, 95))
        average = float(compute_average_surface_distance(**pair, symmetric=True))
        pooled = medpy.hd95(p, t, spacing)
        assd = medpy.assd(p, t, spacing)
        assert np.isclose(
            hd,
            medpy.hd(p, t, spacing),
            atol=1e-5,
        ), (name, hd, average, assd)
        assert np.isclose(average, assd, atol=1e-5), (name, hd, average, assd)
        print(
            f'    "{name}": ({", ".join(f"{v:.6f}" for v in (*counts, hd, hd95, pooled, assd))}),'
        )


if __name__ == "__main__":
    main()
