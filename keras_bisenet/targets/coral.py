"""The Coral Edge TPU: what its compiler, 16.0, takes of a file.

The compiler is closed. Its rules are read from, in this order: the documentation's table of
supported operations; what compiled models that Google and others publish show it to have done,
where the documentation is silent or stricter than the compiler; its own messages in issue
threads.
"""

from __future__ import annotations

import math

import numpy as np
import tflite

from keras_bisenet.lite.model_file import ModelFile, Tensor
from keras_bisenet.targets.coral_sizes import ISSUES, OPERATIONS, size_rule
from keras_bisenet.targets.graph import (
    Node,
    axes,
    computed_shape,
    nodes,
    partitions,
    producers,
    shown_shape,
    shown_type,
)
from keras_bisenet.targets.rules import (
    PARTITIONING,
    TFLITE,
    Assessment,
    Finding,
    Refusal,
    Rule,
    first_refusal,
)
from keras_bisenet.targets.target import Target

COMPILER = "Edge TPU compiler 16.0"

REQUIREMENTS = "https://coral.ai/docs/edgetpu/models-intro/#compatibility-overview"
COMPILING = "https://coral.ai/docs/edgetpu/models-intro/#compiling"
TEST_DATA = "https://github.com/google-coral/test_data"

CUSTOM_OPERATOR = "edgetpu-custom-op"
"""What the compiler puts in the place of the operators that it maps."""

EIGHT_BIT = ("INT8", "UINT8")

LARGE_ACTIVATION = 8 << 20
"""Bytes. The Edge TPU has about 8 MB of memory on the chip."""

LARGE_LSTM = 900
"""Inputs or units. "Below 900 (ish)" is known to compile, and above 1,000 not to."""


def assess(model: ModelFile) -> Assessment:
    """Which operators the compiler maps to the Edge TPU."""
    operators = nodes(model)
    if any(_is_compiled(node) for node in operators):
        return Assessment(
            tuple(_assess_compiled(node) for node in operators),
            (
                Finding(
                    "compiled",
                    "error",
                    "it was compiled for the Edge TPU already; check the file that it was "
                    "compiled from",
                    COMPILING,
                ),
            ),
        )
    unknown = [node for node in operators if not _is_known(node)]
    if unknown:
        return Assessment(tuple(_refused_with(unknown, node) for node in operators))
    refusals = [_refusal(node) for node in operators]
    return Assessment(
        tuple(_after_the_first_partition(model, operators, refusals)),
        (
            *_large_activations(operators, refusals),
            *_large_lstms(operators, refusals),
            _what_is_predicted(),
        ),
    )


def _what_is_predicted() -> Finding:
    return Finding(
        "prediction",
        "note",
        f"said of the {COMPILER} with its default flags, by its documentation and by compiled "
        "models; whether it fails on a file that it could map is not predicted",
        COMPILING,
    )


TARGET = Target(
    name="coral",
    runner="the Edge TPU",
    elsewhere="the CPU",
    resize="asymmetric",
    assess=assess,
    precisions=("int8",),
    integer_only=True,
    delegate="edgetpu",
    following_rules=("one-partition", "refused-file"),
)


# One partition


def _after_the_first_partition(
    model: ModelFile, operators: list[Node], refusals: list[Refusal | None]
) -> list[Refusal | None]:
    """Adds the operators that could be mapped, but stand behind one that is not.

    "Currently, the Edge TPU compiler cannot partition the model more than once, so as soon as
    an unsupported operation occurs, that operation and everything after it executes on the
    CPU." The compiler is a TFLite delegate, so what is "after" follows from TFLite's way of
    partitioning a graph: an operator is left on the CPU when it needs the result of one that is,
    not when it merely stands later in the file. Unsupported operators before the first supported
    one, such as the QUANTIZE behind a float input, keep nothing off the Edge TPU.
    """
    numbers = partitions(model.main, [refusal is None for refusal in refusals])
    first = min((n for n, r in zip(numbers, refusals) if r is None and n is not None), default=None)
    blockers = _blockers(model, refusals, numbers, -1 if first is None else first)
    result = []
    for refusal, number, blocker in zip(refusals, numbers, blockers):
        if refusal is None and (number is None or number != first):
            reason = "its inputs are never computed"
            if number is not None:
                reason = _behind(operators, blocker)
            refusal = Refusal("one-partition", reason, f"{COMPILING}; {PARTITIONING}")
        result.append(refusal)
    return result


