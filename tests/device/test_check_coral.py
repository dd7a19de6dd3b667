"""What the Edge TPU compiler takes, by its rules and by files that it compiled."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import tflite
from tflite_models import Graph, Op, T, model_bytes, segmenter

from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.runtime.delegates import EDGETPU_OPERATOR
from keras_bisenet.targets import coral, coral_operators, coral_sizes, coral_versions
from keras_bisenet.targets.check import check
from keras_bisenet.targets.graph import partitions

SHAPE = (1, 8, 8, 4)

PAIRS = (
    "mobilenet_v1_0.25_128_quant",
    "deeplabv3_mnv2_dm05_pascal_quant",
    "posenet_mobilenet_v1_075_353_481_16_quant_decoder",
)


def refusals(model: bytes):
    return coral.assess(read_model_file(model)).refusals


def rules(model: bytes) -> list[str | None]:
    """For each operator the rule that refuses it."""
    return [refusal and refusal.rule for refusal in refusals(model)]


def activation(name, shape=SHAPE) -> T:
    return T(str(name), shape, "INT8", None, (0.1,), (0,))


def constant(name: str, values, shape=None) -> T:
    values = np.array(values, np.int32)
    return T(name, values.shape if shape is None else shape, "INT32", values)


def single(name, inputs, output_shape, kind="", options=None, version=1) -> bytes:
    """A network of one operator."""
    tensors = [*inputs, activation("out", output_shape)]
    operator = Op(name, tuple(range(len(inputs))), (len(inputs),), kind, options or {}, version)
    computed = tuple(i for i, tensor in enumerate(inputs) if tensor.data is None)
    return model_bytes(Graph(tensors, [operator], computed, (len(inputs),)))


def chain(*names) -> bytes:
    """Operators of one input, one after the other."""
    tensors = [activation(i) for i in range(len(names) + 1)]
    operators = [Op(name, (i,), (i + 1,)) for i, name in enumerate(names)]
    return model_bytes(Graph(tensors, operators, (0,), (len(names),)))


def convolution(options=None, kernel=(3, 3), version=3) -> bytes:
    weights = np.ones((4, *kernel, 4), np.int8)
    return single(
        "CONV_2D",
        [
            activation("in"),
            T("weights", weights.shape, "INT8", weights, (0.1,), (0,)),
            constant("bias", [0] * 4),
        ],
        SHAPE,
        "Conv2DOptions",
        {"StrideW": 1, "StrideH": 1, **(options or {})},
        version,
    )


@pytest.mark.parametrize("name", PAIRS)
def test_predicts_what_the_compiler_left_on_the_cpu(name):
    if "KERAS_BISENET_DATA" not in os.environ:
        pytest.skip("set KERAS_BISENET_DATA to the folder that holds coral_pairs")
    folder = Path(os.environ["KERAS_BISENET_DATA"], "coral_pairs")
    compiled = read_model_file(folder / f"{name}_edgetpu.tflite").main
    left = [op for op in compiled.operators if op.name != EDGETPU_OPERATOR]
    outputs = {compiled.tensors[t].name for op in left for t in op.outputs}

    original = read_model_file(folder / f"{name}.tflite").main
    report = check(folder / f"{name}.tflite", "coral")
    predicted = [o for o in report.operators if not o.mapped]
    assert sorted(o.name for o in predicted) == sorted(op.name for op in left)
    assert [o.index for o in predicted] == [
        op.index
        for op in original.operators
        if any(original.tensors[t].name in outputs for t in op.outputs)
    ]


@pytest.mark.parametrize("dtype", ["INT8", "UINT8"])
def test_an_8_bit_network_maps_as_a_whole(tmp_path, dtype):
    (tmp_path / "model.tflite").write_bytes(segmenter(dtype))
    report = check(tmp_path / "model.tflite", "coral")
    assert report.passed
    assert (report.mapped, report.total) == (2, 2)


def test_a_float_network_does_not():
    assert rules(segmenter("FLOAT32")) == ["8-bit", "8-bit"]


# Partitions


def test_what_needs_an_unmapped_result_stays_on_the_cpu():
    # a -> RELU -> SIN -> RELU
    model = chain("RELU", "SIN", "RELU")
    assert rules(model) == [None, "supported-operation", "one-partition"]
    assert refusals(model)[2].reason == (
        "it needs the result of operator 1 (SIN), which does not map"
    )


def test_what_merely_comes_later_is_mapped():
    # The last RELU reads the first one's result, past SIN.
    tensors = [activation(i) for i in range(4)]
    operators = [Op("RELU", (0,), (1,)), Op("SIN", (1,), (2,)), Op("RELU", (1,), (3,))]
    model = model_bytes(Graph(tensors, operators, (0,), (2, 3)))
    assert rules(model) == [None, "supported-operation", None]


def test_operators_before_the_first_partition_keep_nothing_off_it():
    image = T("image", SHAPE)
    tensors = [image, activation(1), activation(2), T("result", SHAPE)]
    operators = [
        Op("QUANTIZE", (0,), (1,)),
        Op("RELU", (1,), (2,)),
        Op("DEQUANTIZE", (2,), (3,)),
    ]
    model = model_bytes(Graph(tensors, operators, (0,), (3,)))
    assert rules(model) == ["8-bit", None, "supported-operation"]


def test_what_runs_before_the_first_partition_is_not_to_blame():
    """The second branch waits for SIN. The QUANTIZE of the float input is ready before."""
    tensors = [T("image", SHAPE), *(activation(i) for i in range(1, 6))]
    operators = [
        Op("QUANTIZE", (0,), (1,)),
        Op("RELU", (1,), (2,)),
        Op("SIN", (2,), (3,)),
        Op("ADD", (1, 3), (4,), "AddOptions"),  # its first input comes from QUANTIZE
        Op("RELU", (4,), (5,)),
    ]
    model = model_bytes(Graph(tensors, operators, (0,), (5,)))
    assert rules(model) == ["8-bit", None, "supported-operation", "one-partition", "one-partition"]
    reason = "it needs the result of operator 2 (SIN), which does not map"
    assert [refusal.reason for refusal in refusals(model)[3:]] == [reason, reason]


def test_a_branch_that_waits_for_the_cpu_is_left_to_it():
    # TFLite fills the first partition with what is ready: not with RELU behind SIN.
    tensors = [activation(i) for i in range(5)]
    operators = [
        Op("RELU", (0,), (1,)),
        Op("SIN", (0,), (2,)),
        Op("RELU", (2,), (3,)),
        Op("ADD", (1, 3), (4,), "AddOptions"),
    ]
    model = model_bytes(Graph(tensors, operators, (0,), (4,)))
    assert rules(model) == [None, "supported-operation", "one-partition", "one-partition"]


def test_partitions_alternate():
    graph = read_model_file(chain("RELU", "SIN", "SIN", "RELU", "SIN")).main
    assert partitions(graph, [True, False, False, True, False]) == [0, 1, 1, 2, 3]
    assert partitions(graph, [False, True, True, True, True]) == [0, 1, 1, 1, 1]


def test_operators_that_wait_for_themselves_are_in_no_partition():
    tensors = [activation(i) for i in range(3)]
    operators = [Op("ADD", (0, 2), (1,), "AddOptions"), Op("RELU", (1,), (2,))]
    model = model_bytes(Graph(tensors, operators, (0,), (2,)))
    assert partitions(read_model_file(model).main, [True, True]) == [None, None]
    assert coral.assess(read_model_file(model)).refusals[0].rule == "one-partition"


def test_many_partitions_take_linear_time():
    model = read_model_file(chain(*["RELU", "SIN"] * 2000))
    started = time.monotonic()
    numbers = partitions(model.main, [True, False] * 2000)
    assert numbers == list(range(4000))
    assert time.monotonic() - started < 2


# Files that the compiler cannot read


@pytest.mark.parametrize("version, known", [(5, True), (6, False)])
def test_newer_operators_are_refused_with_the_whole_file(version, known):
    model = convolution(version=version)
    assert rules(model) == ([None] if known else ["version"])


@pytest.mark.parametrize(
    "name, mapped, readable", [("ADD", 3, 4), ("MUL", 4, 5), ("STRIDED_SLICE", 5, 6)]
)
def test_versions_of_tensorflow_2_6_stay_on_the_cpu_with_what_needs_them(name, mapped, readable):
    """ADD 4 alone is known to: a YOLOv10n of which compiler 16.0 mapped 19 operators."""

    def model(version):
        tensors = [activation(i) for i in range(4)]
        tensors += [constant(str(i), [1] * 4) for i in range(3)]
        others = (4, 5, 6) if name == "STRIDED_SLICE" else (1,)
        operators = [
            Op("RELU", (0,), (1,)),
            Op(name, (1, *others), (2,), version=version),
            Op("RELU", (2,), (3,)),
        ]
        return model_bytes(Graph(tensors, operators, (0,), (3,)))

    assert rules(model(mapped)) == [None, None, None]
    assert rules(model(readable)) == [None, "version", "one-partition"]
    assert rules(model(readable + 1)) == ["refused-file", "version", "refused-file"]
    assert refusals(model(readable))[1].reason == (
        f"it is of version {readable}, and no model shows more than {mapped} mapped"
    )


@pytest.mark.parametrize(
    "name, version",
    [("CONV_2D", 6), ("QUANTIZE", 3), ("TRANSPOSE_CONV", 4), ("EXP", 2), ("BROADCAST_ARGS", 1)],
)
def test_versions_that_the_compiler_is_known_to_refuse(name, version):
    model = single(name, [activation("in")], SHAPE, version=version)
    assert rules(model) == ["version"]


def test_operators_that_came_with_tensorflow_2_6_do_not_refuse_the_file():
    for name in (
        "VAR_HANDLE",
        "READ_VARIABLE",
        "ASSIGN_VARIABLE",
        "CONV_3D_TRANSPOSE",
        "REDUCE_ALL",
    ):
        assert rules(chain("RELU", name)) == [None, "supported-operation"]


def test_what_stands_beside_a_newer_operator_is_refused_too():
    model = model_bytes(
        Graph(
            [activation(i) for i in range(3)],
            [Op("RELU", (0,), (1,)), Op("QUANTIZE", (1,), (2,), version=3)],
            (0,),
            (2,),
        )
    )
    assert rules(model) == ["refused-file", "version"]
    assert "version 3, only up to 2" in refusals(model)[1].reason


def test_an_operator_that_came_after_the_compiler():
    assert rules(chain("RELU", "GELU")) == ["refused-file", "version"]


def test_a_compiled_file():
    tensors = [activation(i) for i in range(3)]
    operators = [Op("edgetpu-custom-op", (0,), (1,), custom=True), Op("RELU", (1,), (2,))]
    model = model_bytes(Graph(tensors, operators, (0,), (2,)))
    assert rules(model) == [None, "left-on-cpu"]
    (finding,) = coral.assess(read_model_file(model)).findings
    assert (finding.rule, finding.severity) == ("compiled", "error")


# Single operators


@pytest.mark.parametrize(
    "before, after, options, rule",
    [
        ((33, 33), (33, 33), {"AlignCorners": True}, None),
        ((8, 16), (32, 64), {}, None),  # BiSeNet V2's own, in issue 377
        ((6, 6), (12, 12), {"HalfPixelCenters": True}, None),  # MoveNet
        ((12, 15), (48, 60), {"HalfPixelCenters": True}, "interpolation-precision"),
        ((32, 64), (256, 512), {}, "interpolation-precision"),
        ((33, 33), (513, 513), {"AlignCorners": True}, "interpolation-precision"),
        ((17, 17), (33, 33), {"AlignCorners": True}, None),
        ((1, 1), (33, 33), {"AlignCorners": True}, "single-pixel"),
        ((1, 1), (1, 1), {}, None),
        ((8, 8), (4, 4), {}, None),
        ((3, 3), (7, 7), {}, "interpolation-precision"),
        ((12, 12), (24, 60), {}, "interpolation-precision"),
    ],
)
def test_bilinear_resizes(before, after, options, rule):
    model = single(
        "RESIZE_BILINEAR",
        [activation("in", (1, *before, 4)), constant("size", after)],
        (1, *after, 4),
        "ResizeBilinearOptions",
        options,
        version=3,
    )
    assert rules(model) == [rule]


@pytest.mark.parametrize(
    "name, kind, options",
    [
        ("AVERAGE_POOL_2D", "Pool2DOptions", {"StrideW": 1, "StrideH": 1}),
        ("MAX_POOL_2D", "Pool2DOptions", {"StrideW": 1, "StrideH": 1}),
        ("CONCATENATION", "ConcatenationOptions", {"Axis": 3}),
    ],
)
def test_fused_activations(name, kind, options):
    for code, rule in ((tflite.ActivationFunctionType.NONE, None), (1, "fused-activation")):
        activated = {**options, "FusedActivationFunction": code}
        assert rules(single(name, [activation("in")], SHAPE, kind, activated)) == [rule]


def test_additions_may_have_a_relu_but_no_tanh():
    for code, rule in ((1, None), (tflite.ActivationFunctionType.TANH, "fused-activation")):
        pair = [activation("a"), activation("b")]
        options = {"FusedActivationFunction": code}
        assert rules(single("ADD", pair, SHAPE, "AddOptions", options)) == [rule]


@pytest.mark.parametrize(
    "dilations, kernel, rule",
    [((2, 2), (3, 3), None), ((2, 1), (3, 3), "dilation"), ((2, 1), (3, 1), None)],
)
def test_dilations_are_the_same_in_both_directions(dilations, kernel, rule):
    options = {"DilationHFactor": dilations[0], "DilationWFactor": dilations[1]}
    assert rules(convolution(options, kernel)) == [rule]


def test_weights_and_biases_are_constants():
    image, bias = activation("in"), constant("bias", [0] * 4)
    computed = activation("weights", (1, 1, 1, 4))
    kind = "Conv2DOptions"
    assert rules(single("CONV_2D", [image, computed, bias], SHAPE, kind)) == ["constant-parameters"]
    wide = T("bias", (4,), "INT64", np.zeros(4, np.int64))
    weights = T("w", (4, 1, 1, 4), "INT8", np.ones(16, np.int8), (0.1,), (0,))
    assert rules(single("CONV_2D", [image, weights, wide], SHAPE, kind)) == ["8-bit"]


@pytest.mark.parametrize(
    "values, others, rule",
    [
        ([0, 0, 0, 0], 1, None),
        ([0, 1, 0, 0], 1, "constant-concatenation"),
        ([0, 0, 0, 0], 2, "constant-concatenation"),
    ],
)
def test_concatenation_with_a_constant_is_padding_with_zeros(values, others, rule):
    padding = T("zeros", (1, 1, 1, 4), "INT8", np.array(values, np.int8), (0.1,), (0,))
    inputs = [activation(f"in{i}", (1, 1, 1, 4)) for i in range(others)]
    model = single(
        "CONCATENATION", [*inputs, padding], (1, 1, 1, 8), "ConcatenationOptions", {"Axis": 3}
    )
    assert rules(model) == [rule]


@pytest.mark.parametrize(
    "axes, channels, rule",
    [
        ([1, 2], 5, None),
        ([3], 8, None),
        ([-1], 6, "channels"),
        ([0, 1], 8, "batch-dimension"),
    ],
)
def test_means(axes, channels, rule):
    shape = (1, 8, 8, channels)
    model = single("MEAN", [activation("in", shape), constant("axes", axes)], (1, channels))
    assert rules(model) == [rule]


@pytest.mark.parametrize("paddings, rule", [((0, 0), None), ((1, 0), "batch-dimension")])
def test_padding_leaves_the_batch_alone(paddings, rule):
    table = constant("paddings", [*paddings, 1, 1, 1, 1, 0, 0], (4, 2))
    assert rules(single("PAD", [activation("in"), table], (1, 10, 10, 4))) == [rule]


@pytest.mark.parametrize(
    "axis, parts, rule", [(3, 2, None), (0, 1, None), (0, 4, "batch-dimension")]
)
def test_splitting_leaves_the_first_dimension_alone(axis, parts, rule):
    """Into one part it splits nothing: mapped in Google's yamnet_spectra_in."""
    inputs = [constant("axis", axis, ()), activation("in", (4, 8, 4))]
    outputs = [activation(f"out{i}", (1, 8, 4)) for i in range(parts)]
    operator = Op("SPLIT", (0, 1), tuple(range(2, 2 + parts)), version=2)
    model = model_bytes(Graph([*inputs, *outputs], [operator], (1,), operator.outputs))
    assert rules(model) == [rule]


