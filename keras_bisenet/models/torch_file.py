"""Reading the tensors of a file of PyTorch's (`torch.save`) or of PaddlePaddle's (`paddle.save`),
without either, and running none of it.

A `.pth` file is a ZIP archive (since PyTorch 1.6): `NAME/data.pkl` is a pickle of the saved object,
in which tensors refer to `NAME/data/0`, `NAME/data/1`, ..., raw numbers each. A `.pdparams` file
is a pickle of NumPy's arrays. A pickle may name any function of the installed Python and have it
called. The reader here knows the few names that weights need, and stands in for each itself; at any
other name it stops.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np

from keras_bisenet.errors import UserError

LARGEST_PICKLE = 64 * 2**20
"""Bytes; that of a network's weights has some hundred kilobytes."""

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
"""NumPy's type for each of PyTorch's."""

IGNORED = ("mmengine.", "mmcv.", "numpy.")
"""Modules whose objects come with some checkpoints and are no weights: they are read as nothing."""

NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"}
"""NumPy's types that weights and counters have."""

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of PyTorch before 1.6 begin."""


class _Refused(Exception):
    """What a file holds is not what weights hold."""


class _Nothing:
    """Stands for an object that is ignored, whatever it is made of."""

    def __init__(self, *arguments, **options):
        pass

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, value):
        pass

    def extend(self, values):
        pass


class _Storage:
    """A type of storage, by its NumPy type."""

    def __init__(self, dtype: str):
        self.dtype = dtype


class _DType:
    """Stands for NumPy's type of an array."""

    def __init__(self, code: str, *rest):
        self.code = code
        self.order = "|"

    def __setstate__(self, state):
        self.order = state[1]


class _Array:
    """Stands for an array of NumPy, which is made empty and then given its state.

    Attributes:
        values: The array; None where it is not of numbers.
    """

    values = None

    def __init__(self, *arguments):
        pass

    def __setstate__(self, state):
        _, shape, dtype, is_fortran, content = state
        if dtype.code in NUMBERS:
            values = np.frombuffer(content, np.dtype(dtype.code).newbyteorder(dtype.order))
            values = values.astype(np.float32) if dtype.code == "f2" else values
            self.values = values.reshape(shape, order="F" if is_fortran else "C")


def _bytes(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`: how old pickles hold bytes."""
    if encoding != "latin1":
        raise _Refused(f"its bytes are {encoding}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Unpickles objects made of containers, numbers, text, tensors and arrays alone.

    Args:
        content: The pickle.
        storage: From the key of a storage to its bytes.
    """

    def __init__(self, content: bytes, storage):
        # A place in its memory costs a pickle two bytes at least, and unpickling a table as long
        # as the highest: by one number, without places before it, all memory could be asked for.
        for operation, argument, _ in pickletools.genops(content):
            if operation.name.endswith("PUT") and argument > len(content):
                raise _Refused("its pickle asks for more memory than it can need")
        super().__init__(io.BytesIO(content))
        self._storage = storage

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return _Storage(STORAGES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *rest: tensor
        if module.startswith("numpy") and name == "_reconstruct":  # moved in NumPy 2
            return _Array
        if (module, name) == ("numpy", "dtype"):
            return _DType
        if (module, name) == ("_codecs", "encode"):
            return _bytes
        if (module, name) in (("builtins", "tuple"), ("__builtin__", "tuple")):
            return tuple  # PaddlePaddle's tensors in a checkpoint: its name and its array
        if f"{module}.".startswith(IGNORED):
            return _Nothing
        raise _Refused(f"its pickle asks for {module}.{name}, which no weights need")

    def persistent_load(self, reference):
        kind, storage, key, _, count = reference
        if kind != "storage" or not isinstance(storage, _Storage):
            raise _Refused("it refers to something that is no tensor")
        return _numbers(self._storage(key), storage.dtype, count)


def read_tensors(path) -> dict[str, np.ndarray]:
    """Reads the tensors of a file that `torch.save` or `paddle.save` wrote.

    Args:
        path: A state dict, or a checkpoint that has one as `state_dict` or `model`.

    Returns:
        Arrays by name, without the `module.` that training on several GPUs puts before names.
        Numbers of 16 bits come as float32.

    Raises:
        UserError: When there is no such file, it is damaged, of the format before PyTorch 1.6, or
            holds anything but tensors. Nothing of it is ever run.
    """
    path = Path(path)
    try:
        content = _read(path)
    except _Refused as error:
        raise UserError(f"{path}: these are no weights: {error}") from error
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path}: no weights of PyTorch 1.6 or later, or not all of them: save them again with "
            "torch.save(model.state_dict(), FILE), or copy the file again"
        ) from error
    except Exception as error:  # a damaged pickle fails in any way
        raise UserError(f"{path}: damaged ({type(error).__name__}: {error})") from error
    for name in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    tensors = {}
    if isinstance(content, dict):
        arrays = {name: _array(value) for name, value in content.items()}
        tensors = {name: array for name, array in arrays.items() if array is not None}
    if not tensors:
        raise UserError(f"{path}: no state dict: save it with torch.save(model.state_dict(), FILE)")
    return {str(name).removeprefix("module."): tensor for name, tensor in tensors.items()}


def _array(value) -> np.ndarray | None:
    """The array that an unpickled value is; None where it is something else."""
    if isinstance(value, tuple) and len(value) == 2:
        _, value = value
    if isinstance(value, _Array):
        value = value.values
    return value if isinstance(value, np.ndarray) else None


def _read(path: Path):
    with path.open("rb") as file:
        head = file.read(len(LEGACY))
    if head.startswith(b"\x80") and head != LEGACY:  # a pickle of its own, not an archive with one
        return _Unpickler(path.read_bytes(), _no_storage).load()
    return _read_archive(path)


def _no_storage(key):
    raise _Refused("it refers to numbers outside the file")


def _read_archive(path: Path):
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        size = path.stat().st_size
        for member in members.values():
            # PyTorch compresses nothing: so no member is larger than the file.
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
                raise _Refused(f"its {member.filename} is compressed")
        pickles = [name for name in members if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise _Refused("it has no data.pkl")
        root = pickles[0].split("/")[0]
        if members[pickles[0]].file_size > LARGEST_PICKLE:
            raise _Refused("its data.pkl is too large")
        order = f"{root}/byteorder"
        if order in members and archive.read(order) != b"little":
            raise _Refused("its numbers are big-endian")

        def storage(key) -> bytes:
            name = f"{root}/data/{key}"
            if name not in members:
                raise _Refused(f"it has no {name}")
            return archive.read(name)

        return _Unpickler(archive.read(pickles[0]), storage).load()


def _numbers(content: bytes, dtype: str, count: int) -> np.ndarray:
    if dtype == "bfloat16":  # the upper half of a float32
        upper = np.frombuffer(content, "<u2")
        values = (upper.astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(content, dtype)
        values = values.astype(np.float32) if dtype == "<f2" else values
    if len(values) < count:
        raise _Refused("it holds fewer numbers than it says")
    return values


def _tensor(values, offset, size, stride, *rest) -> np.ndarray:
    """A view of a storage; stands for `torch._utils._rebuild_tensor_v2`."""
    if not isinstance(values, np.ndarray) or values.ndim != 1 or len(size) != len(stride):
        raise _Refused("one of its tensors is none")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    sound = min((offset, *size, *stride), default=0) >= 0 and count <= len(values)
    if not sound or (count and last >= len(values)):
        raise _Refused("one of its tensors lies outside its numbers")
    steps = [step * values.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps).copy()
