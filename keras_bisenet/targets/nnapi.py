"""Android's Neural Networks API: what TFLite's NNAPI delegate takes of a file at API level 30.

The rules are those of `NNAPIDelegateKernel::Validate` in `nnapi_delegate.cc`, for the case that
no accelerator is named. Full 8-bit models need level 30 (Android 11): before it QUANTIZE writes
uint8 only, and int8 has to be symmetric.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from keras_bisenet.lite.model_file import ModelFile, Tensor
from keras_bisenet.targets.graph import (
    Node,
    computed_shape,
    consumers,
    nodes,
    partitions,
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

API_LEVEL = 30

VALIDATE = f"{TFLITE}/delegates/nnapi/nnapi_delegate.cc (Validate)"
PREPARE = f"{TFLITE}/delegates/nnapi/nnapi_delegate.cc (DoPrepare)"
OPTIONS = f"{TFLITE}/delegates/nnapi/nnapi_delegate.h (max_number_delegated_partitions)"
STATIC_ONLY = "https://github.com/tensorflow/tensorflow/issues/51859"
SNAPDRAGON_CRASH = "https://github.com/tensorflow/tensorflow/issues/57555"
DEPRECATION = "https://developer.android.com/ndk/guides/neuralnetworks/migration-guide"

MAX_PARTITIONS = 3
"""The delegate's default: of more partitions than these it takes the largest."""


def assess(model: ModelFile) -> Assessment:
    """Which operators the NNAPI delegate takes at API level 30."""
    operators = nodes(model)
    refusals = _refusals(model, operators)
    dynamic = next((node for node in operators if computed_shape(node)), None)
    findings: list[Finding] = []
    if dynamic is not None:
        refusals = [_unless_static(refusal, dynamic) for refusal in refusals]
    else:
        refusals, findings = _largest_partitions(model, refusals)
    return Assessment(
        tuple(refusals),
        (*findings, *_quantize_before_concatenation(model, operators), _deprecation()),
    )


TARGET = Target(
    name="nnapi",
    runner="NNAPI",
    elsewhere="the CPU",
    resize="half-pixel",
    assess=assess,
    # Activations of 16 bits are not mapped, nor hybrid depthwise convolutions (version 6).
    precisions=("int8", "float16", "float32"),
    following_rules=("partitions",),
)


def _refusals(model: ModelFile, operators: list[Node]) -> list[Refusal | None]:
    """What the delegate does not take, operator by operator.

    Before it looks at the others, `DoPrepare` hands the readers of a constant in float16 that
    constant itself, in place of the DEQUANTIZE between the two. Where the delegate takes all
    readers, nothing is left of the DEQUANTIZE; for any other reader it runs on the CPU.
    """
    constants = {
        node.operator.index
        for node in operators
        if node.name == "DEQUANTIZE" and _is_float16_constant(node.input(0))
    }
    refusals = [None if node.operator.index in constants else _refusal(node) for node in operators]
    readers = consumers(model.main)
    for index in constants:
        for tensor in operators[index].outputs:
            refused = [i for i in readers.get(tensor.index, ()) if refusals[i] is not None]
            if refused:
                reader = operators[refused[0]]
                refusals[index] = Refusal(
                    "float16-constant",
                    f"operator {refused[0]} ({reader.name}), which reads it, is not mapped",
                    PREPARE,
                )
    return refusals


