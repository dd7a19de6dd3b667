"""The ranges of activations: what a float model shows on images, the representative data set.

An observer in other tools follows the extremes of batches, which a single pixel can set. Here a
range spans all values but a share of outliers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
import tf_keras

from keras_bisenet.data.dataset import Dataset
from keras_bisenet.imaging.letterbox import Fit
from keras_bisenet.quantization.qat import fit_weight_ranges, observed
from keras_bisenet.quantization.rounding import shared_ranges
from keras_bisenet.training.config import TrainingConfig

OUTLIERS = 1e-5
"""Share of a layer's values that lie beyond either end of its range. Leaving out what is rare makes
the steps smaller; too much of it, and what is left out is missed. What it is worth is in
docs/quantization.md's table of ranges, which tools/compare_quantization.py makes."""


def calibrate(quantized, model, images: Iterable[np.ndarray], outliers: float = OUTLIERS) -> None:
    """Sets the ranges of a quantization-aware model to what its float model shows on images.

    A range spans the mean, over the images, of the values that all but a share of `outliers` lie
    between. Fine-tuning then adapts the weights to it.

    Args:
        quantized: What `quantization_aware(model)` returned.
        model: The float model.
        images: float32 images in [0, 1], `[1, height, width, 3]`.
        outliers: Share of a layer's values that may lie above its range, and below.
    """
    wrappers = observed(quantized)
    probe = tf_keras.Model(model.input, [model.get_layer(name).output for name in wrappers])

    @tf.function
    def extremes(image):
        outputs = tf.nest.flatten(probe(image, training=False))
        lows = [-_high_end(-x, outliers) for x in outputs]
        return tf.stack(lows), tf.stack([_high_end(x, outliers) for x in outputs])

    lows, highs = (
        dict(zip(wrappers, np.mean(values, axis=0)))
        for values in zip(*(extremes(image) for image in images))
    )
    for group in shared_ranges(model):
        group &= wrappers.keys()  # a resizing before a concatenation is rounded behind that
        lows.update(dict.fromkeys(group, min(lows[name] for name in group)))
        highs.update(dict.fromkeys(group, max(highs[name] for name in group)))
    for name, wrapper in wrappers.items():
        set_range(wrapper, lows[name], highs[name])
    fit_weight_ranges(quantized)


def _high_end(x, outliers: float):
    """The value that a share `outliers` of a tensor exceeds."""
    values = tf.reshape(x, (-1,))
    above = tf.cast(tf.cast(tf.size(values), tf.float32) * outliers, tf.int32)
    return tf.math.top_k(values, above + 1).values[-1]


def set_range(wrapper, low: float, high: float) -> None:
    """Sets what a wrapped layer's output is rounded to, of those whose output has a range."""
    ends = {v.name.rsplit("_", 1)[-1].split(":")[0]: v for v in wrapper.weights}
    # Zero must be a value of the int8 tensor.
    low, high = min(low, 0.0), max(high, 0.0)
    ends["min"].assign(low)
    # Where a layer is silent any range will do, but XNNPACK refuses the tiny one of TensorFlow.
    ends["max"].assign(high if high > low else 1.0)


def calibration_images(
    dataset: Dataset, training: TrainingConfig, count: int, progress=None
) -> Iterator[np.ndarray]:
    """Training images spread over the split, as the network sees them on a device.

    Yields:
        uint8 `[height, width, 3]` at the training size.
    """
    samples = dataset.split("train")
    for i in np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int):
        image, _ = dataset.read(samples[i])
        if progress:
            progress(1)
        yield Fit.of(image.shape[:2], training.size).place(image)
