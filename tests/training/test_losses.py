"""Losses against numbers computed by hand, in NumPy."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from keras_bisenet.class_weights import class_weights
from keras_bisenet.errors import UsageError
from keras_bisenet.label_map import VOID
from keras_bisenet.training.losses import (
    cross_entropy,
    dice_loss,
    lovasz_softmax,
    make_loss,
    ohem_cross_entropy,
    weighted_cross_entropy,
)

LN2 = math.log(2)
SURE, UNSURE = math.log(4), 0.0
"""Logits of the true class of two, against 0 for the other: probabilities 0.8 and 0.5."""
EASY, HARD = math.log(1.25), LN2
"""The cross-entropies of those. -log(0.7) lies between them."""


def two_classes(rows):
    """Class ids and logits where `rows` has the logit of the true class, or None for void."""
    logits = np.zeros((1, len(rows), len(rows[0]), 2), np.float32)
    class_ids = np.full(logits.shape[:-1], VOID, np.int32)
    for y, row in enumerate(rows):
        for x, logit in enumerate(row):
            class_id = (y + x) % 2
            logits[0, y, x, class_id] = 7.0 if logit is None else logit
            if logit is not None:
                class_ids[0, y, x] = class_id
    return class_ids, logits


def pixels(sure=0, unsure=0, void=0):
    return two_classes([[SURE] * sure + [UNSURE] * unsure + [None] * void])


def value_and_gradient(loss, class_ids, logits):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(class_ids, logits)
    return float(value), tape.gradient(value, logits).numpy()


def numpy_ohem(class_ids, logits, threshold, least_share):
    """The definition, with a sort: all pixels above the threshold, or the hardest share."""
    counted = class_ids != VOID
    logits = logits[counted].astype(np.float64)
    true = logits[np.arange(len(logits)), class_ids[counted]]
    losses = np.sort(np.log(np.exp(logits).sum(axis=-1)) - true)[::-1]
    hard = int((losses >= -math.log(threshold)).sum())
    return losses[: max(hard, int(len(losses) * least_share), 1)].mean()


# === Cross-entropy ===


def test_cross_entropy_is_the_mean_over_pixels():
    value, gradient = value_and_gradient(cross_entropy, *pixels(sure=3, unsure=1))
    assert value == pytest.approx((3 * EASY + HARD) / 4, rel=1e-6)
    # (probability - truth) / pixels
    np.testing.assert_allclose(gradient[0, 0, 3], [0.5 / 4, -0.5 / 4], rtol=1e-6)


def test_void_pixels_do_not_count():
    value, gradient = value_and_gradient(cross_entropy, *pixels(sure=1, unsure=1, void=6))
    assert value == pytest.approx((EASY + HARD) / 2, rel=1e-6)
    assert not gradient[0, 0, 2:].any()
    assert gradient[0, 0, :2].all()


@pytest.mark.parametrize("loss", [cross_entropy, ohem_cross_entropy()])
def test_a_batch_of_void_costs_nothing(loss):
    value, gradient = value_and_gradient(loss, *pixels(void=32))
    assert value == 0.0
    assert not gradient.any()


@pytest.mark.parametrize("loss", [cross_entropy, ohem_cross_entropy()])
def test_large_logits_stay_finite(loss):
    class_ids, logits = pixels(sure=2, unsure=30)
    value, gradient = value_and_gradient(
        loss, class_ids, logits - 1e4 * (class_ids == 0)[..., None]
    )
    assert math.isfinite(value) and np.isfinite(gradient).all()
    wrong = np.array([[[[1e4, 0.0]]]], np.float32)
    assert float(loss(np.array([[[1]]]), wrong)) == pytest.approx(1e4)


def test_half_precision_logits_are_summed_in_full():
    class_ids, logits = pixels(sure=1, unsure=4095)
    value = cross_entropy(class_ids, tf.cast(logits, "float16"))
    assert value.dtype == tf.float32
    assert float(value) == pytest.approx((EASY + 4095 * HARD) / 4096, rel=1e-3)


# === Online hard example mining ===


def test_ohem_counts_the_pixels_below_the_threshold():
    value, gradient = value_and_gradient(ohem_cross_entropy(0.7), *pixels(sure=24, unsure=8))
    assert value == pytest.approx(HARD, rel=1e-6)
    assert not gradient[0, 0, :24].any()
    np.testing.assert_allclose(np.abs(gradient[0, 0, 24:]), 0.5 / 8, rtol=1e-6)


def test_with_too_few_hard_pixels_the_hardest_sixteenth_counts():
    class_ids, logits = pixels(sure=64)
    logits[0, 0, :3, :] *= 1.5  # easier
    logits[0, 0, 10, :] *= 0.95  # the four hardest, and one of them is hard
    logits[0, 0, 20, :] *= 0.90
    logits[0, 0, 30, :] *= 0.85
    logits[0, 0, 40, :] = 0
    value, gradient = value_and_gradient(ohem_cross_entropy(0.7, 1 / 16), class_ids, logits)
    losses = [math.log(1 + math.exp(-SURE * factor)) for factor in (0.95, 0.90, 0.85, 0.0)]
    assert value == pytest.approx(sum(losses) / 4, rel=1e-6)
    assert np.flatnonzero(gradient.any(axis=-1)).tolist() == [10, 20, 30, 40]


def test_the_sixteenth_is_of_the_pixels_that_are_not_void():
    class_ids, logits = pixels(sure=32, void=480)
    logits[0, 0, 5, :] *= 0.9
    logits[0, 0, 6, :] *= 0.8
    value, gradient = value_and_gradient(ohem_cross_entropy(0.7, 1 / 16), class_ids, logits)
    losses = [math.log(1 + math.exp(-SURE * factor)) for factor in (0.9, 0.8)]
    assert value == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert np.flatnonzero(gradient.any(axis=-1)).tolist() == [5, 6]


def test_a_few_pixels_among_void_still_count():
    value, _ = value_and_gradient(ohem_cross_entropy(0.7), *pixels(sure=1, void=99))
    assert value == pytest.approx(EASY, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("threshold", "share"), [(0.7, 1 / 16), (0.02, 1 / 4), (0.99, 1 / 2)])
def test_ohem_agrees_with_a_sort(seed, threshold, share):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (2, 12, 17, 5)).astype(np.float32)
    class_ids = rng.integers(0, 5, (2, 12, 17)).astype(np.int32)
    class_ids[rng.random(class_ids.shape) < 0.3] = VOID
    found = float(ohem_cross_entropy(threshold, share)(class_ids, logits))
    assert found == pytest.approx(numpy_ohem(class_ids, logits, threshold, share), rel=1e-5)


def test_a_configuration_names_its_loss():
    class_ids, logits = pixels(sure=24, unsure=8)
    assert make_loss() is cross_entropy
    strict = make_loss("ohem", ohem_threshold=0.9)  # 0.8 is hard too
    assert float(strict(class_ids, logits)) == pytest.approx((24 * EASY + 8 * HARD) / 32, rel=1e-6)


# === Class weights ===


def test_weights_decide_what_a_pixel_counts():
    # Class 0 has one sure pixel, class 1 an unsure one, then class 0 is void.
    class_ids, logits = two_classes([[SURE, UNSURE, None]])
    value, gradient = value_and_gradient(weighted_cross_entropy((1, 3)), class_ids, logits)
    assert value == pytest.approx((EASY + 3 * HARD) / 4, rel=1e-6)
    np.testing.assert_allclose(gradient[0, 0, 1], [0.5 * 3 / 4, -0.5 * 3 / 4], rtol=1e-6)
    assert not gradient[0, 0, 2].any()


def test_weights_of_hard_pixels():
    class_ids, logits = two_classes([[SURE, UNSURE, UNSURE, SURE]])
    strict = ohem_cross_entropy(threshold=0.9, class_weights=(1, 3))  # all are hard
    expected = (EASY + 3 * HARD + HARD + 3 * EASY) / 8
    assert float(strict(class_ids, logits)) == pytest.approx(expected, rel=1e-6)
    hard = ohem_cross_entropy(threshold=0.7, class_weights=(1, 3))
    assert float(hard(class_ids, logits)) == pytest.approx(HARD, rel=1e-6)


@pytest.mark.parametrize(
    ("weighting", "ratios"),
    [
        ("sqrt", [1, 2, 4]),
        ("median", [1, 4, 16]),
        ("enet", [1, math.log(1.02 + 16 / 21) / math.log(1.02 + 4 / 21), None]),
    ],
)
def test_weightings(weighting, ratios):
    pixels = [1600, 400, 100]
    weights = class_weights(weighting, pixels)
    for weight, ratio in zip(weights, ratios):
        assert ratio is None or weight / weights[0] == pytest.approx(ratio)
    assert np.average(weights, weights=pixels) == pytest.approx(1)


def test_a_class_without_pixels_weighs_as_the_rarest():
    weights = class_weights("sqrt", [1600, 0, 100])
    assert weights[1] == weights[2]


def test_weights_as_numbers():
    assert class_weights("none", [1, 2]) is None
    assert class_weights("1,2.5", [1, 2]) == (1, 2.5)
    with pytest.raises(UsageError, match="^class_weights: 2 weights for 3 classes: give one for"):
        class_weights("1,2.5", [1, 2, 3])
    for bad in ("often", "1,-2", ""):
        with pytest.raises(UsageError, match=f"^class_weights: '{bad}' is none of none, sqrt"):
            class_weights(bad, [1, 2])


# === Losses of regions ===


def probabilities_as_logits(rows, class_ids):
    """Two classes; `rows` has the probability of class 1."""
    ones = np.array(rows, np.float32)[None]
    return np.array(class_ids, np.int32)[None], np.log(np.stack([1 - ones, ones], axis=-1))


def test_dice_by_hand():
    class_ids, logits = probabilities_as_logits([[0.5, 0.25, 0.9]], [[1, 0, VOID]])
    # Class 0: 2 * 0.75 / (1 + 1.25); class 1: 2 * 0.5 / (1 + 0.75).
    expected = 1 - (2 * 0.75 / 2.25 + 2 * 0.5 / 1.75) / 2
    value, gradient = value_and_gradient(dice_loss, class_ids, logits)
    assert value == pytest.approx(expected, rel=1e-5)
    assert not gradient[0, 0, 2].any() and gradient[0, 0, :2].all()


def test_dice_leaves_out_classes_that_are_not_there():
    class_ids, logits = probabilities_as_logits([[0.5, 0.5]], [[0, 0]])
    assert float(dice_loss(class_ids, logits)) == pytest.approx(1 - 2 * 1 / (2 + 1), rel=1e-5)


def test_lovasz_by_hand():
    class_ids, logits = probabilities_as_logits([[0.4, 0.3, 0.8, 0.9]], [[1, 0, 1, VOID]])
    # Class 1 has 2 of 3 pixels; errors 0.6 (its own), 0.3 (not its own), 0.2 (its own). 1 - IoU
    # with the first wrong: 1 - 1/2; with two: 1 - 1/3; with all: 1. Class 0 has the same errors
    # and one pixel, the second: 1 - 1/2, then 1, 1.
    class_1 = 0.6 * 1 / 2 + 0.3 * (2 / 3 - 1 / 2) + 0.2 * (1 - 2 / 3)
    class_0 = 0.6 * 1 / 2 + 0.3 * (1 - 1 / 2) + 0.2 * 0
    value, gradient = value_and_gradient(lovasz_softmax, class_ids, logits)
    assert value == pytest.approx((class_0 + class_1) / 2, rel=1e-5)
    assert not gradient[0, 0, 3].any()


def test_lovasz_of_certain_answers_is_1_minus_miou():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (2, 8, 8)).astype(np.int32)
    answer = np.where(rng.random(truth.shape) < 0.3, (truth + 1) % 3, truth)
    truth[:, 0] = VOID
    logits = 40 * np.eye(3, dtype=np.float32)[answer]
    counted = truth != VOID
    iou = [
        ((truth == c) & (answer == c)).sum() / (counted & ((truth == c) | (answer == c))).sum()
        for c in range(3)
    ]
    assert float(lovasz_softmax(truth, logits)) == pytest.approx(1 - np.mean(iou), rel=1e-5)


def test_losses_add_up():
    class_ids, logits = probabilities_as_logits([[0.4, 0.3, 0.8]], [[1, 0, 1]])
    total = make_loss(dice=0.5, lovasz=2.0)(class_ids, logits)
    parts = [float(loss(class_ids, logits)) for loss in (cross_entropy, dice_loss, lovasz_softmax)]
    assert float(total) == pytest.approx(parts[0] + 0.5 * parts[1] + 2 * parts[2], rel=1e-6)


# === Where they run ===


@pytest.mark.parametrize("loss", [cross_entropy, ohem_cross_entropy()])
def test_keras_2_trains_with_them(loss):
    rng = np.random.default_rng(0)
    class_ids, logits = rng.integers(0, 2, (1, 1, 8)), rng.normal(0, 1, (1, 1, 8, 2))
    model = tf_keras.Sequential([tf_keras.layers.Conv2D(2, 1, input_shape=(1, 8, 2))])
    model.layers[0].set_weights([np.eye(2)[None, None], np.zeros(2)])
    model.compile(tf_keras.optimizers.SGD(1.0), loss=loss)
    first, second = (model.train_on_batch(logits, class_ids) for _ in range(2))
    assert first == pytest.approx(float(loss(class_ids, logits)), rel=1e-6)
    assert second < first


ON_JAX = """
import json, sys
import jax
import numpy as np
from keras_bisenet.training.losses import make_loss

