"""The fast training step: the same function as the plain graph, from less work."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_bisenet.models import build_model
from keras_bisenet.models.deployment import copy_weights
from keras_bisenet.training import step
from keras_bisenet.training.devices import AVX2, AVX512
from keras_bisenet.training.losses import cross_entropy, over_outputs
from keras_bisenet.training.step import (
    ConvolutionInParts,
    DepthwiseOfRepeated,
    FusedBatchNormalization,
    training_model,
)
from keras_bisenet.training.strides import at_stride, enlarged

OPTIONS = {"alpha": 0.125, "head_width": 8, "boosters": True}


@pytest.fixture(scope="module")
def plain():
    keras.utils.set_random_seed(0)
    return build_model("bisenetv2", 11, (64, 96, 3), **OPTIONS)


@pytest.fixture(scope="module")
def fast(plain):
    return training_model(plain, loss_stride=2)


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    return random.random((2, 64, 96, 3), np.float32), random.integers(0, 11, (2, 64, 96), np.int32)


@pytest.fixture(scope="module")
def whole(plain):
    return training_model(plain, full_boosters=True)


def test_heads_meet_as_many_labels_as_they_are_asked_to(plain, fast, whole):
    for model in (fast, whole):
        assert model.strides == (8, 4, 8, 16, 32)
        assert [output.shape[1:] for output in model.outputs] == [
            (64 // stride, 96 // stride, 11) for stride in model.strides
        ]
    assert fast.label_strides == (2, 4, 8, 16, 32)
    assert whole.label_strides == (1, 1, 1, 1, 1)
    assert training_model(plain, loss_stride=8).label_strides == (8, 4, 8, 16, 32)
    assert training_model(plain).label_strides == (1, 4, 8, 16, 32)


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_what_enlarges_otherwise_is_left_alone(upsampling):
    plain = build_model("bisenetv2", 11, (64, 96, 3), upsampling=upsampling, **OPTIONS)
    model = training_model(plain, loss_stride=2)
    assert model.strides == model.label_strides == (1, 1, 1, 1, 1)


def test_the_input_is_one_tensor_and_no_list_of_one(plain, fast):
    """Some Keras versions warn of a tensor that is given to a model that was made from a list."""
    assert plain.input is plain.inputs[0]
    assert fast.input is fast.inputs[0]


def test_weights_keep_their_names(plain, fast, whole):
    values = {variable.path: variable for variable in plain.variables}
    assert {variable.path for variable in fast.variables} == set(values)
    for variable in fast.variables:
        np.testing.assert_array_equal(variable, values[variable.path])
    # By number a checkpoint lists them, also one of a run that trained the plain graph.
    assert [v.path for v in whole.variables] == list(values)


def test_small_logits_are_the_plain_graphs(plain, fast, batch):
    """What the heads compute before they enlarge it."""
    ours = fast.predict_on_batch(batch[0])
    for logits, name in zip(ours, plain.output_names):
        last = plain.get_layer(name)
        own = keras.Model(plain.input, last.input).predict_on_batch(batch[0])
        np.testing.assert_allclose(logits, own, rtol=1e-5, atol=1e-6)


def test_a_step_at_full_stride_is_the_plain_graphs(plain, whole, batch):
    """The fused kernel: the same loss, gradients and statistics up to rounding."""
    ours, theirs = whole, keras.models.clone_model(plain)
    theirs.set_weights(plain.get_weights())
    fused = [layer for layer in ours.layers if isinstance(layer, FusedBatchNormalization)]
    assert len(fused) == sum(
        isinstance(layer, keras.layers.BatchNormalization) for layer in plain.layers
    )
    ours.objective = over_outputs(cross_entropy, ours.strides, ours.label_strides)
    ours.compile(keras.optimizers.SGD(0.1))
    theirs.compile(keras.optimizers.SGD(0.1), loss=[cross_entropy] * 5)
    images, masks = batch
    mine = ours.train_on_batch(images, masks, return_dict=True)["loss"]
    their = theirs.train_on_batch(images, [masks] * 5, return_dict=True)["loss"]
    assert mine == pytest.approx(their, rel=1e-5)
    for variable, one, other in zip(ours.variables, ours.get_weights(), theirs.get_weights()):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5, err_msg=variable.path)


def test_fused_statistics_by_hand():
    """Mean 2.5 and the batch's own variance 1.25, not the unbiased 1.67; 0.9 of the old."""
    layer = FusedBatchNormalization(momentum=0.9, epsilon=0.0)
    images = np.array([1, 2, 3, 4], np.float32).reshape(1, 2, 2, 1)
    layer.build(images.shape)
    normalized = np.asarray(layer(images, training=True)).reshape(-1)
    np.testing.assert_allclose(normalized, (np.arange(1, 5) - 2.5) / 1.25**0.5, rtol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, [0.25], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [0.9 + 0.125], rtol=1e-6)


