"""Signal-to-noise by layer: plausible in a sound file, and in a damaged one it names the layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from first_wave import unpack

from keras_bisenet.data import load_dataset
from keras_bisenet.export.compare import compare
from keras_bisenet.export.convert import convert
from keras_bisenet.export.deployed import deployed_model
from keras_bisenet.export.layer_noise import layer_noise
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.training.run import Run


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Runs and files with weights that are the same on every machine; what a network learns in a
    minute differs from CPU to CPU."""
    return unpack(tmp_path_factory.mktemp("stored"))


@pytest.fixture(scope="module")
def sound(stored):
    """The comparison of a QAT run's file with the run."""
    return compare(stored / "int8.tflite", stored / "qat", data_dir=stored / "streets")


@pytest.fixture(scope="module")
def float_model(stored):
    return deployed_model(Run.open(stored / "float"))


def measured(content, stored, model):
    """The noise of each layer on an image."""
    dataset = load_dataset("streets", stored / "streets")
    image, _ = dataset.read(dataset.split("val")[0])
    array, fit = Segmenter(content).prepare(image)
    return layer_noise(content, model, [(array, np.float32(fit.place(image)[None] / 255))])


def in_order(layers):
    return sorted(layers, key=lambda layer: layer.operator)


def owns(layers):
    return [math.inf if layer.own is None else layer.own for layer in layers]


def test_every_operator_is_a_layer_of_the_run(sound, stored):
    operators = read_model_file(stored / "int8.tflite").main.operators
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


def test_a_layer_with_wrong_weights_is_the_worst(stored, sound):
    before = {layer.layer: layer for layer in sound.layers}
    damaged = "semantic_s4_2_gather_relu"
    content = halved_weights(stored / "int8.tflite", before[damaged].operator)
    images = {"data_dir": stored / "streets", "images": 2}
    worst, *others = compare(content, stored / "qat", **images).layers
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


def test_a_float_file_has_no_noise_to_speak_of(stored, float_model):
    content = convert(Run.open(stored / "float"), precision="float32")
    layers = measured(content, stored, float_model)
    operators = read_model_file(content).main.operators
    found = {layer.operator for layer in layers}
    # Keras adds the context's 1x1 map as a bias, for which it is reshaped.
    assert [o.name for o in operators if o.index not in found] == ["RESHAPE"]
    assert min(owns(layers)) > 90
    assert min(layer.total for layer in layers) > 80


# === What takes longer ===


@pytest.mark.slow
def test_fine_tuned_weights_are_no_noise(stored, float_model):
    """Against the float run each layer's own noise has the change of its weights in it."""
    file = stored / "int8.tflite"
    against_float = measured(file.read_bytes(), stored, float_model)
    # On the same image: noise differs from image to image.
    against_own = compare(file, stored / "qat", data_dir=stored / "streets", images=1).layers
    assert len(against_float) == len(against_own)
    assert np.median(owns(against_float)) <= np.median(owns(against_own)) + 1


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "lowest"), [("float16", 40), ("dynamic", 15)])
def test_other_precisions(stored, float_model, precision, lowest):
    content = convert(Run.open(stored / "float"), precision=precision)
    layers = measured(content, stored, float_model)
    assert len(layers) > 60
    assert lowest < layers[0].own < 90


@pytest.mark.slow
def test_integers_of_16_bits_are_quieter(stored, float_model):
    noise, run = {}, Run.open(stored / "ptq")
    for precision in ("int8", "int16x8"):
        layers = measured(convert(run, precision=precision), stored, float_model)
        assert len(layers) > 60
        noise[precision] = np.median(owns(layers))
    assert noise["int16x8"] > noise["int8"] + 5


@pytest.mark.slow
def test_uint8_outside_changes_nothing(sound, stored, float_model):
    layers = measured(convert(Run.open(stored / "qat"), io="uint8"), stored, float_model)
    assert {layer.layer for layer in layers} == {layer.layer for layer in sound.layers}
