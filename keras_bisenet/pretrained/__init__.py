"""Trained models that come with the package. README.md here is their model card.

The int8 files, which devices run, are in this package. The float weights, which training starts
from, are four times as large and have a distribution of their own, `weights/` in the checkout.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from keras_bisenet.errors import UserError

PRETRAINED = ("camvid", "camvid-small")
"""Names of the trained models that are here: of their data set, and what is special about them."""


def pretrained_weights(name: str) -> Path:
    """The float model, a `.keras` file: what training starts from.

    Raises:
        UserError: When the distribution that has it is not installed, and this is no checkout.
    """
    checkout = Path(__file__).parents[2] / "weights" / "keras_bisenet_weights"
    installed = importlib.util.find_spec("keras_bisenet_weights")
    places = [Path(folder) for folder in installed.submodule_search_locations] if installed else []
    for place in (*places, checkout):
        path = place / f"{name}.keras"
        if path.is_file():
            return path
    raise UserError(
        f"{name}: the float weights have a package of their own: pip install ./weights in a "
        "checkout of keras-bisenet"
    )


def pretrained_model(name: str = "camvid") -> Path:
    """The int8 model, a `.tflite` file: what `run` and `bench` take when none is named."""
    return Path(__file__).with_name(f"{name}_int8.tflite")


def named_model(model: str) -> str:
    """The file that a user means by `model`: a packaged model by its name, unless a file has it."""
    if model in PRETRAINED and not Path(model).exists():
        return str(pretrained_model(model))
    return model
