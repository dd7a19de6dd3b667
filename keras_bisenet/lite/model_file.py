"""Reads `.tflite` files without TensorFlow.

`read_model_file` takes any TFLite model (float or quantized, of any age, with custom operators
or several subgraphs) and returns plain, frozen dataclasses. It trusts nothing that the file
says: every index and vector length is checked while reading, so that what it returns can be
used without further care, and anything malformed is a one-line `UserError`.

The layout is `tensorflow/compiler/mlir/lite/schema/schema.fbs`, through the classes that
flatc generated from it (the `tflite` package).
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import flatbuffers.number_types
import numpy as np
import tflite

from keras_bisenet.errors import UserError

FILE_IDENTIFIER = b"TFL3"

NUMPY_TYPES = {
    "FLOAT16": "<f2",
    "FLOAT32": "<f4",
    "FLOAT64": "<f8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "BOOL": "?",
}
"""NumPy's types for the TFLite types that have one, little-endian as in the file."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a subgraph.

    Attributes:
        index: Its place in `Subgraph.tensors`.
        name: Its name; may be empty, and need not be unique.
        shape: Its sides. A side that is unknown until run time is stored as 1, or as -1.
        shape_signature: The sides with -1 for the unknown ones, or None where the file has none.
        dtype: The name of its `TensorType`, such as "INT8".
        scales: Quantization scales: none, one, or one per slice of `quantized_dimension`.
        zero_points: Quantization zero points.
        quantized_dimension: The dimension that `scales` run along where there are several.
        is_variable: Whether it keeps its value from one run to the next.
        data_offset: Where its constant data starts in the file, in bytes.
        data_size: The size of its constant data, in bytes; 0 where it has none.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...] | None
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    quantized_dimension: int
    is_variable: bool
    data_offset: int
    data_size: int

    @property
    def is_constant(self) -> bool:
        return self.data_size > 0

    @property
    def is_float(self) -> bool:
        return self.dtype in ("FLOAT16", "BFLOAT16", "FLOAT32", "FLOAT64")

    @property
    def is_quantized(self) -> bool:
        return not self.is_float and any(self.scales)

    @property
    def is_dynamic(self) -> bool:
        """Whether a side is unknown until run time."""
        return any(side < 0 for side in (*self.shape, *(self.shape_signature or ())))

    @property
    def num_elements(self) -> int:
        """The number of elements, an unknown side counted as 1."""
        return _product(self.shape)


@dataclass(frozen=True)
class Operator:
    """One operator of a subgraph.

    Attributes:
        index: Its place in `Subgraph.operators`, which is the order of execution.
        name: The name of its `BuiltinOperator`, such as "CONV_2D", or its custom code, such as
            "edgetpu-custom-op". A builtin that is newer than the schema is "UNKNOWN_<code>".
        is_custom: Whether it is a custom operator. `name` alone does not tell: a custom code
            may be any text.
        version: Its version.
        inputs: Indices into `Subgraph.tensors`; -1 stands for an optional input left out.
        outputs: Indices into `Subgraph.tensors`, -1 likewise.
        options: Its builtin options by their names in the schema, in snake case, enumerations
            by their names: `{"padding": "SAME", "stride_w": 2, "fused_activation": "RELU"}`.
            Empty for operators without options.
    """

    index: int
    name: str
    is_custom: bool
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict

    @property
    def fused_activation(self) -> str:
        return self.options.get("fused_activation", "NONE")