given = np.load(sys.argv[1])
for loss in (make_loss(class_weights=(1, 2, 3), dice=1, lovasz=1), make_loss("ohem")):
    both = jax.jit(jax.value_and_grad(lambda x: loss(given["class_ids"], x)))
    value, gradient = both(given["logits"])
    print(json.dumps([float(value), np.asarray(gradient).ravel().tolist()]))
"""


def test_jax_gives_the_same_values_and_gradients(tmp_path, start_on_jax):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (2, 6, 7, 3)).astype(np.float32)
    class_ids = rng.integers(0, 3, (2, 6, 7)).astype(np.int32)
    class_ids[:, :2] = VOID
    np.savez(tmp_path / "given.npz", class_ids=class_ids, logits=logits)
    lines = start_on_jax(ON_JAX, tmp_path / "given.npz")().splitlines()
    all_of_them = make_loss(class_weights=(1, 2, 3), dice=1, lovasz=1)
    for loss, line in zip((all_of_them, make_loss("ohem")), lines[-2:]):
        value, gradient = value_and_gradient(loss, class_ids, logits)
        on_jax_value, on_jax_gradient = json.loads(line)
        assert on_jax_value == pytest.approx(value, rel=1e-5)
        np.testing.assert_allclose(on_jax_gradient, gradient.ravel(), rtol=0, atol=1e-6)
