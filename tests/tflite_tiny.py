"""Tiny .tflite files whose answers can be computed by hand.

The network is one 1x1 convolution, at some stride, that hands on the red, green and blue value
of a pixel as the logits of the classes `red`, `green` and `blue`; a fourth class, `dark`, has
the constant logit 64 (as a pixel value). So a pixel's class is its strongest colour, or `dark`
where no colour exceeds 64. Built from the TFLite schema, without TensorFlow.
"""

from __future__ import annotations

import io
import json
import zipfile

import flatbuffers
import numpy as np
import tflite

NAMES = ("red", "green", "blue", "dark")
PALETTE = ((220, 60, 50), (60, 170, 80), (50, 90, 210), (60, 60, 70))
DARK = 64

_DTYPES = {
    "int8": (np.int8, tflite.TensorType.INT8),
    "uint8": (np.uint8, tflite.TensorType.UINT8),
    "float32": (np.float32, tflite.TensorType.FLOAT32),
}


def class_of(image: np.ndarray) -> np.ndarray:
    """The class ids that the network gives to the pixels of a uint8 RGB image."""
    logits = np.concatenate([image, np.full((*image.shape[:2], 1), DARK, np.uint8)], axis=-1)
    return logits.argmax(axis=-1).astype(np.uint8)


def record(size, *, stride=1, kind="logits", precision="int8") -> dict:
    """The deployment record that belongs to a tiny model."""
    return {
        "format": 1,
        "generator": "keras-bisenet 0.1.0",
        "model": "tiny",
        "target": "cpu",
        "precision": precision,
        "dataset": "colours",
        "miou": 0.5,
        "split": "val",
        "input": {
            "height": size[0],
            "width": size[1],
            "scale": 1 / 255,
            "offset": 0.0,
            "fit": "scale to fit, pad right and bottom with black",
        },
        "output": {"kind": kind, "stride": stride},
        "classes": [{"name": n, "color": list(c)} for n, c in zip(NAMES, PALETTE)],
    }


def with_record(flatbuffer: bytes, description: dict | str) -> bytes:
    """The model with a deployment record appended: a dict, or the record file's raw text."""
    text = description if isinstance(description, str) else json.dumps(description)
    archive = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(archive, "a") as files:
        files.writestr("labels.txt", "\n".join(NAMES) + "\n")
        files.writestr("keras_bisenet.json", text)
    return archive.getvalue()


def tiny_model(size, *, stride=1, kind="logits", precision="int8") -> bytes:
    """A complete file: the network with its deployment record."""
    described = record(size, stride=stride, kind=kind, precision=precision)
    return with_record(network(size, stride=stride, kind=kind, precision=precision), described)


