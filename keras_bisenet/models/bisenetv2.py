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

Where TensorFlow and PyTorch differ, this is TensorFlow, unless `padding` says otherwise.
"""

from __future__ import annotations

import numpy as np

from keras_bisenet.models.blocks import (
    PADDINGS,
    POOL_PADDINGS,
    UPSAMPLINGS,
    Blocks,
    keras_or_default,
    scaled,
)
from keras_bisenet.models.family import Family, check_choice, check_positive, check_size

AGGREGATIONS = ("bga", "sum", "concat", "detail", "semantic")
CONTEXT = "semantic_context"


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
    upsampling: str = "bilinear",
    bga_upsampling: str | None = None,
    padding: str = "same",
    pool_padding: str | None = None,
    extra_relus: bool = False,
    gate_bias: bool = False,
    image_norm: bool = False,
    context_norm: bool = True,
    name: str = "bisenetv2",
    keras=None,
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
        aggregation: `"bga"`, or what the paper's Table 2 compares with: the plain `"sum"` and
            `"concat"`, and `"detail"` and `"semantic"`, one branch on its own.
        upsampling: `"bilinear"`, `"nearest"` or `"transposed"` (learned; kernel = stride).
        bga_upsampling: str. How the aggregation enlarges; None for the same as everywhere.
        padding: `"same"`, TensorFlow's, or `"symmetric"`, PyTorch's; see `blocks.Blocks`.
        pool_padding: str. How pooling pads, None for as convolutions do; see `blocks.Blocks`.
        extra_relus: bool. Activations that the figures do not draw, but most implementations in
            PyTorch have: behind the last depthwise convolution of every gather-and-expansion
            layer, at the end of the aggregation, and, after a normalization in place of the
            bias, at the end of the context embedding.
        gate_bias: bool. Whether the aggregation's 1x1 convolutions have a bias.
        image_norm: bool. Whether images in [0, 1] are brought to the mean and deviation that
            imported weights were trained with, by a layer whose weights these are.
        context_norm: bool. Whether the context embedding has the batch normalization that
            follows its pooling. `False` builds the form for devices, in which `models.deployment`
            has moved it into the convolution behind it.
        name: str. Name of the model.
        keras: The Keras that builds it: `keras` (None, the default) or `tf_keras`.

    Returns:
        A model from float images `[batch, height, width, channels]` to float logits
        `[batch, height, width, num_classes]`, or a list of five of them.

    Raises:
        ValueError: When a size is not a multiple of 32, or an argument has no meaning.
    """
    check_size(input_shape[:2])
    check_choice("aggregation", aggregation, AGGREGATIONS)
    check_choice("upsampling", upsampling, UPSAMPLINGS)
    check_choice("bga_upsampling", bga_upsampling or upsampling, UPSAMPLINGS)
    check_choice("padding", padding, PADDINGS)
    check_choice("pool_padding", pool_padding or padding, POOL_PADDINGS)
    check_positive(
        num_classes=num_classes,
        alpha=alpha,
        depth=depth,
        semantic_ratio=semantic_ratio,
        expansion=expansion,
        head_width=head_width,
    )
    keras = keras_or_default(keras)

    # Table 1. alpha widens everything; the semantic ratio narrows the semantic branch's first two
    # stages (Table 3a: "channel dimensions of the last two stages are still 64 and 128").
    c1, c2, c3 = (scaled(alpha * c) for c in (64, 64, 128))
    stem, s3 = (scaled(semantic_ratio * c) for c in (c1, c3))
    s4, s5 = (scaled(alpha * c) for c in (64, 128))
    b = _Blocks(keras, upsampling, padding, pool_padding, expansion, extra_relus)
    bga_upsampling = bga_upsampling or upsampling

    image = keras.Input(input_shape, name="image")  # 512x1024x3

    picture = b.normalized(image, "image_norm") if image_norm else image

    # === Detail branch ===
    x = b.conv_bn_relu(picture, c1, "detail_s1_1", stride=2)  # 256x512x64
    x = b.conv_bn_relu(x, c1, "detail_s1_2")
    x = b.conv_bn_relu(x, c2, "detail_s2_1", stride=2)  # 128x256x64
    x = b.conv_bn_relu(x, c2, "detail_s2_2")
    x = b.conv_bn_relu(x, c2, "detail_s2_3")
    x = b.conv_bn_relu(x, c3, "detail_s3_1", stride=2)  # 64x128x128
    x = b.conv_bn_relu(x, c3, "detail_s3_2")
    detail = b.conv_bn_relu(x, c3, "detail_s3_3")

    # === Semantic branch ===
    x = stage2 = b.stem(picture, stem, "semantic_stem")  # 128x256x16
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
    semantic = b.context_embedding(x, CONTEXT, norm=context_norm)  # 16x32x128

    # === Aggregation ===
    factor = 8
    if aggregation == "detail":
        fused = detail  # 64x128x128
    elif aggregation == "semantic":
        fused, factor = semantic, 32  # 16x32x128
    elif aggregation == "bga":
        fused = b.guided_aggregation(
            detail, semantic, "bga", bga_upsampling, gate_bias
        )  # 64x128x128
    else:
        semantic = b.upsample(semantic, 4, "bga_upsample", bga_upsampling)  # 64x128x128
        join = keras.layers.Add if aggregation == "sum" else keras.layers.Concatenate
        fused = join(name=f"bga_{aggregation}")([detail, semantic])  # 64x128x128 or x256

    # === Heads ===
    logits = b.head(fused, num_classes, head_width, factor, "head")  # 512x1024xN
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