@dataclass(frozen=True)
class Subgraph:
    """A graph: its operators in the order of execution, and the tensors between them."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class ModelFile:
    """A `.tflite` file.

    Attributes:
        path: Where it was read from; "model" when it was read from bytes.
        version: The version of the schema; 3 in every file that a current runtime accepts.
        description: What its converter wrote into it.
        subgraphs: At least one; the first is the one that runs.
        metadata: The metadata entries' contents by name.
        data: The file.
    """

    path: str
    version: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    metadata: dict[str, memoryview] = field(repr=False)
    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """The size of the file, in bytes."""
        return len(self.data)

    @property
    def main(self) -> Subgraph:
        return self.subgraphs[0]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(self.main.tensors[i] for i in self.main.inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return tuple(self.main.tensors[i] for i in self.main.outputs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all operators, each counted once; see `macs`."""
        return sum(macs(op, graph) for graph in self.subgraphs for op in graph.operators)

    @property
    def parameters(self) -> int:
        """Weights and biases of all operators; see `parameters`.

        One that several operators read counts for each of them, as converters also let
        operators share constants that only happen to be equal.
        """
        return sum(parameters(op, graph) for graph in self.subgraphs for op in graph.operators)

    def array(self, tensor: Tensor) -> np.ndarray:
        """The constant data of `tensor`.

        Returns:
            A read-only array of the tensor's shape, over the file's own bytes.

        Raises:
            UserError: When the tensor is not constant, its type has no NumPy counterpart, or
                its data is not as long as its shape and type ask for.
        """
        what = f"{self.path}: tensor {tensor.index} ({tensor.name})"
        if not tensor.is_constant:
            raise UserError(f"{what} holds no constant data")
        if tensor.dtype not in NUMPY_TYPES:
            raise UserError(f"{what} is of type {tensor.dtype}, which NumPy does not have")
        dtype = np.dtype(NUMPY_TYPES[tensor.dtype])
        if min(tensor.shape, default=0) < 0 or (
            tensor.num_elements * dtype.itemsize != tensor.data_size
        ):
            raise UserError(
                f"{what} holds {tensor.data_size} bytes, which do not fill its shape "
                f"{list(tensor.shape)} of {tensor.dtype}"
            )
        flat = np.frombuffer(self.data, dtype, tensor.num_elements, tensor.data_offset)
        return flat.reshape(tensor.shape)


def read_model_file(source: str | os.PathLike | bytes | ModelFile) -> ModelFile:
    """Reads a `.tflite` file.

    Args:
        source: The file's path, or its bytes. A file as read is handed back.

    Raises:
        UserError: When there is no such file, it cannot be read, or it is not a well-formed
            TFLite model.
    """
    if isinstance(source, ModelFile):
        return source
    if isinstance(source, bytes):
        path, data = "model", source
    else:
        path = os.fspath(source)
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file")
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise UserError(
                f"{path}: {error.strerror}: name a .tflite file that can be read"
            ) from error
    try:
        if data[4:8] != FILE_IDENTIFIER:
            raise MalformedError("it has no TFLite header")
        return _ModelReader(data).model_file(path)
    except DAMAGE as error:
        reason = str(error) if isinstance(error, MalformedError) else "its contents are damaged"
        raise UserError(
            f"{path}: not a TFLite model ({reason}); convert it, or copy it, again"
        ) from error


def macs(operator: Operator, subgraph: Subgraph) -> int:
    """Multiply-accumulates of one run of `operator`; an unknown side counts as 1.

    Counted for CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED and TRANSPOSE_CONV, padding
    included; 0 for every other operator.
    """
    if operator.is_custom or operator.name not in _MACS_PER_ELEMENT:
        return 0
    if operator.name == "TRANSPOSE_CONV":  # inputs: output shape, weights, input, bias
        counted = _tensor(subgraph, operator.inputs, 2)
    else:
        counted = _tensor(subgraph, operator.outputs, 0)
    weights = _tensor(subgraph, operator.inputs, 1)
    if counted is None or weights is None:
        return 0
    return counted.num_elements * _product(weights.shape[_MACS_PER_ELEMENT[operator.name]])


def parameters(operator: Operator, subgraph: Subgraph) -> int:
    """The number of weights and biases of `operator`.

    They are its constant inputs that stand for real numbers, floating-point or quantized;
    shapes, axes and paddings are plain integers and do not count.
    """
    inputs = [subgraph.tensors[i] for i in operator.inputs if i >= 0]
    return sum(t.num_elements for t in inputs if t.is_constant and (t.is_float or t.is_quantized))


