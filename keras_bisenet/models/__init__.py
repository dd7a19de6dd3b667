"""Network graphs, and the named choices of their arguments.

| name | arguments | parameters, MACs at 512x1024 (19 classes) |
|---|---|---|
| `bisenetv2` | the paper's | 2.31 M, 16.0 G |
| `bisenetv2-large` | alpha 2, depth 3 (paper, Table 5) | 15.5 M, 66.0 G |
| `bisenetv2-small` | alpha 0.5, head width 64: for weak devices | 0.59 M, 4.1 G |
| `bisenetv1` | the first BiSeNet, on ResNet18 | 12.89 M, 25.9 G |
| `bisenetv1-light` | on Xception39 | 1.55 M, 6.9 G |
| `fcn32s`, `fcn16s`, `fcn8s` | FCN on VGG16 | 134.4 M, 221.7 G |
| `fcn8s-light` | FCN-8s on a narrow backbone with normalizations | 0.96 M, 5.3 G |

A further family is a module with a `FAMILY`, and its name in `FAMILIES`.
"""

from __future__ import annotations

from importlib import import_module

from keras_bisenet.errors import UsageError
from keras_bisenet.models.blocks import keras_or_default
from keras_bisenet.models.default_settings import default_settings
from keras_bisenet.models.family import Family

FAMILIES: tuple[Family, ...] = tuple(
    import_module(f"{__name__}.{module}").FAMILY
    for module in (
        "bisenetv2",
        "bisenetv1",
        "fcn",
    )
)
"""All families: each a module of this package with its `FAMILY`."""

MODELS = {name: family for family in FAMILIES for name in family.variants}
"""The family of every name that `--model` takes."""


def find_family(name: str) -> Family:
    """The family that a model's name belongs to.

    Raises:
        UsageError: When the name is unknown.
    """
    if name not in MODELS:
        raise UsageError(f"no model is named {name!r}: choose one of {', '.join(MODELS)}")
    return MODELS[name]


def build_model(name: str, num_classes: int, input_shape=(None, None, 3), **options):
    """Builds a named model; `options` go to its family's `build` and win over the name's own.

    It is a float32 graph of channels-last images whatever Keras' global settings are.

    Raises:
        UsageError: When the name is unknown, or an option or a size has no meaning.
    """
    family = find_family(name)
    options = {**family.variants[name], **options}
    try:
        with default_settings(keras_or_default(options.get("keras"))):
            return family.build(num_classes, input_shape, **options)
    except ValueError as error:
        raise UsageError(str(error)) from error
