"""Losses over pixels, in `keras.ops` alone: they serve TensorFlow, JAX, Keras 3 and tf_keras.

Each is a function of integer class ids `[batch, height, width]`, with `VOID` where a pixel does
not count, and logits `[batch, height, width, num_classes]`; it returns a scalar. A network with
boosters applies the same loss to all five outputs, with equal weight (paper, Section 3.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from keras import ops

from keras_bisenet.label_map import VOID


def cross_entropy(class_ids, logits):
    """Mean cross-entropy of the pixels that are not void; 0 when all are."""
    losses, counted = _pixel_losses(class_ids, logits)
    return ops.sum(losses) / ops.maximum(ops.sum(counted), 1.0)


def ohem_cross_entropy(threshold: float = 0.7, least_share: float = 1 / 16) -> Callable:
    """Cross-entropy with online hard example mining (Shrivastava et al., arXiv:1604.03540).

    Args:
        threshold: Pixels whose true class has a probability below this are hard, and count.
        least_share: At least this share of the batch's pixels that are not void counts, the
            hardest first, however easy they are.

    Returns:
        The loss function: the mean cross-entropy of the pixels that count.
    """

    def ohem(class_ids, logits):
        losses, counted = _pixel_losses(class_ids, logits)
        losses = ops.reshape(losses, (-1,))
        counted = ops.reshape(counted, (-1,))
        limit = _hard_limit(ops.stop_gradient(losses), ops.sum(counted))
        hard = counted * ops.cast(losses >= limit, losses.dtype)
        return ops.sum(losses * hard) / ops.maximum(ops.sum(hard), 1.0)

    def _hard_limit(losses, num_counted):
        """The loss from which a pixel is hard."""
        # The shape is static, the number of void pixels is not: rank what there could be at most.
        most = max(1, int(losses.shape[0] * least_share))
        hardest, _ = ops.top_k(losses, most)
        least = ops.cast(ops.floor(num_counted * least_share), "int32")
        last = ops.take(hardest, ops.clip(least - 1, 0, most - 1))
        return ops.minimum(last, -math.log(threshold))

    return ohem


def make_loss(name: str, threshold: float, least_share: float) -> Callable:
    """The loss that a configuration names: `cross_entropy` or `ohem`."""
    return cross_entropy if name == "cross_entropy" else ohem_cross_entropy(threshold, least_share)


def _pixel_losses(class_ids, logits):
    """Cross-entropy of each pixel, 0 where void, and 1.0 where a pixel counts, 0.0 where void."""
    class_ids = ops.cast(class_ids, "int32")
    logits = ops.cast(logits, "float32")
    is_void = ops.equal(class_ids, VOID)
    class_ids = ops.where(is_void, 0, class_ids)
    counted = 1.0 - ops.cast(is_void, "float32")
    losses = ops.sparse_categorical_crossentropy(class_ids, logits, from_logits=True)
    return losses * counted, counted