# The part of the weights' shape whose product is the number of multiply-accumulates for each
# element of the output (of the input, in TRANSPOSE_CONV).
_MACS_PER_ELEMENT = {
    "CONV_2D": slice(1, 4),  # [output channels, height, width, input channels]
    "DEPTHWISE_CONV_2D": slice(1, 3),  # [1, height, width, output channels]
    "FULLY_CONNECTED": slice(-1, None),  # [outputs, inputs]
    "TRANSPOSE_CONV": slice(0, 3),  # [output channels, height, width, input channels]
}


def _product(sides: Sequence[int]) -> int:
    return math.prod(1 if side < 0 else side for side in sides)


def _tensor(subgraph: Subgraph, indices: Sequence[int], position: int) -> Tensor | None:
    if position >= len(indices) or indices[position] < 0:
        return None
    return subgraph.tensors[indices[position]]


class MalformedError(Exception):
    """A flatbuffer says something that cannot be."""


DAMAGE = (MalformedError, struct.error, TypeError, ValueError, IndexError, OverflowError)
"""What reading a malformed flatbuffer raises: the Python runtime has no verifier, and an offset
that leads outside the file ends in whichever of these comes first."""

# TensorFlow's own tensors have at most 254 dimensions and TFLite's kernels take at most 8.
_MAX_RANK = 32


class BoundedReader:
    """Reads vectors and text through flatc's classes, and no more than a file can hold.

    Offsets in a flatbuffer may share what they point at, so a few crafted kilobytes can
    describe billions of tables. Real writers share next to nothing: whoever reads more
    elements than the file has bytes is being led round in circles.
    """

    # A table takes 8 bytes at the least: the offset that leads to it, and its own to its vtable.
    _TABLE_SIZE = 8
    # Weights are described, not read. No model comes near these, and they are read in seconds.
    _MAX_TABLES = 1 << 18
    _MAX_ELEMENTS = 1 << 23

    def __init__(self, size: int):
        self._elements_left = min(size, self._MAX_ELEMENTS)
        self._tables_left = self._MAX_TABLES

    def tables(self, owner, name: str) -> list:
        """The tables in the vector `name` of `owner`, a generated class."""
        length = getattr(owner, f"{name}Length")()
        self.spend_tables(length)
        return [getattr(owner, name)(i) for i in range(length)]

    def numbers(self, owner, name: str) -> tuple:
        """The numbers in the vector `name` of `owner`, a generated class."""
        length = getattr(owner, f"{name}Length")()
        self.spend(length)
        return tuple(getattr(owner, f"{name}AsNumpy")().tolist()) if length else ()

    def text(self, raw: bytes | None) -> str:
        """A string field; bytes that are not UTF-8 become U+FFFD."""
        raw = raw or b""
        self.spend(len(raw))
        return raw.decode("utf-8", errors="replace")

    def spend_tables(self, count: int) -> None:
        """Counts `count` tables that are about to be read."""
        self._tables_left -= count
        self.spend(count * self._TABLE_SIZE)

    def spend(self, elements: int) -> None:
        """Counts `elements` (numbers, bytes of text) that are about to be read."""
        self._elements_left -= elements
        if self._elements_left < 0 or self._tables_left < 0:
            raise MalformedError("it describes more than a model of its size can hold")