def _is_float16_constant(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.is_constant and tensor.dtype == "FLOAT16"


def _unless_static(refusal: Refusal | None, dynamic: Node) -> Refusal:
    return refusal or Refusal(
        "static-shapes",
        f"the delegate takes graphs of static shapes only, and of operator "
        f"{dynamic.operator.index} ({dynamic.name}) {computed_shape(dynamic)}",
        STATIC_ONLY,
    )


def _largest_partitions(
    model: ModelFile, refusals: list[Refusal | None]
) -> tuple[list[Refusal | None], list[Finding]]:
    """Refuses what falls into more partitions than the delegate takes, the smallest first."""
    numbers = partitions(model.main, [refusal is None for refusal in refusals])
    sizes = Counter(n for n, r in zip(numbers, refusals) if r is None and n is not None)
    if len(sizes) <= 1:
        return refusals, []
    taken = {number for number, _ in sizes.most_common(MAX_PARTITIONS)}
    result = [
        Refusal(
            "partitions",
            f"it is in the smaller ones of {len(sizes)} partitions, of which {MAX_PARTITIONS} are "
            "taken",
            OPTIONS,
        )
        if refusal is None and number not in taken
        else refusal
        for refusal, number in zip(refusals, numbers)
    ]
    finding = Finding(
        "partitions",
        "warning",
        f"the operators that are taken fall into {len(sizes)} partitions; every hand-over between "
        "them and the CPU costs time",
        PARTITIONING,
    )
    return result, [finding]


def _quantize_before_concatenation(model: ModelFile, operators: list[Node]) -> list[Finding]:
    """QUANTIZE right before CONCATENATION: two scales that the converter brought to one."""
    readers = consumers(model.main)
    return [
        Finding(
            "quantize-before-concatenation",
            "error",
            "QUANTIZE right before CONCATENATION crashes NNAPI on Snapdragon 888 with Android 12; "
            "give the concatenated tensors one quantization range",
            SNAPDRAGON_CRASH,
            node.operator.index,
        )
        for node in operators
        if node.name == "QUANTIZE"
        and any(
            operators[reader].name == "CONCATENATION"
            for tensor in node.outputs
            for reader in readers.get(tensor.index, ())
        )
    ]


def _deprecation() -> Finding:
    return Finding("nnapi-deprecated", "note", "NNAPI is deprecated since Android 15", DEPRECATION)


# What Validate asks of each operator

FLOAT_OR_8_BIT = ("FLOAT32", "UINT8", "INT8")
FLOAT_8_BIT_OR_INT32 = (*FLOAT_OR_8_BIT, "INT32")
FLOAT = ("FLOAT32",)


@dataclass(frozen=True)
class Support:
    """What the delegate asks of an operator.

    Attributes:
        version: The highest version.
        types: The types that its first data input may have; empty for any.
        rules: Further conditions.
        data: Which input is the first data input.
    """

    version: float
    types: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    data: int = 0


def _refusal(node: Node) -> Refusal | None:
    if node.operator.is_custom:
        return Refusal("supported-operation", "custom operators are not mapped", VALIDATE)
    if node.name not in OPERATORS:
        return Refusal("supported-operation", f"{node.name} is not mapped", VALIDATE)
    support = OPERATORS[node.name]
    return first_refusal(
        (
            Rule("version", VALIDATE, lambda n: _wrong_version(n, support)),
            Rule("type", VALIDATE, lambda n: _wrong_type(n, support)),
            *support.rules,
        ),
        node,
    )


def _wrong_version(node: Node, support: Support) -> str | None:
    if node.version > support.version:
        return f"{node.name} is taken up to version {support.version}, this is {node.version}"
    return None


def _wrong_type(node: Node, support: Support) -> str | None:
    tensor = node.input(support.data)
    if tensor is None:
        return "it has no input"
    if support.types and tensor.dtype not in support.types:
        return f"its input is {shown_type(tensor.dtype)}"
    return None


def _activation_on_int32(node: Node) -> str | None:
    tensor = node.input(0)
    if tensor is not None and tensor.dtype == "INT32":
        return _activation(node)
    return None


def _activation(node: Node) -> str | None:
    activation = node.operator.fused_activation
    return None if activation == "NONE" else f"it has the fused activation {activation}"


def _no_bias(node: Node) -> str | None:
    return None if len(node.inputs) == 3 else "it has no bias"


def _large_window(node: Node) -> str | None:
    tensor = node.input(0)
    height, width = node.option("filter_height", 0), node.option("filter_width", 0)
    if tensor is not None and not tensor.is_float and height * width > 256:
        return f"its 8-bit window of {height}x{width} is larger than 256"
    return None


def _int64_axis_or_output(node: Node) -> str | None:
    axis = node.input(1)
    if axis is None or axis.dtype not in ("INT32", "INT64"):
        return "its axis is not int32"
    if axis.dtype == "INT64" and not axis.is_constant:
        return "its int64 axis is computed"
    output_type = node.option("output_type")
    return None if output_type == "INT32" else f"its output is {shown_type(str(output_type))}"


def _rank_above_4(node: Node) -> str | None:
    return _rank_above_4_of(node, 1)


def _rank_above_4_of_both(node: Node) -> str | None:
    return _rank_above_4_of(node, 2)


def _rank_above_4_of(node: Node, inputs: int) -> str | None:
    for position in range(inputs):
        tensor = node.input(position)
        if tensor is not None and len(tensor.shape) > 4:
            return f"its input has {len(tensor.shape)} dimensions, more than 4"
    return None


def _rank_other_than_4(node: Node) -> str | None:
    tensor = node.input(0)
    if tensor is not None and len(tensor.shape) != 4:
        return f"its input has {len(tensor.shape)} dimensions, not 4"
    return None


def _scalar_output(node: Node) -> str | None:
    if node.output is not None and not node.output.shape:
        return "its output is a scalar"
    return None


def _scalar_input(node: Node) -> str | None:
    tensor = node.input(0)
    return "its input is a scalar" if tensor is not None and not tensor.shape else None


def _scalar_shape(node: Node) -> str | None:
    if len(node.inputs) == 1 and tuple(node.option("new_shape", ())) in ((), (0,)):
        return "its new shape is that of a scalar"
    return None


def _unquantized(node: Node) -> str | None:
    value, output = node.input(0), node.output
    if output is None or output.dtype not in ("UINT8", "INT8"):
        return f"its output is {shown_type(output.dtype) if output else 'missing'}"
    for tensor in (value, output):
        if tensor is not None and not tensor.is_float and not (tensor.scales and tensor.scales[0]):
            return "a scale is missing, or 0"
    return None


def _int16_output(node: Node) -> str | None:
    output = node.output
    return "its output is int16" if output is not None and output.dtype == "INT16" else None


def _cast_to(node: Node) -> str | None:
    output = node.output
    if output is None or output.dtype not in FLOAT_8_BIT_OR_INT32:
        return f"it casts to {shown_type(output.dtype) if output else 'nothing'}"
    return None


def _computed_operand(position: int) -> Rule:
    def refuses(node: Node) -> str | None:
        tensor = node.input(position)
        if tensor is None or not tensor.is_constant:
            return f"its input {position} is not constant"
        return None

    return Rule("constant-operand", VALIDATE, refuses)


def _other_than_int32(position: int) -> Rule:
    def refuses(node: Node) -> str | None:
        tensor = node.input(position)
        if tensor is None or tensor.dtype != "INT32":
            return f"its input {position} is not int32"
        return None

    return Rule("operand-type", VALIDATE, refuses)


def _last_axis(node: Node) -> str | None:
    tensor = node.input(0)
    if tensor is not None and node.option("axis", 0) in (-1, len(tensor.shape)):
        return "it packs along the last dimension"
    return None


def _cropped(node: Node) -> str | None:
    crops = node.values(2)
    return None if crops is not None and crops.size == 4 and not np.any(crops) else "it crops"


def _different_shapes(node: Node) -> str | None:
    condition, value = node.input(0), node.input(1)
    if condition is None or value is None or condition.shape != value.shape:
        return "its condition is not of the shape of its inputs"
    return None


def _empty(node: Node) -> str | None:
    tensor = node.input(0)
    return "its input is empty" if tensor is not None and 0 in tensor.shape else None


_ACTIVATION = Rule("fused-activation", VALIDATE, _activation)
_ACTIVATION_ON_INT32 = Rule("fused-activation", VALIDATE, _activation_on_int32)
_BIAS = Rule("bias", VALIDATE, _no_bias)
_WINDOW = Rule("window", VALIDATE, _large_window)
_AXIS_AND_OUTPUT = Rule("int32-output", VALIDATE, _int64_axis_or_output)
_RANK_4 = Rule("rank", VALIDATE, _rank_other_than_4)
_AT_MOST_4 = Rule("rank", VALIDATE, _rank_above_4)
_BOTH_AT_MOST_4 = Rule("rank", VALIDATE, _rank_above_4_of_both)
_NO_SCALAR_OUTPUT = Rule("scalar", VALIDATE, _scalar_output)
_NO_SCALAR_INPUT = Rule("scalar", VALIDATE, _scalar_input)
_QUANTIZED = Rule("quantization", VALIDATE, _unquantized)

_ANY = math.inf

OPERATORS: dict[str, Support] = {
    "ABS": Support(1, FLOAT),
    "ADD": Support(2, FLOAT_8_BIT_OR_INT32, (_ACTIVATION_ON_INT32,)),
    "ARG_MAX": Support(2, (*FLOAT_8_BIT_OR_INT32, "FLOAT16"), (_AXIS_AND_OUTPUT,)),
    "ARG_MIN": Support(2, (*FLOAT_8_BIT_OR_INT32, "FLOAT16"), (_AXIS_AND_OUTPUT,)),
    "AVERAGE_POOL_2D": Support(2, FLOAT_OR_8_BIT, (_WINDOW,)),
    "BATCH_TO_SPACE_ND": Support(2, (), (Rule("crops", VALIDATE, _cropped),)),
    "CAST": Support(1, FLOAT_8_BIT_OR_INT32, (Rule("type", VALIDATE, _cast_to),)),
    "CONCATENATION": Support(2, (*FLOAT_OR_8_BIT, "FLOAT16"), (_ACTIVATION, _AT_MOST_4)),
    "CONV_2D": Support(5, (), (_BIAS,)),
    "DEPTHWISE_CONV_2D": Support(3),
    "DEPTH_TO_SPACE": Support(_ANY, FLOAT_OR_8_BIT),
    "DEQUANTIZE": Support(2, ("UINT8", "INT8")),
    "DIV": Support(1, FLOAT),
    "ELU": Support(1, FLOAT),
    "EQUAL": Support(2, (*FLOAT_8_BIT_OR_INT32, "BOOL")),
    "EXP": Support(1, FLOAT),
    "EXPAND_DIMS": Support(
        1,
        (*FLOAT_8_BIT_OR_INT32, "FLOAT16"),
        (_computed_operand(1), _other_than_int32(1)),
    ),
    "FLOOR": Support(1),
    "FULLY_CONNECTED": Support(5, (), (Rule("type", VALIDATE, _int16_output),)),
    "GATHER": Support(2, (*FLOAT_8_BIT_OR_INT32, "FLOAT16"), (_other_than_int32(1),)),
    "GREATER": Support(2, (*FLOAT_8_BIT_OR_INT32, "BOOL")),
    "GREATER_EQUAL": Support(2, (*FLOAT_8_BIT_OR_INT32, "BOOL")),
    "HARD_SWISH": Support(_ANY, FLOAT_OR_8_BIT),
    "L2_NORMALIZATION": Support(2, (), (_ACTIVATION,)),
    "L2_POOL_2D": Support(1, FLOAT),
    "LEAKY_RELU": Support(1, FLOAT_OR_8_BIT),
    "LESS": Support(2, (*FLOAT_8_BIT_OR_INT32, "BOOL")),
    "LESS_EQUAL": Support(2, (*FLOAT_8_BIT_OR_INT32, "BOOL")),
    "LOCAL_RESPONSE_NORMALIZATION": Support(1),
    "LOG": Support(1, FLOAT),
    "LOGICAL_AND": Support(1, ("BOOL",)),
    "LOGICAL_NOT": Support(1, ("BOOL",)),
    "LOGICAL_OR": Support(1, ("BOOL",)),
    "LOGISTIC": Support(2, FLOAT_OR_8_BIT),
    "LOG_SOFTMAX": Support(1, FLOAT),
    "MAXIMUM": Support(3, FLOAT_8_BIT_OR_INT32),
    "MAX_POOL_2D": Support(2, FLOAT_OR_8_BIT),
    "MEAN": Support(2, FLOAT_OR_8_BIT, (_NO_SCALAR_OUTPUT,)),
    "MINIMUM": Support(3, FLOAT_8_BIT_OR_INT32),
    "MUL": Support(2, FLOAT_8_BIT_OR_INT32, (_ACTIVATION_ON_INT32,)),
    "NEG": Support(2, ("FLOAT32", "INT32")),
    "NOT_EQUAL": Support(2, (*FLOAT_8_BIT_OR_INT32, "BOOL")),
    "PACK": Support(2, ("INT32", "FLOAT32", "INT8"), (Rule("axis", VALIDATE, _last_axis),)),
    "PAD": Support(2, FLOAT_OR_8_BIT, (Rule("empty", VALIDATE, _empty),)),
    "PADV2": Support(2, FLOAT_OR_8_BIT, (Rule("empty", VALIDATE, _empty),)),
    "POW": Support(1, FLOAT),
    "PRELU": Support(1, FLOAT_OR_8_BIT),
    "QUANTIZE": Support(2, FLOAT_OR_8_BIT, (_QUANTIZED,)),
    "REDUCE_ANY": Support(2, (), (_NO_SCALAR_OUTPUT,)),
    "REDUCE_MAX": Support(2, FLOAT_OR_8_BIT, (_NO_SCALAR_INPUT,)),
    "REDUCE_MIN": Support(2, FLOAT_OR_8_BIT, (_NO_SCALAR_INPUT,)),
    "REDUCE_PROD": Support(1, FLOAT, (_NO_SCALAR_OUTPUT,)),
    "RELU": Support(2, FLOAT_OR_8_BIT),
    "RELU6": Support(2, FLOAT_OR_8_BIT),
    "RELU_N1_TO_1": Support(2, FLOAT_OR_8_BIT),
    "RESHAPE": Support(1, FLOAT_OR_8_BIT, (Rule("scalar", VALIDATE, _scalar_shape),)),
    "RESIZE_BILINEAR": Support(3, FLOAT_OR_8_BIT, (_RANK_4, _computed_operand(1))),
    "RESIZE_NEAREST_NEIGHBOR": Support(3, FLOAT_OR_8_BIT, (_computed_operand(1),)),
    "RSQRT": Support(1, FLOAT),
    "SELECT": Support(
        2, FLOAT_8_BIT_OR_INT32, (Rule("shapes", VALIDATE, _different_shapes),), data=1
    ),
    "SIN": Support(1, FLOAT),
    "SLICE": Support(2, FLOAT_8_BIT_OR_INT32, (_other_than_int32(1), _other_than_int32(2))),
    "SOFTMAX": Support(2, FLOAT_OR_8_BIT, (_AT_MOST_4,)),
    "SPACE_TO_BATCH_ND": Support(2),
    "SPACE_TO_DEPTH": Support(2, FLOAT_OR_8_BIT),
    "SPLIT": Support(3, FLOAT_8_BIT_OR_INT32, (_computed_operand(0), _other_than_int32(0)), data=1),
    "SPLIT_V": Support(
        2,
        FLOAT_8_BIT_OR_INT32,
        (_computed_operand(1), _other_than_int32(1), _computed_operand(2), _other_than_int32(2)),
    ),
    "SQRT": Support(1, FLOAT),
    "SQUARED_DIFFERENCE": Support(2, FLOAT_8_BIT_OR_INT32, (_BOTH_AT_MOST_4,)),
    "SQUEEZE": Support(1),
    "STRIDED_SLICE": Support(2),
    "SUB": Support(3, FLOAT_8_BIT_OR_INT32, (_ACTIVATION_ON_INT32, _BOTH_AT_MOST_4)),
    "SUM": Support(1, FLOAT, (_NO_SCALAR_OUTPUT,)),
    "TANH": Support(2, FLOAT_OR_8_BIT),
    "TILE": Support(1, FLOAT_8_BIT_OR_INT32, (_other_than_int32(1),)),
    "TOPK_V2": Support(2, FLOAT_8_BIT_OR_INT32, (_computed_operand(1), _other_than_int32(1))),
    "TRANSPOSE": Support(2, (), (_computed_operand(1),)),
    "TRANSPOSE_CONV": Support(3, (), (_computed_operand(0), _computed_operand(1))),
}
"""The operators of image networks that the delegate maps at API level 30.

Recurrent networks, lookups and projections, which it maps as well, are left out: they are
reported as not mapped.
"""
