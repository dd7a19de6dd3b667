"""The network as a device runs it.

The context embedding pools, normalizes, and convolves 1x1 (paper, Figure 4b). The normalization
stands alone, with no convolution before it to be folded into, and a quantized converter leaves
it in float. Folded forward into the 1x1 convolution, nothing is left of it: pooled values p,
normalized as a*p + b, give K(a*p + b) = (aK)p + Kb, and the constant Kb moves into the mean of
the batch normalization behind the convolution. The 1x1 convolution has no padding, so this is
exact up to rounding.
"""

from __future__ import annotations

import keras as keras3
import numpy as np

from keras_bisenet.models import build_model

CONTEXT = "semantic_context"


def deployment_model(source, name: str, input_shape=None, *, keras=keras3, **options):
    """Rebuilds a trained model as it is put on a device.

    It has no boosters, the context embedding is folded, and a bilinear upsampling at the very end
    is left to the runtime, which goes from small logits straight to the image's own size.

    Args:
        source: A trained model made by `build_model(name, ..., **options)`.
        name: str. The model's name in `models.MODELS`.
        input_shape: `(height, width, 3)`; defaults to the source's.
        keras: The Keras that builds it: `keras` (the default) or `tf_keras`.
        **options: The arguments that `source` was built with. A function for `upsampling` may
            add layers that `source` lacks: they keep their initial weights.

    Returns:
        A model from images to the main head's logits, at stride 8 (or 1, where the last
        upsampling is not bilinear), equal to `source`'s up to rounding.
    """
    num_classes = source.get_layer("head_logits").get_weights()[0].shape[-1]
    model = build_model(
        name,
        num_classes,
        input_shape or source.input_shape[1:],
        keras=keras,
        **{**options, "boosters": False, "context_norm": False},
    )
    folded = _folded_context(source)
    trained = {layer.name for layer in source.layers}
    for layer in model.layers:
        is_new = callable(options.get("upsampling")) and layer.name not in trained
        if layer.weights and not is_new:
            values = folded.get(layer.name) or source.get_layer(layer.name).get_weights()
            layer.set_weights(values)
    last = model.get_layer("head_upsample")
    if getattr(last, "interpolation", None) == "bilinear":
        model = keras.Model(model.input, model.get_layer("head_logits").output, name=model.name)
    return model


def _folded_context(source) -> dict[str, list[np.ndarray]]:
    """Weights of the two layers that take over what the pooled batch normalization did."""
    pool_bn = source.get_layer(f"{CONTEXT}_pool_bn")
    gamma, beta, mean, variance = pool_bn.get_weights()
    scale = gamma / np.sqrt(variance + pool_bn.epsilon)
    offset = beta - mean * scale
    (kernel,) = source.get_layer(f"{CONTEXT}_conv").get_weights()  # 1x1xCxC
    bn_gamma, bn_beta, bn_mean, bn_variance = source.get_layer(f"{CONTEXT}_conv_bn").get_weights()
    constant = offset @ kernel[0, 0]
    return {
        f"{CONTEXT}_conv": [kernel * scale[:, None]],
        f"{CONTEXT}_conv_bn": [bn_gamma, bn_beta, bn_mean - constant, bn_variance],
    }
