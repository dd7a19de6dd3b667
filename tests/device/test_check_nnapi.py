"""What TFLite's NNAPI delegate takes at API level 30."""

from __future__ import annotations

import numpy as np
import pytest
import tflite
from tflite_models import Graph, Op, T, model_bytes, segmenter

from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.targets import nnapi
from keras_bisenet.targets.check import check

SHAPE = (1, 8, 8, 4)


@pytest.mark.parametrize("dtype", ["INT8", "UINT8", "FLOAT32"])
def test_a_network_is_taken_as_a_whole(tmp_path, dtype):
    (tmp_path / "model.tflite").write_bytes(segmenter(dtype))
    report = check(tmp_path / "model.tflite", "nnapi")
    assert report.passed
    assert (report.mapped, report.total) == (2, 2)
    assert "nnapi-deprecated" in [finding.rule for finding in report.findings]


@pytest.mark.parametrize(
    "name, version, rule",
    [
        ("RELU", 2, None),
        ("RELU", 3, "version"),
        ("SOFTMAX", 1, None),
        ("SOFTMAX", 3, "version"),
        ("DEPTHWISE_CONV_2D", 4, "version"),
        ("GELU", 1, "supported-operation"),
        ("UNPACK", 1, "supported-operation"),
    ],
)
def test_versions(name, version, rule):
    assert rules(single(name, [activation("in")], version=version)) == [rule]


def test_custom_operators():
    operator = Op("CONV_2D", (0,), (1,), custom=True)
    model = model_bytes(Graph([activation("a"), activation("b")], [operator], (0,), (1,)))
    assert rules(model) == ["supported-operation"]


@pytest.mark.parametrize(
    "output_type, axis_type, rule",
    [("INT32", "INT32", None), ("INT32", "INT64", None), ("INT64", "INT32", "int32-output")],
)
def test_argmax_answers_in_int32(output_type, axis_type, rule):
    axis = T("axis", (), axis_type, np.array(3, axis_type.lower()))
    options = {"OutputType": getattr(tflite.TensorType, output_type)}
    output = T("out", (1, 8, 8), output_type)
    model = single("ARG_MAX", [activation("in"), axis], output, "ArgMaxOptions", options, 2)
    assert rules(model) == [rule]


@pytest.mark.parametrize("dtype", ["INT8", "FLOAT32"])
def test_large_8_bit_pooling_windows(dtype):
    options = {"FilterWidth": 33, "FilterHeight": 33, "StrideW": 1, "StrideH": 1}
    image = T("in", (1, 33, 33, 4), dtype)
    output = T("out", (1, 1, 1, 4), dtype)
    model = single("AVERAGE_POOL_2D", [image], output, "Pool2DOptions", options)
    assert rules(model) == ["window" if dtype == "INT8" else None]


def test_convolutions_have_a_bias():
    weights = T("w", (4, 1, 1, 4), "INT8", np.ones(16, np.int8), (0.1,), (0,))
    inputs = [activation("in"), weights]
    assert rules(single("CONV_2D", inputs, kind="Conv2DOptions")) == ["bias"]
    bias = T("b", (4,), "INT32", np.zeros(4, np.int32))
    assert rules(single("CONV_2D", [*inputs, bias], kind="Conv2DOptions")) == [None]


def test_half_pixel_resizes_are_taken_at_level_30():
    size = T("size", (2,), "INT32", np.array([16, 16], np.int32))
    options = {"HalfPixelCenters": True}
    model = single(
        "RESIZE_BILINEAR",
        [activation("in"), size],
        activation("out", (1, 16, 16, 4)),
        "ResizeBilinearOptions",
        options,
        version=3,
    )
    assert rules(model) == [None]


def test_quantize_needs_scales():
    assert rules(single("QUANTIZE", [activation("in")])) == [None]
    assert rules(single("QUANTIZE", [T("in", SHAPE, "INT8")])) == ["quantization"]
    wide = T("out", SHAPE, "INT16", None, (0.1,), (0,))
    assert rules(single("QUANTIZE", [activation("in")], wide)) == ["quantization"]


def test_int32_is_added_but_not_reshaped():
    pair = [T("a", SHAPE, "INT32"), T("b", SHAPE, "INT32")]
    output = T("out", SHAPE, "INT32")
    assert rules(single("ADD", pair, output, "AddOptions")) == [None]
    activated = {"FusedActivationFunction": tflite.ActivationFunctionType.RELU}
    assert rules(single("ADD", pair, output, "AddOptions", activated)) == ["fused-activation"]
    shape = T("shape", (2,), "INT32", np.array([1, 256], np.int32))
    assert rules(single("RESHAPE", [pair[0], shape], output)) == ["type"]


