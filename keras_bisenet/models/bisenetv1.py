"""BiSeNet, the first: a spatial path for details and a context path for what they belong to.

Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation",
arXiv:1808.00897: Figure 2 (the network and its two modules), Section 3. Shapes in comments are
height x width x channels for a 512x1024 image at alpha 1.

    image ──┬── spatial path: three strides, wide ──────────────────────────┐
            │                                                               ├── fusion ── head
            └── context path: a backbone, and attention on its last stages ─┘
                     └── two auxiliary heads, for training alone

The paper says what the modules do, and not every width: the spatial path's 7x7 kernel and 1x1 end,
the context path's 128 channels and the convolutions between its stages are those of the authors'
published code (https://github.com/ycszen/TorchSeg). The separable convolutions of Xception39 have
a normalization between their two halves here, which costs nothing on a device, and lets their
channels share a range when they are quantized.
"""

from __future__ import annotations

from keras_bisenet.models.blocks import UPSAMPLINGS, Blocks, keras_or_default, scaled
from keras_bisenet.models.family import Family, check_choice, check_positive, check_size

BACKBONES = ("resnet18", "xception39")


def bisenetv1(
    num_classes: int,
    input_shape=(None, None, 3),
    *,
    backbone: str = "resnet18",
    alpha: float = 1.0,
    head_width: int = 64,
    boosters: bool = False,
    upsampling: str = "bilinear",
    name: str = "bisenetv1",
    keras=None,
):
    """Builds BiSeNet as a functional model from images in [0, 1] to logits.

    Args:
        num_classes: int. Number of classes.
        input_shape: `(height, width, channels)`. Sides are multiples of 32, or None.
        backbone: The context path's, `"resnet18"` or the light `"xception39"`.
        alpha: float. Width multiplier of everything but the heads.
        head_width: int. Channels inside the heads.
        boosters: bool. Adds the two auxiliary heads; the outputs become a list, main head first.
        upsampling: `"bilinear"`, `"nearest"` or `"transposed"` (learned; kernel = stride).
        name: str. Name of the model.
        keras: The Keras that builds it: `keras` (None, the default) or `tf_keras`.

    Returns:
        A model from float images `[batch, height, width, channels]` to float logits
        `[batch, height, width, num_classes]`, or a list of three of them.

    Raises:
        ValueError: When a size is not a multiple of 32, or an argument has no meaning.
    """
    check_size(input_shape[:2])
    check_choice("backbone", backbone, BACKBONES)
    check_choice("upsampling", upsampling, UPSAMPLINGS)
    check_positive(num_classes=num_classes, alpha=alpha, head_width=head_width)
    keras = keras_or_default(keras)
    b = _Blocks(keras, upsampling)
    narrow, wide = scaled(64 * alpha), scaled(128 * alpha)

    image = keras.Input(input_shape, name="image")  # 512x1024x3

    # === Spatial path (Section 3.1) ===
    x = b.conv_bn_relu(image, narrow, "spatial_1", kernel=7, stride=2)  # 256x512x64
    x = b.conv_bn_relu(x, narrow, "spatial_2", stride=2)  # 128x256x64
    x = b.conv_bn_relu(x, narrow, "spatial_3", stride=2)  # 64x128x64
    spatial = b.conv_bn_relu(x, wide, "spatial_out", kernel=1)  # 64x128x128

    # === Context path (Section 3.2) ===
    grow = b.resnet18 if backbone == "resnet18" else b.xception39
    stage4, stage5 = grow(image, alpha, "context")  # 32x64x256, 16x32x512 (Xception39: 128, 256)
    tail = b.global_average(stage5, "context_pool")  # 1x1x512
    tail = b.conv_bn_relu(tail, wide, "context_tail", kernel=1)  # 1x1x128
    x = b.attention_refinement(stage5, wide, "context_arm5")  # 16x32x128
    x = b.keras.layers.Add(name="context_add5")([x, tail])  # broadcasts 1x1
    x = b.upsample(x, 2, "context_up5")  # 32x64x128
    refined5 = b.conv_bn_relu(x, wide, "context_refine5")
    x = b.attention_refinement(stage4, wide, "context_arm4")  # 32x64x128
    x = b.keras.layers.Add(name="context_add4")([x, refined5])
    x = b.upsample(x, 2, "context_up4")  # 64x128x128
    refined4 = b.conv_bn_relu(x, wide, "context_refine4")

    # === Fusion and heads (Section 3.3) ===
    fused = b.feature_fusion(spatial, refined4, 2 * wide, "fusion")  # 64x128x256
    logits = b.head(fused, num_classes, head_width, 8, "head")  # 512x1024xN
    if not boosters:
        return keras.Model(image, logits, name=name)
    auxiliary = [
        b.head(refined4, num_classes, head_width, 8, "booster_s4"),
        b.head(refined5, num_classes, head_width, 16, "booster_s5"),
    ]
    return keras.Model(image, [logits, *auxiliary], name=name)


