"""Quantizing a trained run: `keras-bisenet quantize`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import click
import numpy as np
import tf_keras
from keras import ops

from keras_bisenet.data import load_dataset
from keras_bisenet.data.augmentation import Augmentation
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.pipeline import TrainingPipeline
from keras_bisenet.errors import UserError
from keras_bisenet.files import replacing
from keras_bisenet.imaging.letterbox import Fit
from keras_bisenet.models.deployment import deployment_model
from keras_bisenet.progress import progress_bar
from keras_bisenet.quantization import qat
from keras_bisenet.quantization.resizes import model_options
from keras_bisenet.training.config import QuantizationConfig, TrainingConfig
from keras_bisenet.training.evaluation import KerasSegmenter
from keras_bisenet.training.loop import TrainingLoop
from keras_bisenet.training.run import Run
from keras_bisenet.training.trainer import configured_loss, load_model, open_pipeline


def quantize(source: Run, run: Run, config: QuantizationConfig) -> None:
    """Quantizes the float run `source` into `run`, whose directory exists.

    `qat` fine-tunes a quantization-aware model and keeps the best by validation mIoU, from the
    newest checkpoint if there is one. `ptq` keeps the calibration images that the converter
    needs. Both keep the float model that they started from.

    Raises:
        UserError: When the float run has no model, or its data is missing or bad.
    """
    if not run.model_file.is_file():
        with replacing(run.model_file) as temporary:
            shutil.copyfile(source.require_model(), temporary)
    if config.mode == "qat":
        train_quantized(run, config)
    else:
        prepare_calibration(run, config, source.best_miou())


def train_quantized(run: Run, config: QuantizationConfig) -> list[dict[str, float]]:
    """Quantization-aware training; returns the rows of `metrics.csv`."""
    training = run.config
    tf_keras.utils.set_random_seed(config.seed)
    augmentation = Augmentation.of(training)
    dataset, pipeline = open_pipeline(training, config.batch_size, config.seed, augmentation)
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


def calibrated_model(run: Run, config: QuantizationConfig, dataset: Dataset):
    """The quantization-aware model of a run's float model, its ranges set, not yet fine-tuned."""
    model = float_deployment_model(run)
    qat.equalize_depthwise(model)
    quantized = qat.quantization_aware(model)
    with progress_bar("calibrating", config.calibration_images) as bar:
        images = calibration_images(dataset, run.config, config.calibration_images, bar)
        qat.calibrate(quantized, model, (image[None].astype(np.float32) / 255 for image in images))
    return quantized


def compile_model(
    quantized,
    config: QuantizationConfig,
    training: TrainingConfig,
    pipeline: TrainingPipeline,
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


def prepare_calibration(run: Run, config: QuantizationConfig, float_miou: float | None) -> None:
    """Keeps in `run` the images that the converter will see, and the float model's mIoU."""
    training = run.config
    dataset = load_dataset(training.dataset, training.data_dir)
    with progress_bar("reading images", config.calibration_images) as bar:
        images = np.stack(
            list(calibration_images(dataset, training, config.calibration_images, bar))
        )
    with replacing(run.calibration_file) as temporary:
        measured = {} if float_miou is None else {"float_miou": float_miou}
        np.savez_compressed(temporary, images=images, **measured)
    click.echo(f"{len(images)} calibration images: {run.calibration_file}")


def float_deployment_model(run: Run, size=None):
    """The float model of a run as it is put on a device, in tf_keras and its target's form.

    Args:
        run: A float run, or a quantized one, which keeps the model that it started from.
        size: `(height, width)` of its input; defaults to the run's.

    Raises:
        UsageError: When the size is not a multiple of 32.
        UserError: When the run has no model yet.
    """
    training = run.config
    return deployment_model(
        load_model(run.require_model()),
        training.model,
        (*(size or training.size), 3),
        keras=tf_keras,
        **model_options(
            run.quantization.target if run.quantization else "cpu", training.model_options
        ),
    )


def load_quantized(run: Run, size=None):
    """The quantization-aware model of a run, in tf_keras, with its best weights.

    Args:
        run: A run that `train_quantized` filled.
        size: `(height, width)` of its input; defaults to the run's.

    Raises:
        UserError: When no epoch has been finished yet, or the weights are damaged.
    """
    path = run.quantized_weights_file
    if not path.is_file():
        raise UserError(
            f"{run.path}: no {path.name} here yet: finish an epoch "
            f"(keras-bisenet quantize RUN --run {run.path} --resume)"
        )
    model = qat.quantization_aware(float_deployment_model(run, size))
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: damaged weights ({error}): quantize again") from error
    return model


def calibration_images(
    dataset: Dataset, training: TrainingConfig, count: int, progress=None
) -> Iterator[np.ndarray]:
    """Training images spread over the split, as the network sees them on a device.

    Yields:
        uint8 `[height, width, 3]` at the training size.
    """
    samples = dataset.split("train")
    for i in np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int):
        image, _ = dataset.read(samples[i])
        if progress:
            progress(1)
        yield Fit.of(image.shape[:2], training.size).place(image)


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
    with replacing(run.quantized_weights_file) as temporary:
        model.save_weights(temporary)
