"""Weights of other people's PyTorch networks, here: do both give the same logits?

Two environments, because this package does not need PyTorch:

    git clone https://github.com/HiLab-git/SSL4MIS; git clone https://github.com/milesial/Pytorch-UNet
    pip install torch==2.13.0 monai==1.6.1 dynamic-network-architectures==0.4.4 numpy
    python experiments/torch_peers.py make FOLDER SSL4MIS Pytorch-UNet     # with PyTorch
    python experiments/torch_peers.py compare FOLDER                       # with semiseg

``make`` writes for every class a checkpoint as its users have it, an image and the class's logits.
``compare`` reads the checkpoint by :mod:`semiseg.nets.from_torch`, and appends a row a class to
``experiments/results/peer_equality.csv``. The tests have the small ones of them. Two cores: 2
minutes.
"""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "peer_equality.csv"
SEED = 0
CLASSES = 3


# ------------------------------------------------------------------ with PyTorch
def make(folder: Path, ssl4mis: Path, milesial: Path) -> None:
    """Write a checkpoint, an image and logits of every class."""
    import torch

    sys.path[:0] = [str(ssl4mis / "code"), str(milesial)]
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)  # the classes draw their convolutions when they are made
    for name, (model, size, wrap) in peers().items():
        torch.manual_seed(SEED)
        _randomise(model)
        if name.startswith("tiny"):
            _round(model)
        model.eval()
        channels = 1 if "ssl4mis" in name else 2
        generator = np.random.default_rng(SEED)
        image = generator.normal(size=(1, *size, channels))
        image = image.astype(np.float16).astype(np.float32)  # sixteen bits hold it exactly
        with torch.no_grad():
            channels_first = np.moveaxis(image, -1, 1).copy()
            logits = model(torch.from_numpy(channels_first))
        if isinstance(logits, list | tuple):
            logits = logits[0]
        wrap(model, folder / name)
        if name.startswith("tiny"):
            file = folder / f"{name}.pth"
            # no time in the header: the same weights are the same file
            file.with_suffix(".pth.gz").write_bytes(gzip.compress(file.read_bytes(), 9, mtime=0))
            file.unlink()
        np.savez_compressed(
            folder / f"{name}.npz",
            image=image.astype(np.float16),
            logits=_sampled(np.moveaxis(logits.numpy(), 1, -1)),
            torch=torch.__version__,
        )
        print(name, tuple(logits.shape))


def _sampled(logits: np.ndarray) -> np.ndarray:
    """Every second pixel of ``(B, H, W, K)``, every fourth voxel of ``(B, D, H, W, K)``."""
    if logits.ndim == 4:
        return logits[:, ::2, ::2]
    return logits[:, ::4, ::4, ::4]


def _randomise(model: Any) -> None:
    """Give norms, biases and running statistics values that are not trivial."""
    import torch

    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.dtype == torch.float32 and value.ndim == 1:
                positive = "var" in name or "weight" in name
                value.copy_(torch.rand_like(value) * 0.5 + (0.75 if positive else -0.25))


def _round(model: Any) -> None:
    """Round all weights to multiples of 1/256: fewer digits make smaller files."""
    import torch

    with torch.no_grad():
        for value in model.state_dict().values():
            if value.dtype == torch.float32:
                value.copy_(torch.round(value * 256) / 256)


