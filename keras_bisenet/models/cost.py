"""What a model costs: parameters and multiply-accumulates by part."""

from __future__ import annotations

import math
from typing import NamedTuple

PARTS = ("detail", "semantic", "bga", "head", "booster")
"""A layer belongs to the part that its name begins with."""


class Cost(NamedTuple):
    """`parameters`: trainable weights. `macs`: multiply-accumulates of one image."""

    parameters: int
    macs: int


def cost_by_part(model, size: tuple[int, int]) -> dict[str, Cost]:
    """Counts trainable weights and multiply-accumulates of each part of a BiSeNet V2.

    Args:
        model: A model made by `bisenetv2`, in Keras 3 or tf_keras.
        size: `(height, width)` of the image, multiples of 32. MACs grow with its area.

    Returns:
        `{part: Cost}` for the parts that the model has, and their sum under `"total"`. As usual,
        MACs count convolutions alone.
    """
    parts: dict[str, Cost] = {}
    for layer in model.layers:
        part = layer.name.split("_")[0]
        if part not in PARTS:
            continue
        weights = sum(math.prod(weight.shape) for weight in layer.trainable_weights)
        before = parts.get(part, Cost(0, 0))
        macs = _macs(layer, model.input_shape[1:3], size)
        parts[part] = Cost(before.parameters + weights, before.macs + macs)
    total = Cost(*(sum(column) for column in zip(*parts.values())))
    return {**parts, "total": total}


def _macs(layer, model_size, size) -> int:
    kind = type(layer).__name__
    if kind not in ("Conv2D", "DepthwiseConv2D", "Conv2DTranspose"):
        return 0
    # A model of free size does not know its layers' sizes; its strides do not depend on it.
    if None in model_size:
        raise ValueError("count the cost on a model of fixed size")
    if kind == "Conv2D":
        kernel_height, kernel_width, per_pixel, channels = layer.kernel.shape
        _, height, width, _ = layer.output.shape
        macs_per_pixel = kernel_height * kernel_width * per_pixel * channels
    elif kind == "DepthwiseConv2D":
        kernel = layer.kernel if hasattr(layer, "kernel") else layer.depthwise_kernel
        macs_per_pixel = math.prod(kernel.shape)
        _, height, width, _ = layer.output.shape
    else:
        macs_per_pixel = math.prod(layer.kernel.shape)
        _, height, width, _ = layer.input.shape
    area_scale = (size[0] * size[1]) / (model_size[0] * model_size[1])
    return round(macs_per_pixel * height * width * area_scale)
