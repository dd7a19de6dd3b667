"""The network against the paper: Table 1, Figures 4 to 7, and what they cost."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from keras_bisenet.errors import UsageError
from keras_bisenet.models import MODELS, build_model
from keras_bisenet.models.bisenetv2 import AGGREGATIONS, bisenetv2
from keras_bisenet.models.blocks import UPSAMPLINGS
from keras_bisenet.models.cost import cost_by_part
from keras_bisenet.models.deployment import copy_weights, deployment_model
from keras_bisenet.runtime.interpreter import open_interpreter
from keras_bisenet.training.losses import cross_entropy

SMALL = {"alpha": 0.125, "head_width": 8}
SIZE = (64, 96)


@pytest.fixture(scope="module")
def paper():
    """The paper's network for Cityscapes' 19 classes."""
    return bisenetv2(19, (512, 1024, 3), boosters=True)


def images(count=2, size=SIZE, seed=0):
    return np.random.default_rng(seed).random((count, *size, 3), np.float32)


def randomize(model, seed=0):
    """Gives normalizations the statistics of a trained network; kernels are random already."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            channels = layer.get_weights()[0].shape
            gamma, variance = rng.uniform(0.5, 1.5, (2, *channels))
            beta, mean = rng.normal(0, 0.2, (2, *channels))
            layer.set_weights([gamma, beta, mean, variance])
    return model


def small(keras=keras, **options):
    keras.utils.set_random_seed(0)
    return randomize(bisenetv2(5, (*SIZE, 3), keras=keras, **{**SMALL, **options}))


# === Table 1 ===


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("detail_s1_1_relu", (256, 512, 64)),
        ("detail_s1_2_relu", (256, 512, 64)),
        ("detail_s2_1_relu", (128, 256, 64)),
        ("detail_s2_3_relu", (128, 256, 64)),
        ("detail_s3_1_relu", (64, 128, 128)),
        ("detail_s3_3_relu", (64, 128, 128)),
        ("semantic_stem_conv_relu", (256, 512, 16)),
        ("semantic_stem_left_1_relu", (256, 512, 8)),
        ("semantic_stem_left_2_relu", (128, 256, 16)),
        ("semantic_stem_right_pool", (128, 256, 16)),
        ("semantic_stem_concat", (128, 256, 32)),
        ("semantic_stem_fuse_relu", (128, 256, 16)),
        ("semantic_s3_1_expand", (64, 128, 96)),
        ("semantic_s3_1_relu", (64, 128, 32)),
        ("semantic_s3_2_relu", (64, 128, 32)),
        ("semantic_s4_1_relu", (32, 64, 64)),
        ("semantic_s4_2_expand", (32, 64, 384)),
        ("semantic_s4_2_relu", (32, 64, 64)),
        ("semantic_s5_1_relu", (16, 32, 128)),
        ("semantic_s5_4_relu", (16, 32, 128)),
        ("semantic_context_pool", (1, 1, 128)),
        ("semantic_context_conv_relu", (1, 1, 128)),
        ("semantic_context_out_conv", (16, 32, 128)),
        ("bga_detail_keep_conv", (64, 128, 128)),
        ("bga_detail_down_conv_bn", (32, 64, 128)),
        ("bga_detail_down_pool", (16, 32, 128)),
        ("bga_semantic_up_gate", (64, 128, 128)),
        ("bga_semantic_keep_gate", (16, 32, 128)),
        ("bga_coarse", (16, 32, 128)),
        ("bga_out_bn", (64, 128, 128)),
        ("head_conv_relu", (64, 128, 128)),
        ("head_logits", (64, 128, 19)),
        ("head_upsample", (512, 1024, 19)),
        ("booster_s2_logits", (128, 256, 19)),
        ("booster_s3_logits", (64, 128, 19)),
        ("booster_s4_logits", (32, 64, 19)),
        ("booster_s5_logits", (16, 32, 19)),
        ("booster_s5_upsample", (512, 1024, 19)),
    ],
)
def test_output_shape(paper, layer, shape):
    assert paper.get_layer(layer).output.shape[1:] == shape


