"""`keras-bisenet evaluate`: one score for a run, a `.keras` and a `.tflite` file."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_bisenet.cli import main
from keras_bisenet.data import load_dataset
from keras_bisenet.data.camvid import CAMVID
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.streets import generate_streets
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.letterbox import Fit
from keras_bisenet.label_map import VOID, LabelMap
from keras_bisenet.models.bisenetv2 import bisenetv2
from keras_bisenet.segmenters import open_segmenter
from keras_bisenet.training.config import write_config
from keras_bisenet.training.evaluation import (
    KerasSegmenter,
    SlidingWindows,
    resized_logits,
    score,
    stride_of,
    window_starts,
)
from keras_bisenet.training.run import Run
from keras_bisenet.training.saving import load_model

LABELS = LabelMap(("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))


class InMemory(Dataset):
    """A data set of masks; the red of an image is the number of its mask."""

    def __init__(self, masks):
        samples = tuple(Sample(Path(str(i)), Path(str(i))) for i in range(len(masks)))
        super().__init__("memory", LABELS, {"val": samples})
        object.__setattr__(self, "masks", masks)

    def read(self, sample):
        mask = self.masks[int(sample.image.name)]
        return np.full((*mask.shape, 3), int(sample.image.name), np.uint8), mask


@pytest.fixture
def masks():
    """Two images of different size: 4 and 4 pixels of a and b; 4 of b, 2 of c, 2 void."""
    first = np.array([[0, 0, 1, 1]] * 2, np.uint8)
    second = np.array([[1, 2], [1, 2], [1, VOID], [1, VOID]], np.uint8)
    return [first, second]


# === Scores by hand ===


def test_the_truth_scores_1(masks):
    dataset = InMemory(masks)
    seen = []
    answers = [np.where(mask == VOID, 0, mask) for mask in masks]
    found = score(lambda image: answers[image[0, 0, 0]], dataset, dataset.split("val"), seen.append)
    assert (found.miou, found.pixel_accuracy) == (1.0, 1.0)
    assert found.confusion.sum() == 14
    assert seen == [1, 1]


def test_a_shifted_answer_scores_as_counted_by_hand(masks):
    dataset = InMemory(masks)
    answers = [np.roll(np.where(mask == VOID, 0, mask), 1, axis=1) for mask in masks]
    found = score(lambda image: answers[image[0, 0, 0]], dataset, dataset.split("val"))
    # First image: rows of 1 0 0 1 for 0 0 1 1. Second: 2 1, 2 1, 0 1, 0 1 for 1 2, 1 2, 1 -, 1 -.
    np.testing.assert_array_equal(found.confusion, [[2, 2, 0], [2 + 2, 2, 2], [0, 2, 0]])
    assert found.miou == pytest.approx((2 / 8 + 2 / 12 + 0 / 4) / 3)
    assert found.pixel_accuracy == pytest.approx(4 / 14)


def test_pixels_count_alike_in_whatever_image(masks):
    """One confusion matrix over the split, not the mean over the images."""
    dataset = InMemory(masks)
    found = score(lambda image: np.ones(image.shape[:2], np.uint8), dataset, dataset.split("val"))
    np.testing.assert_allclose(found.iou, [0, 8 / 14, 0])


def test_resized_logits_interpolate_the_part_with_the_image():
    logits = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    fit = Fit((2, 2), (16, 24), (16, 16))  # the right third is padding
    np.testing.assert_allclose(resized_logits(logits, fit)[..., 0], [[0, 1], [3, 4]])
    fit = Fit((4, 4), (16, 24), (16, 16))
    found = resized_logits(logits, fit)[..., 0]
    np.testing.assert_allclose(found[0], [0, 0.25, 0.75, 1.25])
    np.testing.assert_allclose(found[:, 0], [0, 0.75, 2.25, 3])


# === Sliding windows ===


@pytest.mark.parametrize(
    ("length", "starts"),
    [(50, [0]), (60, [0]), (61, [0, 1]), (100, [0, 40]), (101, [0, 20, 41]), (140, [0, 40, 80])],
)
def test_windows_of_60_overlap_by_20_at_least(length, starts):
    assert window_starts(length, 60, 1 / 3) == starts


def test_windows_see_the_image_unscaled_and_average():
    """Logits that are the window's own pixels, and a constant that tells windows apart."""
    seen = []

    def logits(window, fit):
        seen.append(window.shape[:2])
        return np.stack([window[..., 0].astype(np.float32), np.full(fit.network_size, 100.0)], -1)

    image = np.random.default_rng(0).integers(0, 255, (32, 80, 3)).astype(np.uint8)
    answer = SlidingWindows(logits, (32, 48)).segment(image)
    assert seen == [(32, 48)] * 2
    np.testing.assert_array_equal(answer, image[..., 0] < 100)

    votes = iter((1.0, 3.0))

    def one_of_two(window, fit):
        return np.stack([np.full(fit.network_size, v, np.float32) for v in (next(votes), 1.5)], -1)

    answer = SlidingWindows(one_of_two, (32, 48)).segment(image)
    # 1 and 3 against 1.5: the second class on the left alone; where both windows are, 2 wins.
    assert (answer[:, :32] == 1).all() and (answer[:, 32:] == 0).all()


