"""The models of a run as quantization has them: in tf_keras, and in its target's form."""

from __future__ import annotations

import tf_keras

from keras_bisenet.errors import UserError
from keras_bisenet.models.default_settings import default_settings
from keras_bisenet.models.deployment import deployment_model
from keras_bisenet.quantization.qat import quantization_aware
from keras_bisenet.quantization.resizes import asymmetric_resizes
from keras_bisenet.targets import DEFAULT_TARGET, TARGETS
from keras_bisenet.training.run import Run
from keras_bisenet.training.saving import load_model


@default_settings(tf_keras)
def float_deployment_model(run: Run, size=None):
    """The float model of a run as it is put on a device, in tf_keras and its target's form.

    Args:
        run: A float run, or a quantized one, which keeps the model that it started from.
        size: `(height, width)` of its input; defaults to the run's.

    Raises:
        UsageError: When the size is not a multiple of 32.
        UserError: When the run has no model yet.
    """
    training = run.config
    model = deployment_model(
        load_model(run.require_model()),
        training.model,
        (*(size or training.size), 3),
        keras=tf_keras,
        **training.model_options,
    )
    target = TARGETS[run.quantization.target if run.quantization else DEFAULT_TARGET]
    return asymmetric_resizes(model) if target.resize == "asymmetric" else model


@default_settings(tf_keras)
def load_quantized(run: Run, size=None):
    """The quantization-aware model of a run, in tf_keras, with its best weights.

    Args:
        run: A run that `train_quantized` filled.
        size: `(height, width)` of its input; defaults to the run's.

    Raises:
        UserError: When no epoch has been finished yet, or the weights are damaged.
    """
    path = run.quantized_weights_file
    if not path.is_file():
        raise UserError(
            f"{run.path}: no {path.name} here yet: finish an epoch "
            f"(keras-bisenet quantize RUN --run {run.path} --resume)"
        )
    model = quantization_aware(float_deployment_model(run, size))
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: damaged weights ({error}): quantize again") from error
    return model


def unrounded_model(run: Run, quantized, size=None):
    """The float model that a quantization-aware one would be without its roundings.

    Args:
        run: The run that `quantized` belongs to.
        quantized: A model that `load_quantized(run, size)` returned.
        size: `(height, width)` of its input; defaults to the run's.
    """
    model = float_deployment_model(run, size)
    trained = {weight.name: weight for weight in quantized.weights}
    for weight in model.weights:
        weight.assign(trained[weight.name])
    return model