def _blockers(
    model: ModelFile,
    refusals: list[Refusal | None],
    numbers: list[int | None],
    first: int,
) -> list[int | None]:
    """For each operator the unmapped one, nearest above it, whose result it needs.

    What runs before the partition `first` is there when it starts, and keeps nothing off it.
    """
    computed_by = producers(model.main)
    blockers: list[int | None] = [None] * len(refusals)
    in_order = sorted((number, i) for i, number in enumerate(numbers) if number is not None)
    blocks = {i for number, i in in_order if number > first and refusals[i] is not None}
    for _, index in in_order:
        for tensor in model.main.operators[index].inputs:
            producer = computed_by.get(tensor)
            if producer is None or producer == index:
                continue
            blocker = producer if producer in blocks else blockers[producer]
            if blocker is not None:
                blockers[index] = blocker
                break
    return blockers


def _behind(operators: list[Node], blocker: int | None) -> str:
    if blocker is None:
        return "it is not reached before an operator that does not map"
    return (
        f"it needs the result of operator {blocker} ({operators[blocker].name}), which does not map"
    )


# Operators that the compiler was built without

VERSIONS = {
    "ABS": 3,
    "ADD": 3,
    "ARG_MAX": 2,
    "ARG_MIN": 2,
    "AVERAGE_POOL_2D": 3,
    "BATCH_MATMUL": 4,
    "BROADCAST_TO": 3,
    "CAST": 1,
    "CONCATENATION": 3,
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 6,
    "DEPTH_TO_SPACE": 2,
    "DEQUANTIZE": 4,
    "DIV": 2,
    "EXP": 1,
    "EXPAND_DIMS": 1,
    "FULLY_CONNECTED": 9,
    "GATHER": 5,
    "GATHER_ND": 3,
    "L2_NORMALIZATION": 2,
    "LEAKY_RELU": 2,
    "LOGISTIC": 3,
    "LSTM": 4,
    "MAXIMUM": 4,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MINIMUM": 4,
    "MIRROR_PAD": 2,
    "MUL": 4,
    "PACK": 3,
    "PAD": 3,
    "PADV2": 3,
    "PRELU": 1,
    "QUANTIZE": 2,
    "REDUCE_MAX": 3,
    "REDUCE_MIN": 3,
    "RELU": 3,
    "RELU6": 3,
    "RELU_N1_TO_1": 1,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "RSQRT": 2,
    "SLICE": 5,
    "SOFTMAX": 3,
    "SPACE_TO_DEPTH": 2,
    "SPLIT": 4,
    "SPLIT_V": 2,
    "SQUARED_DIFFERENCE": 2,
    "SQUEEZE": 2,
    "STRIDED_SLICE": 5,
    "SUB": 5,
    "SUM": 2,
    "TANH": 3,
    "TILE": 2,
    "TRANSPOSE": 5,
    "TRANSPOSE_CONV": 3,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 3,
    "UNPACK": 4,
}
"""The highest version of an operator in TensorFlow 2.5 (`runtime_version.cc`).

Compiler 16.0 came out with the libedgetpu that is built on TensorFlow 2.5.
"""

READABLE_VERSIONS = {
    "ABS": 4,
    "ADD": 4,
    "MUL": 5,
    "PAD": 4,
    "PADV2": 4,
    "STRIDED_SLICE": 6,
}
"""The versions that came with TensorFlow 2.6. A file with one of them is not refused.

ADD 4 is known to stay on the CPU (a YOLOv10n that compiler 16.0 compiled); of the others nothing
is known, and they are taken to stay there as well.
"""

VERSIONS_SOURCE = (
    f"{ISSUES}/631; {ISSUES}/845; {ISSUES}/879; {TFLITE}/tools/versioning/runtime_version.cc, as "
    "of 2.5 and 2.6"
)

_NEWEST_OPERATOR = tflite.BuiltinOperator.ASSIGN_VARIABLE  # of TensorFlow 2.6


def _is_known(node: Node) -> bool:
    """Whether the compiler can read a file with this operator at all.

    It gives up on what it was built without: "Didn't find op for builtin opcode ... Registration
    failed".
    """
    if node.operator.is_custom:
        return True
    number = getattr(tflite.BuiltinOperator, node.name, math.inf)
    return number <= _NEWEST_OPERATOR and node.version <= _newest_version(node.name)