@pytest.mark.parametrize("channels", [8, 16])
def test_bfloat16_is_normalized_to_its_own_precision(channels):
    random = np.random.default_rng(0)
    images = keras.ops.cast(random.normal(3, 2, (2, 6, 8, channels)), "bfloat16")
    layer = FusedBatchNormalization(dtype="mixed_bfloat16")
    layer.build(images.shape)
    found = layer(images, training=True)
    exact = np.asarray(keras.ops.cast(images, "float32"))
    exact = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + layer.epsilon)
    assert found.dtype == "bfloat16"
    np.testing.assert_allclose(keras.ops.cast(found, "float32"), exact, rtol=0.01, atol=0.02)


def test_one_value_has_no_variance():
    """As the context embedding's, of a batch of one image."""
    layer = FusedBatchNormalization(momentum=0.9)
    layer.build((1, 1, 1, 2))
    assert np.asarray(layer(np.ones((1, 1, 1, 2), np.float32), training=True)).tolist() == [
        [[[0, 0]]]
    ]
    np.testing.assert_allclose(layer.moving_variance, [0.9, 0.9], rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's kernels")
@pytest.mark.parametrize("instructions", [AVX2, AVX512, None])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "bias"),
    [
        ((24, 20), 3, 1, True),
        ((24, 20), 3, 2, False),
        ((27, 31), 3, 2, True),
        ((16, 16), 5, 1, False),
        ((25, 30), 3, 3, True),
        ((3, 9), 3, 1, True),  # fewer rows than bands
    ],
)
def test_a_kernels_gradient_in_parts_is_that_of_all(
    monkeypatch, instructions, size, kernel, stride, bias
):
    used = set_instructions(monkeypatch, instructions, 1)
    image = keras.Input((*size, 16))
    layer = keras.layers.Conv2D(8, kernel, stride, "same", use_bias=bias, activation="relu")
    model = keras.Model(image, layer(image))
    in_parts = training_model(model)
    assert [type(one) is ConvolutionInParts for one in in_parts.layers] == [False, True]
    images = np.random.default_rng(0).normal(size=(2, *size, 16)).astype(np.float32)
    for of_parts, of_all in zip(gradients(in_parts, images), gradients(model, images)):
        np.testing.assert_allclose(of_parts, of_all, rtol=1e-4, atol=1e-3)
    assert used == {"images" if instructions == AVX2 and stride == 1 else "bands"}


def first_output(outputs):
    return outputs[0] if isinstance(outputs, list) else outputs