def test_slices_have_strides_of_one():
    for stride, rule in ((1, None), (2, "strides")):
        operands = [
            activation("in"),
            constant("begin", [0] * 4),
            constant("end", [1, 8, 8, 4]),
            constant("strides", [1, stride, stride, 1]),
        ]
        assert rules(single("STRIDED_SLICE", operands, SHAPE, "StridedSliceOptions")) == [rule]


def test_batches_and_open_shapes():
    assert rules(single("RELU", [activation("in", (2, 8, 8, 4))], (2, 8, 8, 4))) == [
        "three-dimensions"
    ]
    # A side that is open in the signature only is compiled as it is stored.
    open_batch = activation("in")
    open_batch.signature = (-1, 8, 8, 4)
    assert rules(single("RELU", [open_batch], SHAPE)) == [None]
    assert rules(single("RELU", [activation("in", (-1, 8, 8, 4))], SHAPE)) == ["static-shapes"]


def test_shapes_that_are_computed():
    shape = T("shape", (2,), "INT32")
    model = single("RESHAPE", [activation("in"), shape], (1, 256))
    assert rules(model) == ["constant-parameters"]


def test_types_that_are_not_8_bit():
    wide = T("in", SHAPE, "INT16", None, (0.1,), (0,))
    assert rules(single("RELU", [wide], SHAPE)) == ["8-bit"]
    assert refusals(single("RELU", [wide], SHAPE))[0].reason == "its input 0 is int16, not 8-bit"


