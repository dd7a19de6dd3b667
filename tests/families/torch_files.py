"""State dicts of PyTorch and PaddlePaddle, and `.pth` files as `torch.save` writes them, without
either."""

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


def random_weights(shapes, seed=0) -> dict[str, np.ndarray]:
    """Random weights and statistics; RandomState gives the same numbers for ever."""
    rng, found = np.random.RandomState(seed), {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            found[name] = np.array(1234, np.int64)
            continue
        if name.endswith(("running_var", "_variance")):
            values = rng.uniform(0.2, 2.0, shape)
        elif name.endswith(("running_mean", "_mean")):
            values = rng.normal(0, 0.3, shape)
        elif len(shape) == 4:
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif name.endswith("weight"):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.normal(0, 0.2, shape)
        found[name] = values.astype(np.float32)
    return found


def state_dict_of(model, layout) -> dict[str, np.ndarray]:
    """The state dict that they would have of a network of ours: what `model_from` undoes.

    Args:
        model: `bisenetv2` with the options of the layout.
        layout: One of `keras_bisenet.models.pytorch.LAYOUTS`.
    """
    rng, found = np.random.RandomState(0), {}
    for source in layout.sources():
        layer = model.get_layer(source.layer)
        if source.conv:
            kernel, *bias = layer.get_weights()
            if "Depthwise" in type(layer).__name__:
                *size, channels, multiplier = kernel.shape
                kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, *size)
            else:
                kernel = kernel.transpose(3, 2, 0, 1)
            found[f"{source.conv}.weight"] = np.ascontiguousarray(kernel)
            if bias:
                found[f"{source.conv}.bias"] = bias[0]
        if source.norm:
            norm = model.get_layer(f"{source.layer}_bn") if source.conv else layer
            gamma, beta, mean, variance = norm.get_weights()
            if layout.biases and source.conv:
                bias = rng.normal(0, 0.2, mean.shape).astype(np.float32)
                found[f"{source.conv}.bias"] = bias
                mean = mean + bias
            gamma = gamma * np.sqrt((variance + 1e-5) / (variance + norm.epsilon))
            values = (gamma, beta, mean, variance)
            for part, value in zip(("weight", "bias", *layout.statistics), values):
                found[f"{source.norm}.{part}"] = value
            if layout.statistics[0] == "running_mean":  # PyTorch counts batches as well
                found[f"{source.norm}.num_batches_tracked"] = np.array(1234, np.int64)
    return found
