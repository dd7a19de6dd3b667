"""Keras' global settings are the caller's again after training, whatever they are."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_bisenet
from keras_bisenet.training.devices import suitable_precision
from keras_bisenet.training.keras_settings import keras_settings


@pytest.fixture
def odd_settings():
    """What a keras.json, or a caller, may have set."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")


def test_settings_are_put_back_after_work_and_after_failure(odd_settings):
    random.seed(5)
    np.random.seed(5)
    expected = random.Random(5).random(), np.random.RandomState(5).random()
    with pytest.raises(ZeroDivisionError), keras_settings(seed=1):
        assert keras.config.dtype_policy().name == "float32"
        assert keras.config.image_data_format() == "channels_last"
        drawn = random.random()
        keras.config.set_dtype_policy("mixed_float16")
        raise ZeroDivisionError
    assert drawn == random.Random(1).random()
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.image_data_format() == "channels_first"
    assert (random.random(), np.random.random()) == expected


def test_what_is_built_inside_is_the_same_everywhere(odd_settings):
    weights = []
    for _ in range(2):
        with keras_settings(seed=3):
            model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)])
        weights.append(model.get_weights()[0])
        random.random()
    np.testing.assert_array_equal(*weights)
    assert model.output_shape[-1] == 4
    assert model.layers[0].compute_dtype == "float32"


def test_a_run_leaves_the_settings_alone(tmp_path, tiny, odd_settings):
    """The whole of training, on channels-last images, from settings that are not its own."""
    from keras_bisenet.data import load_dataset
    from keras_bisenet.training.run import Run
    from keras_bisenet.training.saving import load_model
    from keras_bisenet.training.trainer import train

    config = tiny(epochs=1, boosters=False, precision="mixed_bfloat16", size="32x32")
    labels = load_dataset(config.dataset, config.data_dir).label_map
    run = Run.create(tmp_path / "run", config, labels)
    train(config, run)
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.image_data_format() == "channels_first"
    model = load_model(run.model_file)
    assert model.input_shape == (None, None, None, 3)
    assert {layer.compute_dtype for layer in model.layers if layer.weights} == {"float32"}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says what a CPU can do")
def test_the_precision_follows_from_the_cpu(tmp_path, monkeypatch):
    from keras_bisenet.training import devices

    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    cpuinfo = tmp_path / "cpuinfo"
    read = devices._cpu_flags
    monkeypatch.setattr(devices, "_cpu_flags", lambda: read(cpuinfo))
    for flags, expected in (
        ("flags\t: fpu avx512_bf16 sse", ("mixed_bfloat16", "this CPU has avx512_bf16")),
        ("flags\t: fpu amx_bf16 avx512_bf16", ("mixed_bfloat16", "this CPU has amx_bf16")),
        ("flags\t: fpu avx512f", ("float32", "this CPU has no instructions for bfloat16")),
        ("Features\t: fp asimd bf16", ("float32", "this CPU has no instructions for bfloat16")),
    ):
        cpuinfo.write_text(f"processor\t: 0\n{flags}\n\nprocessor\t: 1\n")
        assert suitable_precision() == expected
    cpuinfo.unlink()
    assert suitable_precision()[0] == "float32"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert suitable_precision() == (
        "float32",
        "oneDNN is turned off, without which bfloat16 is slow",
    )


TORCH = """
import keras
keras.backend.backend = lambda: "torch"  # as with KERAS_BACKEND=torch, where PyTorch is installed
from keras_bisenet.errors import UserError
from keras_bisenet.training.keras_settings import keras_settings
try:
    with keras_settings(0):
        print("trains")
except UserError as error:
    print(error)
"""


def test_another_backend_is_refused_in_one_line():
    done = subprocess.run(
        [sys.executable, "-c", TORCH],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(keras_bisenet.__file__).parents[1],
    )
    assert done.stdout == (
        "Keras' backend is torch, on which this does not train: set KERAS_BACKEND to tensorflow "
        "or jax\n"
    )
