"""The 2D networks as the papers' networks: their sizes, PyTorch's numbers, and what their fields
do.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from net_contract import count, equals_torch

from semiseg.nets import NETS, attention_unet, deeplab, layers, unet, unet_plus_plus

FULL = (64, 128, 256, 512, 1024)
PAPER = (32, 64, 128, 256, 512)


@pytest.mark.parametrize(
    ("net", "channels", "classes", "published", "share"),
    [
        # the public 2D implementations of U-Net, Attention U-Net and R2U-Net
        # (LeeJunHyun/Image_Segmentation); they count biases before norms
        (NETS["unet"](widths=FULL, up="nearest"), 3, 1, 34_527_041, 0.01),
        (
            NETS["attention_unet"](widths=FULL, up="nearest", gating="fine"),
            3,
            1,
            34_878_573,
            0.01,
        ),
        (NETS["r2_unet"](widths=FULL, up="nearest"), 3, 1, 39_091_393, 0.01),
        # Zhou et al. 2018, table 2, in millions. The published wide U-Net is 1.7 % below what its
        # widths give by the count that fits the other two
        (NETS["unet"](widths=PAPER, norm="none"), 3, 1, 7.76e6, 0.01),
        (NETS["unet_plus_plus"](widths=PAPER, norm="none"), 3, 1, 9.04e6, 0.01),
        (
            NETS["wide_unet"](widths=(35, 70, 140, 280, 560), norm="none"),
            3,
            1,
            9.13e6,
            0.02,
        ),
        # Zhang et al. 2018: 7.8 million, which leaves out the 1×1 projections of the identity paths
        # (.43 million of ours)
        (
            NETS["residual_unet"](widths=(64, 128, 256, 512), up="plain"),
            3,
            1,
            7.8e6 + 0.43e6,
            0.01,
        ),
        # Long et al. 2015, table 1: 134 million; Badrinarayanan et al. 2017, table 6: a model of
        # 117 MB in single precision
        (
            NETS["fcn8s"](width=64, hidden=4096, norm="none"),
            3,
            21,
            134e6,
            0.01,
        ),
        (NETS["segnet"](width=64), 3, 12, 117e6 / 4, 0.01),
        # Paszke et al. 2016, table III: .37 million, two digits
        (NETS["enet"](), 3, 20, 0.37e6, 0.02),
        # torchvision's documentation of deeplabv3_resnet50, deeplabv3_resnet101, fcn_resnet50 and
        # fcn_resnet101 (COCO_WITH_VOC_LABELS_V1)
        (
            deeplab.DeepLabV3(
                width=64, hidden=256, output_stride=8, grid=(1, 1, 1), auxiliary=True
            ),
            3,
            21,
            42_004_074,
            0,
        ),
        (
            deeplab.DeepLabV3(
                width=64, hidden=256, output_stride=8, auxiliary=True, depths=(3, 4, 23, 3)
            ),
            3,
            21,
            60_996_202,
            0,
        ),
        (deeplab.FCNResNet(width=64, auxiliary=True), 3, 21, 35_322_218, 0),
        (
            deeplab.FCNResNet(width=64, auxiliary=True, depths=(3, 4, 23, 3)),
            3,
            21,
            54_314_346,
            0,
        ),
        # no published figure for a ResNet50: DeepLabv3 without its auxiliary head and 3×3
        # convolution, plus the decoder of fig. 2
        (
            deeplab.DeepLabV3Plus(width=64, hidden=256, low=48),
            3,
            21,
            42_004_074
            - (9 * 1024 * 256 + 2 * 256 + 257 * 21)
            - (9 * 256 * 256 + 2 * 256)
            + (256 * 48 + 2 * 48)
            + (9 * 304 * 256 + 2 * 256)
            + (9 * 256 * 256 + 2 * 256),
            0,
        ),
    ],
)
def test_the_published_network_is_expressible(net, channels, classes, published, share):
    """Catches a level, a convolution or a branch too many, and a width that does not scale."""
    assert abs(count(net, (64, 64), channels, classes) - published) <= share * published


def shuffled(torch_net):
    """The same module with running statistics and norms that are not trivial."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in [*torch_net.named_parameters(), *torch_net.named_buffers()]:
            if value.dtype == torch.float32 and value.ndim == 1:
                value.copy_(
                    torch.rand_like(value) * 0.5
                    + (0.75 if "weight" in name or "var" in name else -0.25)
                )
    return torch_net


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_unet_is_monais(norm):
    """Catches a skip and its upsampled partner exchanged, a flipped kernel, another slope, and a
    bias that is not folded into the running mean.
    """
    nets = pytest.importorskip("monai.networks.nets")
    theirs = shuffled(
        nets.BasicUNet(
            2,
            2,
            3,
            (4, 4, 8, 16, 32, 4),
            norm=(norm, {"affine": True}),
        )
    )
    params = unet.from_torch(theirs.state_dict())
    equals_torch(
        NETS["unet"](widths=(4, 4, 8, 16, 32), norm=norm, slope=0.1), params, theirs, (32, 48), 2
    )


