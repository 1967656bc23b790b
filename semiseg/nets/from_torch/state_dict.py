"""Weights made elsewhere: read from safetensors or PyTorch files without running what is in them,
and put under our names.

Every network whose module has a function ``from_torch(state_dict)`` takes weights of the PyTorch
class that function names.
"""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.errors import UserError
from semiseg.nets.from_torch.rules import Rule
from semiseg.types import Net, Params


# ------------------------------------------------------------------ what the from_torch functions
# are written with
def conv_norm(conv: str, norm: str, our_conv: str, our_norm: str) -> list[Rule]:
    """Rules for a convolution and the norm after it: patterns of their names, and ours."""
    return [
        (rf"{conv}\.weight", f"{our_conv}.kernel"),
        (rf"{conv}\.bias", f"{our_conv}.bias"),
        *norm_only(norm, our_norm),
    ]


def norm_only(norm: str, ours: str) -> list[Rule]:
    """Rules for a norm."""
    names = (
        ("weight", "scale"),
        ("bias", "bias"),
        ("running_mean", "mean"),
        ("running_var", "var"),
    )
    return [(rf"{norm}\.{theirs}", f"{ours}.{name}") for theirs, name in names]


def to_params(nested: dict[str, Any]) -> Params:
    """Weights and running statistics of nested dicts that hold both.

    A bias between a convolution and its norm (``convX`` beside ``normX``) is none of ours: it is
    cancelled by instance norm, and subtracted from the running mean of batch norm.
    """
    weights: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for name, part in nested.items():
        norm = nested.get("norm" + name[4:]) if name.startswith("conv") else None
        if norm is not None and "bias" in part:
            part = dict(part)
            bias = part.pop("bias")
            if "mean" in norm:
                norm["mean"] = norm["mean"] - bias
    for name, part in nested.items():
        if not isinstance(part, dict):
            (state if name in ("mean", "var") else weights)[name] = part
            continue
        if name.startswith("conv") and "norm" + name[4:] in nested:
            part = {k: v for k, v in part.items() if k != "bias"}
        inner = to_params(part)
        weights |= {name: inner.weights} if inner.weights else {}
        state |= {name: inner.state} if inner.state else {}
    return Params(weights, state)


# ------------------------------------------------------------------ files
_DTYPES = {"Float": np.float32, "Double": np.float64, "Half": np.float16, "Long": np.int64, "Int": np.int32, "Short": np.int16, "Char": np.int8,
           "Byte": np.uint8, "Bool": np.bool_, "BFloat16": np.uint16}  # fmt: skip


class _StorageType(NamedTuple):
    """Stands for a storage class of PyTorch in a pickle: a name of a dtype."""

    name: str


class _Storage(NamedTuple):
    """The numbers that tensors are views of, in one dimension.

    Only :meth:`_Reader.persistent_load` makes one. A pickle can neither make nor change it, so its
    size is that of the bytes in the archive.
    """

    values: np.ndarray


