"""Scores against a confusion matrix counted by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from keras_bisenet.label_map import VOID
from keras_bisenet.training.metrics import Scores, confusion_matrix

NAMES = ("road", "sky", "car")
TRUTH = np.array([[0, 0, 0, 1], [1, 1, VOID, VOID]], np.uint8)
PREDICTED = np.array([[0, 0, 1, 1], [1, 0, 0, 2]], np.uint8)


def scores(truth=TRUTH, predicted=PREDICTED):
    return Scores(NAMES, confusion_matrix(truth, predicted, len(NAMES)))


def test_rows_are_the_truth_and_columns_the_prediction():
    matrix = confusion_matrix(TRUTH, PREDICTED, 3)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, [[2, 1, 0], [1, 2, 0], [0, 0, 0]])


def test_matrices_of_images_add_up_to_that_of_the_split():
    whole = confusion_matrix(TRUTH, PREDICTED, 3)
    rows = sum(confusion_matrix(t, p, 3) for t, p in zip(TRUTH, PREDICTED))
    np.testing.assert_array_equal(rows, whole)


def test_255_classes_do_not_overflow():
    truth, predicted = np.array([254, 254], np.uint8), np.array([254, 253], np.uint8)
    matrix = confusion_matrix(truth, predicted, 255)
    assert (matrix[254, 254], matrix[254, 253], matrix.sum()) == (1, 1, 2)


@pytest.mark.parametrize("wrong", [3, VOID])
def test_a_prediction_that_is_no_class_is_refused(wrong):
    with pytest.raises(ValueError, match=f"predictions of 3 classes hold {wrong}"):
        scores(predicted=np.where(PREDICTED == 2, 0, PREDICTED + (PREDICTED == 1) * (wrong - 1)))


def test_iou_is_hits_over_union():
    # road and sky: 2 hits, 1 missed, 1 too many
    np.testing.assert_allclose(scores().iou, [2 / 4, 2 / 4, np.nan])


def test_the_mean_leaves_out_a_class_that_never_occurs():
    assert scores().miou == pytest.approx(0.5)
    assert scores().pixel_accuracy == pytest.approx(4 / 6)


def test_a_class_that_is_predicted_and_never_true_counts_as_0():
    predicted = np.where(PREDICTED == 1, 2, PREDICTED)
    found = scores(predicted=predicted)
    np.testing.assert_allclose(found.iou, [2 / 4, 0, 0])
    assert found.miou == pytest.approx(1 / 6)


def test_a_perfect_answer_scores_1():
    found = scores(predicted=np.where(TRUTH == VOID, 0, TRUTH))
    assert (found.miou, found.pixel_accuracy) == (1.0, 1.0)


def test_nothing_but_void_has_no_score():
    found = scores(truth=np.full_like(TRUTH, VOID))
    assert math.isnan(found.miou) and math.isnan(found.pixel_accuracy)
    assert found.to_json()["miou"] is None


def test_json():
    written = json.loads(json.dumps(scores().to_json(), allow_nan=False))
    assert written == {
        "miou": 0.5,
        "pixel_accuracy": 4 / 6,
        "per_class": {"road": 0.5, "sky": 0.5, "car": None},
        "confusion_matrix": [[2, 1, 0], [1, 2, 0], [0, 0, 0]],
    }
