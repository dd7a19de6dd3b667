"""The whole state of training in one file, so that it can go on as if it had never stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_bisenet.errors import UserError
from keras_bisenet.files import NPZ_ERRORS, replacing


def save_state(path: Path, model) -> None:
    """Writes weights, statistics and optimizer state, whole or not at all.

    Args:
        path: An `.npz` file.
        model: A compiled model of Keras 3 or tf_keras whose optimizer is built.
    """
    with replacing(path, durable=True) as temporary:
        np.savez(temporary, **{str(i): np.asarray(v) for i, v in enumerate(_variables(model))})


def load_state(path: Path, model) -> None:
    """Puts the state that `save_state` wrote back into a model built the same way.

    Raises:
        UserError: When the file is damaged, or belongs to another model.
    """
    variables = _variables(model)
    try:
        with path.open("rb") as file, np.load(file) as saved:
            values = [saved[str(i)] for i in range(len(saved.files))]
    except NPZ_ERRORS as error:
        raise UserError(f"{path}: damaged checkpoint ({error}): start a new run") from error
    if [value.shape for value in values] != [tuple(v.shape) for v in variables]:
        raise UserError(f"{path}: the checkpoint of another model: start a new run")
    for variable, value in zip(variables, values):
        variable.assign(value)


def _variables(model) -> list:
    return [*model.variables, *model.optimizer.variables]
