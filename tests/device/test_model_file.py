import os
import random
import time
from collections import Counter
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite
from tflite_models import Graph, Op, T, model_bytes, segmenter

from keras_bisenet.errors import UserError
from keras_bisenet.lite.model_file import macs, parameters, read_model_file


def read_graph(tensors, operators=(), inputs=(), outputs=(), **more):
    return read_model_file(model_bytes(Graph(tensors, operators, inputs, outputs), **more))


def error_of(data) -> str:
    with pytest.raises(UserError) as caught:
        read_model_file(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_quantized_model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(segmenter())
    model = read_model_file(path)

    assert model.path == str(path)
    assert model.size == path.stat().st_size
    assert (model.version, model.description) == (3, "by hand")
    assert len(model.subgraphs) == 1 and model.main.name == "main"
    assert [t.name for t in model.inputs] == ["image"]
    assert [t.name for t in model.outputs] == ["logits"]
    image, kernel, bias = model.main.tensors[:3]
    assert (image.index, image.shape, image.dtype) == (0, (1, 8, 12, 3), "INT8")
    assert image.scales == (pytest.approx(1 / 255),) and image.zero_points == (-128,)
    assert image.is_quantized and not image.is_constant and not image.is_dynamic
    assert len(kernel.scales) == 4 and kernel.is_constant and kernel.data_size == 108
    assert (bias.dtype, bias.data_size) == ("INT32", 16)
    first, second = model.main.operators
    assert (first.index, first.name, first.version) == (0, "CONV_2D", 3)
    assert (first.inputs, first.outputs) == ((0, 1, 2), (3,))
    assert first.options == {
        "padding": "SAME",
        "stride_w": 2,
        "stride_h": 2,
        "fused_activation": "RELU",
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
        "quantized_bias_type": "FLOAT32",
    }
    assert (first.fused_activation, second.fused_activation) == ("RELU", "NONE")


def test_costs():
    model = read_model_file(segmenter())
    graph = model.main
    # 4x6 positions x 4 channels x 3x3x3 weights; 4x6 x 5 x 4
    assert [macs(op, graph) for op in graph.operators] == [2592, 480]
    assert [parameters(op, graph) for op in graph.operators] == [4 * 27 + 4, 5 * 4 + 5]
    assert (model.macs, model.parameters) == (3072, 137)


def test_costs_of_the_other_layers():
    tensors = [
        T("image", (1, 4, 6, 3)),
        T("depthwise", (1, 3, 3, 6), data=np.zeros((1, 3, 3, 6), np.float32)),
        T("features", (1, 4, 6, 6)),
        T("size", (4,), "INT32", np.int32([1, 8, 12, 2])),
        T("upsampling", (2, 3, 3, 6), data=np.zeros((2, 3, 3, 6), np.float32)),
        T("large", (1, 8, 12, 2)),
        T("matrix", (10, 192), data=np.zeros((10, 192), np.float32)),
        T("scores", (1, 10)),
        T("sum", (1, 10)),
    ]
    operators = [
        Op("DEPTHWISE_CONV_2D", (0, 1, -1), (2,), "DepthwiseConv2DOptions"),
        Op("TRANSPOSE_CONV", (3, 4, 2), (5,), "TransposeConvOptions"),
        Op("FULLY_CONNECTED", (5, 6, -1), (7,), "FullyConnectedOptions"),
        Op("ADD", (7, 7), (8,), "AddOptions"),
        Op("CONV_2D", (0, 1, -1), (2,), custom=True),
        Op("CONV_2D", (0,), ()),
    ]
    model = read_graph(tensors, operators, (0,), (8,))
    assert [macs(op, model.main) for op in model.main.operators] == [
        4 * 6 * 6 * 9,
        4 * 6 * 6 * 9 * 2,
        192 * 10,
        0,
        0,  # custom, whatever its name
        0,  # without weights
    ]
    # The shape of TRANSPOSE_CONV's output is not a parameter.
    assert [parameters(op, model.main) for op in model.main.operators][:4] == [54, 108, 1920, 0]


def test_float_model():
    model = read_model_file(segmenter("FLOAT32"))
    assert {t.dtype for t in model.main.tensors} == {"FLOAT32"}
    assert not any(t.is_quantized for t in model.main.tensors)
    assert all(t.is_float for t in model.main.tensors)
    assert (model.macs, model.parameters) == (3072, 137)


def test_constant_data():
    values = np.arange(-6, 6, dtype=np.int32).reshape(3, 4)
    model = read_graph(
        [
            T("ints", (3, 4), "INT32", values),
            T("flags", (2,), "BOOL", np.array([True, False])),
            T("scalar", (), "FLOAT32", np.float32(2.5)),
            T("short", (3, 4), "INT32", values[:2]),
            T("text", (1,), "STRING", np.uint8([1, 0, 0, 0])),
            T("computed", (2,)),
            T("unknown", (-1, 4), "INT32", values),
        ]
    )
    ints, flags, scalar, short, text, computed, unknown = model.main.tensors
    np.testing.assert_array_equal(model.array(ints), values)
    assert model.array(ints).dtype == np.int32 and not model.array(ints).flags.writeable
    assert model.array(flags).tolist() == [True, False]
    assert model.array(scalar).shape == () and model.array(scalar) == 2.5
    for tensor, reason in (
        (short, "holds 32 bytes, which do not fill its shape [3, 4] of INT32"),
        (text, "is of type STRING"),
        (computed, "holds no constant data"),
        (unknown, "do not fill its shape [-1, 4]"),
    ):
        with pytest.raises(UserError, match=r"model: tensor \d \(\w+\)") as caught:
            model.array(tensor)
        assert reason in str(caught.value)


def test_dynamic_shapes():
    model = read_graph(
        [T("batch", (1, 4), signature=(-1, 4)), T("fixed", (1, 4)), T("rows", (-1, 4))]
    )
    batch, fixed, rows = model.main.tensors
    assert (batch.shape_signature, fixed.shape_signature) == ((-1, 4), None)
    assert [t.is_dynamic for t in (batch, fixed, rows)] == [True, False, True]
    assert [t.num_elements for t in (batch, fixed, rows)] == [4, 4, 4]


def test_variable_tensor():
    assert read_graph([T("state", (1,), variable=True)]).main.tensors[0].is_variable


def test_several_subgraphs():
    body = Graph([T("x", (1,))], [Op("NEG", (0,), (0,), "NegOptions")], (0,), (0,), name="body")
    main = Graph(
        [T("x", (1,)), T("y", (1,))],
        [Op("WHILE", (0,), (1,), "WhileOptions", {"CondSubgraphIndex": 2, "BodySubgraphIndex": 1})],
        (0,),
        (1,),
    )
    model = read_model_file(model_bytes(main, body))
    assert [graph.name for graph in model.subgraphs] == ["main", "body"]
    assert model.main.operators[0].options == {"cond_subgraph_index": 2, "body_subgraph_index": 1}
    assert model.subgraphs[1].operators[0].name == "NEG"


def test_operator_codes():
    """The greater of the two fields counts: old files have the first, some writers the second."""
    add, gelu = tflite.BuiltinOperator.ADD, tflite.BuiltinOperator.GELU
    conv = tflite.BuiltinOperator.CONV_2D
    operators = [
        Op("ADD", (), (), codes=(add, add)),
        Op("", (), (), codes=(conv, 0)),
        Op("", (), (), codes=(0, conv)),
        Op("GELU", (), (), codes=(127, gelu)),
        Op("", (), (), codes=(127, 9999)),
        Op("edgetpu-custom-op", (), (), custom=True),
        Op("", (), (), custom=True),
    ]
    found = read_graph([], operators).main.operators
    assert [(op.name, op.is_custom) for op in found] == [
        ("ADD", False),
        ("CONV_2D", False),
        ("CONV_2D", False),
        ("GELU", False),
        ("UNKNOWN_9999", False),
        ("edgetpu-custom-op", True),
        ("CUSTOM", True),
    ]


@pytest.mark.parametrize(
    ("name", "kind", "fields", "options"),
    [
        (
            "RESIZE_BILINEAR",
            "ResizeBilinearOptions",
            {"HalfPixelCenters": True},
            {"align_corners": False, "half_pixel_centers": True},
        ),
        ("RESHAPE", "ReshapeOptions", {"NewShape": (1, -1)}, {"new_shape": (1, -1)}),
        (
            "AVERAGE_POOL_2D",
            "Pool2DOptions",
            {"Padding": 1, "FilterWidth": 3, "FusedActivationFunction": 3},
            {
                "padding": "VALID",
                "stride_w": 0,
                "stride_h": 0,
                "filter_width": 3,
                "filter_height": 0,
                "fused_activation": "RELU6",
            },
        ),
        ("ARG_MAX", "ArgMaxOptions", {"OutputType": 2}, {"output_type": "INT32"}),
        ("SOFTMAX", "SoftmaxOptions", {"Beta": 0.5}, {"beta": 0.5}),
        ("MIRROR_PAD", "MirrorPadOptions", {"Mode": 1}, {"mode": "SYMMETRIC"}),
        ("PAD", "PadOptions", {}, {}),
        ("STABLEHLO_IOTA", "StablehloIotaOptions", {"IotaDimension": 2}, {"iota_dimension": 2}),
        ("ADD", "MulOptions", {"FusedActivationFunction": 99}, {"fused_activation": "UNKNOWN_99"}),
    ],
)
def test_options(name, kind, fields, options):
    model = read_graph([], [Op(name, (), (), kind, fields)])
    assert model.main.operators[0].options == options


def test_every_kind_of_options_is_decoded():
    for union in (tflite.BuiltinOptions, tflite.BuiltinOptions2):
        for kind in [k for k in vars(union) if k.endswith("Options")]:
            found = read_graph([], [Op("ADD", (), (), kind)]).main.operators[0].options
            assert all(key == key.lower() for key in found), kind


def test_metadata_entries():
    model = read_graph([], metadata={"min_runtime_version": b"2.5.0", "empty": b""})
    assert {name: bytes(value) for name, value in model.metadata.items()} == {
        "min_runtime_version": b"2.5.0",
        "empty": b"",
    }


def test_data_outside_of_the_flatbuffer():
    """Models of more than 2 GB keep their buffers behind the flatbuffer."""
    tensor = T("weights", (3,), "INT8", np.int8([0, 0, 0]))
    flatbuffer = model_bytes(Graph([tensor], [], (), ()), external=[(1000, 3)])
    assert len(flatbuffer) < 1000
    model = read_model_file(flatbuffer.ljust(1000, b"\0") + bytes([1, 2, 255]))
    assert model.array(model.main.tensors[0]).tolist() == [1, 2, -1]
    assert "it is cut short" in error_of(flatbuffer)


def test_names_that_are_not_utf_8():
    data = segmenter().replace(b"image", b"im\xff\xfee")
    assert read_model_file(data).inputs[0].name == "im\ufffd\ufffde"


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (Graph([T("t", (1,), buffer=7)], [], (), ()), "it refers to buffer 7 of 1"),
        (Graph([T("t", (1,))], [Op("NEG", (1,), ())], (), ()), "it refers to tensor 1 of 1"),
        (Graph([T("t", (1,))], [Op("NEG", (-2,), ())], (), ()), "it refers to tensor -2 of 1"),
        (Graph([T("t", (1,))], [], (-1,), ()), "it refers to tensor -1 of 1"),
        (Graph([T("t", (1,))], [], (), (3,)), "it refers to tensor 3 of 1"),
        (
            Graph([], [Op("NEG", (), (), code_index=5)], (), ()),
            "it refers to operator code 5 of 1",
        ),
        (Graph([], [Op("", (), (), codes=(-1, -1))], (), ()), "it has an operator of code -1"),
        (Graph([T("t", (1, -7))], [], (), ()), "the shape of its tensor 0 makes no sense"),
        (Graph([T("t", (1,) * 33)], [], (), ()), "the shape of its tensor 0 makes no sense"),
        (
            Graph([T("t", (2,), "INT8", None, (1.0, 1.0), (0, 0), 1)], [], (), ()),
            "its tensor 0 has no dimension 1 to quantize",
        ),
        (
            Graph([T("t", (2,), "INT8", None, (float("nan"),), (0,))], [], (), ()),
            "the scale of its tensor 0 is not a number",
        ),
    ],
)
def test_what_cannot_be(graph, reason):
    expected = f"model: not a TFLite model ({reason}); convert it, or copy it, again"
    assert error_of(model_bytes(graph)) == expected