def test_unet_plus_plus_is_monais_at_every_depth():
    """Catches dense skips in another order, and a pruned network that is not the head of that
    depth.
    """
    nets = pytest.importorskip("monai.networks.nets")
    theirs = shuffled(nets.BasicUNetPlusPlus(2, 2, 3, (4, 4, 8, 16, 32, 4), deep_supervision=True))
    params = unet_plus_plus.from_torch(theirs.state_dict())
    net = NETS["unet_plus_plus"](
        widths=(4, 4, 8, 16, 32), norm="instance", slope=0.1, deep_supervision=True
    )
    for depth in (4, 2):
        pruned = dataclasses.replace(net, pruned=depth)
        equals_torch(
            pruned,
            params,
            _Output(theirs, depth - 1),
            (32, 48),
            2,
        )


class _Output:
    """One of a module's outputs."""

    def __init__(self, module, index):
        self.module = module
        self.index = index

    def eval(self):
        self.module.eval()
        return lambda x: self.module(x)[self.index]


_Output.__module__ = "monai.networks.nets"  # the record names the package


def test_attention_unet_is_monais():
    """Catches the gate's two inputs exchanged, a transposed kernel that is not flipped, and the
    join's norm or slope left out.
    """
    nets = pytest.importorskip("monai.networks.nets")
    theirs = shuffled(nets.AttentionUnet(2, 2, 3, (4, 8, 12), (2, 2)))
    params = attention_unet.from_torch(theirs.state_dict())
    net = NETS["attention_unet"](
        widths=(4, 8, 12),
        norm="batch",
        gating="fine",
        down="stride",
        up="transpose3",
        activation="relu",
        one_merge=True,
    )
    equals_torch(net, params, theirs, (16, 24), 2)


