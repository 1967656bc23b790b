"""Files of PyTorch weights, read without PyTorch and without running what is in them."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiseg.errors import UserError

_DTYPES = {
    "Float": np.float32,
    "Double": np.float64,
    "Half": np.float16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
    "BFloat16": np.uint16,
}
"""PyTorch's names of storages, and what their bytes are."""

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which checkpoints store their weights."""

DAMAGE = (
    pickle.UnpicklingError,
    KeyError,
    ValueError,
    TypeError,
    EOFError,
    AttributeError,
    IndexError,
)
"""What the unpickling of a damaged file raises."""


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Flat names and arrays of a ``.safetensors`` file, or of what ``torch.save`` wrote in its zip
    format (PyTorch ≥ 1.6).

    A checkpoint that stores its weights under one of :data:`WRAPPERS` is opened there, and a prefix
    ``module.`` (of data parallelism) is dropped.

    Raises:
      UserError: the file is missing, damaged, or holds more than tensors.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        content = _read_torch(path)
    except zipfile.BadZipFile:
        raise UserError(
            f"{path}: is neither safetensors nor PyTorch's zip format; save it again with "
            f"`torch.save(model.state_dict(), …)`"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except DAMAGE as error:
        raise UserError(f"{path}: is damaged ({type(error).__name__}: {error})") from None
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    return _checked(path, content)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from None
    return _checked(path, arrays)


def _read_torch(path: Path) -> Any:
    """What PyTorch's pickle in a zip archive holds."""
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if not pickles:
            raise UserError(f"{path}: is a zip archive, but none of PyTorch's (no data.pkl in it)")
        reader = _Reader(archive.read(pickles[0]), archive, pickles[0].removesuffix("data.pkl"))
        try:
            return reader.load()
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def _checked(path: Path, content: Any) -> dict[str, np.ndarray]:
    """Names and tensors, and nothing else."""
    named = isinstance(content, Mapping) and len(content) > 0
    if not named or not all(isinstance(value, np.ndarray) for value in content.values()):
        raise UserError(f"{path}: holds no state dict (names and tensors)")
    return {name.removeprefix("module."): value for name, value in content.items()}


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
        self.archive = archive
        self.prefix = prefix

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # a function of its own: a pickle can set attributes of what it is given
            return lambda *parts: _tensor(*parts)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        storage = name.removesuffix("Storage")
        of_torch = module in ("torch", "torch.storage")
        if of_torch and name.endswith("Storage") and storage in _DTYPES:
            return _StorageType(storage)
        raise UserError(
            f"the file wants to run {module}.{name}; only tensors and plain containers are read "
            f"(save `model.state_dict()`)"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        _, storage, key, _, _ = pid
        content = self.archive.read(f"{self.prefix}data/{key}")
        raw: np.ndarray = np.frombuffer(content, _DTYPES[storage.name])
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
    shaped = isinstance(size, tuple) and isinstance(stride, tuple)
    if not shaped or len(size) != len(stride):
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