def _newest_version(name: str) -> float:
    return READABLE_VERSIONS.get(name, VERSIONS.get(name, math.inf))


def _refused_with(unknown: list[Node], node: Node) -> Refusal:
    if not _is_known(node):
        known = _newest_version(node.name)
        reason = f"{COMPILER} does not know {node.name} version {node.version}" + (
            f", only up to {known}" if known < math.inf else ""
        )
        return Refusal("version", f"{reason}, and refuses the whole file", VERSIONS_SOURCE)
    other = unknown[0]
    return Refusal(
        "refused-file",
        f"the compiler refuses the whole file over operator {other.operator.index} "
        f"({other.name} version {other.version})",
        VERSIONS_SOURCE,
    )


def _is_compiled(node: Node) -> bool:
    return node.operator.is_custom and node.name == CUSTOM_OPERATOR


def _assess_compiled(node: Node) -> Refusal | None:
    if _is_compiled(node):
        return None
    return Refusal("left-on-cpu", "the compiler left it on the CPU", COMPILING)


# Conditions on every operator


def _is_listed(node: Node) -> str | None:
    if node.operator.is_custom:
        return "custom operators run on the CPU"
    if node.name not in OPERATORS:
        return f"{node.name} is not among the supported operations"
    return None


def _has_a_mapped_version(node: Node) -> str | None:
    known = VERSIONS.get(node.name, math.inf)
    if node.version <= known:
        return None
    return f"it is of version {node.version}, and no model shows more than {known} mapped"


def _has_constant_parameters(node: Node) -> str | None:
    for position in _PARAMETERS.get(node.name, ()):
        tensor = node.input(position)
        if tensor is not None and not tensor.is_constant:
            return f"its parameter, input {position}, is computed and not a constant"
    return None


def _is_8_bit(node: Node) -> str | None:
    biases = _BIASES.get(node.name, ())
    shapes = _PARAMETERS.get(node.name, ())
    for position, tensor in enumerate(node.inputs):
        if tensor is None or _is_lstm_state(node, tensor):
            continue
        if position in biases:
            if tensor.dtype != "INT32":
                return f"its bias is {shown_type(tensor.dtype)}, not int32"
        elif position not in shapes and tensor.dtype not in EIGHT_BIT:
            return f"its input {position} is {shown_type(tensor.dtype)}, not 8-bit"
    for tensor in node.outputs:
        if tensor.dtype not in EIGHT_BIT:
            return f"its output is {shown_type(tensor.dtype)}, not 8-bit"
    return None


def _is_lstm_state(node: Node, tensor: Tensor) -> bool:
    """LSTMs keep 16-bit states, 32-bit biases and 16-bit normalization weights."""
    return "LSTM" in node.name and (tensor.is_variable or tensor.is_constant)


def _is_static(node: Node) -> str | None:
    if any(side < 0 for t in (*node.inputs, *node.outputs) if t is not None for side in t.shape):
        return "its shapes are known only at run time"
    return computed_shape(node)


def _has_3_dimensions(node: Node) -> str | None:
    for tensor in (*node.inputs, *node.outputs):
        if tensor is None or tensor.is_constant:  # weights have four
            continue
        if any(side > 1 for side in tensor.shape[:-3]):
            return (
                f"its tensor of {shown_shape(tensor)} has more than three dimensions greater than 1"
            )
    return None


_BIASES = {"CONV_2D": (2,), "DEPTHWISE_CONV_2D": (2,), "FULLY_CONNECTED": (2,)}
_BIASES["TRANSPOSE_CONV"] = (3,)

# Shapes, axes and paddings, and what convolutions multiply by. FULLY_CONNECTED also takes
# computed weights.
_PARAMETERS = {
    "CONV_2D": (2,),
    "DEPTHWISE_CONV_2D": (2,),
    "EXPAND_DIMS": (1,),
    "MEAN": (1,),
    "PAD": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SLICE": (1, 2),
    "SPLIT": (0,),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TILE": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0, 3),
}


def _has_constant_weights(node: Node) -> str | None:
    weights = node.input(1)
    if weights is not None and not weights.is_constant:
        return "its weights are computed and not constant"
    return None


