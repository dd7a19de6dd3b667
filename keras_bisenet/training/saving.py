"""Writing and reading `.keras` files."""

from __future__ import annotations

import inspect
import json
import tempfile
import zipfile
from pathlib import Path

import keras

from keras_bisenet.errors import UserError
from keras_bisenet.files import replacing
from keras_bisenet.models.default_settings import default_settings

CONFIG_FILE, METADATA_FILE = "config.json", "metadata.json"
"""What a `.keras` file, a ZIP archive, holds beside the weights."""


def save_model(model, path: Path) -> None:
    """Writes a `.keras` file, whole or not at all."""
    with replacing(path, durable=True) as temporary:
        model.save(temporary)


def load_model(path):
    """Reads a `.keras` file, one of a later Keras, too, unless it says what this one cannot do.

    Raises:
        UserError: When there is none, or it is damaged, or says such a thing.
    """
    damage = (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile)
    with default_settings(keras):
        try:
            return _of_a_tensor(keras.saving.load_model(path, compile=False))
        except damage as error:
            try:
                return _of_a_tensor(_load_without_the_unknown(path))
            except damage:
                reason = (str(error).splitlines() or [type(error).__name__])[-1]
                raise UserError(
                    f"{path}: no readable .keras model ({reason}){_other_version(path)}"
                ) from error


def load_segmentation_model(path):
    """Reads a `.keras` file as `load_model` does, of a network that answers with logits.

    Raises:
        UserError: When it cannot be read, or answers with something else.
    """
    model = load_model(path)
    if len(model.outputs) > 1:
        raise UserError(
            f"{path}: a model of {len(model.outputs)} outputs, as networks have in training: save "
            "the one with the logits alone, as a run's model.keras has it"
        )
    shape = tuple(model.outputs[0].shape)
    if len(shape) != 4:
        raise UserError(
            f"{path}: it answers with an array of {len(shape)} axes, not with logits for the "
            "places of an image: name a model that segments"
        )
    return model


def _of_a_tensor(model):
    """A model that was made from a list of one input, as those of version 0.1, takes the input
    itself: Keras warns at each call of the other."""
    if not isinstance(model.input, list) or len(model.inputs) > 1:
        return model
    output = model.outputs if len(model.outputs) > 1 else model.outputs[0]
    return keras.Model(model.inputs[0], output, name=model.name)


def _load_without_the_unknown(path):
    """Reads a file of a later Keras, whose layers and initializers have arguments that this one's
    have not. Where they ask for nothing (None or False), they are left out."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        config = _without_the_unknown(json.loads(archive.read(CONFIG_FILE)))
        known = Path(folder) / "model.keras"
        with zipfile.ZipFile(known, "w") as copy:
            copy.writestr(CONFIG_FILE, json.dumps(config))
            for name in archive.namelist():
                if name != CONFIG_FILE:
                    copy.writestr(name, archive.read(name))
        return keras.saving.load_model(known, compile=False)


def _without_the_unknown(value):
    if isinstance(value, list):
        return [_without_the_unknown(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _without_the_unknown(item) for key, item in value.items()}
    part = getattr(keras, str(value.get("module")).removeprefix("keras."), None)
    kind = getattr(part, str(value.get("class_name")), None)
    if inspect.isclass(kind) and isinstance(value.get("config"), dict):
        value["config"] = _asked_for(value["config"], _arguments(kind))
    return value


def _asked_for(config: dict, known: set[str]) -> dict:
    """A configuration without what is unknown and asks for nothing, and without what belongs to
    that, as `renorm_momentum` does to `renorm`."""
    unasked = [
        name
        for name, value in config.items()
        if name not in known and (value is None or value is False)
    ]
    return {
        name: value
        for name, value in config.items()
        if name in known or not any(f"{name}_".startswith(f"{other}_") for other in unasked)
    }


def _arguments(kind: type) -> set[str]:
    """What a class, or one that it comes from, takes when it is made."""
    return {name for base in kind.__mro__ for name in inspect.signature(base.__init__).parameters}


def _other_version(path) -> str:
    """Says so where another Keras wrote the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            wrote = json.loads(archive.read(METADATA_FILE))["keras_version"]
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile):
        return ""
    if wrote == keras.__version__:
        return ""
    return f": Keras {wrote} wrote it, this is {keras.__version__}"
