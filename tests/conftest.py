"""What the tests share. The expensive things are made once: a data set, and runs trained on it."""

from __future__ import annotations

import functools
import importlib.util
import os
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

# TensorFlow reads it when it is imported, here or in a subprocess.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).parents[1]

RUNS = re.compile(r"\b(float_run|float_file|qat_run|int8_file|ptq_run)\b")
"""The fixtures that take longest to make, one from the other."""


@pytest.hookimpl(optionalhook=True)  # only the training half has pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    """Each process makes the session's fixtures for itself: a module stays in one process, and so
    do all modules that name one of `RUNS`."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            module = nodeid.split("::")[0]
            return "runs" if uses_runs(config.rootpath / module) else module

    return ByModule(config, log)


@functools.cache
def uses_runs(module: Path) -> bool:
    return RUNS.search(module.read_text(encoding="utf-8")) is not None


@pytest.fixture(scope="session")
def streets(tmp_path_factory) -> Path:
    """A data set of 8 training, 3 validation and 3 test images of 64x96."""
    from keras_bisenet.data.streets import generate_streets

    directory = tmp_path_factory.mktemp("streets")
    generate_streets(directory, counts={"train": 8, "val": 3, "test": 3}, size=(64, 96))
    return directory


@pytest.fixture(scope="session")
def tiny(streets):
    """A function that makes the configuration of a small network on the streets."""
    from keras_bisenet.training.config import make_config

    def configuration(**changes):
        from keras_bisenet.training.config import TrainingConfig

        return make_config(
            TrainingConfig,
            {
                "dataset": "streets",
                "data_dir": str(streets),
                "size": "64x96",
                "model_options": {"alpha": 0.125, "head_width": 8},
                "batch_size": 4,
                "epochs": 2,
                **changes,
            },
        )

    return configuration


@pytest.fixture(scope="session")
def trained():
    """A function that trains what a configuration says into a folder, and returns the run."""

    def train_into(path, config):
        import keras

        from keras_bisenet.data import load_dataset
        from keras_bisenet.training.run import Run
        from keras_bisenet.training.trainer import train

        keras.utils.clear_session()
        run = Run.create(path, config, load_dataset(config.dataset, config.data_dir).label_map)
        try:
            train(config, run)
        finally:
            keras.config.set_dtype_policy("float32")
        return run

    return train_into


@pytest.fixture(scope="session")
def float_run(tmp_path_factory, tiny, trained):
    """A run that has learnt a little: road and sky."""
    config = tiny(epochs=20, validate_every=10, optimizer="adamw", learning_rate=0.01)
    return trained(tmp_path_factory.mktemp("runs") / "float", config)


@pytest.fixture(scope="session")
def command():
    """A function that runs `keras-bisenet` with some arguments, and returns what it printed."""
    from keras_bisenet.cli import main

    def run(*arguments):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture(scope="session")
def loaded_once():
    """Building a model for a device takes seconds: the session has one of each run and size."""
    from keras_bisenet.quantization import loading

    with pytest.MonkeyPatch.context() as patch:
        for name in ("float_deployment_model", "load_quantized"):
            patch.setattr(loading, name, _once(getattr(loading, name)))
        yield


def _once(load):
    models = {}

    def load_once(run, size=None):
        key = run.path, size or run.config.size
        if key not in models:
            models[key] = load(run, size)
        return models[key]

    return load_once


@pytest.fixture(scope="session")
def qat_run(float_run, command, loaded_once):
    """The float run after an epoch of quantization-aware training."""
    from keras_bisenet.training.run import Run

    run = Run(float_run.path.parent / "qat")
    options = ("--epochs", 1, "--batch-size", 4, "--calibration-images", 8)
    before = random_state()
    command("quantize", float_run.path, "--run", run.path, *options)
    assert random_state() == before, "it has a seed of its own, and leaves the process's alone"
    return run


def random_state() -> tuple:
    """Where the process's random numbers are: Python's, NumPy's, and TensorFlow's seed."""
    import numpy as np
    import tensorflow as tf

    numpy_state = pickle.dumps(np.random.get_state())
    return random.getstate(), numpy_state, tf.compat.v1.get_seed(None)[0]


@pytest.fixture(scope="session")
def ptq_run(float_run, command, loaded_once):
    """The float run with images for calibration."""
    from keras_bisenet.training.run import Run

    run = Run(float_run.path.parent / "ptq")
    options = ("--mode", "ptq", "--calibration-images", 8)
    command("quantize", float_run.path, "--run", run.path, *options)
    return run


@pytest.fixture(scope="session")
def float_file(float_run, command, loaded_once) -> Path:
    """The float run as a `.tflite` file."""
    path = float_run.path.parent / "float32.tflite"
    command("convert", float_run.path, "-o", path, "--precision", "float32")
    return path


@pytest.fixture(scope="session")
def int8_file(qat_run, command) -> Path:
    """The QAT run as a `.tflite` file."""
    path = qat_run.path.parent / "int8.tflite"
    command("convert", qat_run.path, "-o", path)
    return path


@pytest.fixture(scope="session")
def start_on_jax():
    """A function that starts a Python program whose Keras runs on JAX, by default on two devices.

    JAX compiles for a while, so tests start it early, and late call what this returns: a function
    that waits for the end and returns what was printed.
    """
    processes = []
    # Without optimization XLA compiles in a fraction of the time, and runs as fast on tiny images.
    flags = "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count={}"
    environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}

    def start(program, *arguments, devices=2):
        if importlib.util.find_spec("jax") is None:
            return lambda: pytest.skip("JAX is not installed: pip install '.[test]'")
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment, "XLA_FLAGS": flags.format(devices)},
            cwd=ROOT,
        )
        processes.append(process)

        def result() -> str:
            output, _ = process.communicate()
            assert process.returncode == 0, output
            return output

        return result

    yield start
    for process in processes:
        with process:
            process.kill()


@pytest.fixture(scope="session")
def camvid() -> Path:
    """CamVid's folder, `$KERAS_BISENET_DATA/camvid`."""
    data = os.environ.get("KERAS_BISENET_DATA")
    if not data or not (Path(data) / "camvid").is_dir():
        pytest.skip("CamVid is not at hand: set KERAS_BISENET_DATA to the folder that has camvid")
    return Path(data) / "camvid"