def test_an_image_that_fits_is_one_window(float_run, int8_file, streets):
    dataset = load_dataset("streets", streets)
    image, _ = dataset.read(dataset.split("test")[0])
    for model in (float_run.path, int8_file):
        whole, windows = (
            open_segmenter(model, dataset.label_map, windows=windows)(image)
            for windows in (False, True)
        )
        assert (whole == windows).mean() > 0.999  # interpolated by another library


# === The command ===


@pytest.fixture
def evaluate(tmp_path, command):
    """A function that evaluates a model, and returns what `--json` wrote."""

    def run(model, *options):
        path = tmp_path / "scores.json"
        output = command("evaluate", model, *options, "--json", path)
        scores = json.loads(path.read_text())
        assert f"mIoU                 {scores['miou']:6.4f}  (" in output
        return scores

    return run


@pytest.fixture
def where(streets):
    return ("--dataset", "streets", "--data-dir", streets)


def test_a_run(evaluate, float_run, streets):
    found = evaluate(float_run.path)
    assert found["miou"] == pytest.approx(float_run.best_miou(), abs=1e-6)
    assert list(found["per_class"]) == list(CAMVID.names)
    assert found["model"] == str(float_run.path)
    assert (found["dataset"], found["split"], found["images"]) == ("streets", "val", 3)

    # The figures are those of its confusion matrix, over every pixel that is not void.
    matrix = np.array(found["confusion_matrix"])
    dataset = load_dataset("streets", streets)
    masks = [dataset.read(sample)[1] for sample in dataset.split("val")]
    assert matrix.sum() == sum(int((mask != VOID).sum()) for mask in masks)
    hits = np.diag(matrix)
    iou = hits / np.maximum(matrix.sum(axis=0) + matrix.sum(axis=1) - hits, 1)
    occurs = matrix.sum(axis=0) + matrix.sum(axis=1) > 0
    assert found["miou"] == pytest.approx(iou[occurs].mean())
    assert found["pixel_accuracy"] == pytest.approx(hits.sum() / matrix.sum())
    assert [v is not None for v in found["per_class"].values()] == occurs.tolist()


def test_a_run_its_keras_file_and_its_tflite_file_agree(evaluate, float_run, float_file, where):
    of_run = evaluate(float_run.path, "--split", "test")
    of_keras = evaluate(float_run.model_file, *where, "--split", "test", "--size", "64x96")
    of_tflite = evaluate(float_file, *where, "--split", "test")
    assert of_keras["confusion_matrix"] == of_run["confusion_matrix"]
    moved = np.abs(np.array(of_tflite["confusion_matrix"]) - of_run["confusion_matrix"]).sum()
    assert moved <= 0.002 * np.sum(of_run["confusion_matrix"])
    assert of_tflite["miou"] == pytest.approx(of_run["miou"], abs=0.002)


def test_a_qat_run_and_its_int8_file_agree(evaluate, qat_run, int8_file, where):
    of_run, of_file = evaluate(qat_run.path), evaluate(int8_file, *where)
    assert of_run["miou"] == pytest.approx(qat_run.best_miou(), abs=1e-6)
    assert of_file["miou"] == pytest.approx(of_run["miou"], abs=0.01)


