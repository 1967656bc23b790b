"""Weights of PyTorch networks as their users have them: the checkpoints in ``torch_weights`` were
written by PyTorch (experiments/torch_peers.py), with an image and the logits of the class itself.
"""

import gzip
import pickle
import re
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

from semiseg.cli.main import main
from semiseg.errors import UserError
from semiseg.nets import NETS
from semiseg.nets.from_torch.convert import BY_ORDER, import_weights, network_of
from semiseg.nets.from_torch.published import PUBLISHED, published
from semiseg.nets.from_torch.state_dict import SortedState, read_state_dict
from semiseg.runner import start
from semiseg.train.begin import params_from_flat
from semiseg.train.checkpoint import load_weights
from semiseg.types import Model

FOLDER = Path(__file__).parent / "torch_weights"
KNOWN = {
    "ssl4mis_unet": "SSL4MIS's UNet",
    "ssl4mis_vnet": "SSL4MIS's VNet",
    "milesial_unet": "milesial's UNet",
    "milesial_unet_bilinear": "milesial's UNet",
    "nnunet_plain": "nnU-Net's network",
    "monai_basic_unet": "MONAI's BasicUNet",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The checkpoints as PyTorch wrote them."""
    folder = tmp_path_factory.mktemp("torch")
    for packed in FOLDER.glob("*.pth.gz"):
        (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


def difference(net, params, record: Path) -> float:
    """The largest difference of the logits to those PyTorch gave."""
    stored = np.load(record)
    image = stored["image"].astype(np.float32)
    logits = jax.jit(lambda p, x: net.apply(p, x, train=False).logits)(params, image)
    step = 4 if net.dims == 3 else 2
    every = (slice(None), *(slice(None, None, step),) * net.dims)
    return float(np.abs(np.asarray(logits)[every] - stored["logits"]).max())


@pytest.mark.parametrize("name", KNOWN)
def test_logits_are_pytorchs(name, files):
    """Catches a wrapper that is not opened, a tensor in another's place, a bias before a norm that
    is lost, another interpolation, and fields read off wrongly.
    """
    state = read_state_dict(files / f"{name}.pth")
    network, fields = network_of(state)
    net = NETS[network](**fields)
    imported = import_weights(net, state)
    assert imported.source == KNOWN[name]
    assert imported.notes == ()
    assert difference(net, imported.params, FOLDER / f"{name}.npz") < 1e-5


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("ssl4mis_unet", "slope", 0.3),
        ("milesial_unet_bilinear", "activation", "leaky_relu"),
        ("monai_basic_unet", "slope", 0.01),
    ],
)
def test_a_difference_without_a_shape_is_said(name, field, value, files):
    """Catches an equality test that any network passes, and weights that silently compute something
    else: the shapes fit, the logits do not.
    """
    state = read_state_dict(files / f"{name}.pth")
    network, fields = network_of(state)
    net = NETS[network](**{**fields, field: value})
    imported = import_weights(net, state)
    assert difference(net, imported.params, FOLDER / f"{name}.npz") > 1e-4
    if field in fields:
        assert [note for note in imported.notes if note.startswith(f"{field} is {value}")]


FIELDS = {"widths": (1, 2, 4, 8, 16), "norm": "batch", "activation": "relu"}


def test_unknown_names_are_matched_by_shape_and_order(files):
    """Catches an order of use that is not the order of the layers, and a transposed kernel turned
    like a plain one.
    """
    net = NETS["unet"](**FIELDS)
    imported = import_weights(net, read_state_dict(files / "unknown_names.pth"))
    assert imported.source == BY_ORDER
    assert "compare the prediction" in imported.notes[0]
    assert difference(net, imported.params, FOLDER / "milesial_unet.npz") < 1e-5


def test_biases_before_a_norm_are_taken_into_account(files):
    """Catches a bias that is dropped: it moves the running mean of the norm that follows."""
    state = dict(read_state_dict(files / "unknown_names.pth"))
    shifted = {}
    for name, value in state.items():
        shifted[name] = value
        if re.fullmatch(r"stages\..*\.weight", name) and value.ndim == 4:
            bias = name.replace("weight", "bias")
            if bias not in state:
                shifted[bias] = np.full(value.shape[0], 0.25, np.float32)
        if name.endswith("running_mean"):
            shifted[name] = value + 0.25
    net = NETS["unet"](**FIELDS)
    imported = import_weights(net, shifted)
    assert difference(net, imported.params, FOLDER / "milesial_unet.npz") < 1e-5


def _swapped(state):
    """Two layers of different shapes exchanged in their order."""
    names = list(state)
    first = names.index("stages.1.maxpool_conv.1.double_conv.0.weight")
    second = names.index("stages.1.maxpool_conv.1.double_conv.3.weight")
    names[first], names[second] = names[second], names[first]
    return {name: state[name] for name in names}


def _without_last_layer(state):
    return {name: value for name, value in state.items() if not name.startswith("stages.9.")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_swapped, r"convolution 3 is stages.1.*\(2, 2, 3, 3\).* and down1.conv0 \(3, 3, 1, 2\)"),
        (_without_last_layer, r"head.* has no partner|head"),
        (SortedState, "does not store the order"),
    ],
)
def test_an_order_that_is_not_clear_is_refused(change, words, files):
    """Catches guessing: the first pair that does not fit is named with both shapes."""
    state = change(read_state_dict(files / "unknown_names.pth"))
    with pytest.raises(UserError, match=words):
        import_weights(NETS["unet"](**FIELDS), state)


def test_weights_of_another_class_name_the_flags(files):
    """Catches a message that leaves the user to guess the network and its fields."""
    state = read_state_dict(files / "milesial_unet_bilinear.pth")
    words = (
        "--net unet --net.widths 1,2,4,8,8 --net.norm batch --net.activation relu --net.up corners"
    )
    with pytest.raises(UserError, match=re.escape(words)):
        import_weights(NETS["segnet"](), state)
    with pytest.raises(UserError, match=re.escape(words)):
        import_weights(NETS["unet"](), state)


def test_heads_of_deep_supervision_and_second_names_are_left_out(files):
    """Catches a checkpoint of nnU-Net that only a network with deep supervision takes."""
    state = read_state_dict(files / "nnunet_plain.pth")
    assert any("all_modules" in name for name in state)
    assert any(name.startswith("decoder.encoder.") for name in state)
    network, fields = network_of(state)
    supervised = import_weights(NETS[network](**fields, deep_supervision=True), state)
    plain = import_weights(NETS[network](**fields), state)
    assert "head1" in supervised.params.weights
    assert "head1" not in plain.params.weights


def test_monais_unet_is_named_as_having_no_counterpart():
    """Catches a match by order of a network that is another one."""
    state = {
        "model.0.conv.unit0.conv.weight": np.zeros((4, 1, 3, 3), np.float32),
        "model.1.submodule.conv.unit0.conv.weight": np.zeros((8, 4, 3, 3), np.float32),
    }
    with pytest.raises(UserError, match="MONAI's UNet, which no network here is"):
        import_weights(NETS["unet"](), state)


def test_every_class_of_the_table_has_a_network_of_its_fields():
    """Catches a name of a network or of a field that is not there."""
    for source in PUBLISHED:
        assert not source.net or source.net in NETS
    for names in states_without_files():
        source, own = published(names)
        assert source is not None
        NETS[source.net](**source.fields(own))


def states_without_files():
    """Names and empty arrays of classes that have no fixture."""

    def conv(*shape):
        return np.zeros(shape, np.float32)

    segresnet = {
        "convInit.conv.weight": conv(8, 1, 3, 3, 3),
        "down_layers.0.1.conv1.conv.weight": conv(8, 8, 3, 3, 3),
        "down_layers.1.1.conv1.conv.weight": conv(16, 16, 3, 3, 3),
        "up_layers.0.0.conv1.conv.weight": conv(8, 8, 3, 3, 3),
    }
    vnet = {"in_tr.conv_block.conv.weight": conv(16, 1, 5, 5, 5)}
    return [segresnet, vnet]


# ------------------------------------------------------------------ checkpoints
TORCH_LINE = b"ctorch._utils\n_rebuild_tensor_v2\n"


def checkpoint(path: Path, content: bytes) -> Path:
    """A file in PyTorch's format with one storage of eight float32 numbers."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/data/0", np.arange(8, dtype=np.float32).tobytes())
    return path


def value_of(value) -> bytes:
    """Opcodes that put a plain value on the stack."""
    return pickle.dumps(value, 2)[2:-1]


def test_a_pickle_that_asks_for_a_huge_memo_is_damaged(tmp_path):
    """Catches a MemoryError, and an OverflowError, that a few changed bytes can ask for."""
    for content in (b"\x80\x02}r\xff\xff\xff\x7f.", b"\x80\x04\x95" + b"\xff" * 8 + b"}."):
        path = checkpoint(tmp_path / "w.pth", content)
        with pytest.raises(UserError, match="is damaged"):
            read_state_dict(path)


def test_a_class_that_lacks_a_variable_of_its_widths_says_so(files):
    """Catches a KeyError of weights in which one name was damaged."""
    state = read_state_dict(files / "milesial_unet.pth")
    name = "down2.maxpool_conv.1.double_conv.3.weight"
    left = {key: value for key, value in state.items() if key != name}
    with pytest.raises(UserError, match=re.escape(name)):
        network_of(left)


STORAGE = b"".join(
    [
        b"(",
        value_of("storage"),
        b"ctorch\nFloatStorage\n",
        value_of("0"),
        value_of("cpu"),
        value_of(8),
        b"tQ",
    ]
)
TENSOR = b"".join(
    [
        TORCH_LINE,
        b"(",
        STORAGE,
        value_of(0),
        value_of((8,)),
        value_of((1,)),
        value_of(False),
        b"ccollections\nOrderedDict\n",
        b")RtR",
    ]
)


def weights_named(name: str) -> bytes:
    """Opcodes of a state dict with one tensor."""
    return b"}" + value_of(name) + TENSOR + b"s"


def test_what_stands_beside_the_weights_is_left_out(tmp_path):
    """Catches a checkpoint of nnU-Net that is refused for the NumPy scalar of its score, and one
    whose functions are called.
    """
    score = {
        "scalar": np.float64(0.5),
        "array": np.arange(3),
    }
    content = b"".join(
        [
            b"\x80\x02}(",
            value_of("network_weights"),
            weights_named("module.a.weight"),
            value_of("_best_ema"),
            value_of(score),
            value_of("epoch"),
            value_of(3),
            b"u.",
        ]
    )
    file = checkpoint(tmp_path / "c.pth", content)
    state = read_state_dict(file)
    assert list(state) == ["a.weight"]
    np.testing.assert_array_equal(state["a.weight"], np.arange(8))


def test_two_parts_with_weights_are_not_guessed(tmp_path):
    """Catches a discriminator read as the network."""
    content = b"".join(
        [
            b"\x80\x02}(",
            value_of("generator"),
            weights_named("a.weight"),
            value_of("critic"),
            weights_named("a.weight"),
            b"u.",
        ]
    )
    with pytest.raises(UserError, match="generator, critic"):
        read_state_dict(checkpoint(tmp_path / "c.pth", content))


def test_compressed_tensors_are_refused(tmp_path):
    """Catches a bomb: a few kilobytes that unpack to gigabytes."""
    with zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        content = b"\x80\x02}" + value_of("a.weight") + TENSOR + b"s."
        archive.writestr(zipfile.ZipInfo("x/data.pkl"), content, zipfile.ZIP_STORED)
        archive.writestr("x/data/0", bytes(1 << 20))
    with pytest.raises(UserError, match="compressed"):
        read_state_dict(tmp_path / "b.pth")


# ------------------------------------------------------------------ commands
def test_a_run_begins_with_a_pytorch_file(files):
    """Catches a start that reads our own names alone, and a last layer that keeps the file's number
    of classes.
    """
    file = files / "ssl4mis_unet.pth"
    state = read_state_dict(file)
    network, fields = network_of(state)
    net = NETS[network](**fields)
    sample = jax.ShapeDtypeStruct((1, 32, 32, 1), np.float32)
    model = Model(net, sample, 2)
    flat, header = start._weights(file, model)
    assert header == {}
    params = params_from_flat(flat, model, str(file))
    expected = import_weights(net, state).params
    np.testing.assert_array_equal(
        params.weights["up0"]["conv0"]["kernel"],
        expected.weights["up0"]["conv0"]["kernel"],
    )
    assert params.weights["head"]["bias"].shape == (2,)


def test_import_reads_network_and_fields_off_the_file(files, tmp_path, capsys):
    """Catches a command that asks for what the file says, and a header that predict cannot read."""
    out = tmp_path / "ours.safetensors"
    file = str(files / "ssl4mis_unet.pth")
    assert main(["import-weights", file, "--out", str(out), "--classes", "bg,a,b"]) == 0
    printed = capsys.readouterr().out
    assert "SSL4MIS's UNet" in printed
    assert "--net.up conv_corners" in printed
    header = load_weights(out)[1]
    assert header["classes"] == ["bg", "a", "b"]
    assert header["config"]["net"]["head"] == 3
    file = str(files / "unknown_names.pth")
    assert main(["import-weights", file, "--out", str(out)]) == 2
    assert "say which network" in capsys.readouterr().err
