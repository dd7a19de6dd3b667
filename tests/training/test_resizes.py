"""`--target`: the forms that the Edge TPU and NNAPI want the network in."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tf_keras
from click.testing import CliRunner

from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.lite.record import read_record
from keras_bisenet.quantization import resizes
from keras_bisenet.quantization.loading import float_deployment_model
from keras_bisenet.quantization.resizes import AsymmetricUpSampling2D, asymmetric_resizes
from keras_bisenet.runtime.interpreter import open_interpreter
from keras_bisenet.training.run import Run


@pytest.fixture(scope="module")
def coral_run(float_run, command, loaded_once):
    """The float run, quantized for the Edge TPU."""
    run = Run(float_run.path.parent / "coral")
    options = ("--target", "coral", "--epochs", 1, "--batch-size", 4, "--calibration-images", 8)
    command("quantize", float_run.path, "--run", run.path, *options)
    return run


@pytest.fixture(scope="module")
def coral_file(coral_run, command):
    path = coral_run.path.parent / "coral.tflite"
    command("convert", coral_run.path, "-o", path)
    return path


# === The resize of the Edge TPU ===


def test_a_resize_without_half_pixel_centres():
    layer = AsymmetricUpSampling2D(2)
    line = np.array([0, 1, 3], np.float32).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(layer(line)[0, 0, :, 0], [0, 0.5, 1, 2, 3, 3])
    assert layer.compute_output_shape((None, 4, None, 7)) == (None, 8, None, 7)


def test_moved_back_it_is_in_its_place():
    """A slope comes out of the usual resize and of the Edge TPU's form alike."""
    rows, columns = np.mgrid[:8, :8]
    slope = (2 * rows + 3 * columns).astype(np.float32)[None, ..., None]
    image = tf_keras.Input((8, 8, 1))
    usual = tf_keras.layers.UpSampling2D(4, interpolation="bilinear", name="up")
    moved = asymmetric_resizes(tf_keras.Model(image, usual(image)))
    inner = np.s_[:, 6:-6, 6:-6]
    np.testing.assert_allclose(moved(slope)[inner], usual(slope)[inner], rtol=1e-5)
    shifted = AsymmetricUpSampling2D(4)(slope)
    assert np.abs(shifted[inner] - usual(slope)[inner]).min() > 1.8  # 3/8 * (2 + 3)


def test_the_rewrite_touches_bilinear_resizes_alone():
    """Names, order of inputs and weights stay; a bilinear resize gets a move before it."""
    image = tf_keras.Input((8, 8, 3), name="image")
    x = tf_keras.layers.Conv2D(2, 3, padding="same", name="conv")(image)
    near = tf_keras.layers.UpSampling2D(2, name="near")(x)
    far = tf_keras.layers.UpSampling2D(2, interpolation="bilinear", name="far")(x)
    x = tf_keras.layers.Concatenate(name="join")([near, far])
    model = tf_keras.Model(image, tf_keras.layers.Conv2D(5, 1, name="out")(x), name="toy")
    rewritten = asymmetric_resizes(model)
    names = [layer.name for layer in rewritten.layers]
    assert sorted(names) == ["conv", "far", "far_move", "image", "join", "near", "out"]
    assert rewritten.name == "toy"
    assert [type(rewritten.get_layer(name)).__name__ for name in ("near", "far")] == [
        "UpSampling2D",
        "AsymmetricUpSampling2D",
    ]
    for name in ("conv", "out"):
        for ours, theirs in zip(
            rewritten.get_layer(name).get_weights(), model.get_layer(name).get_weights()
        ):
            np.testing.assert_array_equal(ours, theirs)
    picture = np.full((1, 8, 8, 3), 0.5, np.float32)  # of one colour, no resize moves anything
    inner = np.s_[:, 4:-4, 4:-4]
    np.testing.assert_allclose(rewritten(picture)[inner], model(picture)[inner], atol=1e-6)


def test_the_two_forms_answer_alike_before_training(float_run, coral_run, streets):
    dataset = load_dataset("streets", streets)
    image, _ = dataset.read(dataset.split("test")[0])
    batch = image[None].astype(np.float32) / 255
    cpu, coral = (float_deployment_model(run)(batch).numpy() for run in (float_run, coral_run))
    assert cpu.shape == coral.shape
    assert (cpu.argmax(-1) == coral.argmax(-1)).mean() > 0.85


# === The files ===


