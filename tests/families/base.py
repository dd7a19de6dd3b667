"""What every family of networks must do: one harness, which a family passes with a few lines.

A family's test module has a class `Test...(FamilyTests)` that says how to build it small, and what
it costs. Networks are tiny, and made once for each class: by the fixtures of
`conftest.py`.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import yaml

from keras_bisenet.errors import UsageError
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.models import build_model
from keras_bisenet.models.cost import cost_by_part
from keras_bisenet.models.deployment import copy_weights
from keras_bisenet.models.family import HEADS
from keras_bisenet.quantization.graph import sources
from keras_bisenet.quantization.rounding import NONE
from keras_bisenet.runtime.interpreter import open_interpreter
from keras_bisenet.targets import TARGETS
from keras_bisenet.targets.graph import producers
from keras_bisenet.training.losses import cross_entropy

SIZE = (64, 96)
CLASSES = 5


def pictures(count=2, size=SIZE, seed=0):
    """Images with large things and small, some darker than others, whose values are those of
    pixels: float32 [count, height, width, 3]."""
    rng = np.random.default_rng(seed)
    things = rng.uniform(0, 1, (count, size[0] // 16, size[1] // 16, 3))
    things = things.repeat(16, 1).repeat(16, 2) + rng.uniform(-0.2, 0.2, (count, *size, 3))
    pixels = 255 * np.clip(things * rng.uniform(0.8, 1, (count, 1, 1, 1)), 0, 1)
    return (np.round(pixels) / 255).astype(np.float32)


def randomize(model, seed=0):
    """Gives normalizations random scales and offsets, and the statistics of what comes in, as
    training would. Kernels are random already.

    As in a trained network, values and differences are not to grow on their way. With random
    statistics values do, to millions behind Xception39; and with offsets around 0, where each ReLU
    cuts off one half, random kernels turn noise of half an 8-bit step at the input into a tenth of
    the answer's power. In a network trained for a minute it is a thousandth.
    """
    rng = np.random.default_rng(seed)
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        gamma, beta, *statistics = layer.get_weights()
        gamma, beta = rng.uniform(0.5, 1.5, gamma.shape), rng.normal(1.5, 0.3, beta.shape)
        layer.set_weights([gamma, beta, *statistics])
        layer.momentum = 0.0
    model(pictures(8, seed=9), training=True)
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum
    return model


def tensors_of_layers(content, quantized, picture):
    """What the file computes in each layer of its quantization-aware model, by the layer's name:
    real values `[1, height, width, channels]`, the size of a step, the two ends of the range."""
    graph = read_model_file(content).main
    interpreter = open_interpreter(content, reference=True, preserve_all_tensors=True)
    pixels = np.round(picture * 255) - 128
    interpreter.set_tensor(graph.inputs[0], pixels.astype(np.int8))
    interpreter.invoke()
    order = {layer.name: place for place, layer in enumerate(quantized.layers)}
    found = {}
    for index in producers(graph):
        tensor = graph.tensors[index]
        # One of fused layers is named after all of them, and holds the last one's values.
        names = [n for n in tensor.name.replace(";", "/").split("/") if n in order]
        name = max(names, key=order.get, default=None)
        if index in graph.outputs:
            name = quantized.layers[-1].name
        if name and quantized.get_layer(name).output.shape[1:] == tensor.shape[1:]:
            scale, zero_point = np.float32(tensor.scales[0]), tensor.zero_points[0]
            values = interpreter.get_tensor(index).astype(np.float32) - zero_point
            ends = (np.array((-128, 127)) - zero_point) * scale
            found[name] = values * scale, scale, ends
    return found


class FamilyTests:
    """The harness.

    Attributes:
        model: The name that is built.
        tiny: Options that make it small.
        num_boosters: Heads for training alone.
        costs: Model name -> (million parameters, billion MACs) of 19 classes at 512x1024.
        elsewhere: Target -> the operators of the int8 file that it does not take; for the targets
            that take all of them none.
        least_snr: Of the int8 file's answer against its model's, in decibels.
    """

    model: str
    tiny: dict
    num_boosters: int
    costs: dict
    elsewhere: dict = {}
    least_snr = 30

    @classmethod
    def build(cls, classes=CLASSES, shape=(*SIZE, 3), keras=keras, **options):
        keras.utils.set_random_seed(0)
        return build_model(cls.model, classes, shape, keras=keras, **{**cls.tiny, **options})

    # --- the graph ---

    def test_outputs_have_the_images_size(self, built):
        assert len(built.outputs) == 1 + self.num_boosters
        assert {output.shape for output in built.outputs} == {(None, *SIZE, CLASSES)}
        assert built.outputs[0] is built.get_layer("head_upsample").output

    def test_any_size_that_fits(self):
        assert self.build(shape=(None, None, 3)).input_shape == (None, None, None, 3)
        assert self.build(shape=(32, 160, 3)).output_shape == (None, 32, 160, CLASSES)
        with pytest.raises(UsageError, match="height 50 is not a multiple of 32: use 32 or 64"):
            self.build(shape=(50, 160, 3))

    def test_what_it_costs(self):
        for name, expected in self.costs.items():
            total = cost_by_part(build_model(name, 19, (512, 1024, 3)))["total"]
            assert (round(total.parameters / 1e6, 2), round(total.macs / 1e9, 1)) == expected, name

    def test_every_weight_is_in_the_cost(self, built):
        counted = cost_by_part(built)["total"].parameters
        assert counted == sum(np.prod(w.shape) for w in built.trainable_weights)

    def test_layers_that_belong_to_the_classes_are_named_so(self, built):
        other = self.build(classes=CLASSES + 2, boosters=True)
        for layer in built.layers:
            shapes = [w.shape for w in layer.weights]
            if shapes != [w.shape for w in other.get_layer(layer.name).weights]:
                assert layer.name.startswith(HEADS), layer.name

    def test_boosters_are_free_at_inference(self, built):
        inference = self.build()
        extra = {layer.name for layer in built.layers} - {layer.name for layer in inference.layers}
        assert all(name.startswith("booster_") for name in extra)
        assert bool(extra) == bool(self.num_boosters)
        copy_weights(built, inference)
        answers = tf.nest.flatten(built(pictures())), inference(pictures())
        np.testing.assert_array_equal(answers[0][0], answers[1])

    # --- two Kerases ---

    def test_keras_3_and_keras_2_give_the_same_bits(self, built):
        two = self.build(keras=tf_keras, boosters=True)
        copy_weights(built, two)
        assert [layer.name for layer in built.layers] == [layer.name for layer in two.layers]
        answers = (tf.nest.flatten(model(pictures())) for model in (built, two))
        for ours, theirs in zip(*answers):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
            assert ours.numpy().std() > 0.01

    # --- training ---

    def test_a_step_moves_every_kernel(self):
        model = self.build(boosters=True)
        outputs = len(model.outputs)
        model.compile(keras.optimizers.SGD(0.1), [cross_entropy] * outputs, run_eagerly=True)
        kernels = [weight for weight in model.trainable_weights if "kernel" in weight.path]
        before = [kernel.numpy() for kernel in kernels]
        labels = np.random.default_rng(1).integers(0, CLASSES, (2, *SIZE))
        logs = model.train_on_batch(pictures(), [labels] * outputs, return_dict=True)
        assert 1 < logs["loss"] < 200
        for kernel, value in zip(kernels, before):
            assert np.abs(kernel.numpy() - value).max() > 0, kernel.path

    def test_a_saved_model_is_the_same(self, built, tmp_path):
        built.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
        for ours, theirs in zip(*(tf.nest.flatten(m(pictures())) for m in (built, loaded))):
            np.testing.assert_array_equal(ours, theirs)

    # --- on a device ---

    def test_the_deployment_model_is_the_trained_one_up_to_rounding(self, built, deployed):
        last = built.get_layer("head_upsample")
        is_cut = getattr(last, "interpolation", None) == "bilinear"
        expected = keras.Model(built.input, last.input if is_cut else last.output)(pictures())
        scale = np.abs(expected).max()
        np.testing.assert_allclose(deployed(pictures()), expected, rtol=0, atol=1e-5 * scale)

    def test_the_file_gives_the_numbers_that_training_saw(self, files):
        for form, (quantized, content) in files.items():
            assert {t.dtype for t in read_model_file(content).main.tensors} == {"INT8", "INT32"}
            interpreter = open_interpreter(content)
            (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()
            scale, zero_point = found["quantization"]
            signal = noise = 0.0
            for picture in pictures(3, seed=2):
                pixels = np.round(picture * 255) - 128
                interpreter.set_tensor(given["index"], pixels[None].astype(np.int8))
                interpreter.invoke()
                raw = interpreter.get_tensor(found["index"])
                logits = quantized(picture[None], training=False).numpy()
                expected = np.clip(np.round(logits / scale + zero_point), -128, 127)
                assert expected.std() > 5
                signal += expected.var()
                noise += np.square(raw - expected).mean()
            # Half a step here grows on the way.
            assert signal > noise * 10 ** (self.least_snr / 10), form

    def test_each_layer_of_the_file_is_the_models(self, files):
        """On the file's own inputs, to a step: no kernel rounds further away. And on one grid. What
        a whole network makes of such steps hides no wrong range here."""
        for form, (quantized, content) in files.items():
            found = tensors_of_layers(content, quantized, pictures(1, seed=2))
            values, compared = {}, 0
            for layer in quantized.layers:
                given = [values[name] for name in dict.fromkeys(s.name for s in sources(layer))]
                if not given:
                    values[layer.name] = pictures(1, seed=2)
                    continue
                answer = layer(given if len(given) > 1 else given[0], training=False)
                values[layer.name] = answer
                if layer.name in found:
                    values[layer.name], scale, ends = found[layer.name]
                    # What is rounded behind a concatenation is cut off in the file already.
                    steps = np.clip(answer, *ends) / scale
                    assert np.abs(values[layer.name] / scale - steps).max() < 1.01, layer.name
                    if layer.quantize_config.output != NONE:
                        assert np.abs(steps - np.round(steps)).max() < 0.01, layer.name
                    compared += 1
            assert compared > 0.4 * len(quantized.layers), form

    @pytest.mark.parametrize("target", list(TARGETS))
    def test_what_targets_take_of_the_file(self, files, target):
        _, content = files[TARGETS[target].resize]
        model = read_model_file(content)
        assessment = TARGETS[target].assess(model)
        refusals = zip(model.main.operators, assessment.refusals)
        left = [operator.name for operator, refusal in refusals if refusal is not None]
        assert sorted(set(left)) == sorted(self.elsewhere.get(target, ()))

    # --- with every command ---

    @pytest.mark.slow
    def test_from_images_to_masks(self, streets, command, tmp_path):
        options = {"epochs": 1, "batch_size": 4, "model_options": self.tiny}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(options))
        place = ("--dataset", "streets", "--data-dir", streets, "--size", "64x96")
        config = ("--config", tmp_path / "config.yaml")
        printed = command(
            "train", "--model", self.model, *place, *config, "--run", tmp_path / "run"
        )
        assert "best val mIoU" in printed
        short = ("--epochs", 1, "--batch-size", 4, "--calibration-images", 4)
        for target in TARGETS:
            run, file = tmp_path / target, tmp_path / f"{target}.tflite"
            command("quantize", tmp_path / "run", "--run", run, "--target", target, *short)
            command("convert", run, "-o", file)
            command("check", file, "--target", target)
            command("run", file, streets / "test", "-o", tmp_path / f"{target}-masks")
            assert len(list((tmp_path / f"{target}-masks").iterdir())) >= 3