class _Blocks(Blocks):
    """The blocks of Figures 4 to 7, for one choice of expansion and activations."""

    def __init__(self, keras, upsampling, padding, pool_padding, expansion, extra_relus):
        super().__init__(keras, upsampling, padding, pool_padding)
        self.expansion = expansion
        self.extra_relus = extra_relus

    # --- Figure 4a ---

    def stem(self, x, channels, name):
        """Two ways to shrink, convolution and pooling, joined: H/4 x W/4 x channels."""
        x = self.conv_bn_relu(x, channels, f"{name}_conv", stride=2)
        left = self.conv_bn_relu(x, scaled(channels / 2), f"{name}_left_1", kernel=1)
        left = self.conv_bn_relu(left, channels, f"{name}_left_2", stride=2)
        right = self.max_pool(x, f"{name}_right_pool")
        x = self.layers.Concatenate(name=f"{name}_concat")([left, right])
        return self.conv_bn_relu(x, channels, f"{name}_fuse")

    # --- Figure 4b ---

    def context_embedding(self, x, name, norm=True):
        """Adds the image's mean, transformed, to every pixel: HxWxC -> HxWxC."""
        channels = x.shape[-1]
        context = self.global_average(x, f"{name}_pool")  # 1x1xC
        if norm:
            context = self.batch_norm(context, f"{name}_pool_bn")
        context = self.conv_bn_relu(context, channels, f"{name}_conv", kernel=1)
        x = self.layers.Add(name=f"{name}_add")([x, context])  # broadcasts 1x1 over HxW
        if self.extra_relus:
            return self.conv_bn_relu(x, channels, f"{name}_out_conv")
        return self.conv(x, channels, f"{name}_out_conv", use_bias=True)

    # --- Figure 5b ---

    def gather_expand(self, x, name):
        """Gather-and-expansion layer, stride 1: HxWxC -> HxWxC."""
        channels = x.shape[-1]
        y = self.conv_bn_relu(x, channels, f"{name}_gather")
        y = self.depthwise_bn(y, f"{name}_expand", multiplier=self.expansion)  # HxWx6C
        y = self.maybe_relu(y, f"{name}_expand_relu")
        y = self.conv_bn(y, channels, f"{name}_project", kernel=1)
        y = self.layers.Add(name=f"{name}_add")([y, x])
        return self.relu(y, f"{name}_relu")

    # --- Figure 5c ---

    def gather_expand_down(self, x, channels, name):
        """Gather-and-expansion layer, stride 2: HxWxCi -> H/2 x W/2 x channels."""
        y = self.conv_bn_relu(x, x.shape[-1], f"{name}_gather")
        y = self.depthwise_bn(y, f"{name}_expand", multiplier=self.expansion, stride=2)
        y = self.depthwise_bn(y, f"{name}_depthwise")
        y = self.maybe_relu(y, f"{name}_depthwise_relu")
        y = self.conv_bn(y, channels, f"{name}_project", kernel=1)
        shortcut = self.depthwise_bn(x, f"{name}_shortcut_depthwise", stride=2)
        shortcut = self.conv_bn(shortcut, channels, f"{name}_shortcut_project", kernel=1)
        y = self.layers.Add(name=f"{name}_add")([y, shortcut])
        return self.relu(y, f"{name}_relu")

    # --- Figure 6 ---

    def guided_aggregation(self, detail, semantic, name, upsampling, use_bias):
        """Each branch gates the other: HxWxC and H/4 x W/4 x C -> HxWxC."""
        channels = detail.shape[-1]

        def keep(x, label):
            x = self.depthwise_bn(x, f"{name}_{label}_depthwise")
            return self.conv(x, channels, f"{name}_{label}_conv", kernel=1, use_bias=use_bias)

        detail_keep = keep(detail, "detail_keep")  # H
        detail_down = self.conv_bn(detail, channels, f"{name}_detail_down_conv", stride=2)
        detail_down = self.average_pool(detail_down, f"{name}_detail_down_pool")  # H/4

        semantic_up = self.conv_bn(semantic, channels, f"{name}_semantic_up_conv")
        semantic_up = self.upsample(semantic_up, 4, f"{name}_semantic_up", upsampling)  # H
        semantic_up = self.sigmoid(semantic_up, f"{name}_semantic_up_gate")
        semantic_keep = keep(semantic, "semantic_keep")  # H/4
        semantic_keep = self.sigmoid(semantic_keep, f"{name}_semantic_keep_gate")

        fine = self.layers.Multiply(name=f"{name}_fine")([detail_keep, semantic_up])  # H
        coarse = self.layers.Multiply(name=f"{name}_coarse")([detail_down, semantic_keep])  # H/4
        # The figure does not draw this upsampling, but the sum needs it.
        coarse = self.upsample(coarse, 4, f"{name}_coarse_up", upsampling)  # H
        fused = self.layers.Add(name=f"{name}_sum")([fine, coarse])
        return self.maybe_relu(self.conv_bn(fused, channels, f"{name}_out"), f"{name}_out_relu")

    # --- Figure 7 ---

    def head(self, x, num_classes, width, factor, name):
        """Segmentation head, and booster: HxWxC -> (factor H) x (factor W) x num_classes."""
        x = self.conv_bn_relu(x, width, f"{name}_conv")
        x = self.conv(x, num_classes, f"{name}_logits", kernel=1, use_bias=True)
        return self.upsample(x, factor, f"{name}_upsample")

    # --- What the figures do not draw ---

    def maybe_relu(self, x, name):
        return self.relu(x, name) if self.extra_relus else x

    def normalized(self, image, name):
        """(image - mean) / deviation, a 1x1 convolution of each colour; at first the image itself.

        It is not folded into the convolutions behind it: they pad with zeros, and zero is the mean.
        """
        return self.layers.DepthwiseConv2D(
            1, depthwise_initializer="ones", trainable=False, name=name
        )(image)


