"""What the Edge TPU compiler asks of each operator, with the source of every rule."""

from __future__ import annotations

import math

import numpy as np

from keras_bisenet.lite.model_file import Tensor
from keras_bisenet.targets.coral_sizes import ISSUES, OPERATIONS, size_rule
from keras_bisenet.targets.coral_versions import VERSIONS, VERSIONS_SOURCE
from keras_bisenet.targets.graph import Node, axes, computed_shape, shown_shape, shown_type
from keras_bisenet.targets.rules import Refusal, Rule, first_refusal

REQUIREMENTS = "https://coral.ai/docs/edgetpu/models-intro/#compatibility-overview"
TEST_DATA = "https://github.com/google-coral/test_data"

EIGHT_BIT = ("INT8", "UINT8")


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


ON_EVERY_OPERATOR = (
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


def operator_refusal(node: Node) -> Refusal | None:
    """Why the compiler does not take an operator, whatever stands around it; None if it does."""
    return first_refusal((*ON_EVERY_OPERATOR, *OPERATORS.get(node.name, ())), node)
