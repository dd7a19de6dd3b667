"""`.keras` files: those of a later Keras, too, which say what this one does not know."""

from __future__ import annotations

import json
import zipfile

import keras
import numpy as np
import pytest

from keras_bisenet.errors import UserError
from keras_bisenet.training.saving import load_model, save_model
from keras_bisenet.training.weights import find_weights


@pytest.fixture(scope="module")
def model():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, kernel_initializer="he_normal", name="conv")(image)
    return keras.Model(image, keras.layers.BatchNormalization(name="norm")(x))


def later(model, path, initializer: dict, layer: dict):
    """Saves a model as a Keras to come may, whose initializers and layers have more arguments."""
    save_model(model, path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    conv, norm = (part["config"] for part in config["config"]["layers"][1:])
    conv["kernel_initializer"]["config"].update(initializer)
    norm.update(layer)
    content["config.json"] = json.dumps(config)
    content["metadata.json"] = json.dumps({"keras_version": "99.0"})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_what_a_later_keras_leaves_unused_is_no_hindrance(tmp_path, model):
    unused = {"foresight": False, "foresight_momentum": 0.99, "hindsight": None}
    path = later(model, tmp_path / "model.keras", {"far_axes": None}, unused)
    loaded = load_model(path)
    image = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(loaded(image), model(image))
    assert loaded.get_layer("conv").kernel_initializer.get_config().get("seed") is None


@pytest.mark.parametrize(
    ("initializer", "layer"),
    [
        ({"far_axes": [0]}, {}),
        ({"far_axes": None}, {"foresight": True}),
        ({}, {"foresight": False, "momentum_of_it": 0.99}),
    ],
)
def test_what_it_asks_for_and_is_not_known_is_told(tmp_path, model, initializer, layer):
    path = later(model, tmp_path / "model.keras", initializer, layer)
    ours = keras.__version__
    with pytest.raises(UserError, match=rf"no readable .*: Keras 99\.0 wrote it, this is {ours}$"):
        load_model(path)


def test_a_file_that_is_no_archive_is_one_error(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"PK" + bytes(100))
    with pytest.raises(UserError, match=r"model\.keras: no readable \.keras model \(.*\)$"):
        load_model(path)


def test_the_packaged_weights_answer_the_same_on_every_keras():
    """They were written by Keras 3.15, whose files no Keras before it reads by itself."""
    model = load_model(find_weights("camvid"))
    image = np.random.default_rng(0).random((1, 64, 96, 3), np.float32)
    logits = np.asarray(model(image))
    assert logits.shape == (1, 64, 96, 11)
    assert logits.mean() == pytest.approx(-1.752863, abs=1e-4)
    assert model.input is model.inputs[0]  # the file's is a list
    assert logits[0, 10, 10, 0] == pytest.approx(-4.712351, abs=1e-3)
