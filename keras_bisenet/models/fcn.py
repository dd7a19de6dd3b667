"""Fully convolutional networks, FCN-32s, 16s and 8s.

Long et al., "Fully Convolutional Networks for Semantic Segmentation", arXiv:1411.4038: Figure 3
(the skips) and Section 4. Shapes in comments are height x width x channels for a 512x1024 image
at alpha 1.

    image ── VGG16 ── pool3 ────── pool4 ────── pool5 ── fc6, fc7 ── score
                        │            │                                 │ x2
                        │            └── score ────────────────────── sum
                        │                                              │ x2
                        └── score ─────────────────────────────────── sum ── x8 ── logits (8s)

The fully connected ends of VGG16 are convolutions, of 7x7 and 1x1. Where the paper pads the image
by 100 pixels and crops the answer, every layer here pads for itself. Scores are enlarged by
transposed convolutions that begin as bilinear interpolation, and the last enlargement stays that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_bisenet.models.blocks import UPSAMPLINGS, Blocks, keras_or_default, scaled
from keras_bisenet.models.family import Family, check_choice, check_positive, check_size


@dataclass(frozen=True)
class Backbone:
    """Five stages, each halved by a pooling, and what fully connected layers have become.

    Attributes:
        widths: Channels of each stage.
        depths: Convolutions of each stage.
        fc_width: Channels of the two convolutions at the end.
        fc_kernel: Size of the first one's kernel.
        norm: Whether convolutions have a batch normalization, in place of their bias and of
            dropout at the end.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    fc_width: int
    fc_kernel: int
    norm: bool


BACKBONES = {
    "vgg16": Backbone((64, 128, 256, 512, 512), (2, 2, 3, 3, 3), 4096, 7, norm=False),
    # Trains on a CPU, from nothing.
    "light": Backbone((16, 32, 64, 128, 128), (1, 1, 2, 2, 2), 256, 3, norm=True),
}
STRIDES = (8, 16, 32)


def fcn(
    num_classes: int,
    input_shape=(None, None, 3),
    *,
    stride: int = 8,
    backbone: str = "vgg16",
    alpha: float = 1.0,
    upsampling: str = "transposed",
    boosters: bool = False,
    name: str = "fcn",
    keras=None,
):
    """Builds an FCN as a functional model from images in [0, 1] to logits.

    Args:
        num_classes: int. Number of classes.
        input_shape: `(height, width, channels)`. Sides are multiples of 32, or None.
        stride: int. 32, 16 or 8: of the finest scores, so FCN-32s, FCN-16s, FCN-8s.
        backbone: `"vgg16"`, or `"light"`, narrow and normalized.
        alpha: float. Width multiplier of the backbone.
        upsampling: How scores are enlarged before a sum: `"transposed"`, or `"bilinear"` and
            `"nearest"`, which learn nothing.
        boosters: bool. The network has no heads for training alone: nothing follows from it.
        name: str. Name of the model.
        keras: The Keras that builds it: `keras` (None, the default) or `tf_keras`.

    Returns:
        A model from float images `[batch, height, width, channels]` to float logits
        `[batch, height, width, num_classes]`.

    Raises:
        ValueError: When a size is not a multiple of 32, or an argument has no meaning.
    """
    check_size(input_shape[:2])
    check_choice("stride", stride, STRIDES)
    check_choice("backbone", backbone, tuple(BACKBONES))
    check_choice("upsampling", upsampling, UPSAMPLINGS)
    check_positive(num_classes=num_classes, alpha=alpha)
    keras = keras_or_default(keras)
    b = _Blocks(keras, upsampling)
    net = BACKBONES[backbone]

    image = keras.Input(input_shape, name="image")  # 512x1024x3

    # === Backbone ===
    x, pools = image, {}
    for stage, (width, depth) in enumerate(zip(net.widths, net.depths), start=1):
        for i in range(depth):
            x = b.layer(x, scaled(alpha * width), net.norm, f"backbone_conv{stage}_{i + 1}")
        x = pools[2**stage] = b.max_pool(x, f"backbone_pool{stage}", size=2)  # 256x512x64, ...
    fc_width = scaled(alpha * net.fc_width)
    x = b.layer(x, fc_width, net.norm, "backbone_fc6", net.fc_kernel, dropout=0.5)  # 16x32x4096
    x = b.layer(x, fc_width, net.norm, "backbone_fc7", 1, dropout=0.5)

    # === Scores, from coarse to fine ===
    scores = b.conv(x, num_classes, "head_score", kernel=1, use_bias=True)  # 16x32xN
    finest = 32
    while finest > stride:
        finest //= 2
        scores = b.double(scores, f"head_up{finest}")  # 32x64xN, 64x128xN
        skip = b.conv(pools[finest], num_classes, f"head_score{finest}", kernel=1, use_bias=True)
        scores = keras.layers.Add(name=f"head_sum{finest}")([scores, skip])
    logits = b.upsample(scores, finest, "head_upsample", "bilinear")  # 512x1024xN

    model = keras.Model(image, logits, name=name)
    for layer in model.layers:
        if type(layer).__name__ == "Conv2DTranspose":
            layer.set_weights([bilinear_kernel(num_classes)])
    return model


def bilinear_kernel(channels: int) -> np.ndarray:
    """The transposed convolution that doubles a picture by linear interpolation.

    Returns:
        float32 `[4, 4, channels, channels]`, for a stride of 2; channels do not mix.
    """
    line = np.array([0.25, 0.75, 0.75, 0.25], np.float32)
    return np.einsum("y,x,oi->yxoi", line, line, np.eye(channels, dtype=np.float32))


class _Blocks(Blocks):
    """A layer of the backbone, and the doubling of scores."""

    def layer(self, x, channels, norm, name, kernel=3, dropout=0.0):
        if norm:
            return self.conv_bn_relu(x, channels, name, kernel=kernel)
        x = self.conv(x, channels, name, kernel=kernel, use_bias=True)
        x = self.relu(x, f"{name}_relu")
        return self.layers.Dropout(dropout, name=f"{name}_dropout")(x) if dropout else x

    def double(self, x, name):
        if self.upsampling != "transposed":
            return self.upsample(x, 2, name)
        return self.layers.Conv2DTranspose(
            x.shape[-1], 4, strides=2, padding="same", use_bias=False, name=name
        )(x)


FAMILY = Family(
    build=fcn,
    variants={
        "fcn32s": {"stride": 32},
        "fcn16s": {"stride": 16},
        "fcn8s": {"stride": 8},
        "fcn8s-light": {"backbone": "light"},
    },
    options={"stride": int, "backbone": str, "alpha": float, "upsampling": str},
)
