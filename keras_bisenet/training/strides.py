"""Where logits meet labels: at every pixel of the image, or at one of each block.

A block of an even number of pixels has no pixel in its middle. Always to take the one behind the
middle would teach a network to answer half a pixel beside what it sees; so blocks take turns, in
both directions, with the one before it.
"""

from __future__ import annotations

import numpy as np
from keras import ops


def at_stride(pixels, stride: int):
    """One pixel of each `stride` x `stride` block: `[batch, height, width, ...]`."""
    if stride == 1:
        return pixels
    for axis in (1, 2):
        pixels = ops.take(pixels, _places(pixels.shape[axis], stride), axis=axis)
    return pixels


def enlarged(logits, factor: int, stride: int = 1):
    """`at_stride(UpSampling2D(factor, interpolation="bilinear")(logits), stride)`, from less.

    Args:
        logits: `[batch, height, width, num_classes]`.
        factor: int. How many times as high and as wide they become.
        stride: int. Values are computed for one pixel of each block alone.

    Returns:
        float32 `[batch, height * factor / stride, width * factor / stride, num_classes]`.
    """
    logits = ops.cast(logits, "float32")
    if factor == 1:
        return at_stride(logits, stride)
    height, width = logits.shape[1:3]
    planes = ops.transpose(logits, (0, 3, 1, 2))  # the small ones: what is large is made as planes
    planes = ops.matmul(planes, _interpolation(width, factor, stride).T)
    planes = ops.matmul(_interpolation(height, factor, stride), planes)
    return ops.transpose(planes, (0, 2, 3, 1))


def _places(length: int, stride: int) -> np.ndarray:
    """Where in a line of pixels the chosen ones are: before the middle of a block, behind that of
    the next, and so on."""
    block = np.arange(length // stride)
    return block * stride + (stride // 2 - 1 + block % 2 if stride > 1 else 0)


def _interpolation(length: int, factor: int, stride: int) -> np.ndarray:
    """What each value of a line counts in each pixel of the longer one: `[pixels, length]`."""
    centres = (_places(length * factor, stride) + 0.5) / factor - 0.5
    distances = np.clip(centres, 0, length - 1)[:, None] - np.arange(length)
    return np.maximum(1 - np.abs(distances), 0).astype(np.float32)
