"""What the graphs of all families are drawn with."""

from __future__ import annotations

# PyTorch's momentum of the statistics, 0.1, would be 0.9 in Keras' terms. A slower average is
# kinder to the small batches that fit a workstation, and to pooled 1x1 maps, which see a single
# value per image.
BATCH_NORM_MOMENTUM = 0.97

# He's initialization for 3x3 depthwise kernels: each output sees 9 inputs. Keras' "he_normal" takes
# all channels for its fan-in, and would start these layers far too small.
DEPTHWISE_STDDEV = (2 / 9) ** 0.5

UPSAMPLINGS = ("bilinear", "nearest", "transposed")
PADDINGS = ("same", "symmetric")
POOL_PADDINGS = (*PADDINGS, "uncounted")


class Blocks:
    """Layers in the namespace of one Keras. Their names come from the caller.

    Args:
        keras: `keras` or `tf_keras`.
        upsampling: How `upsample` enlarges, one of `UPSAMPLINGS`; transposed convolutions are
            learned, and their kernel is their stride.
        padding: `"same"`, which for stride 2 on an even side pads at the bottom and right alone, as
            TensorFlow does; or `"symmetric"`, on all four sides, as PyTorch does: another picture,
            half a step away.
        pool_padding: How pooling pads, None for as convolutions do. `"uncounted"`, PaddlePaddle's,
            is on all four sides, with averages over what lies inside the picture.
    """

    def __init__(
        self, keras, upsampling: str = "bilinear", padding: str = "same", pool_padding=None
    ):
        self.keras = keras
        self.layers = keras.layers
        self.upsampling = upsampling
        self.padding = padding
        self.pool_padding = pool_padding or padding
        # Keras 3 has the plain formula alone; tf_keras' fused kernel rounds differently.
        is_keras2 = keras.__version__.startswith("2")
        self.batch_norm_options = {"fused": False} if is_keras2 else {}

    # --- one layer ---

    def conv(self, x, channels, name, kernel=3, stride=1, use_bias=False):
        x, padding = self._padded(x, kernel, stride, name)
        return self.layers.Conv2D(
            channels,
            kernel,
            strides=stride,
            padding=padding,
            use_bias=use_bias,
            kernel_initializer="he_normal",
            name=name,
        )(x)

    def depthwise(self, x, name, kernel=3, multiplier=1, stride=1):
        x, padding = self._padded(x, kernel, stride, name)
        return self.layers.DepthwiseConv2D(
            kernel,
            strides=stride,
            padding=padding,
            depth_multiplier=multiplier,
            use_bias=False,
            depthwise_initializer=self.keras.initializers.RandomNormal(stddev=DEPTHWISE_STDDEV),
            name=name,
        )(x)

    def batch_norm(self, x, name):
        return self.layers.BatchNormalization(
            momentum=BATCH_NORM_MOMENTUM, name=name, **self.batch_norm_options
        )(x)

    def relu(self, x, name):
        return self.layers.ReLU(name=name)(x)

    def sigmoid(self, x, name):
        return self.layers.Activation("sigmoid", name=name)(x)

    def max_pool(self, x, name, size=3, stride=2):
        """Of values that are not negative: padding with zeros changes no maximum."""
        x, padding = self._padded(x, size, stride, name, self.pool_padding)
        return self.layers.MaxPooling2D(size, strides=stride, padding=padding, name=name)(x)

    def average_pool(self, x, name, size=3, stride=2):
        if self.pool_padding == "uncounted":
            # At stride 1 "same" pads all sides, uncounted: of its averages every other is wanted.
            x = self.layers.AveragePooling2D(size, strides=1, padding="same", name=f"{name}_all")(x)
            size = 1
        x, padding = self._padded(x, size, stride, name, self.pool_padding)
        return self.layers.AveragePooling2D(size, strides=stride, padding=padding, name=name)(x)

    def global_average(self, x, name):
        """HxWxC -> 1x1xC."""
        return self.layers.GlobalAveragePooling2D(keepdims=True, name=name)(x)

    def upsample(self, x, factor, name, upsampling=None):
        upsampling = upsampling or self.upsampling
        if upsampling == "transposed":
            return self.layers.Conv2DTranspose(
                x.shape[-1], factor, strides=factor, padding="same", use_bias=False, name=name
            )(x)
        return self.layers.UpSampling2D(factor, interpolation=upsampling, name=name)(x)

    def _padded(self, x, kernel, stride, name, padding=None):
        """What a layer of this kernel takes, and its own padding."""
        if (padding or self.padding) == "same" or stride == 1 or kernel == 1:
            return x, "same"
        return self.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x), "valid"

    # --- and what goes with it ---

    def conv_bn(self, x, channels, name, kernel=3, stride=1):
        return self.batch_norm(self.conv(x, channels, name, kernel, stride), f"{name}_bn")

    def conv_bn_relu(self, x, channels, name, kernel=3, stride=1):
        return self.relu(self.conv_bn(x, channels, name, kernel, stride), f"{name}_relu")

    def depthwise_bn(self, x, name, multiplier=1, stride=1):
        x = self.depthwise(x, name, multiplier=multiplier, stride=stride)
        return self.batch_norm(x, f"{name}_bn")


def scaled(channels: float) -> int:
    """A number of channels after scaling: whole, and at least one."""
    return max(1, round(channels))


def keras_or_default(keras):
    """The Keras to build with: the one that is given, or Keras 3."""
    if keras is None:
        import keras
    return keras