def test_each_stage_has_as_many_layers_as_table_1_repeats():
    layers = [layer.name for layer in bisenetv2(19).layers]
    convolutions = [n for n in layers if n.startswith("detail_") and n.endswith("_relu")]
    assert [n[7:9] for n in convolutions] == ["s1"] * 2 + ["s2"] * 3 + ["s3"] * 3
    expansions = [n for n in layers if n.startswith("semantic_s") and n.endswith("_add")]
    assert [n[9:11] for n in expansions] == ["s3"] * 2 + ["s4"] * 2 + ["s5"] * 4


def test_activations_are_where_the_figures_draw_them(paper):
    relus = {layer.name for layer in paper.layers if isinstance(layer, keras.layers.ReLU)}
    without = {"semantic_s4_2_expand", "semantic_s4_2_project", "semantic_s4_1_depthwise"}
    without |= {"bga_out", "bga_detail_down_conv", "bga_semantic_up_conv", "semantic_context_out"}
    assert not any(relu.startswith(name) for relu in relus for name in without)
    assert {"semantic_s4_2_gather_relu", "semantic_s4_2_relu", "head_conv_relu"} <= relus


def test_every_convolution_before_a_normalization_has_no_bias(paper):
    with_bias = {layer.name for layer in paper.layers if getattr(layer, "use_bias", False)}
    logits = {f"{head}_logits" for head in ("head", *(f"booster_s{i}" for i in range(2, 6)))}
    assert with_bias == {"semantic_context_out_conv", *logits}


# === What it costs ===


def test_parameters_and_macs_by_part():
    cost = cost_by_part(bisenetv2(19, (512, 1024, 3)), (512, 1024))
    parameters = {part: round(found.parameters / 1e6, 3) for part, found in cost.items()}
    assert parameters == {
        "detail": 0.519,
        "semantic": 1.159,
        "bga": 0.479,
        "head": 0.150,
        "total": 2.307,
    }
    gmacs = {part: round(found.macs / 1e9, 2) for part, found in cost.items()}
    assert gmacs == {"detail": 11.7, "semantic": 1.34, "bga": 1.74, "head": 1.23, "total": 16.01}


def test_the_detail_branch_costs_what_table_1_adds_up_to():
    parameters = macs = 0
    for inputs, outputs, height, width in (
        (3, 64, 256, 512),
        (64, 64, 256, 512),
        (64, 64, 128, 256),
        (64, 64, 128, 256),
        (64, 64, 128, 256),
        (64, 128, 64, 128),
        (128, 128, 64, 128),
        (128, 128, 64, 128),
    ):
        parameters += 9 * inputs * outputs + 2 * outputs  # the kernel, gamma and beta
        macs += 9 * inputs * outputs * height * width
    cost = cost_by_part(bisenetv2(19, (512, 1024, 3)), (512, 1024))
    assert cost["detail"] == (parameters, macs)


@pytest.mark.parametrize(
    ("head_width", "parameters", "gmacs"), [(64, 2.23, 15.4), (128, 2.31, 16.0), (1024, 3.36, 24.6)]
)
def test_cost_by_head_width(head_width, parameters, gmacs):
    model = bisenetv2(19, (512, 1024, 3), head_width=head_width)
    total = cost_by_part(model, (512, 1024))["total"]
    assert round(total.parameters / 1e6, 2) == parameters
    assert round(total.macs / 1e9, 1) == gmacs
    # Keras counts the statistics of the normalizations too.
    assert total.parameters == sum(np.prod(w.shape) for w in model.trainable_weights)