def fold_context(source) -> dict[str, list[np.ndarray]]:
    """Leaves out the normalization of the context embedding.

    The context embedding pools, normalizes, and convolves 1x1 (Figure 4b). The normalization
    stands alone, with no convolution before it to be folded into, and a quantized converter leaves
    it in float. Folded forward into the 1x1 convolution, nothing is left of it: pooled values p,
    normalized as a*p + b, give K(a*p + b) = (aK)p + Kb, and the constant Kb moves into the mean of
    the batch normalization behind the convolution. The 1x1 convolution has no padding, so this is
    exact up to rounding.

    Args:
        source: A trained model.

    Returns:
        Weights of the two layers that take over what the normalization did, by name.
    """
    if not any(layer.name == CONTEXT + "_pool_bn" for layer in source.layers):
        return {}  # the detail branch on its own
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


FAMILY = Family(
    build=bisenetv2,
    variants={
        "bisenetv2": {},
        "bisenetv2-large": {"alpha": 2.0, "depth": 3},
        "bisenetv2-small": {"alpha": 0.5, "head_width": 64},
    },
    options={
        "alpha": float,
        "depth": int,
        "semantic_ratio": float,
        "expansion": int,
        "head_width": int,
        "aggregation": str,
        "upsampling": str,
        "bga_upsampling": str,
        "padding": str,
        "pool_padding": str,
        "extra_relus": bool,
        "gate_bias": bool,
        "image_norm": bool,
    },
    device_options={"context_norm": False},
    fold=fold_context,
)
