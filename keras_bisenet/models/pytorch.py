"""BiSeNet V2's weights from PyTorch and PaddlePaddle: whose layers are ours, and what their
networks do differently.

| layout | from |
|---|---|
| `coincheung` | https://github.com/CoinCheung/BiSeNet, lib/models/bisenetv2.py |
| `mmseg` | https://github.com/open-mmlab/mmsegmentation, its BiSeNetV2 with an FCNHead |
| `paddleseg` | https://github.com/PaddlePaddle/PaddleSeg, paddleseg/models/bisenet.py |

The first two have activations that the paper's figures do not draw, and PyTorch's padding; the
third pools in a way of its own, and its convolutions have a bias before their normalization. What
differs is an option of `bisenetv2`, which a run keeps. The heads for training alone are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.models import build_model

EPSILON = 1e-5
"""PyTorch's and PaddlePaddle's, in every batch normalization."""


@dataclass(frozen=True)
class Source:
    """Where the weights of one of our convolutions, and of its normalization, are in their file.

    Attributes:
        layer: Our layer. Its normalization is `{layer}_bn`.
        conv: Their convolution; None where there is a normalization alone, `layer` itself.
        norm: Their normalization; None where there is none.
    """

    layer: str
    conv: str | None
    norm: str | None


@dataclass(frozen=True)
class Layout:
    """How an implementation names its weights, and what its network does differently.

    Attributes:
        sources: A function that lists where everything is.
        options: Arguments of `bisenetv2`.
        left_out: How names begin that a device has no use for.
        colours: Means and deviations of the colours that images were normalized with, in [0, 1],
            by the data set that the weights are for; None for any.
        statistics: What a normalization's mean and variance are called.
        biases: Whether convolutions before a normalization have a bias.
    """

    sources: Callable[[], Iterator[Source]]
    options: Mapping[str, object]
    left_out: tuple[str, ...]
    colours: Mapping[str | None, tuple] = field(default_factory=dict)
    statistics: tuple[str, str] = ("running_mean", "running_var")
    biases: bool = False


def _coincheung() -> Iterator[Source]:
    def block(layer: str, theirs: str) -> Source:
        return Source(layer, f"{theirs}.conv", f"{theirs}.bn")

    def pair(layer: str, theirs: str, first: int = 0) -> Source:
        return Source(layer, f"{theirs}.{first}", f"{theirs}.{first + 1}")

    for stage, count in ((1, 2), (2, 3), (3, 3)):
        for i in range(count):
            yield block(f"detail_s{stage}_{i + 1}", f"detail.S{stage}.{i}")
    for ours, theirs in (("conv", "conv"), ("left_1", "left.0"), ("left_2", "left.1")):
        yield block(f"semantic_stem_{ours}", f"segment.S1S2.{theirs}")
    yield block("semantic_stem_fuse", "segment.S1S2.fuse")
    for stage, theirs, count in ((3, "S3", 2), (4, "S4", 2), (5, "S5_4", 4)):
        for i in range(count):
            layer, place = f"semantic_s{stage}_{i + 1}", f"segment.{theirs}.{i}"
            yield block(f"{layer}_gather", f"{place}.conv1")
            yield pair(f"{layer}_expand", f"{place}.dwconv{'' if i else 1}")
            yield pair(f"{layer}_project", f"{place}.conv2")
            if i == 0:
                yield pair(f"{layer}_depthwise", f"{place}.dwconv2")
                yield pair(f"{layer}_shortcut_depthwise", f"{place}.shortcut")
                yield pair(f"{layer}_shortcut_project", f"{place}.shortcut", 2)
    yield Source("semantic_context_pool_bn", None, "segment.S5_5.bn")
    yield block("semantic_context_conv", "segment.S5_5.conv_gap")
    yield block("semantic_context_out_conv", "segment.S5_5.conv_last")
    yield pair("bga_detail_keep_depthwise", "bga.left1")
    yield Source("bga_detail_keep_conv", "bga.left1.2", None)
    yield pair("bga_detail_down_conv", "bga.left2")
    yield pair("bga_semantic_up_conv", "bga.right1")
    yield pair("bga_semantic_keep_depthwise", "bga.right2")
    yield Source("bga_semantic_keep_conv", "bga.right2.2", None)
    yield pair("bga_out", "bga.conv")
    yield block("head_conv", "head.conv")
    yield Source("head_logits", "head.conv_out.1", None)


def _mmseg() -> Iterator[Source]:
    def block(layer: str, theirs: str) -> Source:
        return Source(layer, f"{theirs}.conv", f"{theirs}.bn")

    for stage, count in ((1, 2), (2, 3), (3, 3)):
        for i in range(count):
            theirs = f"backbone.detail.detail_branch.{stage - 1}.{i}"
            yield block(f"detail_s{stage}_{i + 1}", theirs)
    for ours, theirs in (
        ("conv", "conv_first"),
        ("left_1", "convs.0"),
        ("left_2", "convs.1"),
        ("fuse", "fuse_last"),
    ):
        yield block(f"semantic_stem_{ours}", f"backbone.semantic.stage1.{theirs}")
    for stage, count in ((3, 2), (4, 2), (5, 4)):
        for i in range(count):
            layer, place = f"semantic_s{stage}_{i + 1}", f"backbone.semantic.stage{stage - 1}.{i}"
            yield block(f"{layer}_gather", f"{place}.conv1")
            yield block(f"{layer}_expand", f"{place}.dwconv.0")
            yield block(f"{layer}_project", f"{place}.conv2.0")
            if i == 0:
                yield block(f"{layer}_depthwise", f"{place}.dwconv.1")
                yield block(f"{layer}_shortcut_depthwise", f"{place}.shortcut.0.depthwise_conv")
                yield block(f"{layer}_shortcut_project", f"{place}.shortcut.0.pointwise_conv")
    context, bga = "backbone.semantic.stage4_CEBlock", "backbone.bga"
    yield Source("semantic_context_pool_bn", None, f"{context}.gap.1")
    yield block("semantic_context_conv", f"{context}.conv_gap")
    yield block("semantic_context_out_conv", f"{context}.conv_last")
    for ours, theirs in (("detail", "detail_dwconv"), ("semantic", "semantic_dwconv")):
        yield block(f"bga_{ours}_keep_depthwise", f"{bga}.{theirs}.0.depthwise_conv")
        yield Source(f"bga_{ours}_keep_conv", f"{bga}.{theirs}.0.pointwise_conv.conv", None)
    yield block("bga_detail_down_conv", f"{bga}.detail_down.0")
    yield block("bga_semantic_up_conv", f"{bga}.semantic_conv.0")
    yield block("bga_out", f"{bga}.conv")
    yield block("head_conv", "decode_head.convs.0")
    yield Source("head_logits", "decode_head.conv_seg", None)


def _paddleseg() -> Iterator[Source]:
    def block(layer: str, theirs: str) -> Source:
        return Source(layer, f"{theirs}._conv", f"{theirs}._batch_norm")

    def depthwise(layer: str, theirs: str) -> Source:
        return block(layer, f"{theirs}.depthwise_conv")

    convs = (f"detail_s{stage}_{i + 1}" for stage, n in ((1, 2), (2, 3), (3, 3)) for i in range(n))
    for i, layer in enumerate(convs):
        yield block(layer, f"db.convs.{i}")
    for ours, theirs in (("conv", "conv"), ("left_1", "left.0"), ("left_2", "left.1")):
        yield block(f"semantic_stem_{ours}", f"sb.stem.{theirs}")
    yield block("semantic_stem_fuse", "sb.stem.fuse")
    for stage, theirs, count in ((3, "stage3", 2), (4, "stage4", 2), (5, "stage5_4", 4)):
        layer, place = f"semantic_s{stage}_1", f"sb.{theirs}.0"
        yield block(f"{layer}_gather", f"{place}.branch_1.0")
        yield depthwise(f"{layer}_expand", f"{place}.branch_1.1")
        yield depthwise(f"{layer}_depthwise", f"{place}.branch_1.2")
        yield block(f"{layer}_project", f"{place}.branch_1.3")
        yield depthwise(f"{layer}_shortcut_depthwise", f"{place}.branch_2.0")
        yield block(f"{layer}_shortcut_project", f"{place}.branch_2.1")
        for i in range(1, count):
            layer, place = f"semantic_s{stage}_{i + 1}", f"sb.{theirs}.{i}.conv"
            yield block(f"{layer}_gather", f"{place}.0")
            yield depthwise(f"{layer}_expand", f"{place}.1")
            yield block(f"{layer}_project", f"{place}.2")
    yield Source("semantic_context_pool_bn", None, "sb.ce.bn")
    yield block("semantic_context_conv", "sb.ce.conv_1x1")
    yield Source("semantic_context_out_conv", "sb.ce.conv_3x3", None)
    for ours, theirs in (("detail", "db"), ("semantic", "sb")):
        yield depthwise(f"bga_{ours}_keep_depthwise", f"bga.{theirs}_branch_keep.0")
        yield Source(f"bga_{ours}_keep_conv", f"bga.{theirs}_branch_keep.1", None)
    yield block("bga_detail_down_conv", "bga.db_branch_down.0")
    yield block("bga_semantic_up_conv", "bga.sb_branch_up")
    yield block("bga_out", "bga.conv")
    yield block("head_conv", "head.conv_3x3.0")
    yield Source("head_logits", "head.conv_1x1", None)


_PYTORCH = {"padding": "symmetric", "extra_relus": True, "image_norm": True}

LAYOUTS = {
    "coincheung": Layout(
        sources=_coincheung,
        options={**_PYTORCH, "bga_upsampling": "nearest"},
        left_out=("aux",),
        # From its lib/data.
        colours={
            "cityscapes": ((0.3257, 0.3690, 0.3223), (0.2112, 0.2148, 0.2115)),
            "cocostuff": (
                (0.46962251, 0.4464104, 0.40718787),
                (0.27469736, 0.27012361, 0.28515933),
            ),
            "ade20k": ((0.49343230, 0.46819794, 0.43106043), (0.25680755, 0.25506608, 0.27422913)),
        },
    ),
    "mmseg": Layout(
        sources=_mmseg,
        options={**_PYTORCH, "gate_bias": True},
        left_out=("auxiliary_head",),
        # From its configs/_base_: the means and deviations of ImageNet, of 255.
        colours={
            None: (
                tuple(mean / 255 for mean in (123.675, 116.28, 103.53)),
                tuple(deviation / 255 for deviation in (58.395, 57.12, 57.375)),
            )
        },
    ),
    "paddleseg": Layout(
        sources=_paddleseg,
        # Its convolutions pad "same" as TensorFlow's do; its pooling has a way of its own.
        options={"pool_padding": "uncounted", "gate_bias": True, "image_norm": True},
        left_out=("aux_head",),
        colours={None: ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))},  # the defaults of its Normalize
        statistics=("_mean", "_variance"),
        biases=True,
    ),
}
"""The layouts of weights that are known, by what `--layout` calls them."""


def colours_of(layout: str, dataset: str) -> tuple:
    """The means and deviations of the colours that images were normalized with.

    Raises:
        UsageError: When the layout has none for this data set.
    """
    known = LAYOUTS[layout].colours
    colours = known.get(dataset, known.get(None))
    if colours is None:
        raise UsageError(
            f"--layout {layout} knows the colours of {', '.join(map(str, known))} alone: give "
            "--mean and --std, red, green and blue in [0, 1], as the training had them"
        )
    return colours


def model_from(tensors: Mapping[str, np.ndarray], layout: str, mean, deviation):
    """Builds the network that weights are for, with them.

    Args:
        tensors: Arrays by their names in PyTorch.
        layout: One of `LAYOUTS`.
        mean: Of red, green and blue, in [0, 1], as images were normalized for training.
        deviation: Likewise.

    Returns:
        A Keras 3 model of free size from images in [0, 1], its options (arguments of
        `bisenetv2`), and the names of the tensors that are left out.

    Raises:
        UserError: When a tensor is missing, has another shape or values that are no numbers, or
            one is not known.
    """
    known = LAYOUTS[layout]
    sources = list(known.sources())
    places = {source.layer: source for source in sources}
    head = _taken(tensors, f"{places['head_conv'].conv}.weight", layout)
    logits = _taken(tensors, f"{places['head_logits'].conv}.weight", layout)
    options = {**known.options, "head_width": head.shape[0]}
    model = build_model("bisenetv2", logits.shape[0], **options)

    used = set()
    for source in sources:
        for layer, names, values in _weights(source, tensors, model, layout):
            wanted = [tuple(weight.shape) for weight in model.get_layer(layer).weights]
            if [value.shape for value in values] != wanted:
                raise UserError(
                    f"{names[0]} has the shape {tensors[names[0]].shape}: weights of another "
                    f"network than --layout {layout}'s BiSeNet V2"
                )
            damaged = [name for name in names if not np.isfinite(tensors[name]).all()]
            if damaged:
                raise UserError(
                    f"{damaged[0]} has values that are no numbers (nan, inf): take weights from "
                    "before its training went wrong"
                )
            model.get_layer(layer).set_weights(values)
            used.update(names)
    scale = 1 / np.asarray(deviation, np.float64)
    offset = -np.asarray(mean, np.float64) * scale
    model.get_layer("image_norm").set_weights([scale.reshape(1, 1, 3, 1), offset])

    # Counters of batches, which PyTorch keeps beside every normalization, mean nothing here.
    counters = {name for name in tensors if name.endswith(".num_batches_tracked")}
    left_out = {name for name in tensors if name.startswith(known.left_out)}
    unknown = sorted(tensors.keys() - used - counters - left_out)
    if unknown:
        raise UserError(
            f"{len(unknown)} tensors are not known to --layout {layout}, such as {unknown[0]}: "
            "weights of another network, or of another version of it"
        )
    return model, options, sorted(left_out)


def _weights(source: Source, tensors, model, layout: str):
    """For each of our layers that a source is of: its name, their tensors' names, its weights."""
    known, bias = LAYOUTS[layout], 0.0
    if source.conv:
        names = [f"{source.conv}.weight"]
        kernel = _taken(tensors, names[0], layout).astype(np.float32)
        layer = model.get_layer(source.layer)
        if kernel.ndim != 4:
            raise UserError(f"{names[0]} is no kernel of a convolution")
        if type(layer).__name__ == "DepthwiseConv2D":
            # [channels x multiplier, 1, height, width], a channel's outputs side by side
            _, _, channels, multiplier = layer.weights[0].shape
            if kernel.shape[:2] == (channels * multiplier, 1):
                kernel = kernel.reshape(channels, multiplier, *kernel.shape[2:])
            values = [kernel.transpose(2, 3, 0, 1)]
        else:
            values = [kernel.transpose(2, 3, 1, 0)]
        if layer.use_bias:
            names.append(f"{source.conv}.bias")
            values.append(_taken(tensors, names[1], layout).astype(np.float32))
        elif known.biases:  # the normalization behind takes it from its mean
            names.append(f"{source.conv}.bias")
            bias = _taken(tensors, names[1], layout).astype(np.float64)
        yield source.layer, names, values
    if source.norm:
        ours = f"{source.layer}_bn" if source.conv else source.layer
        parts = ("weight", "bias", *known.statistics)
        names = [f"{source.norm}.{part}" for part in parts]
        gamma, beta, mean, variance = (
            _taken(tensors, name, layout).astype(np.float64) for name in names
        )
        # Ours divides by the root of the variance and another epsilon.
        ratio = (variance + model.get_layer(ours).epsilon) / (variance + EPSILON)
        yield ours, names, [gamma * np.sqrt(ratio), beta, mean - bias, variance]


def _taken(tensors, name: str, layout: str) -> np.ndarray:
    if name not in tensors:
        raise UserError(f"{name} is missing: these are no weights of --layout {layout}")
    return tensors[name]
