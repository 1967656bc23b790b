"""V-Net, SegResNet and the U-Nets of nnU-Net: the contract, their papers' sizes, PyTorch's numbers,
and what their fields do.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from net_contract import Case, computes_in_bfloat16, count, equals_torch, learns, obeys

from semiseg import config
from semiseg.errors import UserError
from semiseg.nets import UNet, resenc_unet, segresnet, vnet
from semiseg.nets.plain_vnet import PlainVNet
from semiseg.nets.pointrend import PointRend
from semiseg.nets.resenc_unet import ResEncUNet
from semiseg.nets.segresnet import SegResNet
from semiseg.nets.vnet import VNet

SMALL = {
    "vnet": (
        VNet(width=4, convs=(1, 1), ups=(1,), kernel=3, dropout=0.3, norm="instance"),
        (5, 7, 6),
    ),
    "vnet-conv-head": (
        VNet(
            width=4,
            convs=(1, 2),
            ups=(1,),
            kernel=3,
            dropout=0.3,
            activation="elu",
            head="conv",
            dims=2,
        ),
        (13, 10),
    ),
    "plain_vnet": (
        PlainVNet(width=4, convs=(1, 1), ups=(1,), dropout=0.3, norm="instance"),
        (5, 7, 6),
    ),
    "segresnet": (
        SegResNet(width=4, down=(1, 1), up=(1,), dropout=0.3),
        (5, 7, 6),
    ),
    "segresnet-vae": (
        SegResNet(width=4, down=(1, 1), up=(1,), groups=2, vae=True, latent=4, dims=2, dropout=0.2),
        (13, 10),
    ),
    "resenc": (
        ResEncUNet(widths=(4, 6), blocks=(1, 2), dropout=0.3, deep_supervision=True),
        (13, 10),
    ),
    "plain-flat": (
        ResEncUNet(
            widths=(4, 6, 8),
            blocks=1,
            encoder="plain",
            flat=1,
            dims=3,
            dropout=0.3,
            deep_supervision=True,
        ),
        (3, 13, 10),
    ),
    "pointrend": (
        PointRend(
            UNet(widths=(4, 6), dims=3),
            points=300,
            width=8,
            hidden=1,
        ),
        (5, 7, 6),
    ),
    "resenc-flat": (
        ResEncUNet(widths=(4, 6, 8), blocks=1, flat=1, dims=3, dropout=0.3, dtype="bfloat16"),
        (3, 13, 10),
    ),
}


@pytest.fixture(scope="module", params=SMALL)
def case(request):
    return Case(*SMALL[request.param])


def test_contract(case):
    """Catches an uncropped output, a weight no gradient reaches, randomness that ignores its key,
    images that mix.
    """
    obeys(case)


def test_bfloat16_reaches_every_kernel(case):
    """Catches a layer that computes in float32 whatever was asked for, or one that cannot compute
    in bfloat16.
    """
    computes_in_bfloat16(case)


def test_two_images_are_learnt(case):
    """Catches a decoder without skips and running statistics that do not reach evaluation."""
    learns(case, 100, 0.02)


WIDE = (32, 64, 128, 256, 320, 320)


@pytest.mark.parametrize(
    ("net", "size", "channels", "classes", "published"),
    [
        # Çiçek et al. 2016: 19,069,955, with half the channels in the first convolution of a level
        # down and all of them kept by the upward one
        # (19,067,616 kernel weights by their figure 2; ours has 22,394,112)
        (
            UNet(widths=(64, 128, 256, 512), dims=3, norm="batch"),
            16,
            3,
            3,
            19_069_955 - 19_067_616 + 22_394_112,
        ),
        (
            VNet(convs=(1, 1, 2, 3, 2), ups=(2, 2, 1, 1), activation="elu", head="conv"),
            16,
            1,
            2,
            45_597_898,
        ),  # MONAI 1.6.1 VNet
        (SegResNet(), 16, 4, 3, 18_798_627),  # MONAI 1.6.1 SegResNet(init_filters=32)
        (
            ResEncUNet(WIDE, dims=3, deep_supervision=True),
            32,
            1,
            3,
            102_350_575,
        ),  # dynamic-network-architectures 0.4.4 ResidualEncoderUNet
        (
            ResEncUNet(WIDE, 2, 2, "plain", dims=3, deep_supervision=True),
            32,
            1,
            3,
            31_196_399,
        ),  # the same, PlainConvUNet
    ],
)
def test_parameters_are_the_published_number(net, size, channels, classes, published):
    """Catches a layer too many or of another width."""
    assert count(net, (size,) * 3, channels, classes) == pytest.approx(published, rel=0.01)


def test_parameters_of_vnets_figure():
    """Catches an arrangement of stages other than the figure's: 1, 2, 3, 3, 3 convolutions down and
    3, 3, 2, 1 up.
    """
    w = [16, 32, 64, 128, 256]

    def cube(c, o):
        return 125 * c * o + 2 * o  # kernel, bias and slope

    want = cube(1, 16) + sum(n * cube(c, c) for n, c in zip((2, 3, 3, 3), w[1:], strict=True))
    want += sum(8 * a * b + 2 * b for a, b in itertools.pairwise(w)) + sum(w[1:])
    want += sum(n * cube(2 * c, 2 * c) for n, c in zip((1, 2, 3, 3), w[:4], strict=True)) + sum(
        2 * c for c in w[:4]
    )
    want += (
        sum(8 * b * a + 2 * a for a, b in zip(w[:3], [64, 128, 256], strict=True))
        + 8 * 256 * 128
        + 2 * 128
        + 32 * 2
        + 2
    )
    assert count(VNet(norm="none"), (16,) * 3, 1, 2) == want


def test_segresnet_has_monais_numbers():
    """Catches another order of norm and convolution, corner-aligned doubling, skips joined at the
    wrong level.
    """
    nets = pytest.importorskip("monai.networks.nets")
    theirs = nets.SegResNet(
        init_filters=8, in_channels=2, out_channels=3, blocks_down=(1, 2, 2), blocks_up=(1, 1)
    )
    equals_torch(
        SegResNet(width=8, down=(1, 2, 2), up=(1, 1)),
        segresnet.from_torch(theirs.state_dict()),
        theirs,
        (16, 24, 32),
        2,
    )


def test_vnet_has_monais_numbers():
    """Catches a residual taken after the norm, channels repeated in another order, running
    statistics not carried over.
    """
    nets = pytest.importorskip("monai.networks.nets")
    torch = pytest.importorskip("torch")
    theirs = nets.VNet(2, 2, 3)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    ours = VNet(convs=(1, 1, 2, 3, 2), ups=(2, 2, 1, 1), activation="elu", head="conv", dims=2)
    equals_torch(
        ours,
        vnet.from_torch(theirs.state_dict()),
        theirs,
        (32, 48),
        2,
    )


@pytest.mark.parametrize("encoder", ["residual", "plain"])
def test_resenc_unet_has_nnunets_numbers(encoder):
    """Catches a stride on the wrong convolution, pooling after the projection, stages counted from
    the wrong end.
    """
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    torch = pytest.importorskip("torch")
    common = {
        "conv_bias": True,
        "norm_op": torch.nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": torch.nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": False,
    }
    make = unet.ResidualEncoderUNet if encoder == "residual" else unet.PlainConvUNet
    theirs = make(
        2,
        3,
        (4, 6, 8),
        torch.nn.Conv3d,
        [(1, 3, 3), 3, 3],
        [1, (1, 2, 2), 2],
        (1, 2, 1),
        3,
        (1, 1),
        **common,
    )
    for module in theirs.modules():
        if isinstance(module, torch.nn.InstanceNorm3d):
            torch.nn.init.normal_(module.weight, 1, 0.2)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    ours = ResEncUNet((4, 6, 8), (1, 2, 1), 1, encoder, 1, True, dims=3)
    equals_torch(
        ours,
        resenc_unet.from_torch(theirs.state_dict()),
        theirs,
        (4, 8, 12),
        2,
    )


def test_doubling_is_linear_interpolation():
    """Catches a shift by half a pixel."""
    x = np.array([0.0, 4.0, 8.0])[None, :, None]
    np.testing.assert_allclose(
        segresnet.double(jnp.asarray(x))[0, :, 0],
        [0, 1, 3, 5, 7, 8],
    )


def test_autoencoder_is_for_training_and_for_one_size():
    """Catches a branch that costs time in evaluation, and a crash deep inside for images of another
    size.
    """
    net = SegResNet(width=2, down=(1, 1), up=(1,), vae=True, latent=2, dims=2)

    def run(size, train):
        return jax.eval_shape(
            lambda key: (
                net.apply(
                    net.init(key, jnp.zeros((1, 8, 8, 1)), 2),
                    jnp.zeros((1, size, size, 1)),
                    train=train,
                ).aux
            ),
            jax.random.key(0),
        )

    assert "losses" not in run(16, False)
    assert run(8, True)["losses"]["vae"].shape == ()
    with pytest.raises(ValueError, match="another size"):
        run(16, True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VNet(convs=(1, 2), ups=(1, 1)), "^VNet: 2 stages down need 1 up, not 2"),
        (lambda: PlainVNet(ups=(1, 1)), "^PlainVNet: 5 stages down need 4 up, not 2"),
        (lambda: SegResNet(up=(1, 1)), "4 levels down need 3 up"),
        (
            lambda: ResEncUNet(widths=(4, 8), blocks=(1, 2, 3)),
            "3 numbers of blocks for 2 stages",
        ),
        (lambda: ResEncUNet(flat=1), "volumes"),
        (
            lambda: segresnet.from_torch(
                {"up_layers.0.0.norm1.weight": np.ones(2), "fc.weight": np.ones((2, 2))}
            ),
            "'fc.weight' is none",
        ),
    ],
)
def test_wrong_combinations_are_one_line(make, words):
    """Catches a shape error from deep inside."""
    with pytest.raises(ValueError, match=words):
        make()


def test_a_3d_network_on_2d_data_is_refused():
    """Catches a convolution's error instead of a sentence."""
    with pytest.raises(UserError, match="VNet takes 3D volumes"):
        VNet().init(
            jax.random.key(0),
            jnp.zeros((1, 32, 32, 1)),
            2,
        )