def test_the_confusion_matrix_as_a_picture(tmp_path, command, float_run):
    command("evaluate", float_run.path, "--limit", 1, "--confusion", tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 200


def test_flip_and_scales(evaluate, float_run):
    plain = evaluate(float_run.path)
    several = evaluate(float_run.path, "--flip", "--scales", "0.5,1,1.5")
    assert several["confusion_matrix"] != plain["confusion_matrix"]
    assert np.sum(several["confusion_matrix"]) == np.sum(plain["confusion_matrix"])
    assert several["miou"] == pytest.approx(plain["miou"], abs=0.1)


def test_a_flipped_answer_is_that_of_the_flipped_image(float_run, streets):
    dataset = load_dataset("streets", streets)
    image, _ = dataset.read(dataset.split("val")[0])
    segmenter = KerasSegmenter(load_model(float_run.model_file), (64, 96), flip=True)
    np.testing.assert_array_equal(
        segmenter.segment(image[:, ::-1])[:, ::-1], segmenter.segment(image)
    )


def test_images_are_scored_at_their_own_size(tmp_path, evaluate, float_run):
    """90x120 images fitted into 96x128, which 32 divides."""
    generate_streets(tmp_path / "data", counts={"train": 1, "val": 2, "test": 1}, size=(90, 120))
    found = evaluate(float_run.path, "--data-dir", tmp_path / "data", "--size", "96x128")
    dataset = load_dataset("streets", tmp_path / "data")
    masks = [dataset.read(sample)[1] for sample in dataset.split("val")]
    assert {mask.shape for mask in masks} == {(90, 120)}
    assert np.sum(found["confusion_matrix"]) == sum(int((m != VOID).sum()) for m in masks)
    assert found["pixel_accuracy"] > 0.15

    segment = open_segmenter(float_run.path, CAMVID, size=(96, 128))
    assert segment(dataset.read(dataset.split("val")[0])[0]).shape == (90, 120)


# === What is refused ===


def refusal(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["evaluate", *(str(argument) for argument in arguments)])
    return result.exit_code, result.output


def test_options_that_do_not_suit_the_model(
    tmp_path, float_run, float_file, qat_run, ptq_run, where
):
    assert refusal(float_file, *where, "--flip") == (
        2,
        f"Error: {float_file}: --flip and --scales are for Keras models\n",
    )
    assert refusal(float_run.model_file, *where) == (
        2,
        f"Error: {float_run.model_file}: a .keras file has no size of its own: give --size HxW\n",
    )
    assert refusal(qat_run.path, "--flip") == (
        2,
        f"Error: {qat_run.path}: --flip and --scales are for float models\n",
    )
    code, output = refusal(ptq_run.path)
    assert code == 2 and f"keras-bisenet convert {ptq_run.path} -o model.tflite" in output
    assert refusal(float_file) == (
        2,
        "Error: give --dataset and --data-dir: only a run directory knows its own\n",
    )
    for wrong in ("1,x", "nan", "1,-1"):
        assert refusal(float_run.path, "--scales", wrong) == (
            2,
            f"Error: --scales '{wrong}': give positive numbers, such as 0.75,1,1.25\n",
        )
    assert refusal(float_run.path, "--split", "dev") == (
        2,
        "Error: streets has no split 'dev': choose one of train, val, test\n",
    )


def test_the_stride_comes_from_the_network(float_run):
    assert stride_of(load_model(float_run.model_file)) == 32
    x = image = keras.Input((None, None, 3))
    for layer in (
        keras.layers.Conv2D(2, 3, strides=2, padding="same"),
        keras.layers.MaxPooling2D(3, strides=2, padding="same"),
        keras.layers.UpSampling2D(4),
        keras.layers.Conv2D(2, 3, strides=2, padding="same"),
        keras.layers.Conv2DTranspose(2, 2, strides=2, padding="same"),
    ):
        x = layer(x)
    assert stride_of(keras.Model(image, x)) == 4


def test_held_out_images_are_the_split_val(evaluate, float_run, streets):
    """Numbers 1 and 2 of both splits; each is as large as the other."""
    found = evaluate(float_run.path, "--hold-out", "*_0000[12].png")
    assert (found["split"], found["images"]) == ("val", 4)
    dataset = load_dataset("streets", streets, hold_out="*_0000[12].png")
    labelled = sum((dataset.read(sample)[1] != VOID).sum() for sample in dataset.split("val"))
    assert np.sum(found["confusion_matrix"]) == labelled


def test_a_run_that_held_images_out_is_measured_on_other_data(
    evaluate, float_run, streets, tmp_path
):
    held = Run(shutil.copytree(float_run.path, tmp_path / "run"))
    write_config(held.config_file, dataclasses.replace(held.config, hold_out="train_drive"))
    for folder in ("test", "testannot"):
        shutil.copytree(streets / folder, tmp_path / "data" / folder)
    for data in (streets, tmp_path / "data"):
        found = evaluate(held.path, "--data-dir", data, "--split", "test")
        assert found["images"] == 3


def test_a_size_that_the_model_does_not_take(float_run, qat_run):
    assert refusal(float_run.path, "--size", "100x96") == (
        2,
        "Error: size: height 100 is not a multiple of 32: use 96 or 128\n",
    )
    assert refusal(qat_run.path, "--size", "96x128") == (
        2,
        "Error: size: this model takes 64x96 alone\n",
    )


def test_no_model(tmp_path, where):
    missing = tmp_path / "model.tflite"
    assert refusal(missing, *where) == (
        1,
        f"Error: {missing}: there is no such file or directory\n",
    )
    missing.write_bytes(b"no model at all")
    code, output = refusal(missing, *where)
    assert code == 1 and output.startswith(f"Error: {missing}: not a TFLite model")
    damaged = tmp_path / "model.keras"
    damaged.write_bytes(b"no model at all")
    code, output = refusal(damaged, *where, "--size", "64x96")
    assert code == 1 and output.startswith(f"Error: {damaged}: no readable .keras model")
    assert output.count("\n") == 1


def test_a_model_of_other_classes(tmp_path, where):
    path = tmp_path / "model.keras"
    bisenetv2(5, alpha=0.125, head_width=8).save(path)
    assert refusal(path, *where, "--size", "64x96") == (
        1,
        f"Error: {path}: the model tells 5 classes apart, the data set has 11: "
        "choose the data set that it was trained on\n",
    )


def test_an_answer_that_no_class_has_is_refused(streets):
    dataset = load_dataset("streets", streets)
    with pytest.raises(UserError, match="the model answers with a class that streets has no name"):
        score(lambda image: np.full(image.shape[:2], 11, np.uint8), dataset, dataset.split("val"))