def peers() -> dict[str, tuple[Any, tuple[int, ...], Any]]:
    """Models, sizes of images, and how each is saved, by name; ``tiny`` ones are fixtures."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
    from monai.networks import nets
    from networks.unet import UNet, UNet_CCT, UNet_DS
    from networks.unet_3D import unet_3D
    from networks.vnet import VNet
    from torch import nn
    from unet.unet_model import UNet as Milesial

    common: dict[str, Any] = {
        "conv_bias": True,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": True,
    }

    def nnunet(cls: Any, dims: int, widths: list[int], blocks: list[int]) -> Any:
        stages = len(widths)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        norm = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims]
        count = "n_blocks_per_stage" if cls is ResidualEncoderUNet else "n_conv_per_stage"
        return cls(
            input_channels=2,
            n_stages=stages,
            features_per_stage=widths,
            conv_op=conv,
            kernel_sizes=3,
            strides=[1, *[2] * (stages - 1)],
            num_classes=CLASSES,
            n_conv_per_stage_decoder=[2] * (stages - 1),
            norm_op=norm,
            **{count: blocks},
            **common,
        )

    flat = (32, 48)
    cube = (16, 16, 32)
    basic = nets.BasicUNet(2, 2, CLASSES, (1, 1, 2, 4, 8, 1))
    residual = nnunet(ResidualEncoderUNet, 2, [16, 32, 64, 64], [1, 3, 4, 6])
    segresnet = nets.SegResNet(3, 8, 2, CLASSES, blocks_down=(1, 1), blocks_up=(1,))
    return {
        "ssl4mis_unet": (
            UNet(1, CLASSES),
            flat,
            plain,
        ),
        "ssl4mis_unet_ds": (
            UNet_DS(1, CLASSES),
            flat,
            plain,
        ),
        "ssl4mis_unet_cct": (
            UNet_CCT(1, CLASSES),
            flat,
            plain,
        ),
        "ssl4mis_vnet": (
            VNet(1, CLASSES, 16, "batchnorm"),
            cube,
            plain,
        ),
        "ssl4mis_unet_3d": (
            unet_3D(4, CLASSES, in_channels=1),
            (32, 32, 32),
            plain,
        ),
        "milesial_unet": (
            Milesial(2, CLASSES),
            flat,
            with_mask_values,
        ),
        "milesial_unet_bilinear": (
            Milesial(2, CLASSES, bilinear=True),
            flat,
            with_mask_values,
        ),
        "nnunet_plain": (
            nnunet(PlainConvUNet, 3, [8, 16, 32, 64], [2] * 4),
            cube,
            as_nnunet,
        ),
        "nnunet_residual": (
            residual,
            flat,
            as_nnunet,
        ),
        "monai_segresnet": (
            segresnet,
            (8, 8, 16),
            plain,
        ),
        "tiny_ssl4mis_unet": (
            _tiny_ssl4mis(UNet),
            flat,
            parallel,
        ),
        "tiny_ssl4mis_vnet": (
            VNet(1, CLASSES, 1, "batchnorm"),
            (16, 16, 16),
            plain,
        ),
        "tiny_milesial_unet": (
            _tiny_milesial(Milesial, False),
            flat,
            with_mask_values,
        ),
        "tiny_milesial_unet_bilinear": (
            _tiny_milesial(Milesial, True),
            flat,
            with_mask_values,
        ),
        "tiny_nnunet_plain": (
            nnunet(PlainConvUNet, 2, [2, 4, 4], [2] * 3),
            flat,
            as_nnunet,
        ),
        "tiny_monai_basic_unet": (
            basic,
            flat,
            lightning,
        ),
        "tiny_unknown_names": (
            _renamed(_tiny_milesial(Milesial, False)),
            flat,
            plain,
        ),
    }


def _tiny_ssl4mis(cls: Any) -> Any:
    """SSL4MIS's U-Net at a few channels, which its class has no argument for."""
    from networks.unet import Decoder, Encoder

    model = cls(1, CLASSES)
    settings = {
        "in_chns": 1,
        "feature_chns": [2, 2, 4, 4, 6],
        "dropout": [0.0] * 5,
        "class_num": CLASSES,
        "bilinear": False,
    }
    model.encoder = Encoder(settings)
    model.decoder = Decoder(settings)
    return model


