"""Quantization: what is rounded, and that the integers are those that training saw."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from click.testing import CliRunner

import keras_bisenet
from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.export.compare import compare
from keras_bisenet.export.convert import convert, convert_model
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.lite.record import read_record
from keras_bisenet.models.bisenetv2 import bisenetv2
from keras_bisenet.models.deployment import deployment_model
from keras_bisenet.quantization import calibration, loading, qat
from keras_bisenet.quantization.loading import float_deployment_model, load_quantized
from keras_bisenet.quantization.quantizer import quantize
from keras_bisenet.runtime.interpreter import open_interpreter
from keras_bisenet.runtime.segmenter import Segmenter
from keras_bisenet.training.config import QuantizationConfig, TrainingConfig, write_config
from keras_bisenet.training.run import Run

SIZE = (64, 96)


@pytest.fixture(scope="module")
def float_model(float_run, loaded_once):
    """The float deployment model."""
    return loading.float_deployment_model(float_run)


@pytest.fixture(scope="module")
def qat_model(qat_run):
    """The quantization-aware model, with the weights of the best epoch."""
    return loading.load_quantized(qat_run)


@pytest.fixture(scope="module")
def calibrated(float_model, pictures):
    """A quantization-aware model that has been calibrated, and not trained."""
    quantized = qat.quantization_aware(float_model)
    calibration.calibrate(quantized, float_model, (as_float(picture) for picture in pictures))
    return quantized


@pytest.fixture(scope="module")
def pictures(float_run):
    """All images of the data set: uint8 [height, width, 3]."""
    dataset = load_dataset("streets", float_run.config.data_dir)
    return [dataset.read(sample)[0] for split in dataset.splits.values() for sample in split]


def as_float(picture):
    return picture[None].astype(np.float32) / 255


def noise(count, seed=0):
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, *SIZE, 3), dtype=np.uint8))


def invoke(content, values):
    """An interpreter's raw output, and its scale and zero point."""
    interpreter = open_interpreter(content)
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(image["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(output["index"]), output["quantization"]


def tensor_types(content) -> set[str]:
    (graph,) = read_model_file(content).subgraphs
    return {tensor.dtype for tensor in graph.tensors}


def operators(content) -> set[str]:
    (graph,) = read_model_file(content).subgraphs
    return {operator.name for operator in graph.operators}


def wrappers(quantized):
    """The wrapped layers by the name of the layer inside."""
    return {layer.layer.name: layer for layer in quantized.layers if hasattr(layer, "layer")}


# === The quantization-aware model ===


def test_every_layer_of_the_float_model_is_in_the_quantized_one(float_model, qat_model):
    names = [layer.name for layer in float_model.layers[1:]]
    assert sorted(wrappers(qat_model)) == sorted(names)
    assert not [name for name in names if "booster" in name or "pool_bn" in name]


def test_concatenation_keeps_the_order_of_its_inputs(float_model, qat_model):
    """tfmot's own transform for Concatenate may exchange them."""

    def inputs(layer):
        sources = tf.nest.flatten(layer.inbound_nodes[0].inbound_layers)
        return [source.name.replace("quant_", "") for source in sources]

    expected = ["semantic_stem_left_2_relu", "semantic_stem_right_pool"]
    assert inputs(float_model.get_layer("semantic_stem_concat")) == expected
    assert inputs(qat_model.get_layer("quant_semantic_stem_concat")) == expected


@pytest.mark.parametrize(
    ("layer", "weights", "output"),
    [
        # one kernel: rounded once, behind the activation
        ("detail_s1_1", True, "none"),
        ("detail_s1_1_bn", False, "none"),
        ("detail_s1_1_relu", False, "own"),
        # no activation: rounded behind the normalization
        ("semantic_s4_2_expand", True, "none"),
        ("semantic_s4_2_expand_bn", False, "own"),
        ("bga_out_bn", False, "own"),
        # no normalization
        ("bga_detail_keep_conv", True, "own"),
        ("head_logits", True, "own"),
        # an addition and its activation are one kernel
        ("semantic_s4_2_add", False, "none"),
        ("semantic_s4_2_relu", False, "own"),
        ("semantic_context_add", False, "own"),
        ("bga_sum", False, "own"),
        # one scale, behind the concatenation
        ("semantic_stem_left_2_relu", False, "none"),
        ("semantic_stem_right_pool", False, "none"),
        ("semantic_stem_concat", False, "own"),
        # what tfmot's own scheme does not know, or rounds elsewhere
        ("bga_fine", False, "own"),
        ("bga_coarse", False, "own"),
        ("bga_semantic_up_gate", False, (0.0, 255 / 256)),
        ("bga_semantic_keep_gate", False, (0.0, 255 / 256)),
        ("semantic_context_pool", False, "own"),
    ],
)
def test_what_is_rounded_and_where(qat_model, layer, weights, output):
    config = wrappers(qat_model)[layer].quantize_config
    assert (config.weights, config.output) == (weights, output)


def test_every_convolution_has_rounded_weights(qat_model):
    for name, wrapper in wrappers(qat_model).items():
        has_kernel = "Conv2D" in type(wrapper.layer).__name__
        assert wrapper.quantize_config.weights == has_kernel, name


def ranges(quantized):
    found = {}
    for name, wrapper in wrappers(quantized).items():
        values = [w.numpy() for w in wrapper.weights if "output_m" in w.name]
        if values:
            found[name] = tuple(float(value) for value in values)
    return found


def test_ranges_span_zero_and_what_the_float_model_shows(calibrated, float_model, pictures):
    found = ranges(calibrated)
    assert all(low <= 0 < high for low, high in found.values())
    probe = tf_keras.Model(float_model.input, float_model.get_layer("head_logits").output)
    logits = np.concatenate([probe(as_float(picture)) for picture in pictures])
    low, high = found["head_logits"]
    assert low == pytest.approx(logits.min(axis=(1, 2, 3)).mean(), rel=0.05)
    assert high == pytest.approx(logits.max(axis=(1, 2, 3)).mean(), rel=0.05)


def test_what_pools_and_resizes_keeps_its_inputs_range(qat_model):
    found = ranges(qat_model)
    assert found["bga_semantic_up"] == found["bga_semantic_up_conv_bn"]
    assert found["bga_coarse_up"] == found["bga_coarse"]
    assert found["semantic_stem_concat"] == found["semantic_stem_conv_relu"]


def test_calibrated_it_answers_like_the_float_model(calibrated, float_model, pictures):
    ratios, agreement = [], []
    for picture in pictures:
        expected = float_model(as_float(picture)).numpy()
        found = calibrated(as_float(picture), training=False).numpy()
        ratios.append(10 * np.log10((expected**2).mean() / ((found - expected) ** 2).mean()))
        agreement.append((found.argmax(axis=-1) == expected.argmax(axis=-1)).mean())
    assert np.mean(ratios) > 14  # dB
    assert np.mean(agreement) > 0.9


def test_equalized_depthwise_kernels_share_one_peak_and_change_no_answer(float_model, pictures):
    equalized = tf_keras.models.clone_model(float_model)
    equalized.set_weights(float_model.get_weights())
    qat.equalize_depthwise(equalized)
    found = []
    for layer in equalized.layers:
        if isinstance(layer, tf_keras.layers.DepthwiseConv2D):
            before = np.abs(float_model.get_layer(layer.name).get_weights()[0]).max(axis=(0, 1))
            peaks = np.abs(layer.get_weights()[0]).max(axis=(0, 1))
            np.testing.assert_allclose(
                peaks, np.broadcast_to(before.max(axis=0), peaks.shape), 1e-6
            )
            found.append(before.min() / before.max())
    assert len(found) == 16 and min(found) < 0.5  # they did differ
    for picture in pictures[:3]:
        expected = float_model(as_float(picture)).numpy()
        answer = equalized(as_float(picture)).numpy()
        np.testing.assert_allclose(answer, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("silent", [[1], [0, 1, 2]])
def test_equalizing_leaves_silent_channels_as_they_are(silent):
    image = tf_keras.Input((4, 4, 3))
    depthwise = tf_keras.layers.DepthwiseConv2D(3, use_bias=False)
    model = tf_keras.Model(image, tf_keras.layers.BatchNormalization()(depthwise(image)))
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 1)).astype(np.float32)
    kernel[:, :, silent] = 0
    depthwise.set_weights([kernel])
    picture = np.random.default_rng(1).random((1, 4, 4, 3), np.float32)
    expected = model(picture).numpy()
    with np.errstate(all="raise"):
        qat.equalize_depthwise(model)
    np.testing.assert_allclose(model(picture), expected, atol=1e-5)
    assert not depthwise.get_weights()[0][:, :, silent].any()


def test_frozen_normalizations_keep_their_statistics(calibrated):
    norms = [w.layer for name, w in wrappers(calibrated).items() if name.endswith("_bn")]
    before = [norm.get_weights() for norm in norms]
    qat.freeze_batch_norm(calibrated)
    try:
        calibrated(as_float(noise(1)[0]), training=True)
    finally:
        for norm in norms:
            norm.trainable = True
    for norm, weights in zip(norms, before):
        for found, expected in zip(norm.get_weights(), weights):
            np.testing.assert_array_equal(found, expected)
    calibrated(as_float(noise(1)[0]), training=True)
    assert all(np.any(norm.moving_mean != w[2]) for norm, w in zip(norms, before))
    for norm, weights in zip(norms, before):
        norm.set_weights(weights)


def test_fine_tuning_keeps_the_statistics_and_trains_the_rest(qat_model, float_model):
    before = tf_keras.models.clone_model(float_model)
    before.set_weights(float_model.get_weights())
    qat.equalize_depthwise(before)
    found = wrappers(qat_model)
    for layer in before.layers:
        if not layer.weights:
            continue
        # A normalization has gamma, beta, mean and variance.
        trained, old = found[layer.name].layer.get_weights(), layer.get_weights()
        for ours, expected in zip(trained[2:], old[2:]):
            np.testing.assert_allclose(ours, expected, rtol=1e-6)
        for ours, expected in zip(trained[:2], old[:2]):
            assert not np.allclose(ours, expected, rtol=1e-6), layer.name


def test_other_aggregations_and_silent_layers_quantize(pictures):
    """A resizing before a concatenation; and a layer that is zero on every image."""
    keras.utils.set_random_seed(0)
    options = {"alpha": 0.125, "head_width": 8, "aggregation": "concat"}
    trained = bisenetv2(5, (*SIZE, 3), **options)
    norm = trained.get_layer("detail_s2_2_bn")
    gamma, _, mean, variance = norm.get_weights()
    norm.set_weights([0.01 * gamma, -np.ones_like(gamma), mean, variance])
    model = deployment_model(trained, "bisenetv2", keras=tf_keras, **options)
    quantized = qat.quantization_aware(model)
    calibration.calibrate(quantized, model, (as_float(picture) for picture in pictures[:3]))
    found = ranges(quantized)
    assert found["detail_s2_2_relu"] == (0.0, 1.0)
    assert found["bga_concat"] == found["semantic_context_out_conv"]

    content = convert_model(quantized, "int8")
    assert tensor_types(content) == {"INT8", "INT32"}
    answer, _ = invoke(content, np.zeros((1, *SIZE, 3), np.int8))
    assert answer.std() > 0


# === The int8 file of a QAT run ===


def test_the_input_is_the_pixel_less_128_exactly(int8_file):
    ((image,), (output,)) = (getattr(read_model_file(int8_file), n) for n in ("inputs", "outputs"))
    assert (image.dtype, image.shape, image.zero_points) == ("INT8", (1, *SIZE, 3), (-128,))
    assert np.float32(image.scales[0]) == np.float32(1 / 255)
    assert (output.dtype, output.shape) == ("INT8", (1, 8, 12, 11))


def test_between_input_and_output_there_are_integers_alone(int8_file):
    assert tensor_types(int8_file) == {"INT8", "INT32"}
    assert not operators(int8_file) & {"QUANTIZE", "DEQUANTIZE"}


def test_the_file_gives_the_numbers_that_training_saw(int8_file, qat_model, pictures):
    for images, least in ((pictures, 0.99), (noise(8), 0.99)):
        steps_apart = []
        for image in images:
            raw, (scale, zero_point) = invoke(
                int8_file, (image.astype(np.int16) - 128).astype(np.int8)[None]
            )
            logits = qat_model(as_float(image), training=False).numpy()
            expected = np.clip(np.round(logits / scale + zero_point), -128, 127)
            steps_apart.append(np.abs(raw - expected))
        steps_apart = np.stack(steps_apart)
        assert steps_apart.max() <= 3
        assert (steps_apart <= 1).mean() >= least


def test_the_file_is_the_same_each_time(int8_file, qat_run):
    assert convert(qat_run) == int8_file.read_bytes()


def test_metadata(int8_file, qat_run):
    record = read_record(int8_file)
    assert (record.model, record.target, record.precision) == ("bisenetv2", "cpu", "int8")
    assert (record.dataset, record.split, record.miou) == ("streets", "val", qat_run.best_miou())
    assert (record.input_height, record.input_width) == SIZE
    assert (record.output_kind, record.output_stride) == ("logits", 8)
    assert record.label_map.names == qat_run.label_map.names
    assert record.label_map.palette == qat_run.label_map.palette


def test_uint8_gives_the_same_classes_as_int8(int8_file, qat_run, pictures):
    content = convert(qat_run, io="uint8")
    model = read_model_file(content)
    assert (model.inputs[0].dtype, model.outputs[0].dtype) == ("UINT8", "UINT8")
    assert tensor_types(content) == {"UINT8", "INT8", "INT32"}
    signed, unsigned = Segmenter(int8_file), Segmenter(content)
    for picture in pictures:
        raw = signed.invoke(signed.prepare(picture)[0]).astype(int)
        np.testing.assert_array_equal(unsigned.invoke(unsigned.prepare(picture)[0]), raw + 128)
        np.testing.assert_array_equal(
            unsigned.segment(picture).class_ids, signed.segment(picture).class_ids
        )


def test_compare_with_the_twin(int8_file, qat_run):
    seen = []
    found = compare(int8_file, qat_run.path, progress=seen.append)
    assert seen == [1, 1, 1]
    assert (found.images, found.split, found.is_twin) == (3, "val", True)
    assert found.agreement >= 0.985
    assert found.largest_difference <= 3 and found.mean_difference < 0.5
    assert abs(found.miou_file - found.miou_run) < 0.01
    assert found.miou_run == pytest.approx(qat_run.best_miou(), abs=1e-6)
    assert found.to_json()["passed"] == found.passed == (found.shortcomings() == [])


def test_compare_with_the_float_model_asks_for_no_twin(int8_file, float_run):
    found = compare(int8_file, float_run.path, split="test", images=2)
    assert (found.images, found.split, found.is_twin) == (2, "test", False)
    assert 0.8 < found.agreement < 1


# === Post-training quantization, and float files ===


def test_ptq_keeps_images_for_the_converter(ptq_run, pictures):
    with np.load(ptq_run.calibration_file) as file:
        images = file["images"]
    assert images.dtype == np.uint8 and images.shape == (8, *SIZE, 3)
    np.testing.assert_array_equal(images, pictures[:8])


def test_ptq_int8(ptq_run, float_run, float_model, pictures):
    content = convert(ptq_run)
    assert tensor_types(content) == {"INT8", "INT32"}
    (image,) = read_model_file(content).inputs
    assert image.zero_points == (-128,)
    assert np.float32(image.scales[0]) == np.float32(1 / 255)
    assert close_to_float(content, float_model, pictures, "int8") > 0.9
    record = read_record(content)
    assert (record.precision, record.split, record.miou_of) == ("int8", "val", "the float32 model")
    assert record.miou == float_run.best_miou()


def test_ptq_int16x8(ptq_run, float_model, pictures):
    content = convert(ptq_run, precision="int16x8")
    assert tensor_types(content) <= {"INT16", "INT8", "INT32", "INT64"}
    assert read_model_file(content).inputs[0].dtype == "INT16"
    assert close_to_float(content, float_model, pictures, "int16x8") > 0.95


def close_to_float(content, model, pictures, precision) -> float:
    """The share of the output's cells where file and model see the same class."""
    assert read_record(content).precision == precision
    segmenter = Segmenter(content)
    shares = []
    for picture in pictures:
        raw = segmenter.invoke(segmenter.prepare(picture)[0])
        expected = model(as_float(picture))[0].numpy()
        shares.append((raw.argmax(axis=-1) == expected.argmax(axis=-1)).mean())
    return float(np.mean(shares))


def test_float32(float_file, float_model, pictures):
    assert tensor_types(float_file) == {"FLOAT32", "INT32"}
    for picture in (*pictures[:2], *noise(2)):
        raw, _ = invoke(float_file, as_float(picture))
        np.testing.assert_allclose(raw, float_model(as_float(picture)), rtol=0, atol=1e-4)
    assert read_record(float_file).miou == pytest.approx(0.1, abs=0.1)


@pytest.mark.parametrize(("precision", "weights"), [("float16", "FLOAT16"), ("dynamic", "INT8")])
def test_smaller_weights(float_run, float_file, float_model, pictures, precision, weights):
    content = convert(float_run, precision=precision)
    assert weights in tensor_types(content)
    assert len(content) < 0.8 * float_file.stat().st_size
    assert read_model_file(content).inputs[0].dtype == "FLOAT32"
    assert close_to_float(content, float_model, pictures, precision) > 0.95


WITHOUT_KERAS_2 = """
import sys
for name in ("tf_keras", "tensorflow_model_optimization"):
    sys.modules[name] = None  # as if it were not installed
from keras_bisenet.cli import main
main(sys.argv[1:])
"""


def test_a_float_file_needs_neither_tf_keras_nor_tfmot(tmp_path, float_run, float_file):
    path = tmp_path / "float32.tflite"
    arguments = ["convert", float_run.path, "-o", path, "--precision", "float32", "--no-golden"]
    command = [sys.executable, "-c", WITHOUT_KERAS_2, *map(str, arguments)]
    subprocess.run(command, check=True, cwd=Path(keras_bisenet.__file__).parents[1])
    assert path.read_bytes() == float_file.read_bytes()


def test_another_size(float_run):
    content = convert(float_run, precision="float32", size=(32, 160))
    assert read_model_file(content).outputs[0].shape == (1, 4, 20, 11)
    assert read_record(content).miou_of == "the model at {}x{}".format(*SIZE)
    with pytest.raises(UsageError, match="height 50 is not a multiple of 32: use 32 or 64"):
        convert(float_run, precision="float32", size=(50, 160))


# === What is refused ===


def refusal(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_a_precision_that_a_run_cannot_have(tmp_path, float_run, qat_run, ptq_run):
    out = tmp_path / "model.tflite"
    path = float_run.path
    assert refusal("convert", path, "-o", out) == (
        2,
        f"Error: {path}: a float run cannot be converted to int8: quantize it first "
        f"(keras-bisenet quantize {path} --run {path}-qat), or choose --precision "
        "float32, float16, dynamic\n",
    )
    path = qat_run.path
    assert refusal("convert", path, "-o", out, "--precision", "float32") == (
        2,
        f"Error: {path}: a run quantized with qat converts to int8, not to float32\n",
    )
    path = ptq_run.path
    assert refusal("convert", path, "-o", out, "--precision", "dynamic") == (
        2,
        f"Error: {path}: a run quantized with ptq converts to int8, int16x8, not to dynamic\n",
    )
    assert not out.exists()


def test_runs_that_cannot_be_quantized(tmp_path, qat_run):
    assert refusal("quantize", tmp_path, "--run", tmp_path / "qat") == (
        1,
        f"Error: {tmp_path}: no run directory (it has no config.yaml): train one first\n",
    )
    assert refusal("quantize", qat_run.path, "--run", tmp_path / "again") == (
        2,
        f"Error: {qat_run.path}: quantized already: name the float run\n",
    )
    unfinished = Run.create(tmp_path / "unfinished", qat_run.config, qat_run.label_map)
    assert refusal("quantize", unfinished.path, "--run", tmp_path / "qat") == (
        1,
        f"Error: {unfinished.path}: no model.keras here yet: finish an epoch of training "
        f"(keras-bisenet train --run {unfinished.path} --resume)\n",
    )


def test_a_quantized_run_is_never_overwritten(float_run, qat_run):
    assert refusal("quantize", float_run.path, "--run", qat_run.path) == (
        2,
        f"Error: {qat_run.path}: something is here already: choose another --run, or --resume it\n",
    )
    assert refusal(
        "quantize", float_run.path, "--run", qat_run.path, "--resume", "--epochs", 9
    ) == (
        2,
        f"Error: {qat_run.path}: --resume goes on with the run's own epochs: "
        "leave the option out, or start a new run\n",
    )


def test_a_quantized_run_goes_on_with_its_own_float_model(tmp_path, float_run, qat_run):
    """It was begun from one: another changes nothing of it, and must not seem to."""
    other = Run(shutil.copytree(float_run.path, tmp_path / "other"))
    data = bytearray(other.model_file.read_bytes())
    data[len(data) // 2] ^= 1
    other.model_file.write_bytes(data)
    begun = Run(shutil.copytree(qat_run.path, tmp_path / "qat"))
    resume = ("--run", begun.path, "--resume", "--data-dir", tmp_path)
    before = {path: path.read_bytes() for path in begun.path.rglob("*") if path.is_file()}
    assert refusal("quantize", other.path, *resume) == (
        2,
        f"Error: {begun.path}: began with another float model than that of {other.path}: name the "
        "run that it began with, or start a new run\n",
    )
    with pytest.raises(UsageError, match="began with another float model"):
        quantize(other, begun, begun.quantization)
    assert before == {p: p.read_bytes() for p in begun.path.rglob("*") if p.is_file()}
    begun.check_source(Run(shutil.copytree(float_run.path, tmp_path / "moved")))

    # Stopped before the model was copied: what is known of it is its configuration.
    begun.model_file.unlink()
    write_config(other.config_file, dataclasses.replace(float_run.config, data_dir="elsewhere"))
    begun.check_source(other)
    write_config(other.config_file, dataclasses.replace(float_run.config, size=(32, 32)))
    code, message = refusal("quantize", other.path, *resume)
    assert code == 2 and "began with another float model than that of" in message


def test_the_weights_file_has_no_optimizer(qat_run):
    """Adam's averages would make it twice as large; checkpoints have them."""
    with h5py.File(qat_run.quantized_weights_file) as file:
        assert "layers" in file and "optimizer" not in file


# === What takes longer ===


@pytest.mark.slow
def test_damaged_weights(tmp_path, qat_run):
    run = Run.create(tmp_path / "qat", qat_run.config, qat_run.label_map, qat_run.quantization)
    run.model_file.write_bytes(qat_run.model_file.read_bytes())
    run.quantized_weights_file.write_bytes(qat_run.quantized_weights_file.read_bytes()[:5000])
    with pytest.raises(UserError, match=f"^{run.quantized_weights_file}: damaged weights "):
        load_quantized(run)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_a_killed_quantization_goes_on_to_the_same_weights(tmp_path, float_run, seconds):
    options = [float_run.path, "--epochs", 3, "--batch-size", 4, "--calibration-images", 8]
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    assert refusal("quantize", *options, "--run", whole.path)[0] == 0
    program = "from keras_bisenet.cli import main; main()"
    arguments = ["quantize", *options, "--run", killed.path]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(keras_bisenet.__file__).parents[1],
    )
    for line in process.stdout:
        if line.startswith("epoch 1/3"):
            break
    time.sleep(seconds * np.random.default_rng(0).random())
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    tf_keras.backend.clear_session()
    code, output = refusal("quantize", float_run.path, "--run", killed.path, "--resume")
    assert code == 0, output
    for rows in zip(whole.read_metrics(), killed.read_metrics()):
        ours, theirs = ({k: v for k, v in row.items() if "second" not in k} for row in rows)
        assert ours == theirs
    for ours, theirs in zip(*(load_quantized(run).get_weights() for run in (whole, killed))):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_converting_512x1024_takes_less_than_a_minute(tmp_path, float_run):
    """The paper's network at the paper's size, its weights untrained. Of a processor: on a busy
    machine more passes on the clock."""
    config = TrainingConfig("streets", float_run.config.data_dir, size=(512, 1024))
    run = Run.create(tmp_path / "run", config, float_run.label_map, QuantizationConfig())
    bisenetv2(11).save(run.model_file)
    model = float_deployment_model(run)
    quantized = qat.quantization_aware(model)
    image = np.random.default_rng(0).random((1, 512, 1024, 3), np.float32)
    calibration.calibrate(quantized, model, [image])
    quantized.save_weights(run.quantized_weights_file)
    row = dict.fromkeys(("epoch", "loss", "val_miou", "learning_rate"), 0.0)
    run.write_metrics([row])
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", "from keras_bisenet.cli import main; main()", "convert"]
    subprocess.run([*command, run.path, "-o", tmp_path / "model.tflite"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60
    assert tensor_types(tmp_path / "model.tflite") == {"INT8", "INT32"}