class _ModelReader(BoundedReader):
    """Turns one file's bytes into a `ModelFile`."""

    def __init__(self, data: bytes):
        super().__init__(len(data))
        self._data = data

    def model_file(self, path: str) -> ModelFile:
        model = tflite.Model.GetRootAs(self._data, 0)
        buffers = [self._buffer(b) for b in self.tables(model, "Buffers")]
        codes = [self._operator_code(c) for c in self.tables(model, "OperatorCodes")]
        subgraphs = tuple(
            self._subgraph(g, buffers, codes) for g in self.tables(model, "Subgraphs")
        )
        if not subgraphs:
            raise MalformedError("it has no subgraph")
        view = memoryview(self._data)
        metadata = {}
        for entry in self.tables(model, "Metadata"):
            offset, size = _at(buffers, entry.Buffer(), "buffer")
            metadata[self.text(entry.Name())] = view[offset : offset + size]
        return ModelFile(
            path=path,
            version=model.Version(),
            description=self.text(model.Description()),
            subgraphs=subgraphs,
            metadata=metadata,
            data=self._data,
        )

    def _buffer(self, buffer) -> tuple[int, int]:
        """A buffer's place in the file: its offset and size in bytes."""
        offset, size = 0, 0
        # Files of more than 2 GB keep their data behind the flatbuffer; an offset of 0 or 1
        # marks those that do not.
        if buffer.Offset() > 1:
            offset, size = buffer.Offset(), buffer.Size()
        elif buffer.DataLength():
            table = buffer._tab
            offset, size = table.Vector(table.Offset(4)), buffer.DataLength()
        if offset + size > len(self._data):
            raise MalformedError("it is cut short")
        return offset, size

    def _operator_code(self, code) -> tuple[str, bool, int]:
        """An operator code's name, whether it is custom, and its version."""
        # Files from before 2020 have the one-byte field, later ones both, and the greater
        # counts (schema_utils.cc). The generated BuiltinCode() asks for both to be there.
        builtin = code._tab.GetSlot(10, 0, flatbuffers.number_types.Int32Flags)
        number = max(builtin, code.DeprecatedBuiltinCode())
        if number < 0:
            raise MalformedError(f"it has an operator of code {number}")
        if number == tflite.BuiltinOperator.CUSTOM:
            return self.text(code.CustomCode()) or "CUSTOM", True, code.Version()
        return _enum_name(tflite.BuiltinOperator, number), False, code.Version()

    def _subgraph(self, graph, buffers, codes) -> Subgraph:
        tensors = tuple(
            self._tensor(i, t, buffers) for i, t in enumerate(self.tables(graph, "Tensors"))
        )
        operators = tuple(
            self._operator(i, op, codes, len(tensors))
            for i, op in enumerate(self.tables(graph, "Operators"))
        )
        return Subgraph(
            name=self.text(graph.Name()),
            tensors=tensors,
            operators=operators,
            inputs=self._tensor_indices(graph, "Inputs", 0, len(tensors)),
            outputs=self._tensor_indices(graph, "Outputs", 0, len(tensors)),
        )

    def _tensor(self, index: int, tensor, buffers) -> Tensor:
        shape = self._shape(index, tensor, "Shape")
        quantization = tensor.Quantization()
        scales, zero_points, dimension = (), (), 0
        if quantization is not None:
            scales = self.numbers(quantization, "Scale")
            zero_points = self.numbers(quantization, "ZeroPoint")
            dimension = quantization.QuantizedDimension()
        if not all(map(math.isfinite, scales)):
            raise MalformedError(f"the scale of its tensor {index} is not a number")
        if len(scales) > 1 and not 0 <= dimension < len(shape):
            raise MalformedError(f"its tensor {index} has no dimension {dimension} to quantize")
        offset, size = _at(buffers, tensor.Buffer(), "buffer")
        return Tensor(
            index=index,
            name=self.text(tensor.Name()),
            shape=shape,
            shape_signature=self._shape(index, tensor, "ShapeSignature") or None,
            dtype=_enum_name(tflite.TensorType, tensor.Type()),
            scales=scales,
            zero_points=zero_points,
            quantized_dimension=dimension,
            is_variable=tensor.IsVariable(),
            data_offset=offset,
            data_size=size,
        )

    def _shape(self, index: int, tensor, name: str) -> tuple[int, ...]:
        shape = self.numbers(tensor, name)
        if len(shape) > _MAX_RANK or min(shape, default=0) < -1:
            raise MalformedError(f"the shape of its tensor {index} makes no sense")
        return shape

    def _operator(self, index: int, operator, codes, num_tensors: int) -> Operator:
        name, is_custom, version = _at(codes, operator.OpcodeIndex(), "operator code")
        return Operator(
            index=index,
            name=name,
            is_custom=is_custom,
            version=version,
            inputs=self._tensor_indices(operator, "Inputs", -1, num_tensors),
            outputs=self._tensor_indices(operator, "Outputs", -1, num_tensors),
            options=self._options(operator),
        )

    def _tensor_indices(self, owner, name: str, lowest: int, num_tensors: int) -> tuple[int, ...]:
        indices = self.numbers(owner, name)
        for index in indices:
            if not lowest <= index < num_tensors:
                raise MalformedError(f"it refers to tensor {index} of {num_tensors}")
        return indices

    def _options(self, operator) -> dict:
        """An operator's builtin options. Kinds that are newer than the schema read as none."""
        for union, kind, found in (
            (tflite.BuiltinOptions, operator.BuiltinOptionsType(), operator.BuiltinOptions),
            (tflite.BuiltinOptions2, operator.BuiltinOptions2Type(), operator.BuiltinOptions2),
        ):
            table = found() if kind else None
            options_class = getattr(tflite, _enum_name(union, kind), None)
            if table is not None and options_class is not None:
                options = options_class()
                options.Init(table.Bytes, table.Pos)
                return {
                    key: self._option(options, name, is_vector)
                    for key, name, is_vector in _option_fields(options_class)
                }
        return {}

    def _option(self, options, name: str, is_vector: bool):
        if is_vector:
            return self.numbers(options, name)
        value = getattr(options, name)()
        if name in _OPTION_ENUMS:
            return _enum_name(_OPTION_ENUMS[name], value)
        if value is None or isinstance(value, bytes):
            return self.text(value)
        return value