def _tiny_milesial(cls: Any, bilinear: bool) -> Any:
    """milesial's U-Net at a few channels, which its class has no argument for."""
    import torch
    from unet.unet_parts import DoubleConv, Down, OutConv, Up

    torch.manual_seed(SEED)  # under names that nobody knows it has the same weights
    model = cls(2, CLASSES, bilinear)
    factor = 2 if bilinear else 1
    widths = [1, 2, 4, 8, 16]
    model.inc = DoubleConv(2, widths[0])
    for level in range(1, 5):
        out = widths[level] // (factor if level == 4 else 1)
        setattr(model, f"down{level}", Down(widths[level - 1], out))
    for k in range(1, 5):
        out = widths[4 - k] // (factor if k < 4 else 1)
        setattr(model, f"up{k}", Up(widths[5 - k], out, bilinear))
    model.outc = OutConv(widths[0], CLASSES)
    return model


def _renamed(model: Any) -> Any:
    """The same module under names that nobody knows."""
    from torch import nn

    class Renamed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stages = nn.ModuleList(model.children())

        def forward(self, x: Any) -> Any:
            return model(x)

    return Renamed()


# ------------------------------------------------------------------ how users have them
def plain(model: Any, path: Path) -> None:
    """``torch.save(model.state_dict())``."""
    import torch

    torch.save(model.state_dict(), path.with_suffix(".pth"))


def parallel(model: Any, path: Path) -> None:
    """Within a checkpoint, of a model in ``DataParallel``."""
    import torch

    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state, "best": 0.8}, path.with_suffix(".pth"))


def lightning(model: Any, path: Path) -> None:
    """As Lightning saves a module whose network is ``model``."""
    import torch

    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters()).state_dict()
    content = {"epoch": 3, "state_dict": state, "optimizer_states": [optimizer]}
    torch.save(content, path.with_suffix(".pth"))


def with_mask_values(model: Any, path: Path) -> None:
    """As milesial's ``train.py`` saves: the values of the masks beside the weights."""
    import torch

    torch.save({**model.state_dict(), "mask_values": [0, 127, 255]}, path.with_suffix(".pth"))


def as_nnunet(model: Any, path: Path) -> None:
    """As nnU-Net's trainer saves: scores of NumPy, a device, and settings beside the weights."""
    import torch

    content = {
        "network_weights": model.state_dict(),
        "optimizer_state": torch.optim.SGD(model.parameters(), 0.01).state_dict(),
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.7)], "lrs": [np.array([0.01])]},
        "_best_ema": np.float64(0.7),
        "current_epoch": 3,
        "init_args": {"configuration": "2d", "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (
            0,
            1,
        ),
    }
    torch.save(content, path.with_suffix(".pth"))


# ------------------------------------------------------------------ with semiseg
def compare(folder: Path) -> None:
    """Append a row for every checkpoint in a folder."""
    rows = [row_of(file) for file in sorted(folder.glob("*.pth"))]
    with RESULTS.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    for row in rows:
        print(*row, sep=",")


def row_of(file: Path) -> list[str]:
    """Network, peer, size, largest difference of the logits, and largest logit."""
    from semiseg.nets import NETS
    from semiseg.nets.from_torch.convert import import_weights
    from semiseg.nets.from_torch.published import published
    from semiseg.nets.from_torch.state_dict import read_state_dict

    record = np.load(file.with_suffix(".npz"))
    image = record["image"].astype(np.float32)
    state = read_state_dict(file)
    source, names = published(state)
    assert source is not None
    net = NETS[source.net](**source.fields(names))
    params = import_weights(net, state).params
    logits = np.asarray(net.apply(params, image, train=False).logits)
    difference = np.abs(_sampled(logits) - record["logits"]).max()
    largest = np.abs(logits).max()
    assert difference < 1e-4 * max(1, largest), file
    return [
        type(net).__name__,
        f"{file.stem} (torch {record['torch']})",
        "x".join(map(str, image.shape[1:-1])),
        f"{difference:.2e}",
        f"{largest:.3g}",
    ]


if __name__ == "__main__":
    command, *paths = sys.argv[1:]
    {"make": make, "compare": compare}[command](*map(Path, paths))
