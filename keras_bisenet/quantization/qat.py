"""The quantization-aware twin of a deployment model.

tensorflow-model-optimization wraps every layer so that it computes with weights and activations
rounded to 8 bits, as the integer kernels will. Where a value is rounded is not left to it, but
decided in `quantization.rounding`: tfmot's own 8-bit scheme finds most of it by pattern matching,
but it knows no Multiply, rounds behind resizing, and its transform for Concatenate may exchange the
inputs (seen in 0.8.1 with the stem's: a silent loss of half the accuracy).
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator

# tfmot must find Keras 3 imported, or it takes its place in TensorFlow for the whole process.
import keras  # noqa: F401, I001
import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import (
    quantize_layout_transform,
    quantize_scheme,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_registry as registry,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantizers,
    default_8bit_transforms,
)
from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import (
    model_transformer,
)

from keras_bisenet.quantization.graph import consumers
from keras_bisenet.quantization.rounding import NONE, WEIGHTED, roundings

quantization = tfmot.quantization.keras
layers = tf_keras.layers


@tf.autograph.experimental.do_not_convert  # its layers hold no Python that depends on tensors
def quantization_aware(model):
    """Wraps a deployment model for quantization-aware training.

    Args:
        model: A functional tf_keras model from images in [0, 1] to logits.

    Returns:
        A tf_keras model with the same weights. Its ranges are still unset: `calibrate` them.

    Raises:
        UserError: When it has a layer of which nobody knows how it is rounded.
    """
    rounded = roundings(model)

    def annotate(layer):
        if isinstance(layer, layers.InputLayer):
            return layer
        copy = type(layer).from_config(_with_seed(layer.get_config()))
        has_weights = type(layer).__name__ in WEIGHTED
        config = LayerConfig(weights=has_weights, output=rounded[layer.name])
        return quantization.quantize_annotate_layer(copy, config)

    annotated = tf_keras.models.clone_model(model, clone_function=annotate)
    for layer, source in zip(annotated.layers, model.layers):
        if source.weights:
            layer.layer.set_weights(source.get_weights())
    with quantization.quantize_scope({"LayerConfig": LayerConfig}):
        quantized = quantization.quantize_apply(annotated, scheme=Scheme())
    _fix_input_range(quantized)
    return quantized


def _with_seed(config: dict) -> dict:
    """A layer's configuration; if it draws random numbers, with a seed from Python's generator, as
    in Keras 3. tf_keras would need TensorFlow's global seed set, which cannot be put back."""
    is_unseeded = "seed" in config and config["seed"] is None
    return {**config, "seed": random.randrange(2**31)} if is_unseeded else config


def observed(quantized) -> dict[str, object]:
    """The wrapped layers whose output is rounded to a range that calibration finds, by the name of
    the layer inside."""
    return {
        layer.layer.name: layer
        for layer in quantized.layers
        if hasattr(layer, "layer") and layer.quantize_config.is_observed
    }


def equalize_depthwise(model) -> None:
    """Gives the channels of every depthwise kernel one peak, and takes it back behind them.

    tfmot has one range for all channels of a depthwise kernel, and small channels get few of its
    256 steps. The batch normalization that follows undoes any factor on a channel: with it, the
    channels share the range fully, as if each had its own (Nagel et al., arXiv:1906.04721, scale
    across layers in this way). The converter folds the normalization, and with it the factors,
    into one scale per channel.

    Args:
        model: A functional tf_keras model. Its answers stay as they are, up to rounding.
    """
    takers = consumers(model)
    for layer in model.layers:
        if not isinstance(layer, layers.DepthwiseConv2D):
            continue
        (*others, norm) = takers[layer.name]
        if others or not isinstance(norm, layers.BatchNormalization):
            continue
        kernel, *bias = layer.get_weights()  # [height, width, channels, multiplier]
        gamma, beta, mean, variance = norm.get_weights()
        peaks = np.abs(kernel).max(axis=(0, 1))
        # tfmot's range spans the channels that have the same place in the multiplier.
        highest = peaks.max(axis=0, keepdims=True)
        floor = np.maximum(peaks, 1e-6 * highest)
        factors = np.divide(highest, floor, out=np.ones_like(peaks), where=peaks > 0)
        flat = factors.reshape(-1)
        layer.set_weights([kernel * factors, *(b * flat for b in bias)])
        scaled = variance * flat**2
        gamma = gamma * np.sqrt((scaled + norm.epsilon) / (variance + norm.epsilon)) / flat
        norm.set_weights([gamma, beta, mean * flat, scaled])


