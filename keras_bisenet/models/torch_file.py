"""Reading the tensors of a PyTorch file (`torch.save`), without PyTorch, and running none of it.

A `.pth` file is a ZIP archive (since PyTorch 1.6): `NAME/data.pkl` is a pickle of the saved object,
in which tensors refer to `NAME/data/0`, `NAME/data/1`, ..., raw numbers each. A pickle may name any
function of the installed Python and have it called. The reader here knows the few names that
weights need, and stands in for each itself; at any other name it stops.
"""

from __future__ import annotations

import io
import math
import pickle
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


class _Unpickler(pickle.Unpickler):
    """Unpickles objects made of containers, numbers, text and tensors alone.

    Args:
        file: The pickle.
        storage: From the key of a storage to its bytes.
    """

    def __init__(self, file, storage):
        super().__init__(file)
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
        if f"{module}.".startswith(IGNORED):
            return _Nothing
        raise _Refused(f"its pickle asks for {module}.{name}, which no weights need")

    def persistent_load(self, reference):
        kind, storage, key, _, count = reference
        if kind != "storage" or not isinstance(storage, _Storage):
            raise _Refused("it refers to something that is no tensor")
        return _numbers(self._storage(key), storage.dtype, count)


def read_tensors(path) -> dict[str, np.ndarray]:
    """Reads the tensors of a file that `torch.save` wrote.

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
        tensors = {k: v for k, v in content.items() if isinstance(v, np.ndarray)}
    if not tensors:
        raise UserError(f"{path}: no state dict: save it with torch.save(model.state_dict(), FILE)")
    return {str(name).removeprefix("module."): tensor for name, tensor in tensors.items()}


def _read(path: Path):
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

        return _Unpickler(io.BytesIO(archive.read(pickles[0])), storage).load()


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