_ON_EVERY_OPERATOR = (
    Rule("supported-operation", OPERATIONS, _is_listed),
    Rule("version", VERSIONS_SOURCE, _has_a_mapped_version),
    Rule("constant-parameters", REQUIREMENTS, _has_constant_parameters),
    Rule("8-bit", REQUIREMENTS, _is_8_bit),
    Rule("static-shapes", REQUIREMENTS, _is_static),
    Rule("three-dimensions", REQUIREMENTS, _has_3_dimensions),
)


# Conditions on single operators


def _no_activation(node: Node) -> str | None:
    activation = node.operator.fused_activation
    return None if activation == "NONE" else f"it has the fused activation {activation}"


def _a_relu_or_no_activation(node: Node) -> str | None:
    return None if node.operator.fused_activation in _RELUS else _no_activation(node)


_RELUS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


def _same_dilation(node: Node) -> str | None:
    height, width = node.option("dilation_h_factor", 1), node.option("dilation_w_factor", 1)
    weights = node.input(1)
    if height == width or weights is None or 1 in weights.shape[1:3]:
        return None  # one-dimensional kernels have one dilation only
    return f"its dilations differ: {height} and {width}"


def _zeros_concatenated(node: Node) -> str | None:
    for position, tensor in enumerate(node.inputs):
        if tensor is None or not tensor.is_constant:
            continue
        if len(node.inputs) != 2:
            return f"one of its {len(node.inputs)} inputs is constant, where only 2 may be given"
        values = node.values(position)
        zero = tensor.zero_points[0] if tensor.zero_points else 0
        if values is None or np.any(values.astype(np.int64) != zero):
            return "its constant input is not all zeros"
    return None


def _default_weights(node: Node) -> str | None:
    weights_format = node.option("weights_format", "DEFAULT")
    return None if weights_format == "DEFAULT" else f"its weights are in the {weights_format} form"


def _channel_slopes(node: Node) -> str | None:
    slopes = node.input(1)
    if slopes is not None and any(side > 1 for side in slopes.shape[:-1]):
        return f"its slopes, {shown_shape(slopes)}, are not one per channel"
    return None


def _not_across_the_batch(node: Node) -> str | None:
    return "it reduces the batch dimension" if 0 in axes(node) else None


def _whole_channels(node: Node) -> str | None:
    tensor = node.input(0)
    if tensor is not None and len(tensor.shape) - 1 in axes(node) and tensor.shape[-1] % 4:
        return f"it reduces {tensor.shape[-1]} channels, which is not a multiple of 4"
    return None


def _not_packed_in_the_batch(node: Node) -> str | None:
    output = node.output
    if (
        output is not None
        and len(output.shape) > 3
        and node.option("axis", 0)
        in (
            0,
            -len(output.shape),
        )
    ):
        return "it packs along the batch dimension"
    return None


def _not_split_in_the_batch(node: Node) -> str | None:
    axis, tensor = node.values(0), node.input(1)
    if len(node.outputs) == 1:  # nothing is split: mapped in Google's yamnet_spectra_in
        return None
    if axis is not None and tensor is not None and axis.size == 1:
        if int(axis.ravel()[0]) in (0, -len(tensor.shape)):
            return f"it splits the first dimension into {len(node.outputs)}"
    return None


def _batch_not_padded(node: Node) -> str | None:
    tensor, paddings = node.input(0), node.values(1)
    if tensor is not None and len(tensor.shape) > 3 and paddings is not None:
        if paddings.size >= 2 and np.any(paddings.ravel()[:2]):
            return "it pads the batch dimension"
    return None


def _softmax_size(node: Node) -> str | None:
    tensor = node.input(0)
    if tensor is not None and tensor.shape and tensor.shape[-1] > LARGEST_SOFTMAX:
        return f"it is over {tensor.shape[-1]:,} elements, more than {LARGEST_SOFTMAX:,}"
    return None


LARGEST_SOFTMAX = 16384
"""Elements. "A max of 16,000", says the documentation; 16,384 are known to map (libredgetpu)."""


def _unit_strides(node: Node) -> str | None:
    strides = node.values(3)
    if strides is not None and np.any(strides != 1):
        return f"its strides are {strides.ravel()[:8].tolist()}, not 1"
    for mask in ("ellipsis_mask", "new_axis_mask"):
        if node.option(mask, 0):
            return f"its {mask} is set"
    return None