def _at(items: Sequence, index: int, what: str):
    if not 0 <= index < len(items):
        raise MalformedError(f"it refers to {what} {index} of {len(items)}")
    return items[index]


def _enum_name(enum, value: int) -> str:
    return _enum_names(enum).get(value, f"UNKNOWN_{value}")


@functools.cache
def _enum_names(enum) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if not name.startswith("_")}


@functools.cache
def _option_fields(options_class) -> tuple[tuple[str, str, bool], ...]:
    """The fields of a table of options: key in `Operator.options`, accessor, is it a vector.

    flatc generates one method per scalar or string, and for a vector `Name`, `NameLength`,
    `NameAsNumpy` and `NameIsNone`. `Init` is the only method that reads no field.
    """
    methods = [name for name, member in vars(options_class).items() if inspect.isfunction(member)]
    methods.remove("Init")
    vectors = {name for name in methods if f"{name}AsNumpy" in methods}
    of_vectors = {f"{name}{part}" for name in vectors for part in ("Length", "AsNumpy", "IsNone")}
    return tuple(
        (_OPTION_KEYS.get(name, _snake_case(name)), name, name in vectors)
        for name in methods
        if name not in of_vectors
    )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


_OPTION_KEYS = {"FusedActivationFunction": "fused_activation"}

# The options that are enumerations, by accessor: flatc returns plain numbers.
_OPTION_ENUMS = {
    "FusedActivationFunction": tflite.ActivationFunctionType,
    "Padding": tflite.Padding,
    "Mode": tflite.MirrorPadMode,
    "WeightsFormat": tflite.FullyConnectedOptionsWeightsFormat,
    "KernelType": tflite.LSTMKernelType,
    "Type": tflite.LSHProjectionType,
    "Combiner": tflite.CombinerType,
    "ReduceFunction": tflite.ReduceWindowFunction,
    "Algorithm": tflite.RngAlgorithm,
    "ComparisonDirection": tflite.StablehloComparisonDirection,
    "CompareType": tflite.StablehloComparisonType,
    "InDataType": tflite.TensorType,
    "OutDataType": tflite.TensorType,
    "OutputType": tflite.TensorType,
    "OutType": tflite.TensorType,
    "IdxOutType": tflite.TensorType,
    "KeyDtype": tflite.TensorType,
    "ValueDtype": tflite.TensorType,
    "QuantizedBiasType": tflite.TensorType,
}
