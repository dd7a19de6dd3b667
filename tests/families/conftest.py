"""The networks of a class of the harness, each made once."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("tensorflow") is None:
    collect_ignore_glob = ["*.py"]  # pip install '.[train]'


@pytest.fixture(scope="class")
def built(request):
    """The network with its boosters, in Keras 3."""
    from families.base import randomize

    return randomize(request.cls.build(boosters=True))


@pytest.fixture(scope="class")
def deployed(request, built):
    """The network as a device runs it, in tf_keras."""
    import tf_keras

    from keras_bisenet.models.deployment import deployment_model

    return deployment_model(built, request.cls.model, keras=tf_keras, **request.cls.tiny)


@pytest.fixture(scope="class")
def files(deployed):
    """The quantization-aware model and its int8 file, by the form of resizes."""
    import numpy as np
    from families.base import pictures

    from keras_bisenet.export.convert import convert_model
    from keras_bisenet.quantization.calibration import calibrate
    from keras_bisenet.quantization.qat import equalize_depthwise, quantization_aware
    from keras_bisenet.quantization.resizes import asymmetric_resizes

    found = {}
    for form, model in (("half-pixel", deployed), ("asymmetric", asymmetric_resizes(deployed))):
        equalize_depthwise(model)
        quantized = quantization_aware(model)
        calibrate(quantized, model, np.split(pictures(4, seed=1), 4), outliers=0)
        found[form] = quantized, convert_model(quantized, "int8")
    return found