def test_no_subgraph():
    assert "it has no subgraph" in error_of(model_bytes())


def test_files_that_are_something_else(tmp_path):
    for content in (b"", b"TFL3", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(8), b"\x1c\0\0\0TFL3"):
        path = tmp_path / "x.tflite"
        path.write_bytes(content)
        assert error_of(path).startswith(f"{path}: not a TFLite model (")
    assert error_of(tmp_path) == f"{tmp_path}: no such file"
    assert error_of(tmp_path / "none.tflite") == f"{tmp_path / 'none.tflite'}: no such file"


def test_more_than_the_file_can_hold():
    """Shared offsets describe gigabytes in few bytes; that must not be followed."""
    shared = T("t" * 50, (1,) * 32)
    start = time.perf_counter()
    many = model_bytes(Graph([shared] * 20_000, [], (), ()))
    assert "it describes more than a model of its size can hold" in error_of(many)

    builder = flatbuffers.Builder(64)
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddSubgraphs(builder, builder.Offset())
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    endless = bytes(builder.Output()) + b"\xff" * 64
    assert "not a TFLite model" in error_of(endless)
    assert time.perf_counter() - start < 5


def test_truncated_files():
    """A part of a file ends in an error, or reads, but never in anything else."""
    data = segmenter()
    outcomes = Counter()
    for length in range(0, len(data), 7):
        try:
            read_model_file(data[:length])
            outcomes["read"] += 1
        except UserError:
            outcomes["refused"] += 1
    # The texts at the very end may be cut unnoticed.
    assert outcomes["refused"] > 200 and outcomes["read"] < 10


