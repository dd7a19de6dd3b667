"""Quantization-aware training of a run that has been trained in float."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import tf_keras
from keras import ops

from keras_bisenet.data.augmentation import Augmentation
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.training_samples import TrainingSamples
from keras_bisenet.files import replacing
from keras_bisenet.models.default_settings import default_settings
from keras_bisenet.progress import progress_bar
from keras_bisenet.quantization import loading, qat
from keras_bisenet.quantization.calibration import calibrate, calibration_images
from keras_bisenet.training.config import QuantizationConfig, TrainingConfig
from keras_bisenet.training.evaluation import KerasSegmenter
from keras_bisenet.training.keras_settings import keras_settings
from keras_bisenet.training.loop import TrainingLoop
from keras_bisenet.training.run import Run
from keras_bisenet.training.trainer import configured_loss, open_pipeline


def train_quantized(run: Run, config: QuantizationConfig) -> list[dict[str, float]]:
    """Quantization-aware training; returns the rows of `metrics.csv`.

    Global settings of both Kerases, and Python's and NumPy's random numbers, are the caller's
    again when it returns.
    """
    with keras_settings(config.seed), default_settings(tf_keras):
        return _train_quantized(run, config)


def _train_quantized(run: Run, config: QuantizationConfig) -> list[dict[str, float]]:
    training = run.config
    augmentation = Augmentation.of(training)
    dataset = run.load_dataset(training)
    pipeline = open_pipeline(dataset, training, config.batch_size, config.seed, augmentation)
    quantized = calibrated_model(run, config, dataset)
    if config.freeze_batch_norm:
        qat.freeze_batch_norm(quantized)
    schedule = compile_model(
        quantized, config, training, pipeline, config.epochs * pipeline.steps_per_epoch
    )
    loop = TrainingLoop(
        run,
        quantized,
        pipeline,
        dataset,
        segment=KerasSegmenter(quantized, training.size).segment,
        save_best=lambda: _save_weights(quantized, run),
        learning_rate=schedule,
        epochs=config.epochs,
        evaluating=lambda: _settled_ranges(quantized),
    )
    return loop()


@default_settings(tf_keras)
def calibrated_model(run: Run, config: QuantizationConfig, dataset: Dataset):
    """The quantization-aware model of a run's float model, its ranges set, not yet fine-tuned."""
    model = loading.float_deployment_model(run)
    qat.equalize_depthwise(model)
    quantized = qat.quantization_aware(model)
    with progress_bar("calibrating", config.calibration_images) as bar:
        images = calibration_images(dataset, run.config, config.calibration_images, bar)
        calibrate(quantized, model, (image[None].astype(np.float32) / 255 for image in images))
    return quantized


def compile_model(
    quantized,
    config: QuantizationConfig,
    training: TrainingConfig,
    pipeline: TrainingSamples,
    total_steps: int,
):
    """Gives a quantization-aware model the float run's loss, and an optimizer.

    Returns:
        The schedule of the learning rate, which falls to 0 in `total_steps`.
    """
    schedule = tf_keras.optimizers.schedules.PolynomialDecay(
        config.learning_rate, total_steps, end_learning_rate=0.0, power=training.power
    )
    loss = configured_loss(training, pipeline)
    quantized.compile(optimizer=tf_keras.optimizers.Adam(schedule), loss=_full_size(loss))
    quantized.optimizer.build(quantized.trainable_variables)
    return schedule


def _full_size(loss):
    """The float run's loss, on logits brought to the masks' size as the runtime does."""

    def full_size_loss(class_ids, logits):
        return loss(class_ids, ops.image.resize(logits, class_ids.shape[1:3], "bilinear"))

    return full_size_loss


@contextlib.contextmanager
def _settled_ranges(quantized) -> Iterator[None]:
    """For validation, and for saving after it: the weights' ranges fit the weights."""
    qat.fit_weight_ranges(quantized)
    yield


def _save_weights(model, run: Run) -> None:
    """Keeps the weights. A compiled model would keep its optimizer's too, as much again: that is
    what checkpoints are for."""
    uncompiled = tf_keras.Model(model.inputs, model.outputs)
    with replacing(run.quantized_weights_file) as temporary:
        uncompiled.save_weights(temporary)
