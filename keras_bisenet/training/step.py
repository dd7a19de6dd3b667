"""The training step, made fast: the graph that learns, beside the plain graph that is saved.

A model is a plain float32 graph whose heads enlarge their logits to the image's size. A CPU learns
the same from less, about twice as fast:

- the logits of the main head are compared with the labels at `loss_stride`, and those of the
  boosters at their own stride: a class score for every pixel of the image costs more than the
  convolutions before it, and bilinear interpolation adds nothing to what it interpolates;
- convolutions compute in bfloat16 where the precision says so, from float32 weights;
- on TensorFlow, batch normalization is the fused kernel. Keras 3 has the plain formula alone, whose
  five passes over memory take longer than the convolution before it;
- on a CPU, a depthwise convolution of several outputs for each channel is one of repeated channels,
  which oneDNN has a fast kernel for;
- in float32 on a CPU, the kernels' gradients of large feature maps are summed over parts that stay
  in its caches: over bands of rows or, where it has no AVX512, as products of matrices, image by
  image.

`training_model` rewrites the plain graph to that end. Layers keep their names, and weights move
between the two graphs by them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
from keras import ops

from keras_bisenet.models.deployment import copy_weights
from keras_bisenet.training.devices import AVX2, cpu_instructions

SPATIAL = 4
"""Dimensions of a batch of feature maps."""

BANDS, BANDED_VALUES = 8, 1 << 20
"""Bands that a feature map is cut into for its kernel's gradient, and the values of one image's
from which on it is: 128x128 of 64 channels."""

MULTIPLIED_VALUES = 1 << 17
"""The values of one image's feature map from which on a product of matrices is faster where there
is AVX2 alone: 32x32 of 128 channels."""

MANY_CHANNELS = 16
"""Channels below which oneDNN's kernel is as fast on all at once."""


VECTOR_CHANNELS = 16
"""oneDNN normalizes bfloat16 in multiples of so many channels, others eight times as slowly."""


class TrainingModel(keras.Model):
    """A functional model that learns by one function of labels and outputs.

    Keras' own `compile(loss=[...])` wants labels for every output; here all share them.

    Attributes:
        strides: A pixel of each output stands for so many of the image, in height and in width.
        label_strides: Each output meets one label of so many, in height and in width.
        objective: From labels, as the pipeline gives them, and the outputs to a scalar.
    """

    strides: tuple[int, ...]
    label_strides: tuple[int, ...]
    objective: Callable

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.objective(y, y_pred if isinstance(y_pred, (list, tuple)) else [y_pred])


def training_model(
    plain, precision: str = "float32", loss_stride: int = 1, full_boosters: bool = False
) -> TrainingModel:
    """Rewrites a model for training.

    Args:
        plain: A float32 model of Keras 3 with one output, or one and boosters'. An output that
            ends in an upsampling layer without weights is cut before it; another is left alone.
        precision: Name of the dtype policy in which layers compute.
        loss_stride: int. The first output meets one label of so many, in height and in width.
        full_boosters: bool. Whether the others meet all labels, as in `plain`, rather than one for
            each of their pixels.

    Returns:
        A model with `plain`'s weights, and its layers' names.
    """
    copy = keras.models.clone_model(plain, clone_function=_layer_of(precision))
    heads = [_without_upsampling(copy.get_layer(name)) for name in plain.output_names]
    model = TrainingModel(copy.inputs[0], [output for output, _ in heads], name=plain.name)
    model.strides = tuple(stride for _, stride in heads)
    boosters = [1 if full_boosters else stride for stride in model.strides[1:]]
    model.label_strides = (_met(model.strides[0], loss_stride), *boosters)
    copy_weights(plain, model)
    return model


def _layer_of(precision: str) -> Callable:
    """A function that makes a layer's like, which computes in `precision`."""

    def clone(layer):
        kind, config = type(layer), layer.get_config()
        if kind is keras.layers.InputLayer:
            return kind.from_config(config)
        if kind is keras.layers.BatchNormalization and _has_fused_kernel(layer):
            kind = FusedBatchNormalization
        if kind is keras.layers.Conv2D and precision == "float32" and _has_parts(layer):
            kind = ConvolutionInParts
        if kind is keras.layers.DepthwiseConv2D and _is_plain_expansion(layer):
            kind = DepthwiseOfRepeated
        return kind.from_config({**config, "dtype": precision})

    return clone


def _without_upsampling(last):
    """The output that `last` ends, before it is enlarged by interpolation, and its stride."""
    is_interpolation = (
        isinstance(last, keras.layers.UpSampling2D)
        and last.interpolation == "bilinear"
        and last.size[0] == last.size[1]
    )
    return (last.input, last.size[0]) if is_interpolation else (last.output, 1)


def _met(stride: int, wanted: int) -> int:
    """The stride at which an output meets the labels, where `wanted` is asked of it."""
    return min(stride, wanted) if stride % wanted == 0 or wanted > stride else 1


def _is_on_cpu() -> bool:
    """Whether layers are computed by TensorFlow on a CPU."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def _has_fused_kernel(layer) -> bool:
    return (
        keras.backend.backend() == "tensorflow"
        and len(layer.input.shape) == SPATIAL
        and layer.axis in (-1, SPATIAL - 1)
        and layer.scale
        and layer.center
    )


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization of feature maps by TensorFlow's fused kernel, while it trains.

    The same weights, and the same numbers up to rounding: the kernel's unbiased variance is brought
    back to that of the batch, as Keras 3 averages it.
    """

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        is_slow = inputs.dtype == "bfloat16" and inputs.shape[-1] % VECTOR_CHANNELS
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=ops.cast(inputs, "float32") if is_slow else inputs,
            scale=ops.cast(self.gamma, "float32"),
            offset=ops.cast(self.beta, "float32"),
            mean=tf.zeros([0]),  # of the batch, not given
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            exponential_avg_factor=1.0,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
        variance = variance * tf.maximum(count - 1.0, 1.0) / count
        for average, of_batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + of_batch * (1.0 - self.momentum))
        return ops.cast(normalized, inputs.dtype)


