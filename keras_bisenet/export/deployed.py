"""The model of a run as it is put on a device.

The one module of this package that uses `quantization`, and only where a run is quantized: a float
run needs neither tf_keras nor tfmot to be converted and checked.
"""

from __future__ import annotations

import contextlib

from keras_bisenet.models.deployment import deployment_model
from keras_bisenet.training.run import Run
from keras_bisenet.training.saving import load_model


def deployed_model(run: Run, size: tuple[int, int] | None = None):
    """What `convert` converts.

    Args:
        run: A run of any kind.
        size: `(height, width)` of its input; defaults to the run's.

    Returns:
        A Keras 3 model for a float run; a tf_keras model for a quantized one, which computes in 8
        bits after QAT.

    Raises:
        UsageError: When the size does not fit the network.
        UserError: When the run has no model yet.
    """
    if run.quantization is None:
        config = run.config
        shape = (*(size or config.size), 3)
        source = load_model(run.require_model())
        return deployment_model(source, config.model, shape, **config.model_options)
    from keras_bisenet.quantization import loading

    is_qat = run.quantization.mode == "qat"
    return (loading.load_quantized if is_qat else loading.float_deployment_model)(run, size)


def converting(run: Run, model):
    """A context in which `model`, which `deployed_model(run, ...)` returned, can be converted."""
    if run.quantization is None or run.quantization.mode != "qat":
        return contextlib.nullcontext()
    from keras_bisenet.quantization import qat

    return qat.large_kernels_unrounded(model)


def unrounded_model(run: Run, model, size: tuple[int, int] | None = None):
    """The float model behind `model`, which `deployed_model(run, size)` returned: itself, but for a
    QAT run, whose network it is without the roundings."""
    if run.quantization is None or run.quantization.mode != "qat":
        return model
    from keras_bisenet.quantization import loading

    return loading.unrounded_model(run, model, size)
