"""The table of roundings: what is known is rounded as TFLite does, all else is refused by name."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from keras_bisenet.errors import UserError
from keras_bisenet.export.convert import convert_model
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.quantization import calibration, qat
from keras_bisenet.quantization.rounding import ACTIVATIONS, roundings, shared_ranges
from keras_bisenet.runtime.interpreter import open_interpreter

layers = tf_keras.layers
SHAPE = (8, 12, 3)


def model_of(*chain):
    """A model of layers in a row, with a convolution before them and one behind."""
    tf_keras.utils.set_random_seed(1)
    x = image = tf_keras.Input(SHAPE, name="image")
    for layer in (layers.Conv2D(4, 1, name="first"), *chain, layers.Conv2D(5, 1, name="last")):
        x = layer(x)
    return tf_keras.Model(image, x, name="toy")


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ([layers.Activation("sigmoid", name="x")], {"first": "own", "x": (0, 255 / 256)}),
        ([layers.Activation("tanh", name="x")], {"first": "own", "x": (-1, 127 / 128)}),
        ([layers.Activation("relu", name="x")], {"first": "none", "x": "own"}),
        ([layers.Activation("linear", name="x")], {"first": "own", "x": "none"}),
        ([layers.ReLU(name="x")], {"first": "none", "x": "own"}),
        (
            [layers.BatchNormalization(name="x"), layers.ReLU(name="y")],
            {"first": "none", "x": "none", "y": "own"},
        ),
        ([layers.ZeroPadding2D(1, name="x")], {"first": "own", "x": "none"}),
        ([layers.Cropping2D(1, name="x")], {"first": "own", "x": "none"}),
        ([layers.Dropout(0.1, name="x")], {"first": "own", "x": "none"}),
        ([layers.AveragePooling2D(2, name="x")], {"first": "own", "x": "input's"}),
        # An activation is one kernel with a convolution, not with a pooling.
        (
            [layers.AveragePooling2D(2, name="x"), layers.ReLU(name="y")],
            {"first": "own", "x": "input's", "y": "own"},
        ),
    ],
    ids=lambda value: "-".join(x.name for x in value) if isinstance(value, list) else "",
)
def test_what_is_rounded(chain, expected):
    assert roundings(model_of(*chain)) == {**expected, "last": "own"}


def test_a_layer_that_chooses_has_its_inputs_scale():
    model = model_of(
        layers.ZeroPadding2D(1, name="pad"),
        layers.AveragePooling2D(3, strides=1, name="pool"),
        layers.MaxPooling2D(2, name="max"),
        layers.UpSampling2D(2, name="up"),
    )
    assert shared_ranges(model) == [{"pool", "first"}, {"up", "first"}]


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (layers.Activation("swish", name="odd"), r"Activation\('swish'\)"),
        (layers.LeakyReLU(name="odd"), "LeakyReLU"),
        (layers.PReLU(name="odd"), "PReLU"),
        (layers.Dense(4, name="odd"), "Dense"),
        (layers.LayerNormalization(name="odd"), "LayerNormalization"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_layer_that_the_table_does_not_know_is_refused_by_name(layer, what):
    with pytest.raises(UserError, match=rf"^layer odd: nothing is known of how {what} is rounded"):
        qat.quantization_aware(model_of(layer))


def test_dropout_in_fine_tuning_follows_from_pythons_seed():
    """TensorFlow's global seed need not be set, which could not be put back."""
    model = model_of(layers.Dropout(0.5, name="dropout"))
    picture = np.random.default_rng(0).random((1, *SHAPE), np.float32)
    answers = []
    for seed in (3, 3, 4):
        random.seed(seed)
        answer = tf.function(qat.quantization_aware(model))
        answers.append(answer(picture, training=True).numpy())
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_a_normalization_on_its_own_is_refused():
    chain = layers.ReLU(name="relu"), layers.BatchNormalization(name="alone")
    with pytest.raises(
        UserError, match="^layer alone: a normalization that follows no convolution"
    ):
        roundings(model_of(*chain))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_files_round_as_the_table_says(activation):
    """Padding and an activation in integers: within a step of the quantization-aware model."""
    model = model_of(
        layers.ZeroPadding2D(1, name="pad"),
        layers.Conv2D(6, 3, strides=2, name="middle"),
        layers.Activation(activation, name="activation"),
        layers.Cropping2D(1, name="crop"),
    )
    quantized = qat.quantization_aware(model)
    pictures = np.random.default_rng(0).random((4, 1, *SHAPE), np.float32)
    calibration.calibrate(quantized, model, pictures)
    content = convert_model(quantized, "int8")
    assert {t.dtype for t in read_model_file(content).main.tensors} <= {"INT8", "INT32"}

    interpreter = open_interpreter(content)
    (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = found["quantization"]
    for picture in pictures:
        pixels = np.round(picture * 255)
        interpreter.set_tensor(given["index"], (pixels - 128).astype(np.int8))
        interpreter.invoke()
        answer = (interpreter.get_tensor(found["index"]).astype(int) - zero_point) * scale
        expected = quantized((pixels / 255).astype(np.float32), training=False).numpy()
        assert np.abs(answer - expected).max() <= 1.01 * scale
        assert expected.std() > 5 * scale
