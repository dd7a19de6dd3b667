"""What a model costs: parameters and multiply-accumulates by part."""

from __future__ import annotations

import math
from typing import NamedTuple


class Cost(NamedTuple):
    """`parameters`: trainable weights. `macs`: multiply-accumulates of one image."""

    parameters: int
    macs: int


def cost_by_part(model, size: tuple[int, int] | None = None) -> dict[str, Cost]:
    """Counts trainable weights and multiply-accumulates of each part of a model.

    Args:
        model: A model of fixed size, of any family, in Keras 3 or tf_keras.
        size: `(height, width)` of another image that MACs are scaled to, by its area. Defaults to
            the model's.

    Returns:
        `{part: Cost}`, and their sum under `"total"`. A layer belongs to the part that its name
        begins with, up to the first underscore. As usual, MACs count convolutions alone.
    """
    model_size = model.input_shape[1:3]
    if None in model_size:  # its layers do not know their sizes
        raise ValueError("count the cost on a model of fixed size")
    area_scale = math.prod(size) / math.prod(model_size) if size else 1
    parts: dict[str, Cost] = {}
    for layer in model.layers:
        weights = sum(math.prod(weight.shape) for weight in layer.trainable_weights)
        macs = round(_macs(layer) * area_scale)
        if weights or macs:
            part = layer.name.split("_")[0]
            before = parts.get(part, Cost(0, 0))
            parts[part] = Cost(before.parameters + weights, before.macs + macs)
    total = Cost(*(sum(column) for column in zip(*parts.values())))
    return {**parts, "total": total}


def _macs(layer) -> int:
    kind = type(layer).__name__
    if kind not in ("Conv2D", "DepthwiseConv2D", "Conv2DTranspose"):
        return 0
    if kind == "DepthwiseConv2D":
        kernel = layer.kernel if hasattr(layer, "kernel") else layer.depthwise_kernel
    else:
        kernel = layer.kernel
    # Every weight meets every pixel of the smaller side once.
    _, height, width, _ = (layer.input if kind == "Conv2DTranspose" else layer.output).shape
    return math.prod(kernel.shape) * height * width
