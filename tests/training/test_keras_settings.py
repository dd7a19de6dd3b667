"""Keras' global settings are the caller's again after any work, and say nothing of its result."""

from __future__ import annotations

import random
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from keras_bisenet.data import load_dataset
from keras_bisenet.errors import UsageError
from keras_bisenet.export.convert import convert
from keras_bisenet.lite.record import read_record
from keras_bisenet.models import build_model
from keras_bisenet.models.default_settings import default_settings
from keras_bisenet.models.deployment import deployment_model
from keras_bisenet.quantization.quantizer import quantize
from keras_bisenet.training.config import QuantizationConfig
from keras_bisenet.training.devices import suitable_precision
from keras_bisenet.training.evaluation import KerasSegmenter
from keras_bisenet.training.keras_settings import keras_settings
from keras_bisenet.training.run import Run
from keras_bisenet.training.saving import load_model
from keras_bisenet.training.trainer import train

ODD = "float16", "channels_first", "mixed_bfloat16"


def put(settings):
    """Changes the settings of both Kerases."""
    floatx, data_format, policy = settings
    for kind in (keras, tf_keras):
        kind.backend.set_floatx(floatx)
        kind.backend.set_image_data_format(data_format)
        kind.mixed_precision.set_global_policy(policy)


def found(kind):
    """The settings of one Keras."""
    policy = kind.mixed_precision.global_policy()
    return kind.backend.floatx(), kind.backend.image_data_format(), policy.name


@pytest.fixture
def odd_settings():
    """What a keras.json, or a caller, may have set."""
    put(ODD)
    yield
    put(("float32", "channels_last", "float32"))


def test_settings_are_put_back_after_work_and_after_failure(odd_settings):
    random.seed(5)
    np.random.seed(5)
    expected = random.Random(5).random(), np.random.RandomState(5).random()
    with pytest.raises(ZeroDivisionError), keras_settings(seed=1):
        assert found(keras) == ("float32", "channels_last", "float32")
        assert found(tf_keras) == ODD
        drawn = random.random()
        keras.config.set_dtype_policy("mixed_float16")
        raise ZeroDivisionError
    assert drawn == random.Random(1).random()
    assert found(keras) == ODD
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


def test_the_settings_of_both_kerases_are_put_back(odd_settings):
    with pytest.raises(ZeroDivisionError), default_settings(keras, tf_keras):
        assert found(keras) == found(tf_keras) == ("float32", "channels_last", "float32")
        tf_keras.backend.set_floatx("float64")
        raise ZeroDivisionError
    assert found(keras) == found(tf_keras) == ODD


@pytest.mark.parametrize("kind", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_a_graph_is_the_same_whatever_the_settings(kind):
    """Of a network, and of its form for devices: `import` and `convert` make them."""
    options = {"alpha": 0.125, "head_width": 8}
    image = np.random.default_rng(0).random((1, 32, 64, 3), np.float32)
    source = build_model("bisenetv2", 5, **options)
    graphs = {}
    for settings in (("float32", "channels_last", "float32"), ODD):
        put(settings)
        try:
            graph = deployment_model(source, "bisenetv2", (32, 64, 3), keras=kind, **options)
        finally:
            put(("float32", "channels_last", "float32"))
        graphs[settings] = graph.to_json(), np.asarray(graph(image))
    (graph, answer), (odd_graph, odd_answer) = graphs.values()
    assert odd_graph == graph
    assert answer.dtype == odd_answer.dtype == np.float32
    np.testing.assert_array_equal(odd_answer, answer)


def run_made(path, config):
    """A run that is trained from settings that are not its own, and its model."""
    labels = load_dataset(config.dataset, config.data_dir).label_map
    run = Run.create(path, config, labels)
    train(config, run)
    assert found(keras) == found(tf_keras) == ODD
    model = load_model(run.model_file)
    assert model.input_shape == (None, None, None, 3)
    assert {layer.compute_dtype for layer in model.layers if layer.weights} == {"float32"}
    return run, model


def test_a_run_leaves_the_settings_alone(tmp_path, tiny, odd_settings):
    config = tiny(epochs=1, boosters=False, precision="mixed_bfloat16", size="32x32")
    run_made(tmp_path / "run", config)


@pytest.mark.slow
def test_a_quantized_run_leaves_the_settings_alone(tmp_path, tiny, odd_settings):
    """Quantizing, converting and evaluating too, at other scales."""
    config = tiny(epochs=1, boosters=False, size="32x32")
    run, model = run_made(tmp_path / "run", config)
    quantization = QuantizationConfig(epochs=1, batch_size=4, calibration_images=2, seed=7)
    quantized = Run.create(tmp_path / "qat", config, run.label_map, quantization)
    random.seed(5)
    np.random.seed(5)
    tf.random.set_seed(5)
    quantize(run, quantized, quantization)
    assert random.random() == random.Random(5).random()
    assert np.random.random() == np.random.RandomState(5).random()
    assert tf.compat.v1.get_seed(None)[0] == 5
    assert read_record(convert(quantized)).miou == quantized.best_miou()
    image = np.zeros((32, 32, 3), np.uint8)
    classes = KerasSegmenter(model, (32, 32), scales=(1.0, 2.0)).segment(image)
    assert classes.shape == (32, 32)
    assert found(keras) == found(tf_keras) == ODD


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says what a CPU can do")
def test_the_precision_follows_from_the_cpu(tmp_path, monkeypatch):
    from keras_bisenet.training import devices

    for name in ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
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
    cpuinfo.write_text("flags\t: fpu avx512_bf16 sse\n")
    for limit, expected in (("avx2", "float32"), ("AVX512_CORE_BF16", "mixed_bfloat16")):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert suitable_precision()[0] == expected
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    cpuinfo.unlink()
    assert suitable_precision()[0] == "float32"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert suitable_precision() == (
        "float32",
        "oneDNN is turned off, without which bfloat16 is slow",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says what a CPU can do")
@pytest.mark.parametrize(
    ("flags", "limit", "expected"),
    [
        ("flags\t: fpu avx avx2 fma", "", "AVX2"),
        ("flags\t: fpu avx2 avx512f avx512bw", "", "AVX512"),
        ("flags\t: fpu avx2 avx512f avx512bw", "avx2", "AVX2"),
        ("flags\t: fpu avx2 avx512f avx512bw", "AVX512_CORE", "AVX512"),
        ("flags\t: fpu avx", "", None),
        ("Features\t: fp asimd", "", None),
    ],
)
def test_what_a_cpu_computes_float32_with(tmp_path, monkeypatch, flags, limit, expected):
    from keras_bisenet.training import devices

    for name in ("TF_ENABLE_ONEDNN_OPTS", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"{flags}\n")
    read = devices._cpu_flags
    monkeypatch.setattr(devices, "_cpu_flags", lambda: read(cpuinfo))
    assert devices.cpu_instructions() == expected
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert devices.cpu_instructions() is None


def test_another_backend_is_refused_in_one_line(monkeypatch):
    """As with KERAS_BACKEND=torch, where PyTorch is installed."""
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(UsageError) as refused, keras_settings(0):
        pass
    assert str(refused.value) == (
        "Keras' backend is torch, on which this does not train: set KERAS_BACKEND to tensorflow "
        "or jax"
    )