@pytest.mark.parametrize("dtype", ["INT8", "FLOAT32"])
def test_damaged_files(dtype):
    data = segmenter(dtype)
    outcomes = Counter()
    start = time.perf_counter()
    for seed in range(200):
        rng = random.Random(seed)
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 2, 8))):
            damaged[rng.randrange(len(data))] = rng.choice((0, 1, 127, 128, 255))
        try:
            model = read_model_file(bytes(damaged))
            for tensor in model.main.tensors:
                if tensor.is_constant and tensor.num_elements == tensor.data_size:
                    model.array(tensor)
            assert model.macs >= 0 and model.parameters >= 0
            outcomes["read"] += 1
        except UserError:
            outcomes["refused"] += 1
    assert outcomes["read"] > 20 and outcomes["refused"] > 20
    assert time.perf_counter() - start < 5


# Models of others, before and after the Edge TPU compiler: google-coral/test_data.


@pytest.fixture
def coral_pairs():
    data = os.environ.get("KERAS_BISENET_DATA")
    if not data:
        pytest.skip("KERAS_BISENET_DATA is not set to a folder that has coral_pairs/")
    return Path(data) / "coral_pairs"


def test_models_of_2018_and_later(coral_pairs):
    model = read_model_file(coral_pairs / "mobilenet_v1_0.25_128_quant.tflite")
    assert (model.inputs[0].shape, model.inputs[0].dtype) == ((1, 128, 128, 3), "UINT8")
    assert (model.inputs[0].scales, model.inputs[0].zero_points) == ((1 / 128,), (128,))
    kinds = Counter(op.name for op in model.main.operators)
    assert (kinds["CONV_2D"], kinds["DEPTHWISE_CONV_2D"], kinds["SOFTMAX"]) == (15, 13, 1)
    # The paper's 14 million multiply-accumulates and 0.47 million parameters.
    assert (model.macs, model.parameters) == (13_570_304, 467_593)
    for tensor in model.main.tensors:
        if tensor.is_constant:
            assert model.array(tensor).shape == tensor.shape


def test_compiled_models(coral_pairs):
    names = {}
    for path in sorted(coral_pairs.glob("*_edgetpu.tflite")):
        names[path.name.split("_")[0]] = [
            (op.name, op.is_custom) for op in read_model_file(path).main.operators
        ]
    tpu = ("edgetpu-custom-op", True)
    assert names["mobilenet"] == [tpu]
    assert names["posenet"] == [tpu, ("PosenetDecoderOp", True)]
    assert names["deeplabv3"][0] == tpu and names["deeplabv3"][-1] == ("ARG_MAX", False)