def check(path, target, tmp_path, *options) -> dict:
    words = [path, "--target", target, "--json", tmp_path / "report.json", *options]
    result = CliRunner().invoke(main, ["check", *map(str, words)])
    assert result.exit_code in (0, 1), result.output
    return json.loads((tmp_path / "report.json").read_text())


def test_every_operator_maps_to_the_edge_tpu(coral_file, tmp_path):
    report = check(coral_file, "coral", tmp_path)
    assert report["passed"] and report["mapped"] == report["total"] > 70
    resizes = [op for op in report["operators"] if op["op"] == "RESIZE_BILINEAR"]
    assert [op["version"] for op in resizes] == [2, 2]
    assert not any(t.is_float for t in read_model_file(coral_file).main.tensors)
    assert read_record(coral_file).target == "coral"


def test_large_resizes_are_made_in_parts_to_the_same_bytes(
    coral_run, coral_file, command, tmp_path, monkeypatch
):
    """As at 512x1024, where the resizes have twice the outputs that are known to map."""
    monkeypatch.setattr(resizes, "LARGEST_BILINEAR_RESIZE", 600)  # of the 8x12x16 here
    command("convert", coral_run.path, "-o", tmp_path / "parts.tflite", "--no-golden")
    report = check(tmp_path / "parts.tflite", "coral", tmp_path)
    assert report["passed"]
    operators = read_model_file(tmp_path / "parts.tflite").main
    sizes = [
        operators.tensors[op.outputs[0]].num_elements
        for op in operators.operators
        if op.name == "RESIZE_BILINEAR"
    ]
    assert sizes == [480, 480, 576] * 2
    with np.load(coral_file.with_suffix(".golden.npz")) as golden:
        interpreter = open_interpreter(tmp_path / "parts.tflite", reference=True)
        for image, answer in zip(golden["inputs"], golden["reference"]):
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
            interpreter.invoke()
            found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
            np.testing.assert_array_equal(found, answer)


def test_the_cpu_form_does_not_and_nnapi_takes_it(int8_file, tmp_path):
    assert not check(int8_file, "coral", tmp_path)["passed"]
    report = check(int8_file, "nnapi", tmp_path)
    assert report["passed"] and report["mapped"] == report["total"]


def test_nnapi_takes_a_float16_file(float_run, command, tmp_path):
    """Its weights come by DEQUANTIZE from float16, which the delegate reads as they are."""
    path = tmp_path / "half.tflite"
    command("convert", float_run.path, "-o", path, "--precision", "float16", "--no-golden")
    report = check(path, "nnapi", tmp_path)
    assert report["passed"] and report["mapped"] == report["total"]
    names = [op["op"] for op in report["operators"]]
    assert names.count("DEQUANTIZE") > 30
    assert check(path, "coral", tmp_path)["mapped"] == 0


def test_a_run_for_the_cpu_is_one_for_nnapi(tmp_path, qat_run, command, int8_file):
    path = tmp_path / "nnapi.tflite"
    command("convert", qat_run.path, "-o", path, "--target", "nnapi")
    assert read_record(path).target == "nnapi"
    ours, cpu = (read_model_file(p).main for p in (path, int8_file))
    assert [op.name for op in ours.operators] == [op.name for op in cpu.operators]


def test_the_file_answers_as_its_model(coral_file, coral_run, tmp_path):
    report = check(coral_file, "coral", tmp_path, "--against", coral_run.path)
    # Three small images of a network that has learned little: many classes are almost equal.
    assert report["against"]["agreement"] > 0.98
    assert report["mapped"] == report["total"]


def test_wrong_targets(tmp_path, float_run, qat_run, coral_run):
    def refusal(*arguments):
        words = ["convert", *map(str, arguments), "-o", str(tmp_path / "model.tflite")]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 2
        assert not (tmp_path / "model.tflite").exists()
        return result.output.splitlines()[-1]

    assert refusal(qat_run.path, "--target", "coral") == (
        f"Error: {qat_run.path}: quantized for cpu, whose network has another form: quantize the "
        "float run again with --target coral"
    )
    assert refusal(coral_run.path, "--target", "cpu").endswith("again with --target cpu")
    assert refusal(float_run.path, "--target", "coral", "--precision", "float32") == (
        f"Error: {float_run.path}: the Edge TPU takes int8 alone: quantize first "
        f"(keras-bisenet quantize {float_run.path} --run {float_run.path}-coral --target coral)"
    )
