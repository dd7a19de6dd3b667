"""Optimizers and the schedule against steps computed by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_bisenet.training.optimizers import SGD, WarmupPolynomialDecay, is_decayed, make_optimizer


def layers_with_every_kind_of_weight():
    image = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(3, 3, name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    return keras.Model(image, keras.layers.Conv2DTranspose(2, 2, name="transposed")(x))


def optimizer_for(model, name="sgd", learning_rate=0.1, **options):
    variables = model.trainable_variables
    optimizer = make_optimizer(name, learning_rate, trainable_variables=variables, **options)
    optimizer.build(variables)
    return optimizer


def gradients_of(model, value):
    return [keras.ops.full_like(variable, value) for variable in model.trainable_variables]


def values(model):
    return {v.path: keras.ops.convert_to_numpy(v) for v in model.trainable_variables}


# === Weight decay ===


def test_kernels_alone_are_decayed():
    model = layers_with_every_kind_of_weight()
    assert {v.path for v in model.trainable_variables if is_decayed(v)} == {
        "conv/kernel",
        "depthwise/kernel",
        "transposed/kernel",
    }


def test_sgd_takes_the_decay_through_its_momentum():
    model = layers_with_every_kind_of_weight()
    start = values(model)
    optimizer = optimizer_for(model, learning_rate=0.1, momentum=0.9, weight_decay=0.2)
    for gradient in (1.0, -0.5):
        optimizer.apply(gradients_of(model, gradient))
    for path, found in values(model).items():
        weight, l2, velocity = start[path], 0.2 if path.endswith("kernel") else 0.0, 0.0
        for gradient in (1.0, -0.5):
            velocity = 0.9 * velocity - 0.1 * (gradient + l2 * weight)
            weight = weight + velocity
        np.testing.assert_allclose(found, weight, rtol=0, atol=1e-6)


def test_sgd_without_gradient_shrinks_kernels_by_l2():
    model = layers_with_every_kind_of_weight()
    start = values(model)
    optimizer_for(model, learning_rate=0.5, weight_decay=0.1).apply(gradients_of(model, 0.0))
    for path, found in values(model).items():
        factor = 1 - 0.5 * 0.1 if path.endswith("kernel") else 1.0
        np.testing.assert_allclose(found, factor * start[path], rtol=1e-6)


def test_adamw_decays_kernels_apart_from_the_gradient():
    model = layers_with_every_kind_of_weight()
    start = values(model)
    optimizer_for(model, "adamw", 0.5, weight_decay=0.1).apply(gradients_of(model, 0.0))
    for path, found in values(model).items():
        factor = 1 - 0.5 * 0.1 if path.endswith("kernel") else 1.0
        np.testing.assert_allclose(found, factor * start[path], rtol=1e-6)


def test_adamw_moves_by_the_learning_rate_at_first():
    model = layers_with_every_kind_of_weight()
    start = values(model)
    optimizer_for(model, "adamw", 0.01).apply(gradients_of(model, 3.0))
    for path, found in values(model).items():
        np.testing.assert_allclose(found, start[path] - 0.01, rtol=0, atol=1e-6)


def test_sgd_survives_saving():
    schedule = WarmupPolynomialDecay(0.1, 100, 10, 0.5)
    config = keras.saving.serialize_keras_object(SGD(schedule, momentum=0.8, l2=0.3))
    restored = keras.saving.deserialize_keras_object(config)
    assert (type(restored), restored.l2, restored.momentum) == (SGD, 0.3, 0.8)
    assert restored._learning_rate.get_config() == schedule.get_config()


# === Schedule ===


def test_the_schedule_rises_in_a_line_and_falls_as_a_power():
    schedule = WarmupPolynomialDecay(0.2, total_steps=110, warmup_steps=10, power=0.9)
    found = [float(schedule(step)) for step in (0, 4, 9, 10, 60, 85, 109, 110, 500)]
    expected = [
        0.2 * 1 / 10,  # the first step trains too
        0.2 * 5 / 10,
        0.2,
        0.2,
        0.2 * 0.5**0.9,
        0.2 * 0.25**0.9,
        0.2 * 0.01**0.9,
        0.0,
        0.0,
    ]
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_schedule_without_warm_up_starts_at_its_peak():
    schedule = WarmupPolynomialDecay(0.2, total_steps=4, power=1.0)
    assert [float(schedule(step)) for step in range(5)] == pytest.approx([0.2, 0.15, 0.1, 0.05, 0])


# === Accumulation and averaging ===


def test_accumulated_gradients_are_averaged():
    model = layers_with_every_kind_of_weight()
    start = values(model)
    optimizer = optimizer_for(model, learning_rate=0.1, weight_decay=0.2, accumulate=3)
    for gradient in (1.0, 2.0, 6.0):
        for path, found in values(model).items():
            np.testing.assert_array_equal(found, start[path])
        optimizer.apply(gradients_of(model, gradient))
    for path, found in values(model).items():
        l2 = 0.2 if path.endswith("kernel") else 0.0
        expected = start[path] - 0.1 * (3.0 + l2 * start[path])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_moving_average_of_the_weights():
    model = layers_with_every_kind_of_weight()
    start = values(model)["conv/bias"]
    optimizer = optimizer_for(model, learning_rate=1.0, momentum=0.0, ema_momentum=0.8)
    for _ in range(3):
        optimizer.apply(gradients_of(model, 1.0))
    average = start - 1
    for step in (2, 3):
        average = 0.8 * average + 0.2 * (start - step)
    optimizer.finalize_variable_values(model.trainable_variables)
    np.testing.assert_allclose(values(model)["conv/bias"], average, rtol=1e-6)