def _precise_interpolation(node: Node) -> str | None:
    sizes = _resized(node)
    if sizes is None:
        return None
    step = max(_interpolation_step(node, *side) for side in sizes)
    if step > FINEST_INTERPOLATION:
        reason = (
            f"it interpolates in steps of 1/{step} pixel; steps of 1/{FINEST_INTERPOLATION} are "
            "the finest that are known to map"
        )
        if node.option("half_pixel_centers"):
            reason += " (half_pixel_centers=False makes them coarser)"
        return reason
    return None


def _more_than_one_pixel(node: Node) -> str | None:
    sizes = _resized(node)
    if sizes is not None and all(before == 1 for before, _ in sizes):
        if any(after > 1 for _, after in sizes):
            return "it enlarges a single pixel"
    return None


FINEST_INTERPOLATION = 4
"""The compiler "rejects mapping if the loss of precision is higher than a threshold" that was
never published. Known to map: 1/4 pixel, both as enlarging by 4 with half_pixel_centers=False
(issue 377) and by 2 with half_pixel_centers=True (MoveNet in Coral's test data). Known not to
map: 1/16 pixel (33x33 -> 513x513, DeepLab in Coral's test data). Of 1/8 nothing is known."""

INTERPOLATION_SOURCE = f"{OPERATIONS}; {ISSUES}/31; {ISSUES}/377; {TEST_DATA}"


def _resized(node: Node) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """(before, after) of the height and of the width."""
    before, after = node.input(0), node.output
    if before is None or after is None or not len(before.shape) == len(after.shape) == 4:
        return None
    if min(*before.shape, *after.shape) < 1:
        return None
    return (before.shape[1], after.shape[1]), (before.shape[2], after.shape[2])


def _interpolation_step(node: Node, before: int, after: int) -> int:
    """n, when the places that a resize samples at lie at multiples of 1/n pixel.

    A bilinear resize reads output pixel i at i * before / after, at (i + 1/2) * before / after -
    1/2 with half_pixel_centers, at i * (before - 1) / (after - 1) with align_corners.
    """
    if node.option("align_corners"):
        if after == 1:
            return 1
        return (after - 1) // math.gcd(before - 1, after - 1)
    divisor = math.gcd(before, after)
    before, after = before // divisor, after // divisor
    if not node.option("half_pixel_centers"):
        return after
    # ((2i + 1) * before - after) / (2 * after): two odd numbers differ by an even one.
    return after if before % 2 and after % 2 else 2 * after


SOFTMAX_SOURCE = f"{OPERATIONS}; https://github.com/ricardodeazambuja/LibrEdgeTPU"

_NO_ACTIVATION = Rule("fused-activation", OPERATIONS, _no_activation)
_RELU_AT_MOST = Rule("fused-activation", OPERATIONS, _a_relu_or_no_activation)
_SAME_DILATION = Rule("dilation", OPERATIONS, _same_dilation)
_CONSTANT_WEIGHTS = Rule("constant-parameters", REQUIREMENTS, _has_constant_weights)
_NOT_ACROSS_THE_BATCH = Rule("batch-dimension", OPERATIONS, _not_across_the_batch)
_WHOLE_CHANNELS = Rule("channels", OPERATIONS, _whole_channels)

