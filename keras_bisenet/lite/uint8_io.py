"""Gives an int8 `.tflite` file an input and an output of uint8, by editing the flatbuffer.

A QUANTIZE operator goes before the network and one behind it. The scale stays and the zero point
moves by 128, so each turns over the highest bit of a byte and rounds nothing: the new file
answers the old one's bytes plus 128. That is what some runtimes ask for (LiteRT.js takes no
int8), and what `convert --io uint8` has the converter write.

The network is kept byte for byte, as `add_metadata` keeps it: offsets in a flatbuffer lead
forward only, so new tables that are written before the old file's bytes refer to all in them.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import tflite

from keras_bisenet.errors import UserError
from keras_bisenet.lite.flatbuffer import ALIGNMENT, Written, flatbuffer
from keras_bisenet.lite.metadata import add_metadata, without_metadata, zip_entry
from keras_bisenet.lite.model_file import (
    FILE_IDENTIFIER,
    MalformedError,
    ModelFile,
    Tensor,
    read_model_file,
)
from keras_bisenet.lite.record import (
    archive_behind,
    damaged_metadata,
    packed_file,
    read_record,
)

_MAX_PACKED_SIZE = 1 << 24


def with_uint8_io(source: str | os.PathLike | bytes | ModelFile) -> bytes:
    """The file with uint8 in place of every int8 input and output.

    Its deployment record is written anew for them; another program's metadata is kept.

    Args:
        source: A `.tflite` file's path, its content, or the file as read.

    Raises:
        UserError: When it is no TFLite model, has no int8 input or output, is one of more than
            2 GB, or its metadata is damaged.
    """
    model = read_model_file(source)
    ends = [tensor for tensor in (*model.inputs, *model.outputs) if tensor.dtype == "INT8"]
    if not ends:
        raise UserError(f"{model.path}: neither its input nor its output is int8: use it as it is")
    for tensor in ends:
        if (len(tensor.scales), len(tensor.zero_points)) != (1, 1):
            raise UserError(
                f"{model.path}: its tensor {tensor.name!r} is int8 without a scale: "
                "convert it again with --io uint8"
            )
    record = read_record(model)
    edit = _Edit(without_metadata(model.data), model.path)
    content = edit.with_uint8(model.inputs, model.outputs)
    return add_metadata(content, record) if record else _with_files_of(model, content)


def _with_files_of(model: ModelFile, content: bytes) -> bytes:
    """`content` with the files that another program packed behind `model`, such as labels."""
    archive = archive_behind(model.data)
    if archive is None:
        return content
    with archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if sum(sizes.values()) > _MAX_PACKED_SIZE:
        raise UserError(f"{model.path}: the files packed behind it are too large to be copied")
    packed = io.BytesIO(content)
    try:
        with zipfile.ZipFile(packed, "a", zipfile.ZIP_STORED) as files:
            for name in sizes:
                files.writestr(zip_entry(name), packed_file(model.data, name) or b"")
    except MalformedError as error:
        raise damaged_metadata(model, error) from error
    return packed.getvalue()


# The fields of the schema's tables that are written here, by their numbers.


class _Model:
    VERSION, OPERATOR_CODES, SUBGRAPHS, DESCRIPTION, BUFFERS = range(5)
    METADATA_BUFFER, METADATA, SIGNATURE_DEFS = range(5, 8)


class _OperatorCode:
    DEPRECATED_BUILTIN_CODE, CUSTOM_CODE, VERSION, BUILTIN_CODE = range(4)


class _SubGraph:
    TENSORS, INPUTS, OUTPUTS, OPERATORS, NAME, DEBUG_METADATA_INDEX = range(6)


class _Tensor:
    SHAPE, TYPE, BUFFER, NAME, QUANTIZATION = range(5)
    SHAPE_SIGNATURE, HAS_RANK = 7, 8


class _Quantization:
    SCALE, ZERO_POINT = 2, 3


class _Operator:
    OPCODE_INDEX, INPUTS, OUTPUTS = range(3)


class _SignatureDef:
    INPUTS, OUTPUTS, SIGNATURE_KEY = range(3)
    SUBGRAPH_INDEX = 4


class _TensorMap:
    NAME, TENSOR_INDEX = range(2)


class _Edit:
    """A new file around an old one's bytes, in which the ends of the main graph are others."""

    def __init__(self, model: bytes, path: str):
        # The old bytes are a file no more: they lose the mark that a reader knows one by.
        model = model[:4] + bytes(4) + model[8:] + bytes(-len(model) % ALIGNMENT)
        self._root = tflite.Model.GetRootAs(model, 0)
        self._graph = self._root.Subgraphs(0)
        buffers = [self._root.Buffers(i) for i in range(self._root.BuffersLength())]
        if any(buffer.Offset() > 1 for buffer in buffers):
            raise UserError(f"{path}: a model of more than 2 GB cannot be edited")
        # A builder works from the end of a file to its start.
        self._size = len(model)
        self._builder = flatbuffers.Builder(self._size + 4096)
        self._builder.Prep(ALIGNMENT, 0)
        self._builder.CreateByteVector(model)

    def with_uint8(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bytes:
        """The file whose int8 `inputs` and `outputs` are reached through QUANTIZE operators."""
        count = self._graph.TensorsLength()
        int8_inputs = [tensor for tensor in inputs if tensor.dtype == "INT8"]
        int8_outputs = [tensor for tensor in outputs if tensor.dtype == "INT8"]
        # A tensor that is input and output at once gets a twin for either end.
        twins = {t.index: count + k for k, t in enumerate(int8_inputs)}
        input_indices = [twins.get(t.index, t.index) for t in inputs]
        entering = [(twins[t.index], t.index) for t in int8_inputs]
        out = {t.index: count + len(int8_inputs) + k for k, t in enumerate(int8_outputs)}
        output_indices = [out.get(t.index, t.index) for t in outputs]
        leaving = [(t.index, out[t.index]) for t in int8_outputs]

        code = self._root.OperatorCodesLength()
        graph = {
            **self._kept(self._graph, _SubGraph.NAME),
            _SubGraph.TENSORS: [
                *self._items(self._graph, "Tensors"),
                *(self._uint8_twin(tensor) for tensor in (*int8_inputs, *int8_outputs)),
            ],
            _SubGraph.INPUTS: np.array(input_indices, np.int32),
            _SubGraph.OUTPUTS: np.array(output_indices, np.int32),
            _SubGraph.OPERATORS: [
                *(_quantize(code, *pair) for pair in entering),
                *self._items(self._graph, "Operators"),
                *(_quantize(code, *pair) for pair in leaving),
            ],
            _SubGraph.DEBUG_METADATA_INDEX: np.int32(self._graph.DebugMetadataIndex()),
        }
        root = {
            **self._kept(
                self._root,
                *(_Model.DESCRIPTION, _Model.BUFFERS, _Model.METADATA_BUFFER, _Model.METADATA),
            ),
            _Model.VERSION: np.uint32(self._root.Version()),
            _Model.OPERATOR_CODES: [*self._items(self._root, "OperatorCodes"), _QUANTIZE_CODE],
            _Model.SUBGRAPHS: [graph, *self._items(self._root, "Subgraphs")[1:]],
        }
        signatures = [
            self._signature(self._root.SignatureDefs(i), twins, out)
            for i in range(self._root.SignatureDefsLength())
        ]
        if signatures:
            root[_Model.SIGNATURE_DEFS] = signatures
        return flatbuffer(root, FILE_IDENTIFIER, self._builder)

    def _uint8_twin(self, tensor: Tensor) -> dict:
        """A uint8 tensor for the same real numbers."""
        old = self._graph.Tensors(tensor.index)
        return {
            **self._kept(old, _Tensor.SHAPE, _Tensor.SHAPE_SIGNATURE),
            _Tensor.TYPE: np.int8(tflite.TensorType.UINT8),
            _Tensor.NAME: f"{tensor.name}_uint8",
            _Tensor.QUANTIZATION: {
                _Quantization.SCALE: np.array(tensor.scales, np.float32),
                _Quantization.ZERO_POINT: np.array(tensor.zero_points, np.int64) + 128,
            },
            _Tensor.HAS_RANK: np.int8(old.HasRank()),
        }

    def _signature(
        self, signature: Any, inputs: dict[int, int], outputs: dict[int, int]
    ) -> dict | Written:
        """A signature of the main graph with the new ends in it; another as it is."""
        if signature.SubgraphIndex():
            return self._written(signature._tab.Pos)
        new: dict = self._kept(signature, _SignatureDef.SIGNATURE_KEY)
        for slot, name, indices in (
            (_SignatureDef.INPUTS, "Inputs", inputs),
            (_SignatureDef.OUTPUTS, "Outputs", outputs),
        ):
            entries = [
                getattr(signature, name)(i) for i in range(getattr(signature, f"{name}Length")())
            ]
            new[slot] = [
                {
                    **self._kept(entry, _TensorMap.NAME),
                    _TensorMap.TENSOR_INDEX: np.uint32(
                        indices.get(entry.TensorIndex(), entry.TensorIndex())
                    ),
                }
                for entry in entries
            ]
        return new

    # What the old bytes have.

    def _written(self, position: int) -> Written:
        return Written(self._size - position)  # a builder counts from the end

    def _items(self, owner: Any, name: str) -> list[Written]:
        """The tables in the vector `name` of `owner`, a generated class."""
        length = getattr(owner, f"{name}Length")()
        return [self._written(getattr(owner, name)(i)._tab.Pos) for i in range(length)]

    def _kept(self, owner: Any, *slots: int) -> dict[int, Written]:
        """Those of the fields of `owner`, a generated class, that it has: vectors and strings."""
        table, kept = owner._tab, {}
        for slot in slots:
            offset = table.Offset(4 + 2 * slot)
            if offset:
                kept[slot] = self._written(table.Indirect(table.Pos + offset))
        return kept


_QUANTIZE_CODE = {
    _OperatorCode.DEPRECATED_BUILTIN_CODE: np.int8(tflite.BuiltinOperator.QUANTIZE),
    _OperatorCode.VERSION: np.int32(1),
    _OperatorCode.BUILTIN_CODE: np.int32(tflite.BuiltinOperator.QUANTIZE),
}


def _quantize(code: int, source: int, target: int) -> dict:
    """A QUANTIZE operator from one tensor to another."""
    return {
        _Operator.OPCODE_INDEX: np.uint32(code),
        _Operator.INPUTS: np.array([source], np.int32),
        _Operator.OUTPUTS: np.array([target], np.int32),
    }