@pytest.mark.parametrize(("size", "gmacs"), [((512, 512), 8.0), ((256, 512), 4.0)])
def test_cost_grows_with_the_area(size, gmacs):
    cost = cost_by_part(bisenetv2(19, (*size, 3)), size)["total"]
    assert round(cost.macs / 1e9, 1) == gmacs
    scaled = cost_by_part(bisenetv2(19, (512, 1024, 3)), size)["total"]
    # All but the context embedding's 1x1 map, which has one size, grows with the image.
    assert scaled.macs == pytest.approx(cost.macs, rel=1e-5)
    assert scaled.parameters == cost.parameters


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [("bisenetv2", 2.31, 16.0), ("bisenetv2-large", 15.5, 66.0), ("bisenetv2-small", 0.59, 4.1)],
)
def test_named_models_cost_what_their_table_says(name, parameters, gmacs):
    total = cost_by_part(build_model(name, 19, (512, 1024, 3)), (512, 1024))["total"]
    assert round(total.parameters / 1e6, 1 if parameters > 10 else 2) == parameters
    assert round(total.macs / 1e9, 1) == gmacs
    assert name in MODELS


def test_the_same_cost_in_keras_2():
    assert cost_by_part(small(keras=tf_keras), SIZE) == cost_by_part(small(), SIZE)


# === Arguments ===


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((360, 480, 3), "height 360 is not a multiple of 32: use 352 or 384"),
        ((384, 500, 3), "width 500 is not a multiple of 32: use 480 or 512"),
        ((16, 64, 3), "height 16 is not a multiple of 32: use 32 or 64"),
        ((0, 64, 3), "height 0 is not a multiple of 32: use 32 or 64"),
    ],
)
def test_other_sizes_are_refused_with_the_two_nearest(shape, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        bisenetv2(5, shape)
    with pytest.raises(UsageError, match=f"^{message}$"):
        build_model("bisenetv2", 5, shape)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregation": "mean"}, "aggregation must be one of .*, not 'mean'"),
        ({"upsampling": "cubic"}, "upsampling must be one of .*, not 'cubic'"),
        ({"alpha": 0}, "alpha must be positive, not 0"),
        ({"depth": -1}, "depth must be positive, not -1"),
        ({"num_classes": 0}, "num_classes must be positive, not 0"),
    ],
)
def test_arguments_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        bisenetv2(**{"num_classes": 5, **options})


def test_an_unknown_model_is_refused_with_the_known_ones():
    message = "no model is named 'unet': choose one of bisenetv2, bisenetv2-large, bisenetv2-small"
    with pytest.raises(UsageError, match=message):
        build_model("unet", 5)


def test_depth_repeats_and_widths_scale():
    model = bisenetv2(5, (64, 64, 3), alpha=2, depth=3, semantic_ratio=0.5, expansion=2)
    stages = [layer.name[9:11] for layer in model.layers if layer.name.endswith("expand")]
    assert stages == ["s3"] * 4 + ["s4"] * 4 + ["s5"] * 10
    assert model.get_layer("detail_s3_3_relu").output.shape[-1] == 256
    assert model.get_layer("semantic_stem_fuse_relu").output.shape[-1] == 64
    assert model.get_layer("semantic_s5_2_expand").output.shape[-1] == 512


def test_a_model_of_free_size_takes_any_multiple_of_32():
    free, fixed = bisenetv2(5, **SMALL), small()
    assert free.input_shape == (None, None, None, 3)
    copy_weights(fixed, free)
    np.testing.assert_array_equal(free(images()), fixed(images()))
    assert free(images(1, (32, 160))).shape == (1, 32, 160, 5)


# === Two Kerases ===


@pytest.mark.parametrize(
    "options",
    [
        {"aggregation": "sum", "upsampling": "nearest"},
        {"aggregation": "concat", "upsampling": "transposed"},
        {"context_norm": False},
    ],
    ids=str,
)
def test_keras_3_and_keras_2_give_the_same_bits(options):
    three, two = small(**options), small(keras=tf_keras, **options)
    copy_weights(three, two)
    assert [layer.name for layer in three.layers] == [layer.name for layer in two.layers]
    for ours, theirs in zip(tf.nest.flatten(three(images())), tf.nest.flatten(two(images()))):
        difference = np.abs(ours.numpy() - theirs.numpy())
        assert difference.max() == 0.0
        assert ours.numpy().std() > 0.01


