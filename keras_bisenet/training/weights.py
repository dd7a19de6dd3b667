"""Starting from trained weights: `keras-bisenet train --weights`."""

from __future__ import annotations

from pathlib import Path

from keras_bisenet.errors import UserError
from keras_bisenet.models.family import HEADS
from keras_bisenet.pretrained import PRETRAINED, pretrained_weights
from keras_bisenet.training.config import TrainingConfig
from keras_bisenet.training.run import Run


def find_weights(source: str) -> Path:
    """The `.keras` file that `source` means.

    Args:
        source: A name in `PRETRAINED`, a run directory, or a `.keras` file. A folder with such a
            name is `./NAME`.

    Raises:
        UserError: When there is no such file or run.
    """
    if source in PRETRAINED:
        return pretrained_weights(source)
    path = Path(source)
    if path.is_dir():
        return Run.open(path).require_model()
    if not path.is_file():
        raise UserError(
            f"{source}: no such weights: give a run directory, a .keras file, or one of "
            f"{', '.join(PRETRAINED)}"
        )
    return path


def learnt_val(source: str, config: TrainingConfig) -> bool:
    """Whether a model is known to have learnt images that a run is validated on: the packaged ones
    have, and runs of the same data that held out others or none, or trained on their val."""
    if source in PRETRAINED:
        return config.dataset == "camvid"
    path = Path(source)
    run = Run(path if path.is_dir() else path.parent)
    if not run.config_file.is_file() or run.config.dataset != config.dataset:
        return False
    differs = config.hold_out is not None and run.config.hold_out != config.hold_out
    return differs or run.config.train_on_val


def copy_trained(source, target) -> list[str]:
    """Copies the weights of every layer that two models have in common.

    Args:
        source: A trained model of Keras 3.
        target: The model to start.

    Returns:
        The names of the heads' layers that keep their initial weights, since `source` lacks them
        or tells another number of classes apart.

    Raises:
        ValueError: When another layer is missing, or has another shape.
    """
    given = {layer.name: layer.get_weights() for layer in source.layers if layer.weights}
    fresh = []
    for layer in target.layers:
        if not layer.weights:
            continue
        values = given.get(layer.name)
        fits = values and [v.shape for v in values] == [tuple(w.shape) for w in layer.weights]
        if fits:
            layer.set_weights(values)
        elif layer.name.startswith(HEADS):
            fresh.append(layer.name)
        else:
            found = [v.shape for v in values] if values else "missing"
            wanted = [tuple(w.shape) for w in layer.weights]
            raise ValueError(f"layer {layer.name} is {found}, here it is {wanted}")
    return fresh