class _Reader(pickle.Unpickler):
    """Unpickles tensors, numbers, strings and containers of them; every other class or function in
    the file is refused before it is called.
    """

    def __init__(self, pickled: bytes, archive: zipfile.ZipFile, prefix: str):
        super().__init__(io.BytesIO(pickled))
        self.archive, self.prefix = archive, prefix

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # a function of its own: a pickle can set attributes of what it is given
            return lambda *parts: _tensor(*parts)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (
            module in ("torch", "torch.storage")
            and name.endswith("Storage")
            and name[: -len("Storage")] in _DTYPES
        ):
            return _StorageType(name[: -len("Storage")])
        raise UserError(
            f"the file wants to run {module}.{name}; only tensors and plain containers are read "
            f"(save `model.state_dict()`)"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        _, storage, key, _, _ = pid
        raw: np.ndarray = np.frombuffer(
            self.archive.read(f"{self.prefix}data/{key}"), _DTYPES[storage.name]
        )
        if storage.name == "BFloat16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return _Storage(raw)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """The tensor that ``torch._utils._rebuild_tensor_v2`` makes of the same arguments.

    The arguments come from the file, so that each of them may be anything.

    Raises:
      UserError: the storage is none, or the tensor is not a view of it.
    """
    if not isinstance(storage, _Storage):
        raise UserError("a tensor is built on something that is no storage: the file is damaged")
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)):
        raise UserError("a tensor has no size or no stride: the file is damaged")
    numbers = (offset, *size, *stride)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise UserError("a tensor reaches beyond its data: the file is damaged")
    values = storage.values
    if 0 in size:
        return np.zeros(size, values.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= values.size:
        raise UserError("a tensor reaches beyond its data: the file is damaged")
    width = values.itemsize
    # NumPy checks the bounds of a buffer once more; as_strided would not
    view: np.ndarray = np.ndarray(
        size, values.dtype, values, offset * width, [step * width for step in stride]
    )
    return np.array(view)


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Flat names and arrays of a ``.safetensors`` file, or of what ``torch.save`` wrote in its zip
    format (PyTorch ≥ 1.6).

    A checkpoint that keeps its weights under ``state_dict``, ``model_state_dict``, ``model`` or
    ``net`` is opened there, and a prefix ``module.`` (of data parallelism) is dropped. PyTorch is
    not needed.

    Raises:
      UserError: the file is missing, damaged, or holds more than tensors.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.numpy import load_file

            try:
                return dict(load_file(path))
            except SafetensorError as error:
                raise UserError(f"{path}: cannot be read as safetensors ({error})") from None
        with zipfile.ZipFile(path) as archive:
            place = next((n for n in archive.namelist() if n.endswith("data.pkl")), None)
            if place is None:
                raise UserError(
                    f"{path}: is a zip archive, but none of PyTorch's (no data.pkl in it)"
                )
            found = _Reader(archive.read(place), archive, place[: -len("data.pkl")]).load()
    except zipfile.BadZipFile:
        raise UserError(
            f"{path}: is neither safetensors nor PyTorch's zip format; save it again with "
            f"`torch.save(model.state_dict(), …)`"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (
        pickle.UnpicklingError,
        KeyError,
        ValueError,
        TypeError,
        EOFError,
        AttributeError,
        IndexError,
    ) as error:
        raise UserError(f"{path}: is damaged ({type(error).__name__}: {error})") from None
    except UserError as error:
        raise UserError(
            f"{path}: {error}" if not str(error).startswith(str(path)) else str(error)
        ) from None
    for key in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if (
        not isinstance(found, Mapping)
        or not found
        or not all(isinstance(v, np.ndarray) for v in found.values())
    ):
        raise UserError(f"{path}: holds no state dict (names and tensors)")
    return {name.removeprefix("module."): value for name, value in found.items()}


class Imported(NamedTuple):
    """Variables, and what they were made for."""

    params: Params
    channels: int
    classes: int
    parameters: int


def import_weights(net: Net, state_dict: Mapping[str, np.ndarray], size: int = 96) -> Imported:
    """``state_dict`` as variables of ``net``, checked name by name and shape by shape against what
    the network makes itself.

    ``size`` is the side of the images of a network with a table of positions.

    Raises:
      UserError: the network has no converter, or the weights do not fit it.
    """
    convert = converter(net)
    if convert is None:
        raise UserError(f"{type(net).__name__}: there is no PyTorch class whose weights it takes")
    try:
        params: Params = convert(state_dict)
        classes = net.classes(params.weights)  # type: ignore[attr-defined]
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{type(net).__name__}: {error}"
            if isinstance(error, ValueError)
            else f"{type(net).__name__}: the file has no {error}"
        ) from None
    found = _shapes(params)
    one, two = (_wanted(net, size, channels, classes) for channels in (1, 2))
    channels = next(
        (
            f[axis]
            for name, a in one.items()
            if (f := found.get(name, ()))
            for axis, n in enumerate(a)
            if two[name][axis] == n + 1
        ),
        1,
    )
    wanted = _wanted(net, size, channels, classes)
    for name in sorted(wanted.keys() ^ found.keys(), key=lambda n: (n in found, n)):
        where = "is missing in the file" if name in wanted else "is not part of this network"
        raise UserError(
            f"{type(net).__name__}: {name} {where}; set the fields (--net.widths …) that the "
            f"weights were made with"
        )
    for name, shape in wanted.items():
        if found[name] != shape:
            raise UserError(
                f"{type(net).__name__}: {name} is {found[name]} in the file and {shape} in the "
                f"network; set its fields (--net.widths …)"
            )
    return Imported(
        params, channels, classes, sum(leaf.size for leaf in jax.tree.leaves(params.weights))
    )


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
        for path, leaf in jax.tree.leaves_with_path(params._asdict())
    }


def _wanted(net: Net, size: int, channels: int, classes: int) -> dict[str, tuple[int, ...]]:
    sample = jax.ShapeDtypeStruct((1, *(size,) * net.dims, channels), jnp.float32)  # type: ignore[attr-defined]
    return _shapes(jax.eval_shape(lambda: net.init(jax.random.key(0), sample, classes)))


def converter(net: Net) -> Any:
    """The ``from_torch`` of the network's module, None if it has none."""
    return getattr(sys.modules[type(net).__module__], "from_torch", None)
