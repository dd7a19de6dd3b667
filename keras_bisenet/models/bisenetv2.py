"""BiSeNet V2, the bilateral segmentation network.

Yu et al., "BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic
Segmentation", arXiv:2004.02147. The file reads like the paper: Table 1 (the two branches), then
Figures 4 to 7 (the blocks). Shapes in comments are height x width x channels for a 512x1024
image at alpha 1.

    image ──┬── detail branch   (wide, shallow: where things are) ───┐
            │                                                        ├── aggregation ── head
            └── semantic branch (narrow, deep: what things are) ─────┘
                     └── booster heads on every stage, for training alone

The graph is flat, functional, and made of layers that Keras 3 and tf_keras (Keras 2) both have,
so one function builds both; their outputs are bit-equal. Every layer is named after its place in
the paper: weights move between graphs by these names.

Where TensorFlow and PyTorch differ, this is TensorFlow: `same` padding, which for stride 2 on an
even side pads at the bottom and right alone.
"""

from __future__ import annotations

import keras as keras3

STRIDE = 32
"""The semantic branch halves the image five times; its sides must be multiples of 32."""

# The paper trains with PyTorch's statistics momentum, 0.1; in Keras' terms 0.9. A slower average
# is kinder to the small batches that fit a workstation, and to the pooled 1x1 maps of the context
# embedding, which see a single value per image.
BATCH_NORM_MOMENTUM = 0.97

# He's initialization for 3x3 depthwise kernels: each output sees 9 inputs. Keras' "he_normal" takes
# all channels for its fan-in, and would start these layers far too small.
DEPTHWISE_STDDEV = (2 / 9) ** 0.5

AGGREGATIONS = ("bga", "sum", "concat")
UPSAMPLINGS = ("bilinear", "nearest", "transposed")


def bisenetv2(
    num_classes: int,
    input_shape=(None, None, 3),
    *,
    alpha: float = 1.0,
    depth: int = 1,
    semantic_ratio: float = 0.25,
    expansion: int = 6,
    head_width: int = 128,
    boosters: bool = False,
    aggregation: str = "bga",
    upsampling="bilinear",
    context_norm: bool = True,
    name: str = "bisenetv2",
    keras=keras3,
):
    """Builds BiSeNet V2 as a functional model from images in [0, 1] to logits.

    Args:
        num_classes: int. Number of classes.
        input_shape: `(height, width, channels)`. Sides are multiples of 32, or None.
        alpha: float. Width multiplier of both branches (paper, Section 6.5).
        depth: int. Repeats of the semantic branch's stride-1 layers (paper, Section 6.5).
        semantic_ratio: float. The paper's lambda: width of the semantic branch's first two
            stages relative to the detail branch.
        expansion: int. The paper's epsilon: expansion of the gather-and-expansion layers.
        head_width: int. The paper's C_t: channels inside the segmentation heads. The paper gives
            no value; it is the cheapest knob of the network.
        boosters: bool. Adds the four training heads; the outputs become a list, main head first.
        aggregation: `"bga"`, or the plain `"sum"` and `"concat"` that the paper compares with.
        upsampling: `"bilinear"`, `"nearest"`, `"transposed"` (learned; kernel = stride), or a
            function `(factor, name) -> layer`.
        context_norm: bool. Whether the context embedding has the batch normalization that
            follows its pooling. `False` builds the form for devices, in which `models.deployment`
            has moved it into the convolution behind it.
        name: str. Name of the model.
        keras: The Keras that builds it: `keras` (the default) or `tf_keras`.

    Returns:
        A model from float images `[batch, height, width, channels]` to float logits
        `[batch, height, width, num_classes]`, or a list of five of them.

    Raises:
        ValueError: When a size is not a multiple of 32, or an argument has no meaning.
    """
    check_size(input_shape[:2])
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"aggregation must be one of {AGGREGATIONS}, not {aggregation!r}")
    if not callable(upsampling) and upsampling not in UPSAMPLINGS:
        raise ValueError(f"upsampling must be one of {UPSAMPLINGS}, not {upsampling!r}")
    for argument, value in {
        "num_classes": num_classes,
        "alpha": alpha,
        "depth": depth,
        "semantic_ratio": semantic_ratio,
        "expansion": expansion,
        "head_width": head_width,
    }.items():
        if value <= 0:
            raise ValueError(f"{argument} must be positive, not {value!r}")

    # Table 1. alpha widens everything; the semantic ratio narrows the semantic branch's first two
    # stages (Table 3a: "channel dimensions of the last two stages are still 64 and 128").
    c1, c2, c3 = (_channels(alpha * c) for c in (64, 64, 128))
    stem, s3 = (_channels(semantic_ratio * c) for c in (c1, c3))
    s4, s5 = (_channels(alpha * c) for c in (64, 128))
    b = _Blocks(keras, expansion, upsampling)

    image = keras.Input(input_shape, name="image")  # 512x1024x3

    # === Detail branch ===
    x = b.conv_bn_relu(image, c1, "detail_s1_1", stride=2)  # 256x512x64
    x = b.conv_bn_relu(x, c1, "detail_s1_2")
    x = b.conv_bn_relu(x, c2, "detail_s2_1", stride=2)  # 128x256x64
    x = b.conv_bn_relu(x, c2, "detail_s2_2")
    x = b.conv_bn_relu(x, c2, "detail_s2_3")
    x = b.conv_bn_relu(x, c3, "detail_s3_1", stride=2)  # 64x128x128
    x = b.conv_bn_relu(x, c3, "detail_s3_2")
    detail = b.conv_bn_relu(x, c3, "detail_s3_3")

    # === Semantic branch ===
    x = stage2 = b.stem(image, stem, "semantic_stem")  # 128x256x16
    x = b.gather_expand_down(x, s3, "semantic_s3_1")  # 64x128x32
    for i in range(depth):
        x = b.gather_expand(x, f"semantic_s3_{i + 2}")
    stage3 = x
    x = b.gather_expand_down(x, s4, "semantic_s4_1")  # 32x64x64
    for i in range(depth):
        x = b.gather_expand(x, f"semantic_s4_{i + 2}")
    stage4 = x
    x = b.gather_expand_down(x, s5, "semantic_s5_1")  # 16x32x128
    for i in range(3 * depth):
        x = b.gather_expand(x, f"semantic_s5_{i + 2}")
    stage5 = x  # "stage 5_4" of the paper's Table 4, before the context embedding
    semantic = b.context_embedding(x, "semantic_context", norm=context_norm)  # 16x32x128

    # === Aggregation ===
    if aggregation == "bga":
        fused = b.guided_aggregation(detail, semantic, "bga")  # 64x128x128
    else:
        semantic = b.upsample(semantic, 4, "bga_upsample")  # 64x128x128
        join = keras.layers.Add if aggregation == "sum" else keras.layers.Concatenate
        fused = join(name=f"bga_{aggregation}")([detail, semantic])  # 64x128x128 or x256

    # === Heads ===
    logits = b.head(fused, num_classes, head_width, 8, "head")  # 512x1024xN
    if not boosters:
        return keras.Model(image, logits, name=name)
    outputs = [logits]
    for stage, factor, label in (
        (stage2, 4, "booster_s2"),
        (stage3, 8, "booster_s3"),
        (stage4, 16, "booster_s4"),
        (stage5, 32, "booster_s5"),
    ):
        outputs.append(b.head(stage, num_classes, head_width, factor, label))
    return keras.Model(image, outputs, name=name)


