"""An average of the weights over the steps, which often scores better than the last weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import keras


def averaged_weights(model) -> Callable[[], contextlib.AbstractContextManager]:
    """A context manager factory: the averaged weights are in the model while it is open.

    Args:
        model: A compiled model; where its optimizer keeps no average (`use_ema`), nothing changes.
    """
    if not model.optimizer.use_ema:
        return contextlib.nullcontext

    @contextlib.contextmanager
    def averaged():
        # Keras' own SwapEMAWeights swaps by adding and subtracting. That rounds, and a resumed run
        # would no longer be the uninterrupted one.
        weights = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]
        model.optimizer.finalize_variable_values(model.trainable_variables)
        for variable in model.trainable_variables:
            # On JAX it now has the optimizer's own buffer, which predicting would take from it.
            variable.assign(keras.ops.copy(variable))
        try:
            yield
        finally:
            for variable, weight in zip(model.trainable_variables, weights):
                variable.assign(weight)

    return averaged
