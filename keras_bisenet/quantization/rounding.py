"""Where values are rounded to 8 bits, by the kind of the layer: a table, as TFLite's kernels ask.

| rounding | meaning |
|---|---|
| own | to a range of its own, which calibration finds |
| input's | to its input's range: the kernel has one scale for both, and its values are new ones |
| fixed | to the range that TFLite fixes |
| none | not at all: the kernel puts out values that have been rounded already |

Kernels are fused, and what is fused is rounded once, at its end: a convolution, its normalization
and its activation; an addition and its activation. A concatenation has one scale, too: values are
rounded behind it, not before; and where a pooling feeds it, what feeds the pooling shares its
scale. Otherwise the converter would rescale in between, which takes time, and which some NNAPI
drivers do not survive.

A layer that is not in the table is refused, by its name: a wrong rounding is silent.
"""

from __future__ import annotations

from keras_bisenet.errors import UserError
from keras_bisenet.quantization.graph import consumers, sources

OWN, INPUTS, NONE = "own", "input's", "none"

ROUNDINGS = {
    "InputLayer": OWN,
    "Conv2D": OWN,
    "DepthwiseConv2D": OWN,
    "Conv2DTranspose": OWN,
    "BatchNormalization": OWN,
    "ReLU": OWN,
    "Add": OWN,
    "Multiply": OWN,
    "Concatenate": OWN,
    "GlobalAveragePooling2D": OWN,
    # These mix neighbours,
    "AveragePooling2D": INPUTS,
    "UpSampling2D": INPUTS,
    "AsymmetricUpSampling2D": INPUTS,
    # and these choose.
    "MaxPooling2D": NONE,
    "ZeroPadding2D": NONE,
    "Cropping2D": NONE,
    "Dropout": NONE,
}
"""The rounding of a layer's output by the layer's type."""

ACTIVATIONS = {
    "linear": NONE,
    "relu": OWN,
    # A scale of 1/256 and a zero point of -128; for the hyperbolic tangent 1/128 and 0.
    "sigmoid": (0.0, 255 / 256),
    "softmax": (0.0, 255 / 256),
    "tanh": (-1.0, 127 / 128),
}
"""The rounding of an `Activation` layer by its function; a pair is a fixed range."""

WEIGHTED = ("Conv2D", "DepthwiseConv2D", "Conv2DTranspose")
"""The types whose weights are rounded, to a symmetric range for each output channel."""

FUSED = {
    "BatchNormalization": WEIGHTED,
    "ReLU": (*WEIGHTED, "BatchNormalization", "Add", "Multiply"),
    "Activation": (*WEIGHTED, "BatchNormalization", "Add", "Multiply"),  # of these, relu alone
}
"""The types that a type is one kernel with, when it comes right behind them."""


def roundings(model) -> dict[str, str | tuple[float, float]]:
    """How the output of every layer is rounded, by the layer's name.

    Args:
        model: A flat functional tf_keras model.

    Returns:
        `OWN`, `INPUTS`, `NONE`, or the two ends of a fixed range.

    Raises:
        UserError: When the table does not know a layer.
    """
    takers = consumers(model)
    found = {}
    for layer in model.layers[1:]:
        rounding = _rounding(layer)
        behind = [] if isinstance(rounding, tuple) else takers[layer.name]
        if behind and all(_takes_over(consumer, layer) for consumer in behind):
            rounding = NONE
        found[layer.name] = rounding
    return found


def shared_ranges(model) -> list[set[str]]:
    """Groups of layers that must have one range, by their names.

    A layer that mixes neighbours (resizing, average pooling) rounds to its input's scale. A
    concatenation has one scale with what feeds the poolings before it.
    """
    groups = []
    for layer in model.layers[1:]:
        if _rounding(layer) == INPUTS:
            groups.append({layer.name, _source_of_scale(layer).name})
        elif _kind(layer) == "Concatenate":
            kept = [source for source in sources(layer) if _keeps_scale(source)]
            groups.append({layer.name, *(_source_of_scale(source).name for source in kept)})
    return groups


def _rounding(layer):
    """How a layer's output is rounded, whatever comes behind it."""
    kind = _kind(layer)
    table, key = ROUNDINGS, kind
    if kind == "Activation":
        table, key = ACTIVATIONS, layer.get_config()["activation"]
        kind = f"Activation({key!r})"
    if key not in table:
        raise UserError(
            f"layer {layer.name}: nothing is known of how {kind} is rounded: quantization knows "
            f"{', '.join(ROUNDINGS)}, and the activations {', '.join(ACTIVATIONS)}"
        )
    if kind == "BatchNormalization" and not _takes_over(layer, *sources(layer)):
        raise UserError(
            f"layer {layer.name}: a normalization that follows no convolution would stay in "
            "floating point: fold it away, as its family's `fold` does"
        )
    return table[key]


def _takes_over(consumer, layer) -> bool:
    """Whether a layer's values are rounded behind `consumer`, which takes them."""
    kind = _kind(consumer)
    if kind == "Concatenate":
        return True
    if kind == "Activation" and consumer.get_config()["activation"] != "relu":
        return False
    return _kind(layer) in FUSED.get(kind, ())


def _keeps_scale(layer) -> bool:
    return _rounding(layer) in (INPUTS, NONE)


def _source_of_scale(layer):
    """The nearest layer before this one that does not keep its input's scale."""
    (source,) = sources(layer)
    return _source_of_scale(source) if _keeps_scale(source) else source


def _kind(layer) -> str:
    return type(layer).__name__