def gradients(model, images):
    """Of the sum of a model's squared outputs, by its inputs and weights."""
    import tensorflow as tf

    @tf.function
    def compute(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(first_output(model(images, training=True)) ** 2)
        return tape.gradient(loss, [images, *(v.value for v in model.trainable_variables)])

    return compute(tf.constant(images))


def set_instructions(monkeypatch, instructions: str | None, values: int) -> set[str]:
    """Lets a step be made as for a CPU, with parts from `values` on; what parts are made of."""
    used = set()

    def noted(parts, gradient):
        return lambda *args: used.add(parts) or gradient(*args)

    monkeypatch.setattr(step, "_gradient_of_bands", noted("bands", step._gradient_of_bands))
    monkeypatch.setattr(step, "_gradient_of_images", noted("images", step._gradient_of_images))
    monkeypatch.setattr(step, "cpu_instructions", lambda: instructions)
    monkeypatch.setattr(step, "BANDED_VALUES", values)
    monkeypatch.setattr(step, "MULTIPLIED_VALUES", values)
    return used


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's kernels")
@pytest.mark.parametrize(
    ("precision", "instructions", "values", "parts"),
    [
        ("float32", AVX2, 10**9, set()),
        ("float32", AVX2, 1, {"images", "bands"}),
        ("float32", AVX512, 1, {"bands"}),
        ("mixed_bfloat16", AVX512, 1, set()),
    ],
)
def test_parts_are_for_large_maps_in_float32(
    monkeypatch, plain, batch, precision, instructions, values, parts
):
    used = set_instructions(monkeypatch, instructions, values)
    model = training_model(plain, precision)
    model.objective = over_outputs(cross_entropy, model.strides, model.label_strides)
    model.compile("sgd")
    model.train_on_batch(*batch)
    assert used == parts


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's kernels")
@pytest.mark.parametrize(
    ("options", "is_repeated"),
    [
        ({"depth_multiplier": 6, "use_bias": False}, True),
        ({"depth_multiplier": 2, "use_bias": False, "padding": "valid"}, True),
        ({"depth_multiplier": 6}, False),
        ({"depth_multiplier": 6, "use_bias": False, "strides": 2}, False),
        ({"depth_multiplier": 6, "use_bias": False, "dilation_rate": 2}, False),
        ({"depth_multiplier": 6, "use_bias": False, "activation": "relu"}, False),
        ({"use_bias": False}, False),
    ],
)
def test_a_depthwise_convolution_of_repeated_channels_is_the_same(
    monkeypatch, options, is_repeated
):
    set_instructions(monkeypatch, AVX512, 1)
    image = keras.Input((9, 11, 5))
    layer = keras.layers.DepthwiseConv2D(3, **{"padding": "same", **options})
    model = keras.Model(image, layer(image))
    repeated = training_model(model)
    assert (type(repeated.layers[1]) is DepthwiseOfRepeated) == is_repeated
    images = np.random.default_rng(0).normal(size=(2, 9, 11, 5)).astype(np.float32)
    np.testing.assert_allclose(first_output(repeated(images)), model(images), rtol=1e-5, atol=1e-6)
    for one, other in zip(gradients(repeated, images), gradients(model, images)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    set_instructions(monkeypatch, None, 1)
    assert type(training_model(model).layers[1]) is keras.layers.DepthwiseConv2D


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's kernels")
def test_batches_of_no_fixed_size_are_not_taken_apart_by_images(monkeypatch):
    set_instructions(monkeypatch, AVX2, 1)
    layer = ConvolutionInParts(8, 3, padding="same")
    assert layer._kernel_gradient_of((4, 8, 8, 16)) is step._gradient_of_images
    assert layer._kernel_gradient_of((None, 8, 8, 16)) is step._gradient_of_bands
    assert layer._kernel_gradient_of((4, None, 8, 16)) is None


def test_bfloat16_is_in_the_layers_alone(plain, fast, batch):
    half = training_model(plain, "mixed_bfloat16", 2)
    convolution = half.get_layer("detail_s1_1")
    assert (convolution.compute_dtype, convolution.kernel.dtype) == ("bfloat16", "float32")
    before = half.predict_on_batch(batch[0])[0]
    exact = fast.predict_on_batch(batch[0])[0]
    difference = np.abs(np.asarray(before, np.float32) - exact).mean()
    assert 0 < difference < 0.05 * np.abs(exact).mean()
    weights = plain.get_weights()
    plain.set_weights([weight + 1 for weight in weights])
    copy_weights(half, plain)
    for ours, theirs in zip(plain.get_weights(), weights):
        np.testing.assert_array_equal(ours, theirs)


def test_labels_at_a_stride_are_those_beside_the_middle_in_turns():
    labels = np.arange(64).reshape(1, 8, 8)
    assert np.asarray(at_stride(labels, 1)).tolist() == labels.tolist()
    rows = columns = [0, 3, 4, 7]
    np.testing.assert_array_equal(at_stride(labels, 2)[0], labels[0][rows][:, columns])
    assert np.asarray(at_stride(labels, 4)).tolist() == [[[9, 14], [49, 54]]]


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32])
def test_no_stride_prefers_a_side(stride):
    """The chosen pixels' mean place is the middle of the image, in both directions."""
    rows, columns = np.mgrid[:64, :128][:, None].astype(np.float32)
    assert np.mean(at_stride(rows, stride)) == 31.5
    assert np.mean(at_stride(columns, stride)) == 63.5


@pytest.mark.parametrize(("factor", "stride"), [(8, 1), (8, 2), (8, 4), (4, 2), (1, 2), (3, 1)])
def test_enlarged_logits_are_interpolated_at_the_labels(factor, stride):
    logits = np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype(np.float32)
    large = keras.layers.UpSampling2D(factor, interpolation="bilinear")(logits)
    np.testing.assert_allclose(
        enlarged(logits, factor, stride), at_stride(large, stride), rtol=1e-5, atol=1e-6
    )


def test_logits_that_are_right_at_every_pixel_are_best_at_every_stride():
    """A ramp whose label changes at half of its width: no half pixel beside it costs less."""
    width = 64
    ids = np.broadcast_to(np.arange(width) >= width // 2, (1, width, width)).astype(np.int32)
    cells = np.arange(width // 8) * 8 + 3.5

    def loss(stride, beside):
        slope = np.clip((cells - (width - 1) / 2 - beside) / 4, -2, 2)
        ramp = np.broadcast_to(slope, (1, width // 8, width // 8))
        logits = np.stack([-ramp, ramp], axis=-1).astype(np.float32)
        return float(over_outputs(cross_entropy, (8,), (stride,))(ids, [logits]))

    for stride in (1, 2, 4, 8):
        assert loss(stride, 0) < min(loss(stride, -0.5), loss(stride, 0.5))
        assert loss(stride, -0.5) == pytest.approx(loss(stride, 0.5), rel=1e-5)


def test_the_objective_is_the_sum_over_outputs():
    ids = np.array([[[1, 0], [0, 0]]])
    full = np.zeros((1, 2, 2, 2), np.float32)
    small = np.array([[[[0.0, np.log(3)]]]], np.float32)  # class 1 has three quarters
    objective = over_outputs(cross_entropy, (1, 2))
    assert float(objective(ids, [full, small])) == pytest.approx(np.log(2) - np.log(0.75))
