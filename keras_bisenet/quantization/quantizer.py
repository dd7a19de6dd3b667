"""Quantizing a trained run: `keras-bisenet quantize`."""

from __future__ import annotations

import shutil

import numpy as np

from keras_bisenet.console import log
from keras_bisenet.files import replacing
from keras_bisenet.progress import progress_bar
from keras_bisenet.quantization.calibration import calibration_images
from keras_bisenet.quantization.fine_tuning import train_quantized
from keras_bisenet.training.config import QuantizationConfig
from keras_bisenet.training.run import Run


def quantize(source: Run, run: Run, config: QuantizationConfig) -> None:
    """Quantizes the float run `source` into `run`, whose directory exists.

    `qat` fine-tunes a quantization-aware model and keeps the best by validation mIoU, from the
    newest checkpoint if there is one. `ptq` keeps the calibration images that the converter
    needs. Both keep the float model that they started from.

    Raises:
        UsageError: When `run` began with another float model.
        UserError: When the float run has no model, or its data is missing or bad.
    """
    if run.model_file.is_file():
        run.check_source(source)
    else:
        with replacing(run.model_file) as temporary:
            shutil.copyfile(source.require_model(), temporary)
    if source.leave_out_file.is_file() and not run.leave_out_file.is_file():
        shutil.copyfile(source.leave_out_file, run.leave_out_file)
    if config.mode == "qat":
        train_quantized(run, config)
    else:
        prepare_calibration(run, config, source.best_miou())


def prepare_calibration(run: Run, config: QuantizationConfig, float_miou: float | None) -> None:
    """Keeps in `run` the images that the converter will see, and the float model's mIoU."""
    training = run.config
    dataset = run.load_dataset(training)
    with progress_bar("reading images", config.calibration_images) as bar:
        images = np.stack(
            list(calibration_images(dataset, training, config.calibration_images, bar))
        )
    with replacing(run.calibration_file) as temporary:
        measured = {} if float_miou is None else {"float_miou": float_miou}
        np.savez_compressed(temporary, images=images, **measured)
    log.info("%d calibration images: %s", len(images), run.calibration_file)