# === On a device ===


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_the_deployment_model_is_the_trained_one_up_to_rounding(upsampling):
    trained = small(boosters=True, upsampling=upsampling)
    options = {**SMALL, "upsampling": upsampling}
    deployed = deployment_model(trained, "bisenetv2", keras=tf_keras, **options)

    expected = trained(images())[0]
    np.testing.assert_allclose(deployed(images()), expected, rtol=0, atol=1e-5)
    assert deployed.output_shape[1] == SIZE[0]
    assert deployed.count_params() < trained.count_params()


def test_the_deployment_model_has_no_normalization_on_its_own():
    deployed = deployment_model(small(boosters=True), "bisenetv2", keras=tf_keras, **SMALL)
    for layer in deployed.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            before = layer.inbound_nodes[0].inbound_layers
            assert isinstance(before, (tf_keras.layers.Conv2D, tf_keras.layers.DepthwiseConv2D))
    assert not [layer.name for layer in deployed.layers if "pool_bn" in layer.name]


def test_the_deployment_model_takes_another_size():
    deployed = deployment_model(small(), "bisenetv2", (32, 160, 3), **SMALL)
    assert deployed.output_shape == (None, 4, 20, 5)


@pytest.mark.parametrize(
    ("aggregation", "upsampling"),
    [
        pytest.param(a, u, marks=[] if "bga" in a or "bilinear" in u else pytest.mark.slow)
        for a in AGGREGATIONS
        for u in UPSAMPLINGS
    ],
)
def test_every_choice_trains_and_converts(aggregation, upsampling):
    options = {"aggregation": aggregation, "upsampling": upsampling}
    model = small(boosters=True, **options)
    model.compile(keras.optimizers.SGD(0.1), loss=[cross_entropy] * 5, run_eagerly=True)
    kernels = [weight for weight in model.trainable_weights if weight.path.endswith("kernel")]
    before = [keras.ops.convert_to_numpy(kernel) for kernel in kernels]
    labels = np.random.default_rng(1).integers(0, 5, (2, *SIZE))
    loss = model.train_on_batch(images(), [labels] * 5, return_dict=True)["loss"]
    assert 1 < loss < 100
    for kernel, value in zip(kernels, before):
        assert np.abs(keras.ops.convert_to_numpy(kernel) - value).max() > 0, kernel.path

    deployed = deployment_model(model, "bisenetv2", keras=tf_keras, **SMALL, **options)
    graph = tf.function(lambda image: deployed(image, training=False))
    concrete = graph.get_concrete_function(tf.TensorSpec((1, *SIZE, 3)))
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    interpreter = open_interpreter(content)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images(1))
    interpreter.invoke()
    answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(answer, deployed(images(1)), rtol=0, atol=1e-3)


# === On JAX ===

ON_JAX = """
import sys
import keras
import numpy as np
from keras_bisenet import bisenetv2

given = np.load(sys.argv[1])
model = bisenetv2(5, (64, 96, 3), boosters=True, alpha=0.125, head_width=8)
model.set_weights([given[str(i)] for i in range(len(given.files) - 1)])
assert keras.backend.backend() == "jax"
np.savez(sys.argv[2], *[np.asarray(x) for x in model.predict_on_batch(given["images"])])
"""


@pytest.fixture(scope="module", autouse=True)
def jax_outputs(tmp_path_factory, start_on_jax):
    """A function that waits for the five outputs of `small(boosters=True)` on JAX."""
    given, found = (tmp_path_factory.mktemp("jax") / name for name in ("given.npz", "found.npz"))
    weights = {str(i): weight for i, weight in enumerate(small(boosters=True).get_weights())}
    np.savez(given, images=images(), **weights)
    wait = start_on_jax(ON_JAX, given, found)

    def outputs():
        wait()
        return list(np.load(found).values())

    return outputs


def test_the_jax_backend_gives_the_same_to_1e_4(jax_outputs):
    model = small(boosters=True)
    for ours, theirs in zip(model(images()), jax_outputs()):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)
