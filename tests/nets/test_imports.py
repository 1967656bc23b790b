"""Weights from elsewhere: files are read, never run, and what does not fit is one line."""

import os
import pickle
import zipfile

import jax
import numpy as np
import pytest

from semiseg.cli.main import main
from semiseg.errors import UserError
from semiseg.nets import NETS
from semiseg.nets.from_torch import state_dict
from semiseg.train.checkpoint import flat_names, load_weights


def monai_names(widths, channels, classes):
    """Names and shapes in the state dict of MONAI's 2D BasicUNet."""
    rng = np.random.default_rng(0)
    found = {}

    def block(name, given, out):
        for i, c in enumerate((given, out)):
            found[f"{name}.conv_{i}.conv.weight"] = (out, c, 3, 3)
            for part in ("conv.bias", "adn.N.weight", "adn.N.bias"):
                found[f"{name}.conv_{i}.{part}"] = (out,)

    block("conv_0", channels, widths[0])
    for i in range(1, 5):
        block(
            f"down_{i}.convs",
            widths[i - 1],
            widths[i],
        )
        found[f"upcat_{i}.upsample.deconv.weight"] = (widths[i], widths[i - 1], 2, 2)
        found[f"upcat_{i}.upsample.deconv.bias"] = (widths[i - 1],)
        block(
            f"upcat_{i}.convs",
            2 * widths[i - 1],
            widths[i - 1],
        )
    found |= {
        "final_conv.weight": (classes, widths[0], 1, 1),
        "final_conv.bias": (classes,),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in found.items()}


FLAGS = [
    "--net",
    "unet",
    "--net.widths",
    "2,2,4,4,8",
    "--net.norm",
    "instance",
    "--net.slope",
    "0.1",
]