class _Blocks(Blocks):
    """The modules of Figure 2, and the backbones."""

    # --- Figure 2b ---

    def attention_refinement(self, x, channels, name):
        """Channels weighted by the image's mean of them: HxWxC -> HxWxchannels."""
        x = self.conv_bn_relu(x, channels, f"{name}_conv")
        gate = self.global_average(x, f"{name}_pool")  # 1x1
        gate = self.conv_bn(gate, channels, f"{name}_gate_conv", kernel=1)
        gate = self.sigmoid(gate, f"{name}_gate")
        return self.layers.Multiply(name=f"{name}_mul")([x, gate])

    # --- Figure 2c ---

    def feature_fusion(self, spatial, context, channels, name):
        """Both paths joined, and channels selected: HxWxC, HxWxC -> HxWxchannels."""
        x = self.layers.Concatenate(name=f"{name}_concat")([spatial, context])
        x = self.conv_bn_relu(x, channels, f"{name}_conv", kernel=1)
        gate = self.global_average(x, f"{name}_pool")  # 1x1
        gate = self.conv(gate, channels, f"{name}_gate_conv1", kernel=1, use_bias=True)
        gate = self.relu(gate, f"{name}_gate_relu")
        gate = self.conv(gate, channels, f"{name}_gate_conv2", kernel=1, use_bias=True)
        gate = self.sigmoid(gate, f"{name}_gate")
        selected = self.layers.Multiply(name=f"{name}_mul")([x, gate])
        return self.layers.Add(name=f"{name}_add")([x, selected])

    def head(self, x, num_classes, width, factor, name):
        x = self.conv_bn_relu(x, width, f"{name}_conv")
        x = self.conv(x, num_classes, f"{name}_logits", kernel=1, use_bias=True)
        return self.upsample(x, factor, f"{name}_upsample")

    # --- ResNet18 (He et al., arXiv:1512.03385, Table 1) ---

    def resnet18(self, image, alpha, name):
        """The outputs at 1/16 and 1/32."""
        widths = [scaled(alpha * width) for width in (64, 128, 256, 512)]
        x = self.conv_bn_relu(image, widths[0], f"{name}_stem", kernel=7, stride=2)
        x = self.max_pool(x, f"{name}_stem_pool")  # 1/4
        stages = []
        for stage, width in enumerate(widths, start=2):
            for i in range(2):
                stride = 2 if i == 0 and stage > 2 else 1
                x = self._basic_block(x, width, stride, f"{name}_s{stage}_{i + 1}")
            stages.append(x)
        return stages[-2:]

    def _basic_block(self, x, width, stride, name):
        y = self.conv_bn_relu(x, width, f"{name}_conv1", stride=stride)
        y = self.conv_bn(y, width, f"{name}_conv2")
        return self._joined(x, y, stride, name)

    # --- Xception39, the paper's light backbone ---

    def xception39(self, image, alpha, name):
        """The outputs at 1/16 and 1/32."""
        x = self.conv_bn_relu(image, scaled(8 * alpha), f"{name}_stem", stride=2)
        x = self.max_pool(x, f"{name}_stem_pool")  # 1/4
        stages = []
        for stage, (width, repeats) in enumerate(((16, 4), (32, 8), (64, 4)), start=3):
            for i in range(repeats):
                stride = 2 if i == 0 else 1
                x = self._separable_block(
                    x, scaled(alpha * width), stride, f"{name}_s{stage}_{i + 1}"
                )
            stages.append(x)
        return stages[-2:]

    def _separable_block(self, x, width, stride, name):
        y = self._separable(x, width, stride, f"{name}_sep1")
        y = self.relu(y, f"{name}_sep1_relu")
        y = self._separable(y, width, 1, f"{name}_sep2")
        y = self.relu(y, f"{name}_sep2_relu")
        y = self._separable(y, 4 * width, 1, f"{name}_sep3")
        return self._joined(x, y, stride, name)

    def _separable(self, x, width, stride, name):
        x = self.depthwise_bn(x, f"{name}_depthwise", stride=stride)
        return self.conv_bn(x, width, f"{name}_pointwise", kernel=1)

    def _joined(self, x, y, stride, name):
        """The sum of a block and what it began with."""
        if stride > 1 or x.shape[-1] != y.shape[-1]:
            x = self.conv_bn(x, y.shape[-1], f"{name}_shortcut", kernel=1, stride=stride)
        return self.relu(self.layers.Add(name=f"{name}_add")([y, x]), f"{name}_relu")


FAMILY = Family(
    build=bisenetv1,
    variants={"bisenetv1": {}, "bisenetv1-light": {"backbone": "xception39"}},
    options={"backbone": str, "alpha": float, "head_width": int, "upsampling": str},
)
