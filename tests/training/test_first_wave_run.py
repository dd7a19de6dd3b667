"""Run directories of the first wave (commit 372e33b) evaluate, convert and quantize."""

import json

import numpy as np
import pytest
from first_wave import unpack

from keras_bisenet.runtime.interpreter import open_interpreter


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return unpack(tmp_path_factory.mktemp("first_wave"))


@pytest.mark.parametrize("model", ["float", "qat", "int8.tflite"])
def test_evaluate_measures_what_it_measured(folder, command, tmp_path, model):
    then = json.loads((folder / f"{model.split('.')[0]}.json").read_text())
    place = ("--dataset", "streets", "--data-dir", folder / "streets", "--split", "test")
    command("evaluate", folder / model, *place, "--json", tmp_path / "now.json")
    now = json.loads((tmp_path / "now.json").read_text())
    assert now["miou"] == pytest.approx(then["miou"], abs=2e-3)
    assert now["pixel_accuracy"] == pytest.approx(then["pixel_accuracy"], abs=2e-3)
    assert list(now["per_class"]) == list(then["per_class"])


@pytest.mark.parametrize(
    "run, file, options",
    [("float", "float32.tflite", ("--precision", "float32")), ("qat", "int8.tflite", ())],
)
def test_convert_writes_what_it_wrote(folder, command, tmp_path, run, file, options):
    command("convert", folder / run, "-o", tmp_path / file, *options)
    was, now = (answer(path / file) for path in (folder, tmp_path))
    assert was.shape == now.shape and was.dtype == now.dtype
    if was.dtype == np.float32:
        np.testing.assert_allclose(now, was, rtol=0, atol=1e-4 * np.abs(was).max())
    else:
        assert np.abs(now.astype(int) - was).max() <= 1


def test_a_ptq_run_still_converts(folder, command, tmp_path):
    printed = command("convert", folder / "ptq", "-o", tmp_path / "ptq.tflite")
    assert "int8" in printed
    assert answer(tmp_path / "ptq.tflite").dtype == np.int8


def answer(path) -> np.ndarray:
    """What a file makes of a fixed image of noise."""
    interpreter = open_interpreter(path)
    (image,) = interpreter.get_input_details()
    pixels = np.random.default_rng(0).integers(0, 256, image["shape"])
    values = pixels - 128 if image["dtype"] == np.int8 else pixels / 255
    interpreter.set_tensor(image["index"], values.astype(image["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
