"""Small `.tflite` files of any shape, written with the schema's generated functions.

`model_bytes` writes what it is told, nonsense included; `segmenter` is a model that runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import flatbuffers
import numpy as np
import pytest
import tflite


@dataclass
class T:
    """A tensor. `buffer` overrides the number of the buffer that it is given for `data`.

    One object that is listed several times is written once, and shared.
    """

    name: str
    shape: tuple
    dtype: str = "FLOAT32"
    data: np.ndarray | None = None
    scales: tuple = ()
    zero_points: tuple = ()
    dimension: int = 0
    signature: tuple | None = None
    variable: bool = False
    buffer: int | None = None


@dataclass
class Op:
    """An operator: a builtin's name, or with `custom` any text.

    `options` are the fields of the table `kind`; `codes` overrides the (one-byte, full)
    operator codes that a writer of today gives.
    """

    name: str
    inputs: tuple
    outputs: tuple
    kind: str = ""
    options: dict = field(default_factory=dict)
    version: int = 1
    custom: bool = False
    codes: tuple | None = None
    code_index: int | None = None


@dataclass
class Graph:
    tensors: list
    operators: list
    inputs: tuple
    outputs: tuple
    name: str = "main"


def model_bytes(*graphs: Graph, description="by hand", metadata=None, external=()) -> bytes:
    """A model of `graphs`.

    Args:
        metadata: Contents of metadata entries by name.
        external: For each of the first buffers after buffer 0, (offset, size) of data outside
            of the flatbuffer, in place of its data.
    """
    return _Writer().model(graphs, description, metadata or {}, external)


def segmenter(dtype="INT8", height=8, width=12) -> bytes:
    """[1, H, W, 3] -> a 3x3 convolution of stride 2 -> a 1x1 convolution -> [1, H/2, W/2, 5].

    137 parameters; 3072 multiply-accumulates for 8x12.
    """
    rng = np.random.default_rng(0)
    half = (1, height // 2, width // 2)
    quantized = dtype != "FLOAT32"
    zero_point = {"INT8": -128, "UINT8": 0, "FLOAT32": 0}[dtype]

    def activation(name, shape, scale):
        return T(name, shape, dtype, None, *(((scale,), (zero_point,)) if quantized else ()))

    def weights(name, shape, input_scale):
        scales = tuple(rng.uniform(0.004, 0.006, shape[0]).astype(np.float32).tolist())
        values, bias = rng.integers(-127, 128, shape), rng.integers(-100, 100, shape[0])
        if dtype == "INT8":
            zeros = (0,) * shape[0]
            return [
                T(name, shape, "INT8", values.astype(np.int8), scales, zeros),
                T(
                    f"{name}_bias",
                    shape[:1],
                    "INT32",
                    bias.astype(np.int32),
                    tuple(input_scale * s for s in scales),
                    zeros,
                ),
            ]
        if dtype == "UINT8":
            return [
                T(name, shape, "UINT8", (values + 128).astype(np.uint8), (0.005,), (128,)),
                T(
                    f"{name}_bias",
                    shape[:1],
                    "INT32",
                    bias.astype(np.int32),
                    (input_scale * 0.005,),
                    (0,),
                ),
            ]
        return [
            T(name, shape, "FLOAT32", (values * 0.005).astype(np.float32)),
            T(f"{name}_bias", shape[:1], "FLOAT32", (bias * 0.005).astype(np.float32)),
        ]

    tensors = [
        activation("image", (1, height, width, 3), 1 / 255),
        *weights("stem", (4, 3, 3, 3), 1 / 255),
        activation("features", (*half, 4), 0.02),
        *weights("head", (5, 1, 1, 4), 0.02),
        activation("logits", (*half, 5), 0.02),
    ]
    convolution = {"Padding": tflite.Padding.SAME, "StrideW": 2, "StrideH": 2}
    operators = [
        Op(
            "CONV_2D",
            (0, 1, 2),
            (3,),
            "Conv2DOptions",
            {**convolution, "FusedActivationFunction": tflite.ActivationFunctionType.RELU},
            version=3,
        ),
        Op(
            "CONV_2D",
            (3, 4, 5),
            (6,),
            "Conv2DOptions",
            {**convolution, "StrideW": 1, "StrideH": 1},
            version=3,
        ),
    ]
    return model_bytes(Graph(tensors, operators, (0,), (6,)))


class _Writer:
    def __init__(self):
        self.builder = flatbuffers.Builder(1024)
        self.buffers = [b""]  # by convention, buffer 0 is empty
        self.codes = []

    def model(self, graphs, description, metadata, external) -> bytes:
        subgraphs = self.offsets([self.graph(graph) for graph in graphs])
        entries = [
            self.table("Metadata", Name=self.text(name), Buffer=self.buffer(contents))
            for name, contents in metadata.items()
        ]
        buffers = [
            self.table("Buffer", Offset=external[i - 1][0], Size=external[i - 1][1])
            if 1 <= i <= len(external)
            else self.table("Buffer", **({"Data": self.data(data)} if data else {}))
            for i, data in enumerate(self.buffers)
        ]
        root = self.table(
            "Model",
            Version=3,
            OperatorCodes=self.offsets(self.codes),
            Subgraphs=subgraphs,
            Description=self.text(description),
            Buffers=self.offsets(buffers),
            Metadata=self.offsets(entries),
        )
        self.builder.Finish(root, b"TFL3")
        return bytes(self.builder.Output())

    def graph(self, graph: Graph) -> int:
        tensors = {id(t): self.tensor(t) for t in {id(t): t for t in graph.tensors}.values()}
        return self.table(
            "SubGraph",
            Tensors=self.offsets([tensors[id(t)] for t in graph.tensors]),
            Operators=self.offsets([self.operator(op) for op in graph.operators]),
            Inputs=self.numbers(graph.inputs, np.int32),
            Outputs=self.numbers(graph.outputs, np.int32),
            Name=self.text(graph.name),
        )

    def tensor(self, t: T) -> int:
        fields = {
            "Name": self.text(t.name),
            "Shape": self.numbers(t.shape, np.int32),
            "Type": getattr(tflite.TensorType, t.dtype),
            "IsVariable": t.variable,
            "Buffer": 0,
        }
        if t.data is not None:
            fields["Buffer"] = self.buffer(t.data.tobytes())
        if t.buffer is not None:
            fields["Buffer"] = t.buffer
        if t.signature is not None:
            fields["ShapeSignature"] = self.numbers(t.signature, np.int32)
        if t.scales:
            fields["Quantization"] = self.table(
                "QuantizationParameters",
                Scale=self.numbers(t.scales, np.float32),
                ZeroPoint=self.numbers(t.zero_points, np.int64),
                QuantizedDimension=t.dimension,
            )
        return self.table("Tensor", **fields)

    def operator(self, op: Op) -> int:
        number = getattr(tflite.BuiltinOperator, "CUSTOM" if op.custom else op.name, 0)
        old, full = op.codes or (min(number, 127), number)
        code = {"DeprecatedBuiltinCode": old, "BuiltinCode": full, "Version": op.version}
        if op.custom:
            code["CustomCode"] = self.text(op.name)
        self.codes.append(self.table("OperatorCode", **code))
        fields = {
            "OpcodeIndex": len(self.codes) - 1 if op.code_index is None else op.code_index,
            "Inputs": self.numbers(op.inputs, np.int32),
            "Outputs": self.numbers(op.outputs, np.int32),
        }
        if op.kind:
            union = 2 if hasattr(tflite.BuiltinOptions2, op.kind) else ""
            fields[f"BuiltinOptions{union}Type"] = getattr(
                getattr(tflite, f"BuiltinOptions{union}"), op.kind
            )
            fields[f"BuiltinOptions{union}"] = self.table(op.kind, **op.options)
        return self.table("Operator", **fields)

    def buffer(self, data: bytes) -> int:
        self.buffers.append(data)
        return len(self.buffers) - 1

    def table(self, name: str, **fields) -> int:
        fields = {
            key: self.numbers(value, np.int32) if isinstance(value, tuple) else value
            for key, value in fields.items()
        }
        getattr(tflite, f"{name}Start")(self.builder)
        for key, value in fields.items():
            getattr(tflite, f"{name}Add{key}")(self.builder, value)
        return getattr(tflite, f"{name}End")(self.builder)

    def text(self, text: str) -> int:
        return self.builder.CreateString(text)

    def numbers(self, numbers, dtype) -> int:
        return self.builder.CreateNumpyVector(np.array(numbers, dtype))

    def data(self, data: bytes) -> int:
        self.builder.Prep(16, len(data))  # the schema aligns buffers to 16 bytes
        return self.builder.CreateByteVector(data)

    def offsets(self, offsets) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()


def _runtime_is_old() -> bool:
    from keras_bisenet.errors import UserError
    from keras_bisenet.runtime.interpreter import runtime_name

    try:
        return runtime_name() == "ai-edge-litert 2.1.0"
    except UserError:
        return False


needs_a_runtime_that_allocates = pytest.mark.skipif(
    _runtime_is_old(), reason="ai-edge-litert 2.1.0 opens a file whose tensors it cannot hold"
)
