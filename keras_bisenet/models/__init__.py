"""Network graphs, and the named choices of their arguments.

| name | arguments | parameters, MACs at 512x1024 (19 classes) |
|---|---|---|
| `bisenetv2` | the paper's | 2.31 M, 16.0 G |
| `bisenetv2-large` | alpha 2, depth 3 (paper, Table 5) | 15.5 M, 66.0 G |
| `bisenetv2-small` | alpha 0.5, head width 64: for weak devices | 0.59 M, 4.1 G |
"""

from __future__ import annotations

from keras_bisenet.errors import UsageError

MODELS = {
    "bisenetv2": {},
    "bisenetv2-large": {"alpha": 2.0, "depth": 3},
    "bisenetv2-small": {"alpha": 0.5, "head_width": 64},
}

MODEL_OPTIONS = {
    "alpha": float,
    "depth": int,
    "semantic_ratio": float,
    "expansion": int,
    "head_width": int,
    "aggregation": str,
    "upsampling": str,
}
"""Arguments of `bisenetv2` that a configuration may give, and their types."""


def build_model(name: str, num_classes: int, input_shape=(None, None, 3), **options):
    """Builds a named model; `options` go to `bisenetv2` and win over the name's own.

    Raises:
        UsageError: When the name is unknown, or an option or a size has no meaning.
    """
    from keras_bisenet.models.bisenetv2 import bisenetv2

    if name not in MODELS:
        raise UsageError(f"no model is named {name!r}: choose one of {', '.join(MODELS)}")
    try:
        return bisenetv2(num_classes, input_shape, **{**MODELS[name], **options})
    except ValueError as error:
        raise UsageError(str(error)) from error


def copy_weights(source, target) -> None:
    """Copies the weights of every layer of `target` from the layer of that name in `source`.

    The two may come from different Kerases: weights travel as NumPy arrays. `target` may lack
    layers that `source` has (the boosters), not the other way round.

    Raises:
        ValueError: When `source` lacks a layer, or a shape differs.
    """
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())