def test_a_list_of_one_is_a_list():
    """Catches the shortest networks being out of the command line's reach, and a rate for all
    levels turned into one of the first.
    """
    made = config.override(
        config.Trial(),
        {"net": "vnet", "net.convs": "1,1", "net.ups": "1"},
    ).net
    assert (
        made
        == VNet(convs=(1, 1), ups=(1,))
        == config.override(
            config.Trial(),
            {"net": "vnet", "net.convs": [1, 1], "net.ups": 1},
        ).net
    )
    assert config.override(
        config.Trial(),
        {"net.dropout": "0.1"},
    ).net == UNet(dropout=0.1)


def test_a_sweep_names_a_window_that_does_not_divide_before_it_runs():
    """Catches a grid whose last trial fails after hours of training."""
    from semiseg.sweeps import spec as plan

    axes = {
        "net": {"value": "vnet"},
        "depth": {"values": [16, 24]},
        "image_size": {"value": 32},
    }
    with pytest.raises(UserError, match=r"^sweep: depth is 24: vnet takes multiples of 16"):
        plan.trials({"parameters": axes})


def test_the_left_atriums_recipe_is_its_papers():
    """Catches the recipe of Yu et al. in 2D or on another window, and a rate that falls a step
    late.
    """
    from semiseg.train.optimiser import rate

    trial = config.preset("uamt-la", "uamt")
    config.check_volumes(trial)
    assert trial.frame.window == (80, 112, 112)
    assert trial.frame.shape_of((88, 200, 180), (0.6, 0.6, 0.6)) == (88, 200, 180)
    assert not trial.augment.geometry.exclusive
    assert type(trial.net) is VNet
    assert trial.net.block == 16
    assert (trial.batch, trial.method.labelled(trial.batch)) == (4, 2)
    falling = [
        float(rate(trial.schedule, jnp.float32(step / trial.steps), 0.0))
        for step in (0, 2499, 2500, 4999, 5000)
    ]
    np.testing.assert_allclose(falling, [1, 1, 0.1, 0.1, 0.01], rtol=1e-5)
