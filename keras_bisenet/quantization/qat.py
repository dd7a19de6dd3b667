"""The quantization-aware twin of a deployment model.

tensorflow-model-optimization wraps every layer so that it computes with weights and activations
rounded to 8 bits, as the integer kernels will. Where a value is rounded is decided here, layer by
layer, as TFLite's kernels fuse them:

- weights of convolutions: one symmetric scale per output channel;
- a convolution, its batch normalization and its ReLU are one kernel: rounded once, at the end;
  so are an addition and its ReLU;
- resizing and average pooling mix neighbours, and round to their input's scale, since TFLite's
  kernels have one scale for input and output; max pooling chooses, and needs no rounding;
- concatenation has one scale, too: rounded behind it, not before; and where a pooling feeds it,
  what feeds the pooling shares that scale. Otherwise the converter would rescale in between,
  which takes time, and which some NNAPI drivers do not survive;
- a sigmoid's scale is fixed by TFLite: 1/256.

tfmot's own 8-bit scheme finds most of this by pattern matching, but it knows no Multiply, rounds
behind resizing, and its transform for Concatenate may exchange the inputs (seen in 0.8.1 with the
stem's: a silent loss of half the accuracy).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

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

from keras_bisenet.quantization.resizes import AsymmetricUpSampling2D

quantization = tfmot.quantization.keras
layers = tf_keras.layers

SIGMOID_RANGE = (0.0, 255 / 256)
"""What the scale 1/256 and the zero point -128 of TFLite's LOGISTIC can hold."""

OUTLIERS = 1e-5
"""Share of a layer's values that lie beyond either end of its range. Leaving out what is rare makes
the steps smaller; too much of it, and what is left out is missed. What it is worth is in README's
table of ranges, which tools/compare_quantization.py makes."""


def quantization_aware(model):
    """Wraps a deployment model for quantization-aware training.

    Args:
        model: A functional tf_keras model from images in [0, 1] to logits.

    Returns:
        A tf_keras model with the same weights. Its ranges are still unset: `calibrate` them.
    """
    consumers = _consumers(model)

    def annotate(layer):
        if isinstance(layer, layers.InputLayer):
            return layer
        copy = type(layer).from_config(layer.get_config())
        config = LayerConfig(
            weights=isinstance(layer, WEIGHTED), output=_rounding(layer, consumers[layer.name])
        )
        return quantization.quantize_annotate_layer(copy, config)

    annotated = tf_keras.models.clone_model(model, clone_function=annotate)
    for layer, source in zip(annotated.layers, model.layers):
        if source.weights:
            layer.layer.set_weights(source.get_weights())
    with quantization.quantize_scope({"LayerConfig": LayerConfig}):
        quantized = quantization.quantize_apply(annotated, scheme=Scheme())
    _fix_input_range(quantized)
    return quantized


WEIGHTED = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose)
# TFLite's kernels for these have one scale for input and output.
MIXING = (layers.AveragePooling2D, layers.UpSampling2D, AsymmetricUpSampling2D)
CHOOSING = (layers.MaxPooling2D,)


def _rounding(layer, consumers) -> str:
    """How a layer's output is rounded: "range" for a range of its own, "sigmoid", or "none"."""
    if isinstance(layer, layers.Activation):
        return "sigmoid"
    if isinstance(layer, CHOOSING):
        return "none"
    fused = (layers.ReLU, layers.Concatenate)
    if isinstance(layer, WEIGHTED):
        fused = (*fused, layers.BatchNormalization)
    return "none" if consumers and all(isinstance(c, fused) for c in consumers) else "range"


def _shared_ranges(model) -> list[set[str]]:
    """Groups of layers that must have one range.

    A layer that mixes neighbours (resizing, average pooling) rounds to its input's scale. A
    concatenation has one scale with what feeds the poolings before it.
    """
    groups = []
    for layer in model.layers:
        if isinstance(layer, MIXING):
            groups.append({layer.name, _source_behind_poolings(layer).name})
        elif isinstance(layer, layers.Concatenate):
            kept = [s for s in _sources(layer) if isinstance(s, (*MIXING, *CHOOSING))]
            groups.append({layer.name, *(_source_behind_poolings(s).name for s in kept)})
    return groups


def _source_behind_poolings(layer):
    """The nearest layer before this one that does not keep its input's scale."""
    (source,) = _sources(layer)
    return _source_behind_poolings(source) if isinstance(source, (*MIXING, *CHOOSING)) else source


def _sources(layer) -> list:
    """The layers whose outputs a layer takes."""
    return [s for node in layer.inbound_nodes for s in tf.nest.flatten(node.inbound_layers)]


def _consumers(model) -> dict[str, list]:
    """The layers that take each layer's output, by its name."""
    consumers = defaultdict(list)
    for layer in model.layers:
        for source in _sources(layer):
            consumers[source.name].append(layer)
    return consumers


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
    consumers = _consumers(model)
    for layer in model.layers:
        if not isinstance(layer, layers.DepthwiseConv2D):
            continue
        (*others, norm) = consumers[layer.name]
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
        output: `"range"`, `"sigmoid"` or `"none"`.
    """

    def __init__(self, weights: bool, output: str):
        self.weights = weights
        self.output = output

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
        if self.output == "range":
            return [
                CalibratedQuantizer(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
            ]
        if self.output == "sigmoid":
            return [SigmoidQuantizer()]
        return []

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


class SigmoidQuantizer(quantization.quantizers.Quantizer):
    """Rounds to the scale that TFLite fixes for LOGISTIC."""

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        return tf.quantization.fake_quant_with_min_max_args(inputs, *SIGMOID_RANGE)

    def get_config(self):
        return {}


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
    wrappers = {layer.layer.name: layer for layer in quantized.layers if hasattr(layer, "layer")}
    observed = {
        name: layer for name, layer in wrappers.items() if layer.quantize_config.output == "range"
    }
    probe = tf_keras.Model(model.input, [model.get_layer(name).output for name in observed])

    @tf.function
    def extremes(image):
        outputs = tf.nest.flatten(probe(image, training=False))
        lows = [-_high_end(-x, outliers) for x in outputs]
        return tf.stack(lows), tf.stack([_high_end(x, outliers) for x in outputs])

    lows, highs = (
        dict(zip(observed, np.mean(values, axis=0)))
        for values in zip(*(extremes(image) for image in images))
    )
    for group in _shared_ranges(model):
        group &= observed.keys()  # a resizing before a concatenation is rounded behind that
        lows.update(dict.fromkeys(group, min(lows[name] for name in group)))
        highs.update(dict.fromkeys(group, max(highs[name] for name in group)))
    for name, wrapper in observed.items():
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