OPERATORS: dict[str, tuple[Rule, ...]] = {
    "ADD": (_RELU_AT_MOST,),
    "AVERAGE_POOL_2D": (_NO_ACTIVATION,),
    "CONCATENATION": (
        _NO_ACTIVATION,
        Rule("constant-concatenation", OPERATIONS, _zeros_concatenated),
    ),
    "CONV_2D": (_CONSTANT_WEIGHTS, _RELU_AT_MOST, _SAME_DILATION),
    "DEPTHWISE_CONV_2D": (_CONSTANT_WEIGHTS, _RELU_AT_MOST, _SAME_DILATION),
    "EXPAND_DIMS": (),
    "FULLY_CONNECTED": (_RELU_AT_MOST, Rule("weights-format", OPERATIONS, _default_weights)),
    "L2_NORMALIZATION": (_RELU_AT_MOST,),
    "LOGISTIC": (),
    "LSTM": (),
    "MAXIMUM": (),
    "MAX_POOL_2D": (_NO_ACTIVATION,),
    "MEAN": (_NOT_ACROSS_THE_BATCH, _WHOLE_CHANNELS, size_rule("MEAN")),
    "MINIMUM": (),
    "MUL": (_RELU_AT_MOST,),
    "PACK": (Rule("batch-dimension", OPERATIONS, _not_packed_in_the_batch),),
    "PAD": (Rule("batch-dimension", OPERATIONS, _batch_not_padded),),
    "PRELU": (Rule("slopes", OPERATIONS, _channel_slopes),),
    "QUANTIZE": (),
    "REDUCE_MAX": (_NOT_ACROSS_THE_BATCH,),
    "REDUCE_MIN": (_NOT_ACROSS_THE_BATCH,),
    "RELU": (),
    "RELU6": (),
    "RELU_N1_TO_1": (),
    "RESHAPE": (size_rule("RESHAPE"),),
    "RESIZE_BILINEAR": (
        Rule("single-pixel", f"{OPERATIONS}; {TEST_DATA} (DeepLab)", _more_than_one_pixel),
        Rule("interpolation-precision", INTERPOLATION_SOURCE, _precise_interpolation),
        size_rule("RESIZE_BILINEAR"),
    ),
    "RESIZE_NEAREST_NEIGHBOR": (size_rule("RESIZE_NEAREST_NEIGHBOR"),),
    "RSQRT": (),
    "SLICE": (),
    "SOFTMAX": (Rule("softmax-size", SOFTMAX_SOURCE, _softmax_size),),
    "SPACE_TO_DEPTH": (),
    "SPLIT": (Rule("batch-dimension", OPERATIONS, _not_split_in_the_batch),),
    "SQUARED_DIFFERENCE": (),
    "SQUEEZE": (),
    "STRIDED_SLICE": (Rule("strides", OPERATIONS, _unit_strides),),
    "SUB": (_RELU_AT_MOST,),
    "SUM": (_NOT_ACROSS_THE_BATCH,),
    "TANH": (),
    "TILE": (),
    "TRANSPOSE": (size_rule("TRANSPOSE"),),
    "TRANSPOSE_CONV": (_CONSTANT_WEIGHTS, _RELU_AT_MOST),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (),
}
"""The supported operations, with the conditions on each.

The documentation's list, and TILE, which it lacks and which Coral's own Cityscapes DeepLab has
on the Edge TPU. Where compiled models show more than the documentation allows, they are
believed: FULLY_CONNECTED with outputs of two dimensions and with computed weights, SOFTMAX of
several rows, and PACK along the first of three dimensions are mapped by compiler 16.0.
"""


def _refusal(node: Node) -> Refusal | None:
    return first_refusal((*_ON_EVERY_OPERATOR, *OPERATORS.get(node.name, ())), node)


# What the compiler may stumble over


def _large_activations(operators: list[Node], refusals: list[Refusal | None]) -> list[Finding]:
    """The largest tensor that the Edge TPU computes, if it is larger than its memory."""
    computed = [
        (tensor, node)
        for node, refusal in zip(operators, refusals)
        if refusal is None
        for tensor in node.outputs
    ]
    if not computed:
        return []
    tensor, node = max(computed, key=lambda item: item[0].num_elements)
    if tensor.num_elements <= LARGE_ACTIVATION:
        return []
    return [
        Finding(
            "large-activation",
            "warning",
            f"the output of {node.name}, {shown_shape(tensor)}, takes "
            f"{tensor.num_elements / (1 << 20):.1f} MiB; the Edge TPU has about 8 MB of memory, "
            'and the compiler may give up ("large activation tensors in model")',
            f"https://coral.ai/docs/edgetpu/compiler/#parameter-data-caching; {ISSUES}/439; "
            f"{ISSUES}/449",
            node.operator.index,
        )
    ]


def _large_lstms(operators: list[Node], refusals: list[Refusal | None]) -> list[Finding]:
    """LSTMs larger than any that is known to compile."""
    for node, refusal in zip(operators, refusals):
        if refusal is not None or "LSTM" not in node.name:
            continue
        sides = [t.shape[-1] for t in (node.input(0), node.output) if t is not None and t.shape]
        if max(sides, default=0) > LARGE_LSTM:
            return [
                Finding(
                    "large-lstm",
                    "warning",
                    f"the compiler may fail on {node.name} with {max(sides):,} inputs or units: "
                    f"below {LARGE_LSTM:,} is known to compile, above 1,000 to fail",
                    f"{ISSUES}/598; {ISSUES}/654",
                    node.operator.index,
                )
            ]
    return []