class LayerConfig(quantization.QuantizeConfig):
    """Whether a layer's weights are rounded, and how its output is.

    Args:
        weights: bool.
        output: A rounding, as `rounding.roundings` has them.
    """

    def __init__(self, weights: bool, output):
        self.weights = weights
        self.output = output if isinstance(output, str) else tuple(output)

    @property
    def is_observed(self) -> bool:
        """Whether the output has a range that calibration finds."""
        return isinstance(self.output, str) and self.output != NONE

    def get_weights_and_quantizers(self, layer):
        if not self.weights:
            return []
        if isinstance(layer, layers.Conv2DTranspose):
            return [
                (layer.kernel, default_8bit_quantizers.Default8BitConvTransposeWeightsQuantizer())
            ]
        return [
            (
                getattr(layer, _kernel(layer)),
                default_8bit_quantizers.Default8BitConvWeightsQuantizer(),
            )
        ]

    def set_quantize_weights(self, layer, quantize_weights):
        if self.weights:
            setattr(layer, _kernel(layer), quantize_weights[0])

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        if self.output == NONE:
            return []
        if not self.is_observed:
            return [FixedQuantizer(*self.output)]
        return [
            CalibratedQuantizer(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        ]

    def get_config(self):
        return {"weights": self.weights, "output": self.output}


def _kernel(layer) -> str:
    return "depthwise_kernel" if isinstance(layer, layers.DepthwiseConv2D) else "kernel"


class CalibratedQuantizer(quantization.quantizers.MovingAverageQuantizer):
    """Rounds to the range that calibration found, in training too.

    tfmot's ranges follow the extremes of each batch, which a single pixel can set. A range that
    stays lets layers share one, and leaves out what is rare.
    """

    def __call__(self, inputs, training, weights, **kwargs):
        return super().__call__(inputs, training=False, weights=weights, **kwargs)


class FixedQuantizer(quantization.quantizers.Quantizer):
    """Rounds to a range that TFLite fixes, such as LOGISTIC's."""

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)

    def get_config(self):
        return {"low": self.low, "high": self.high}


class Scheme(quantize_scheme.QuantizeScheme):
    """Rounds the input, and leaves every layer as it was annotated."""

    def get_layout_transformer(self):
        return InputQuantization()

    def get_quantize_registry(self):
        return registry.Default8BitQuantizeRegistry()


class InputQuantization(quantize_layout_transform.QuantizeLayoutTransform):
    """Puts a rounding behind the input and changes nothing else."""

    def apply(self, model, layer_quantize_map):
        return model_transformer.ModelTransformer(
            model,
            [default_8bit_transforms.InputLayerQuantize()],
            set(layer_quantize_map),
            layer_quantize_map,
        ).transform()


LARGE_KERNEL = 2**25
"""Weights of a convolution that the converter still folds with their rounding, and to spare: it
does 17 million, and fails at the 103 million of FCN's first fully connected layer (2.21)."""


@contextlib.contextmanager
def large_kernels_unrounded(quantized) -> Iterator[None]:
    """For the converter: convolutions whose kernels are too large for it come without rounding.

    It rounds them itself then, to the same steps.
    """
    large = [
        layer
        for layer in quantized.layers
        if type(getattr(layer, "layer", None)) is layers.Conv2D
        and math.prod(layer.layer.kernel.shape) > LARGE_KERNEL
    ]
    roundings_of = [layer._weight_vars for layer in large]
    for layer in large:
        layer._weight_vars = [(weight, _unrounded, ends) for weight, _, ends in layer._weight_vars]
    try:
        yield
    finally:
        for layer, weights in zip(large, roundings_of):
            layer._weight_vars = weights


def _unrounded(inputs, training, weights, **kwargs):
    """A quantizer that does nothing."""
    return inputs


def fit_weight_ranges(quantized) -> None:
    """Sets the ranges of the weights to what the weights are now.

    tfmot sets them in training steps alone, and before each step's update.
    """
    for layer in quantized.layers:
        for weight, quantizer, ranges in getattr(layer, "_weight_vars", ()):
            quantizer(weight, training=True, weights=ranges)


def freeze_batch_norm(quantized) -> None:
    """Keeps the statistics of every batch normalization, and normalizes by them in training too.

    So training sees what the converter folds into the convolutions (as Krishnamoorthi advises for
    late in training, arXiv:1806.08342). Scales and offsets learn on. Takes effect when the model
    is compiled next.
    """
    for layer in quantized.layers:
        if isinstance(getattr(layer, "layer", None), layers.BatchNormalization):
            layer.layer.trainable = False


def _fix_input_range(quantized) -> None:
    """Makes the int8 input `pixel - 128` exactly: images in [0, 1] have scale 1/255, zero -128.

    tfmot's input range only ever grows, and no image leaves [0, 1]: it stays as set here.
    """
    (layer,) = (x for x in quantized.layers if x.name.startswith("quantize_layer"))
    for variable, value in zip(layer.weights, (0.0, 1.0)):
        variable.assign(value)