def test_softmax_sizes():
    for size, rule in ((16384, None), (16385, "softmax-size")):
        model = single("SOFTMAX", [activation("in", (1, size))], (1, size), "SoftmaxOptions")
        assert rules(model) == [rule]


def findings(model: bytes):
    """What there is to say of a file, but for what is said of each."""
    (*found, prediction) = coral.assess(read_model_file(model)).findings
    assert (prediction.rule, prediction.severity) == ("prediction", "note")
    assert prediction.message == (
        "said of the Edge TPU compiler 16.0 with its default flags, by its documentation and by "
        "compiled models; whether it fails on a file that it could map is not predicted"
    )
    return found


def test_large_activations_are_warned_of():
    model = single("RELU", [activation("in", (1, 1024, 1024, 16))], (1, 1024, 1024, 16))
    (finding,) = findings(model)
    assert (finding.rule, finding.severity) == ("large-activation", "warning")
    assert "16.0 MiB" in finding.message


@pytest.mark.parametrize("inputs, units, warned", [(900, 32, 0), (901, 32, 1), (100, 901, 1)])
def test_large_lstms_are_warned_of(inputs, units, warned):
    """With 32 units and "below 900 (ish)" inputs it compiles, with over 1,000 not (issue 598)."""
    sequence = activation("in", (1, 5, inputs))
    model = single("UNIDIRECTIONAL_SEQUENCE_LSTM", [sequence], (1, 5, units))
    assert rules(model) == [None]
    found = findings(model)
    assert [f.rule for f in found] == ["large-lstm"] * warned
    assert all(f.severity == "warning" and f.source.endswith("issues/654") for f in found)


