"""Segmentation models of other programs: fed and read as their metadata say, or refused.

The files in `third_party` were made by TensorFlow's own converter and metadata writer.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tflite_tiny import network

from keras_bisenet.cli import main
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.runtime import model_info
from keras_bisenet.runtime.interpreter import open_interpreter
from keras_bisenet.runtime.segmenter import Segmenter, pixel_encoder

FILES = Path(__file__).parent / "third_party"


@pytest.fixture
def image():
    """At the models' own size, so that nothing is resized on the way in."""
    return np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)


def raw_output(name, array):
    """What TFLite says, asked directly."""
    interpreter = open_interpreter(read_model_file(FILES / name))
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(given["index"], array[None])
    interpreter.invoke()
    return interpreter.get_tensor(answer["index"])[0]


def test_mean_deviation_and_labels_are_those_of_the_metadata(image, caplog):
    segmenter = Segmenter(FILES / "norm_meta.tflite")
    expected = raw_output("norm_meta.tflite", (image / 127.5 - 1).astype(np.float32))
    array, _ = segmenter.prepare(image)
    np.testing.assert_allclose(array[0], image / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(segmenter.segment(image).class_ids, expected.argmax(-1))
    as_if_from_0_to_1 = raw_output("norm_meta.tflite", (image / 255).astype(np.float32))
    assert (as_if_from_0_to_1.argmax(-1) != expected.argmax(-1)).mean() > 0.1
    assert segmenter.info.names == ("sky", "road", "tree", "car", "person")
    assert segmenter.info.guesses == () and not caplog.records


@pytest.mark.parametrize("name", ["sigmoid.tflite", "size_none.tflite"])
def test_what_the_file_does_not_say_is_said(name, caplog):
    size = (32, 48) if name == "size_none.tflite" else None
    with caplog.at_level(logging.WARNING, "keras_bisenet"):
        Segmenter(FILES / name, size=size)
    guesses = ["it does not say how pixels enter: they are taken as 0 to 1"]
    if name == "sigmoid.tflite":
        guesses.append(
            "its output has one channel: it is taken as the foreground's probability, from 0.5 on"
        )
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"{FILES / name}: {guess}" for guess in guesses]


def test_one_channel_is_a_binary_mask(image):
    segmenter = Segmenter(FILES / "sigmoid.tflite")
    assert segmenter.info.names == ("background", "foreground")
    probability = raw_output("sigmoid.tflite", (image / 255).astype(np.float32))
    coarse = segmenter.invoke(segmenter.prepare(image)[0]).argmax(-1)
    np.testing.assert_array_equal(coarse, probability[..., 0] > 0.5)
    ids = segmenter.segment(image).class_ids
    assert ids.shape == (64, 96) and set(np.unique(ids)) == {0, 1}
    assert abs((ids == 1).mean() - (probability > 0.5).mean()) < 0.1


def test_open_sides_take_a_size(image):
    segmenter = Segmenter(FILES / "size_none.tflite", size=(64, 96))
    assert segmenter.info.size == (64, 96)
    assert segmenter.segment(image).class_ids.shape == (64, 96)
    with pytest.raises(UsageError) as caught:
        Segmenter(FILES / "size_none.tflite")
    assert str(caught.value) == (
        f"{FILES / 'size_none.tflite'}: its input has open sides (1 x ? x ? x 3): give --size HxW"
    )
    with pytest.raises(UsageError, match="its input is of 64 x 96 pixels alone"):
        Segmenter(FILES / "norm_meta.tflite", size=(32, 48))


def test_the_commands_take_them(tmp_path, image):
    Image.fromarray(image).save(tmp_path / "a.png")
    arguments = ["run", str(FILES / "size_none.tflite"), str(tmp_path / "a.png")]
    arguments += ["-o", str(tmp_path / "out.png")]
    assert "give --size HxW" in CliRunner().invoke(main, arguments).output
    result = CliRunner().invoke(main, [*arguments, "--size", "64x96"])
    assert result.exit_code == 0 and (tmp_path / "out.png").is_file(), result.output
    result = CliRunner().invoke(main, ["run", str(FILES / "norm_meta.tflite"), *arguments[2:]])
    assert result.exit_code == 0 and "class 0" not in result.output