def _is_plain_expansion(layer) -> bool:
    return (
        _is_on_cpu()
        and cpu_instructions() is not None  # on others nobody has measured it
        and layer.data_format == "channels_last"
        and layer.depth_multiplier > 1
        and layer.strides == (1, 1)  # at others repeating takes longer than it saves
        and layer.dilation_rate == (1, 1)
        and not layer.use_bias
        and layer.activation is keras.activations.linear
    )


class DepthwiseOfRepeated(keras.layers.DepthwiseConv2D):
    """A depthwise convolution of several outputs for each channel, as one of repeated channels.

    oneDNN has fast kernels for one output alone. The same weights, and the same numbers up to
    rounding.
    """

    def call(self, inputs):
        repeated = ops.repeat(inputs, self.depth_multiplier, axis=-1)
        kernel = ops.reshape(self.kernel, (*self.kernel_size, -1, 1))
        return ops.depthwise_conv(repeated, kernel, self.strides, self.padding)


def _has_parts(layer) -> bool:
    return (
        _is_on_cpu()
        and layer.data_format == "channels_last"
        and layer.padding == "same"
        and layer.groups == 1
        and layer.dilation_rate == (1, 1)
        and max(layer.kernel_size) > 1
        and layer.input.shape[-1] >= MANY_CHANNELS
    )


class ConvolutionInParts(keras.layers.Conv2D):
    """A convolution whose kernel's gradient is summed over parts of its large feature maps.

    oneDNN's own falls to a third of its speed on them where a CPU has AVX2 alone. The same weights,
    and the same numbers up to the order of a sum.
    """

    def convolution_op(self, inputs, kernel):
        kernel_gradient = self._kernel_gradient_of(inputs.shape)
        if kernel_gradient is None:
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        paddings = [
            _same_padding(side, size, step)
            for side, size, step in zip(inputs.shape[1:3], self.kernel_size, self.strides)
        ]
        strides = [1, *self.strides, 1]

        @tf.custom_gradient
        def convolve(inputs, kernel):
            def gradients(upstream):
                of_inputs = tf.raw_ops.Conv2DBackpropInput(
                    input_sizes=tf.shape(inputs),
                    filter=kernel,
                    out_backprop=upstream,
                    strides=strides,
                    padding="SAME",
                )
                padded = tf.pad(inputs, [(0, 0), *paddings, (0, 0)])
                return of_inputs, kernel_gradient(padded, upstream, kernel.shape, strides)

            return tf.nn.conv2d(inputs, kernel, strides, "SAME"), gradients

        return convolve(inputs, tf.convert_to_tensor(kernel))

    def _kernel_gradient_of(self, shape) -> Callable | None:
        """How a kernel's gradient is summed for inputs of a shape; None, all at once."""
        if None in shape[1:]:
            return None
        values = math.prod(shape[1:])
        can_be_multiplied = shape[0] is not None and self.strides == (1, 1)
        if can_be_multiplied and values >= MULTIPLIED_VALUES and cpu_instructions() == AVX2:
            return _gradient_of_images
        return _gradient_of_bands if values >= BANDED_VALUES else None


def _same_padding(side: int, size: int, step: int) -> tuple[int, int]:
    """What "same" puts before and behind a side, as TensorFlow shares it out."""
    total = max((-(-side // step) - 1) * step + size - side, 0)
    return total // 2, total - total // 2


def _gradient_of_bands(padded, upstream, shape, strides):
    """A kernel's gradient, summed over bands of rows."""
    import tensorflow as tf

    rows, parts = upstream.shape[1], []
    band = -(-rows // BANDS)
    for first in range(0, rows, band):
        end = min(first + band, rows)
        parts.append(
            tf.raw_ops.Conv2DBackpropFilter(
                input=padded[:, first * strides[1] : (end - 1) * strides[1] + shape[0]],
                filter_sizes=list(shape),
                out_backprop=upstream[:, first:end],
                strides=strides,
                padding="VALID",  # oneDNN knows no padding of each side for itself here
            )
        )
    return tf.add_n(parts)


def _gradient_of_images(padded, upstream, shape, strides):
    """A kernel's gradient at stride 1 (at others TensorFlow slices slowly), summed over images.

    For each row of the kernel it is what the row's places see of the image, a matrix `[pixels,
    kernel_width * channels]`, transposed, times the upstream gradient, `[pixels, filters]`.
    """
    import tensorflow as tf

    kernel_height, kernel_width, channels, filters = shape
    height, width = upstream.shape[1:3]
    parts = []
    for image, gradient in zip(tf.unstack(padded), tf.unstack(upstream)):
        seen = tf.concat([image[:, x : x + width] for x in range(kernel_width)], axis=-1)
        gradient = tf.reshape(gradient, [-1, filters])
        rows = [
            tf.reshape(seen[y : y + height], [-1, kernel_width * channels])
            for y in range(kernel_height)
        ]
        parts.append(tf.stack([tf.matmul(row, gradient, transpose_a=True) for row in rows]))
    return tf.reshape(tf.add_n(parts), shape)