# Sizes: below, between and above what compiled models show


def transpose(*shape):
    order = constant("order", [0, 3, 1, 2])
    after = (shape[0], shape[3], *shape[1:3])
    return single("TRANSPOSE", [activation("in", shape), order], after, version=2)


def reshape(before, after):
    return single("RESHAPE", [activation("in", before), constant("shape", after)], after)


def resize(name, before, after):
    size = constant("size", after[1:3])
    return single(name, [activation("in", before), size], after, version=2)


def mean(*shape):
    axes = constant("axes", [1, 2])
    return single("MEAN", [activation("in", shape), axes], (1, shape[3]), version=2)


@pytest.mark.parametrize(
    "model, maps, stays",
    [
        (transpose(1, 22, 22, 144), 69_696, 108_800),
        (reshape((1, 40, 40, 255), (1, 1600, 3, 85)), 408_000, 1_632_000),
        (reshape((1, 400, 3, 85), (1, 1200, 85)), 102_000, 408_000),
        (resize("RESIZE_BILINEAR", (1, 64, 64, 32), (1, 128, 128, 32)), 524_288, 6_291_456),
        (
            resize("RESIZE_NEAREST_NEIGHBOR", (1, 64, 64, 128), (1, 128, 128, 128)),
            2_097_152,
            3_145_728,
        ),
        (mean(1, 64, 128, 3), 8_192, 32_768),
    ],
)
def test_the_largest_that_is_known_to_map(model, maps, stays):
    (operator,) = read_model_file(model).main.operators
    limits = {(limit.maps, limit.stays) for limit in coral_sizes.LIMITS[operator.name]}
    assert (maps, stays) in limits
    assert rules(model) == [None]


