"""Keras' global settings, as a piece of work needs them, and afterwards as they were."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import keras
import numpy as np

from keras_bisenet.errors import UsageError
from keras_bisenet.models.default_settings import default_settings

BACKENDS = ("tensorflow", "jax")


@contextlib.contextmanager
def keras_settings(seed: int) -> Iterator[None]:
    """Training's own settings inside the block, the caller's again behind it.

    Inside, layers compute in float32 on channels-last images unless they say otherwise, initial
    weights follow from `seed`, and what is set there (such as a distribution) stays there. A
    `keras.json` or a caller may have set something else.

    Raises:
        UsageError: When Keras' backend is one that cannot train here.
    """
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        raise UsageError(
            f"Keras' backend is {backend}, on which this does not train: set KERAS_BACKEND to "
            f"{' or '.join(BACKENDS)}"
        )
    distribution = keras.distribution.distribution()
    # Keras draws the seeds of its initializers from these two. They suffice: nothing here uses
    # the global generator of TensorFlow, which could not be put back.
    python_state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        with default_settings(keras):
            yield
    finally:
        keras.distribution.set_distribution(distribution)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