def test_a_safetensors_file_becomes_weights_of_ours(tmp_path, capsys):
    """Catches an axis turned wrongly, a number of channels read off wrongly, and a file that our
    own reader refuses.
    """
    from safetensors.numpy import save_file

    theirs = monai_names((2, 2, 4, 4, 8), 3, 5)
    save_file(theirs, tmp_path / "theirs.safetensors")
    out = tmp_path / "made" / "ours.safetensors"
    assert (
        main(
            [
                "import-weights",
                str(tmp_path / "theirs.safetensors"),
                *FLAGS,
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert "3 channels and 5 classes" in capsys.readouterr().out
    flat, header = load_weights(out)
    np.testing.assert_array_equal(
        flat["weights.down1.conv0.kernel"],
        theirs["down_1.convs.conv_0.conv.weight"].transpose(2, 3, 1, 0),
    )
    assert header["config"]["net"]["name"] == "unet"
    assert header["config"]["net"]["slope"] == 0.1
    net = NETS["unet"](widths=(2, 2, 4, 4, 8), norm="instance")
    made = net.init(
        jax.random.key(0),
        np.zeros((1, 32, 32, 3), np.float32),
        5,
    )
    assert {k: v.shape for k, v in flat_names(made).items()} == {
        k: v.shape for k, v in flat.items()
    }


def test_what_does_not_fit_is_one_line(tmp_path, capsys):
    """Catches tracebacks for weights of another width, another class, and a network without a
    converter.
    """
    from safetensors.numpy import save_file

    file = tmp_path / "theirs.safetensors"
    save_file(monai_names((2, 2, 4, 4, 6), 1, 2), file)
    for flags, words in (
        (FLAGS, "give --net unet --net.widths 2,2,4,4,6 --net.slope 0.1"),
        (["--net", "deeplabv3"], "has the weights of MONAI's BasicUNet"),
        (["--net", "segnet"], "has the weights of MONAI's BasicUNet"),
        (["--net", "unet", "--net.lr", "1"], "no field"),
    ):
        assert (
            main(
                [
                    "import-weights",
                    str(file),
                    *flags,
                    "--out",
                    str(tmp_path / "o.safetensors"),
                ]
            )
            == 2
        )
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1
    assert (
        main(
            [
                "import-weights",
                str(file),
                *FLAGS,
                "--out",
                "o.pt",
            ]
        )
        == 2
    )


def test_torchs_files_are_read_without_torch(tmp_path):
    """Catches strides and offsets ignored (views share a storage), bfloat16 read as integers, a
    wrapped checkpoint and a parallel model's prefix.
    """
    torch = pytest.importorskip("torch")
    whole = torch.arange(24.0).reshape(4, 6)
    state = {
        "a": whole.t()[1:3],
        "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "c": torch.tensor(7),
        "d": torch.zeros(0, 3),
    }
    state["e"] = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    state = {f"module.{name}": value for name, value in state.items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "x.pt")
    found = state_dict.read_state_dict(tmp_path / "x.pt")
    assert sorted(found) == ["a", "b", "c", "d", "e"]
    assert found["d"].shape == (0, 3)
    np.testing.assert_array_equal(
        found["a"],
        np.arange(24.0).reshape(4, 6).T[1:3],
    )
    np.testing.assert_array_equal(found["b"], [1.5, -2.0])
    assert found["c"] == 7
    assert found["e"].dtype == np.float64


class Evil:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (os.environ["MARK"],)


def test_a_file_that_wants_to_run_something_is_refused(tmp_path, monkeypatch):
    """Catches unpickling: the mark is made by plain pickle and not by ours."""
    mark = tmp_path / "mark"
    monkeypatch.setenv("MARK", str(mark))
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Evil()}))
    with pytest.raises(UserError, match=r"evil.pt: the file wants to run .*mkdir"):
        state_dict.read_state_dict(tmp_path / "evil.pt")
    assert not mark.exists()
    pickle.loads(zipfile.ZipFile(tmp_path / "evil.pt").read("archive/data.pkl"))
    assert mark.exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pt", b"nothing", "neither safetensors nor"),
        ("b.safetensors", b"\xff" * 40, "cannot be read as safetensors"),
        ("c.pt", None, "cannot be read"),
    ],
)
def test_damaged_and_missing_files_are_named(tmp_path, name, content, words):
    """Catches tracebacks from zipfile, safetensors and open."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}.*{words}"):
        state_dict.read_state_dict(tmp_path / name)


def test_a_tensor_beyond_its_data_is_refused():
    """Catches a hostile shape that would read other memory."""
    storage = state_dict._Storage(np.zeros(4, np.float32))
    with pytest.raises(UserError, match="beyond its data"):
        state_dict._tensor(storage, 0, (4, 4), (4, 1))
    with pytest.raises(UserError, match="beyond its data"):
        state_dict._tensor(storage, 0, (2, 2), (-1, 1))


# A pickle of tensors, assembled from opcodes: PyTorch need not be here, and would not write these
FLOATS = b"ctorch\nFloatStorage\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def plain(value):
    """Opcodes that put a number, a string or a tuple of numbers on the stack."""
    return pickle.dumps(value, 2)[2:-1]


STORAGE = b"(" + plain("storage") + FLOATS + plain("0") + plain("cpu") + plain(8) + b"tQ"


def tensor(storage, offset, size, stride):
    """Opcodes of one tensor; ``storage`` is opcodes, too."""
    hooks = b"ccollections\nOrderedDict\n)R"
    return REBUILD + b"(" + storage + plain(offset) + size + stride + plain(False) + hooks + b"tR"


def torch_file(path, opcodes):
    """A file in PyTorch's format whose ``weight`` is what ``opcodes`` make; its one storage holds
    0 to 7 as float32.
    """
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "x/data.pkl",
            b"\x80\x02}" + plain("weight") + opcodes + b"s.",
        )
        archive.writestr("x/data/0", np.arange(8, dtype=np.float32).tobytes())
    return path


def test_a_file_of_opcodes_is_read(tmp_path):
    """Catches offsets and strides counted in bytes; without it the refusals below prove nothing."""
    opcodes = tensor(
        STORAGE,
        1,
        plain((2, 3)),
        plain((1, 2)),
    )
    state = state_dict.read_state_dict(torch_file(tmp_path / "x.pt", opcodes))
    np.testing.assert_array_equal(state["weight"], [[1, 3, 5], [2, 4, 6]])


SQUARE = tensor(
    STORAGE,
    0,
    plain((4, 2)),
    plain((2, 1)),
)
HOSTILE = {
    # eight elements counted, but the offset skips rows: four of the eight lie beyond the buffer
    "a tensor as storage": (
        tensor(SQUARE, 2, plain((6,)), plain((1,))),
        "no storage",
    ),
    "a number as storage": (
        tensor(plain(3), 0, plain((1,)), plain((1,))),
        "no storage",
    ),
    "one element too many": (
        tensor(STORAGE, 0, plain((9,)), plain((1,))),
        "beyond its data",
    ),
    "a negative offset": (
        tensor(STORAGE, -1, plain((1,)), plain((1,))),
        "beyond its data",
    ),
    "a negative stride": (
        tensor(STORAGE, 7, plain((9,)), plain((-1,))),
        "beyond its data",
    ),
    "a negative size": (
        tensor(
            STORAGE,
            20,
            plain((-9, 2)),
            plain((2, 1)),
        ),
        "beyond its data",
    ),
    "a size without a stride": (
        tensor(STORAGE, 0, plain((2, 9)), plain((1,))),
        "no stride",
    ),
    "a tensor as size": (tensor(STORAGE, 0, SQUARE, plain((1,))), "no size"),
    "a storage changed": (
        tensor(
            STORAGE + b"N}" + plain("values") + SQUARE + b"s\x86b",
            0,
            plain((8,)),
            plain((1,)),
        ),
        "is damaged",
    ),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_tensor_is_refused(attack, tmp_path):
    """Catches a tensor on another one's array, whose rows are skipped but whose elements are
    counted: it reads memory beyond the buffer, or ends the process.
    """
    opcodes, words = HOSTILE[attack]
    with pytest.raises(UserError, match=f"x.pt: .*{words}"):
        state_dict.read_state_dict(torch_file(tmp_path / "x.pt", opcodes))


def test_a_file_cannot_change_the_reader(tmp_path):
    """Catches a pickle that sets defaults of our own function, for every later file."""
    change = REBUILD + b"N}" + plain("__defaults__") + plain((1, 2)) + b"s\x86b0"
    opcodes = change + tensor(STORAGE, 0, plain((8,)), plain((1,)))
    state_dict.read_state_dict(torch_file(tmp_path / "x.pt", opcodes))
    assert state_dict._tensor.__defaults__ is None
