"""Which choices in quantization-aware training make a better int8 model.

    python tools/compare_fine_tuning.py RUN [--epochs N]

RUN is a float run of `keras-bisenet train`. Prints validation mIoU of the float model, of the
quantization-aware one before fine-tuning, and after it with the statistics of the batch
normalizations following the batches (`quantize --train-batch-norm`), frozen for the second half,
and frozen from the start (what `quantize` does); each with the weights of the last step, and with
averages of them (EMA). All see the same batches. That is three trainings, and a validation for each
row: an hour for CamVid at 480x640 on two cores.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import click

from keras_bisenet.quantization import fine_tuning, loading, qat  # isort: skip  (Keras 3 first, then tfmot)
import tf_keras

from keras_bisenet.data.augmentation import Augmentation
from keras_bisenet.progress import progress_bar
from keras_bisenet.training.config import QuantizationConfig
from keras_bisenet.training.evaluation import KerasSegmenter, score
from keras_bisenet.training.run import Run
from keras_bisenet.training.trainer import open_pipeline

EMA_MOMENTA = (0.9, 0.95)
"""Averages over about the last 10 and 20 steps: an epoch of a small data set has a few dozen."""


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@click.option("--epochs", default=1, show_default=True)
@click.option("--steps", type=int, help="Instead of epochs.")
@click.option("--images", type=int, help="To validate on.  [all of val]")
def main(run, epochs, steps, images):
    """Compare ways to fine-tune RUN, a float run."""
    run = Run.open(run)
    config = QuantizationConfig(epochs=epochs)
    comparison = Comparison(run, config, steps, images)
    click.echo("| fine-tuning | val mIoU, % |\n|---|---|")
    comparison.row("none: float", loading.float_deployment_model(run))
    comparison.row("none: calibrated", comparison.calibrated())
    half = comparison.steps // 2
    for label, frozen_from in (
        ("statistics follow the batches", None),
        ("statistics frozen for the second half", half),
        ("statistics frozen from the start", 0),
    ):
        comparison.fine_tune(label, frozen_from)


class Comparison:
    """What all variants share: data, calibration images, and the course of the learning rate."""

    def __init__(self, run: Run, config: QuantizationConfig, steps: int | None, images: int | None):
        self.run, self.config = run, config
        self.dataset = run.load_dataset()
        self.pipeline = open_pipeline(
            self.dataset, run.config, config.batch_size, config.seed, Augmentation.of(run.config)
        )
        self.steps = steps or config.epochs * self.pipeline.steps_per_epoch
        validation = self.dataset.split("val")
        self.validation = validation[:: -(-len(validation) // (images or len(validation)))]

    def calibrated(self):
        """The quantization-aware model before fine-tuning."""
        return fine_tuning.calibrated_model(self.run, self.config, self.dataset)

    def fine_tune(self, label: str, frozen_from: int | None) -> None:
        """Trains a variant, and prints its rows."""
        tf_keras.utils.set_random_seed(self.config.seed)
        quantized = self.calibrated()
        weights = quantized.trainable_variables  # those that may be frozen later included
        averages = {momentum: [w.numpy() for w in weights] for momentum in EMA_MOMENTA}
        fine_tuning.compile_model(
            quantized, self.config, self.run.config, self.pipeline, self.steps
        )
        batches = self.pipeline.batches(0).as_numpy_iterator()
        with progress_bar(label, self.steps) as bar:
            for step, (images, masks) in zip(range(self.steps), batches):
                if step == frozen_from:
                    qat.freeze_batch_norm(quantized)
                    # Keras reads what is trainable when it compiles.
                    quantized.compile(optimizer=quantized.optimizer, loss=quantized.loss)
                quantized.train_on_batch(images, masks)
                for momentum, average in averages.items():
                    for i, weight in enumerate(weights):
                        average[i] += (1 - momentum) * (weight.numpy() - average[i])
                bar(1)
        self.row(label, quantized)
        for momentum, average in averages.items():
            for weight, value in zip(weights, average):
                weight.assign(value)
            self.row(f"{label}; EMA {momentum}", quantized)

    def row(self, label: str, model) -> None:
        """Validates a model and prints the result."""
        qat.fit_weight_ranges(model)
        segment = KerasSegmenter(model, self.run.config.size).segment
        scores = score(segment, self.dataset, self.validation)
        click.echo(f"| {label} | {100 * scores.miou:.2f} |")


if __name__ == "__main__":
    main()