@pytest.mark.parametrize(
    "model, reason",
    [
        (
            transpose(1, 22, 22, 145),
            "its elements are 70,180, and it is unknown whether so many map: 69,696 do, 108,800 do "
            "not",
        ),
        (
            transpose(1, 40, 40, 68),
            "its elements are 108,800: 69,696 are known to map, 108,800 not",
        ),
        (
            reshape((1, 40, 41, 255), (1, 1640, 3, 85)),
            "its elements are 418,200, and it is unknown",
        ),
        (reshape((1, 80, 80, 255), (1, 6400, 3, 85)), "its elements are 1,632,000: 408,000 are"),
        (reshape((1, 401, 3, 85), (1, 1203, 85)), "its elements are 102,255, and it is unknown"),
        (reshape((1, 1600, 3, 85), (1, 4800, 85)), "its elements are 408,000: 102,000 are known"),
        # Flattened, or with its last sides made one, it is as one whose last side is kept.
        (reshape((1, 118, 109, 8), (1, 102896)), "its elements are 102,896, and it is unknown"),
        (
            resize("RESIZE_BILINEAR", (1, 64, 64, 33), (1, 128, 128, 33)),
            "its outputs are 540,672, and it is unknown whether so many map: 524,288 do, 6,291,456",
        ),
        (
            resize("RESIZE_BILINEAR", (1, 512, 512, 6), (1, 1024, 1024, 6)),
            "its outputs are 6,291,456: 524,288 are known to map, 6,291,456 not to",
        ),
        (
            resize("RESIZE_NEAREST_NEIGHBOR", (1, 64, 64, 129), (1, 128, 128, 129)),
            "its outputs are 2,113,536, and it is unknown",
        ),
        (
            resize("RESIZE_NEAREST_NEIGHBOR", (1, 512, 512, 3), (1, 1024, 1024, 3)),
            "its outputs are 3,145,728: 2,097,152 are known to map",
        ),
        (mean(1, 64, 129, 3), "the values that it averages are 8,256, and it is unknown"),
        (mean(1, 256, 128, 3), "the values that it averages are 32,768: 8,192 are known to map"),
    ],
)
def test_sizes_that_are_not_known_to_map_stay_on_the_cpu(model, reason):
    (refusal,) = refusals(model)
    assert refusal.rule == "size" and refusal.source.startswith("https://")
    assert refusal.reason.startswith(reason)


def test_every_rule_has_a_source():
    every = [
        *coral_operators.ON_EVERY_OPERATOR,
        *(r for rules in coral_operators.OPERATORS.values() for r in rules),
    ]
    assert all(rule.source.startswith("https://") for rule in every)
    assert set(coral_operators.OPERATORS) <= set(coral_versions.VERSIONS)
