"""The bilinear resizes of the Edge TPU.

Other targets take the network as it was trained. The Edge TPU takes a bilinear resize only in
TensorFlow 1's form (RESIZE_BILINEAR up to version 2, half_pixel_centers=False), whose samples
start at a pixel's corner: an enlargement by f moves the picture by (f - 1) / 2 of its new pixels
to the top left. For the x4 of BiSeNet V2's aggregation that is 12 pixels of the image. A depthwise
convolution before the resize moves it back, by linear interpolation between neighbours, and is
fine-tuned with all other weights.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras

from keras_bisenet.quantization.graph import rewritten
from keras_bisenet.targets.coral_sizes import LARGEST_BILINEAR_RESIZE


@tf_keras.utils.register_keras_serializable("keras_bisenet")
class AsymmetricUpSampling2D(tf_keras.layers.Layer):
    """Bilinear enlargement that samples from each pixel's corner: half_pixel_centers=False.

    Where its output is larger than any that is known to map to the Edge TPU, it is made in parts,
    each of some of the channels. That changes no value, in float or in 8 bits.

    Args:
        size: int. The factor.
    """

    interpolation = "bilinear"

    def __init__(self, size: int, **options):
        super().__init__(**options)
        self.size = size

    def call(self, x):
        if None in x.shape[1:3]:
            return self._resized(x, self.size * tf.shape(x)[1:3])
        height, width = self._enlarged(x.shape)
        channels = x.shape[3]
        parts = min(-(-height * width * channels // LARGEST_BILINEAR_RESIZE), channels)
        if parts == 1:
            return self._resized(x, (height, width))
        # Slices, which are known to map with as many channels, and not tf.split, which is not.
        bounds = [i * channels // parts for i in range(parts + 1)]
        slices = [x[..., first:end] for first, end in zip(bounds, bounds[1:])]
        return tf.concat([self._resized(part, (height, width)) for part in slices], axis=-1)

    def _resized(self, x, size):
        return tf.raw_ops.ResizeBilinear(images=x, size=size, half_pixel_centers=False)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self._enlarged(input_shape), input_shape[3])

    def get_config(self):
        return {**super().get_config(), "size": self.size}

    def _enlarged(self, shape) -> tuple:
        return tuple(side and side * self.size for side in shape[1:3])


def asymmetric_resizes(model):
    """A copy of a deployment model whose bilinear resizes the Edge TPU takes.

    Args:
        model: A flat functional tf_keras model.

    Returns:
        A model that answers alike, but for the edges of the picture. An enlargement `x` in it comes
        behind the move `x_move`.
    """

    def replacement(layer):
        if not isinstance(layer, tf_keras.layers.UpSampling2D) or layer.interpolation != "bilinear":
            return None
        (factor,) = set(layer.size)
        return _moved_and_enlarged(factor, layer.name)

    return rewritten(model, replacement)


def _moved_and_enlarged(factor: int, name: str):
    """A function from a tensor to its enlargement, in place although asymmetric."""
    move = tf_keras.layers.DepthwiseConv2D(
        3,
        padding="same",
        use_bias=False,
        depthwise_initializer=Move((factor - 1) / 2 / factor),
        name=f"{name}_move",
    )
    enlarge = AsymmetricUpSampling2D(factor, name=name)
    return lambda x: enlarge(move(x))


@tf_keras.utils.register_keras_serializable("keras_bisenet")
class Move(tf_keras.initializers.Initializer):
    """A 3x3 kernel that moves a picture to the bottom right, by linear interpolation.

    Args:
        distance: float. How far, from 0 to 1 pixel.
    """

    def __init__(self, distance: float):
        self.distance = distance

    def __call__(self, shape, dtype=None, **options):
        line = np.array([self.distance, 1 - self.distance, 0.0])  # the pixel before has a share
        kernel = np.outer(line, line)[:, :, None, None]
        return tf.constant(np.broadcast_to(kernel, shape), dtype or tf.float32)

    def get_config(self):
        return {"distance": self.distance}
