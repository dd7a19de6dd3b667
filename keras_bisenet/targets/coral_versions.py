"""The versions of operators that the Edge TPU compiler, 16.0, can read, and those it maps."""

from __future__ import annotations

import math

import tflite

from keras_bisenet.targets.coral_sizes import ISSUES
from keras_bisenet.targets.graph import Node
from keras_bisenet.targets.rules import TFLITE

COMPILER = "Edge TPU compiler 16.0"

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


def is_known(node: Node) -> bool:
    """Whether the compiler can read a file with this operator at all.

    It gives up on what it was built without: "Didn't find op for builtin opcode ... Registration
    failed".
    """
    if node.operator.is_custom:
        return True
    number = getattr(tflite.BuiltinOperator, node.name, math.inf)
    return number <= _NEWEST_OPERATOR and node.version <= newest_version(node.name)


def newest_version(name: str) -> float:
    """The newest version of an operator that can be read; infinite where none is known."""
    return READABLE_VERSIONS.get(name, VERSIONS.get(name, math.inf))