def network(size, *, stride=1, kind="logits", precision="int8", both_outputs=False) -> bytes:
    """The network's flatbuffer alone, as another program would have written it.

    Args:
        size: (height, width) of the input.
        stride: The convolution's stride.
        kind: "logits", or "class_ids" for an ARG_MAX at the end, int32 [1, H, W].
        precision: "int8", "uint8" or "float32".
        both_outputs: With "class_ids", gives the logits as an output as well.
    """
    dtype, tensor_type = _DTYPES[precision]
    quantized = precision != "float32"
    pixel = (1 / 255, {"int8": -128, "uint8": 0}[precision]) if quantized else None
    one = 127 if quantized else 1  # a weight of 1.0
    weights = np.zeros((4, 1, 1, 3), dtype)
    weights[range(3), 0, 0, range(3)] = one
    bias = np.array([0, 0, 0, DARK * one], np.int32) if quantized else np.float32([0, 0, 0, DARK])
    if not quantized:
        bias /= 255
    elif precision == "int8":
        bias[:3] = 0  # an input of -128 is zero already: both zero points are -128

    graph = _Graph()
    logits_shape = (1, -(-size[0] // stride), -(-size[1] // stride), 4)
    image = graph.tensor("image", (1, *size, 3), tensor_type, pixel)
    kernel = graph.tensor(
        "kernel", weights.shape, tensor_type, (1 / 127, 0) if quantized else None, weights
    )
    offsets = graph.tensor(
        "bias",
        bias.shape,
        tflite.TensorType.INT32 if quantized else tensor_type,
        (1 / 255 / 127, 0) if quantized else None,
        bias,
    )
    logits = graph.tensor("logits", logits_shape, tensor_type, pixel)
    graph.convolution((image, kernel, offsets), logits, stride)
    if kind == "logits":
        return graph.finish([image], [logits])
    axis = graph.tensor("axis", (), tflite.TensorType.INT32, None, np.int32(3))
    ids = graph.tensor("ids", logits_shape[:3], tflite.TensorType.INT32)
    graph.argmax((logits, axis), ids)
    return graph.finish([image], [logits, ids] if both_outputs else [ids])


class _Graph:
    """One subgraph under construction, written with the schema's generated functions."""

    def __init__(self):
        self.builder = flatbuffers.Builder(1024)
        self.codes, self.operators, self.tensors = [], [], []
        self.buffers = [self._buffer(None)]  # by convention, buffer 0 is empty

    def tensor(self, name, shape, tensor_type, quantization=None, data=None) -> int:
        """Adds a tensor; `quantization` is (scale, zero point). Returns its index."""
        b = self.builder
        if data is None:
            buffer = 0
        else:
            buffer = len(self.buffers)
            self.buffers.append(self._buffer(np.asarray(data).tobytes()))
        name = b.CreateString(name)
        shape = b.CreateNumpyVector(np.array(shape, np.int32))
        if quantization:
            scale = b.CreateNumpyVector(np.array([quantization[0]], np.float32))
            zero_point = b.CreateNumpyVector(np.array([quantization[1]], np.int64))
            tflite.QuantizationParametersStart(b)
            tflite.QuantizationParametersAddScale(b, scale)
            tflite.QuantizationParametersAddZeroPoint(b, zero_point)
            quantization = tflite.QuantizationParametersEnd(b)
        tflite.TensorStart(b)
        tflite.TensorAddName(b, name)
        tflite.TensorAddShape(b, shape)
        tflite.TensorAddType(b, tensor_type)
        tflite.TensorAddBuffer(b, buffer)
        if quantization:
            tflite.TensorAddQuantization(b, quantization)
        self.tensors.append(tflite.TensorEnd(b))
        return len(self.tensors) - 1

    def convolution(self, inputs, output, stride):
        b = self.builder
        tflite.Conv2DOptionsStart(b)
        tflite.Conv2DOptionsAddPadding(b, tflite.Padding.SAME)
        tflite.Conv2DOptionsAddStrideH(b, stride)
        tflite.Conv2DOptionsAddStrideW(b, stride)
        options = tflite.Conv2DOptionsEnd(b)
        self._operator(
            tflite.BuiltinOperator.CONV_2D,
            3,
            inputs,
            output,
            tflite.BuiltinOptions.Conv2DOptions,
            options,
        )

    def argmax(self, inputs, output):
        b = self.builder
        tflite.ArgMaxOptionsStart(b)
        tflite.ArgMaxOptionsAddOutputType(b, tflite.TensorType.INT32)
        options = tflite.ArgMaxOptionsEnd(b)
        self._operator(
            tflite.BuiltinOperator.ARG_MAX,
            2,
            inputs,
            output,
            tflite.BuiltinOptions.ArgMaxOptions,
            options,
        )

    def finish(self, inputs, outputs) -> bytes:
        b = self.builder
        vectors = {
            "inputs": b.CreateNumpyVector(np.array(inputs, np.int32)),
            "outputs": b.CreateNumpyVector(np.array(outputs, np.int32)),
            "tensors": self._vector(self.tensors),
            "operators": self._vector(self.operators),
        }
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, vectors["tensors"])
        tflite.SubGraphAddInputs(b, vectors["inputs"])
        tflite.SubGraphAddOutputs(b, vectors["outputs"])
        tflite.SubGraphAddOperators(b, vectors["operators"])
        subgraphs = self._vector([tflite.SubGraphEnd(b)])
        codes, buffers = self._vector(self.codes), self._vector(self.buffers)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, codes)
        tflite.ModelAddSubgraphs(b, subgraphs)
        tflite.ModelAddBuffers(b, buffers)
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())

    def _operator(self, code, version, inputs, output, options_type, options):
        b = self.builder
        tflite.OperatorCodeStart(b)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(b, code)
        tflite.OperatorCodeAddBuiltinCode(b, code)
        tflite.OperatorCodeAddVersion(b, version)
        self.codes.append(tflite.OperatorCodeEnd(b))
        inputs = b.CreateNumpyVector(np.array(inputs, np.int32))
        outputs = b.CreateNumpyVector(np.array([output], np.int32))
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, len(self.codes) - 1)
        tflite.OperatorAddInputs(b, inputs)
        tflite.OperatorAddOutputs(b, outputs)
        tflite.OperatorAddBuiltinOptionsType(b, options_type)
        tflite.OperatorAddBuiltinOptions(b, options)
        self.operators.append(tflite.OperatorEnd(b))

    def _buffer(self, data):
        b = self.builder
        if data:
            b.StartVector(1, len(data), 16)  # the schema aligns weights to 16 bytes
            for byte in reversed(data):
                b.PrependByte(byte)
            data = b.EndVector()
        tflite.BufferStart(b)
        if data:
            tflite.BufferAddData(b, data)
        return tflite.BufferEnd(b)

    def _vector(self, offsets):
        b = self.builder
        b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            b.PrependUOffsetTRelative(offset)
        return b.EndVector()
