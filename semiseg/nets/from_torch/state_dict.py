"""Files of PyTorch weights, read without PyTorch and without running what is in them."""

from __future__ import annotations

import io
import math
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

WRAPPERS = ("network_weights", "state_dict", "model_state_dict", "model", "net", "network")
"""Keys under which checkpoints store their weights; ``network_weights`` is nnU-Net's."""

SMALL = 1 << 20
"""Numbers that a tensor may repeat a few to."""

PREFIXES = ("module.", "_orig_mod.")
"""What data parallelism and ``torch.compile`` put before every name."""

INERT = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
    ("torch", "device"),
    ("torch", "Size"),
    ("torch", "float16"),
    ("torch", "bfloat16"),
    ("torch", "float32"),
    ("torch", "float64"),
    ("torch", "int64"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("collections", "defaultdict"),
    ("builtins", "set"),
    ("argparse", "Namespace"),
}
"""Names of functions and classes that checkpoints have beside their weights (scores, devices,
settings of the training). They are neither imported nor called: :class:`_Inert` stands for them.
"""

DAMAGE = (
    pickle.UnpicklingError,
    KeyError,
    ValueError,
    TypeError,
    EOFError,
    AttributeError,
    IndexError,
    MemoryError,  # of a place in pickle's memo that no file needs
    OverflowError,  # of a frame longer than any file
)
"""What the unpickling of a damaged file raises."""


class SortedState(dict[str, np.ndarray]):
    """Names and tensors of a file that does not store their order (safetensors)."""


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Flat names and arrays of a ``.safetensors`` file, or of what ``torch.save`` wrote in its zip
    format (PyTorch ≥ 1.6).

    A checkpoint that stores its weights under one of :data:`WRAPPERS`, or under its only key that
    has tensors, is opened there. :data:`PREFIXES` are dropped from the names. What stands beside
    the weights (optimizer states, epochs, values of masks, scores) is left out.

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
    return _checked(path, _opened(path, content))


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from None
    return SortedState(_checked(path, arrays))


def _read_torch(path: Path) -> Any:
    """What PyTorch's pickle in a zip archive holds."""
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if not pickles:
            raise UserError(f"{path}: is a zip archive, but none of PyTorch's (no data.pkl in it)")
        if archive.getinfo(pickles[0]).compress_type != zipfile.ZIP_STORED:
            raise UserError(f"{path}: is compressed, which PyTorch's files are not: save it again")
        reader = _Reader(archive.read(pickles[0]), archive, pickles[0].removesuffix("data.pkl"))
        try:
            return reader.load()
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def _checked(path: Path, content: Any) -> dict[str, np.ndarray]:
    """Names and tensors, and nothing else."""
    named = isinstance(content, Mapping) and len(content) > 0
    tensors: dict[str, np.ndarray] = {}
    for name, value in content.items() if named else ():
        if isinstance(name, str) and isinstance(value, np.ndarray):
            tensors[_without_prefixes(name)] = value
    if not tensors:
        raise UserError(f"{path}: holds no state dict (names and tensors)")
    return tensors


def _opened(path: Path, content: Any) -> Any:
    """The state dict within a checkpoint.

    Raises:
      UserError: several keys have tensors, and none of them is one of :data:`WRAPPERS`.
    """
    for _ in range(4):  # a trainer's checkpoint may hold a model's
        if not isinstance(content, Mapping) or _has_tensors(content):
            break
        inner = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            inner = [key for key, value in content.items() if _has_tensors(value)]
            if len(inner) > 1:
                raise UserError(
                    f"{path}: several of its parts have weights ({', '.join(map(str, inner))}); "
                    f"save the one you mean alone with `torch.save(checkpoint[…], …)`"
                )
        if not inner:
            break
        content = content[inner[0]]
    return content


def _has_tensors(value: Any) -> bool:
    """Whether one of a mapping's values is a tensor."""
    return isinstance(value, Mapping) and any(isinstance(v, np.ndarray) for v in value.values())


def _without_prefixes(name: str) -> str:
    """A name without :data:`PREFIXES`.

    >>> _without_prefixes("module._orig_mod.conv.weight")
    'conv.weight'
    """
    shorter = name
    for prefix in PREFIXES:
        shorter = shorter.removeprefix(prefix)
    if shorter == name:
        return name
    return _without_prefixes(shorter)


class _Inert:
    """Stands for something in a pickle that is no tensor: takes whatever the pickle gives it, and
    stores and does nothing.
    """

    def __new__(cls, *_: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any):
        """Takes the arguments of whatever it stands for."""

    def __setstate__(self, _: Any) -> None:
        """Takes a state."""

    def __setitem__(self, _: Any, __: Any) -> None:
        """Takes an item of a container."""

    def extend(self, _: Any) -> None:
        """Takes items of a list."""


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
        if (module, name) in INERT:
            # a class of its own: a pickle can set attributes of what it is given
            return type("Inert", (_Inert,), {})
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
        member = self.archive.getinfo(f"{self.prefix}data/{key}")
        if member.compress_type != zipfile.ZIP_STORED:  # PyTorch never compresses; bombs are
            raise UserError("its tensors are compressed, which PyTorch's are not: save it again")
        content = self.archive.read(member)
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
    if math.prod(size) > max(values.size, SMALL):  # a step of 0 repeats a number for ever
        raise UserError("a tensor declares more numbers than the file holds: it is damaged")
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
