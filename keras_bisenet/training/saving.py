"""Writing and reading `.keras` files."""

from __future__ import annotations

from pathlib import Path

import keras

from keras_bisenet.errors import UserError
from keras_bisenet.files import replacing
from keras_bisenet.models.default_settings import default_settings


def save_model(model, path: Path) -> None:
    """Writes a `.keras` file, whole or not at all."""
    with replacing(path) as temporary:
        model.save(temporary)


def load_model(path):
    """Reads a `.keras` file.

    Raises:
        UserError: When there is none, or it is damaged.
    """
    try:
        with default_settings(keras):
            return keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"{path}: no readable .keras model ({error})") from error
