"""Losses over pixels, in `keras.ops` alone: they serve TensorFlow, JAX, Keras 3 and tf_keras.

Each is a function of integer class ids `[batch, height, width]`, with `VOID` where a pixel does
not count, and logits `[batch, height, width, num_classes]`; it returns a scalar. A network with
boosters applies the same loss to all five outputs, with equal weight (paper, Section 3.4), each at
its own stride (`over_outputs`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
from keras import ops

from keras_bisenet.label_map import VOID
from keras_bisenet.training.strides import at_stride, enlarged


def make_loss(
    name: str = "cross_entropy",
    *,
    class_weights: Sequence[float] | None = None,
    ohem_threshold: float = 0.7,
    ohem_share: float = 1 / 16,
    dice: float = 0.0,
    lovasz: float = 0.0,
) -> Callable:
    """The loss that a configuration describes.

    Args:
        name: `cross_entropy` or `ohem`.
        class_weights: What a pixel of each class counts; None, all the same.
        ohem_threshold: See `ohem_cross_entropy`.
        ohem_share: See `ohem_cross_entropy`.
        dice: Factor of `dice_loss`, added; 0 leaves it out.
        lovasz: Factor of `lovasz_softmax`, added; 0 leaves it out.
    """
    if name == "ohem":
        main = ohem_cross_entropy(ohem_threshold, ohem_share, class_weights)
    else:
        main = weighted_cross_entropy(class_weights) if class_weights else cross_entropy
    added = [(factor, loss) for factor, loss in ((dice, dice_loss), (lovasz, lovasz_softmax))]
    added = [(factor, loss) for factor, loss in added if factor]
    if not added:
        return main

    def weighted_sum(class_ids, logits):
        total = main(class_ids, logits)
        for factor, loss in added:
            total = total + factor * loss(class_ids, logits)
        return total

    return weighted_sum


def over_outputs(
    loss: Callable,
    strides: Sequence[int],
    label_strides: Sequence[int] | None = None,
    soft_loss: Callable | None = None,
    soft_stride: int = 1,
) -> Callable:
    """The sum of a loss over a network's outputs, each at the pixels where it meets the labels.

    Args:
        loss: From class ids and logits to a scalar.
        strides: A pixel of each output stands for so many of the labels, in height and in width.
        label_strides: Each output meets one label of so many, in height and in width, enlarged
            where its own stride is larger; None, `strides`.
        soft_loss: From shares and logits to a scalar, added; None where there are no soft labels.
        soft_stride: int. The stride of the shares; an output meets them at this one or a larger.

    Returns:
        A function of labels, as the pipeline gives them, and the list of outputs.
    """

    def objective(labels, outputs):
        class_ids = labels if soft_loss is None else labels["class_ids"]
        total = 0.0
        for logits, own, wanted in zip(outputs, strides, label_strides or strides):
            met = logits if own == wanted else enlarged(logits, own, wanted)
            total = total + loss(at_stride(class_ids, wanted), met)
            if soft_loss is not None:
                common = max(wanted, soft_stride)
                shares = at_stride(labels["shares"], common // soft_stride)
                total = total + soft_loss(shares, _brought_to(logits, own, common))
        return total

    return objective


def _brought_to(logits, own: int, wanted: int):
    """Logits at a stride, enlarged or thinned out."""
    if own % wanted:
        return at_stride(enlarged(logits, own), wanted)
    return enlarged(logits, own // wanted)


def distillation(
    weight: float = 1.0,
    temperature: float = 1.0,
    class_weights: Sequence[float] | None = None,
) -> Callable:
    """What a network has to learn from a teacher's shares (Hinton et al., arXiv:1503.02531).

    Args:
        weight: Factor of this loss.
        temperature: By what logits are divided, the teacher's and the network's: above 1, the
            classes that the teacher thinks less likely count more. The loss is multiplied by its
            square, so that gradients stay as large.
        class_weights: What a pixel of each class counts, in proportion to its shares; None, all
            the same.

    Returns:
        A function of shares `[batch, height, width, num_classes]`, all 0 where a pixel has no
        label, and logits of that shape: the mean Kullback-Leibler divergence of the pixels that
        have one, 0 where the network agrees.
    """

    def divergence(shares, logits):
        counted = ops.cast(ops.sum(shares, axis=-1) > 0, "float32")
        if class_weights:
            weights = ops.convert_to_tensor([float(w) for w in class_weights], "float32")
            counted = counted * ops.sum(shares * weights, axis=-1)
        # Shares to the power of 1 / T, made to sum to 1, are the softmax of logits / T.
        shares = ops.power(shares, 1.0 / temperature)
        total = ops.sum(shares, axis=-1, keepdims=True)
        shares = shares / ops.where(total > 0, total, 1.0)
        predicted = ops.log_softmax(ops.cast(logits, "float32") / temperature, axis=-1)
        known = ops.log(ops.where(shares > 0, shares, 1.0))
        losses = ops.sum(shares * (known - predicted), axis=-1)
        return weight * temperature**2 * _weighted_mean(losses, counted)

    return divergence


def cross_entropy(class_ids, logits):
    """Mean cross-entropy of the pixels that are not void; 0 when all are."""
    losses, counted = _pixel_losses(class_ids, logits)
    return _weighted_mean(losses, counted)


def weighted_cross_entropy(class_weights: Sequence[float]) -> Callable:
    """Cross-entropy averaged with a weight per class: sum(weight * loss) / sum(weight).

    Args:
        class_weights: What a pixel of each class counts.
    """

    def weighted(class_ids, logits):
        losses, counted = _pixel_losses(class_ids, logits)
        return _weighted_mean(losses, counted * _pixel_weights(class_ids, class_weights))

    return weighted


def ohem_cross_entropy(
    threshold: float = 0.7,
    least_share: float = 1 / 16,
    class_weights: Sequence[float] | None = None,
) -> Callable:
    """Cross-entropy with online hard example mining (Shrivastava et al., arXiv:1604.03540).

    Args:
        threshold: Pixels whose true class has a probability below this are hard, and count.
        least_share: At least this share of the batch's pixels that are not void counts, the
            hardest first, however easy they are.
        class_weights: What a hard pixel of each class counts; None, all the same.

    Returns:
        The loss function: the mean cross-entropy of the pixels that count.
    """

    def ohem(class_ids, logits):
        losses, counted = _pixel_losses(class_ids, logits)
        losses = ops.reshape(losses, (-1,))
        counted = ops.reshape(counted, (-1,))
        limit = _hard_limit(ops.stop_gradient(losses), ops.sum(counted))
        weights = counted * ops.cast(losses >= limit, losses.dtype)
        if class_weights:
            weights = weights * ops.reshape(_pixel_weights(class_ids, class_weights), (-1,))
        return _weighted_mean(losses, weights)

    def _hard_limit(losses, num_counted):
        """The loss from which a pixel is hard."""
        # The shape is static, the number of void pixels is not: rank what there could be at most.
        most = max(1, int(losses.shape[0] * least_share))
        hardest, _ = ops.top_k(losses, most)
        least = ops.cast(ops.floor(num_counted * least_share), "int32")
        last = ops.take(hardest, ops.clip(least - 1, 0, most - 1))
        return ops.minimum(last, -math.log(threshold))

    return ohem


def dice_loss(class_ids, logits):
    """1 - Dice coefficient of the probabilities, a mean over the classes in the batch.

    Keras' Dice (Sudre et al., arXiv:1707.03237), without the void pixels.
    """
    truth, counted = _one_hot(class_ids, logits.shape[-1])
    probabilities = ops.softmax(ops.cast(logits, "float32")) * counted[..., None]
    by_class = keras.losses.dice(truth, probabilities, axis=(0, 1, 2))
    present = ops.cast(ops.sum(truth, axis=(0, 1, 2)) > 0, "float32")
    return _weighted_mean(by_class, present)


def lovasz_softmax(class_ids, logits):
    """The Lovász extension of 1 - IoU, a mean over the classes in the batch.

    Berman, Rannen Triki and Blaschko, arXiv:1705.08790, Section 2.2: for each class the pixels'
    errors in falling order, weighted by what each adds to the Jaccard loss of those before it.
    Sorting makes it several times as expensive as a cross-entropy.
    """
    num_classes = logits.shape[-1]
    truth, counted = _one_hot(class_ids, num_classes)
    probabilities = ops.softmax(ops.cast(logits, "float32")) * counted[..., None]
    # [num_classes, pixels]; a void pixel has no error and comes last.
    errors = ops.transpose(ops.reshape(ops.abs(truth - probabilities), (-1, num_classes)))
    truth = ops.transpose(ops.reshape(truth, (-1, num_classes)))
    counted = ops.reshape(counted, (1, -1))
    order = ops.argsort(-ops.stop_gradient(errors) * counted - counted, axis=-1)
    errors = ops.take_along_axis(errors, order, axis=-1)
    truth = ops.take_along_axis(truth, order, axis=-1)
    counted = ops.take_along_axis(ops.broadcast_to(counted, truth.shape), order, axis=-1)
    jaccard = _jaccard_of_first(truth, counted)
    steps = ops.concatenate([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], axis=-1)
    by_class = ops.sum(errors * ops.stop_gradient(steps), axis=-1)
    return _weighted_mean(by_class, ops.cast(ops.sum(truth, axis=-1) > 0, "float32"))


def _jaccard_of_first(truth, counted):
    """1 - IoU where the first n pixels of each row are wrong and all others right, for each n."""
    of_class = ops.sum(truth, axis=-1, keepdims=True)
    intersection = of_class - ops.cumsum(truth, axis=-1)
    union = of_class + ops.cumsum(counted - truth, axis=-1)
    return 1.0 - intersection / ops.maximum(union, 1.0)


def _pixel_losses(class_ids, logits):
    """Cross-entropy of each pixel, 0 where void, and 1.0 where a pixel counts, 0.0 where void."""
    # Spelt out, and with the classes before the pixels, it takes less than half the time of the
    # library's sparse cross-entropy on a CPU: `enlarged` has them so, and the graph's optimizer
    # takes out its transposition with this one.
    logits = ops.transpose(ops.cast(logits, "float32"), (0, 3, 1, 2))
    truth, counted = _one_hot(class_ids, logits.shape[1], axis=1)
    logits = logits - ops.stop_gradient(ops.max(logits, axis=1, keepdims=True))
    of_class = ops.sum(logits * truth, axis=1)
    losses = ops.log(ops.sum(ops.exp(logits), axis=1)) - of_class
    return losses * counted, counted


def _one_hot(class_ids, num_classes: int, axis: int = -1):
    """The classes as float32 `[batch, height, width, num_classes]`, or with these along another
    axis, 0 where void; and 1.0 where a pixel counts, 0.0 where void."""
    class_ids = ops.cast(class_ids, "int32")
    # An id that is no class, as void is, has no 1 in its row.
    truth = ops.one_hot(class_ids, num_classes, axis=axis, dtype="float32")
    return truth, ops.cast(ops.not_equal(class_ids, VOID), "float32")


def _pixel_weights(class_ids, class_weights: Sequence[float]):
    """The weight of each pixel's class; 0 where void."""
    weights = ops.convert_to_tensor([float(weight) for weight in class_weights], "float32")
    class_ids = ops.cast(class_ids, "int32")
    is_void = ops.equal(class_ids, VOID)
    return ops.where(is_void, 0.0, ops.take(weights, ops.where(is_void, 0, class_ids)))


def _weighted_mean(values, weights):
    total = ops.sum(weights)
    return ops.sum(values * weights) / ops.where(total > 0, total, 1.0)
