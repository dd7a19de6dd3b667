"""Writes `.pth` files as `torch.save` does, without PyTorch."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from unittest import mock

import numpy as np

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


class _Storage:
    def __init__(self, kind, key, values):
        self.kind, self.key, self.values = kind, key, values


class _Tensor:
    def __init__(self, rebuild, storage):
        self.rebuild, self.storage = rebuild, storage

    def __reduce__(self):
        values = self.storage.values
        strides = tuple(step // values.itemsize for step in values.strides)
        arguments = (self.storage, 0, values.shape, strides, False, OrderedDict())
        return self.rebuild, arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, _Storage):
            return "storage", obj.kind, obj.key, "cpu", obj.values.size
        return None


def write_pth(path, content, compression=zipfile.ZIP_STORED) -> None:
    """Writes a dict of arrays, of dicts of them, and of whatever else pickles."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    exec("def _rebuild_tensor_v2(*arguments): pass", utils.__dict__)
    utils._rebuild_tensor_v2.__module__ = "torch._utils"
    storages = []

    def replaced(value):
        if isinstance(value, dict):
            return OrderedDict((name, replaced(x)) for name, x in value.items())
        if isinstance(value, np.ndarray):
            value = np.ascontiguousarray(value) if value.ndim else value
            kind = getattr(torch, STORAGES[value.dtype.name])
            storages.append(_Storage(kind, str(len(storages)), value))
            return _Tensor(utils._rebuild_tensor_v2, storages[-1])
        return value

    buffer = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        _Pickler(buffer, 2).dump(replaced(content))
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        archive.writestr("archive/byteorder", "little")
        for storage in storages:
            archive.writestr(f"archive/data/{storage.key}", storage.values.tobytes())
        archive.writestr("archive/version", "3\n")
