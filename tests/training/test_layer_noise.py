"""Signal-to-noise by layer: plausible in a sound file, and in a damaged one it names the layer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keras_bisenet.data import load_dataset
from keras_bisenet.export.compare import compare
from keras_bisenet.export.convert import convert
from keras_bisenet.export.layer_noise import layer_noise
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.quantization.quantizer import float_deployment_model
from keras_bisenet.runtime.segmenter import Segmenter


@pytest.fixture(scope="module")
def sound(int8_file, qat_run):
    """The comparison of a QAT run's file with the run."""
    return compare(int8_file, qat_run.path)


@pytest.fixture(scope="module")
def float_model(float_run, loaded_once):
    return float_deployment_model(float_run)


def measured(content, run, model):
    """The noise of each layer on an image."""
    dataset = load_dataset(run.config.dataset, run.config.data_dir)
    image, _ = dataset.read(dataset.split("val")[0])
    array, fit = Segmenter(content).prepare(image)
    return layer_noise(content, model, [(array, np.float32(fit.place(image)[None] / 255))])


def in_order(layers):
    return sorted(layers, key=lambda layer: layer.operator)


def owns(layers):
    return [math.inf if layer.own is None else layer.own for layer in layers]


def test_every_operator_is_a_layer_of_the_run(sound, int8_file):
    operators = read_model_file(int8_file).main.operators
    assert sound.operators == len(sound.layers) == len(operators)
    assert [layer.op for layer in in_order(sound.layers)] == [o.name for o in operators]
    names = [layer.layer for layer in in_order(sound.layers)]
    assert len(set(names)) == len(names)
    assert names[:2] == ["detail_s1_1_relu", "detail_s1_2_relu"] and names[-1] == "head_logits"


def test_a_sound_file_is_quiet_throughout(sound):
    assert owns(sound.layers) == sorted(owns(sound.layers))
    assert 15 < sound.layers[0].own < 35
    assert 25 < np.median(owns(sound.layers)) < 50
    first, *_, last = in_order(sound.layers)
    # Nothing comes into the first layer, and noise only grows.
    assert first.own == pytest.approx(first.total, abs=1e-3)
    assert 25 < first.own < 45
    assert 5 < last.total < last.own
    # Of values that are there already, max pooling chooses.
    pool = {layer.layer: layer for layer in sound.layers}["semantic_stem_right_pool"]
    assert pool.own is None and pool.total is not None


def test_a_layer_with_wrong_weights_is_the_worst(int8_file, qat_run, sound):
    before = {layer.layer: layer for layer in sound.layers}
    damaged = "semantic_s4_2_gather_relu"
    content = halved_weights(int8_file, before[damaged].operator)
    worst, *others = compare(content, qat_run.path, images=2).layers
    assert worst.layer == damaged
    assert worst.own < 10 < before[damaged].own - 5
    assert min(owns(others)) > worst.own + 5
    behind = {layer.layer: layer for layer in others}["head_conv_relu"]
    assert behind.total < before["head_conv_relu"].total
    assert behind.own > worst.own + 10


def halved_weights(path, operator: int) -> bytes:
    """A file in which the weights of a convolution are half of what they should be."""
    model = read_model_file(path)
    weights = model.main.tensors[model.main.operators[operator].inputs[1]]
    content = bytearray(model.data)
    place = slice(weights.data_offset, weights.data_offset + weights.data_size)
    content[place] = (model.array(weights) // 2).tobytes()
    return bytes(content)


def test_a_float_file_has_no_noise_to_speak_of(float_file, float_run, float_model):
    layers = measured(float_file.read_bytes(), float_run, float_model)
    assert len(layers) == len(read_model_file(float_file).main.operators)
    assert min(owns(layers)) > 90
    assert min(layer.total for layer in layers) > 80


# === What takes longer ===


@pytest.mark.slow
def test_fine_tuned_weights_are_no_noise(sound, int8_file, qat_run, float_model):
    """Against the float run each layer's own noise has the change of its weights in it."""
    against_float = measured(int8_file.read_bytes(), qat_run, float_model)
    assert len(against_float) == len(sound.layers)
    assert np.median(owns(against_float)) <= np.median(owns(sound.layers)) + 1


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "lowest"), [("float16", 40), ("dynamic", 15)])
def test_other_precisions(float_run, float_model, precision, lowest):
    content = convert(float_run, precision=precision)
    layers = measured(content, float_run, float_model)
    assert len(layers) > 60
    assert lowest < layers[0].own < 90


@pytest.mark.slow
def test_integers_of_16_bits_are_quieter(ptq_run, float_model):
    noise = {}
    for precision in ("int8", "int16x8"):
        layers = measured(convert(ptq_run, precision=precision), ptq_run, float_model)
        assert len(layers) > 60
        noise[precision] = np.median(owns(layers))
    assert noise["int16x8"] > noise["int8"] + 5


@pytest.mark.slow
def test_uint8_outside_changes_nothing(sound, qat_run, float_model):
    layers = measured(convert(qat_run, io="uint8"), qat_run, float_model)
    assert {layer.layer for layer in layers} == {layer.layer for layer in sound.layers}