# === Single rules ===


def labels_of(files, lines):
    """The names that a file of these associated files says; only one of them is of labels."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, _ in files:
            archive.writestr(name, "\n".join(lines) if "labels" in name else "0.5\n0.25\n")
    model = types.SimpleNamespace(data=packed.getvalue())
    listed = [{"name": name, "type": kind} for name, kind in files]
    return model_info._packed_labels(model, {"outputs": [{"files": listed}]})


@pytest.mark.parametrize(
    "files",
    [
        [("scores.txt", "score calibration"), ("labels.txt", "axis labels")],
        [("words.txt", "unknown"), ("labels.txt", "value labels")],
        [("labels.txt", "axis labels"), ("labels_de.txt", "axis labels")],
    ],
)
def test_the_file_of_labels_is_the_one_that_says_so(files):
    assert labels_of(files, ["\ufeffroad", "sky", "", "car", "car"]) == (
        "road",
        "sky",
        "car",
        "car (3)",
    )


def test_files_of_other_things_name_no_classes():
    assert labels_of([("scores.txt", "score calibration")], []) is None


def test_one_label_is_the_foreground():
    assert labels_of([("labels.txt", "axis labels")], ["crack"]) == ("background", "crack")


def output(*shape, dtype=np.float32):
    return {"shape": np.array(shape), "dtype": dtype, "quantization": (0.0, 0)}


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((1, 64, 128, 19), (512, 1024), ("logits", 8, 19)),
        ((1, 33, 33, 21), (513, 513), ("logits", 16, 21)),
        ((1, 257, 257, 21), (257, 257), ("logits", 1, 21)),
        ((1, 45, 60, 3), (360, 480), ("logits", 8, 3)),
        ((1, 9, 13, 4), (65, 97), ("logits", 7, 4)),
    ],
)
def test_classes_last(shape, size, expected):
    assert model_info._guess_output(output(*shape), size, "m", False) == expected


@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 19, 64, 128), (512, 1024)), ((1, 21, 64, 64), (64, 64)), ((1, 2, 360, 480), (360, 480))],
)
def test_classes_first_are_named(shape, size):
    with pytest.raises(UserError, match=r"has the classes first \(NCHW\): convert it with"):
        model_info._guess_output(output(*shape), size, "m", False)


@pytest.mark.parametrize("shape", [(1, 10, 90, 7), (1, 1, 1, 5), (1, 200, 200, 3)])
def test_what_has_another_aspect_is_no_segmentation(shape):
    with pytest.raises(UserError, match="is no segmentation: 1 x height x width x classes"):
        model_info._guess_output(output(*shape), (96, 96), "m", False)


def test_red_green_and_blue_may_enter_differently(image):
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    said = {"inputs": [{"mean": mean, "std": std}]}
    scale, offset = model_info._normalization(said, "m")
    info = Segmenter(network((64, 96), precision="float32")).info
    encode = pixel_encoder(dataclasses.replace(info, input_scale=scale, input_offset=offset))
    encoded = encode(image[None])
    assert encoded.dtype == np.float32 and encoded.shape == (1, 64, 96, 3)
    np.testing.assert_allclose(encoded[0], (image - mean) / std, atol=1e-5)


@pytest.mark.parametrize(("mean", "std"), [([1, 2], [1]), ([0], [0]), ([1, 1, 1, 1], [2])])
def test_metadata_that_normalize_no_image(mean, std):
    with pytest.raises(UserError, match="normalize no image of three channels: mend them"):
        model_info._normalization({"inputs": [{"mean": mean, "std": std}]}, "m")
