"""Every named data set through training and evaluation, with a network of one layer."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from dataset_layouts import LAYOUTS

from keras_bisenet.data import load_dataset
from keras_bisenet.data.pipeline import TrainingPipeline
from keras_bisenet.training.evaluation import KerasSegmenter, score
from keras_bisenet.training.loop import TrainingLoop
from keras_bisenet.training.losses import cross_entropy
from keras_bisenet.training.run import Run


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_training_steps_and_an_evaluation(tmp_path, tiny, layout):
    name, write = LAYOUTS[layout]
    if name == "cocostuff10k":
        pytest.importorskip("scipy")
    write(tmp_path / "data")
    dataset = load_dataset(name, tmp_path / "data")
    config = tiny(
        dataset=name, data_dir=str(tmp_path / "data"), size="32x64", batch_size=2, epochs=1
    )
    num_classes = dataset.label_map.num_classes
    model = keras.Sequential([keras.Input((*config.size, 3)), keras.layers.Conv2D(num_classes, 1)])
    model.compile(keras.optimizers.SGD(0.1), loss=[cross_entropy], run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    pipeline = TrainingPipeline(dataset, dataset.split("train")[:4], config.size, 2)
    pipeline.preload()
    assert pipeline.steps_per_epoch == 2
    segment = KerasSegmenter(model, config.size).segment
    before = model.get_weights()
    (row,) = TrainingLoop(
        Run.create(tmp_path / "run", config, dataset.label_map),
        model,
        pipeline,
        dataset,
        segment=segment,
        save_best=lambda: None,
        learning_rate=lambda step: 0.1,
        epochs=1,
    )()
    assert 0 < row["loss"] < 2 * np.log(num_classes) + 1
    assert not np.array_equal(before[0], model.get_weights()[0])

    scores = score(segment, dataset, dataset.split("val"))
    assert scores.names == dataset.label_map.names
    assert scores.miou == row["val_miou"]
    truth = [dataset.read(sample)[1] for sample in dataset.split("val")]
    assert scores.confusion.sum() == sum((ids < num_classes).sum() for ids in truth)


def test_resized_masks_are_counted_before_training(tmp_path, capsys):
    LAYOUTS["folder"][1](tmp_path)
    dataset = load_dataset("folder", tmp_path, lambda problem: None)
    samples = dataset.split("train")
    warning = (
        f"Warning: {samples[0].mask}, {samples[1].mask} and 4 more: the mask is 16x24, its image "
        "32x48 (6 such files): the mask is resized to its image\n"
    )
    pipeline = TrainingPipeline(dataset, samples, (32, 64), 2)
    next(iter(pipeline.batches()))  # reads nothing ahead
    assert capsys.readouterr().err.count("the mask is resized to its image") == 1
    pipeline.preload()
    assert capsys.readouterr().err == warning