def test_computed_shapes_keep_everything_off():
    tensors = [activation("a"), activation("b"), T("shape", (2,), "INT32"), activation("c")]
    operators = [Op("RELU", (0,), (1,)), Op("RESHAPE", (1, 2), (3,))]
    model = model_bytes(Graph(tensors, operators, (0, 2), (3,)))
    assert rules(model) == ["static-shapes", "static-shapes"]


def halved(reader="CONV_2D", constant=True) -> bytes:
    """A convolution whose weights are float16, as `convert --precision float16` writes it."""
    half = np.ones((4, 1, 1, 4), np.float16)
    weights = T("half", half.shape, "FLOAT16", half if constant else None)
    tensors = [
        T("in", SHAPE),
        weights,
        T("weights", half.shape),
        T("bias", (4,), "FLOAT32", np.zeros(4, np.float32)),
        T("out", SHAPE),
    ]
    operators = [Op("DEQUANTIZE", (1,), (2,)), Op(reader, (0, 2, 3), (4,), "Conv2DOptions")]
    return model_bytes(Graph(tensors, operators, (0,) if constant else (0, 1), (4,)))


def test_constants_in_float16_are_handed_to_their_readers(tmp_path):
    assert rules(halved()) == [None, None]
    (tmp_path / "model.tflite").write_bytes(halved())
    report = check(tmp_path / "model.tflite", "nnapi")
    assert report.passed and (report.mapped, report.total) == (2, 2)
    # What is computed in float16 is not, and what the CPU reads has to be there.
    assert rules(halved(constant=False)) == ["type", None]
    model = halved(reader="GELU")
    assert rules(model) == ["float16-constant", "supported-operation"]
    refusal = nnapi.assess(read_model_file(model)).refusals[0]
    assert refusal.reason == "operator 1 (GELU), which reads it, is not mapped"
    assert refusal.source.endswith("nnapi_delegate.cc (DoPrepare)")


def test_quantize_before_concatenation(tmp_path):
    tensors = [activation(name) for name in "abcd"]
    operators = [
        Op("QUANTIZE", (0,), (1,)),
        Op("CONCATENATION", (1, 2), (3,), "ConcatenationOptions", {"Axis": 3}),
    ]
    model = model_bytes(Graph(tensors, operators, (0, 2), (3,)))
    (tmp_path / "model.tflite").write_bytes(model)
    report = check(tmp_path / "model.tflite", "nnapi")
    assert report.mapped == 2
    assert not report.passed
    (error,) = [finding for finding in report.findings if finding.severity == "error"]
    assert (error.rule, error.operator) == ("quantize-before-concatenation", 0)
    assert error.source.endswith("issues/57555")


def test_the_three_largest_partitions_are_taken():
    # Partitions of 3, 1, 2, 2 and 1 operators, with SIN between them.
    runs = [3, 1, 2, 2, 1]
    names = ["SIN"]
    for run in runs:
        names += ["RELU"] * run + ["SIN"]
    tensors = [activation(i) for i in range(len(names) + 1)]
    operators = [Op(name, (i,), (i + 1,)) for i, name in enumerate(names)]
    model = model_bytes(Graph(tensors, operators, (0,), (len(names),)))
    refused = ["partitions" if run == 1 else None for run in runs for _ in range(run)]
    assert [rule for rule, name in zip(rules(model), names) if name == "RELU"] == refused
    findings = nnapi.assess(read_model_file(model)).findings
    assert [f.message[:58] for f in findings if f.rule == "partitions"] == [
        "the operators that are taken fall into 5 partitions; every"
    ]


def rules(model: bytes) -> list[str | None]:
    """For each operator the rule that refuses it."""
    return [refusal and refusal.rule for refusal in nnapi.assess(read_model_file(model)).refusals]


def activation(name, shape=SHAPE) -> T:
    return T(str(name), shape, "INT8", None, (0.1,), (0,))


def single(name, inputs, output=None, kind="", options=None, version=1) -> bytes:
    """A network of one operator."""
    tensors = [*inputs, output or activation("out")]
    operator = Op(name, tuple(range(len(inputs))), (len(inputs),), kind, options or {}, version)
    computed = tuple(i for i, tensor in enumerate(inputs) if tensor.data is None)
    return model_bytes(Graph(tensors, [operator], computed, (len(inputs),)))