def torchvision_shapes(width, depths, hidden, classes, atrous):
    """Names and shapes in the state dict of torchvision's deeplabv3_resnet and fcn_resnet, as its
    documentation and weight files have them.
    """
    found = {}

    def conv(name, out, given, size):
        found[f"{name}.weight"] = (out, given, size, size)

    def norm(name, channels):
        found.update(
            {
                f"{name}.{part}": (channels,)
                for part in ("weight", "bias", "running_mean", "running_var")
            }
        )
        found[f"{name}.num_batches_tracked"] = ()

    conv("backbone.conv1", width, 3, 7)
    norm("backbone.bn1", width)
    given = width
    for layer, depth in enumerate(depths, 1):
        inner = width * 2 ** (layer - 1)
        for block in range(depth):
            place = f"backbone.layer{layer}.{block}"
            for i, (a, b, size) in enumerate(
                (
                    (given, inner, 1),
                    (inner, inner, 3),
                    (inner, 4 * inner, 1),
                ),
                1,
            ):
                conv(f"{place}.conv{i}", b, a, size)
                norm(f"{place}.bn{i}", b)
            if block == 0:
                conv(f"{place}.downsample.0", 4 * inner, given, 1)
                norm(f"{place}.downsample.1", 4 * inner)
            given = 4 * inner
    if atrous:
        for i, size in enumerate((1, 3, 3, 3)):
            conv(f"classifier.0.convs.{i}.0", hidden, given, size)
            norm(f"classifier.0.convs.{i}.1", hidden)
        conv("classifier.0.convs.4.1", hidden, given, 1)
        norm("classifier.0.convs.4.2", hidden)
        conv("classifier.0.project.0", hidden, 5 * hidden, 1)
        norm("classifier.0.project.1", hidden)
        conv("classifier.1", hidden, hidden, 3)
        norm("classifier.2", hidden)
    else:
        conv("classifier.0", hidden, given, 3)
        norm("classifier.1", hidden)
    conv("classifier.4", classes, hidden, 1)
    found["classifier.4.bias"] = (classes,)
    conv("aux_classifier.0", given // 8, given // 2, 3)
    norm("aux_classifier.1", given // 8)
    conv("aux_classifier.4", classes, given // 8, 1)
    found["aux_classifier.4.bias"] = (classes,)
    return found


@pytest.mark.parametrize("atrous", [True, False])
def test_torchvisions_names_and_shapes_fill_the_network(atrous):
    """Catches a layer of torchvision's that has no place here, a place that is left empty, and a
    shape that is turned wrongly.
    """
    from semiseg.nets.from_torch.convert import import_weights

    hidden = 16 if atrous else 32
    theirs = {
        name: np.zeros(shape, np.float32)
        for name, shape in torchvision_shapes(4, (1, 2, 2, 1), hidden, 5, atrous).items()
    }
    common = {"width": 4, "depths": (1, 2, 2, 1), "auxiliary": True}
    net = (
        deeplab.DeepLabV3(hidden=16, output_stride=8, **common)
        if atrous
        else deeplab.FCNResNet(**common)
    )
    assert import_weights(net, theirs)[1:3] == (3, 5)


def test_the_encoder_is_a_pytorch_resnet_of_stride_eight():
    """Catches dilation in the wrong block, the stride on the wrong convolution, the pool's padding,
    and the projection before the norm: the encoder and the plain head, written out in PyTorch's
    functions from the published layer table.
    """
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    depths = (1, 2, 2, 1)
    shapes = torchvision_shapes(4, depths, 32, 3, False)
    generator = torch.Generator().manual_seed(0)

    def draw(k, s):
        return (
            torch.rand(s, generator=generator) + 0.5
            if "var" in k
            else torch.randn(s, generator=generator) / max(1, np.prod(s[1:])) ** 0.5
        )

    w = {k: draw(k, s) for k, s in shapes.items()}

    def bn(x, name):
        return F.batch_norm(
            x, *(w[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        )

    class Theirs:
        def eval(self):
            return self

        def __call__(self, x):
            size = x.shape[2:]
            x = F.max_pool2d(
                F.relu(
                    bn(
                        F.conv2d(x, w["backbone.conv1.weight"], stride=2, padding=3),
                        "backbone.bn1",
                    )
                ),
                3,
                2,
                1,
            )
            for layer, depth in enumerate(depths, 1):
                for block in range(depth):
                    place = f"backbone.layer{layer}.{block}"
                    stride = 2 if layer == 2 and block == 0 else 1
                    dilation = {3: 2, 4: 4}.get(layer, 1) if block else {4: 2}.get(layer, 1)
                    y = F.relu(
                        bn(
                            F.conv2d(x, w[f"{place}.conv1.weight"]),
                            f"{place}.bn1",
                        )
                    )
                    y = F.relu(
                        bn(
                            F.conv2d(
                                y,
                                w[f"{place}.conv2.weight"],
                                stride=stride,
                                padding=dilation,
                                dilation=dilation,
                            ),
                            f"{place}.bn2",
                        )
                    )
                    y = bn(
                        F.conv2d(y, w[f"{place}.conv3.weight"]),
                        f"{place}.bn3",
                    )
                    if block == 0:
                        x = bn(
                            F.conv2d(x, w[f"{place}.downsample.0.weight"], stride=stride),
                            f"{place}.downsample.1",
                        )
                    x = F.relu(x + y)
            x = F.relu(
                bn(
                    F.conv2d(x, w["classifier.0.weight"], padding=1),
                    "classifier.1",
                )
            )
            return F.interpolate(
                F.conv2d(x, w["classifier.4.weight"], w["classifier.4.bias"]),
                size,
                mode="bilinear",
                align_corners=False,
            )

    Theirs.__module__ = "torch"
    equals_torch(
        deeplab.FCNResNet(width=4, depths=depths, auxiliary=True),
        deeplab.from_torch(w),
        Theirs(),
        (32, 48),
        3,
    )


# ------------------------------------------------------------------ fields
def test_a_pruned_network_computes_less():
    """Catches pruning that only picks another head; and training that is pruned, too."""
    from semiseg.nets import cost_summary

    net = NETS["unet_plus_plus"](widths=(4, 8, 8, 8), deep_supervision=True)
    macs = [
        cost_summary.cost(dataclasses.replace(net, pruned=p), 32)["multiply_adds"]
        for p in (1, 2, 0)
    ]
    assert macs[0] < macs[1] < macs[2]
    x = jax.ShapeDtypeStruct((1, 16, 16, 1), jnp.float32)
    out = jax.eval_shape(
        lambda x: (
            dataclasses.replace(net, pruned=1)
            .apply(net.init(jax.random.key(0), x, 2), x, train=True)
            .aux["deep"]
        ),
        x,
    )
    assert len(out) == 2


def test_averaged_heads_are_the_mean_probability():
    """Catches a mean of logits."""
    net = NETS["unet_plus_plus"](widths=(2, 4, 4), deep_supervision=True, norm="none")
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
    params = net.init(jax.random.key(1), x, 3)
    both = jax.jit(
        lambda p, x: [
            dataclasses.replace(net, average=a).apply(p, x, train=False) for a in (False, True)
        ]
    )
    each, mean = both(params, x)
    want = np.mean(
        [jax.nn.softmax(y) for y in (each.logits, *each.aux["deep"])],
        0,
    )
    np.testing.assert_allclose(np.exp(mean.logits), want, atol=1e-6)


def test_a_closed_gate_lets_nothing_through():
    """Catches a gate on the upsampled activations instead of the skip."""
    net = NETS["attention_unet"](widths=(4, 8), norm="none")
    gate = net.gate(
        4,
        8,
        layers.Normals(jax.random.normal(jax.random.key(0), (1000,))),
    )
    skip, up, coarse = (
        jax.random.normal(jax.random.key(i), s)
        for i, s in enumerate([(1, 4, 4, 4), (1, 4, 4, 4), (1, 2, 2, 8)])
    )
    gate.conv_psi.bias[...] = jnp.full(1, -100.0)
    assert float(jnp.abs(gate(skip, up, coarse, False)).max()) < 1e-6
    gate.conv_psi.bias[...] = jnp.full(1, 100.0)
    np.testing.assert_allclose(
        gate(skip, up, coarse, False),
        skip,
        rtol=1e-6,
    )