def check_size(size) -> None:
    """Raises a ValueError, naming the sizes that fit, unless both sides are multiples of 32."""
    for side, length in zip(("height", "width"), size):
        if length is None or (length > 0 and length % STRIDE == 0):
            continue
        below = max(length // STRIDE * STRIDE, STRIDE)
        raise ValueError(
            f"{side} {length} is not a multiple of {STRIDE}: use {below} or {below + STRIDE}"
        )


def _channels(value: float) -> int:
    return max(1, round(value))


class _Blocks:
    """The blocks of Figures 4 to 7, for one Keras and one choice of expansion and upsampling."""

    def __init__(self, keras, expansion, upsampling):
        self.keras = keras
        self.layers = keras.layers
        self.expansion = expansion
        self.upsampling = upsampling
        # Keras 3 has the plain formula alone; tf_keras' fused kernel rounds differently.
        is_keras2 = keras.__version__.startswith("2")
        self.batch_norm_options = {"fused": False} if is_keras2 else {}

    # --- Figure 4a ---

    def stem(self, x, channels, name):
        """Two ways to shrink, convolution and pooling, joined: H/4 x W/4 x channels."""
        x = self.conv_bn_relu(x, channels, f"{name}_conv", stride=2)
        left = self.conv_bn_relu(x, _channels(channels / 2), f"{name}_left_1", kernel=1)
        left = self.conv_bn_relu(left, channels, f"{name}_left_2", stride=2)
        right = self.layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_right_pool")(x)
        x = self.layers.Concatenate(name=f"{name}_concat")([left, right])
        return self.conv_bn_relu(x, channels, f"{name}_fuse")

    # --- Figure 4b ---

    def context_embedding(self, x, name, norm=True):
        """Adds the image's mean, transformed, to every pixel: HxWxC -> HxWxC."""
        channels = x.shape[-1]
        context = self.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)  # 1x1xC
        if norm:
            context = self.batch_norm(context, f"{name}_pool_bn")
        context = self.conv_bn_relu(context, channels, f"{name}_conv", kernel=1)
        x = self.layers.Add(name=f"{name}_add")([x, context])  # broadcasts 1x1 over HxW
        return self.conv(x, channels, f"{name}_out_conv", use_bias=True)

    # --- Figure 5b ---

    def gather_expand(self, x, name):
        """Gather-and-expansion layer, stride 1: HxWxC -> HxWxC."""
        channels = x.shape[-1]
        y = self.conv_bn_relu(x, channels, f"{name}_gather")
        y = self.depthwise_bn(y, f"{name}_expand", multiplier=self.expansion)  # HxWx6C, no ReLU
        y = self.conv_bn(y, channels, f"{name}_project", kernel=1)
        y = self.layers.Add(name=f"{name}_add")([y, x])
        return self.layers.ReLU(name=f"{name}_relu")(y)

    # --- Figure 5c ---

    def gather_expand_down(self, x, channels, name):
        """Gather-and-expansion layer, stride 2: HxWxCi -> H/2 x W/2 x channels."""
        y = self.conv_bn_relu(x, x.shape[-1], f"{name}_gather")
        y = self.depthwise_bn(y, f"{name}_expand", multiplier=self.expansion, stride=2)
        y = self.depthwise_bn(y, f"{name}_depthwise")
        y = self.conv_bn(y, channels, f"{name}_project", kernel=1)
        shortcut = self.depthwise_bn(x, f"{name}_shortcut_depthwise", stride=2)
        shortcut = self.conv_bn(shortcut, channels, f"{name}_shortcut_project", kernel=1)
        y = self.layers.Add(name=f"{name}_add")([y, shortcut])
        return self.layers.ReLU(name=f"{name}_relu")(y)

    # --- Figure 6 ---

    def guided_aggregation(self, detail, semantic, name):
        """Each branch gates the other: HxWxC and H/4 x W/4 x C -> HxWxC."""
        channels = detail.shape[-1]
        sigmoid = self.layers.Activation

        detail_keep = self.depthwise_bn(detail, f"{name}_detail_keep_depthwise")
        detail_keep = self.conv(detail_keep, channels, f"{name}_detail_keep_conv", kernel=1)
        detail_down = self.conv_bn(detail, channels, f"{name}_detail_down_conv", stride=2)
        detail_down = self.layers.AveragePooling2D(
            3, strides=2, padding="same", name=f"{name}_detail_down_pool"
        )(detail_down)  # H/4

        semantic_up = self.conv_bn(semantic, channels, f"{name}_semantic_up_conv")
        semantic_up = self.upsample(semantic_up, 4, f"{name}_semantic_up")  # H
        semantic_up = sigmoid("sigmoid", name=f"{name}_semantic_up_gate")(semantic_up)
        semantic_keep = self.depthwise_bn(semantic, f"{name}_semantic_keep_depthwise")
        semantic_keep = self.conv(semantic_keep, channels, f"{name}_semantic_keep_conv", kernel=1)
        semantic_keep = sigmoid("sigmoid", name=f"{name}_semantic_keep_gate")(semantic_keep)

        fine = self.layers.Multiply(name=f"{name}_fine")([detail_keep, semantic_up])  # H
        coarse = self.layers.Multiply(name=f"{name}_coarse")([detail_down, semantic_keep])  # H/4
        # The figure does not draw this upsampling, but the sum needs it.
        coarse = self.upsample(coarse, 4, f"{name}_coarse_up")  # H
        fused = self.layers.Add(name=f"{name}_sum")([fine, coarse])
        return self.conv_bn(fused, channels, f"{name}_out")  # no ReLU

    # --- Figure 7 ---

    def head(self, x, num_classes, width, factor, name):
        """Segmentation head, and booster: HxWxC -> (factor H) x (factor W) x num_classes."""
        x = self.conv_bn_relu(x, width, f"{name}_conv")
        x = self.conv(x, num_classes, f"{name}_logits", kernel=1, use_bias=True)
        return self.upsample(x, factor, f"{name}_upsample")

    # --- What the figures are drawn with ---

    def conv(self, x, channels, name, kernel=3, stride=1, use_bias=False):
        return self.layers.Conv2D(
            channels,
            kernel,
            strides=stride,
            padding="same",
            use_bias=use_bias,
            kernel_initializer="he_normal",
            name=name,
        )(x)

    def batch_norm(self, x, name):
        return self.layers.BatchNormalization(
            momentum=BATCH_NORM_MOMENTUM, name=name, **self.batch_norm_options
        )(x)

    def conv_bn(self, x, channels, name, kernel=3, stride=1):
        return self.batch_norm(self.conv(x, channels, name, kernel, stride), f"{name}_bn")

    def conv_bn_relu(self, x, channels, name, kernel=3, stride=1):
        x = self.conv_bn(x, channels, name, kernel, stride)
        return self.layers.ReLU(name=f"{name}_relu")(x)

    def depthwise_bn(self, x, name, multiplier=1, stride=1):
        x = self.layers.DepthwiseConv2D(
            3,
            strides=stride,
            padding="same",
            depth_multiplier=multiplier,
            use_bias=False,
            depthwise_initializer=self.keras.initializers.RandomNormal(stddev=DEPTHWISE_STDDEV),
            name=name,
        )(x)
        return self.batch_norm(x, f"{name}_bn")

    def upsample(self, x, factor, name):
        if callable(self.upsampling):
            return self.upsampling(factor, name)(x)
        if self.upsampling == "transposed":
            return self.layers.Conv2DTranspose(
                x.shape[-1], factor, strides=factor, padding="same", use_bias=False, name=name
            )(x)
        return self.layers.UpSampling2D(factor, interpolation=self.upsampling, name=name)(x)
